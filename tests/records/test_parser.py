"""What the parser makes of payloads, hostile and ordinary, against a parse of one line at a time in plain Python."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sa_stream import native
from sa_stream.records import decoder as decoder_module
from sa_stream.records.columns import CODED_COLUMNS, HUGE_BYTES, NO_STATUS, REASONS, Columns, Int64s
from sa_stream.records.decoder import LINE_BYTES_MAX
from sa_stream.records.fields import (
    ALLOWABLE_FIELDS,
    CANONICAL,
    RESULT_TYPE,
    TEXT_COLUMNS,
    Field_Lists,
    resolve_field_lists,
)
from sa_stream.records.micros import DURATIONS, NO_TIME
from sa_stream.records.parser import Parser, event_times_ms, whole_bytes
from sa_stream.records.request_ids import REQUEST_ID
from tests.log_lines import line_of
from tests.oracle import cannot_be_of_its_list, event_time_ms, whole_number
from tests.pieces import columns_of

NOW_MS = 1_771_252_345_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
KEPT_AS_TEXT = (*CODED_COLUMNS, REQUEST_ID)
SMALL = "timestamp,sc-status,sc-bytes,cs-uri-stem"
SHORTER = "timestamp,cs-host,sc-bytes"
FULL = resolve_field_lists("canonical", "")


@pytest.fixture(scope="module", autouse=True, params=["few", "many", "kernel"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """However few lines are read, all ways must read them alike."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "few":
            patch.setattr(decoder_module, "FEW_ROWS", -1)
        if request.param != "kernel":
            patch.setattr(native, "AVAILABLE", False)
        elif not native.AVAILABLE:
            pytest.skip(native.REASON)
        yield


def lists_of(setting: str, dropped: str = "") -> Field_Lists:
    return resolve_field_lists(setting, dropped)


def parsed(payloads: Sequence[bytes], setting: str = SMALL, dropped: str = "", now_ms: int = NOW_MS) -> Columns:
    arrivals_ms = np.full(len(payloads), now_ms, np.int64)
    return Parser(lists_of(setting, dropped)).parse(payloads, arrivals_ms)


def rows_of(columns: Columns) -> list[tuple[Any, ...]]:
    """(payload, line, time, fields of the list, status, bytes, values that are there) of every row; of a path what is
    before its query, which nobody reads."""
    found = []
    texts = columns.as_texts
    named = {name: columns.texts_of(name) for name in KEPT_AS_TEXT}
    times = [columns.micros_of(name) for name in DURATIONS]
    for row, (status, size) in enumerate(zip(texts.status.tolist(), texts.sizes.tolist(), strict=True)):
        values = {name: column[row] for name, column in named.items()}
        assert size == 0 or row not in columns.huge
        found.append(
            (
                int(columns.payload[row]),
                int(columns.line[row]),
                int(columns.event_ms[row]),
                int(columns.field_count[row]),
                status,
                size + columns.huge.get(row, 0),
                [column[row] for column in times],
                there(values),
            )
        )
    return found


def there(values: Mapping[str, str]) -> dict[str, str]:
    path = values.get("cs-uri-stem", "")
    cut = {"cs-uri-stem": path if path.startswith("-?") else path.partition("?")[0]}
    if values.get(REQUEST_ID) == "-":  # missing, which the kernel says at once
        cut[REQUEST_ID] = ""
    return {name: value for name, value in (values | cut).items() if value and name in KEPT_AS_TEXT}


def dropped_of(columns: Columns) -> list[tuple[int, int, str, int]]:
    """(payload, line, reason, number of fields) of every dropped line, in order."""
    lost = columns.dropped
    names = [REASONS[reason] for reason in lost.reason.tolist()]
    return sorted(zip(lost.payload.tolist(), lost.line.tolist(), names, lost.field_count.tolist(), strict=True))


def reasons_of(columns: Columns) -> list[str]:
    return [reason for _, _, reason, _ in dropped_of(columns)]


