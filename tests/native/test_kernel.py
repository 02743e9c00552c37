"""The kernel reads strangers' bytes: it must say what the Python path says, and touch no byte that is not its own."""

import base64
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream import native
from sa_stream.errors import Source_Error
from sa_stream.native import ids, messages, rows
from sa_stream.native.ids import Id_Set, merged, parted
from sa_stream.native.messages import HEAD, taken_of
from sa_stream.native.rows import hash_texts
from sa_stream.partitions import Batch
from sa_stream.records.decoder import Layout
from sa_stream.records.fields import Field_Lists, resolve_field_lists
from sa_stream.records.ordinary import Ordinary
from sa_stream.sources import kcl_messages
from sa_stream.sources.kcl_messages import Buffers, Line_Pipe, Packed_Records, Process_Records, Taken, decode_message
from sa_stream.windows.ids import _latest, _parted
from tests.fuzz import mutated
from tests.log_lines import ordinary_lines
from tests.native.both_ways import LENGTHS, assert_the_same, forget_rows, guarded, needs_kernel

pytestmark = needs_kernel

NOW_MS = 1_771_252_345_000
FULL = resolve_field_lists("canonical", "")
SMALL = resolve_field_lists("timestamp,cs-uri-stem,x-edge-request-id,sc-bytes,time-taken", "")
PATH_LAST = resolve_field_lists("timestamp,x-edge-request-id,sc-bytes,time-taken,cs-uri-stem", "")


