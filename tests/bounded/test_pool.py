"""Counting in several processes: the same windows as in one, whoever counts what; and what happens when one ends."""

import gc
import multiprocessing
import os
import random
import re
import resource
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from sa_stream.archive.files import Archive_File
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.bounded.files import Recount, Window_Read
from sa_stream.bounded.pool import Open_Logs, Parts, Pool, Setup, Task, _taken_out, _tell, joined
from sa_stream.bounded.processes import Processes
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.bounded.replay import replay_together
from sa_stream.bounded.windows import Seen
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.errors import Process_Ended, SA_Stream_Error
from sa_stream.log_file import Log_File, Log_Lines
from sa_stream.sources.archive import Archive
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.sources.folder_archive import Folder_Archive
from sa_stream.sources.log_files import Log_Files
from sa_stream.timing import NEVER_MS
from sa_stream.windows.summaries import VALUES_MAX, add_counts
from sa_stream.windows.window import Window
from tests.bounded.test_files import COUNTING, SETTLE_MS, STARTS, filled, key, line, traffic
from tests.firehose import delivered

PLACES = Places("p/", LAYOUTS["hours"], ZoneInfo("UTC"))
OBJECTS = delivered(traffic(count=3_000), PLACES, twice=0.05)


def opened(root: str, files: Sequence[Archive_File]):
    return Archive_Reader(Folder_Archive(root)).logs(files)


def written(root: Path, objects: dict[str, bytes]) -> Archive:
    for name, content in objects.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Archive(Folder_Archive(root), PLACES, SETTLE_MS)


def counted(root: Path, archive: Archive, pool: Pool | None) -> tuple[list[Window_Read], dict[int, int]]:
    files = archive.files_between(STARTS[0], STARTS[-1] + 1_800_000).files
    walk = Windows_Of_Files(partial(opened, str(root)), files, STARTS, COUNTING, pool)
    return list(walk), dict(walk.late)


def told(reads: Sequence[Window_Read]) -> list[object]:
    return [
        (read.window.to_bytes(), [(f.name, f.records, f.starts, f.invalid, f.error) for f in read.files])
        for read in reads
    ]


@pytest.mark.parametrize("jobs", [2, 7])
def test_any_number_of_processes_gives_the_same_windows_and_notes(jobs: int, tmp_path: Path) -> None:
    late_ms = STARTS[0] + 1_800_000 + SETTLE_MS
    odd = {  # one id with two contents, and one that comes too late
        key(STARTS[3] + 5_000): line(STARTS[3] + 5, "twice"),
        key(STARTS[3] + 6_000): line(STARTS[3] + 6, "twice"),
        key(late_ms): line(STARTS[0] + 1, "late"),
    }
    archive = written(tmp_path, OBJECTS | odd)
    alone, late = counted(tmp_path, archive, None)
    with Pool(Processes(jobs)) as pool:
        together, late_together = counted(tmp_path, archive, pool)
    assert told(together) == told(alone)
    assert late_together == late == {STARTS[0]: 1}
    assert sum(read.window.duplicate_records for read in alone) > 100


@given(st.data())
@settings(max_examples=12)
def test_whoever_counts_which_file_and_when_the_windows_are_the_same(data: st.DataObject) -> None:
    """Recounts that share what was seen, files handed to any of them in any order, as processes may finish them."""
    store = filled(OBJECTS)
    files = Archive(store, PLACES, SETTLE_MS).files_between(STARTS[0], STARTS[-1] + 1).files
    alone = [read.window.to_bytes() for read in Windows_Of_Files(Archive_Reader(store).logs, files, STARTS, COUNTING)]
    order = data.draw(st.permutations(files))
    seen, parts = Seen(), Parts()
    recounts = [Recount(COUNTING, STARTS, SETTLE_MS, seen.judge) for _ in range(data.draw(st.integers(1, 5)))]
    rng = random.Random(data.draw(st.integers(0, 1 << 32)))
    for task in joined(order, lambda file: file.size_bytes, data.draw(st.integers(1, 9))):
        recount = rng.choice(recounts)
        for _, pieces in Archive_Reader(store).logs(task):
            recount.take(pieces)
    for recount in recounts:
        recount.finish()
        parts.add(_taken_out(recount, NEVER_MS))
    windows = [parts.whole(start_ms) for start_ms in STARTS]
    assert [window and window.to_bytes() for window in windows] == alone


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_window_of_too_many_names_keeps_the_same_by_however_many_it_was_counted(jobs: int) -> None:
    hosts = [(f"{number}.example.org", 1 + number % 3) for number in range(VALUES_MAX + 9)]

    def counted(some: Sequence[tuple[str, int]]) -> Window:
        window = Window(STARTS[0])
        window.total_requests = sum(number for _, number in some)
        add_counts(window.counts["hosts"], some, bounded=True)
        return window

    alone, parts = counted(hosts), Parts()
    alone.finish()
    parts.add(
        (counted(hosts[place::jobs]), np.arange(place, len(hosts), jobs).astype(np.uint64)) for place in range(jobs)
    )
    whole = parts.whole(STARTS[0])
    assert whole is not None
    assert whole.to_bytes() == alone.to_bytes()
    assert len(whole.counts["hosts"]) == VALUES_MAX