def naive(payloads: Sequence[bytes], lists: Field_Lists, arrivals_ms: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """What `rows_of` and `dropped_of` should be, a line at a time."""
    rows: list[Any] = []
    dropped: list[Any] = []
    for p, payload in enumerate(payloads):
        if payload[:2] == b"\x1f\x8b":
            with suppress(OSError, EOFError, zlib.error):
                payload = gzip.decompress(payload)
        for place, line in enumerate(payload.split(b"\n")):
            line = line.removesuffix(b"\r")
            if not line or line.startswith(b"#"):
                continue
            values = line.decode("utf-8", "replace").split("\t")
            listed = lists.by_count.get(len(values))
            read = {name: at for name in listed.names if (at := listed.index(name)) is not None} if listed else {}
            source = {RESULT_TYPE: listed.result_field or ""} if listed else {}
            places = {name: listed.index(source.get(name, name)) for name in TEXT_COLUMNS} if listed else {}
            named = {name: values[at] for name, at in places.items() if at is not None}
            event_ms = event_time_ms(named.get("timestamp", ""))
            status = named.get("sc-status", "000" if listed and listed.index("sc-status") is None else "")
            reason = (
                "too_long"
                if len(line) > 1_048_576
                else "fields"
                if listed is None
                else "timestamp"
                if event_ms is None
                else "status"
                if not (len(status) == 3 and status.isascii() and status.isdigit())
                else "columns"
                if cannot_be_of_its_list({name: values[at] for name, at in read.items()})
                else "future"
                if event_ms > arrivals_ms[p] + 300_000
                else ""
            )
            if reason:
                dropped.append((p, place, reason, len(values)))
            else:
                size = whole_number(named.get("sc-bytes", ""))
                status_there = int(status) if "sc-status" in named else NO_STATUS
                took = [whole_micros(named.get(name, "")) for name in DURATIONS]
                rows.append((p, place, event_ms, len(values), status_there, size, took, there(named)))
    return rows, sorted(dropped)


def whole_micros(text: str) -> int:
    """What a time is in microseconds, exactly, the half to even; -1 for what is none."""
    whole, dot, fraction = text.partition(".")
    parts = (whole, fraction) if dot else (whole,)
    if not all(part.isascii() and part.isdigit() for part in parts) or len(whole + fraction) > 30:
        return NO_TIME
    return round(Fraction(text) * 1_000_000)


def small(path: str = "/a", size: str = "10", status: str = "200", time: str = "1771252345.123") -> bytes:
    return f"{time}\t{status}\t{size}\t{path}\n".encode()


# ------------------------------------------------------------------------------------------------ against the naive way

ODD = [
    *(b"", b"-", b"\r", b"a\r", b"\ra", b"\r\r", b"\xff", b"\xe2\x82", b"\x00", b'"', b'"a', b"'", b"#x", b" "),
    *(
        BYTE_ORDER_MARK,
        BYTE_ORDER_MARK + b"1771252345",
        b"200",
        b"+5",
        b" 5",
        b"1e3",
        b"nan",
        b"12.5",
        b"-1",
        b"0" * 31,
    ),
    *(b"1771252345", b"1771252345.9999", b"4102444800", b"4102444799.9999", b"1771252645.001", b"1771252645", b"20"),
    *(b"https", b"LHR62-C1", b"Hit", b"TLSv1.3", b"HTTP/2.0", b"TLS_AES_128_GCM_SHA256"),
    *(b"1099511627776", b"1099511627775", b"99999999999999999999", b"2000", b"\xc2\xb9", b"/\xc3\xa9"),
]
GOOD = {
    "timestamp": b"1771252345.123",
    "sc-status": b"200",
    "sc-bytes": b"10",
    "cs-protocol": b"https",
    "x-edge-location": b"LHR62-C1",
    "x-edge-result-type": b"Hit",
    "x-edge-detailed-result-type": b"MissGeneratedResponse",
    "cs-protocol-version": b"HTTP/2.0",
    "ssl-protocol": b"TLSv1.3",
    "ssl-cipher": b"TLS_AES_128_GCM_SHA256",
    "x-edge-request-id": b"id==",
}
SETTINGS = [
    (SMALL, ""),
    (f"{SMALL};{SHORTER}", ""),
    ("timestamp", ""),
    ("cs-host,timestamp", ""),
    ("timestamp;timestamp,cs-host", ""),
    ("cs-uri-stem,sc-status,timestamp,cs-accept", ""),  # the last column is not used
    ("timestamp,sc-status,sc-bytes,c-ip", "c-ip"),  # and here not even read
    ("timestamp,c-ip;timestamp,sc-status,x-edge-request-id", "c-ip"),
    ("timestamp,cs-protocol,x-edge-location,x-edge-request-id,cs-protocol-version,ssl-protocol", ""),
    ("timestamp,ssl-protocol,ssl-cipher;timestamp,sc-status,ssl-protocol,ssl-cipher", "ssl-cipher"),
    ("timestamp,x-edge-detailed-result-type,ssl-cipher,x-edge-result-type,cs-protocol-version", ""),
]


@st.composite
def payloads_for(draw: st.DrawFn, lists: Field_Lists) -> list[bytes]:
    def line() -> bytes:
        kind = draw(st.integers(0, 11))
        if kind == 0:
            return draw(st.sampled_from([b"", b"\r", b"#", b"#Fields: a b", b"#\t\t", b"#\t\t\t", b"\t", b"\r\r"]))
        if kind == 1:
            return b"\t".join(draw(st.lists(st.sampled_from(ODD), min_size=1, max_size=6)))
        listed = draw(st.sampled_from(lists.lists))
        fields = [GOOD.get(name, b"/x") for name in listed.names]
        for _ in range(draw(st.integers(0, 2)) if kind < 8 else 0):
            fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(ODD))
        return b"\t".join(fields)

    def payload() -> bytes:
        ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"])
        text = b"".join(line() + draw(ends) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 0]))))
        if draw(st.integers(0, 5)) == 0:
            text = text.removesuffix(b"\n")
        return gzip.compress(text, mtime=0) if draw(st.integers(0, 8)) == 0 else text

    return [payload() for _ in range(draw(st.integers(0, 8)))]


