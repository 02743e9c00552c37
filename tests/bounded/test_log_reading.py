"""However logs are cut into pieces and these put together, each file has its records, and the windows are the same."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa_stream.bounded import log_reading
from sa_stream.bounded.log_reading import Log_Reading
from sa_stream.bounded.replay import read_windows
from sa_stream.errors import Field_List_Error
from sa_stream.log_file import Log_File, Log_Form, Log_Lines, Log_Table
from sa_stream.records import field_finder, ordinary, parser
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from tests.log_lines import NOW_MS, chunked, line_of, log_files
from tests.oracle import CANONICAL

pytestmark = pytest.mark.usefixtures("both_ways")

SHORT = ["timestamp", "sc-status", "sc-bytes", "cs-uri-stem", "x-edge-request-id"]
INTAKE = Intake(resolve_field_lists(f"canonical;{','.join(SHORT)}", ""))
FUTURE_MS = 300_000
NAMED = b"#Version: 1.0\n#Fields: date time sc-status cs-uri-stem sc-bytes\n"
STANDARD = b"2026-02-16\t14:30:0%d\t200\t/a\t17\n"

AT = '"date":"2026-02-16","time":"14:30:00"'
JSON = {  # records by their names
    "less": f'{{{AT},"sc-status":"200","x-edge-request-id":"%d"}}',
    "more": f'{{{AT},"sc-status":"200","x-edge-request-id":"%d","sc-bytes":"7","x-edge-result-type":"Hit"}}',
    "another order": '{"x-edge-request-id":"%d","sc-status":"404","time":"14:30:09","date":"2026-02-16"}',
    "another time": '{"timestamp(ms)":"1771252200123","sc-status":200,"x-edge-request-id":"%d","sc-bytes":5.0}',
    "another result": f'{{{AT},"x-edge-request-id":"%d","x-edge-response-result-type":"Miss","cs-bytes":null}}',
    "another host": '{"timestamp":1771252200.5,"sc-status":"200","x-edge-request-id":"%d","cs-host":"a.example.org"}',
    "another spelling": f'{{{AT},"sc_status":"200","x_edge_request_id":"%d","cs_user_agent":"curl","cs_method":"GET"}}',
    "a host of the delivery": f'{{{AT},"sc-status":"200","x-edge-request-id":"%d","cs(Host)":"d1.cloudfront.net"}}',
}
GOOD = (JSON["less"] % 1).encode() + b"\n"
LONG = (JSON["less"] % 1).replace("200", "2" * (3 << 19)).encode() + b"\n"

type Found = tuple[dict[int, bytes], list[tuple[int, Counter[str]]]]  # windows; records and dropped ones of each file


def found(files: Sequence[Sequence[bytes]], form: Log_Form | None = None) -> Found:
    notes = [Log_File(f"file {number}", form) for number in range(len(files))]
    pieces = [Log_Lines(note, piece) for note, file in zip(notes, files, strict=True) for piece in file]
    read = read_windows(Log_Reading(pieces, INTAKE.lists, NOW_MS, FUTURE_MS, checked=True), INTAKE)
    windows = {start_ms: window.to_bytes() for start_ms, window in read.windows.items()}
    return windows, [(note.records, note.invalid) for note in notes]


def real_time(fields: Sequence[str]) -> st.SearchStrategy[bytes]:
    return log_files(fields, lines_max=12, long=False).map(lambda text: text + b"\n" * (text[-1:] not in (b"\n", b"")))


STANDARD_FILES = st.integers(1, 9).map(lambda count: NAMED + b"".join(STANDARD % number for number in range(count)))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_pieces_may_be_put_together_in_any_way(data: st.DataObject) -> None:
    one_of = st.one_of(real_time(CANONICAL), real_time(CANONICAL), real_time(SHORT), STANDARD_FILES)
    files = data.draw(st.lists(one_of, min_size=1, max_size=5))
    expected = found([[file] for file in files])
    cut = [[file] if file.startswith(NAMED) else data.draw(chunked(file)) for file in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reading, "PIECES_MAX", data.draw(st.integers(1, 4)))
        patch.setattr(parser, "JOINED_BYTES", data.draw(st.sampled_from([1, 1_000, 9 << 20])))
        assert found(cut) == expected
    alone = [found([file]) for file in cut]
    assert [note for _, (note,) in alone] == expected[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_json_lines_with_other_names_give_the_same_in_any_order_and_in_any_pieces(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(JSON)), min_size=1, max_size=9))
    lines = [(JSON[kind] % number).encode() + b"\n" for number, kind in enumerate(kinds)]
    windows, notes = found([[line] for line in lines], Log_Form.JSON_LINES)
    assert [note for note in notes if note != (1, Counter())] == []
    others = data.draw(st.lists(st.sampled_from([b"\n", b"broken\n", b"\r\n"]), max_size=3))
    mixed = data.draw(st.permutations([*lines, *others]))
    ends = sorted(data.draw(st.sets(st.integers(1, len(mixed)))) | {0, len(mixed)})
    pieces = [b"".join(mixed[begin:end]) for begin, end in pairwise(ends)]
    broken = others.count(b"broken\n")
    expected = windows, [(len(lines) + broken, Counter({"fields": broken} if broken else {}))]
    assert found([pieces], Log_Form.JSON_LINES) == expected


@pytest.mark.parametrize(
    ("pieces", "records", "invalid"),
    [
        ([b"\n" * 100 + GOOD * 3], 3, {}),
        ([b"broken\n" * 100 + GOOD * 3], 103, {"fields": 100}),
        ([GOOD * 3, b"broken\n" * 200], 203, {"fields": 200}),
        ([b"broken\n" * 200, GOOD * 3], 203, {"fields": 200}),
        ([GOOD * 3, b"{}\n" * 200], 203, {"timestamp": 200}),
        ([GOOD * 3 + b"{}\n" * 200], 203, {"timestamp": 200}),
        ([GOOD * 3, LONG[: (1 << 20) + 1] + b"\n"], 4, {"too_long": 1}),
        ([GOOD + LONG + GOOD], 3, {"too_long": 1}),
        ([LONG[: (1 << 20) + 1] + b"\n", GOOD], 2, {"too_long": 1}),
    ],
    ids=["empty", "broken", "broken end", "broken begin", "no names", "names", "long end", "long", "long begin"],
)
def test_every_line_of_json_is_counted(pieces: list[bytes], records: int, invalid: dict[str, int]) -> None:
    _, notes = found([pieces], Log_Form.JSON_LINES)
    assert notes == [(records, Counter(invalid))]


def test_json_lines_of_which_none_has_a_time_are_named() -> None:
    file = Log_File("a.json", Log_Form.JSON_LINES)
    reading = Log_Reading([Log_Lines(file, b'broken\n{"sc-status":"200"}\n')], INTAKE.lists, NOW_MS, FUTURE_MS)
    assert list(reading) == []
    assert file.error is not None
    assert "a.json cannot be read: its fields have no time: expected date and time" in file.error


def test_a_table_that_cannot_be_read_is_named_and_the_next_file_is_read() -> None:
    odd = Log_File("odd.parquet", Log_Form.PARQUET)
    frame = pl.DataFrame({"timestamp": ["1771252200.5"], "cs-uri-stem": [["a", "b"]]})
    good = Log_File("good.json", Log_Form.JSON_LINES)
    pieces = [Log_Table(odd, tuple(frame.columns), lambda names: iter([frame])), Log_Lines(good, GOOD)]
    list(Log_Reading(pieces, INTAKE.lists, NOW_MS, FUTURE_MS))
    assert (odd.error or "").startswith("odd.parquet cannot be read: its column cs-uri-stem is of type List")
    assert (good.error, good.records) == (None, 1)


@pytest.mark.parametrize("lines", [1, 300])
@pytest.mark.parametrize("form", [Log_Form.W3C, Log_Form.JSON_LINES])
def test_lines_without_a_time_do_not_refuse_logs_that_name_their_fields(form: Log_Form, lines: int) -> None:
    """And real-time lines behind them still tell their list."""
    auto = resolve_field_lists("auto", "")
    note, standard, ours = Log_File("README", Log_Form.TEXT), Log_File("a", form), Log_File("b", Log_Form.TEXT)
    content = NAMED + STANDARD % 1 if form == Log_Form.W3C else GOOD
    pieces = [Log_Lines(standard, content), Log_Lines(note, b"Logs of our site.\n" * lines)]
    assert sum(len(read.columns) for read in Log_Reading(pieces, auto, NOW_MS, FUTURE_MS)) == 1
    assert (note.error or "").startswith("README looks like no log, which is not read: it names no fields")
    assert standard.error is None
    note.error = None
    pieces.append(Log_Lines(ours, line_of({"timestamp": "1771252200.5"}) + b"\n"))
    assert sum(len(read.columns) for read in Log_Reading(pieces, auto, NOW_MS, FUTURE_MS)) == 2


@pytest.mark.parametrize("name", ["a standard log", "real-time lines"])
def test_a_long_note_before_all_logs_is_named_and_they_are_read(name: str) -> None:
    note, log = Log_File("README", Log_Form.TEXT), Log_File(name, Log_Form.TEXT)
    content = NAMED + STANDARD % 1 if name == "a standard log" else line_of({"timestamp": "1771252200.5"}) + b"\n"
    pieces = [*[Log_Lines(note, b"Logs of our site.\n" * 200)] * 2, Log_Lines(log, content)]
    reading = Log_Reading(pieces, resolve_field_lists("auto", ""), NOW_MS, FUTURE_MS)
    assert sum(len(read.columns) for read in reading) == 1
    assert (note.error or "").startswith("README looks like no log")
    assert (log.error, log.records) == (None, 1)


def test_any_number_of_standard_logs_needs_no_other_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a line above its header, and these tell nothing."""
    monkeypatch.setattr(field_finder, "LINES", 50)
    pieces = [Log_Lines(Log_File(f"{number}", Log_Form.W3C), NAMED + STANDARD % 1) for number in range(60)]
    reading = Log_Reading(pieces, resolve_field_lists("auto", ""), NOW_MS, FUTURE_MS)
    assert sum(len(read.columns) for read in reading) == 60