def test_of_one_id_with_two_contents_the_first_file_s_counts(tmp_path: Path) -> None:
    first, second = key(STARTS[0] + 1_000), key(STARTS[0] + 2_000)
    archive = written(tmp_path, {second: line(STARTS[0] + 8, "a") * 300, first: line(STARTS[0] + 7, "a")} | OBJECTS)
    with Pool(Processes(2)) as pool:
        for _ in range(3):
            together = counted(tmp_path, archive, pool)
            assert told(together[0]) == told(counted(tmp_path, archive, None)[0])


class Otherwise(Struct, frozen=True):
    """Logs, the one with this name otherwise when it is read another time, by whichever process: it fails, or has grown
    by a line."""

    open_logs: Open_Logs
    name: str
    flag: Path
    fails: bool

    def __call__(self, files: Sequence[object]) -> Iterator[tuple[Log_File, Iterator[Log_Lines]]]:
        for file, pieces in self.open_logs(files):
            if file.name.endswith(self.name):
                if self.flag.exists():
                    pieces = self.changed(file, pieces)
                self.flag.touch()
            yield file, pieces

    def changed(self, file: Log_File, pieces: Iterator[Log_Lines]) -> Iterator[Log_Lines]:
        if self.fails:
            file.error = "the store does not answer"
            return
        yield from pieces
        yield Log_Lines(file, line(STARTS[0] + 9, "more"))


CONTESTED = {  # an id with two contents, so that its window is counted again
    key(STARTS[0] + 1_000): line(STARTS[0] + 7, "a"),
    key(STARTS[0] + 2_000): line(STARTS[0] + 8, "b") + line(STARTS[0] + 8 + 1_800_000, "c"),
    key(STARTS[0] + 3_000): line(STARTS[0] + 9, "a"),
}
CHANGED = key(STARTS[0] + 2_000)
CHANGES = pytest.mark.parametrize(
    ("fails", "said"),
    [
        (True, "the store does not answer"),
        (False, "has changed while it was read: 2 records at first, 3 when windows were counted again"),
    ],
)


@CHANGES
def test_a_file_that_fails_when_it_is_read_again_is_named_by_the_window_it_was_read_for(
    fails: bool, said: str, tmp_path: Path
) -> None:
    archive = written(tmp_path / "archive", CONTESTED)
    files = archive.files_between(STARTS[0], STARTS[1] + 1).files
    logs = Otherwise(partial(opened, str(tmp_path / "archive")), CHANGED, tmp_path / "flag", fails)
    with Pool(Processes(2)) as pool:
        first, second, *_ = Windows_Of_Files(logs, files, STARTS[:2], COUNTING, pool)
    assert [failed.stored.key for failed in first.failed] == [CHANGED]
    assert said in first.failed[0].error
    assert (second.window.total_requests, second.failed) == (1, ())


@CHANGES
def test_a_replayed_file_that_fails_when_it_is_read_again_has_an_error(fails: bool, said: str, tmp_path: Path) -> None:
    written(tmp_path / "logs", CONTESTED)
    logs = Log_Files([tmp_path / "logs"])
    notes: list[Log_File] = []
    with Pool(Processes(2)) as pool:
        replay_together(
            Otherwise(logs.opener, CHANGED, tmp_path / "flag", fails),
            [Task([place]) for place in logs.places],
            replace(COUNTING, seeds=None),
            pool,
            on_done=notes.extend,
        )
    assert {Path(note.name).name for note in notes if note.error} == {Path(CHANGED).name}
    assert said in "".join(note.error or "" for note in notes)


class Told(Struct, frozen=True):
    """Logs that take a moment each, and which process read them."""

    open_logs: Open_Logs
    folder: Path

    def __call__(self, files: Sequence[object]) -> Iterator[tuple[Log_File, Iterator[Log_Lines]]]:
        for file, pieces in self.open_logs(files):
            yield file, pieces
            time.sleep(0.02)
            (self.folder / f"{Path(file.name).name}-{os.getpid()}").touch()


