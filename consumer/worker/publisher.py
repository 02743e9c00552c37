"""The reconciler's thread: a round every few seconds, each starting afresh; a failing store is for the next round."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from sa_stream.commits.operations import Call, Operation, Together, drive
from sa_stream.commits.ports import Store
from sa_stream.errors import Config_Error, SA_Stream_Error, Store_Unavailable
from sa_stream.health.metrics import ENTRIES_WRITTEN, ENTRY_REVISIONS, PUBLISH_DURATION
from sa_stream.health.notebook import Finality_View, Health, Last_Window
from sa_stream.log import ENTRY, PUBLISHING_FAILED, PUBLISHING_WAITS, Log
from sa_stream.partitions import Partial_Name
from sa_stream.rollups.entry import FINAL, PARTIAL, Entry
from sa_stream.rollups.finality import Sources
from sa_stream.rollups.passes import Pass_Result, Written
from sa_stream.rollups.periods import HALF_HOUR, PERIODS, STATUS_KEY, cache_key, from_iso
from sa_stream.rollups.readable import entry_in
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.retirement import clean_up_steps, forget_dead_letters_steps
from sa_stream.rollups.status import (
    EVERY_MS,
    Slot,
    final_until_ms_of,
    has_begun,
    is_due,
    sound,
    waiting_of,
    with_others,
)
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import WINDOW_MS, Now, Timing, moment, right_now

log = Log("publisher")

PUBLISH_S = 2.0  # between two passes of the only worker, and of each when a window may become final
PUBLISH_S_MAX = 10.0  # ... of one of many
OPEN_PUBLISH_S_MAX = 30.0  # ... while only open windows have news
CLEAN_UP_S = 600.0  # between two rounds of deleting what nobody can need any more
DEAD_LETTERS_S = 86_400.0  # between two looks at what is to be kept for weeks
CALLS_AT_ONCE = 8  # that a pass makes at the same time
CLAIM_S = 600.0  # between two looks at whose the cache is


class Publisher:
    """Runs passes until stopped, or until the cache turns out to be somebody else's: then `failure` says so.

    intervals_s  between two passes, at most, while a window that has ended is not final, and else: see `pause_s`
    on_pass  gets every completed pass's result, in the publisher's thread
    claim    makes sure that the cache is ours, before the first pass and now and then: raises Config_Error if not, and
             Store_Unavailable, which the next pass makes up for
    """

    def __init__(
        self,
        reconciler: Reconciler,
        store: Store,
        health: Health,
        intervals_s: tuple[float, float],
        on_pass: Callable[[Pass_Result], None] = lambda result: None,
        claim: Callable[[], None] = lambda: None,
        clock: Callable[[], Now] = right_now,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._health = health
        self._intervals_s = intervals_s
        self._on_pass = on_pass
        self._claim = claim
        self._clock = clock
        self._status_s = -EVERY_MS / 1000
        self._begun = False  # whether there were commits when the status was last looked at
        self._shown: Slot | None = None  # the last final half hour that health has
        self._claimed_s: float | None = None
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._last_pass = False
        self._clean_up_s = self._dead_letters_s = time.monotonic() + CLEAN_UP_S
        self._settled: dict[int, Sources] = {}
        self._waiting = True
        self._count_written([])
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="publisher")
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, last_pass: bool, timeout_s: float = 10.0) -> None:
        """Stop after the round under way, and a last one if asked to, but wait no longer than this for both."""
        self._last_pass = last_pass
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))

    def published(self, partition: str, window_ms: int, name: Partial_Name) -> bool:
        """Whether the entry of the window is known to list this partial as a source."""
        return (partition, name) in self._settled.get(window_ms, ())

    def _run(self) -> None:
        while not self._stop.is_set() and self.failure is None:
            began_s, began_ms = time.monotonic(), self._clock().wall_ms
            self._pass()
            wait_s = pause_s(self._intervals_s, self._waiting, began_ms, self._reconciler.timing)
            self._stop.wait(max(0.0, wait_s - (time.monotonic() - began_s)))
        if self._last_pass and self.failure is None:
            self._reconciler = _without_delays(self._reconciler)
            self._pass()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pass(self) -> None:
        try:
            if self._is_ours():
                self._round()
        except Store_Unavailable as error:  # health has it from the store's own calls
            log.tell(PUBLISHING_WAITS, f"publishing waits for a store: {error}")
        except SA_Stream_Error as error:
            log.tell(PUBLISHING_FAILED, f"this round of publishing failed: {error}")
        except Exception as error:  # noqa: BLE001 - the thread lives on; readiness says that nothing is published
            log.tell(PUBLISHING_FAILED, f"this round of publishing failed: {error!r}", error)

    def _perform(self, operation: Operation) -> Any:
        """What is yielded together is made at the same time; the first failure ends the round."""
        if isinstance(operation, Together):
            return list(self._pool.map(Call.__call__, operation.calls))
        return operation()

    def _is_ours(self) -> bool:
        """Whether the cache is ours to write, as far as it was looked up."""
        now_s = time.monotonic()
        if self._claimed_s is None or now_s - self._claimed_s >= CLAIM_S:
            try:
                self._claim()
            except Config_Error as error:
                self.failure = error
                return False
            self._claimed_s = now_s
        return True

    def _round(self) -> None:
        began = moment()
        result = drive(self._reconciler.pass_steps(self._clock()), self._perform)
        self._settled, self._waiting = result.settled, bool(result.waiting)
        for written in result.written:
            log.tell(
                ENTRY,
                f"{written.cache_key} is {written.status}",
                key=written.cache_key,
                status=written.status,
                revision=written.revision,
                total_requests=written.total_requests,
            )
        self._count_written(result.written)
        ended = moment()
        self._health.published(ended)
        self._health.counts.took(PUBLISH_DURATION, ended - began)
        self._on_pass(result)
        self._publish_status(result)
        self._clean_up(result)

    def _publish_status(self, result: Pass_Result) -> None:
        """At most once a minute of all workers, as far as they see each other's, and at the first commits; and what
        metrics say of it."""
        now_s, cache, worker = time.monotonic(), self._reconciler.cache, self._reconciler.settings.worker
        if result.stream is None:
            return
        begun = has_begun(result.stream)
        if now_s - self._status_s < EVERY_MS / 1000 and begun <= self._begun:
            return
        self._status_s, self._begun = now_s, begun
        self._tell_finality(self._reconciler.slots(result.stream), result.stream.now_ms)
        if worker is None:
            return
        before = sound(cache.retrieve_entry(NS_SA_AGGREGATE, STATUS_KEY), from_iso)
        now_ms = self._clock().wall_ms
        status = self._reconciler.status(result, worker)
        if status is not None and is_due(before, status, worker, now_ms, from_iso):
            cache.store_entry(NS_SA_AGGREGATE, STATUS_KEY, with_others(status, before, now_ms, from_iso))

    def _count_written(self, written: Sequence[Written]) -> None:
        entries = Counter((each.cache_key.partition("/")[0], each.status) for each in written)
        revisions = Counter((each.cache_key.partition("/")[0],) for each in written if each.revised)
        of_all = {(period, status): entries[period, status] for period in PERIODS for status in (PARTIAL, FINAL)}
        self._health.counts.add(ENTRIES_WRITTEN, of_all)
        self._health.counts.add(ENTRY_REVISIONS, {(period,): revisions[(period,)] for period in PERIODS})

    def _tell_finality(self, slots: Sequence[Slot], now_ms: int) -> None:
        """Of the last final half hour its entry is read, which another worker may have written."""
        ended = [slot for slot in waiting_of(slots) if slot.start_ms + WINDOW_MS <= now_ms]
        self._health.finality(Finality_View(final_until_ms_of(slots), len(ended)))
        newest = next((slot for slot in reversed(slots) if not slot.reason), None)
        if newest is None or newest == self._shown:
            return
        end_ms, entry = newest.start_ms + WINDOW_MS, None
        if newest.requests:
            entry = entry_in(self._reconciler.cache, cache_key(HALF_HOUR, newest.start_ms))
        self._health.last_window(Last_Window(end_ms, 0) if entry is None else last_window(end_ms, entry))
        self._shown = newest

    def _clean_up(self, result: Pass_Result) -> None:
        now_s = time.monotonic()
        if result.stream is None or now_s < self._clean_up_s:
            return
        self._clean_up_s = now_s + CLEAN_UP_S
        drive(clean_up_steps(self._store, self._reconciler.cache, result.stream, result.settled), self._perform)
        if now_s >= self._dead_letters_s:
            self._dead_letters_s = now_s + DEAD_LETTERS_S
            drive(forget_dead_letters_steps(self._store, self._reconciler.settings.dead_letter_ms))


def last_window(end_ms: int, entry: Entry) -> Last_Window:
    """What metrics say of an entry. Without a request there are no shares, and without its field no number."""
    requests, classes = entry.get("total_requests", 0), entry.get("status_breakdown")
    hit_percent, times = entry.get("cache_hit_rate"), (entry.get("percentiles") or {}).get("time_taken")
    return Last_Window(
        end_ms,
        requests,
        classes.get("5xx", 0) / requests if requests and classes is not None else None,
        hit_percent / 100 if requests and hit_percent is not None else None,
        None if times is None else times.get("p95"),
    )


def _without_delays(reconciler: Reconciler) -> Reconciler:
    """The same one anew, which holds back no version of an entry for being too soon after the last."""
    settings = replace(reconciler.settings, refresh_ms={})
    anew = Reconciler(reconciler.store, reconciler.cache, reconciler.list_shards, reconciler.timing, settings)
    anew.memory.looks_of(reconciler.memory)
    return anew


def shared_publish_s(commit_interval_s: float) -> tuple[float, float]:
    """Between two passes of a worker that is one of many, while a window waits to become final and else: open windows
    have news once a commit interval, and each look costs listings of the state store."""
    return max(1.0, min(PUBLISH_S_MAX, commit_interval_s / 6)), max(1.0, min(OPEN_PUBLISH_S_MAX, commit_interval_s / 2))


def pause_s(intervals_s: tuple[float, float], waiting: bool, began_ms: int, timing: Timing) -> float:
    """From the beginning of one pass to that of the next. A window of a stream that is read as it comes closes when
    out-of-orderness is over: a pass comes then, and more soon after it, less often the longer it takes. Our clock may
    be off, which costs these early looks and nothing else."""
    closed_ms_ago = (began_ms - timing.out_of_orderness_ms) % WINDOW_MS
    waiting_s, open_s = intervals_s
    wait_s = min(waiting_s, max(PUBLISH_S, closed_ms_ago / 4_000)) if waiting else open_s
    return min(wait_s, (WINDOW_MS - closed_ms_ago) / 1_000)