@settings(max_examples=120, deadline=None)
@given(data=st.data(), setting=st.sampled_from(SETTINGS), seed=st.integers(0, 1 << 30))
def test_any_payloads_are_read_as_one_line_at_a_time_would_be_in_any_grouping(
    data: st.DataObject, setting: tuple[str, str], seed: int
) -> None:
    lists = lists_of(*setting)
    payloads = data.draw(payloads_for(lists))
    arrivals_ms = np.full(len(payloads), NOW_MS, np.int64)
    expected = naive(payloads, lists, arrivals_ms.tolist())
    reader = Parser(lists)

    together = reader.parse(payloads, arrivals_ms)
    assert (rows_of(together), dropped_of(together)) == expected
    assert together.payload_arrivals_ms.tolist() == arrivals_ms.tolist()
    assert together.arrival_ms.tolist() == [NOW_MS] * len(together)
    if not payloads:
        return

    assert read_in_groups(reader, payloads, arrivals_ms, range(len(payloads) + 1)) == expected

    rng = random.Random(seed)
    cuts = sorted({0, len(payloads), *(rng.randrange(len(payloads) + 1) for _ in range(3))})
    assert read_in_groups(reader, payloads, arrivals_ms, cuts) == expected


def read_in_groups(
    reader: Parser, payloads: list[bytes], arrivals_ms: Int64s, cuts: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    rows, dropped = [], []
    for begin, end in pairwise(cuts):
        columns = reader.parse(payloads[begin:end], arrivals_ms[begin:end])
        assert len(columns.payload_arrivals_ms) == end - begin
        rows += [(payload + begin, *rest) for payload, *rest in rows_of(columns)]
        dropped += [(payload + begin, *rest) for payload, *rest in dropped_of(columns)]
    return rows, dropped


@settings(max_examples=100, deadline=None)
@given(data=st.data(), setting=st.sampled_from(SETTINGS))
def test_a_file_is_read_as_one_payload_would_be(data: st.DataObject, setting: tuple[str, str]) -> None:
    lists = lists_of(*setting)
    buffer = b"".join(p for p in data.draw(payloads_for(lists)) if p[:2] != b"\x1f\x8b")
    rows, dropped = naive([buffer], lists, [NOW_MS])
    (columns,) = columns_of(Parser(lists), buffer, NOW_MS)
    assert (rows_of(columns), dropped_of(columns)) == (rows, dropped)


def test_a_full_buffer_of_ordinary_lines_is_read_right() -> None:
    rng = random.Random(4)
    payloads = [
        line_of(
            {
                "timestamp": f"1771252{rng.randrange(345):03d}.{rng.randrange(1000):03d}",
                "sc-bytes": str(rng.randrange(1 << 42)),
                "cs-uri-stem": f"/p/{rng.randrange(99)}",
                "x-edge-request-id": f"{rng.getrandbits(160):040x}",
            }
        )
        + b"\n"
        for _ in range(3_000)
    ]
    for damage in (None, 1_234):
        if damage is not None:
            payloads[damage] = b"\tone field too many" + payloads[damage]
        columns = Parser(FULL).parse(payloads, np.full(len(payloads), NOW_MS, np.int64))
        assert (rows_of(columns), dropped_of(columns)) == naive(payloads, FULL, [NOW_MS] * len(payloads))
        assert columns.huge


# ---------------------------------------------------------------------------------------------------- traps, one a test


def paths(columns: Columns) -> list[str | None]:
    return [path or None for path in columns.texts_of("cs-uri-stem")]


def test_quotes_mean_nothing() -> None:
    columns = parsed([small('"/a'), small('/b"'), small('"/c\td"'), small('"'), small('""')])
    assert paths(columns) == ['"/a', '/b"', '"', '""']
    assert dropped_of(columns) == [(2, 0, "fields", 5)]


def test_nul_is_an_ordinary_byte() -> None:
    assert paths(parsed([small("/a\0b"), small("\0")])) == ["/a\0b", "\0"]


def test_broken_utf8_is_replaced_and_harms_no_other_line() -> None:
    lines = [small(), b"1771252345\t200\t1\t/\xff\xe2\x82x\n", small("/\u20ac")]
    assert paths(parsed(lines)) == ["/a", "/\ufffd\ufffdx", "/\u20ac"]
    assert len(parsed([b"1771252345\t200\t\xff\t/a\n"])) == 1
    assert reasons_of(parsed([b"\xff\t200\t1\t/a\n"])) == ["timestamp"]


@pytest.mark.parametrize("neighbours", [0, 1])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_of_a_mebibyte_is_read_and_one_more_byte_is_too_long(neighbours: int, end: bytes) -> None:
    start = b"1771252345\t200\t1\t"
    for extra, good in ((0, True), (1, False)):
        line = start + b"x" * (LINE_BYTES_MAX - len(start) + extra) + end
        columns = parsed([small()] * neighbours + [line] + [small()] * neighbours)
        assert len(columns) == 2 * neighbours + good
        assert dropped_of(columns) == ([] if good else [(neighbours, 0, "too_long", 4)])


def test_too_long_comes_before_every_other_reason() -> None:
    assert dropped_of(parsed([b"no time" + b"\t" * LINE_BYTES_MAX])) == [(0, 0, "too_long", LINE_BYTES_MAX + 1)]


def test_a_long_comment_is_no_record() -> None:
    assert dropped_of(parsed([b"#" + b"x" * (LINE_BYTES_MAX + 5) + b"\n" + small()])) == []


def test_one_carriage_return_ends_a_line_and_all_others_are_bytes_of_fields() -> None:
    lines = [
        b"1771252345\t200\t1\t/a\r\n",
        b"1771252345\t200\t1\t/b\r\r\n",
        b"1771252345\t200\t1\t/c\rd\n",
        b"1771252345\t200\t1\t\r/e\r\n",
        b"1771252345\t200\t1\t\r\r\n",
    ]
    expected = ["/a", "/b\r", "/c\rd", "\r/e", "\r"]
    assert paths(parsed(lines)) == expected
    assert paths(parsed([b"".join(lines)])) == expected
    first = parsed([b"/x\r\t1771252345\n", b"\r\r\t1771252345\r\n"], "cs-uri-stem,timestamp")
    assert paths(first) == ["/x\r", "\r\r"]
    assert reasons_of(parsed([b"1771252345\r\t200\t1\t/\n", b"1771252345\t200\r\t1\t/\n"])) == ["timestamp", "status"]


@pytest.mark.parametrize("empty", [b"", b"\n", b"\r\n", b"\n\n\n", gzip.compress(b"", mtime=0)], ids=repr)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_empty_payloads_and_blank_lines_are_no_records_wherever_they_are(empty: bytes, place: int) -> None:
    payloads = [small("/a"), small("/b")]
    payloads.insert(place, empty)
    columns = parsed(payloads)
    assert paths(columns) == ["/a", "/b"]
    assert columns.payload.tolist() == [i for i in range(3) if i != place]
    assert columns.line.tolist() == [0, 0]
    assert len(columns.dropped) == 0


def test_nothing_at_all_is_no_record() -> None:
    for payloads in ([], [b""], [b"", b"\n"], [b"#\n"]):
        columns = parsed(payloads)
        assert len(columns) == len(columns.dropped) == 0
        assert all(columns.texts_of(name) == [] for name in KEPT_AS_TEXT)


def test_lines_of_one_payload_are_told_apart() -> None:
    payload = b"\n" + small("/a") + b"#\n" + small("/b") + b"bad\n" + small("/c").rstrip(b"\n")
    columns = parsed([small("/0"), payload, small("/1")])
    assert paths(columns) == ["/0", "/a", "/b", "/c", "/1"]
    assert columns.payload.tolist() == [0, 1, 1, 1, 2]
    assert columns.line.tolist() == [0, 1, 3, 5, 0]
    assert dropped_of(columns) == [(1, 4, "fields", 1)]


def test_two_payloads_never_become_one_line() -> None:
    columns = parsed([b"1771252345\t200", b"\t1\t/a\n", small("/b")[:-1], small("/c")])
    assert paths(columns) == ["/b", "/c"]
    assert dropped_of(columns) == [(0, 0, "fields", 2), (1, 0, "fields", 3)]


def test_lines_with_compensating_numbers_of_tabs_do_not_pass_the_proof() -> None:
    for lines in (
        [b"1771252345\t200\t1\n", b"1771252345\t200\t1\t/b\t/c\n"],
        [b"1771252345\t200\t1\t/b\t/c\n", b"1771252345\t200\t1\n"],
        [small(), b"1771252345\t200\n", b"1771252345\t200\t1\t/b\t/c\t\n", small()],
    ):
        columns = parsed(lines)
        assert len(columns) + len(columns.dropped) == len(lines)
        assert set(reasons_of(columns)) == {"fields"}
        assert len(columns.dropped) == 2


@pytest.mark.parametrize(
    "first", [b"x\n", b"\t\t\t\t\t\t\n", b"1771252345\t200\t1\n", b"1771252345\t200\t1\t/\t\n", b"\r\n"]
)
def test_a_first_line_of_another_length_decides_nothing(first: bytes) -> None:
    columns = parsed([first, small("/a"), small("/b")])
    assert paths(columns) == ["/a", "/b"]
    assert rows_of(columns) == naive([first, small("/a"), small("/b")], lists_of(SMALL), [NOW_MS] * 3)[0]


def test_comments_are_no_records_even_with_the_right_number_of_tabs() -> None:
    comment = b"#1771252345\t200\t1\t/c\n"
    for payloads in ([comment, small()], [small(), comment, small()], [small() + comment], [comment + small()]):
        columns = parsed(payloads)
        assert set(paths(columns)) == {"/a"}
        assert len(columns.dropped) == 0
    assert paths(parsed([small("#not"), small("/#x")])) == ["#not", "/#x"]


def test_a_byte_order_mark_is_part_of_its_field() -> None:
    mark = BYTE_ORDER_MARK
    assert reasons_of(parsed([mark + small(), small()])) == ["timestamp"]
    assert reasons_of(parsed([small(), mark + small()])) == ["timestamp"]
    for payloads in ([mark + b"h\t1771252345\n"], [b"h\t1771252345\n", mark + b"h\t1771252345\n"]):
        hosts = parsed(payloads, "cs-host,timestamp").texts_of("cs-host")
        assert hosts[-1] == "\ufeffh"
    after_damage = parsed([b"bad\n", mark + b"h\t1771252345\n"], "cs-host,timestamp")
    assert after_damage.texts_of("cs-host") == ["\ufeffh"]


@pytest.mark.parametrize(
    "magic",
    [b"\x1f\x8b", b"x\x01", b"x\x9c", b"x\xda", b"\x28\xb5\x2f\xfd", b"BZh9", b"\x04\x22\x4d\x18", b"PK\x03\x04"],
)
def test_lines_that_begin_like_packed_data_are_lines(magic: bytes) -> None:
    """The CSV reader would unpack such a buffer, or fail on it at every redelivery."""
    damaged = [magic + small(), small("/b")]
    assert dropped_of(parsed(damaged)) == naive(damaged, lists_of(SMALL), [NOW_MS] * 2)[1]
    hosts = parsed([magic + b"\t1771252345\n", b"b\t1771252345\n"], "cs-host,timestamp").texts_of("cs-host")
    assert hosts == [magic.decode("utf-8", "replace"), "b"]
    packed = zlib.compress(b"h\t1771252345\n")
    assert len(parsed([packed, small()])) == 1


# ----------------------------------------------------------------------------------------------------------------- gzip


def test_gzip_payloads_are_unpacked_also_of_several_members_and_with_padding() -> None:
    whole = gzip.compress(small("/a") + small("/b")[:7]) + gzip.compress(small("/b")[7:]) + bytes(512)
    columns = parsed([small("/0"), whole, gzip.compress(small("/c")[:-1]), small("/1")])
    assert paths(columns) == ["/0", "/a", "/b", "/c", "/1"]
    assert columns.payload.tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    "damaged",
    [
        gzip.compress(small() * 3, mtime=0)[:-9],
        gzip.compress(small() * 3, mtime=0)[:-1],
        gzip.compress(small() * 3, mtime=0) + b"and more",
        gzip.compress(small() * 3, mtime=0) + gzip.compress(small(), mtime=0)[:-2],
        gzip.compress(small() * 3, mtime=0)[:-8] + bytes(8),
        b"\x1f\x8b",
        b"\x1f\x8b\t200\t1\t/",
    ],
    ids=["cut", "cut by a byte", "trailing bytes", "second member cut", "wrong checksum", "magic alone", "a field"],
)
def test_gzip_that_is_damaged_is_malformed_as_a_whole(damaged: bytes) -> None:
    """Half of a payload would end in half a line, which may look like a whole one."""
    columns = parsed([damaged, small("/ok")])
    assert paths(columns) == ["/ok"]
    assert set(reasons_of(columns)) <= {"fields", "timestamp"}
    assert len(columns.dropped) >= 1


