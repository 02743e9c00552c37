"""What the parts cost as the work grows: with shards, windows and age. Each function runs in a process of its own."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.data import WINDOW_END_MS
from benchmarks.lines import block
from benchmarks.shards import peak_bytes, resident_bytes
from consumer.worker.engine import Engine
from consumer.worker.publisher import shared_publish_s
from sa_stream.commits.codec import encode_progress
from sa_stream.commits.keys import partial_key, progress_key
from sa_stream.commits.operations import Operation, Steps, Together, drive
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.progress import Progress
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.health.notebook import Health
from sa_stream.partitions import Batch, Partial_Name, Shard_Info
from sa_stream.records.fields import CANONICAL, resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.retirement import clean_up_steps
from sa_stream.storage.state_store import Listed, State_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Moment, Now, Timing, month_of
from sa_stream.windows.partition_state import Partition_State
from sa_stream.windows.window import Window

INTAKE = Intake(resolve_field_lists("canonical", ""))
START_MS = WINDOW_END_MS - WINDOW_MS
COMMIT_MS = 60_000
PASS_MS = 10_000  # between two passes of one of many workers
SECRET = b"8 bytes."


class Counted:
    """Makes calls, and counts them by store and verb."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, operation: Operation) -> Any:
        if isinstance(operation, Together):
            return [self(one) for one in operation.calls]
        self.calls[operation.name] += 1
        return operation()


def at(now_ms: int) -> Now:
    return Now(now_ms, Moment(now_ms))


def record(number: int, event_ms: int) -> bytes:
    """A line with a time and an id of its own."""
    fields = list(_TEMPLATE)
    fields[CANONICAL.index("timestamp")] = b"%d.%03d" % divmod(event_ms, 1000)
    fields[CANONICAL.index("x-edge-request-id")] = b"%054d==" % number
    return b"\t".join(fields)


_TEMPLATE = block(0, 1, 1, START_MS, 0).split(b"\t")


# ---------------------------------------------------------------------- folds


def folds(records: int, windows: int, calls: int) -> dict[str, float]:
    """CPU (ms) of parsing and taking in so many records over so many windows, the least of some calls."""
    parser, least_s = Parser(INTAKE.lists), float("inf")
    state = Partition_State("s", "l", Timing(allowed_lateness_ms=400 * DAY_MS))
    step_ms = windows * WINDOW_MS / records if windows > 1 else 1
    arrivals_ms = np.full(records, START_MS + windows * WINDOW_MS, np.int64)
    for number in range(calls):
        first = number * records
        lines = block(first, first + records, 20_000, START_MS - int(first * step_ms), step_ms).splitlines(
            keepends=True
        )
        began_s = time.process_time()
        placed = state.placed(parser.parse(lines, arrivals_ms))
        seeds = dict.fromkeys(map(month_of, state.starts(placed)), 7)
        state.take(placed, [str(first + i + 1) for i in range(records)], seeds, INTAKE)
        least_s = min(least_s, time.process_time() - began_s)
    return {"ms": least_s * 1000, "windows": len(state.windows)}