@pytest.fixture
def guarded_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Whatever the kernel may write to ends (or begins) at a page that nobody may touch."""
    at_end: bool = request.param

    def memory(shape: tuple[int, ...] | int, kind: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        return guarded(size, at_end).view(kind).reshape(shape)

    monkeypatch.setattr(rows, "memory", memory)
    monkeypatch.setattr(messages, "memory", memory)
    monkeypatch.setattr(messages, "_buffers", [])
    forget_rows()
    yield at_end
    forget_rows()


both_ends = pytest.mark.parametrize("guarded_memory", [True, False], ids=["end", "beginning"], indirect=True)


def test_hashes_are_those_that_are_stored() -> None:
    rng = random.Random(7)
    texts = [rng.randbytes(length) for length in [*range(600), *LENGTHS] if length < 5_000]
    end = np.cumsum([len(text) for text in texts])
    begin = end - np.array([len(text) for text in texts])
    content = np.frombuffer(b"".join(texts), np.uint8)
    for seed in (0, 1, 0xFFFF_FFFF_FFFF_FFFF, 0x0123_4567_89AB_CDEF, 1 << 63):
        hashes, some_are_longer = hash_texts(content, begin, end, seed)
        assert some_are_longer
        expected = [xxhash.xxh3_64_intdigest(text, seed) if len(text) <= 240 else 0 for text in texts]
        assert hashes.tolist() == expected


RUN = st.dictionaries(st.integers(0, 40) | st.integers(0, (1 << 64) - 1), st.integers(-5, 5), max_size=60)


@given(RUN, RUN, st.integers(-6, 6), st.booleans())
def test_runs_of_ids_merge_as_without_the_kernel(
    one: dict[int, int], other: dict[int, int], oldest: int, at_end: bool
) -> None:
    runs = []
    for held in (one, other):
        ids, minutes = guarded(8 * len(held), at_end).view(np.uint64), guarded(4 * len(held), at_end).view(np.int32)
        ids[:], minutes[:] = np.array(sorted(held), np.uint64), [held[key] for key in sorted(held)]
        runs.append((ids, minutes))
    for found, expected in zip(merged(*runs, oldest), _latest(runs, oldest), strict=True):
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()


@given(RUN.filter(bool), st.booleans())
def test_ids_are_put_together_by_minutes_as_without_the_kernel(run: dict[int, int], at_end: bool) -> None:
    ids, minutes = guarded(8 * len(run), at_end).view(np.uint64), guarded(4 * len(run), at_end).view(np.int32)
    ids[:], minutes[:] = np.array(sorted(run), np.uint64), [run[key] for key in sorted(run)]
    first, count = int(minutes.min()), int(minutes.max() - minutes.min()) + 1
    for found, expected in zip(parted(ids, minutes, first, count), _parted(ids, minutes, first, count), strict=True):
        assert found.tolist() == expected.tolist()
    with pytest.raises(AssertionError):
        parted(ids, minutes, first + 1, count)


@given(st.lists(st.lists(st.integers(0, 40) | st.integers(0, (1 << 64) - 1), max_size=60), max_size=8), st.booleans())
def test_a_set_tells_which_ids_came_before(calls: list[list[int]], at_end: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "memory", lambda count, kind: guarded(count, at_end).view(kind))
        patch.setattr(ids, "SLOTS_MIN", 1)  # it grows with the first
        patch.setattr(ids, "MOVED_TOGETHER", 7)
        held, came = Id_Set(), set[int]()
        for call in calls:
            sought = guarded(8 * len(call), at_end).view(np.uint64)
            sought[:] = np.array(call, np.uint64)
            expected = []
            for number in call:
                expected.append((number or 1) in came)  # 0 is taken for 1
                came.add(number or 1)
            assert held.see(sought).tolist() == expected
            slots = held._slots
            held._slots = guarded(slots.nbytes, at_end).view(np.uint64)
            held._slots[:] = slots
        assert held._used == len(came)


def test_a_set_that_would_be_full_takes_nothing() -> None:
    held = Id_Set()
    held.see(np.arange(1, 400, dtype=np.uint64))
    before = held._slots.copy()
    with pytest.raises(AssertionError):
        held._put(np.arange(1, 1_024 - 398, dtype=np.uint64))
    assert (held._slots == before).all()
    held._slots = held._slots[:0]
    with pytest.raises(AssertionError):
        held._put(np.ones(1, np.uint64))


@both_ends
@pytest.mark.parametrize("length", LENGTHS)
def test_lines_of_any_length_are_read_between_pages_that_nobody_may_touch(guarded_memory: bool, length: int) -> None:
    rng = random.Random(length)
    for filler in (b"a", b"\t", b"\n", b"\r", b"\xc3", b"?", b"-"):
        for place in (0, 1, length // 2, length):
            line = b"1771252345.123\t/" + filler * length + b"\tid\t5\t0.125"
            cut = line[: len(line) - place] if place else line
            for text in (
                cut + b"\n",
                filler * length + b"\n",
                rng.randbytes(min(length, 300)).replace(b"\n", b"") + b"\n",
            ):
                _scan_guarded(text, guarded_memory)


@both_ends
@pytest.mark.parametrize("length", LENGTHS[:-1])
def test_a_text_has_one_number_wherever_it_lies_and_whatever_lies_behind_it(guarded_memory: bool, length: int) -> None:
    text = b"a" * length
    changed = [text[:place] + b"b" + text[place + 1 :] for place in sorted({0, length // 2, length - 1}) if length]
    paths = [text, *changed, text + b"b", text + b"?" + text, text]
    lines = b"".join(b"1771252345.123\tid\t5\t0.125\t" + path + b"\n" for path in paths)
    for behind in (0, 1, 62, 63, 64, 65, 66):
        after = b"#" * (behind - 1) + b"\n" if behind else b""
        codes = _scan_guarded(lines + after, guarded_memory, PATH_LAST)
        assert codes == [0, *range(1, len(changed) + 2), 0, 0]


def test_texts_cannot_be_chosen_so_that_their_hashes_collide() -> None:
    """These would in one process of 230, if what each eight bytes are hidden under were a sum of the same seed."""
    texts = [b"AAAAaaa" + odd + b"a" * 40 + b"AKh\x04aaa" + odd + b"a" * 8 for odd in (b"@", b"P")]
    buffer = np.frombuffer(b"".join(b"1771252345.123\tid\t5\t0.125\t" + text + b"\n" for text in texts), np.uint8)
    ordinary, held, rng = Ordinary(Layout(PATH_LAST.lists[0])), rows.Rows(), random.Random(1)
    for _ in range(5_000):
        held.numbers.seed = rng.getrandbits(64)
        held.clear()
        held.scan(ordinary.structure, buffer, 0, np.array([len(buffer)]), 0, 0)
        known = held.arrays["text"][: held.numbers.texts_n]
        one, other = known[known["column"] == ordinary.structure.path]["hash"].tolist()
        assert one != other


@both_ends
def test_what_is_kept_may_end_where_its_memory_does(guarded_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [b"1771252345.123\t/%s\t%s\t5\t1\n" % (b"p" * (n // 2 % 50), b"i" * (n % 7)) for n in range(300)]
    for least in range(300, 420, 8):
        for texts_bytes, ids_bytes in ((least, 10_000), (10_000, least)):
            monkeypatch.setattr(rows, "TEXT_BYTES_MAX", texts_bytes)
            monkeypatch.setattr(rows, "ID_BYTES_MAX", ids_bytes)
            forget_rows()
            assert_the_same(lines, SMALL, [NOW_MS * 2] * len(lines))


def _scan_guarded(text: bytes, at_end: bool, lists: Field_Lists = SMALL) -> list[int]:
    """Which path each row has, by its number."""
    buffer = guarded(len(text), at_end)
    buffer[:] = np.frombuffer(text, np.uint8)
    ordinary = Ordinary(Layout(lists.lists[0]))
    held = rows.take_rows()
    stopped, _ = held.scan(ordinary.structure, buffer, 0, np.array([len(text)]), 0, 0)
    assert stopped == len(text)
    codes: list[int] = held.arrays["codes"][ordinary.structure.path, : held.numbers.rows_n].tolist()
    rows.give_back(held)
    return codes


@both_ends
def test_hashes_and_messages_touch_no_byte_beside_their_own(guarded_memory: bool) -> None:
    for length in (length for length in LENGTHS if length < 1_000):
        content = guarded(length, guarded_memory)
        hash_texts(content, np.array([0]), np.array([length]), 5)
        line = message([b"aa" + b"a" * length + b"\n"] * 3)
        for end in range(len(line) + 1) if not length else (len(line), len(line) - 1, len(line) // 2, length):
            text = guarded(end, guarded_memory)
            text[:] = np.frombuffer(line[:end], np.uint8)
            assert (unpacked(memoryview(text)) is not None) == (end == len(line))


@pytest.mark.parametrize(
    "limits", [(1, 16, 1 << 21, 1 << 21, 1), (3, 40, 1 << 21, 1 << 21, 2), (64, 90, 1 << 21, 1 << 21, 64)]
)
def test_what_there_is_no_room_for_is_read_with_the_next_portion(
    limits: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ROWS_MAX", "TEXTS_MAX", "TEXT_BYTES_MAX", "ID_BYTES_MAX", "ODD_MAX")
    for name, limit in zip(names, limits, strict=True):
        monkeypatch.setattr(rows, name, limit)
    forget_rows()
    rng = random.Random(3)
    lines = [mutated(line, rng) + b"\n" for line in ordinary_lines(seed=3, count=300).splitlines()]
    payloads = [b"".join(lines[i : i + 3]) for i in range(0, 300, 3)]
    assert_the_same(payloads, FULL, [NOW_MS * 2] * len(payloads))
    forget_rows()


@settings(max_examples=60)
@given(st.integers(0, 1 << 40), st.sampled_from([FULL, SMALL]))
def test_mutated_lines_say_what_they_say_without_the_kernel(seed: int, lists: Field_Lists) -> None:
    assert_the_same(hostile_payloads(seed, lists), lists, [NOW_MS * 2] * PAYLOADS)


PAYLOADS = 12

_digits = st.text("0123456789", min_size=0, max_size=8)
_times = st.one_of(
    st.sampled_from(
        ["-", "", "nan", "1e3", "+1", "-1", " 1", "1 ", "0.0000005", "9" * 20, "9" * 31, "1.2.3", "٣", "--"]
    ),
    st.builds(str.__add__, _digits, st.builds(str.__add__, st.sampled_from(["", ".", ",", ":", "/"]), _digits)),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(_times, _times, _times), min_size=1, max_size=30))
def test_times_are_the_same_microseconds_as_without_the_kernel(times: list[tuple[str, str, str]]) -> None:
    lists = resolve_field_lists("timestamp,time-taken,cs-uri-stem,origin-fbl,time-to-first-byte", "")
    lines = ["\t".join(("1771252345.123", taken, "/", fbl, first)).encode() + b"\n" for taken, fbl, first in times]
    assert_the_same(lines, lists, [NOW_MS * 2] * len(lines))


def hostile_payloads(seed: int, lists: Field_Lists) -> list[bytes]:
    rng = random.Random(seed)
    lines = [mutated(line, rng) for line in ordinary_lines(seed=seed, count=60, duplicate_rate=0.1).splitlines()]
    if lists is SMALL:
        lines = [
            b"\t".join(line.split(b"\t")[place] for place in (0, 7, 9, 3, 10) if place < line.count(b"\t") + 1)
            for line in lines
        ]
    for _ in range(rng.choice([0, 0, 3, 40])):
        lines[rng.randrange(len(lines))] = rng.choice([b"", b"#", b"#\t", b"\r", b"\xff\t\xfe", b"x", b"\x1f\x8b\x08"])
    ends = [rng.choice([b"\n"] * 9 + [b"\r\n"]) for _ in lines]
    whole = [line + end for line, end in zip(lines, ends, strict=True)]
    return [b"".join(whole[i::PAYLOADS]) for i in range(PAYLOADS)]


# ---------------------------------------------------------------------- messages


def message(payloads: list[bytes], **more: object) -> bytes:
    records = [
        {
            "action": "record",
            "data": base64.b64encode(payload).decode(),
            "partitionKey": f"key-{number}",
            "sequenceNumber": str(10**55 + number),
            "approximateArrivalTimestamp": NOW_MS + number,
            "subSequenceNumber": 0,
        }
        for number, payload in enumerate(payloads)
    ]
    whole = {"action": "processRecords", "records": records, "millisBehindLatest": 5, **more}
    return json.dumps(whole, separators=(",", ":")).encode() + b"\n"


def test_messages_that_come_at_the_same_time_use_the_memory_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_buffers", [])
    records = memoryview(message([b"a" * 468 + b"\n"] * 10_000))[len(HEAD) :]
    used = []
    for _ in range(2):
        takings, begins = [Taken() for _ in range(4)], [0] * 4
        while not all(taking.ended for taking in takings):
            for place, taking in enumerate(takings):
                if not taking.ended:
                    begins[place] += taking.take(records[begins[place] : begins[place] + (512 << 10)])
        used.append({id(taking._texts["content"]) for taking in takings})
        del takings, taking
    assert used[0] == used[1]


def unpacked(line: bytes | memoryview) -> Batch | None:
    """What the kernel alone makes of a whole message; None if something of it is not as usual."""
    taken = taken_of(line)
    return None if taken is None else taken.batch()


def judged(line: bytes) -> list[Any] | None:
    """What the JSON decoder makes of a line; None if it takes it for no message."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "AVAILABLE", False)
        return read_message(line)


