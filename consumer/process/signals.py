"""What signals mean to the daemon and its guard. Standard library only: the guard is small.

SIGTERM, SIGINT and SIGHUP ask for an orderly end, the second one of them ends at once. SIGUSR1, which a supervisor may
send to ask for new log files, means nothing here. A handler neither logs nor takes a lock: it runs in the middle of
whatever the main thread does, perhaps with that very lock in its hands.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def stopping_signals() -> list[signal.Signals]:
    """Those that this process is to act on: `nohup` has SIGHUP ignored, and means it."""
    return [number for number in STOPPING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def ignore_others() -> None:
    """SIGUSR1 would end a process that does not know it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def stop_on_signals(stop: Callable[[signal.Signals], None]) -> None:
    """Call `stop`, in a thread of its own, at the first signal that asks for an orderly end; die of the second one."""
    if threading.current_thread() is not threading.main_thread():
        return
    numbers = stopping_signals()

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    def listen() -> None:
        asked = False
        while True:
            for number in os.read(wake, 64):
                if number in numbers and asked:  # the main thread hangs where no handler runs
                    os._exit(128 + number)
                if number in numbers:
                    asked = True
                    stop(signal.Signals(number))

    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    threading.Thread(target=listen, name="signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, on_signal)
    ignore_others()
