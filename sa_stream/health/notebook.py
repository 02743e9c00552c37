"""The notebook: whoever does something says what and when, from any thread; people and load balancers ask whether the
data path is alive (`readiness`). It has no clock of its own.
"""

import copy
import threading
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from sa_stream.health.counts import Counts
from sa_stream.timing import Moment

SILENT_MS = 60_000  # without a read (or a publishing round) for this long, a part counts as dead
KCL_RUNNING = "running"


class Shard_View(Struct):
    """What is known of one shard. None: not yet.

    lag_ms             as of the last read; it grows while nothing is read (`lag_ms_at`)
    uncommitted_since  when the first record that no commit covers was read; None: everything is committed
    windows            start (ms) -> records counted, of the windows in memory
    unreadable         why the source does not answer a read of this shard, since unreadable_since; None: it does
    """

    since: Moment
    sequence_number: str | None = None
    lag_ms: int | None = None
    last_read: Moment | None = None
    last_commit: Moment | None = None
    uncommitted_since: Moment | None = None
    watermark_ms: int | None = None
    windows: dict[int, int] = field(default_factory=dict)
    ended: bool = False
    blocked: str | None = None
    malformed: str | None = None
    duplicates: str | None = None
    unreadable: str | None = None
    unreadable_since: Moment | None = None
    counters: dict[str, int] = field(default_factory=dict)

    def lag_ms_at(self, now: Moment) -> int | None:
        """How far behind the tip this shard is now, as far as is known."""
        if self.lag_ms is None or self.last_read is None or self.ended:
            return self.lag_ms
        unread_ms = now - self.last_read
        grows = self.lag_ms or self.unreadable_since is not None or unread_ms >= SILENT_MS
        return self.lag_ms + (unread_ms if grows else 0)


class Store_View(Struct):
    """What is known of one store. failing_since is the first failure after the last success; None: it works. calls:
    since the start; failures: how many of them."""

    last_ok: Moment | None = None
    failing_since: Moment | None = None
    reason: str = ""
    calls: int = 0
    failures: int = 0


class Kcl_View(Struct):
    """What is known of the KCL's process.

    state       what its supervisor says: `running`, or in words what keeps it from running
    idle_since  since when it runs without a lease for us; None: it has one
    unread      open shard -> since when no worker has made progress with it
    """

    state: str
    idle_since: Moment | None = None
    unread: dict[str, Moment] = field(default_factory=dict)


class Repairs_View(Struct, frozen=True):
    """waiting  windows (start in ms) that are to be computed from the archive, and were not yet
    failed   window -> why its last try failed
    """

    waiting: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)


class Last_Window(Struct, frozen=True):
    """The last half hour that is final. None: not in its entry, or there is nothing to divide by.

    error_rate, hit_rate  share of 5xx, and of hits, from 0 to 1
    """

    end_ms: int
    requests: int
    error_rate: float | None = None
    hit_rate: float | None = None
    p95_s: float | None = None


class Finality_View(Struct, frozen=True):
    """final_until_ms  all half hours before it are final, or will never be by themselves
    windows_partial  of the last two days: ended, not final, and waited for
    """

    final_until_ms: int
    windows_partial: int


class Health_View(Struct):
    """Everything that is known, at one moment.

    kcl   None when shards are read without it
    gone  shard that the stream no longer had before it was read to its end -> up to when (ms) it was read
    lost  shard -> what of it was lost last, as a sentence's end
    repairs  None where there is no archive to repair from
    clock_stepped  how far our clock has stepped, as long as it does not agree with the source's again
    retention_ms, memory_limit_bytes  0: not known
    """

    started: Moment
    commit_interval_ms: int
    versions: dict[str, str]
    shards: dict[str, Shard_View] = field(default_factory=dict)
    stores: dict[str, Store_View] = field(default_factory=dict)
    clock_offset_ms: int = 0
    clock_stepped_ms: int = 0
    last_published: Moment | None = None
    memory: str | None = None
    kcl: Kcl_View | None = None
    gone: dict[str, int] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    repairs: Repairs_View | None = None
    finality: Finality_View | None = None
    last_window: Last_Window | None = None
    retention_ms: int = 0
    memory_limit_bytes: int = 0


class Shard_Health:
    """The engine's pen for one shard."""

    def __init__(self, lock: threading.Lock, view: Shard_View) -> None:
        self._lock = lock
        self._view = view

    def read(self, now: Moment, lag_ms: int, sequence_number: str | None) -> None:
        """A read was answered, with records or empty. sequence_number: the last record seen so far."""
        with self._lock:
            view = self._view
            view.last_read = now
            view.lag_ms = lag_ms
            if sequence_number is not None and sequence_number != view.sequence_number:
                view.sequence_number = sequence_number
                if view.uncommitted_since is None:
                    view.uncommitted_since = now

    def resumed(self, sequence_number: str | None) -> None:
        """The shard goes on after this record, which is committed; None: it begins."""
        with self._lock:
            self._view.sequence_number = sequence_number
            self._view.uncommitted_since = None

    def committed(self, now: Moment) -> None:
        """A commit that covers everything read so far was confirmed."""
        with self._lock:
            self._view.last_commit = now
            self._view.uncommitted_since = None

    def watermark(self, watermark_ms: int) -> None:
        with self._lock:
            self._view.watermark_ms = watermark_ms

    def windows(self, counts: Mapping[int, int]) -> None:
        """Windows in memory: start (ms) -> records counted."""
        with self._lock:
            self._view.windows = dict(counts)

    def ended(self) -> None:
        """The shard has no more records to come, and all it had is committed."""
        with self._lock:
            self._view.ended = True

    def blocked(self, reason: str | None) -> None:
        """The shard waits for something (None: no longer). It is not ready as long as it does."""
        with self._lock:
            self._view.blocked = reason

    def unreadable(self, now: Moment, reason: str | None) -> None:
        """The source throttles or fails the reads of this shard (None: it answers), whatever it does for others."""
        with self._lock:
            self._view.unreadable = reason
            self._view.unreadable_since = None if reason is None else self._view.unreadable_since or now

    def counters(self, counters: Mapping[str, int]) -> None:
        """What was seen and dropped so far, by name."""
        with self._lock:
            self._view.counters = dict(counters)

    def malformed(self, reason: str | None) -> None:
        """Most of what was read lately could not be used (None: no longer), so the entries are not what they seem."""
        with self._lock:
            self._view.malformed = reason

    def duplicates(self, reason: str | None) -> None:
        """Most of what was read lately had been read before (None: no longer), or looks so."""
        with self._lock:
            self._view.duplicates = reason


