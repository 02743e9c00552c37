"""What the commands that read many files have in common: how many processes read them, and what a terminal shows
meanwhile."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consumer.process.cores import cores_allowed
from consumer.process.garbage import collect_rarely
from consumer.process.memory import share_arenas
from sa_stream.bounded.processes import Processes

BYTES_A_PROCESS = 16 << 20  # of files: with fewer, to start another process takes longer than it saves

# Files, bytes as stored and records that were read since the last call.
type On_Read = Callable[[int, int, int], None]


def jobs_for(total_bytes: int, jobs: int | None) -> int:
    """As many processes as asked for; else one for each core that may be used, as far as there is work for them."""
    return jobs or max(1, min(cores_allowed(), total_bytes // BYTES_A_PROCESS))


def started(jobs: int) -> Processes:
    """This process and others. The threads that read ahead, new ones for each task, share their memory, and it is given
    back: what is kept for the next buffer would be in pieces after some gigabytes."""
    share_arenas()
    return Processes(jobs, _begin)


def _begin() -> None:
    """What every other process does first."""
    share_arenas()
    collect_rarely()


@contextmanager
def progress(total_files: int | None, total_bytes: int | None) -> Iterator[On_Read]:
    """Shows what was read, and how long the rest may take, if standard error is a terminal. None: unknown."""
    if not sys.stderr.isatty():
        yield lambda files, size_bytes, records: None  # and rich is not even loaded
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("reading", total=total_bytes, said="")
        done_files = done_records = 0

        def on_read(files: int, size_bytes: int, records: int) -> None:
            nonlocal done_files, done_records
            done_files += files
            done_records += records
            of_all = "" if total_files is None else f" of {total_files:,}"
            elapsed_s = shown.tasks[0].elapsed or 1
            said = f"{done_files:,}{of_all} files, {done_records / max(elapsed_s, 0.1):,.0f} records/s"
            shown.update(task, advance=size_bytes, said=said)

        yield on_read
