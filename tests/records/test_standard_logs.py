"""Logs that name their own fields: by which list their lines are read, and that every form gives the same lines."""

import time
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
import pytest

from sa_stream.errors import Source_Error
from sa_stream.records.columns import CODED_COLUMNS, REASONS
from sa_stream.records.fields import Time_Form
from sa_stream.records.micros import DURATIONS
from sa_stream.records.parser import Parser
from sa_stream.records.request_ids import REQUEST_ID
from sa_stream.records.standard_logs import (
    Named_Fields,
    fields_of_columns,
    fields_of_header,
    lines_of_frame,
    lines_of_json,
)
from tests.pieces import columns_of

NOW_MS = 1_771_300_000_000
NONE: frozenset[str] = frozenset()


def parsed(fields: Named_Fields, lines: bytes):
    (columns,) = columns_of(Parser(fields.lists), lines, NOW_MS)
    return columns


def of_columns(names: tuple[str, ...]) -> Named_Fields:
    return fields_of_columns(names, NONE)


def parsed_json(lines: bytes):
    """Columns of what is read alike, and the text of all of it."""
    found = list(lines_of_json(lines, of_columns))
    return [parsed(fields, text) for fields, text in found], b"".join(text for _, text in found)


def reasons(columns) -> list[str]:
    return [REASONS[reason] for reason in columns.dropped.reason]


def test_the_viewer_s_host_is_x_host_header_in_standard_logs_and_cs_host_in_real_time_ones() -> None:
    standard = parsed(
        fields_of_header(b"#Fields: date time cs(Host) x-host-header", NONE),
        b"2026-02-16\t14:54:04\td1.cloudfront.net\tcdn.example.org\n",
    )
    real_time = [
        parsed(fields_of_header(names, NONE), b"1771253644.000\tcdn.example.org\td1.cloudfront.net\n")
        for names in (b"#Fields: timestamp cs-host x-host-header", b"#Fields: timestamp cs_host x_host_header")
    ]
    for columns in (standard, *real_time):
        assert columns.texts_of("cs-host") == ["cdn.example.org"]
        assert columns.event_ms.tolist() == [1_771_253_644_000]


def test_without_x_host_header_a_standard_log_does_not_say_what_the_viewer_asked_for() -> None:
    fields = fields_of_header(b"#Fields: date time cs(Host) sc-status", NONE)
    assert "cs-host" not in fields.lists.offered


@pytest.mark.parametrize(
    ("names", "values", "event_ms"),
    [
        (("date", "time"), ("2026-02-16", "14:54:04"), 1_771_253_644_000),
        (("timestamp(ms)",), ("1771253644123",), 1_771_253_644_123),
        (("timestamp_ms",), ("1771253644123",), 1_771_253_644_123),
        (("time", "timestamp(ms)", "date"), ("14:54:04", "1771253644123", "2026-02-16"), 1_771_253_644_123),
        (("timestamp",), ("1771253644.5",), 1_771_253_644_500),
        (("timestamp", "date", "time"), ("1771253644.5", "2026-02-16", "14:54:04"), 1_771_253_644_000),
    ],
)
def test_the_time_is_found_in_each_of_its_forms(names, values, event_ms) -> None:
    fields = fields_of_header(b"#Fields: " + " ".join(("sc-status", *names)).encode(), NONE)
    assert parsed(fields, "\t".join(("200", *values)).encode() + b"\n").event_ms.tolist() == [event_ms]
    fields = fields_of_columns(("sc-status", *names), NONE)
    frame = pl.DataFrame([("200", *values)], schema=["sc-status", *names], orient="row")
    assert parsed(fields, lines_of_frame(frame, fields.columns)).event_ms.tolist() == [event_ms]


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            Time_Form.DATE_AND_TIME,
            "2026-02-16\t14:54:04",
            [
                "-\t14:54:04",
                "2026-02-16\t-",
                "2026-02-30\t10:00:00",
                "2026-02-16\t24:00:00",
                "16.2.2026\t10:00:00",
                "\t",
            ],
        ),
        (Time_Form.MILLISECONDS, "1771253644123", ["-", "", "1771253644", "177125364412x", "-771253644123"]),
    ],
)
def test_what_is_no_time_is_malformed(form: Time_Form, good: str, bad: list[str]) -> None:
    header = {Time_Form.DATE_AND_TIME: b"date time", Time_Form.MILLISECONDS: b"timestamp(ms)"}[form]
    fields = fields_of_header(b"#Fields: " + header + b" sc-status", NONE)
    lines = "".join(f"{time}\t200\n" for time in [good, *bad]).encode()
    columns = parsed(fields, lines)
    assert len(columns) == 1
    assert reasons(columns) == ["timestamp"] * len(bad)


