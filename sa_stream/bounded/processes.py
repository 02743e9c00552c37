"""Processes that work beside this one: started, with a pipe to each, and ended. What they do is in `pool.py`.

It loads nothing that takes long, so that they can be started before their parent has loaded what it needs itself: all
load that at the same time then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sa_stream.errors import SA_Stream_Error

if TYPE_CHECKING:  # what one process alone does not need
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

END_S = 0.5  # a process that is told to end has so long
_THREADS = "POLARS_MAX_THREADS"


class Worker(Struct):
    process: BaseProcess
    pipe: Connection
    files: Sequence[Any] = ()  # that it has


def _nothing() -> None:
    pass


class Processes:
    """This process and as many others as make `jobs`. They are started at once: before this one has threads that hold
    locks, and while it prepares their work.

    begin  called first in each of them; something that pickle can say

    Raises SA_Stream_Error where the machine does not give as many; then none is left.

    Ctrl-C means nothing to them: whoever started them ends them.
    """

    def __init__(self, jobs: int = 1, begin: Callable[[], None] = _nothing) -> None:
        self.jobs = jobs
        self.others: list[Worker] = []
        try:
            if jobs > 1:
                with _inherited():
                    for number in range(1, jobs):
                        self.others.append(_started(number, begin))
        except OSError as error:
            self.end()
            raise SA_Stream_Error(
                f"{len(self.others) + 1} of {jobs} processes could be started, and then no other: "
                f"{error.strerror or error}. Use fewer --jobs"
            ) from error

    def end(self) -> None:
        """Whatever they are at. Their pipes stay open for who still reads."""
        for worker in self.others:
            worker.process.terminate()
        for worker in self.others:
            worker.process.join(END_S)
            if worker.process.exitcode is None:
                worker.process.kill()


def _started(number: int, begin: Callable[[], None]) -> Worker:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with theirs:
        process = context.Process(target=_work, args=(theirs, begin), name=f"count-{number}", daemon=True)
        process.start()
    return Worker(process, ours)


def _work(pipe: Connection, begin: Callable[[], None]) -> None:
    begin()
    from sa_stream.bounded.pool import serve

    serve(pipe)


@contextmanager
def _inherited() -> Iterator[None]:
    """What processes that are started meanwhile have: a core each, and no ear for Ctrl-C."""
    from multiprocessing import resource_tracker

    threads_before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    resource_tracker.ensure_running()  # to start it would end the masking
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        del os.environ[_THREADS]
        if threads_before is not None:
            os.environ[_THREADS] = threads_before