def test_standard_logs_tell_nothing_of_the_lists_and_are_shared(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "read").mkdir()
    for number in range(40):
        record = f"{STARTS[0] + number}\t200\tid-{number}\n"
        content = f"#Fields: timestamp(ms) sc-status x-edge-request-id\n{record}"
        (tmp_path / "logs" / f"{number}").write_text(content)
    logs = Log_Files([tmp_path / "logs"])
    tasks = [Task([place]) for place in logs.places]
    counting = replace(COUNTING, seeds=None)
    with Pool(Processes(3)) as pool:
        _, summary = replay_together(Told(logs.opener, tmp_path / "read"), tasks, counting, pool)
    assert summary["aggregated"] == 40
    read = [path.name.partition("-") for path in (tmp_path / "read").iterdir()]
    assert len(read) == 40  # each once
    assert len({pid for _, _, pid in read}) == 3


def slow(folder: str, here: int, files: Sequence[Archive_File]):
    """Files that take a minute in every process but this, which waits for two of these."""
    if os.getpid() == here:
        while len(pids(Path(folder))) < 2:
            time.sleep(0.01)
        return
    for file, pieces in Archive_Reader(Memory_Archive()).logs(files):
        Path(folder, str(os.getpid())).touch()
        time.sleep(60)
        yield file, pieces


def counting(pool: Pool, logs: Open_Logs, archive: Archive) -> None:
    """Count an archive, a file a task."""
    tasks = [Task([file]) for file in archive.files_between(STARTS[0], STARTS[-1]).files]
    list(pool.results(Setup(logs, replace(COUNTING, checked=True), STARTS, SETTLE_MS), tasks))


def waiting(folder: Path, pool: Pool) -> tuple[threading.Thread, list[BaseException]]:
    """Who waits for processes that hang in a file each, and how that ended."""
    archive = written(folder / "archive", OBJECTS)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            counting(pool, partial(slow, str(folder), os.getpid()), archive)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)  # who closes a pool does not tell who else waits for it
    thread.start()
    while len(pids(folder)) < 2:
        time.sleep(0.01)
    return thread, errors


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


def test_a_process_that_is_killed_is_an_error_that_names_its_files(tmp_path: Path) -> None:
    with Pool(Processes(3)) as pool:
        thread, errors = waiting(tmp_path, pool)
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
        thread.join(5)
        (error,) = errors
    assert isinstance(error, Process_Ended)
    assert "was killed by signal 9 while it read " in str(error)
    assert str(tmp_path / "archive" / "p") in str(error)


def test_to_close_a_pool_ends_everything_within_a_second(tmp_path: Path) -> None:
    pool = Pool(Processes(3))
    waiting(tmp_path, pool)
    began_s = time.monotonic()
    pool.close()
    assert time.monotonic() - began_s < 1
    for pid in pids(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def broken(here: int, error: Exception, files: Sequence[Archive_File]):
    if os.getpid() == here:
        time.sleep(0.5)
        return
    for file, _ in Archive_Reader(Memory_Archive()).logs(files):
        yield file, iter([])
        raise error


@pytest.mark.parametrize(
    "error", [AttributeError("a mistake"), OSError(28, "No space left on device"), EOFError("end")]
)
def test_what_a_process_raises_is_raised_here(error: Exception, tmp_path: Path) -> None:
    with Pool(Processes(2)) as pool, pytest.raises(type(error), match=re.escape(str(error))):
        counting(pool, partial(broken, os.getpid(), error), written(tmp_path, OBJECTS))


def test_what_a_process_said_before_it_ended_is_raised_also_where_it_would_be_told_more() -> None:
    (worker,) = (processes := Processes(2)).others
    processes.end()
    worker.process.join()
    worker.pipe, theirs = multiprocessing.Pipe()
    theirs.send(ModuleNotFoundError("No module named 'x'"))
    theirs.close()
    with pytest.raises(ModuleNotFoundError, match="'x'"):
        _tell(worker, "more")
    with pytest.raises(Process_Ended) as ended:
        _tell(worker, "more")
    del ended
    gc.collect()  # it ended this process, too


def test_more_processes_than_the_machine_gives_are_an_error_and_none_is_left() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 20, limits[1]))
    try:
        with pytest.raises(SA_Stream_Error, match=r"of 50 processes could be started.*open files\. Use"):
            Processes(50)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not multiprocessing.active_children()


def test_ctrl_c_means_nothing_to_any_other_process() -> None:
    with Pool(Processes(3)) as pool:
        for child in multiprocessing.active_children():
            blocked = re.search(r"SigBlk:\s*([0-9a-f]+)", Path(f"/proc/{child.pid}/status").read_text())
            assert blocked is not None
            assert int(blocked[1], 16) & 1 << (signal.SIGINT - 1)
        assert pool.jobs == len(multiprocessing.active_children()) + 1