def test_what_tells_who_a_visitor_is_is_never_parsed_and_is_named_as_the_log_names_it() -> None:
    names = ("date", "time", "c-ip", "cs(Cookie)", "x_forwarded_for", "asn", "sc-status", "a-new-field")
    for fields in (fields_of_header(b"#Fields: " + " ".join(names).encode(), NONE), fields_of_columns(names, NONE)):
        assert fields.never_parsed == ("c-ip", "cs(Cookie)", "x_forwarded_for", "asn", "a-new-field")
    assert fields.columns == ("date", "time", "sc-status")


def test_a_header_without_a_time_or_with_a_name_twice_is_refused() -> None:
    with pytest.raises(Source_Error, match="no time: expected date and time"):
        fields_of_header(b"#Fields: date sc-status", NONE)
    with pytest.raises(Source_Error, match=r"cs\(Host\) twice"):
        fields_of_header(b"#Fields: date time cs(Host) cs_host", NONE)


def test_json_parquet_and_w3c_give_the_same_values_also_where_w3c_alone_encodes() -> None:
    header = b"#Fields: date time sc-bytes cs-uri-stem cs(User-Agent)"
    plain = {
        "date": "2026-02-16",
        "time": "14:54:04",
        "sc-bytes": 12,
        "cs-uri-stem": "/\u00e9",
        "cs(User-Agent)": "a\tb c~",
    }
    w3c = parsed(fields_of_header(header, NONE), b"2026-02-16\t14:54:04\t12\t/%C3%A9\ta%09b%20c%7E\n")
    fields = fields_of_columns(tuple(plain), NONE)
    frame = parsed(fields, lines_of_frame(pl.DataFrame([plain]), fields.columns))
    text = pl.Series([plain]).struct.json_encode()[0].encode() + b"\n"
    for columns in (frame, *parsed_json(text)[0]):
        assert all(columns.texts_of(name) == w3c.texts_of(name) for name in (*CODED_COLUMNS, REQUEST_ID))
        assert all(columns.micros_of(name) == w3c.micros_of(name) for name in DURATIONS)
        assert columns.as_texts.status.tolist() == w3c.as_texts.status.tolist()
        assert columns.as_texts.sizes.tolist() == w3c.as_texts.sizes.tolist()
        assert columns.event_ms.tolist() == w3c.event_ms.tolist()


def test_json_lines_that_are_none_are_malformed_and_all_others_are_read() -> None:
    good = b'{"timestamp(ms)":"1771253644123","sc-status":200,"cs-uri-stem":"/a"}'
    lines = b"\n".join(
        [good, b"no\tjson", b"", b'{"sc-status":"200"}', good[:-9], b"[1]", b"1", good, b'{"a":"\xff"}', b"{}"]
    )
    found, _ = parsed_json(lines + b"\n")
    assert [text for columns in found for text in columns.texts_of("cs-uri-stem")] == ["/a", "/a"]
    assert sorted(reason for columns in found for reason in reasons(columns)) == ["fields"] * 5 + ["timestamp"] * 2


DEEP = b'{"timestamp":"1771253644.1","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "broken",
    [b"broken", b'{"timestamp":"\xff"}', b'{"timestamp":1e999}', b'{"timestamp":"\\ud800"}', b"[1]", DEEP],
    ids=["no JSON", "no UTF-8", "no number", "half a character", "no object", "deep"],
)
def test_a_value_is_written_the_same_beside_a_line_that_is_none(broken: bytes) -> None:
    values = [
        b"1771253644123.0",
        b"1e5",
        b"0.00001",
        b"-0.0",
        b"[1,2]",
        b'{"c":1}',
        b"true",
        b'"x\\ty"',
        b"12345678901",
    ]
    good = [b'{"timestamp(ms)":1771253644123.0,"sc-status":200.0,"time-taken":%b}' % value for value in values]
    _, alone = parsed_json(b"\n".join(good) + b"\n")
    assert alone.count(b"\t1771253644123\n") == len(good)
    for place in range(len(good) + 1):
        _, beside = parsed_json(b"\n".join([*good[:place], broken, *good[place:]]) + b"\n")
        assert beside == alone + broken + b"\n"


