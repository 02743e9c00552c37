"""One simulated world, made from one seed: time, a stream, the KCL, workers, stores, and everything that can go wrong.

The product's own code runs in it: consumers, commits, recovery, reconcilers, clean-up. It asks for I/O by yielding
calls; the world makes a call when it likes, lets it fail before or after it took effect, lets others run in between, or
drops the worker.
"""

import random
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sa_stream.commits import protocol
from sa_stream.commits.keys import SECRETS_PREFIX
from sa_stream.commits.operations import Call
from sa_stream.commits.progress import Progress
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Start
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.partitions import Shard_Info
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import BEGINNING_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Stream_Retention, month_of
from sa_stream.windows import paths
from tests.simulation.archive import LATENESS_MS, Log_Archive
from tests.simulation.at_rest import Violation
from tests.simulation.calls import Calls
from tests.simulation.checks import Checks
from tests.simulation.clocks import Clocks
from tests.simulation.events import Events, Outage
from tests.simulation.faults import Misfortune
from tests.simulation.identity import Identity
from tests.simulation.kcl import Leases
from tests.simulation.ledger import Ledger, Ranges
from tests.simulation.options import options_of
from tests.simulation.parts import (
    FOREVER_MS,
    MONTH_END_MS,
    QUEUED_MAX,
    SECOND_MS,
    SHARDS_MAX,
    STREAM,
    Lease,
    Link,
    Short_Timing,
    Task,
    Worker,
)
from tests.simulation.planting import patched
from tests.simulation.repairs import Repairs
from tests.simulation.stores import Watched_Cache, Watched_Store
from tests.simulation.stream import Traffic
from tests.simulation.workers import Work

LONG_RETENTION_MS = 24 * HOUR_MS
ROUNDS_MAX = 100  # without faults, until all must have come to rest


