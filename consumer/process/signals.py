"""What signals mean to the daemon and its guard. Standard library only: the guard is small.

SIGTERM, SIGINT and SIGHUP ask for an orderly end, a second one of them ends at once. What comes within SAME_S of the
first is the same wish: a supervisor may signal all processes of a group, and the guard is one of them, which forwards
its own. SIGUSR1, which a supervisor may send to ask for new log files, means nothing here. A handler neither logs nor
takes a lock: it runs in the middle of whatever the main thread does, perhaps with that very lock in its hands.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME_S = 0.5
_HANDLED_S = 0.2  # the main thread obeys a signal within it, unless it hangs


def stopping_signals() -> list[signal.Signals]:
    """Those that this process is to act on: `nohup` has SIGHUP ignored, and means it."""
    return [number for number in STOPPING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def ignore_others() -> None:
    """SIGUSR1 would end a process that does not know it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def stop_on_signals(stop: Callable[[signal.Signals], None]) -> None:
    """Call `stop`, in a thread of its own, at the first signal that asks for an orderly end; die of a second one."""
    if threading.current_thread() is not threading.main_thread():
        return
    numbers = stopping_signals()
    first_s: float | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        now_s = time.monotonic()
        if first_s is None:
            first_s = now_s
        elif now_s - first_s >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def listen() -> None:
        asked_s: float | None = None
        while True:
            for number in os.read(wake, 64):
                if number not in numbers:
                    continue
                if asked_s is None:
                    asked_s = time.monotonic()
                    stop(signal.Signals(number))
                elif time.monotonic() - asked_s >= SAME_S:
                    time.sleep(_HANDLED_S)
                    os._exit(128 + number)  # the main thread hangs where no handler runs

    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    threading.Thread(target=listen, name="signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, on_signal)
    ignore_others()