class Store_Health:
    """Pen for one store; whoever calls the store says how it went."""

    def __init__(self, lock: threading.Lock, view: Store_View) -> None:
        self._lock = lock
        self._view = view

    def ok(self, now: Moment) -> None:
        with self._lock:
            self._view.calls += 1
            self._view.last_ok = now
            self._view.failing_since = None
            self._view.reason = ""

    def failed(self, now: Moment, reason: str) -> None:
        with self._lock:
            self._view.calls += 1
            self._view.failures += 1
            self._view.reason = reason
            if self._view.failing_since is None:
                self._view.failing_since = now


class Health:
    """What the engine does, written down from any thread. Nothing here asks a clock.

    counts  what happened how often, and how long it took
    """

    def __init__(
        self, started: Moment, commit_interval_ms: int = 60_000, versions: Mapping[str, str] | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._view = Health_View(started, commit_interval_ms, dict(versions or {}))
        self.counts = Counts()

    def shard(self, partition: str, now: Moment | None = None) -> Shard_Health:
        """The pen of a shard; naming a shard for the first time says that this worker has to read it from `now` on (by
        default from the start of the process)."""
        with self._lock:
            view = self._view.shards.setdefault(partition, Shard_View(now or self._view.started))
        return Shard_Health(self._lock, view)

    def forget(self, partition: str) -> None:
        """Another worker reads this shard now."""
        with self._lock:
            self._view.shards.pop(partition, None)

    def store(self, name: str) -> Store_Health:
        """The pen of a store, such as 'state store' or 'cache service': the name is what people will read."""
        with self._lock:
            return Store_Health(self._lock, self._view.stores.setdefault(name, Store_View()))

    def clock(self, offset_ms: int, stepped_ms: int = 0) -> None:
        """How far the source's clock is ahead of this machine's (as the Kinesis reader measures it), and how far this
        machine's has stepped since they last agreed."""
        with self._lock:
            self._view.clock_offset_ms = offset_ms
            self._view.clock_stepped_ms = stepped_ms

    def published(self, now: Moment) -> None:
        """A round of publishing was completed: what differed was written, or nothing differed."""
        with self._lock:
            self._view.last_published = now

    def finality(self, found: Finality_View) -> None:
        """How far the stream is final, as a round of publishing has seen it."""
        with self._lock:
            self._view.finality = found

    def last_window(self, window: Last_Window) -> None:
        """The last half hour that is final, whoever has published it."""
        with self._lock:
            self._view.last_window = window

    def retention(self, retention_ms: int) -> None:
        """How long the stream keeps its records."""
        with self._lock:
            self._view.retention_ms = retention_ms

    def memory_limit(self, limit_bytes: int) -> None:
        """How much this process may take."""
        with self._lock:
            self._view.memory_limit_bytes = limit_bytes

    def memory(self, reason: str | None) -> None:
        """Memory is so short that nothing is read (None: no longer)."""
        with self._lock:
            self._view.memory = reason

    def gone(self, partition: str, read_to_ms: int) -> None:
        """The stream no longer has this shard, and what came after a time was never read."""
        with self._lock:
            self._view.gone[partition] = read_to_ms

    def lost(self, partition: str, what: str) -> None:
        """Records of a shard are in no number, or what was known of it is gone."""
        with self._lock:
            self._view.lost[partition] = what

    def repairs(self, waiting: Sequence[int], failed: Mapping[int, str]) -> None:
        """Windows that are still to be computed from the archive, and those of which that has just failed."""
        with self._lock:
            self._view.repairs = Repairs_View(tuple(waiting), dict(failed))

    def kcl(self, state: str, leases: int, now: Moment) -> None:
        """What the KCL's process is doing, and how many shards it lets this worker read."""
        with self._lock:
            view = self._view.kcl
            if view is None or view.state != state:
                view = self._view.kcl = Kcl_View(state, unread=view.unread if view else {})
            if leases or state != KCL_RUNNING:
                view.idle_since = None
            elif view.idle_since is None:
                view.idle_since = now

    def unread(self, shards: Mapping[str, Moment]) -> None:
        """Open shards that no worker of the application has made progress with for too long, and since when."""
        with self._lock:
            if self._view.kcl is not None:
                self._view.kcl.unread = dict(shards)

    def view(self) -> Health_View:
        """A copy of everything, as of one moment."""
        with self._lock:
            # What is in them is replaced as a whole, and never changed: a copy of each is enough.
            view = copy.copy(self._view)
            view.shards = {name: copy.copy(shard) for name, shard in view.shards.items()}
            view.stores = {name: copy.copy(store) for name, store in view.stores.items()}
            view.kcl = copy.copy(view.kcl)
            view.gone, view.lost = dict(view.gone), dict(view.lost)
            return view
