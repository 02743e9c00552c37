"""Writes log lines to a pipe that perhaps nobody reads: lines come in from every thread, a thread of its own writes.

Whoever logs never waits: when the queue is full, lines are dropped and counted, and a line says so when it flows again.
"""

import contextlib
import logging
import os
import queue
import select
import threading
from collections.abc import Callable

LINES_MAX = 5_000  # of a kilobyte at most, as a rule
DRAIN_S = 2.0  # at the end of the process


class Log_Writer(logging.Handler):
    """Handler of a file descriptor, which stays open. Its formatter makes the lines.

    on_flow  called with the number of lines dropped, when lines can be written again; it may log
    """

    def __init__(self, descriptor: int, on_flow: Callable[[int], None], lines_max: int = LINES_MAX) -> None:
        super().__init__()
        self._refused = 0  # because the queue is full; counted in the handler's lock
        self._failed = 0  # to be written; counted by the thread
        self._descriptor = descriptor
        self._on_flow = on_flow
        self._lines_max = lines_max
        self._said = 0
        # Its put takes no lock that a signal handler, or a finalizer, could find taken.
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        threading.Thread(target=self._write_on, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """Lines that were not written, since the start."""
        return self._refused + self._failed

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._lines_max:
            self._refused += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that cannot be made must not end what it tells of
            self._refused += 1
            return
        self._lines.put((line + "\n").encode(errors="backslashreplace"))

    def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Wait until everything is written that was logged so far, but no longer than this."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(timeout_s)

    def _write_on(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                self._write(line)
            except OSError:  # the reader has gone for good, or the disk is full
                self._failed += 1
                continue
            if self.dropped > self._said and self._lines.qsize() < self._lines_max // 2:
                dropped, self._said = self.dropped - self._said, self.dropped
                self._on_flow(dropped)

    def _write(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # whoever gave us this pipe made it so
                with contextlib.suppress(OSError):
                    select.select([], [self._descriptor], [], 1.0)
