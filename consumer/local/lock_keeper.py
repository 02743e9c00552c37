"""Keeps the lock of the state store while this process works: it comes in held, and is refreshed in a thread of its
own. It must not run out under a process that reads and commits, however long a source takes for an answer."""

import threading

from sa_stream.errors import Store_Unavailable
from sa_stream.log import LOCK_WAITS, Log
from sa_stream.storage.state_lock import REFRESH_S, State_Lock

log = Log("lock")

AGAIN_S = 5.0  # after a refresh that failed
STOP_S = 2.0  # for one that is under way: it would put back what is released next


class Lock_Keeper:
    """`with Lock_Keeper(lock) as keeper: …`

    failure  why it is ours no more: another process has taken over
    """

    def __init__(self, lock: State_Lock) -> None:
        self.failure: BaseException | None = None
        self._lock = lock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lock", daemon=True)

    def __enter__(self) -> "Lock_Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        wait_s = REFRESH_S
        while not self._stop.wait(wait_s):
            wait_s = REFRESH_S
            try:
                self._lock.refresh()
            except Store_Unavailable as error:
                wait_s = AGAIN_S
                log.tell(LOCK_WAITS, f"the lock of the state store waits to be refreshed: {error}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it
                self.failure = error
                return
