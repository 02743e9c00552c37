"""Processes that count files side by side: tasks, which are some files each, go out; windows in the one binary form and
a note for each file come back.

Which duplicates count is asked of this process, which has the keys of all windows that are open: whoever brings a
record first counts it. As duplicates say the same (Bounded_Windows), nothing depends on who that was.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from sa_stream.bounded.files import Counting, Recount
from sa_stream.bounded.processes import END_S, Processes, Worker
from sa_stream.bounded.windows import Keys, Seen
from sa_stream.errors import Process_Ended
from sa_stream.log_file import Log_File, Log_Form, Log_Lines, Log_Table
from sa_stream.records.agents import load_rules
from sa_stream.records.columns import Bools
from sa_stream.timing import BEGINNING_MS, NEVER_MS, WINDOW_MS
from sa_stream.windows.summaries import UInt64s, sorted_distinct
from sa_stream.windows.window import Window

if TYPE_CHECKING:
    from multiprocessing.connection import Connection  # one process alone needs none

TASK_BYTES_MAX = 4 << 20  # of a task's files as they are stored
TASKS_A_PROCESS = 4  # at least, as far as there are files: so that all end at about the same time
FILE_BYTES = 4 << 10  # what a file costs beside its content
NAMED_MAX = 3  # files of a process that an error names
_NO_IDS = np.empty(0, np.uint64)

# Files, each with its pieces, which are taken before the next file is.
type Logs = Iterable[tuple[Log_File, Iterator[Log_Lines | Log_Table]]]
# Of some files. It is called in another process: it and the files are what pickle can say.
type Open_Logs = Callable[[Sequence[Any]], Logs]


class Setup(Struct, frozen=True):
    """What every process is told once. `wanted`, `settle_ms`: as in Recount. `named`: whether only files that name
    their columns are to be counted now."""

    open_logs: Open_Logs
    counting: Counting
    wanted: Sequence[int] | None
    settle_ms: int | None
    named: bool = False


class Task(Struct, frozen=True):
    """Files that one process counts. No file of it, or of a later task, has records of windows that end up to
    `closes_ms`."""

    files: Sequence[Any]
    closes_ms: int = BEGINNING_MS


class Done(Struct, frozen=True):
    """A task, as it was counted. `left`: places of its files that were left for later."""

    files: Sequence[Log_File]
    late: Counter[int]
    misfits: Counter[str]
    never_parsed: Sequence[str]
    left: Sequence[int] = ()


class Counted(Struct, frozen=True):
    """What one process has counted of windows of which it counts no more, each with the ids of its records.

    closes_ms  of the windows that end up to this time no process does
    """

    closes_ms: int
    windows: Sequence[tuple[Window, UInt64s]]


class _Packed(Struct, frozen=True):
    """The same on its way."""

    closes_ms: int
    windows: Sequence[tuple[bytes, UInt64s]]


class _Next(Struct, frozen=True):
    """Close windows, then count the files that were announced, and read ahead those that come then."""

    closes_ms: int
    announced: Sequence[Any]


def joined(files: Sequence[Any], size_bytes: Callable[[Any], int], jobs: int) -> list[list[Any]]:
    """Consecutive files joined to tasks: of a few megabytes as they are stored where they are not larger, and several
    for each process. The first is a single file: until its lines have told the field list, the others wait."""
    total_bytes = sum(size_bytes(file) + FILE_BYTES for file in files)
    task_bytes = min(TASK_BYTES_MAX, total_bytes // (TASKS_A_PROCESS * jobs) + 1)
    tasks: list[list[Any]] = []
    held_bytes = task_bytes
    for file in files:
        if held_bytes >= task_bytes or len(tasks) == 1:
            tasks.append([])
            held_bytes = 0
        tasks[-1].append(file)
        held_bytes += size_bytes(file) + FILE_BYTES
    return tasks


# ---------------------------------------------------------------------- in a process of the pool


def serve(pipe: Connection) -> None:
    """Count what comes through the pipe, until it is closed."""
    load_rules()  # which takes as long as others need to find the field list
    try:
        while True:
            _count(pipe)
    except _Closed:
        return
    except Exception as error:  # noqa: BLE001 - said by whoever waits for it
        _sent(pipe, error)


class _Closed(Exception):
    """Nobody wants it any more."""


def _heard(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError) as error:
        raise _Closed from error


def _say(pipe: Connection, what: Any) -> None:
    if not _sent(pipe, what):
        raise _Closed


def _sent(pipe: Connection, what: Any) -> bool:
    """Whether anybody is there.

    The error of the pipe is let go of at once, and no other one refers to it: its traceback has a buffer of what was to
    be sent, and Python 3.12 dies of collecting that as garbage.
    """
    with suppress(OSError):
        pipe.send(what)
        return True
    return False


def _count(pipe: Connection) -> None:
    def judge(keys: Keys) -> Sequence[Bools | None]:
        _say(pipe, list(keys))
        answer: Sequence[Bools | None] = _heard(pipe)
        return answer

    setup: Setup = _heard(pipe)
    recount = Recount(setup.counting, setup.wanted, setup.settle_ms, judge)
    logs = setup.open_logs(_heard(pipe))
    while True:
        told: _Next = _heard(pipe)
        closed = [(window.to_bytes(in_order=False), ids) for window, ids in _taken_out(recount, told.closes_ms)]
        _say(pipe, _Packed(told.closes_ms, closed))
        if told.closes_ms == NEVER_MS:
            return
        ahead = setup.open_logs(told.announced)
        _say(pipe, _done(recount, *_taken(recount, logs, setup.named)))
        logs = ahead


def _taken(recount: Recount, logs: Logs, named: bool = False) -> tuple[list[Log_File], list[int]]:
    """(files that were counted; the places of those that were left, as they do not name their columns)"""
    files, left = [], []
    for place, (file, pieces) in enumerate(logs):
        first = [*islice(pieces, 1)] if named else []
        if first and file.form == Log_Form.TEXT:
            left.append(place)
            continue
        files.append(file)
        recount.take(chain(first, pieces))
    return files, left


def _done(recount: Recount, files: Sequence[Log_File], left: Sequence[int] = ()) -> Done:
    recount.finish()
    done = Done(files, recount.late, recount.windows.misfits, tuple(recount.reading.never_parsed), left)
    recount.late, recount.windows.misfits = Counter(), Counter()
    return done


def _taken_out(recount: Recount, closes_ms: int) -> list[tuple[Window, UInt64s]]:
    """The windows that end up to this time, with the ids that were counted."""
    windows = recount.windows
    starts = sorted(start_ms for start_ms in windows.windows if start_ms + WINDOW_MS <= closes_ms)
    ids = [np.concatenate(windows.counted_ids.pop(start_ms, [_NO_IDS])) for start_ms in starts]
    return list(zip(windows.taken_out(starts, whole=False), ids, strict=True))


# ---------------------------------------------------------------------- in the process that started them


class Pool:
    """Counts files in this process and in others (None: in this one alone), which it ends when it is closed.

    counting  how the last results were counted, with the field lists that were found
    """

    counting: Counting

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes or Processes()
        self._threads: list[threading.Thread] = []
        self._results: queue.Queue[tuple[int, Done | Counted | BaseException]] = queue.Queue(2 * self.jobs)

    @property
    def jobs(self) -> int:
        return self._processes.jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are at."""
        self._processes.end()
        while any(thread.is_alive() for thread in self._threads):  # they may wait for room in the queue
            with suppress(queue.Empty):
                self._results.get(timeout=0.01)
        for worker in self._processes.others:
            worker.pipe.close()

    def results(self, setup: Setup, tasks: Sequence[Task]) -> Iterator[Done | Counted]:
        """Each task as it is done; and of each process what it has counted, which ends with closes_ms NEVER_MS. To be
        iterated over to its end, before it is called again. Raises Field_List_Error while the field lists are `auto`,
        Process_Ended, and what counting does.

        Where all windows are wanted and the first files are standard logs, all these are counted before any other: they
        tell nothing of the lists. NEVER_MS then comes twice."""
        seen = Seen()
        recount = self._recount(setup, seen)
        left, first, named = deque(tasks), list[Log_File](), False
        while left and recount.reading.decided is None and not named:  # what all others are read with
            first += _taken(recount, setup.open_logs(left.popleft().files))[0]
            named = self.jobs > 1 and setup.wanted is None and _are_named(first)
        yield _done(recount, first)
        if named:
            plan = _Plan([*left], seen)
            yield from self._shared(replace(setup, named=True), plan, recount)
            # With another memory of the lists: this one may have taken any, as lines such as `#Version` need none.
            recount = self._recount(setup, seen)
            recount.reading.named = True
            left, first = deque(plan.left), []
            while left and recount.reading.decided is None:
                first += _taken(recount, setup.open_logs(left.popleft().files))[0]
            yield _done(recount, first)
        self.counting = setup.counting
        if recount.reading.decided is not None:
            intake = replace(setup.counting.intake, lists=recount.reading.decided)
            self.counting = replace(setup.counting, intake=intake, checked=True)
        yield from self._shared(replace(setup, counting=self.counting), _Plan([*left], seen), recount)

    def _recount(self, setup: Setup, seen: Seen) -> Recount:
        return Recount(setup.counting, setup.wanted, setup.settle_ms, seen.judge if self.jobs > 1 else None)

    def _shared(self, setup: Setup, plan: _Plan, recount: Recount) -> Iterator[Done | Counted]:
        closes_ms = [BEGINNING_MS] * self.jobs
        self._threads = [
            threading.Thread(target=self._talk, args=(number, worker, setup, plan), daemon=True)
            for number, worker in enumerate(self._processes.others)
        ]
        for thread in self._threads:
            thread.start()

        def told(number: int, result: Done | Counted | BaseException) -> Done | Counted:
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Counted):
                closes_ms[number] = result.closes_ms
                return Counted(min(closes_ms), result.windows)
            return result

        for result in _count_here(setup, plan, recount):
            yield told(self.jobs - 1, result)
            with suppress(queue.Empty):
                while True:
                    yield told(*self._results.get_nowait())
        while min(closes_ms) < NEVER_MS:
            yield told(*self._results.get())

    def _talk(self, number: int, worker: Worker, setup: Setup, plan: _Plan) -> None:
        try:
            _tell(worker, setup)
            for result in _count_there(worker, plan):
                self._results.put((number, result))
        except BaseException as error:  # noqa: BLE001 - raised by whoever asks for results
            self._results.put((number, error))