def test_a_gzip_bomb_is_malformed_and_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "UNPACKED_BYTES_MAX", 1_000)
    fits, bomb = small("/fits" + "x" * 900), small("/bomb") * 1_000
    for payload in (gzip.compress(bomb), gzip.compress(fits) + gzip.compress(bomb)):
        columns = parsed([payload, gzip.compress(fits)])
        assert len(columns) == 1
        assert len(columns.dropped) >= 1
    exact = small("/" + "x" * (1_000 - len(small("/"))))
    assert len(parsed([gzip.compress(exact)])) == 1


def test_what_would_take_much_memory_is_read_in_portions_of_which_each_line_keeps_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_module, "PORTION_BYTES_MAX", 2_000)
    monkeypatch.setattr(decoder_module, "PORTION_LINES_MAX", 20)
    many = b"".join(small(f"/{i}") + b"\n" * (i % 7) + b"bad\n" * (i % 3) for i in range(200))
    payloads = [small("/first"), gzip.compress(many), b"\n" * 500, small("/last")[:-1], many]
    portions = list(Parser(lists_of(SMALL)).portions(payloads, np.full(5, NOW_MS, np.int64)))
    assert len(portions) > 20
    assert max(len(part) + len(part.dropped) for part in portions) <= 20
    whole = Columns.concatenated(portions, np.full(5, NOW_MS, np.int64))
    expected = naive(payloads, lists_of(SMALL), [NOW_MS] * 5)
    assert (rows_of(whole), dropped_of(whole)) == expected
    for payload, line, _, _ in expected[1]:
        assert decoder_module.line_of(many, line) == b"bad", payload


