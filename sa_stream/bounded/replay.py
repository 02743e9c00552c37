"""Bounded input through parser, windows and roll-ups: the quickest way from log lines to final entries."""

from collections.abc import Callable, Iterable, Iterator

from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.records.columns import Columns
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import CANONICAL, Field_List, Field_Lists
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
    on_fields: Callable[[Field_List], None] = lambda fields: None,
) -> Bounded_Windows:
    """Fold buffers of whole lines. The first records find or check the lists; `on_fields` hears of one that is found.
    Raises Field_List_Error."""
    buffers, lists = _decided(iter(buffers), lists, on_fields)
    parser = Parser(lists, timing.future_ms)
    result = Bounded_Windows(Intake(lists, rules))
    waiting: list[Columns] = []
    rows = 0
    for buffer in buffers:
        columns = parser.parse_buffer(buffer, now_ms)
        waiting.append(columns)
        rows += len(columns)
        if rows >= FOLD_ROWS:
            result.take(Columns.joined(waiting))
            waiting, rows = [], 0
    if waiting:
        result.take(Columns.joined(waiting))
    return result


def _decided(
    buffers: Iterator[bytes], lists: Field_Lists, on_fields: Callable[[Field_List], None]
) -> tuple[Iterator[bytes], Field_Lists]:
    held: list[bytes] = []
    records = First_Records()
    for buffer in buffers:
        held.append(buffer)
        records.add(buffer)
        if records.enough:
            break
    if not records.rows and not records.enough:
        return iter(()), Field_Lists.of(Field_List(CANONICAL, lists.dropped))  # nothing to read: any list will do
    decided = decide(lists, records)
    if lists.auto:
        on_fields(decided.lists[0])

    def all_buffers() -> Iterator[bytes]:
        yield from held
        yield from buffers

    return all_buffers(), decided


def replay_buffers(
    buffers: Iterable[bytes],
    lists: Field_Lists,
    rules: Path_Rules,
    now_ms: int,
    timing: Timing | None = None,
    sampling_percent: float = 100,
    on_fields: Callable[[Field_List], None] = lambda fields: None,
) -> tuple[Iterator[Entry], Entry]:
    """(entries of all four periods, summary: records, aggregated, duplicates, invalid{reason: n}, and if there are any
    misfits{column: n}) of buffers of whole lines. Raises Field_List_Error."""
    read = read_windows(buffers, lists, rules, now_ms, timing or Timing(), on_fields)
    summary = {
        "records": read.records,
        "aggregated": read.aggregated,
        "duplicates": read.duplicates,
        "invalid": dict(sorted(read.invalid.items())),
    }
    if read.misfits:
        summary["misfits"] = dict(read.misfits.most_common())
    return bounded_entries(read.windows, now_ms, sampling_percent), summary
