"""Bounded input through parser, windows and roll-ups: the quickest way from log files to an answer."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.process.memory import keep_memory
from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.config import SA__Config
from sa_stream.records.fields import DETECT_LINES, Field_Lists, preset_name, resolve_field_lists
from sa_stream.records.parser import Columns, Parser
from sa_stream.records.privacy import Path_Rules
from sa_stream.timing import Timing, wall_clock_ms
from sa_stream.windows.fold import FOLD_ROWS

if TYPE_CHECKING:
    from sa_stream.sources.log_files import Log_Files

type Entry = dict[str, Any]


def read_windows(
    buffers: Iterable[bytes], lists: Field_Lists, rules: Path_Rules, now_ms: int, timing: Timing
) -> Bounded_Windows:
    """Fold buffers of whole lines. `lists` that are still `auto` are decided by the first lines."""
    buffers = iter(buffers)
    if lists.auto and not lists.lists:
        buffers, lists = _decided(buffers, lists)
    parser = Parser(lists, timing.future_ms)
    result = Bounded_Windows(rules, lists.mask)
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


def _decided(buffers: Iterator[bytes], lists: Field_Lists) -> tuple[Iterator[bytes], Field_Lists]:
    held: list[bytes] = []
    lines: list[bytes] = []
    for buffer in buffers:
        held.append(buffer)
        lines += buffer.split(b"\n", DETECT_LINES)[:DETECT_LINES]
        if len(lines) >= DETECT_LINES:
            break
    if any(line.strip() and not line.startswith(b"#") for line in lines):
        lists = lists.decide(lines)
        print(f"fields: {preset_name(lists.lists[0])}, found by the first records", file=sys.stderr)
    else:
        lists = resolve_field_lists("canonical", "")  # nothing to read, so any list will do

    def all_buffers() -> Iterator[bytes]:
        yield from held
        yield from buffers

    return all_buffers(), lists


def replay_buffers(
    buffers: Iterable[bytes],
    fields: str = "auto",
    now_ms: int | None = None,
    *,
    drop_fields: str = "",
    path_rules: str = "",
    sampling_percent: float = 100,
    timing: Timing | None = None,
) -> tuple[Iterator[Entry], Entry]:
    """(entries of all four periods, summary: records, aggregated, duplicates, invalid{reason: n}) of buffers of whole
    lines. Raises Field_List_Error, Config_Error."""
    now_ms = wall_clock_ms() if now_ms is None else now_ms
    lists = resolve_field_lists(fields, drop_fields)
    read = read_windows(buffers, lists, Path_Rules.parse(path_rules), now_ms, timing or Timing())
    summary = {
        "records": read.records,
        "aggregated": read.aggregated,
        "duplicates": read.duplicates,
        "invalid": dict(sorted(read.invalid.items())),
    }
    return bounded_entries(read.windows, now_ms, sampling_percent), summary


def replay(paths: Sequence[str], config: SA__Config) -> None:
    """The command: entries as JSON lines to stdout, the summary as the last line of stderr."""
    from sa_stream.sources.log_files import Log_Files

    started = time.perf_counter()
    keep_memory()
    files = Log_Files(paths)
    with _progress(files) as buffers:
        entries, summary = replay_buffers(
            buffers,
            config.fields,
            drop_fields=config.drop_fields,
            path_rules=config.path_rules,
            sampling_percent=config.sampling_percent,
            timing=config.timing(),
        )
    write = sys.stdout.buffer.write
    for entry in entries:
        write(msgspec.json.encode(entry) + b"\n")
    sys.stdout.flush()
    summary["seconds"] = round(time.perf_counter() - started, 3)
    print(msgspec.json.encode(summary).decode(), file=sys.stderr)


@contextmanager
def _progress(files: "Log_Files") -> Iterator[Iterable[bytes]]:
    """The files' buffers, with a progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield files  # and rich is not even loaded
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=files.total_bytes)

        def shown() -> Iterator[bytes]:
            for buffer in files:
                progress.update(task, completed=files.done_bytes)
                yield buffer

        yield shown()