def test_a_file_of_long_lines_is_held_in_little_memory_until_it_is_given_up() -> None:
    file = Log_File("dump.sql", Log_Form.TEXT)
    reading = Log_Reading((), resolve_field_lists("auto", ""), NOW_MS, FUTURE_MS)
    piece = b"INSERT INTO t VALUES " + b"x" * (1 << 19) + b"\n"
    taken = 0
    while file.error is None:
        assert list(reading.take(Log_Lines(file, piece))) == []
        taken += len(piece)
        assert taken < 20 << 20
    assert file.error.startswith("dump.sql looks like no log")


@pytest.mark.parametrize("lines", [1, 200])
def test_lines_without_a_time_are_refused_where_no_log_names_its_fields(lines: int) -> None:
    note = Log_Lines(Log_File("README", Log_Form.TEXT), b"Logs of our site.\n" * lines)
    with pytest.raises(Field_List_Error, match=f"none of the first {lines} lines begins with a time"):
        list(Log_Reading([note], resolve_field_lists("auto", ""), NOW_MS, FUTURE_MS))


def test_of_more_files_than_are_read_as_one_each_has_its_records() -> None:
    lines = [b"17712522%02d.%03d" % divmod(number, 1_000) for number in range(log_reading.PIECES_MAX + 50)]
    files = [[line + b"\t200\t5\t/\t-" + b"\n"] * (1 + place % 3) for place, line in enumerate(lines)]
    windows, notes = found(files)
    assert [records for records, _ in notes] == [1 + place % 3 for place in range(len(files))]
    assert len(windows) == 1


def test_lines_that_the_kernel_does_not_read_take_no_more_memory_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of connections that last for an hour, with queries that nobody stores."""
    monkeypatch.setattr(ordinary, "OTHERS_BYTES_MAX", 100_000)
    short = line_of({"timestamp": "1771252200.5"}) + b"\n"
    long = line_of({"timestamp": "1771252201.5", "time-taken": "3600.5", "cs-uri-stem": "/a?" + "q" * 10_000}) + b"\n"
    reading = Parser(INTAKE.lists, FUTURE_MS).pieces(NOW_MS)
    records = 0
    for _ in range(100):
        records += sum(map(len, reading.add_lines((short + long) * 2, 0)))
        if isinstance(reading, ordinary.Reading):
            assert reading.size_bytes < 500_000
            assert reading.size_bytes >= sum(len(other.text) for other in reading._others)
    assert records + sum(map(len, reading.ended())) == 400