def test_a_record_of_millions_of_newlines_takes_little_more_memory_than_its_bytes() -> None:
    bomb = gzip.compress(b"\n" * (32 << 20))
    assert len(bomb) < 33_000
    tracemalloc.start()
    try:
        for columns in Parser(FULL).portions([bomb] * 3, np.full(3, NOW_MS, np.int64)):
            assert len(columns) == len(columns.dropped) == 0
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------------------------------- several lists


def test_several_lists_keep_the_order_of_the_rows() -> None:
    huge = str(HUGE_BYTES + 7)
    payloads = [
        b"1771252345.001\thost\t" + huge.encode() + b"\n",
        small("/1", huge, time="1771252345.002"),
        b"1771252345.003\thost\t3\nbad\n" + small("/3", time="1771252345.004"),
        small("/4", status="20x"),
        b"not a time\thost\t3\n",
        small("/5", str(HUGE_BYTES), time="1771252345.006"),
    ]
    for setting in (f"{SMALL};{SHORTER}", f"{SHORTER};{SMALL}"):
        columns = parsed(payloads, setting)
        assert (columns.event_ms % 1000).tolist() == [1, 2, 3, 4, 6]
        assert columns.field_count.tolist() == [3, 4, 3, 4, 4]
        assert columns.huge == {0: HUGE_BYTES + 7, 1: HUGE_BYTES + 7, 4: HUGE_BYTES}
        assert columns.as_texts.sizes.tolist() == [0, 0, 3, 10, 0]
        assert paths(columns) == [None, "/1", None, "/3", "/5"]
        assert columns.texts_of("cs-host") == ["host", "", "host", "", ""]
        assert columns.payload.tolist() == [0, 1, 2, 2, 5]
        assert columns.line.tolist() == [0, 0, 0, 2, 0]
        assert dropped_of(columns) == [(2, 1, "fields", 1), (3, 0, "status", 4), (4, 0, "timestamp", 3)]