def read_message(line: bytes | memoryview | Taken) -> list[Any] | None:
    try:
        decoded = decode_message(line)
    except Source_Error:
        return None
    return said(decoded) if isinstance(decoded, Process_Records) else None


def said(decoded: Process_Records) -> list[Any]:
    batch = decoded.batch()
    payloads = [
        payload if payload.endswith(b"\n") or len(payload) < 2 else payload + b"\n" for payload in batch.payloads
    ]
    numbers, arrivals_ms = list(batch.sequence_numbers), [int(time) for time in batch.arrivals_ms]
    return [payloads, arrivals_ms, numbers, batch.millis_behind_latest]


@given(st.lists(st.binary(min_size=2, max_size=300), min_size=1, max_size=20))
def test_a_message_says_what_the_json_decoder_reads(payloads: list[bytes]) -> None:
    line = message(payloads)
    batch = unpacked(line)
    assert (batch is None) == any(payload[:2] == b"\x1f\x8b" for payload in payloads)
    if batch is not None:
        assert said(Packed_Records([], packed=batch)) == judged(line)


def test_a_message_that_is_not_as_usual_goes_to_the_json_decoder() -> None:
    line = message([b"a\tb\n", b"c\n"])
    odd = [
        line.replace(b":5}", b":null}"),
        line.replace(b":5}", b":05}"),
        line.replace(b'"key-0"', b'"\\u0041"'),
        line.replace(b"key-0", b"key\xff0"),
        line.replace(b"key-0", b"key\n0"),
        line.replace(b'{"action":"record",', b'{ "action":"record",', 1),
        line.replace(b'"subSequenceNumber":0', b'"subSequenceNumber":-1', 1),
        line.replace(b'"YQliCg=="', b'"YQliCg="'),
        line.replace(b'"YQliCg=="', b'"YQliCh=="'),
        line.replace(b'"YQliCg=="', b'"YQliCg=*"'),
        line.replace(b'"YQliCg=="', b'"Y"'),
        line.replace(b'"YQliCg=="', b'""'),
        line.replace(b"]", b",]"),
        line[:-1],
        line + b" ",
        message([]),
        message([b"\x1f\x8b\x08"]),
    ]
    assert unpacked(line) is not None
    for text in odd:
        assert text != line
        assert unpacked(text) is None


