"""`sa-stream replay`: log files come in, entries go out as lines of JSON."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from consumer.commands.reading import jobs_for, progress, started
from consumer.process.last_words import output_is_open
from consumer.process.memory import keep_memory
from consumer.process.terminal import printable
from sa_stream.config import SA__Config
from sa_stream.errors import SA_Stream_Error
from sa_stream.log_file import Log_File, Log_Form, Log_Lines, Log_Table, of_whole_files
from sa_stream.records.fields import Field_List, setting_of
from sa_stream.sources.log_files import Log_Files
from sa_stream.timing import wall_clock_ms

if TYPE_CHECKING:
    from sa_stream.rollups.entry import Entry


# Whole lines for whoever splits lines as Unicode does, too.
_SEPARATORS = tuple((mark.encode(), f"\\u{ord(mark):04x}".encode()) for mark in "\x85\u2028\u2029")


def replay(paths: Sequence[str], config: SA__Config, jobs: int | None = None) -> bool:
    """The command: entries as JSON lines to stdout, what is odd about a file as a sentence and the summary as the last
    line to stderr. Whether all files were read to their end.

    jobs  processes that read; None: as many as are worth it
    """
    began_s = time.perf_counter()
    if not output_is_open():
        raise SA_Stream_Error("standard output cannot be written: it is closed")
    logs = Log_Files(paths)
    many = 1 if logs.total_bytes is None else jobs_for(logs.total_bytes, jobs)  # a pipe is read by one, and once
    if many > 1:
        logs.split(many)
        many = min(many, len(logs.places))
    result = _together(logs, config, many) if many > 1 else None
    if result is None:
        logs = Log_Files(paths) if many > 1 else logs
        result = _alone(logs, config)
    entries, summary = result
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
    summary["seconds"] = round(time.perf_counter() - began_s, 3)
    sys.stderr.write(json_line(summary).decode())
    return not any(file.error for file in logs.files)


def _alone(logs: Log_Files, config: SA__Config) -> tuple[Iterator["Entry"], dict[str, Any]]:
    from sa_stream.bounded.replay import replay_logs

    keep_memory()
    with _progress(logs) as pieces:
        return replay_logs(
            pieces,
            config.intake(config.field_lists()),
            wall_clock_ms(),
            config.timing(),
            config.sampling_percent,
            _tell,
        )


def _together(logs: Log_Files, config: SA__Config, jobs: int) -> tuple[Iterator["Entry"], dict[str, Any]] | None:
    """The same by several processes; None if names of columns were found within a file, which hold for all that is
    below them: then only who reads it from its beginning can tell."""
    processes = started(jobs)  # they load the same as this one does now
    from sa_stream.bounded.files import Counting
    from sa_stream.bounded.pool import Pool, Task, joined
    from sa_stream.bounded.replay import replay_together

    intake = config.intake(config.field_lists())
    counting = Counting(intake, config.timing(), None, wall_clock_ms(), settle_ms=0)
    sizes = {place.name: place.size_bytes or 0 for place in logs.places}  # of each range, where there are some
    order = {name: number for number, name in enumerate(sizes)}
    ranges = {name for name, times in Counter(place.name for place in logs.places).items() if times > 1}
    tasks = [Task(places) for places in joined(logs.places, lambda place: sizes[place.name], jobs)]
    with Pool(processes) as pool, progress(len(logs.places), logs.total_bytes) as on_read:

        def on_done(files: Sequence[Log_File]) -> None:
            logs.files.extend(files)
            for file in files:
                on_read(1, sizes[file.name], file.records)

        result = replay_together(logs.opener, tasks, counting, pool, config.sampling_percent, on_done, _tell)
    logs.files = of_whole_files(logs.files)
    logs.files.sort(key=lambda file: order.get(file.name, -1))  # -1: a folder that was skipped
    named = any(file.form == Log_Form.W3C for file in logs.files if file.name in ranges)
    return None if named else result


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
def _progress(files: Log_Files) -> Iterator[Iterable[Log_Lines | Log_Table]]:
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
