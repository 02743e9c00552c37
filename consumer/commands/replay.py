"""`sa-stream replay`: log files come in, entries go out as lines of JSON."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.process.memory import keep_memory
from consumer.process.terminal import printable
from sa_stream.bounded.replay import replay_logs
from sa_stream.config import SA__Config
from sa_stream.records.fields import Field_List, resolve_field_lists, setting_of
from sa_stream.records.privacy import Path_Rules
from sa_stream.timing import wall_clock_ms

if TYPE_CHECKING:
    from sa_stream.log_file import Log_Lines, Log_Table
    from sa_stream.sources.log_files import Log_Files


# Whole lines for whoever splits lines as Unicode does, too.
_SEPARATORS = tuple((mark.encode(), f"\\u{ord(mark):04x}".encode()) for mark in "\x85\u2028\u2029")


def replay(paths: Sequence[str], config: SA__Config) -> bool:
    """The command: entries as JSON lines to stdout, what is odd about a file as a sentence and the summary as the last
    line to stderr. Whether all files were read to their end."""
    from sa_stream.sources.log_files import Log_Files

    started = time.perf_counter()
    keep_memory()
    logs = Log_Files(paths)
    with _progress(logs) as pieces:
        entries, summary = replay_logs(
            pieces,
            resolve_field_lists(config.fields, config.drop_fields),
            Path_Rules.parse(config.path_rules),
            wall_clock_ms(),
            config.timing(),
            config.sampling_percent,
            _tell,
        )
    for entry in entries:
        sys.stdout.buffer.write(json_line(entry))
    sys.stdout.flush()
    for file in logs.files:
        for kind, sentence in (("error", file.error), ("warning", file.warning)):
            if sentence:
                print(f"{kind}: {printable(sentence)}", file=sys.stderr)
    if "misfits" in summary:
        print(_misfits(summary), file=sys.stderr)
    summary["files"] = [said for file in logs.files if (said := file.summary())]
    summary["seconds"] = round(time.perf_counter() - started, 3)
    sys.stderr.write(json_line(summary).decode())
    return not any(file.error for file in logs.files)


def json_line(value: Any) -> bytes:
    """A line of JSON that holds no other line end of Unicode's."""
    line = msgspec.json.encode(value)
    for mark, escape in _SEPARATORS:
        line = line.replace(mark, escape)
    return line + b"\n"


def _misfits(summary: Mapping[str, Any]) -> str:
    columns = ", ".join(f"{name} in {times:,}" for name, times in summary["misfits"].items())
    return (
        f"{summary['invalid'].get('columns', 0):,} records cannot be of the field list that reads them; what does not "
        f"fit: {columns}. `sa-stream fields` shows the columns"
    )


def _tell(fields: Field_List) -> None:
    print(f"fields: {setting_of(fields)}, found by the first records", file=sys.stderr)


@contextmanager
def _progress(files: "Log_Files") -> Iterator[Iterable["Log_Lines | Log_Table"]]:
    """The files' pieces, with a progress bar if standard error is a terminal."""
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

        def shown() -> Iterator["Log_Lines | Log_Table"]:
            for piece in files:
                progress.update(task, completed=files.done_bytes)
                yield piece

        yield shown()