def _are_named(files: Sequence[Log_File]) -> bool:
    """Whether there are files that name their columns, and no others."""
    forms = {file.form for file in files} - {None}
    return bool(forms) and Log_Form.TEXT not in forms


def _count_here(setup: Setup, plan: _Plan, recount: Recount) -> Iterator[Done | Counted]:
    number, task = plan.take()
    logs = setup.open_logs(task.files if task else ())
    while task is not None:
        closes_ms = plan.closes_ms
        yield Counted(closes_ms, _taken_out(recount, closes_ms))
        number_then, task_then = plan.take()
        ahead = setup.open_logs(task_then.files if task_then else ())
        done = _done(recount, *_taken(recount, logs, setup.named))
        plan.done(number, done.left)
        yield done
        number, task, logs = number_then, task_then, ahead
    yield Counted(NEVER_MS, _taken_out(recount, NEVER_MS))


def _count_there(worker: Worker, plan: _Plan) -> Iterator[Done | Counted]:
    """The same in another process: everything that is said to it, and what it says for others."""
    number, task = plan.take()
    _tell(worker, task.files if task else ())
    while task is not None:
        worker.files = task.files
        number_then, task_then = plan.take()
        _tell(worker, _Next(plan.closes_ms, task_then.files if task_then else ()))
        while not isinstance(answer := _answer(worker), Done):
            if isinstance(answer, _Packed):
                yield _unpacked(answer)
            else:
                _tell(worker, plan.judge(answer))
        plan.done(number, answer.left)
        yield answer
        number, task = number_then, task_then
    worker.files = ()
    _tell(worker, _Next(NEVER_MS, ()))
    yield _unpacked(_answer(worker))


