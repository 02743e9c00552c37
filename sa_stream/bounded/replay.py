"""Bounded input through parser, windows and roll-ups: the quickest way from log lines to final entries."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.files import Counting, Recount, error_of_rereading
from sa_stream.bounded.log_reading import Log_Reading
from sa_stream.bounded.pool import Counted, Open_Logs, Parts, Pool, Setup, Task
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.log_file import Log_File, Log_Lines, Log_Table, of_whole_files
from sa_stream.records.fields import Field_List
from sa_stream.records.intake import Intake
from sa_stream.rollups.entry import Entry
from sa_stream.timing import Timing
from sa_stream.windows.window import Window


def read_windows(reading: Log_Reading, intake: Intake) -> Bounded_Windows:
    """Fold what was read. `intake`: with other lists where a log names them."""
    result = Bounded_Windows()
    for lists, columns, *_ in reading:
        result.take(columns, replace(intake, lists=lists))
    return result


def replay_logs(
    pieces: Iterable[Log_Lines | Log_Table],
    intake: Intake,
    now_ms: int,
    timing: Timing | None = None,
    sampling_percent: float = 100,
    on_fields: Callable[[Field_List], None] = lambda fields: None,
) -> tuple[Iterator[Entry], dict[str, Any]]:
    """(entries of all four periods, summary: records, aggregated, duplicates, invalid{reason: n}, misfits{column: n},
    never_parsed[name]) of pieces of logs.

    intake     its lists are for logs that do not name their fields; their first lines decide these while they are
               `auto`, and `on_fields` hears of it, or check them

    Raises Field_List_Error.
    """
    reading = Log_Reading(pieces, intake.lists, now_ms, (timing or Timing()).future_ms, on_fields)
    read = read_windows(reading, intake)
    windows = {window.start_ms: window for window in read.taken_out(sorted(read.windows))}
    summary = _summary(read.records, windows.values(), read.invalid, read.misfits, reading.never_parsed)
    return bounded_entries(windows, now_ms, sampling_percent), summary


def replay_together(
    open_logs: Open_Logs,
    tasks: Sequence[Task],
    counting: Counting,
    pool: Pool,
    sampling_percent: float = 100,
    on_done: Callable[[Sequence[Log_File]], None] = lambda files: None,
    on_fields: Callable[[Field_List], None] = lambda fields: None,
) -> tuple[Iterator[Entry], dict[str, Any]]:
    """The same by several processes, of whole files; on_done hears of those that were read. What fails when they are
    read again is noted there, too. Raises Field_List_Error, Process_Ended."""
    parts, misfits, never_parsed = Parts(), Counter[str](), dict[str, None]()
    files: list[Log_File] = []
    records, invalid = 0, Counter[str]()
    for result in pool.results(Setup(open_logs, counting, None, None), tasks):
        if isinstance(result, Counted):
            parts.add(result.windows)
            continue
        records += sum(file.records for file in result.files)
        invalid += sum((file.invalid for file in result.files), Counter())
        misfits += result.misfits
        never_parsed |= dict.fromkeys(result.never_parsed)
        files += result.files
        on_done(result.files)
    decided = pool.counting.intake.lists
    if counting.intake.lists.auto and decided.lists:
        on_fields(decided.lists[0])
    windows = {start_ms: parts.whole(start_ms) for start_ms in list(parts.windows)}
    contested = sorted(start_ms for start_ms, window in windows.items() if window is None)
    if contested:  # once more, in the order of the files
        recount, again = Recount(pool.counting, contested), []
        for task in tasks:
            for file, pieces in open_logs(task.files):
                again.append(file)
                recount.take(pieces)
        recount.finish()
        _note_failed(files, again)
        windows |= {window.start_ms: window for window in recount.windows.taken_out(contested)}
    whole = {start_ms: window for start_ms, window in windows.items() if window is not None}
    summary = _summary(records, whole.values(), invalid, misfits, never_parsed)
    return bounded_entries(whole, counting.now_ms, sampling_percent), summary


def _note_failed(files: Sequence[Log_File], again: Sequence[Log_File]) -> None:
    """Note at files what failed when they were read again. Some may be ranges of one file."""
    first: dict[str, list[Log_File]] = {}
    for file in files:
        first.setdefault(file.name, []).append(file)
    for now in of_whole_files(again):
        known = first[now.name]
        if not any(file.error for file in known):
            known[0].error = error_of_rereading(now, sum(file.records for file in known))


def _summary(
    records: int,
    windows: Iterable[Window],
    invalid: Mapping[str, int],
    misfits: Counter[str],
    never_parsed: Iterable[str],
) -> dict[str, Any]:
    windows = list(windows)
    summary: dict[str, Any] = {
        "records": records,
        "aggregated": sum(window.total_requests for window in windows),
        "duplicates": sum(window.duplicate_records for window in windows),
        "invalid": dict(sorted(invalid.items())),
    }
    if misfits:
        summary["misfits"] = dict(sorted(misfits.items(), key=lambda found: (-found[1], found[0])))
    if never_parsed:
        summary["never_parsed"] = sorted(never_parsed)
    return summary
