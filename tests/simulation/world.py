"""One simulated world, made from one seed: time, a stream, the KCL, workers, stores, and everything that can go wrong.

The product's own code runs in it: consumers, commits, recovery, reconcilers. It asks for I/O by yielding calls; the
world makes a call when it likes, lets it fail before or after it took effect, lets others run in between, or drops the
worker.
"""

import gzip
import random
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sa_stream.commits.consumer import Intake, Partition_Consumer, Secrets
from sa_stream.commits.keys import secret_key
from sa_stream.commits.operations import Call
from sa_stream.commits.poison import Poison
from sa_stream.commits.progress import Partial_Name, Progress, Shard_Info
from sa_stream.commits.protocol import Start, recover_steps
from sa_stream.errors import Lease_Lost, Store_Unavailable, Superseded
from sa_stream.records.batch import Batch
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.parser import Columns, Parser
from sa_stream.rollups.finality import Sources, Stream_View
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.reconciler import AGGREGATE_NAMESPACE, Reconciler, Reconciler_Settings
from sa_stream.rollups.retirement import retirable, retire_steps
from sa_stream.sources.memory_kinesis import Kinesis_Error, Memory_Kinesis, Shard
from sa_stream.timing import BEGINNING_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Timing
from sa_stream.windows import paths
from sa_stream.windows.partition import RETENTION_GAPS, month_of
from tests.oracle import CANONICAL
from tests.simulation.checks import POISON, Checks, Violation
from tests.simulation.ledger import Ledger, Ranges
from tests.simulation.stores import Watched_Cache, Watched_Store

STREAM = "logs"
SECOND_MS = 1_000
FOREVER_MS = 1 << 60
QUEUED_MAX = 3  # answers that the KCL fetches ahead
SHARDS_MAX = 8
INTAKE = Intake(resolve_field_lists("canonical", ""))
MONTH_END_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1000

type Task_Steps = Generator[Call | None, Any, None]


@dataclass(frozen=True, slots=True)
class Short_Timing(Timing):
    """Everything that takes days takes hours here."""

    retention_ms: int = 4 * HOUR_MS
    allowed_lateness_ms: int = HOUR_MS

    @property
    def keep_ms(self) -> int:
        return 2 * HOUR_MS


class Died(Exception):
    """The process of a task ends here."""


class Engine_Failed(Exception):
    """What the engine raises on poison, and now and then on anything."""


@dataclass(slots=True, eq=False)
class Lease:
    """`checkpoint`: None before the first; `end` after the shard's end."""

    owner: str = ""
    token: int = 0
    checkpoint: str | None = None
    from_ms: int = BEGINNING_MS  # of a lease without checkpoint: where to begin


@dataclass(slots=True)
class Answer:
    """What the KCL fetched: a page of records, or None at the end of the shard (or of the lease)."""

    payloads: list[bytes]
    arrivals_ms: list[int]
    numbers: list[str]
    behind_ms: int
    fetched_ms: int
    end: bool = False


@dataclass(slots=True, eq=False)
class Link:
    """One shard at one worker: the KCL's reader, its queue, and our consumer."""

    worker: "Worker"
    shard_id: str
    token: int
    checkpoint: str | None
    from_ms: int
    last_number: str = ""  # fetched
    last_checkpoint: str | None = None
    delivered: int = 0  # highest number that was handed over
    queue: deque[Answer] = field(default_factory=deque)
    fetched_all: bool = False
    dead: bool = False
    handover_until_ms: int = 0  # when set: it is asked to finish, and loses its lease then at the latest
    consumer: Partition_Consumer | None = None
    position_ms: int = 0
    letter: tuple[int, int] | None = None  # numbers of the last batch that it buried


@dataclass(slots=True, eq=False)
class Worker:
    name: str
    skew_ms: int
    secrets: Secrets
    paused_until_ms: int = 0
    jvm_paused_until_ms: int = 0
    alive: bool = True
    leaving: bool = False  # asked to stop: it gives its shards away, and ends
    settled: dict[int, Sources] = field(default_factory=dict)
    poison: Poison = field(default_factory=Poison)
    failures: Counter[tuple[str, int]] = field(default_factory=Counter)  # (shard, first number) -> engine failures
    delivered: defaultdict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))


@dataclass(slots=True, eq=False)
class Task:
    """Steps that run in a worker; `pending` is the call that they wait for."""

    worker: Worker
    steps: Task_Steps
    link: Link | None = None
    pending: Call | None = None
    ready_ms: int = 0
    started: bool = False

    @property
    def consumer(self) -> Partition_Consumer | None:
        return self.link.consumer if self.link else None