def _tell(worker: Worker, what: Any) -> None:
    if not _sent(worker.pipe, what):
        _answer(worker)  # raises what it failed with, where it said so before it ended
        raise _ended(worker)


def _answer(worker: Worker) -> Any:
    try:
        answer = worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise _ended(worker) from error
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _unpacked(packed: _Packed) -> Counted:
    return Counted(packed.closes_ms, [(Window.from_bytes(data, in_order=False), ids) for data, ids in packed.windows])


class _Plan:
    """Which tasks are handed out, which are done, and what came before. Used by all threads."""

    def __init__(self, tasks: Sequence[Task], seen: Seen) -> None:
        self._tasks = tasks
        self._seen = seen
        self._lock = threading.Lock()
        self._taken = 0
        self._open: dict[int, Task] = dict(enumerate(tasks))
        self._left: dict[int, Task] = {}

    def take(self) -> tuple[int, Task | None]:
        with self._lock:
            self._taken += 1
            number = self._taken - 1
            return number, self._tasks[number] if number < len(self._tasks) else None

    def done(self, number: int, left: Sequence[int]) -> None:
        """`left`: places of its files that are left for later."""
        with self._lock:
            task = self._open.pop(number)
            if left:
                self._left[number] = replace(task, files=[task.files[place] for place in left])
            self._seen.forget_before(self._closes_ms() - WINDOW_MS + 1)

    @property
    def left(self) -> list[Task]:
        """Files that were left for later, in their order."""
        return [task for _, task in sorted(self._left.items())]

    def judge(self, keys: Keys) -> list[Bools | None]:
        return self._seen.judge(keys)

    @property
    def closes_ms(self) -> int:
        with self._lock:
            return self._closes_ms()

    def _closes_ms(self) -> int:
        """Of the first that is not done."""
        return next(iter(self._open.values())).closes_ms if self._open else BEGINNING_MS


