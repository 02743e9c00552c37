"""The repairer's thread: windows that the stream does not make final are computed from the archive, one at a time,
beside the reading and never in its way. Whatever fails is tried again; nothing here can make anything wrong.
"""

import threading
from collections.abc import Callable, Mapping

from sa_stream.bounded.repair import Window_Files, repair_steps
from sa_stream.commits.keys import window_label
from sa_stream.commits.operations import drive
from sa_stream.commits.ports import Store
from sa_stream.commits.secrets import Secrets
from sa_stream.errors import In_Use, SA_Stream_Error
from sa_stream.health.metrics import REPAIRS
from sa_stream.health.notebook import Health
from sa_stream.log import REPAIR_WAITS, REPAIRED, THREAD_FAILED, Log
from sa_stream.rollups.repairs import Repair
from sa_stream.storage.state_lock import State_Lock, hold_lock
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS, Moment, Now, iso

log = Log("repairer")

ROUND_S = 10.0  # between two rounds, as long as nothing new is to be repaired
YOUNG_MS = 2 * HOUR_MS  # files of a window mostly come within this time of its end
LOOK_MS = 45_000  # between two looks for a young window's files: with the round, they are found within a minute
OLD_LOOK_MS = 15 * MINUTE_MS  # ... for an old one's: each costs requests
LOCK_KEY = "locks/repairs"  # one worker repairs at a time: that saves double work, and nothing else
LOCK_S = 120.0  # it counts so long after its holder has died
REFRESH_MS = 20_000
RESULTS = ("computed", "incomplete", "unchanged", "failed")


class _Stopped(Exception):
    """In the middle of a window: what was read of it is read again by the next."""


class Repairer:
    """Repairs what `wanted` was last called with, oldest first, until stopped.

    looked  called after each look for files, and in the middle of long ones, with why the oldest window waits that does
    """

    def __init__(
        self,
        state: State_Store,
        store: Store,
        secrets: Secrets,
        files: Window_Files,
        health: Health,
        clock: Callable[[], Now],
        looked: Callable[[Moment, str | None], None] = lambda now, why: None,
    ) -> None:
        self._state, self._store, self._secrets, self._files = state, store, secrets, files
        self._health = health
        self._clock = clock
        self._looked = looked
        self._wanted: Mapping[int, Repair | None] = {}
        self._looked_at: dict[int, Moment] = {}
        self._failed: dict[int, str] = {}  # window -> why its last look failed
        self._lock: State_Lock | None = None
        self._refreshed = Moment(0)
        health.counts.add(REPAIRS, {(result,): 0 for result in RESULTS})
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="repairer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """At the next piece of a file, or without waiting for it: what was not put is computed again by the next."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def wanted(self, windows: Mapping[int, Repair | None]) -> None:
        """Windows to compute, or to look at again -> what was computed of them (Pass_Result.to_repair)."""
        fresh = not windows.keys() <= self._wanted.keys()
        self._wanted = dict(windows)
        # Another worker may repair: who does not must not go on saying that they wait.
        failed = {window_ms: why for window_ms, why in self._failed.copy().items() if window_ms in windows}
        self._health.repairs(_waiting(windows), failed)
        if fresh:
            self._wake.set()

    def alive(self) -> None:
        """To be called while a window is computed, which may take long. Ends it when the repairer is to stop."""
        if self._stop.is_set():
            raise _Stopped
        now = self._clock().moment
        if self._lock is not None and self._keep(self._lock, now):
            self._say_looked()

    def _keep(self, lock: State_Lock, now: Moment) -> bool:
        """Refresh the lock, if it is time to: that costs requests, and a look for files takes a fraction of a second.
        Whether it was."""
        due = now - self._refreshed >= REFRESH_MS
        if due:
            lock.refresh()
            self._refreshed = now
        return due

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.round()
            except _Stopped:
                return
            self._wake.wait(ROUND_S)
            self._wake.clear()

    def _say_looked(self) -> None:
        self._looked(self._clock().moment, next((self._failed[each] for each in sorted(self._failed)), None))

    def round(self) -> None:
        """Every window that is due, oldest first. What fails keeps no other from being looked at."""
        wanted = self._wanted
        self._looked_at = {window_ms: at for window_ms, at in self._looked_at.items() if window_ms in wanted}
        self._failed = {window_ms: why for window_ms, why in self._failed.items() if window_ms in wanted}
        if any(self._due(window_ms, self._clock()) for window_ms in wanted):
            try:
                with hold_lock(self._state, LOCK_S, LOCK_KEY) as self._lock:
                    self._refreshed = self._clock().moment
                    self._repair_due(wanted, self._lock)
            except In_Use:
                pass  # another worker is at it
            except SA_Stream_Error as error:
                log.tell(REPAIR_WAITS, f"repairs wait: {error}")
            finally:
                self._lock = None
        self._say_looked()

    def _repair_due(self, wanted: Mapping[int, Repair | None], lock: State_Lock) -> None:
        waiting, failed = _waiting(wanted), self._failed
        for window_ms, known in sorted(wanted.items()):
            now = self._clock()
            if self._stop.is_set():
                return
            if not self._due(window_ms, now):
                continue
            self._keep(lock, now.moment)
            self._looked_at[window_ms] = now.moment
            failed.pop(window_ms, None)
            try:
                self._repair(window_ms, known)
            except _Stopped:
                raise
            except SA_Stream_Error as error:
                failed[window_ms] = str(error)
            except Exception as error:  # noqa: BLE001 - the thread lives on, and tries again
                failed[window_ms] = repr(error)
                log.tell(THREAD_FAILED, f"computing the window of {iso(window_ms)} failed: {error!r}", error)
            if window_ms in failed:
                self._count("failed")
                message = f"the window of {iso(window_ms)} waits for the archive: {failed[window_ms]}"
                log.tell(REPAIR_WAITS, message, window=window_label(window_ms))
            elif window_ms in waiting:
                waiting.remove(window_ms)
            self._health.repairs(waiting, failed)
            self._say_looked()

    def _count(self, result: str) -> None:
        self._health.counts.add(REPAIRS, {(result,): 1})

    def _due(self, window_ms: int, now: Now) -> bool:
        looked_at = self._looked_at.get(window_ms)
        young = now.wall_ms - (window_ms + WINDOW_MS) < YOUNG_MS
        return looked_at is None or now.moment - looked_at >= (LOOK_MS if young else OLD_LOOK_MS)

    def _repair(self, window_ms: int, known: Repair | None) -> None:
        repair = drive(repair_steps(self._store, self._secrets, self._files, window_ms, known))
        self._count("unchanged" if repair is None else "computed" if repair.whole else "incomplete")
        if repair is not None:
            log.tell(
                REPAIRED,
                f"the window of {iso(window_ms)} was computed from {repair.files} files"
                + ("" if repair.whole else ", and others could not be read"),
                window=window_label(window_ms),
                files=repair.files,
                whole=repair.whole,
            )


def _waiting(windows: Mapping[int, Repair | None]) -> list[int]:
    """Those of which nothing was computed, or not all, oldest first."""
    return [window_ms for window_ms, known in sorted(windows.items()) if known is None or not known.whole]