def test_a_list_without_status_has_no_status_to_be_wrong() -> None:
    columns = parsed([b"1771252345\th\t5\n"], SHORTER)
    assert rows_of(columns) == [(0, 0, 1_771_252_345_000, 3, NO_STATUS, 5, [NO_TIME] * 3, {"cs-host": "h"})]


@pytest.mark.parametrize(
    ("last", "drop"), [("c-ip", "c-ip"), ("cs-accept", ""), ("cs-user-agent", "cs-user-agent"), ("cs-host", "")]
)
def test_the_last_column_may_be_unused_or_dropped_and_is_proved_all_the_same(last: str, drop: str) -> None:
    setting = f"timestamp,cs-uri-stem,{last}"
    payloads = [b"1771252345\t/a\tx\n", b"1771252345\t/b\n", b"1771252345\t/c\t\n", b"1771252345\t/d\tx\ty\n"]
    columns = parsed(payloads, setting, drop)
    assert paths(columns) == ["/a", "/c"]
    assert dropped_of(columns) == [(1, 0, "fields", 2), (3, 0, "fields", 4)]
    assert columns.texts_of("cs-host") == (["x", ""] if last == "cs-host" else ["", ""])
    assert columns.texts_of("cs-user-agent") == ["", ""]


def test_an_empty_last_field_is_a_missing_value() -> None:
    columns = parsed([b"1771252345\t200\t1\t\n", b"1771252345\t200\t\t/b\n"])
    assert (
        rows_of(columns)
        == naive([b"1771252345\t200\t1\t\n", b"1771252345\t200\t\t/b\n"], lists_of(SMALL), [NOW_MS] * 2)[0]
    )


