"""The workers of a simulated world: the product's consumers and reconcilers, and what they may lack."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sa_stream import native
from sa_stream.commits.operations import Call, Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.shared import Shared
from sa_stream.errors import Corrupt_State, Lease_Lost, Store_Unavailable
from sa_stream.native.packed import Packed_Payloads
from sa_stream.partitions import NOTHING_READ, Batch, Shard_Info
from sa_stream.records.columns import Columns
from sa_stream.records.ordinary import Reading
from sa_stream.records.parser import Parser
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.repairs import Repair_Settings
from sa_stream.rollups.retirement import clean_up_steps, retirable, retire_steps
from sa_stream.timing import BEGINNING_MS, MINUTE_MS, end_of_month
from sa_stream.windows.partition_state import RETENTION_GAPS, Partition_State
from tests.native.packing import as_packed
from tests.simulation.checks import POISON
from tests.simulation.parts import INTAKE, SKEW_MS_MAX, Answer, Died, Engine_Failed, Link, Task_Steps, Worker

if TYPE_CHECKING:
    from tests.simulation.world import World


class Work:
    """The part of a world in which the product runs."""

    def lineage(self) -> str:
        return f"{self.rng.getrandbits(48):012x}"

    def consumer_steps(self, link: Link) -> Task_Steps:
        worker, shard_id = link.worker, link.shard_id
        yield None
        parents = yield from self.look_up_steps(worker, shard_id)
        shared = Shared(
            self.store,
            worker.timing,
            self.start,
            INTAKE,
            worker.secrets,
            self.lineage,
            worker.poison,
            lambda partition, window_ms, name: (partition, name) in worker.settled.get(window_ms, ()),
        )
        shard = Shard_Info(shard_id, tuple(parents), closed=False)
        state = yield from recover_steps(shared, shard, link.checkpoint, self.now(worker).wall_ms)
        self._judge_start(link, parents, state)
        self.checks.closes(shard_id, state.published_watermark_ms, int(state.number))
        link.position_ms = state.position_ms
        worker.poison.committed(shard_id, link.checkpoint or "0")
        self.skipped.setdefault(state.lineage, () if state.since_ms == BEGINNING_MS else None)

        link.consumer = consumer = Partition_Consumer(
            shared, state, lambda number: self.checkpoint(link, number), self.now(worker)
        )
        consumer._parser = Fragile_Parser(consumer._parser, self)  # type: ignore[assignment]
        came_ms: deque[int] = deque(maxlen=5)
        while True:
            yield None
            for _ in range(self.rng.randint(0, 3)):
                if not link.queue:
                    break
                answer = link.queue.popleft()
                now = self.now(worker)
                if answer.end:
                    yield from self.split_end_steps(link)
                    yield from self.end_steps(link, consumer, answer)
                    return
                batch = self._batch(answer, came_ms)
                self._judge_read(link, batch)
                if answer.numbers:
                    worker.delivered[shard_id].add((int(answer.numbers[0]), int(answer.numbers[-1])))
                consumer.receive(batch, now)
                came_ms.append(now.wall_ms)
                if consumer.due(now) and self.rng.random() < 0.7:
                    break
            if link.answered_twice:
                raise Died  # a protocol error: the connection ends
            now = self.now(worker)
            if link.handover_until_ms:
                yield from consumer.flush_steps(now)
                return
            if not link.queue and link.fetched_all:
                raise Lease_Lost("the KCL says so")
            if consumer.due(now):
                yield from consumer.work_steps(now)
                worker.poison.committed(shard_id, state.committed_number or "0")
                consumer.careful = worker.poison.careful(shard_id)
            if self.faults:
                self._save_memory(consumer)

    def look_up_steps(self, worker: Worker, shard_id: str) -> Steps[tuple[str, ...]]:
        """A shard's parents: as this worker's list has it, or a fresh one. A shard that no list has any more goes on
        from what was recorded of it; without that rule nobody ever answers."""
        if not self.options["look_up"]:
            return next(shard.parents for shard in self.shards() if shard.shard_id == shard_id)
        while True:
            for shards in (worker.shards, (yield Call(self.list_anew, (worker,)))):
                for shard in shards:
                    if shard.shard_id == shard_id:
                        return shard.parents
            own = yield from Progress_Reader(self.store).one_steps(shard_id)
            if own is not None:
                return own.parents
            if shard_id < max((shard.shard_id for shard in shards), default=""):
                return ()  # trimmed unread: Shard_Links._shard_info
            yield None

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
        lineage, gaps = lineage_of(link.consumer)
        if lineage in self.skipped:
            return
        if before[0] in self.closed or link.consumer._secrets.destroyed:
            self.closed.add(lineage)
            destroyed = link.consumer._secrets.destroyed
            self.losses += [end_of_month(month) - self.timing.coverage_margin_ms for month in destroyed]
        if gaps != before[1] and (link.shard_id in self.damaged or self.secrets_torn):
            self.losses.append(self.now_ms + MINUTE_MS)
        skipped, letter, link.letter = self.skipped.get(before[0]), link.letter, None
        lossless = skipped is not None and letter is not None and gaps == before[1]
        self.skipped[lineage] = (*skipped, letter) if lossless and skipped is not None and letter is not None else None

    def _batch(self, answer: Answer, came_ms: deque[int]) -> Batch:
        """The KCL does not say when it fetched: certainly after the fifth-last answer came."""
        not_before_ms = answer.not_fetched_before_ms
        if not self.options["local"] and len(came_ms) == 5:
            not_before_ms = came_ms[0]
        batch = Batch(answer.payloads, answer.arrivals_ms, answer.numbers, answer.behind_ms, not_before_ms)
        # as the kernel makes it of a message, or now so, now not: what it is of is the same
        mixed = self.options["mixed_forms"]
        return as_packed(batch) if (len(answer.payloads) % 3 if mixed else native.AVAILABLE) else batch

    def _judge_start(self, link: Link, parents: tuple[str, ...], state: Partition_State) -> None:
        """Whether a partition that starts may vouch for less than everything."""
        since_ms = state.since_ms
        self.say("recover", link.worker.name, link.shard_id[-2:], "since", since_ms - self.born_ms)
        now_ms = self.now_ms
        if self.secrets_torn or link.shard_id in self.damaged or self.damaged.intersection(parents):
            self.losses.append(now_ms + MINUTE_MS)
        if state.first_vouched and len(parents) > 1 and not set(parents) <= self.best_progress().keys():
            self.losses.append(now_ms + MINUTE_MS)  # one of them was trimmed unread: when it ended nobody knows
        floor_ms = self.vouch_floor_ms(now_ms)
        if link.checkpoint is None and self.born_ms < floor_ms:
            self.losses.append(floor_ms)
        link.first_start = link.checkpoint is None and state.number == NOTHING_READ
        self._judge_first_read(link)

    def _judge_first_read(self, link: Link) -> None:
        """Who begins with a stream that is older than what any stream keeps cannot know what it kept before."""
        least_ms = self.now_ms - self.timing.retention_least_ms
        if link.first_start and self.born_ms <= least_ms + self.timing.coverage_margin_ms + SKEW_MS_MAX:
            self.losses.append(least_ms + self.timing.coverage_margin_ms + MINUTE_MS)

    def _judge_read(self, link: Link, batch: Batch) -> None:
        """Whether the stream may have lost records before this read."""
        self._judge_position(link)
        self._judge_first_read(link)
        if link.consumer is not None and link.consumer.state.first_vouched and batch.arrivals_ms:
            self.losses.append(batch.arrivals_ms[-1])  # whatever our clock said at the start
        if batch.arrivals_ms:
            link.first_start = False
            link.position_ms = max(link.position_ms, batch.arrivals_ms[-1])
            link.delivered = int(batch.sequence_numbers[-1])
        elif batch.millis_behind_latest == 0:
            link.position_ms = max(link.position_ms, batch.not_fetched_before_ms - MINUTE_MS)

    def _judge_end(self, link: Link, gone: bool) -> None:
        self._judge_position(link)
        if gone:
            self.losses.append(self.vouch_floor_ms(self.now_ms))

    def _judge_position(self, link: Link) -> None:
        now_ms = self.now_ms
        floor_ms = self.vouch_floor_ms(now_ms)
        if link.position_ms < floor_ms:
            self.say("behind", link.worker.name, link.shard_id[-2:], now_ms - link.position_ms)
            self.losses.append(floor_ms)

    def reconciler_steps(self, worker: Worker) -> Task_Steps:
        """A publisher: passes, and now and then the clean-up."""
        rng = self.rng
        settings = Reconciler_Settings(
            grace_ms=rng.choice([MINUTE_MS, 10 * MINUTE_MS]), archive=Repair_Settings() if self.archive else None
        )
        reconciler = Reconciler(self.store, self.cache, lambda: self.list_shards(worker), worker.timing, settings)
        clean_up_ms = (1 + self.seed % 3 * 9) * MINUTE_MS
        next_ms, next_clean_up_ms = 0, self.now_ms + clean_up_ms
        while True:
            yield None
            if self.now_ms < next_ms:
                continue
            next_ms = self.now_ms + rng.choice([1, 4, 10, 20] if self.faults else [3, 6]) * MINUTE_MS
            try:
                result = yield from reconciler.pass_steps(self.now(worker))
                worker.settled, worker.to_repair = result.settled, result.to_repair
                if result.stream is None:
                    continue
                if not self.options["clean_up"]:
                    for partition in retirable(result.stream, result.settled):
                        yield from retire_steps(self.store, partition, result.stream.coverage_ms(partition))
                elif self.now_ms >= next_clean_up_ms:
                    next_clean_up_ms = self.now_ms + clean_up_ms
                    self.say("clean-up", worker.name)
                    yield from clean_up_steps(self.store, self.cache, result.stream, result.settled)
            except Store_Unavailable:
                continue
            except Corrupt_State as error:
                self.say("pass failed", str(error))


def lineage_of(consumer: Partition_Consumer) -> tuple[str, int]:
    return consumer.state.lineage, consumer.state.counters.get(RETENTION_GAPS, 0)


class Fragile_Parser:
    """The product's parser, which fails on poison, and now and then on anything, each time saying something else."""

    def __init__(self, parser: Parser, world: "World") -> None:
        self._parser = parser
        self._world = world

    def portions(self, payloads: Sequence[bytes], arrivals_ms: Any) -> Iterator[Columns]:
        self.fail(payloads)
        return self._parser.portions(payloads, arrivals_ms)

    def reading(self) -> "Fragile_Reading | None":
        reading = self._parser.reading()
        return reading and Fragile_Reading(reading, self)

    def fail(self, payloads: Sequence[bytes]) -> None:
        world = self._world
        for row, payload in enumerate(payloads):
            if POISON in payload:
                raise Engine_Failed(f"poison in row {row}")
        chance = world.options["engine_fails"]
        if chance and world.faults and world.rng.random() < chance:
            raise Engine_Failed("".join(world.rng.choices("abcdefgh", k=12)))


class Fragile_Reading:
    """The same where records are read as they come."""

    def __init__(self, reading: Reading, parser: Fragile_Parser) -> None:
        self._reading, self._parser = reading, parser

    def add(self, payloads: Packed_Payloads, arrivals_ms: Any) -> None:
        self._parser.fail(payloads)
        self._reading.add(payloads, arrivals_ms)

    def portions(self) -> Iterator[Columns]:
        return self._reading.portions()

    @property
    def size_bytes(self) -> int:
        return self._reading.size_bytes
