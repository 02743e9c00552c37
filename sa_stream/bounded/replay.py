"""Bounded input through parser, windows and roll-ups: the quickest way from log lines to final entries."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.log_reading import Log_Reading
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.log_file import Log_Lines, Log_Table
from sa_stream.records.columns import Columns
from sa_stream.records.fields import Field_List, Field_Lists
from sa_stream.records.intake import Intake
from sa_stream.records.privacy import Path_Rules
from sa_stream.rollups.entry import Entry
from sa_stream.timing import Timing
from sa_stream.windows.fold import FOLD_ROWS


def read_windows(reading: Log_Reading, rules: Path_Rules) -> Bounded_Windows:
    """Fold what was read, as much at once as is folded quickly."""
    result = Bounded_Windows()
    waiting: list[Columns] = []
    waiting_lists: Field_Lists | None = None
    rows = 0
    for lists, columns in reading:
        if waiting_lists is not None and (rows >= FOLD_ROWS or lists is not waiting_lists):
            result.take(Columns.joined(waiting), Intake(waiting_lists, rules))
            waiting, rows = [], 0
        waiting_lists = lists
        waiting.append(columns)
        rows += len(columns)
    if waiting_lists is not None:
        result.take(Columns.joined(waiting), Intake(waiting_lists, rules))
    return result


def replay_logs(
    pieces: Iterable[Log_Lines | Log_Table],
    lists: Field_Lists,
    rules: Path_Rules,
    now_ms: int,
    timing: Timing | None = None,
    sampling_percent: float = 100,
    on_fields: Callable[[Field_List], None] = lambda fields: None,
) -> tuple[Iterator[Entry], dict[str, Any]]:
    """(entries of all four periods, summary: records, aggregated, duplicates, invalid{reason: n}, misfits{column: n},
    never_parsed[name]) of pieces of logs.

    lists      for logs that do not name their fields; their first lines decide these while they are `auto`, and
               `on_fields` hears of it, or check them

    Raises Field_List_Error.
    """
    reading = Log_Reading(pieces, lists, now_ms, (timing or Timing()).future_ms, on_fields)
    read = read_windows(reading, rules)
    summary: dict[str, Any] = {
        "records": read.records,
        "aggregated": read.aggregated,
        "duplicates": read.duplicates,
        "invalid": dict(sorted(read.invalid.items())),
    }
    if read.misfits:
        summary["misfits"] = dict(read.misfits.most_common())
    if reading.never_parsed:
        summary["never_parsed"] = list(reading.never_parsed)
    return bounded_entries(read.windows, now_ms, sampling_percent), summary
