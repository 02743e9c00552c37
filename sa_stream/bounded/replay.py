"""Bounded input through parser, windows and roll-ups: the quickest way from log lines to final entries."""

from collections.abc import Callable, Iterable, Iterator

from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.records.columns import Columns
from sa_stream.records.fields import DETECT_LINES, Field_Lists, preset_name, resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.records.privacy import Path_Rules
from sa_stream.rollups.entry import Entry
from sa_stream.timing import Timing
from sa_stream.windows.fold import FOLD_ROWS


def read_windows(
    buffers: Iterable[bytes],
    lists: Field_Lists,
    rules: Path_Rules,
    now_ms: int,
    timing: Timing,
    on_fields: Callable[[str], None] = lambda name: None,
) -> Bounded_Windows:
    """Fold buffers of whole lines. `lists` that are still `auto` are decided by the first lines; `on_fields` hears of
    it."""
    buffers = iter(buffers)
    if lists.auto and not lists.lists:
        buffers, lists = _decided(buffers, lists, on_fields)
    parser = Parser(lists, timing.future_ms)
    result = Bounded_Windows(Intake(lists, rules))
    waiting: list[Columns] = []
    rows = 0
    for buffer in buffers:
        for columns in parser.buffer_portions(buffer, now_ms):
            waiting.append(columns)
            rows += len(columns)
            if rows >= FOLD_ROWS:
                result.take(Columns.joined(waiting))
                waiting, rows = [], 0
    if waiting:
        result.take(Columns.joined(waiting))
    return result


def _decided(
    buffers: Iterator[bytes], lists: Field_Lists, on_fields: Callable[[str], None]
) -> tuple[Iterator[bytes], Field_Lists]:
    held: list[bytes] = []
    lines: list[bytes] = []
    for buffer in buffers:
        held.append(buffer)
        lines += buffer.split(b"\n", DETECT_LINES)[:DETECT_LINES]
        if len(lines) >= DETECT_LINES:
            break
    if any(line.strip() and not line.startswith(b"#") for line in lines):
        lists = lists.decide(lines)
        on_fields(preset_name(lists.lists[0]))
    else:
        lists = resolve_field_lists("canonical", "")  # nothing to read, so any list will do

    def all_buffers() -> Iterator[bytes]:
        yield from held
        yield from buffers

    return all_buffers(), lists


def replay_buffers(
    buffers: Iterable[bytes],
    lists: Field_Lists,
    rules: Path_Rules,
    now_ms: int,
    timing: Timing | None = None,
    sampling_percent: float = 100,
    on_fields: Callable[[str], None] = lambda name: None,
) -> tuple[Iterator[Entry], Entry]:
    """(entries of all four periods, summary: records, aggregated, duplicates, invalid{reason: n}) of buffers of whole
    lines. Raises Field_List_Error."""
    read = read_windows(buffers, lists, rules, now_ms, timing or Timing(), on_fields)
    summary = {
        "records": read.records,
        "aggregated": read.aggregated,
        "duplicates": read.duplicates,
        "invalid": dict(sorted(read.invalid.items())),
    }
    return bounded_entries(read.windows, now_ms, sampling_percent), summary