class World:
    def __init__(self, seed: int, trace: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.trace: deque[tuple[Any, ...]] = deque(maxlen=None if trace else 150)

        def chance(p: float) -> bool:
            return rng.random() < p

        self.options = options = {
            "start": rng.choices(["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"], [7, 2, 1])[0],
            "old": chance(0.25),
            "before": chance(0.35),
            "reshard": rng.choice([0, 0.002, 0.006]),
            "put_fails": rng.choice([0, 0.03, 0.15]),
            "slow": rng.choice([0, 0.02, 0.1]),
            "ghosts": chance(0.3),
            "long_pauses": chance(0.3),
            "lost_snapshots": rng.choices([0, 0.001, 0.006], [7, 2, 1])[0],
            "outage": chance(0.12),
            "night": chance(0.3),
            "very_late": chance(0.2),
            "cache_outage": chance(0.2),
            "state_outage": chance(0.2),
            "stale_listing": chance(0.3),
            "local": chance(0.2),
            "commit_s": rng.choice([60, 120, 300, 900]),
            "horizon_minutes": rng.choice([10, 10, 4]),
            "crashes": rng.choice([0.002, 0.006]),
            "workers": rng.choice([1, 2, 3]),
            "shards": rng.choice([1, 2, 3]),
            "torn": chance(0.12),
            "busy": rng.choice([0.05, 0.09]),
            "poison": rng.choices([0, 0.01], [3, 1])[0],
            "engine_fails": rng.choices([0, 0.01], [3, 1])[0],
            "shrink": rng.choice([0, 0, 0.05]),
            "evict": rng.choice([0, 0.05, 0.3]),
            "reinitialised": rng.choice([0, 0.002, 0.01]),
            "deaf": chance(0.3),
        }
        self.timing = Short_Timing(
            commit_interval_ms=options["commit_s"] * SECOND_MS, dedupe_horizon_minutes=options["horizon_minutes"]
        )
        self.now_ms = MONTH_END_MS - rng.randint(0, 12) * WINDOW_MS + rng.randint(0, WINDOW_MS)
        self.born_ms = self.now_ms
        self.kinesis = Memory_Kinesis(lambda: self.now_ms)
        self.ledger = Ledger(
            allowed_lateness_ms=self.timing.allowed_lateness_ms, dedupe_horizon_minutes=options["horizon_minutes"]
        )
        self.checks = Checks(self, self.ledger)
        self.store = Watched_Store(self.checks.put)
        self.cache = Watched_Cache(self._cache_fault, self._tear, self.checks.store_entry)
        self.faults = True
        self.actor: Task | None = None
        self.tearing: list[Task] = []  # in the middle of a write to the cache
        self.seen: Counter[str] = Counter()  # what happened, by its first word
        self.leases: dict[str, Lease] = {}
        self.workers: dict[str, Worker] = {}
        self.tasks: list[Task] = []
        self.links: list[Link] = []
        self.ghosts: list[tuple[int, Call]] = []
        self.losses: list[int] = []  # from when on a partition may vouch, after each legitimate loss
        self.damaged: set[str] = set()  # partitions whose snapshots were lost
        self.shrunk = 0
        # lineage -> what it set aside, if that is all that it has not read; None if it lacks more
        self.skipped: dict[str, Ranges | None] = {}
        self.since_allowed_ms = BEGINNING_MS
        self.start = Start(BEGINNING_MS, self.born_ms)
        self.started_ms = self.settled_ms = 0
        self.no_cache_until_ms = self.no_state_until_ms = 0
        self.requests = 0
        self.recent: deque[tuple[bytes, int, int]] = deque(maxlen=12)  # line, hash key, when
        self.listing: list[Shard_Info] = []
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

    def entry(self, key: str) -> dict[str, Any] | None:
        return self.cache.peek(AGGREGATE_NAMESPACE, key)

    def cache_entries(self) -> dict[str, dict[str, Any]]:
        return self.cache.entries(AGGREGATE_NAMESPACE)

    def best_progress(self) -> dict[str, Progress]:
        steps = Progress_Reader(self.store).steps()
        result = None
        try:
            while True:
                result = steps.send(result() if result else None)
        except StopIteration as stop:
            return {partition: own for partition, own in stop.value.items() if not own.retired}

    def seed_of(self, window_ms: int) -> int:
        """The hash secret of a window's month."""
        return int.from_bytes(self.store.objects[secret_key(month_of(window_ms))], "big")

    # ------------------------------------------------------------------ the stream

    def shards(self) -> list[Shard]:
        return self.kinesis.stream(STREAM).shards

    def put(self, payload: bytes, hash_key: int) -> None:
        shard_id, number = self.kinesis.put(STREAM, payload, "", hash_key_at=hash_key)
        self.ledger.of(shard_id).take(int(number), payload, self.now_ms)
        self.say("put", shard_id[-2:], number[-9:], payload[:14], payload[-60:-40] if payload[:1] == b"1" else "")

    def line(self, event_ms: int) -> bytes:
        rng = self.rng
        self.requests += 1
        n = self.requests
        values = {
            "timestamp": f"{event_ms // 1000}.{event_ms % 1000:03d}",
            "sc-status": rng.choice(["200", "200", "304", "404", "503", "000"]),
            "sc-bytes": str(rng.randint(0, 5000)),
            "cs-method": rng.choice(["GET", "POST"]),
            "cs-protocol": "https",
            "cs-host": "www.example.org",
            "cs-uri-stem": f"/{n}",
            "x-edge-location": rng.choice(["LHR62-C1", "FRA2"]),
            "x-edge-request-id": "-" if rng.random() < 0.03 else f"request-{n}",
            "cs-user-agent": f"agent-{n % 7}",
            "time-taken": f"0.{rng.randint(0, 999):03d}",
            "time-to-first-byte": f"0.{rng.randint(0, 99):03d}",
            "x-edge-result-type": rng.choice(["Hit", "Miss", "Error"]),
        }
        x = rng.random()
        if x < 0.01:
            values["sc-status"] = "x"
        elif x < 0.02:
            values["timestamp"] = "-"
        line = "\t".join(values.get(name, "-") for name in CANONICAL)
        return (line + "\textra" if x > 0.985 else line).encode()

    def produce(self) -> None:
        """One record: mostly now, sometimes late, sometimes ahead of time, sometimes something again."""
        rng = self.rng
        lateness_ms = self.timing.allowed_lateness_ms
        x = rng.random()
        if self.options["very_late"] and rng.random() < 0.15:
            back_ms = rng.randint(lateness_ms, lateness_ms + 3 * WINDOW_MS)
        elif x < 0.78:
            back_ms = rng.randint(0, 50_000)
        elif x < 0.92:
            back_ms = rng.randint(0, 1_500_000)
        elif x < 0.98:
            back_ms = rng.randint(0, 3 * lateness_ms)
        else:
            back_ms = -rng.randint(0, self.timing.future_ms + 60_000)
        lines = [self.line(self.now_ms - back_ms)]
        if rng.random() < 0.05:
            lines.append(self.line(self.now_ms - rng.randint(0, 120_000)))
        payload = b"\n".join(lines) + b"\n"
        if rng.random() < self.options["poison"]:
            payload = payload.replace(b"\t/", b"\t" + POISON, 1)
        elif rng.random() < 0.03:
            payload = gzip.compress(payload, mtime=0)
        hash_key = rng.getrandbits(128)
        self.put(payload, hash_key)
        self.recent.append((payload, hash_key, self.now_ms))
        if rng.random() < 0.2:
            again, key, at_ms = rng.choice(self.recent)
            if self.now_ms - at_ms < (300_000 if rng.random() < 0.9 else 1_200_000):
                self.put(again, key)

    def reshard(self) -> None:
        shards = self.kinesis.stream(STREAM).open_shards()
        shard = self.rng.choice(shards)
        if self.rng.random() < 0.55:
            children = list(self.kinesis.split(STREAM, shard.shard_id))
        else:
            other = next((s for s in shards if s.low == shard.high + 1), None)
            if other is None:
                return
            children = [self.kinesis.merge(STREAM, shard.shard_id, other.shard_id)]
        for child in children:
            self.ledger.start(child.shard_id, child.parents)
        self.say("reshard", [p[-2:] for p in children[0].parents], "into", [c.shard_id[-2:] for c in children])

    def list_shards(self) -> list[Shard_Info]:
        """The answer may be a little old."""
        if not (self.faults and self.options["stale_listing"] and self.listing and self.rng.random() < 0.3):
            page = self.kinesis.list_shards(STREAM)
            self.listing = [Shard_Info(s.shard_id, s.parents, s.closed_ms is not None) for s in page.shards]
        return self.listing

    # ------------------------------------------------------------------ the KCL

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
        trimmed_ms = max(self.now_ms - self.timing.retention_ms, self.born_ms)
        first_ms = max(self.start.from_ms, trimmed_ms)
        for shard in self.shards():
            if shard.opened_ms <= first_ms and (shard.closed_ms is None or shard.closed_ms > first_ms):
                self.leases[shard.shard_id] = Lease(from_ms=self.start.from_ms)
        for n in range(self.options["workers"]):
            self.spawn(f"w{n}")
        self.say("start", position, self.options)

    def spawn(self, name: str) -> None:
        rng = self.rng
        skew_s_max = 20 if self.faults else 5
        worker = Worker(
            name, rng.randint(-skew_s_max, skew_s_max) * SECOND_MS, Secrets(self.store, lambda: rng.randbytes(8))
        )
        self.workers[name] = worker
        self.tasks.append(Task(worker, self.reconciler_steps(worker)))
        self.say("spawn", name)

    def crash(self, worker: Worker) -> None:
        """The process is gone. Calls that were under way may still take effect, now or later."""
        for task in [task for task in self.tasks if task.worker is worker]:
            self.end_task(task)
            if task.pending is not None and self.rng.random() < 0.5:
                self.haunt(task.pending)
        for link in self.links:
            link.dead |= link.worker is worker
        worker.alive = False
        self.say("crash", worker.name)

    def haunt(self, call: Call) -> None:
        """Somebody who gave up waiting for a put or a delete does not stop it."""
        if call.name.split(".")[-1] in ("put", "delete", "create"):
            later_ms = self.rng.choice([0, 0, 60, 600]) * SECOND_MS if self.options["ghosts"] else 0
            self.ghosts.append((self.now_ms + later_ms, call))

    def end_task(self, task: Task) -> None:
        if task in self.tasks:
            self.tasks.remove(task)
        if task.link is not None:
            task.link.dead = True

    def balance(self) -> None:
        """Leases for children whose parents have ended; an owner for every lease without a living one; steals."""
        for shard in self.shards():
            if shard.shard_id not in self.leases and shard.parents:
                parents = [self.leases.get(parent) for parent in shard.parents]
                if all(parent is not None and parent.checkpoint == "END" for parent in parents):
                    self.leases[shard.shard_id] = Lease()
        alive = [worker for worker in self.workers.values() if worker.alive]
        if not alive:
            return
        parents_of = {shard.shard_id: shard.parents for shard in self.shards()}
        held = {(link.shard_id, link.token): link for link in self.links if not link.dead}
        for shard_id, lease in self.leases.items():
            if lease.checkpoint == "END":
                continue
            if any(p in self.leases and self.leases[p].checkpoint != "END" for p in parents_of[shard_id]):
                continue
            link = held.get((shard_id, lease.token))
            ready = [worker for worker in alive if worker.jvm_paused_until_ms <= self.now_ms and not worker.leaving]
            if link is not None and self.keeps(link, ready):
                continue
            owner = self.workers.get(lease.owner)
            keeps = owner in ready and not self.faults  # whose process starts again keeps its leases
            self.give(shard_id, lease, owner if owner and keeps else self.rng.choice(ready or alive))
        for worker in alive:
            if worker.leaving and not any(link.worker is worker and not link.dead for link in self.links):
                self.crash(worker)

    def keeps(self, link: Link, ready: list[Worker]) -> bool:
        """Whether a link keeps its lease this time."""
        if not self.faults:
            return True
        if ready and link.worker.jvm_paused_until_ms > self.now_ms + 30 * SECOND_MS:
            return False
        if link.handover_until_ms:
            return self.now_ms < link.handover_until_ms  # then the KCL takes it, finished or not
        if self.rng.random() < self.options["reinitialised"]:
            self.reinitialise(link)
            return True
        if self.rng.random() >= 0.004:
            return True
        if self.rng.random() < 0.5:
            self.ask_to_finish(link)
            return True
        return False

    def ask_to_finish(self, link: Link) -> None:
        """shutdownRequested: in order, but the KCL does not wait for ever."""
        link.handover_until_ms = self.now_ms + self.rng.choice([5, 60, 600]) * SECOND_MS
        self.say("asked", link.worker.name, link.shard_id[-2:])

    def reinitialise(self, link: Link) -> None:
        """The shard comes again, on a new connection to the same worker, while the old one still lives. The newer one
        wins: mostly the engine drops the other at once, or else it finds out at its next checkpoint."""
        self.say("reinitialised", link.worker.name, link.shard_id[-2:])
        task = next((task for task in self.tasks if task.link is link), None)
        if task is not None and self.rng.random() < 0.6:
            self.end_task(task)
            if task.pending is not None:
                self.haunt(task.pending)
        self.give(link.shard_id, self.leases[link.shard_id], link.worker)

    def give(self, shard_id: str, lease: Lease, worker: Worker) -> None:
        lease.token += 1
        lease.owner = worker.name
        link = Link(worker, shard_id, lease.token, lease.checkpoint, lease.from_ms, last_checkpoint=lease.checkpoint)
        self.links.append(link)
        self.tasks.append(Task(worker, self.consumer_steps(link), link))
        self.say(
            "steal" if lease.token > 1 else "lease",
            shard_id[-2:],
            "to",
            worker.name,
            "token",
            lease.token,
            "at",
            (lease.checkpoint or "-")[-9:],
        )

    def fetch(self, link: Link) -> None:
        """The KCL reads ahead, as long as it believes in its lease."""
        if link.dead or link.fetched_all or link.worker.jvm_paused_until_ms > self.now_ms:
            return
        if len(link.queue) >= (1 if self.options["local"] else QUEUED_MAX):
            return
        if self.leases[link.shard_id].token != link.token and self.rng.random() < (
            0.01 if self.options["deaf"] else 0.1
        ):
            link.fetched_all = True
            return
        after = link.last_number or link.checkpoint
        try:
            if after is not None:
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "AFTER_SEQUENCE_NUMBER", after)
            elif link.from_ms > BEGINNING_MS:
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "AT_TIMESTAMP", timestamp_ms=link.from_ms)
            else:
                iterator = self.kinesis.shard_iterator(STREAM, link.shard_id, "TRIM_HORIZON")
            page = self.kinesis.get_records(iterator, limit=self.rng.choice([1, 3, 10, 50]) if self.faults else 100)
        except Kinesis_Error:  # the retention has taken the whole shard
            link.queue.append(Answer([], [], [], 0, self.now_ms, end=True))
            link.fetched_all = True
            return
        if page.sequence_numbers:
            link.last_number = page.sequence_numbers[-1]
        elif page.next_iterator is None:
            link.queue.append(Answer([], [], [], 0, self.now_ms, end=True))
            link.fetched_all = True
            return
        answer = Answer(page.payloads, page.arrivals_ms, page.sequence_numbers, page.millis_behind_latest, self.now_ms)
        link.queue.append(answer)

    # ------------------------------------------------------------------ workers

    def clock_ms(self, worker: Worker) -> int:
        return self.now_ms + worker.skew_ms

    def lineage(self) -> str:
        return f"{self.rng.getrandbits(48):012x}"

    def consumer_steps(self, link: Link) -> Task_Steps:
        worker, shard_id = link.worker, link.shard_id
        parents = next(shard.parents for shard in self.shards() if shard.shard_id == shard_id)
        yield None
        state = yield from recover_steps(
            self.store,
            shard_id,
            link.checkpoint,
            parents,
            self.start,
            self.timing,
            self.clock_ms(worker),
            self.lineage(),
        )
        self._judge_start(link, parents, state.since_ms)
        self.checks.closes(shard_id, state.published_watermark_ms, int(state.number))
        link.position_ms = state.position_ms
        worker.poison.committed(shard_id, link.checkpoint or "0")
        self.skipped.setdefault(state.lineage, () if state.since_ms == BEGINNING_MS else None)

        def published(window_ms: int, name: Partial_Name) -> bool:
            return (shard_id, name) in worker.settled.get(window_ms, ())

        link.consumer = consumer = Partition_Consumer(
            state,
            self.store,
            lambda number: self.checkpoint(link, number),
            INTAKE,
            worker.secrets,
            self.clock_ms(worker),
            self.lineage,
            published,
            worker.poison.careful(shard_id),
            worker.poison.set_aside(shard_id),
        )
        consumer._parser = Fragile_Parser(consumer._parser, self)  # type: ignore[assignment]
        came_ms: deque[int] = deque(maxlen=5)
        while True:
            yield None
            for _ in range(self.rng.randint(0, 3)):
                if not link.queue:
                    break
                answer = link.queue.popleft()
                now_ms = self.clock_ms(worker)
                if answer.end:
                    yield from consumer.end_steps(now_ms)
                    return
                batch = self._batch(worker, answer, came_ms)
                self._judge_read(link, batch)
                if answer.numbers:
                    worker.delivered[shard_id].add((int(answer.numbers[0]), int(answer.numbers[-1])))
                consumer.receive(batch, now_ms)
                came_ms.append(now_ms)
                if consumer.due(now_ms) and self.rng.random() < 0.7:
                    break
            now_ms = self.clock_ms(worker)
            if link.handover_until_ms:
                yield from consumer.flush_steps(now_ms)
                return
            if not link.queue and link.fetched_all:
                raise Lease_Lost("the KCL says so")
            if consumer.due(now_ms):
                yield from consumer.work_steps(now_ms)
                worker.poison.committed(shard_id, state.committed_number or "0")
                consumer.careful = worker.poison.careful(shard_id)
            if self.faults:
                self._save_memory(consumer)

    def _save_memory(self, consumer: Partition_Consumer) -> None:
        """Between two pieces of work, as the engine does it when memory is short."""
        if self.rng.random() < self.options["evict"] and consumer.evict():
            self.say("evict")
        largest = consumer.largest_window()
        if largest is not None and self.rng.random() < self.options["shrink"]:
            before, skipped = consumer.state.lineage, self.skipped.get(consumer.state.lineage)
            consumer.shrink(largest[1])
            if consumer.state.lineage != before:
                self.shrunk += 1
                self.skipped[consumer.state.lineage] = skipped
                self.say("shrink", consumer.state.partition[-2:])

    def buried(self, link: Link, first: int, last: int, arrivals_ms: list[int]) -> None:
        """A consumer has set records aside."""
        self.say("set-aside", link.worker.name, link.shard_id[-2:], len(arrivals_ms))
        self.losses.append(max(arrivals_ms) + 1)
        link.letter = first, last

    def _follow_lineage(self, link: Link, before: tuple[str, int]) -> None:
        """What a lineage lacks that a consumer has just begun."""
        assert link.consumer is not None
        lineage, gaps = _lineage_of(link.consumer)
        if lineage in self.skipped:
            return
        skipped, letter, link.letter = self.skipped.get(before[0]), link.letter, None
        lossless = skipped is not None and letter is not None and gaps == before[1]
        self.skipped[lineage] = (*skipped, letter) if lossless and skipped is not None and letter is not None else None

    def _batch(self, worker: Worker, answer: Answer, came_ms: deque[int]) -> Batch:
        """The KCL does not say when it fetched: certainly after the fifth-last answer came."""
        if self.options["local"]:
            not_before_ms = answer.fetched_ms + worker.skew_ms
        else:
            not_before_ms = came_ms[0] if len(came_ms) == 5 else 0
        return Batch(
            answer.payloads,
            answer.arrivals_ms,
            answer.numbers,
            answer.behind_ms,
            not_before_ms,
            clock_off=abs(worker.skew_ms) > 5 * SECOND_MS,
        )

    def _judge_start(self, link: Link, parents: tuple[str, ...], since_ms: int) -> None:
        """Whether a partition that starts may vouch for less than everything."""
        self.say("recover", link.worker.name, link.shard_id[-2:], "since", since_ms - self.born_ms)
        oldest_kept_ms = self.now_ms - self.timing.retention_ms + self.timing.coverage_margin_ms + MINUTE_MS
        if link.shard_id in self.damaged or self.damaged.intersection(parents):
            self.losses.append(self.now_ms + MINUTE_MS)
        if link.checkpoint is None and self.born_ms < oldest_kept_ms:
            self.losses.append(oldest_kept_ms)

    def _judge_read(self, link: Link, batch: Batch) -> None:
        """Whether the stream may have lost records before this read."""
        behind_ms = self.now_ms - link.position_ms
        if behind_ms > self.timing.retention_ms - self.timing.coverage_margin_ms - MINUTE_MS:
            self.say("behind", link.worker.name, link.shard_id[-2:], behind_ms)
            self.losses.append(self.now_ms - self.timing.retention_ms + self.timing.coverage_margin_ms + MINUTE_MS)
        if batch.arrivals_ms:
            link.position_ms = max(link.position_ms, batch.arrivals_ms[-1])
            link.delivered = int(batch.sequence_numbers[-1])
        elif batch.millis_behind_latest == 0:
            link.position_ms = max(link.position_ms, batch.not_fetched_before_ms - MINUTE_MS)

    def checkpoint(self, link: Link, number: str) -> None:
        if number == link.last_checkpoint:
            return  # the KCL answers by itself: it knows
        lease = self.leases[link.shard_id]
        x = self.rng.random() if self.faults else 1.0
        if lease.token != link.token:
            raise Lease_Lost(f"{link.shard_id} belongs to {lease.owner}")
        if number != "END" and int(number) > link.delivered:
            raise Violation("owner", f"{link.shard_id}: a checkpoint at {number}, but {link.delivered} was delivered")
        if x < 0.01:
            raise Died
        lease.checkpoint = number
        self.say("checkpoint", link.worker.name, link.shard_id[-2:], number[-9:])
        if x < 0.03:
            raise Died
        if x < 0.05:
            raise Store_Unavailable("took effect, and is reported as failed")
        link.last_checkpoint = number

    def reconciler_steps(self, worker: Worker) -> Task_Steps:
        settings = Reconciler_Settings(grace_ms=self.rng.choice([MINUTE_MS, 10 * MINUTE_MS]))
        reconciler = Reconciler(self.store, self.cache, self.list_shards, self.timing, settings)
        next_ms = 0
        while True:
            yield None
            if self.now_ms < next_ms:
                continue
            next_ms = self.now_ms + self.rng.choice([1, 4, 10, 20] if self.faults else [3, 6]) * MINUTE_MS
            try:
                result = yield from reconciler.pass_steps(self.clock_ms(worker))
                worker.settled = result.settled
                shards = yield Call(self.list_shards)
                stream = Stream_View(shards, result.progress, self.timing, self.clock_ms(worker))
                for partition in retirable(stream, result.settled):
                    self.say("retire", partition[-2:])
                    yield from retire_steps(self.store, partition, stream.coverage_ms(partition))
            except Store_Unavailable:
                continue

    # ------------------------------------------------------------------ calls and their faults

    def _cache_fault(self, where: str) -> None:
        if self.faults and (self.now_ms < self.no_cache_until_ms or self.rng.random() < 0.002):
            raise Store_Unavailable(where)

    @property
    def torn(self) -> bool:
        """Whether somebody else may write an entry between the last look at it and the write: without compare-and-swap
        an older version may then replace a newer one, until the next comparison."""
        return bool(self.options["torn"])

    def _tear(self, namespace: str) -> None:
        if not (self.faults and self.torn and namespace == AGGREGATE_NAMESPACE and self.rng.random() < 0.2):
            return
        actor, self.actor = self.actor, None
        others = [task for task in self.tasks if task.link is None and task is not actor and task not in self.tearing]
        if others and actor is not None:
            self.tearing.append(actor)
            self.say("torn")
            self.run_task(self.rng.choice(others), 60)
            self.tearing.remove(actor)
        self.actor = actor

    def perform(self, task: Task) -> None:
        """Make the call that a task waits for, or let it fail."""
        call = task.pending
        assert call is not None
        rng, fails = self.rng, self.options["put_fails"] if self.faults else 0.0
        if (
            self.faults
            and self.now_ms < self.no_state_until_ms
            and getattr(call.function, "__self__", None) is self.store
        ):
            fails = 1.0
        x = rng.random()
        if x < fails / 2:
            return self.failed(task)
        self.actor = task
        try:
            result = call()
        except Store_Unavailable:
            return self.failed(task)
        except Lease_Lost as lost:
            return self.advance(task, error=lost)
        finally:
            self.actor = None
        if x < fails:
            return self.failed(task)
        task.pending = None
        self.advance(task, result)

    def failed(self, task: Task) -> None:
        """Consumers hold the line; a reconciler's pass ends, and the next one starts afresh."""
        if task.link is None:
            if task.pending is not None and self.rng.random() < 0.2:
                self.haunt(task.pending)
            task.pending = None
            return self.advance(task, error=Store_Unavailable("simulated"))
        if self.options["ghosts"] and task.pending is not None and self.rng.random() < 0.1:
            self.haunt(task.pending)
        task.ready_ms = self.now_ms + self.rng.randint(0, 20) * SECOND_MS

    def advance(self, task: Task, result: Any = None, error: Exception | None = None) -> None:
        task.pending = None
        link = task.link
        before = _lineage_of(task.consumer) if task.consumer is not None else None
        try:
            call = task.steps.throw(error) if error is not None else task.steps.send(result)
        except Engine_Failed as failure:
            assert link is not None
            assert link.consumer is not None
            folding = link.consumer.folding
            careful = link.consumer.careful
            link.worker.poison.failed(link.shard_id, folding, f"Engine_Failed: {failure}", careful)
            if folding is not None and careful:
                link.worker.failures[link.shard_id, int(folding[0])] += 1
            self.say("engine failed", link.worker.name, link.shard_id[-2:], failure, folding)
            self.end_task(task)
        except Superseded as gone:
            assert link is not None
            self.say("superseded", link.worker.name, link.shard_id[-2:])
            if self.leases[link.shard_id].token == link.token:
                raise Violation("owner", f"the owner of {link.shard_id} misses a partial: {gone}") from gone
            self.end_task(task)
        except (StopIteration, Lease_Lost, Died) as end:
            self.say("ends", task.worker.name, task.link.shard_id[-2:] if task.link else "", type(end).__name__)
            self.end_task(task)
        else:
            task.pending = call
            if link is not None and before is not None:
                self._follow_lineage(link, before)
            if call is not None and self.faults and self.rng.random() < self.options["slow"]:
                task.ready_ms = self.now_ms + self.rng.choice([10, 60, 400]) * SECOND_MS

    def run_task(self, task: Task, calls_max: int) -> None:
        for _ in range(self.rng.randint(1, calls_max)):
            if task.pending is None:
                self.advance(task)
                if task.pending is None:
                    return  # it has nothing to do
            elif task.ready_ms <= self.now_ms:
                try:
                    self.perform(task)
                except Died:
                    self.say("dies", task.worker.name)
                    self.end_task(task)
                    return
            else:
                return
            if task not in self.tasks:
                return

    # ------------------------------------------------------------------ the run

    def step(self, later_ms: int, calls_max: int) -> None:
        self.now_ms += later_ms
        self.balance()
        for link in self.links:
            for _ in range(self.rng.choice([0, 1, 1]) if self.faults else QUEUED_MAX):
                self.fetch(link)
        for at_ms, call in [ghost for ghost in self.ghosts if ghost[0] <= self.now_ms]:
            self.ghosts.remove((at_ms, call))
            self.say("ghost", call.name, call.arguments[0] if isinstance(call.arguments[0], str) else "")
            call()
        for task in self.rng.sample(self.tasks, len(self.tasks)):
            if task in self.tasks and task.worker.paused_until_ms <= self.now_ms:
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
        if self.options["old"]:
            until_ms += self.timing.retention_ms + rng.randint(-10, 90) * MINUTE_MS
        elif self.options["before"] or self.options["start"] != "TRIM_HORIZON":
            until_ms += rng.randint(5, 90) * MINUTE_MS
        while self.now_ms < until_ms:
            self.now_ms += rng.randint(20, 400) * SECOND_MS
            self.produce()
            if rng.random() < 5 * self.options["reshard"] and len(self.shards()) < SHARDS_MAX:
                self.reshard()

    def _with_faults(self) -> None:
        rng, options = self.rng, self.options
        length_ms = 8 * WINDOW_MS
        end_ms = self.now_ms + length_ms
        night_ms = (FOREVER_MS, 0)
        outage_ms = (FOREVER_MS, 0)
        if options["night"]:
            begin_ms = self.now_ms + rng.randint(0, length_ms)
            night_ms = (begin_ms, begin_ms + rng.randint(WINDOW_MS, 4 * WINDOW_MS))
        if options["outage"]:
            begin_ms = self.now_ms + rng.randint(WINDOW_MS, 4 * WINDOW_MS)
            outage_ms = (begin_ms, begin_ms + self.timing.retention_ms + rng.randint(-20, 90) * MINUTE_MS)
            end_ms = outage_ms[1] + 3 * WINDOW_MS
        while self.now_ms < end_ms:
            off = outage_ms[0] < self.now_ms < outage_ms[1]
            self.step(rng.randint(0, 30 if not off else 300) * SECOND_MS, 6)
            if not night_ms[0] < self.now_ms < night_ms[1] and rng.random() < options["busy"]:
                for _ in range(rng.choice([1, 1, 4, 8])):
                    self.produce()
                    self.now_ms += rng.randint(0, 2_000)
            if rng.random() < options["reshard"] and len(self.shards()) < SHARDS_MAX:
                self.reshard()
            if off:
                for worker in self.workers.values():
                    if worker.alive:
                        self.crash(worker)
            else:
                self._misfortune()

    def _misfortune(self) -> None:
        rng, options = self.rng, self.options
        for name, worker in list(self.workers.items()):
            if not worker.alive and rng.random() < 0.05:
                self.spawn(name)
        worker = rng.choice(list(self.workers.values()))
        x = rng.random()
        if x < options["crashes"] / 3:
            if worker.alive and not worker.leaving:  # SIGTERM
                worker.leaving = True
                for link in self.links:
                    if link.worker is worker and not link.dead:
                        self.ask_to_finish(link)
        elif x < options["crashes"]:
            if worker.alive:
                self.crash(worker)
        elif x < options["crashes"] + 0.008:
            choices = [30, 120, 400] + [3600, 7200] * options["long_pauses"]
            until_ms = self.now_ms + rng.choice(choices) * SECOND_MS
            worker.paused_until_ms = max(worker.paused_until_ms, until_ms)
            if rng.random() < 0.5:
                worker.jvm_paused_until_ms = until_ms
            self.say("pause", worker.name, until_ms - self.now_ms)
        elif options["cache_outage"] and x > 0.999:
            self.no_cache_until_ms = self.now_ms + rng.randint(1, 30) * MINUTE_MS
            self.say("cache outage")
        elif options["state_outage"] and x > 0.998:
            self.no_state_until_ms = self.now_ms + rng.randint(1, 10) * MINUTE_MS
            self.say("state outage")
        if rng.random() < options["lost_snapshots"]:
            self.lose_snapshot()

    def lose_snapshot(self) -> None:
        keys = [listed.key for listed in self.store.list("snapshots/")]
        if keys:
            key = self.rng.choice(keys)
            data = self.store.objects[key]
            self.store.damage(key, self.rng.choice([None, data[:-3], data[:30]]))
            self.damaged.add(key.split("/")[1])
            self.say("lost", key)

    def _without_faults(self) -> None:
        self.faults = False
        self.no_cache_until_ms = self.no_state_until_ms = 0
        self.settled_ms = self.now_ms
        for name, worker in list(self.workers.items()):
            worker.skew_ms = max(-5 * SECOND_MS, min(5 * SECOND_MS, worker.skew_ms))
            if worker.leaving:
                self.crash(worker)
            if worker.alive:
                worker.paused_until_ms = min(worker.paused_until_ms, self.now_ms + WINDOW_MS)
                worker.jvm_paused_until_ms = min(worker.jvm_paused_until_ms, worker.paused_until_ms)
            else:
                self.spawn(name)
        self.say("faults are over")
        for _ in range(30):
            self.step(self.rng.randint(40, 120) * SECOND_MS, 60)
        for _ in range(16):  # a chain of splits takes some rounds a generation
            self.step(400 * SECOND_MS, 2_000)


def _lineage_of(consumer: Partition_Consumer) -> tuple[str, int]:
    return consumer.state.lineage, consumer.state.counters.get(RETENTION_GAPS, 0)


class Fragile_Parser:
    """The product's parser, which fails on poison, and now and then on anything, each time saying something else."""

    def __init__(self, parser: Parser, world: World) -> None:
        self._parser = parser
        self._world = world

    def parse(self, payloads: Sequence[bytes], arrivals_ms: Any) -> Columns:
        world = self._world
        for row, payload in enumerate(payloads):
            if POISON in payload:
                raise Engine_Failed(f"poison in row {row}")
        if world.faults and world.rng.random() < world.options["engine_fails"]:
            raise Engine_Failed("".join(world.rng.choices("abcdefgh", k=12)))
        return self._parser.parse(payloads, arrivals_ms)


def run_seed(seed: int, trace: bool = False) -> tuple[World, Violation | None]:
    world = World(seed, trace)
    shrunk_paths, paths.SHRUNK_PATHS = paths.SHRUNK_PATHS, 2
    try:
        world.run()
    except Violation as violation:
        return world, violation
    finally:
        paths.SHRUNK_PATHS = shrunk_paths
    return world, None