def _ended(worker: Worker) -> Process_Ended:
    worker.process.join(END_S)
    code = worker.process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
    names = list(dict.fromkeys(file.name for file in worker.files))
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    what = f"while it read {', '.join(names[:NAMED_MAX])}{more}" if names else "before it had files to read"
    hint = ": if memory was short, use fewer --jobs" if code == -signal.SIGKILL else ""
    return Process_Ended(f"A process that counts records {how} {what}{hint}")


class Parts(Struct):
    """What processes have counted of each window, until it is whole."""

    windows: dict[int, list[Window]] = field(default_factory=dict)
    ids: dict[int, list[UInt64s]] = field(default_factory=dict)

    def add(self, counted: Iterable[tuple[Window, UInt64s]]) -> None:
        for window, ids in counted:
            self.windows.setdefault(window.start_ms, []).append(window)
            self.ids.setdefault(window.start_ms, []).append(ids)

    def whole(self, start_ms: int) -> Window | None:
        """The window, taken out; None if an id came with contents that differ: then the first in the order of the files
        counts, which only one who reads them in their order can tell."""
        windows = self.windows.pop(start_ms, [])
        ids = np.concatenate([_NO_IDS, *self.ids.pop(start_ms, [])])
        if len(sorted_distinct(ids)) < len(ids):
            return None
        if len(windows) > 1:
            return Window.merged(windows)
        window = windows[0] if windows else Window(start_ms)
        window.finish()
        return window
