"""Watches over the daemon from outside: forks it, forwards signals to it, and starts it anew when it hangs or crashes.

Standard library only, and called before anything heavy is loaded: this process stays as small as it is then.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from datetime import UTC, datetime
from types import FrameType

from consumer.process.signals import ignore_others, stopping_signals
from consumer.process.tied import die_with_parent
from sa_stream.log import RESTARTED, Event
from sa_stream.timing import Backoff

BEAT_S = 1.0
BACKOFF_MS_MIN, BACKOFF_MS_MAX = 1_000, 30_000
HEALTHY_S = 60.0  # who lived for so long starts with the shortest back-off again
_LOOK_S = 0.5  # how often this process looks
_LOOK_S_MAX = 1.0  # a longer pause between two looks was one of this process (or the machine), not of the daemon alone
_LINE_BYTES_MAX = 4096  # a pipe that can be written to takes so much at once


class Beat:
    """The child's end: called by the main loop as a sign of life, as often as it likes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + BEAT_S
        try:
            os.write(self._descriptor, b".")
        except BlockingIOError:  # the guard is halted, and has enough signs to find when it goes on
            pass
        except BrokenPipeError:  # it is dead, where the platform does not take us with it
            os.kill(os.getpid(), signal.SIGTERM)


def guard(hang_timeout_s: float) -> Beat | int:
    """Go on in a child process. Returns twice: in the child, a Beat; in this process, once the child has ended for
    good, its exit code (128 + the signal's number if it was stopped by a signal that this process forwarded).

    A child that was killed by another signal, or that gave no sign of life for `hang_timeout_s` after its first one
    (it is killed then), is followed by a new one. To be called in the main thread, before there are others.
    """
    return _Guard(hang_timeout_s).run()


class _Guard:
    def __init__(self, hang_timeout_s: float) -> None:
        self._hang_timeout_s = hang_timeout_s
        self._child_pid = 0
        self._asked: int | None = None  # the last signal that came to be forwarded
        self._hung = False

    def run(self) -> Beat | int:
        wake, waker = os.pipe()
        for descriptor in (wake, waker):
            os.set_blocking(descriptor, False)
        forwarded = stopping_signals()
        ignore_others()  # and so does the child
        before = {number: signal.signal(number, self._forward) for number in forwarded}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        before_waker = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        backoff = Backoff(BACKOFF_MS_MIN, BACKOFF_MS_MAX)
        while True:
            started_s = time.monotonic()
            # A signal that comes while there are two of us must not be answered by the wrong one.
            signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
            if self._asked is not None:
                return 128 + self._asked
            beats, beat = os.pipe()
            parent_pid = os.getpid()
            self._child_pid = os.fork()
            if self._child_pid == 0:
                os.setpgid(0, 0)
                die_with_parent(parent_pid)
                signal.set_wakeup_fd(before_waker)
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
                for descriptor in (wake, waker, beats):
                    os.close(descriptor)
                os.set_blocking(beat, False)
                return Beat(beat)
            os.close(beat)
            with contextlib.suppress(OSError):  # the child was quicker
                os.setpgid(self._child_pid, self._child_pid)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
            self._hung = False
            status = self._watch(beats, wake)
            os.close(beats)
            self._child_pid = 0
            code = os.waitstatus_to_exitcode(status)
            if code >= 0:
                return code
            if self._asked is not None:
                return 128 - code
            if time.monotonic() - started_s >= HEALTHY_S:
                backoff.worked()
            wait_s = backoff.failed() / 1000
            why = (
                f"gave no sign of life for {self._hang_timeout_s:g} s"
                if self._hung
                else f"was killed by {_name(-code)}"
            )
            _say(RESTARTED, f"the daemon {why}; it starts again in {wait_s:g} s", signal=_name(-code))
            self._pause(wake, wait_s)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        if self._child_pid:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self._child_pid, number)

    def _watch(self, beats: int, wake: int) -> int:
        """Until the child has ended: its wait status."""
        silent_s: float | None = None  # since the last sign of life; None before the first
        looked_s = time.monotonic()
        listening = [beats, wake]
        while True:
            ready, _, _ = select.select(listening, [], [], _LOOK_S)
            if wake in ready:
                os.read(wake, 512)
            now_s = time.monotonic()
            if beats in ready and not os.read(beats, 512):  # it has closed its end, most likely by ending
                listening.remove(beats)
            elif beats in ready:
                silent_s = 0.0
            elif silent_s is not None:
                silent_s += min(now_s - looked_s, _LOOK_S_MAX)
            looked_s = now_s
            status = self._reap()
            if status is not None:
                return status
            if silent_s is not None and silent_s >= self._hang_timeout_s and not self._hung:
                self._hung = True
                os.killpg(self._child_pid, signal.SIGKILL)

    def _reap(self) -> int | None:
        """The child's status, if it has ended. As a container's first process, everybody's orphans are ours as well."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self._child_pid:
                return status

    def _pause(self, wake: int, pause_s: float) -> None:
        """Cut short by a signal that asks for the end."""
        until_s = time.monotonic() + pause_s
        while self._asked is None and (left_s := until_s - time.monotonic()) > 0:
            if select.select([wake], [], [], left_s)[0]:
                os.read(wake, 512)
            self._reap()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"


def _say(event: Event, message: str, **fields: str) -> None:
    """One line in the form of all others (consumer.process.log_setup, which is not loaded here)."""
    form = os.environ.get("SGRAPH_SEND__SA_LOG_FORMAT", "").lower() or ("text" if sys.stderr.isatty() else "json")
    now = datetime.now(UTC)
    if form == "text":
        line = f"{now:%H:%M:%S} {event.level:<7} {event.name}: {message}"
    else:
        time_utc = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps(
            {"ts": time_utc, "level": event.level, "event": event.name, "message": message, "fields": fields}
        )
    data = line.encode(errors="backslashreplace")[: _LINE_BYTES_MAX - 1] + b"\n"
    with contextlib.suppress(OSError):  # it is closed
        if select.select([], [sys.stderr.fileno()], [], 0)[1]:  # else nobody reads it, and the daemon is to start again
            os.write(sys.stderr.fileno(), data)