@settings(max_examples=150)
@given(st.integers(0, 1 << 40))
def test_a_mutated_message_is_read_as_the_json_decoder_reads_it_or_not_at_all(seed: int) -> None:
    rng = random.Random(seed)
    line = bytearray(message([rng.randbytes(rng.choice([2, 3, 47, 48, 49, 200])) for _ in range(rng.randint(1, 6))]))
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(line))
        match rng.randrange(4):
            case 0:
                line[place] = rng.randrange(256)
            case 1:
                del line[place : place + rng.choice([1, 2, 4, 40])]
            case 2:
                line[place:place] = rng.choice([b'"', b"\\", b",", b"0", b"=", b"]", b"}", b" ", b"\n"])
            case _:
                line[place] ^= 1 << rng.randrange(8)
    batch = unpacked(bytes(line))
    if batch is not None:
        assert said(Packed_Records([], packed=batch)) == judged(bytes(line))


@settings(max_examples=60)
@given(st.integers(0, 1 << 40))
def test_messages_in_pieces_say_what_whole_ones_say(seed: int) -> None:
    rng = random.Random(seed)
    lines = []
    for _ in range(rng.randint(1, 4)):
        payloads = [rng.randbytes(rng.choice([0, 1, 2, 40, 300])) for _ in range(rng.choice([0, 1, 5, 60]))]
        line = bytearray(message(payloads))
        if rng.random() < 0.5:
            place = rng.randrange(len(line) - 4)  # its end stays
            line[place : place + rng.choice([0, 1, 3])] = rng.choice(
                [b"", b" ", b"{", b'"', b"]", b",", b",]", b"\\u0041"]
            )
        lines.append(bytes(line) if rng.random() < 0.9 else b'{"action":"leaseLost"}\n')
    assert through_a_pipe(b"".join(lines), rng) == [
        judged(line) for whole in lines for line in whole.splitlines(keepends=True)
    ]