# -------------------------------------------------------------------------------------------------------------- reasons


def test_the_first_reason_that_holds_is_the_one_that_counts() -> None:
    future = "1771259999"
    lines = [
        (b"x\t2\t\n", "fields"),
        (small(time="x", status="2"), "timestamp"),
        (small(time="9999999999", status="2"), "timestamp"),
        (small(time=future, status="2"), "status"),
        (small(time=future), "future"),
        (b"\t200\t1\t/\n", "timestamp"),
        (b"1771252345\t\t1\t/\n", "status"),
        (b"1771252345\t-\t1\t/\n", "status"),
    ]
    for payloads in ([line for line, _ in lines], [small(), *(line for line, _ in lines), small()]):
        columns = parsed(payloads)
        assert reasons_of(columns) == [reason for _, reason in lines]
    for line, reason in lines:
        assert reasons_of(parsed([line])) == [reason]


@pytest.mark.parametrize("status", ["000", "099", "200", "999"])
def test_three_ascii_digits_are_a_status(status: str) -> None:
    assert len(parsed([small(status=status)])) == 1


@pytest.mark.parametrize(
    "status", ["20", "2000", "2x0", "\u0662\u0660\u0660", "\u00b2\u00b9\u00b9", "+20", " 20", "20 ", "", "-"]
)
def test_anything_else_is_no_status(status: str) -> None:
    assert reasons_of(parsed([small(status=status)])) == ["status"]
    assert reasons_of(parsed([small(status=status), small()])) == ["status"]


def test_an_event_five_minutes_ahead_of_its_own_arrival_is_in_time_and_a_millisecond_more_is_future() -> None:
    lines = [small(time="1771252645.000"), small(time="1771252645.001"), small(time="1771252645.001")]
    arrivals_ms = np.array([NOW_MS, NOW_MS, NOW_MS + 1], np.int64)
    columns = Parser(lists_of(SMALL)).parse(lines, arrivals_ms)
    assert columns.payload.tolist() == [0, 2]
    assert columns.arrival_ms.tolist() == [NOW_MS, NOW_MS + 1]
    assert dropped_of(columns) == [(1, 0, "future", 4)]


# --------------------------------------------------------------------------------------------------------------- values

NUMBERS = [
    "5",
    "0",
    "007",
    "12.5",
    "0.9",
    "9" * 18,
    "1" + "0" * 29,
    str(HUGE_BYTES),
    str(HUGE_BYTES - 1),
    "9223372036854775808",
]
NO_NUMBERS = [
    "+5",
    "-5",
    "-0",
    " 5",
    "5 ",
    "1e3",
    "nan",
    "inf",
    "5.",
    ".5",
    "1.2.3",
    "0x5",
    "1_0",
    "\u0665",
    "-",
    "",
    "9" * 31,
]


