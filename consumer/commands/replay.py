"""`sa-stream replay`: log files come in, entries go out as lines of JSON."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.process.memory import keep_memory
from sa_stream.bounded.replay import replay_buffers
from sa_stream.config import SA__Config
from sa_stream.records.fields import Field_List, preset_name, resolve_field_lists
from sa_stream.records.privacy import Path_Rules
from sa_stream.timing import wall_clock_ms

if TYPE_CHECKING:
    from sa_stream.sources.log_files import Log_Files


def replay(paths: Sequence[str], config: SA__Config) -> None:
    """The command: entries as JSON lines to stdout, the summary as the last line of stderr."""
    from sa_stream.sources.log_files import Log_Files

    started = time.perf_counter()
    keep_memory()
    files = Log_Files(paths)
    with _progress(files) as buffers:
        entries, summary = replay_buffers(
            buffers,
            resolve_field_lists(config.fields, config.drop_fields),
            Path_Rules.parse(config.path_rules),
            wall_clock_ms(),
            config.timing(),
            config.sampling_percent,
            _tell,
        )
    write = sys.stdout.buffer.write
    for entry in entries:
        write(msgspec.json.encode(entry) + b"\n")
    sys.stdout.flush()
    if "misfits" in summary:
        print(_misfits(summary), file=sys.stderr)
    summary["seconds"] = round(time.perf_counter() - started, 3)
    print(msgspec.json.encode(summary).decode(), file=sys.stderr)


def _misfits(summary: Mapping[str, Any]) -> str:
    columns = ", ".join(f"{name} in {times:,}" for name, times in summary["misfits"].items())
    return (
        f"{summary['invalid'].get('columns', 0):,} records cannot be of the field list that reads them; what does not "
        f"fit: {columns}. `sa-stream fields` shows the columns"
    )


def _tell(fields: Field_List) -> None:
    name = preset_name(fields)
    shown = ",".join(fields.names) if name == "own" else name
    print(f"fields: {shown}, found by the first records", file=sys.stderr)


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