def test_a_column_of_numbers_or_times_is_read_like_one_of_text() -> None:
    frame = pl.DataFrame(
        {"timestamp_ms": [1_771_253_644_123], "sc_status": [200], "time_taken": [0.25], "cs_user_agent": [b"curl"]}
    )
    fields = fields_of_columns(tuple(frame.columns), NONE)
    columns = parsed(fields, lines_of_frame(frame, fields.columns))
    assert (columns.micros_of("time-taken"), columns.texts_of("cs-user-agent")) == ([250_000], ["curl"])
    assert columns.as_texts.status.tolist() == [200]
    assert columns.event_ms.tolist() == [1_771_253_644_123]
    days = pl.DataFrame({"date": ["2026-02-16"], "time": ["14:54:04"]}).with_columns(
        pl.col("date").str.to_date(), pl.col("time").str.to_time()
    )
    fields = fields_of_columns(("date", "time"), NONE)
    assert parsed(fields, lines_of_frame(days, fields.columns)).event_ms.tolist() == [1_771_253_644_000]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("names", [("timestamp",), ("timestamp_ms",), ("date", "time")])
def test_a_time_may_have_the_type_of_one(
    names: tuple[str, ...], unit: Literal["ms", "us", "ns"], zone: str | None
) -> None:
    times = pl.Series([datetime(2026, 2, 16, 23, 54, 4, 123_000), None]).dt.cast_time_unit(unit)
    times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else times
    frame = pl.DataFrame([times.alias(name) for name in names])
    fields = fields_of_columns(names, NONE)
    columns = parsed(fields, lines_of_frame(frame, fields.columns))
    assert columns.event_ms.tolist() == [1_771_286_044_123 if len(names) == 1 else 1_771_286_044_000]
    assert reasons(columns) == ["timestamp"]


def test_a_status_is_the_same_as_text_and_as_any_number() -> None:
    texts = ["000", "200", "404"]
    whole = [0, 200, 404]
    for statuses in (texts, whole, [0.0, 200.0, 404.0], pl.Series([0, 200, 404], dtype=pl.Float32)):
        frame = pl.DataFrame({"timestamp_ms": ["1771253644123"] * 3, "sc_status": statuses})
        fields = fields_of_columns(tuple(frame.columns), NONE)
        columns = parsed(fields, lines_of_frame(frame, fields.columns))
        assert columns.as_texts.status.tolist() == whole
    rows = b"".join(b'{"timestamp(ms)":1771253644123,"sc-status":%d}\n' % status for status in whole)
    assert [columns.as_texts.status.tolist() for columns in parsed_json(rows)[0]] == [whole]


def test_names_that_are_others_in_every_line_take_no_more_time_than_lines_of_the_same() -> None:
    """They are all told of; looking each up among the others would take minutes."""
    rows = 900
    lines = b"".join(
        b'{"timestamp":"1771253644.1",%b}\n' % b",".join(b'"x%d-%d":"1"' % (row, place) for place in range(40))
        for row in range(rows)
    )
    began_s = time.process_time()
    ((fields, text),) = lines_of_json(lines, of_columns)
    assert fields is not None
    assert (len(fields.never_parsed), text.count(b"\n")) == (40 * rows, rows)
    assert time.process_time() - began_s < 5


@pytest.mark.parametrize("value", [["a", "b"], timedelta(seconds=5)], ids=["list", "duration"])
def test_a_column_of_what_is_no_single_value_is_named_with_its_type(value: object) -> None:
    frame = pl.DataFrame({"timestamp": ["1771253644.1"], "time-taken": [value]})
    with pytest.raises(Source_Error, match=r"column time-taken is of type (List|Duration).*: write it as text"):
        lines_of_frame(frame, tuple(frame.columns))


def test_no_value_of_a_column_can_make_a_line_or_a_field() -> None:
    odd = ["a\nb", "a\rb", "a\tb", '"', "#", "", "-", "\x00", "\u2028", "%0A", "'quoted, with commas'"]
    frame = pl.DataFrame(
        {"timestamp": ["1771253644.1"] * len(odd), "cs-user-agent": odd, "sc-status": ["200"] * len(odd)}
    )
    fields = fields_of_columns(tuple(frame.columns), NONE)
    columns = parsed(fields, lines_of_frame(frame, fields.columns))
    assert (len(columns), len(columns.dropped)) == (len(odd), 0)
    assert np.all(columns.as_texts.status == 200)