def through_a_pipe(content: bytes, rng: random.Random) -> list[list[Any] | None]:
    """What each line says that goes through a pipe in pieces of any size; those of any size are taken apart."""
    reader, writer = os.pipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kcl_messages, "PACKED_BYTES_MIN", rng.choice([len(HEAD), 300, 5_000]))
        pipe, found = Line_Pipe(reader, Buffers()), []
        while content:
            size = rng.choice([1, 30, 700, 60_000]) if len(content) < 4_000 else rng.choice([700, 4_000, 60_000])
            os.write(writer, content[:size])
            content = content[size:]
            found += [read_message(line) for line in pipe.read() or []]
        os.close(writer)
        assert pipe.cut_off_bytes == 0
        pipe.close()
    return found


def test_what_is_taken_of_a_message_counts_against_its_limit_and_as_cut_off() -> None:
    reader, writer = os.pipe()
    pipe = Line_Pipe(reader, Buffers(), bytes_max=200_000)
    records = message([b"x" * 600 + b"\n"] * 50).partition(b"]")[0]
    os.write(writer, records)
    assert pipe.read() == []
    assert 30_000 < pipe.cut_off_bytes < len(records)

    def read_more() -> None:
        for _ in range(20):
            os.write(writer, b"," + records.removeprefix(HEAD))
            pipe.read()

    with pytest.raises(Source_Error, match="more than 0 MiB"):
        read_more()
    os.close(writer)
    pipe.close()