class Clock:
    """Stands still until it is set."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> Now:
        return at(self.now_ms)


def slow_shards(shards: int, warm_s: int, measured_s: int) -> dict[str, float]:
    """CPU, as a share of a core, of an engine whose shards get a record a second each, one after the other: it waits
    for more as long as it does in a worker, folds, and commits to a store in memory."""
    clock, store = Clock(START_MS), State_Store("memory://")
    engine = Engine(Health(clock().moment), clock)
    shared = Shared(store, Timing(), Start(BEGINNING_MS, START_MS), INTAKE, Secrets(store, lambda: SECRET), lambda: "l")

    def opened(name: str) -> Steps[Partition_Consumer]:
        state = yield from recover_steps(shared, Shard_Info(name, (), False), None, START_MS)
        return Partition_Consumer(shared, state, lambda number: None, clock())

    def settle() -> None:
        engine.poll(0)
        while engine.busy:
            engine.poll()

    lanes = []
    for place in range(shards):
        lanes.append(engine.open(f"shard-{place:04d}", opened(f"shard-{place:04d}"), *[lambda *_: None] * 3))
        settle()
    began_s = 0.0
    for second in range(warm_s + measured_s):
        if second == warm_s:
            began_s = time.process_time()
        for place, lane in enumerate(lanes):
            clock.now_ms = START_MS + second * 1_000 + place * 1_000 // shards
            line = record(second, clock.now_ms - 1_000) + b"\n"
            engine.take(lane, Batch([line], [clock.now_ms - 500], [str(second + 1)]))
            settle()
    cpu_s = time.process_time() - began_s
    engine.shutdown()
    records = sum(lane.consumer.state.counters["aggregated"] for lane in lanes if lane.consumer is not None)
    return {"cores": cpu_s / measured_s, "records": records}


# ---------------------------------------------------------------------- publishing


def full_window(start_ms: int) -> Window:
    """As 1.8 million records of 20,000 paths leave it, near enough: 3 MB."""
    state = Partition_State("s", "l", Timing())
    lines = block(0, 30_000, 20_000, start_ms, 60).splitlines(keepends=True)
    parsed = Parser(INTAKE.lists).parse(lines, np.full(len(lines), start_ms + WINDOW_MS, np.int64))
    state.take(state.placed(parsed), [str(i + 1) for i in range(len(lines))], {month_of(start_ms): 7}, INTAKE)
    return state.windows[start_ms]


def commit(store: State_Store, partition: str, number: int, watermark_ms: int, names: dict[int, Partial_Name]) -> None:
    own = Progress(partition, str(number), "l", watermark_ms, BEGINNING_MS, False, watermark_ms, (), dict(names))
    store.put(progress_key(partition, own.number, watermark_ms, "l"), encode_progress(own))


def reconciler_of(store: State_Store, cache: Memory_Cache, partitions: Sequence[str]) -> Reconciler:
    shards = [Shard_Info(name, (), False) for name in partitions]
    return Reconciler(store, cache, lambda: shards, Timing())


def merge(shards: int) -> dict[str, float]:
    """CPU and memory of publishing the open window of so many full shards, each with the same content."""
    store, cache = State_Store("memory://"), Memory_Cache()
    data, name = full_window(START_MS).to_bytes(), Partial_Name("l", "1")
    partitions = [f"shard-{i:04d}" for i in range(shards)]
    for partition in partitions:
        store.put(partial_key(START_MS, partition, name), data)
        commit(store, partition, 1, START_MS + 1, {START_MS: name})
    before_bytes, began_s = resident_bytes(), time.process_time()
    result = drive(reconciler_of(store, cache, partitions).pass_steps(at(START_MS + MINUTE_MS)))
    assert result.written, result.skipped
    cpu_s = time.process_time() - began_s
    return {"cpu_s": cpu_s, "bytes": max(0, peak_bytes() - before_bytes), "partial_bytes": len(data)}


def steady_pass(shards: int, minutes: int) -> dict[str, float]:
    """What a pass costs in which nothing is new but an idle shard's watermark, and how often the cache is read, after
    two days of final windows."""
    store, cache, names = State_Store("memory://"), Memory_Cache(), dict[int, Partial_Name]()
    partitions = [f"shard-{i:04d}" for i in range(shards)]
    now_ms = START_MS + 2 * DAY_MS
    for start_ms in range(START_MS, now_ms, WINDOW_MS):
        names[start_ms] = Partial_Name("l", "1")
        window = Window(start_ms)
        window.total_requests = 1
        for partition in partitions:
            store.put(partial_key(start_ms, partition, names[start_ms]), window.to_bytes())
    for partition in partitions:
        commit(store, partition, 1, now_ms, names)
    reconciler, counted = reconciler_of(store, cache, partitions), Counted()
    for number in range(8):
        drive(reconciler.pass_steps(at(now_ms + number * PASS_MS)))
    warm_ms = now_ms + 2 * HOUR_MS
    for number in range(40):  # the further looks at what was just written
        drive(reconciler.pass_steps(at(now_ms + number * 3 * MINUTE_MS)))
    cpu_s: list[float] = []
    for number in range(minutes * MINUTE_MS // PASS_MS):
        began_s = time.process_time()
        drive(reconciler.pass_steps(at(warm_ms + number * PASS_MS)), counted)
        cpu_s.append(time.process_time() - began_s)
    reads = counted.calls["Memory_Cache.retrieve_entry"] / minutes
    return {"ms": sorted(cpu_s)[len(cpu_s) // 2] * 1000, "cache_reads_a_minute": reads}


# ---------------------------------------------------------------------- a life of days


class Clocked_Store(State_Store):
    """A store whose own clock is `now_ms`: it says how old its objects are."""

    def __init__(self, now_ms: int) -> None:
        super().__init__("memory://")
        self.now_ms = now_ms
        self._put_ms: dict[str, int] = {}

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self._put_ms[key] = self.now_ms

    def list(self, prefix: str) -> Sequence[Listed]:
        return [Listed(o.key, o.size_bytes, self._put_ms.get(o.key, o.modified_ms)) for o in super().list(prefix)]


class Shards:
    """Partitions of one application on a store, each with a consumer, and workers that publish."""

    def __init__(self, count: int, workers: int, began_ms: int, timing: Timing) -> None:
        self.store, self.cache, self.calls = Clocked_Store(began_ms), Memory_Cache(), Counted()
        self.partitions = [f"shard-{i:04d}" for i in range(count)]
        self.reconcilers = [reconciler_of(self.store, self.cache, self.partitions) for _ in range(workers)]
        self.settled: dict[int, Any] = {}
        shared = Shared(
            self.store,
            timing,
            Start(BEGINNING_MS, began_ms),
            INTAKE,
            Secrets(self.store, lambda: SECRET),
            lambda: "l",
            published=lambda partition, window_ms, name: (partition, name) in self.settled.get(window_ms, ()),
        )
        self.consumers = []
        for partition in self.partitions:
            state = drive(recover_steps(shared, Shard_Info(partition, (), False), None, began_ms))
            self.consumers.append(Partition_Consumer(shared, state, lambda number: None, at(began_ms)))
        self.number = 0

    def read(self, now_ms: int) -> None:
        """Each partition gets a record and works."""
        self.number += 1
        self.store.now_ms = now_ms
        for consumer in self.consumers:
            event_ms = now_ms - 1_000
            consumer.receive(Batch([record(self.number, event_ms)], [event_ms], [str(self.number)]), at(now_ms))
            if consumer.due(at(now_ms)):
                drive(consumer.work_steps(at(now_ms)), self.calls)

    def publish(self, now_ms: int, worker: int = 0) -> bool:
        """One pass, and the clean-up now and then; whether a window waits to become final."""
        result = drive(self.reconcilers[worker].pass_steps(at(now_ms)), self.calls)
        self.settled = result.settled
        if now_ms % (10 * MINUTE_MS) < PASS_MS and result.stream is not None:
            drive(clean_up_steps(self.store, self.cache, result.stream, result.settled), self.calls)
        return bool(result.waiting)


def requests(shards: int, workers: int, hours: int) -> dict[str, float]:
    """Calls of the state store in an hour of steady traffic, a record a shard each ten seconds."""
    life = Shards(shards, workers, START_MS, Timing(commit_interval_ms=COMMIT_MS))
    quick_s, open_s = shared_publish_s(COMMIT_MS / 1000)
    next_ms = [START_MS + 7_000 * worker for worker in range(workers)]
    for now_ms in range(START_MS, START_MS + hours * HOUR_MS, 1_000):
        if now_ms % 10_000 == 0:
            life.read(now_ms)
        for worker in range(workers):
            if now_ms >= next_ms[worker]:
                waiting = life.publish(now_ms, worker)
                next_ms[worker] = now_ms + int(1_000 * (quick_s if waiting else open_s))
    counted: Counter[str] = Counter()
    for name, number in life.calls.calls.items():
        store, _, verb = name.partition(".")
        if store in (State_Store.__name__, Clocked_Store.__name__):
            counted[verb] += number
    counted["put"] += len(life.store.list("editions"))  # which a publication makes by itself
    return {name: number / hours for name, number in counted.items()}


def aging(shards: int, days: Sequence[int]) -> dict[str, int]:
    """Objects in the state store at the end of some days of traffic, a record a shard and half hour."""
    life = Shards(shards, 1, START_MS, Timing(commit_interval_ms=COMMIT_MS))
    objects: dict[str, int] = {}
    for step in range(max(days) * DAY_MS // WINDOW_MS):
        now_ms = START_MS + (step + 1) * WINDOW_MS // (10 * MINUTE_MS) * (10 * MINUTE_MS)
        life.read(now_ms)
        life.publish(now_ms)
        if (step + 1) * WINDOW_MS % DAY_MS == 0 and (step + 1) * WINDOW_MS // DAY_MS in days:
            objects[str((step + 1) * WINDOW_MS // DAY_MS)] = len(life.store.list(""))
    return objects