class World(Clocks, Identity, Traffic, Leases, Work, Calls, Events, Misfortune, Repairs):
    """timing    of the stream and the settings at the beginning; `settings`: of workers that start now
    losses      from when on a partition may vouch, after each legitimate loss
    damaged     partitions that may have to begin anew, since something of theirs was lost
    broken      keys of objects that were lost or torn; `spoilt`: windows that may never be final for want of them
    excused_ms  windows that begin before it may never be final: who was to vouch for them was lost
    """

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.trace: deque[tuple[Any, ...]] = deque(maxlen=None if trace else 150)
        self.options = options = options_of(seed, rng)
        # so that shards that closed before LATEST are listed to the end
        long_kept = options["backlog"] or (options["start"] == "LATEST" and not options["old"])
        self.timing = Short_Timing(
            commit_interval_ms=options["commit_s"] * SECOND_MS,
            dedupe_horizon_minutes=options["horizon_minutes"],
            retention_ms=options["retention_hours"] * HOUR_MS
            or (LONG_RETENTION_MS if long_kept else Short_Timing().retention_ms),
            allowed_lateness_ms=LATENESS_MS if options["archive"] else Short_Timing().allowed_lateness_ms,
        )
        self.settings = self.timing
        self.out_of_orderness_ms = self.timing.out_of_orderness_ms  # the least that it ever was
        self.now_ms = MONTH_END_MS - rng.randint(0, 12) * WINDOW_MS + rng.randint(0, WINDOW_MS)
        self.born_ms = self.now_ms
        self.kinesis = Memory_Kinesis(lambda: self.now_ms)
        self.archive: Log_Archive | None = None
        if options["archive"]:
            self.archive = Log_Archive(random.Random(f"archive {seed}"), lambda: self.now_ms, self.say)
        self.ledger = Ledger(
            allowed_lateness_ms=self.timing.allowed_lateness_ms, dedupe_horizon_minutes=options["horizon_minutes"]
        )
        self.checks = Checks(self, self.ledger)
        self.store = Watched_Store(self.checks.put, lambda: self.now_ms + options["store_offset_ms"])
        self.cache = Watched_Cache(self._cache_fault, self._tear, self.checks.store_entry)
        self.faults = True
        self.actor: Task | None = None
        self.tearing: list[Task] = []  # in the middle of a write to the cache
        self.doomed: list[Task] = []  # who die after it
        self.seen: Counter[str] = Counter()  # what happened, by its first word
        self.leases: dict[str, Lease] = {}
        self.workers: dict[str, Worker] = {}
        self.tasks: list[Task] = []
        self.links: list[Link] = []
        self.ghosts: list[tuple[int, Call]] = []
        self.losses: list[int] = []
        self.damaged: set[str] = set()
        self.secrets_torn = False  # so that any partition may have to begin anew
        self.broken: set[str] = set()
        self.spoilt: set[int] = set()
        self.excused_ms = BEGINNING_MS
        self.shrunk = 0
        # lineage -> what it set aside, if that is all that it has not read; None if it lacks more
        self.skipped: dict[str, Ranges | None] = {}
        # lineages of who came after a month's secret was destroyed: its records are dropped records of the next one
        self.closed: set[str] = set()
        self.since_allowed_ms = BEGINNING_MS
        self.start = Start(BEGINNING_MS, self.born_ms)
        self.started_ms = self.settled_ms = 0
        self.no_cache_until_ms = self.no_state_until_ms = 0
        self.requests = 0
        self.recent: deque[tuple[bytes, int, int]] = deque(maxlen=12)  # line, hash key, when
        self.listing: Sequence[Shard_Info] = []
        self.replaced_ms = 0  # when the stream became another one
        self.refused = 0  # how often that was noticed
        self.strangers: set[str] = set()  # paths of the other one's records
        self.throttled_until_ms: dict[str, int] = {}
        self.observed: list[tuple[int, int]] = []  # when a retention was first seen, and which
        stream = self.kinesis.create_stream(STREAM, options["shards"], self.timing.retention_ms)
        for shard in stream.shards:
            self.ledger.start(shard.shard_id)

    # ------------------------------------------------------------------ what happened

    def say(self, *what: Any) -> None:
        self.trace.append((self.now_ms, *what))
        self.seen[what[0]] += 1

    def story(self) -> Iterator[str]:
        for at_ms, *what in self.trace:
            yield f"{(at_ms - self.born_ms) / 1000:9.1f} s  " + " ".join(map(str, what))

    @property
    def lossless(self) -> bool:
        return not self.losses and self.since_allowed_ms == BEGINNING_MS

    @property
    def exact(self) -> bool:
        """Whether what a window holds is known to the last number: while settings change, it depends on who read."""
        return not self.options["settings"] and not self.replaced_ms

    def entry(self, key: str) -> dict[str, Any] | None:
        return self.cache.peek(NS_SA_AGGREGATE, key)

    def cache_entries(self) -> dict[str, dict[str, Any]]:
        return self.cache.entries(NS_SA_AGGREGATE)

    def best_progress(self) -> dict[str, Progress]:
        return {partition: own for partition, own in self.all_progress().items() if not own.retired}

    def since_ms(self) -> int:
        """From when on everybody vouches, those included of whom there is only a tombstone."""
        return max((own.since_ms for own in self.all_progress().values()), default=BEGINNING_MS)

    def all_progress(self) -> Mapping[str, Progress]:
        steps = Progress_Reader(self.store).steps()
        result = None
        try:
            while True:
                result = steps.send(result() if result else None)
        except StopIteration as stop:
            return dict(stop.value)

    def seeds_of(self, window_ms: int) -> set[int]:
        """The hash secrets that a window's month ever had: one, unless some were torn."""
        prefix = f"{SECRETS_PREFIX}{month_of(window_ms)}"
        return {int.from_bytes(data, "big") for key, data in self.store.written.items() if key.startswith(prefix)}

    # ------------------------------------------------------------------ workers come and go

    def start_application(self) -> None:
        rng = self.rng
        self.started_ms = self.now_ms
        position = self.options["start"]
        if position != "TRIM_HORIZON":
            from_ms = self.now_ms + rng.randint(-20, 20) * SECOND_MS
            if position == "AT_TIMESTAMP":
                from_ms -= rng.randint(0, self.timing.retention_ms + HOUR_MS)
            self.start = Start(from_ms, self.born_ms)
            self.since_allowed_ms = from_ms
        first_ms = max(self.start.from_ms, self.horizon_ms(), self.born_ms)
        for shard in self.shards():
            if shard.opened_ms <= first_ms and (shard.closed_ms is None or shard.closed_ms > first_ms):
                self.leases[shard.shard_id] = Lease(from_ms=self.start.from_ms)
        for n in range(self.options["workers"]):
            self.spawn(f"w{n}")
        self.say("start", position, self.options)

    def spawn(self, name: str) -> None:
        rng = self.rng
        stream = self.claim()
        if stream is None:
            return
        retention = Stream_Retention((0, ()), lambda: self.check_stream(worker, at_once=True))
        timing = replace(self.settings, stream=retention)
        secrets = Secrets(self.store, lambda: rng.randbytes(8))
        worker = Worker(name, self.make_clock(), secrets, timing, stream, listed_ms=stream.created_ms)
        self.check_stream(worker)
        self.workers[name] = worker
        self.tasks.append(Task(worker, self.reconciler_steps(worker)))
        if self.archive is not None:
            self.tasks.append(Task(worker, self.repairer_steps(worker)))
        self.say("spawn", name, "clock", worker.clock.off_ms // SECOND_MS)

    # ------------------------------------------------------------------ the run

    def step(self, later_ms: int, calls_max: int) -> None:
        self.now_ms += later_ms
        self.check_streams()
        if self.archive is not None:
            self.archive.step()
        self.balance()
        for link in self.links:
            for _ in range(self.rng.choice([0, 1, 1]) if self.faults else QUEUED_MAX):
                self.fetch(link)
        for at_ms, call in [ghost for ghost in self.ghosts if ghost[0] <= self.now_ms]:
            self.ghosts.remove((at_ms, call))
            self.say("ghost", call.name, call.arguments[0] if isinstance(call.arguments[0], str) else "")
            call()
        for task in self.rng.sample(self.tasks, len(self.tasks)):
            if task in self.tasks and task.worker.paused_until_ms <= self.now_ms and task not in self.tearing:
                self.run_task(task, calls_max)
        self.links = [link for link in self.links if not link.dead]

    def run(self) -> None:
        """Raises Violation."""
        try:
            self._before()
            self.start_application()
            self._with_faults()
            self._without_faults()
            self.checks.end()
        except Violation:
            raise
        except Exception as error:
            raise Violation("crash", traceback.format_exc(limit=-6)) from error

    def _before(self) -> None:
        """The stream has lived before the application starts."""
        rng, until_ms = self.rng, self.born_ms
        # who starts at LATEST finds generations of shards that nobody reads
        reshard = self.options["reshard"] * (5 if self.options["start"] == "TRIM_HORIZON" else 15)
        if self.options["backlog"]:
            until_ms += rng.randint(6 * 60, 20 * 60) * MINUTE_MS
        elif self.options["old"]:
            until_ms += self.timing.retention_ms + rng.randint(-10, 90) * MINUTE_MS
        elif self.options["before"] or self.options["start"] != "TRIM_HORIZON":
            until_ms += rng.randint(5, 90) * MINUTE_MS
        while self.now_ms < until_ms:
            self.now_ms += rng.randint(20, 400) * SECOND_MS
            self.produce()
            if rng.random() < reshard and len(self.shards()) < SHARDS_MAX:
                self.reshard()
            if self.options["retention"] in ("before", "any") and rng.random() < 0.03:
                self.change_retention()

    def _with_faults(self) -> None:
        rng, options = self.rng, self.options
        length_ms = 20 * WINDOW_MS if options["long"] else 8 * WINDOW_MS
        step_s = 75 if options["long"] else 30
        end_ms = self.now_ms + length_ms
        night_ms = (FOREVER_MS, 0)
        outage = Outage(self)
        if options["night"]:
            begin_ms = self.now_ms + rng.randint(0, length_ms)
            night_ms = (begin_ms, begin_ms + rng.randint(WINDOW_MS, 4 * WINDOW_MS))
        if options["outage"]:
            begin_ms = self.now_ms + rng.randint(WINDOW_MS, 4 * WINDOW_MS)
            lasts_ms = Short_Timing().retention_ms + rng.randint(-20, 90) * MINUTE_MS
            outage = Outage(self, begin_ms, lasts_ms)
        replaced_ms = self.now_ms + rng.randint(0, length_ms) if options["replaced"] else FOREVER_MS
        end_ms = self.plan_silence(end_ms)
        while self.now_ms < (outage.ends_ms + 3 * WINDOW_MS if options["outage"] else end_ms) and not self.over:
            if self.now_ms > replaced_ms and not self.replaced_ms:
                self.replace_stream()
            outage.step()
            off = outage.off
            self.step(rng.randint(0, step_s if not off else 300) * SECOND_MS, 6)
            quiet = night_ms[0] < self.now_ms < night_ms[1] or outage.quiet
            if not quiet and rng.random() < options["busy"]:
                for _ in range(rng.choice([1, 1, 4, 8])):
                    self.produce()
                    self.now_ms += rng.randint(0, 2_000)
            if rng.random() < options["reshard"] and len(self.shards()) < SHARDS_MAX and not self.replaced_ms:
                self.reshard()
            if off:
                for worker in self.workers.values():
                    if worker.alive:
                        self.crash(worker)
                self.forget_begun_leases()
                soon_over = outage.ends_ms - self.now_ms < HOUR_MS  # so that the value before has taken something
                if options["retention"] in ("outage", "any") and soon_over and rng.random() < 0.05:
                    self.change_retention()
            else:
                self._misfortune()

    def _without_faults(self) -> None:
        """Everything comes to rest. What is still to happen to dead workers' calls happens, too."""
        self.faults = False
        self.no_cache_until_ms = self.no_state_until_ms = 0
        self.settled_ms = self.now_ms
        if self.archive is not None:
            self.archive.come_to_rest()
        for name, worker in list(self.workers.items()):
            if worker.leaving:
                self.crash(worker)
            if worker.alive:
                worker.paused_until_ms = min(worker.paused_until_ms, self.now_ms + 10 * MINUTE_MS)
                worker.jvm_paused_until_ms = min(worker.jvm_paused_until_ms, worker.paused_until_ms)
                worker.clock.read_ms = min(worker.clock.read_ms, max(self.now_ms, worker.paused_until_ms))
            else:
                self.spawn(name)
        self.say("faults are over")
        if self.over:
            return
        for _ in range(30):
            self.step(self.rng.randint(40, 120) * SECOND_MS, 600)
            self.checks.rest()
        left = 16  # rounds: a chain of splits takes some a generation, and what breaks the engine is found in some
        for _ in range(ROUNDS_MAX):
            failures = self.seen["engine failed"]
            self.step(400 * SECOND_MS, 2_000)
            self.checks.rest()
            left = max(left - 1, 8 * (self.seen["engine failed"] > failures))
            if not left:
                break


def run_seed(seed: int, trace: bool = False) -> tuple[World, Violation | None]:
    world = World(seed, trace)
    inside_bytes = world.options["inside_bytes"]
    try:
        with patched(paths, "SHRUNK_PATHS", 2), patched(protocol, "SNAPSHOT_INSIDE_BYTES_MAX", inside_bytes):
            world.run()
    except Violation as violation:
        return world, violation
    return world, None