@pytest.mark.parametrize(
    "text", [*NUMBERS, *NO_NUMBERS, "0" * 29 + "5", "0" * 30 + "5", "0." + "1" * 29, "0." + "1" * 30]
)
def test_bytes_are_the_whole_part_of_a_plain_decimal_of_at_most_thirty_digits(text: str) -> None:
    number = whole_number(text)
    assert (number == 0) or text not in NO_NUMBERS
    for column in ([text], ["7", text, None, "8"]):
        sizes, huge = whole_bytes(pl.Series(column, dtype=pl.String))
        row = column.index(text)
        assert sizes.to_list()[row] + huge.get(row, 0) == number
        assert sum(sizes.to_list()) + sum(huge.values()) == number + (15 if len(column) > 1 else 0)
        assert set(huge) == ({row} if number >= HUGE_BYTES else set())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.sampled_from(NUMBERS + NO_NUMBERS), st.text("0123456789.+-e ", max_size=33))))
def test_bytes_of_any_column_are_what_each_value_says(values: list[str | None]) -> None:
    sizes, huge = whole_bytes(pl.Series(values, dtype=pl.String))
    assert sizes.dtype == pl.Int64
    assert [size + huge.get(row, 0) for row, size in enumerate(sizes)] == [whole_number(v or "") for v in values]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.from_regex(r"\A[0-9]{10}(\.[0-9]{1,25})?\Z"),
            st.builds("{}.{}".format, st.integers(4_102_444_798, 4_102_444_801), st.text("09", min_size=1, max_size=9)),
            st.text("0123456789.+-eE \t", max_size=12),
        )
    )
)
@example(["4102444799.999999999999999999", "4102444800", "4102444800.0"])
@example(["1771252345.0009999999", "1771252345.001", "1771252345.1", "0000000000", "0000000000.0019999"])
@example(["177125234", "17712523450", "1771252345.", "\u0661771252345", "1771252345\n", None, "1.771252345e9"])
@example([f"17712523{i:02d}.{i:03d}" for i in range(100)])
def test_event_times_are_cut_to_whole_milliseconds_and_end_before_2100(texts: list[str | None]) -> None:
    times_ms, good = event_times_ms(pl.Series(texts, dtype=pl.String))
    expected = [event_time_ms(text) if text is not None else None for text in texts]
    found = [
        time
        for time, is_good in zip(times_ms.tolist(), good if good is not None else [True] * len(texts), strict=True)
        if is_good
    ]
    assert (good.tolist() if good is not None else [True] * len(texts)) == [time is not None for time in expected]
    assert found == [time for time in expected if time is not None]


def test_every_millisecond_of_a_second_survives_with_three_and_with_six_decimals() -> None:
    for second in (0, 1_771_252_345, 4_102_444_799):
        for tail in ("", "000", "999", "999999"):
            texts = pl.Series([f"{second:010d}.{ms:03d}{tail}" for ms in range(1000)])
            assert event_times_ms(texts)[0].tolist() == [second * 1000 + ms for ms in range(1000)]


def test_the_order_of_canonical_fields_is_that_of_the_columns() -> None:
    values = {name: f"v-{name}" for name in CANONICAL} | {"timestamp": "1771252345", "sc-status": "404"}
    values |= {"cs-protocol": "https", "x-edge-location": "LHR62-C1", "x-edge-result-type": "Hit"}
    columns = Parser(FULL).parse([line_of(values) + b"\n"], np.array([NOW_MS]))
    chosen = dict.fromkeys(ALLOWABLE_FIELDS, "")  # nobody has chosen one
    named = {name: (values | chosen)["x-edge-result-type" if name == RESULT_TYPE else name] for name in KEPT_AS_TEXT}
    assert {name: columns.texts_of(name)[0] for name in KEPT_AS_TEXT} == named


@pytest.mark.parametrize(
    ("present", "dropped", "taken"),
    [
        (["x-edge-detailed-result-type", "x-edge-response-result-type", "x-edge-result-type"], "", 2),
        (["x-edge-detailed-result-type", "x-edge-response-result-type"], "", 1),
        (["x-edge-detailed-result-type"], "", 0),
        (["x-edge-response-result-type", "x-edge-result-type"], "x-edge-result-type", 0),
        ([], "", None),
    ],
)
def test_the_result_type_is_the_first_of_three_fields_that_the_list_has(
    present: list[str], dropped: str, taken: int | None
) -> None:
    lists = resolve_field_lists(",".join(["timestamp", *present]), dropped)
    values = ["Hit", "Miss", "Error"][: len(present)]
    columns = Parser(lists).parse([b"\t".join([b"1771252345", *map(str.encode, values)]) + b"\n"], np.array([NOW_MS]))
    assert columns.texts_of(RESULT_TYPE) == ["" if taken is None else values[taken]]
    assert lists.offered == {"timestamp"} | ({present[taken]} if taken is not None else set())
