"""Prepares the KCL's tables before each start of its process, and looks after them while it runs, in a thread of its
own: DynamoDB may be slow, and the engine must not wait for it."""

import threading
import time
from enum import Enum

from consumer.kcl.tables import Kcl_Tables
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.health.notebook import Store_Health
from sa_stream.log import LEASES_WAIT, Log
from sa_stream.timing import Backoff, moment

log = Log("tables")

LOOK_S = 10.0  # how often it looks; what is wrong twice in a row is believed
TICK_S = 0.1
WAIT_MS_MIN, WAIT_MS_MAX = 500, 10_000  # between two tries to prepare


class _State(Enum):
    """Of the preparation of the next start. Only the thread of the watch makes WANTED to PREPARED, and only the other
    one the rest: a lock is never released once the process runs that may hold it."""

    WANTED = 1
    PREPARED = 2
    USED = 3


class Table_Watch:
    """tables   used by no other thread
    failure  the error that ends the run: the leases are another's, or nothing may be asked of DynamoDB at all
    """

    def __init__(self, tables: Kcl_Tables, health: Store_Health) -> None:
        self.failure: BaseException | None = None
        self._tables = tables
        self._health = health
        self._trouble: str | None = None
        self._next_start = _State.WANTED
        self._prepared_once = False
        self._running = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tables", daemon=True)

    def start(self) -> None:
        """Prepares the first start at once: whose leases they are must not wait for the stream's first record."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for nothing more; what is under way ends by itself."""
        self._stop.set()

    def prepared(self) -> bool:
        """Whether the KCL's process may be started now. Where that is not prepared, it is from now on; once it was
        allowed, the next start is another one."""
        self._running = False
        if self._next_start is _State.PREPARED:
            self._next_start = _State.USED
            return True
        if self._next_start is _State.USED:
            self._next_start = _State.WANTED
        return False

    def trouble(self, running: bool) -> str | None:
        """Why the KCL's process has to be started anew, told once. running: the tables must be there, as the KCL has
        made them."""
        self._running = running
        trouble, self._trouble = self._trouble, None
        return trouble if running else None

    def _run(self) -> None:
        backoff, look_s, last = Backoff(WAIT_MS_MIN, WAIT_MS_MAX), 0.0, None
        while not self._stop.wait(TICK_S):
            try:
                if self._next_start is _State.WANTED:
                    self._tables.prepare()
                    backoff.worked()
                    self._trouble, last = None, None
                    self._prepared_once = True
                    self._next_start = _State.PREPARED
                elif self._running and time.monotonic() >= look_s:
                    look_s = time.monotonic() + LOOK_S
                    found = self._tables.trouble()
                    self._trouble = found if found == last else None
                    last = found
                else:
                    continue
                self._health.ok(moment())
            except Exception as error:  # noqa: BLE001 - whatever it is but a store that does not answer, the run ends
                waits = isinstance(error, Store_Unavailable) or (
                    self._prepared_once and isinstance(error, Source_Error)  # a policy can be repaired while we run
                )
                if not waits:
                    self.failure = error
                    return
                self._health.failed(moment(), str(error))
                if self._next_start is _State.WANTED:
                    log.tell(LEASES_WAIT, f"the KCL waits to be started: {error}")
                    self._stop.wait(backoff.failed() / 1000)
