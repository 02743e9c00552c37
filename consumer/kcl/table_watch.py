"""Prepares the KCL's tables before each start of its process, and looks after them while it runs, in a thread of its
own: DynamoDB may be slow, and the engine must not wait for it."""

import threading
import time

from consumer.health import Store_Health
from consumer.kcl.tables import Kcl_Tables
from consumer.logging import Log
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.timing import wall_clock_ms

log = Log("tables")

LOOK_S = 10.0  # how often it looks; what is wrong twice in a row is believed
TICK_S = 0.1
WAIT_S_MIN, WAIT_S_MAX = 0.5, 10.0  # between two tries to prepare


class Table_Watch:
    """tables   used by no other thread
    failure  the error that ends the run: the leases are another's, or nothing may be asked of DynamoDB at all
    """

    def __init__(self, tables: Kcl_Tables, health: Store_Health) -> None:
        self.failure: BaseException | None = None
        self._tables = tables
        self._health = health
        self._trouble: str | None = None
        self._wanted = threading.Event()
        self._prepared = threading.Event()
        self._prepared_once = False
        self._running = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tables", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for nothing more; what is under way ends by itself."""
        self._stop.set()

    def prepared(self) -> bool:
        """Whether the KCL's process may be started now. The first time it is asked for, it begins to prepare that; once
        it has said so, the next start is another one."""
        if self._prepared.is_set():
            self._prepared.clear()
            return True
        self._running = False
        self._wanted.set()
        return False

    def trouble(self, running: bool) -> str | None:
        """Why the KCL's process has to be started anew, told once. running: the tables must be there, as the KCL has
        made them."""
        self._running = running
        trouble, self._trouble = self._trouble, None
        return trouble if running else None

    def _run(self) -> None:
        wait_s, look_s, last = WAIT_S_MIN, 0.0, None
        while not self._stop.wait(TICK_S):
            try:
                if self._wanted.is_set():
                    self._tables.prepare()
                    self._wanted.clear()
                    self._trouble, last, wait_s = None, None, WAIT_S_MIN
                    self._prepared_once = True
                    self._prepared.set()
                elif self._running and time.monotonic() >= look_s:
                    look_s = time.monotonic() + LOOK_S
                    found = self._tables.trouble()
                    self._trouble = found if found == last else None
                    last = found
                else:
                    continue
                self._health.ok(wall_clock_ms())
            except Exception as error:  # noqa: BLE001 - whatever it is but a store that does not answer, the run ends
                waits = isinstance(error, Store_Unavailable) or (
                    self._prepared_once and isinstance(error, Source_Error)  # a policy can be repaired while we run
                )
                if not waits:
                    self.failure = error
                    return
                self._health.failed(wall_clock_ms(), str(error))
                if self._wanted.is_set():
                    log.warning("leases_wait", f"the KCL waits to be started: {error}")
                    self._stop.wait(wait_s)
                    wait_s = min(WAIT_S_MAX, wait_s * 2)
