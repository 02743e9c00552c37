"""The engine: one thread that takes batches of all partitions, drives their consumers, and lets a small pool make the
calls that they ask for. While a partition waits for a call, it takes no more batches, and nothing else waits with it.
"""

import contextlib
import heapq
import os
import queue
import random
import selectors
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from consumer.process.memory import (
    MIB,
    OK,
    PAUSE,
    Pressure,
    memory_limit_bytes,
    memory_needed_bytes,
    release_memory,
    resident_bytes,
)
from sa_stream.commits.operations import Call, Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.errors import Lease_Lost, Store_Unavailable, Superseded
from sa_stream.health.notebook import Health
from sa_stream.log import DEAD_LETTERS, LOSS, MALFORMED, MEMORY, MEMORY_SMALL, PARTITION_FAILED, SHRUNK, WAITING, Log
from sa_stream.partitions import NOTHING_READ, Batch
from sa_stream.records.columns import REASONS
from sa_stream.timing import BEGINNING_MS, Moment, Now, iso, right_now

log = Log("engine")

type Ending = Callable[[Partition_Consumer, Now], Steps[None]]  # steps that commit at END

POOL_THREADS = 8
RETRY_MS_MIN, RETRY_MS_MAX = 100, 10_000
BATCHES_AHEAD = 3  # batches of a partition that may wait in its lane
TICK_S = 0.05
RELEASE_MEMORY_MS = 10_000
LOOK_AT_MEMORY_MS = 50
LOSS_TOLD_MS = 60_000  # of one kind and shard, not more often
MALFORMED_OF = 100  # so many records at least are judged together: is the configured field list theirs?
_MALFORMED = ("too_long", "fields", "timestamp", "status")  # counters; records from the future are another matter
_DEAD_LETTERS = (*REASONS, "set_aside_records")


@dataclass(slots=True)
class Quality:
    """How many of the latest records are malformed, from a partition's counters.

    records, malformed  as of the last verdict
    """

    records: int
    malformed: int

    @classmethod
    def of(cls, counters: dict[str, int]) -> "Quality":
        return cls(counters.get("records", 0), sum(counters.get(reason, 0) for reason in _MALFORMED))

    def verdict(self, counters: dict[str, int]) -> str | None:
        """What is wrong with the records since the last verdict ('': nothing); None while they are few."""
        now = Quality.of(counters)
        records, malformed = now.records - self.records, now.malformed - self.malformed
        if records < MALFORMED_OF:
            return None
        self.records, self.malformed = now.records, now.malformed
        if malformed * 2 <= records:
            return ""
        return (
            f"has {malformed} malformed ones among its last {records} records: set SGRAPH_SEND__SA_FIELDS to the "
            "fields of the real-time log configuration, in the order in which they come"
        )


@dataclass(frozen=True, slots=True)
class Answered_Later:
    """A function for calls that need no thread of the pool: it only sends a question, at once, and returns the Future
    of the answer. The engine's thread calls it."""

    ask: Callable[..., Future[None]]

    def __call__(self, *arguments: Any) -> Any:
        return self.ask(*arguments)


@dataclass(slots=True)
class Lane:
    """One partition's way through the engine.

    inbox    batches not yet received by the consumer; None marks the end of the shard
    steps    the protocol that is under way, if any; `call` is what it waits for
    closing  flush, then leave; `flushing`: flush, and stay; `one_batch`: take one though memory is short, and flush;
             `emptying`: that flush is under way
    ending   everything was received, the shard has no more: `end`, then leave
    leaving  the steps under way are the last: they began after everything was received
    """

    partition: str
    recover: Steps[Partition_Consumer]
    on_open: Callable[[Partition_Consumer], None]
    on_taken: Callable[[], None]
    on_closed: Callable[[str, BaseException | None], None]
    end: Ending
    consumer: Partition_Consumer | None = None
    quality: Quality = field(default_factory=lambda: Quality(0, 0))
    losses_told: dict[str, Moment] = field(default_factory=dict)  # by kind, when somebody was told last
    dead_letters: int = 0  # as of the last time that somebody was told
    inbox: deque[Batch | None] = field(default_factory=deque)
    steps: Steps[Any] | None = None
    call: Call | None = None
    failures: int = 0
    closing: bool = False
    flushing: bool = False
    one_batch: bool = False
    emptying: bool = False
    ending: bool = False
    leaving: bool = False


class Engine:
    """Verbs: `open` a partition, `submit` what was read of it, `close` or `drop` it, and `poll`, which does the work.
    `watch` lets `poll` wait for a file descriptor as well.

    Only `submit` may be called from other threads. Raises nothing of a single partition: what ends one is handed to its
    `on_closed` (None: it ended or was closed in order).
    """

    def __init__(
        self,
        health: Health,
        clock: Callable[[], Now] = right_now,
        memory_limit_mb: int = 0,
        jvm: bool = False,
    ) -> None:
        self.lanes: dict[str, Lane] = {}
        self.records = 0  # received since the start, for whoever wants to show a rate
        self._health = health
        self._clock = clock
        self._events: queue.SimpleQueue[tuple[Lane, Any]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self.watch(self._wake_reader, lambda: os.read(self._wake_reader, 65_536))
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="store")
        self._running: set[Future[Any]] = set()  # calls in the pool
        self._retries: list[tuple[Moment, int, Lane]] = []
        self._retry_number = 0
        self._release_memory = clock().moment + RELEASE_MEMORY_MS
        self._pressure = Pressure(memory_limit_bytes(memory_limit_mb, jvm))
        self._look_at_memory = clock().moment
        self._paused = False  # no batch is taken: memory is short

    # ------------------------------------------------------------------ verbs

    def open(
        self,
        partition: str,
        recover: Steps[Partition_Consumer],
        on_open: Callable[[Partition_Consumer], None],
        on_taken: Callable[[], None],
        on_closed: Callable[[str, BaseException | None], None],
        end: Ending = Partition_Consumer.end_steps,
    ) -> Lane:
        """Start a partition: `recover` makes its consumer, then `on_open` may start reading; `on_taken` is called for
        every batch that left the inbox. `end` makes the steps of a shard that has no more."""
        lane = Lane(partition, recover, on_open, on_taken, on_closed, end)
        self.lanes[partition] = lane
        lane.steps = recover
        self._advance(lane, None)
        return lane

    def submit(self, lane: Lane, batch: Batch | None) -> None:
        """Hand over the next batch of a partition, or None at the end of its shard. From any thread."""
        self._tell(lane, ("batch", batch))

    def take(self, lane: Lane, batch: Batch) -> None:
        """The same as `submit`, at once, from the engine's own thread."""
        lane.inbox.append(batch)
        self._work(lane)

    def watch(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        """Call back from `poll` whenever there is something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, on_readable)

    def unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def close(self, lane: Lane) -> None:
        """Flush and commit what the partition has, then let it go. Batches that memory has no room for, and those that
        come while the last flush is under way, stay in the source."""
        lane.closing = True
        self._work(lane)

    def drop(self, lane: Lane) -> None:
        """Forget the partition as it is: somebody else owns it. Nobody is called back."""
        if self.lanes.get(lane.partition) is lane:
            del self.lanes[lane.partition]
            lane.steps = lane.call = None

    def poll(self, timeout_s: float = TICK_S) -> None:
        """Wait for something to do, at most so long, and do all there is."""
        for ready, _ in self._selector.select(timeout_s):
            ready.data()
        while True:
            try:
                self._handle(*self._events.get_nowait())
            except queue.Empty:
                break
        moment = self._clock().moment
        if moment >= self._release_memory:
            self._release_memory = moment + RELEASE_MEMORY_MS
            release_memory()
        self._mind_memory(moment)
        while self._retries and self._retries[0][0] <= moment:
            _, _, lane = heapq.heappop(self._retries)
            self._perform(lane)
        for lane in list(self.lanes.values()):
            self._work(lane)

    @property
    def memory_limit_bytes(self) -> int:
        return self._pressure.limit_bytes

    def check_memory(self, shards: int, read_ahead_rate: float = 0.0) -> None:
        """Say so at the start if so many shards cannot be read with the memory that there is, of which a part may be
        filled with what was read ahead in this process."""
        needed = memory_needed_bytes(shards, read_ahead_rate)
        if needed > self.memory_limit_bytes:
            log.tell(
                MEMORY_SMALL,
                f"SGRAPH_SEND__SA_MEMORY_LIMIT_MB allows {self.memory_limit_bytes // MIB} MiB, and a worker that reads "
                f"all {shards} shards at full load needs about {needed // MIB} MiB: reading will pause again and "
                "again. Give it more, or share the shards among more workers",
                limit_mb=self.memory_limit_bytes // MIB,
                needed_mb=needed // MIB,
                shards=shards,
            )

    @property
    def busy(self) -> bool:
        """Whether a store still has a call under way."""
        return bool(self._running)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _mind_memory(self, now: Moment) -> None:
        """Near the ceiling the largest windows shrink first; then nothing is taken, and everything is committed and
        leaves memory, until there is room again."""
        if now < self._look_at_memory:
            return
        self._look_at_memory = now + LOOK_AT_MEMORY_MS
        level = self._pressure.look(resident_bytes(), now)
        paused = level == PAUSE
        if paused != self._paused:
            self._paused = paused
            message = f"{self._pressure}: reading {'pauses' if paused else 'goes on'}"
            log.tell(MEMORY, message)
            self._health.memory(f"{message} (SGRAPH_SEND__SA_MEMORY_LIMIT_MB)" if paused else None)
        if level == OK or not self._pressure.shrink_due(now):
            return
        if paused:
            self._make_room()
        else:
            sizes = [
                (largest, lane.consumer)
                for lane in self.lanes.values()
                if lane.consumer is not None and (largest := lane.consumer.largest_window()) is not None
            ]
            if sizes:
                (size_bytes, start_ms), consumer = max(sizes, key=lambda pair: pair[0])
                lineage = consumer.state.lineage
                if consumer.shrink(start_ms):
                    how = "leaves memory" if consumer.state.lineage == lineage else "keeps its top paths"
                    log.tell(SHRUNK, f"{self._pressure}: a window of {size_bytes >> 20} MiB {how}")
        release_memory()

    def _make_room(self) -> None:
        """Commit everything and let it go. When nothing is left, what fills memory are the batches that wait: one
        of where most records wait is taken and committed, and so on, as the pause would never end by itself."""
        opened = [lane for lane in self.lanes.values() if lane.consumer is not None]
        for lane in opened:
            assert lane.consumer is not None
            if lane.consumer.state.touched:
                lane.flushing = True
            else:
                lane.consumer.evict()
        # Other steps are no reason to wait: of many shards, one is always about to commit that it has read nothing.
        busy = any(lane.flushing or lane.one_batch or lane.emptying or _in_memory(lane) for lane in opened)
        waiting = [lane for lane in opened if _records_waiting(lane) and not lane.closing]
        if waiting and not busy:
            max(waiting, key=_records_waiting).one_batch = True

    def _tell(self, lane: Lane, event: tuple[str, Any]) -> None:
        self._events.put((lane, event))
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: as good as one more
            os.write(self._wake_writer, b"!")

    # ------------------------------------------------------------------ one lane

    def _handle(self, lane: Lane, event: tuple[str, Any]) -> None:
        kind, value = event
        if self.lanes.get(lane.partition) is not lane:
            return  # it was closed meanwhile
        if kind == "batch":
            lane.inbox.append(value)
            self._work(lane)
        else:
            self._called(lane, value)

    def _work(self, lane: Lane) -> None:
        consumer = lane.consumer
        if lane.steps is None and consumer is not None and self.lanes.get(lane.partition) is lane:
            try:
                self._begin(lane, consumer)
            except Exception as failure:  # noqa: BLE001 - as in _advance
                self._fail(lane, failure)

    def _begin(self, lane: Lane, consumer: Partition_Consumer) -> None:
        """Take in what waits, and start the steps that are due."""
        now = self._clock()
        while (
            lane.inbox and not lane.ending and (not self._paused or lane.one_batch or not _has_records(lane.inbox[0]))
        ):
            batch = lane.inbox.popleft()
            if _has_records(batch):
                lane.one_batch, lane.flushing = False, lane.flushing or lane.one_batch
            if batch is None:
                lane.ending = True
            else:
                consumer.receive(batch, now)
                self.records += len(batch.payloads)
                number = batch.sequence_numbers[-1] if batch.sequence_numbers else None
                self._health.shard(lane.partition).read(now.moment, batch.millis_behind_latest, number)
                lane.on_taken()
            if consumer.due(now):
                break
        if lane.ending:
            lane.leaving = True
            lane.steps = lane.end(consumer, now)
        elif lane.flushing or (lane.closing and (self._paused or not lane.inbox)):
            lane.leaving = lane.closing and (self._paused or not lane.inbox)
            lane.flushing, lane.emptying = False, True
            lane.steps = consumer.flush_steps(now)
        elif consumer.due(now):
            lane.steps = consumer.work_steps(now)
        else:
            return
        self._advance(lane, None)

    def _advance(self, lane: Lane, result: Any, error: Exception | None = None) -> None:
        """Run the lane's protocol up to its next call."""
        assert lane.steps is not None
        try:
            lane.call = lane.steps.throw(error) if error is not None else lane.steps.send(result)
        except StopIteration as stop:
            lane.steps = lane.call = None
            self._finished(lane, stop.value)
        except (Lease_Lost, Superseded) as lost:
            self._leave(lane, lost)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the partition stops, and its owner hears of it
            self._fail(lane, failure)
        else:
            self._perform(lane)

    def _fail(self, lane: Lane, failure: Exception) -> None:
        log.tell(PARTITION_FAILED, f"{lane.partition} stops: {failure}", failure, partition=lane.partition)
        if self.lanes.get(lane.partition) is lane:
            self._leave(lane, failure)

    def _perform(self, lane: Lane) -> None:
        if lane.call is not None and self.lanes.get(lane.partition) is lane:
            if isinstance(lane.call.function, Answered_Later):
                future = lane.call()
            else:
                future = self._pool.submit(lane.call)
                self._running.add(future)
                future.add_done_callback(self._running.discard)
            future.add_done_callback(lambda done: self._tell(lane, ("called", done)))

    def _called(self, lane: Lane, done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            if lane.failures:
                lane.failures = 0
                self._health.shard(lane.partition).blocked(None)
            self._advance(lane, done.result())
        elif isinstance(error, Store_Unavailable):
            self._retry_later(lane, error)
        elif isinstance(error, Exception):
            self._advance(lane, None, error)
        else:
            raise error

    def _retry_later(self, lane: Lane, error: Store_Unavailable) -> None:
        """Hold the line: the same call again, after twice as long each time, with jitter."""
        wait_ms = min(RETRY_MS_MAX, RETRY_MS_MIN << min(lane.failures, 10))
        lane.failures += 1
        if lane.failures == 1:
            log.tell(WAITING, f"{lane.partition} waits, and tries again: {error}", partition=lane.partition)
        self._health.shard(lane.partition).blocked(str(error))
        self._retry_number += 1
        at = self._clock().moment + random.randint(wait_ms // 2, wait_ms)
        heapq.heappush(self._retries, (at, self._retry_number, lane))

    def _finished(self, lane: Lane, value: Any) -> None:
        shard = self._health.shard(lane.partition)
        lane.emptying = False
        if lane.consumer is None:
            lane.consumer = value
            lane.quality = Quality.of(value.state.counters)
            lane.dead_letters = _dead_letters(value.state.counters)
            shard.resumed(None if value.state.number == NOTHING_READ else value.state.number)
            lane.on_open(value)
        elif lane.leaving:
            self._tell_losses(lane, lane.consumer)
            if lane.ending:
                shard.ended()
            self._leave(lane, None)
            return
        consumer: Partition_Consumer = lane.consumer
        if not consumer.state.touched:
            shard.committed(consumer.last_commit.moment)
            self._tell_dead_letters(lane, consumer)
        if consumer.state.published_watermark_ms > BEGINNING_MS:
            shard.watermark(consumer.state.published_watermark_ms)
        self._judge(lane, consumer)
        self._tell_losses(lane, consumer)
        shard.counters(consumer.state.counters)
        shard.windows({start: window.total_requests for start, window in consumer.state.windows.items()})

    def _judge(self, lane: Lane, consumer: Partition_Consumer) -> None:
        """Say so when most records are malformed: a wrong field list must not look like a stream without traffic."""
        verdict = lane.quality.verdict(consumer.state.counters)
        if verdict is not None:
            self._health.shard(lane.partition).malformed(verdict or None)
            if verdict:
                log.tell(MALFORMED, f"{lane.partition} {verdict}", partition=lane.partition)

    def _tell_dead_letters(self, lane: Lane, consumer: Partition_Consumer) -> None:
        """One line a commit that left records out, for alarms."""
        written = _dead_letters(consumer.state.counters)
        count, lane.dead_letters = written - lane.dead_letters, written
        if count > 0:
            message = f"{lane.partition}: {count} records are in no number; the dead letters say why"
            log.tell(DEAD_LETTERS, message, partition=lane.partition, count=count)

    def _tell_losses(self, lane: Lane, consumer: Partition_Consumer) -> None:
        """Every loss is an event: what was lost is in no number, and nobody may find that out by chance."""
        losses, consumer.state.losses = consumer.state.losses, []
        now = self._clock().moment
        for loss in losses:
            told = lane.losses_told.get(loss.kind)
            if told is not None and now - told < LOSS_TOLD_MS:
                continue  # reading at the edge of the retention, which goes on taking
            lane.losses_told[loss.kind] = now
            since = iso(loss.since_ms)
            log.tell(
                LOSS,
                f"{lane.partition}: {loss.why}. It vouches for windows from {since} on; earlier ones stay as they are",
                partition=lane.partition,
                kind=loss.kind,
                since=since,
            )
            self._health.lost(lane.partition, f"{loss.why}, and it vouches for windows from {since} on")

    def _leave(self, lane: Lane, error: BaseException | None) -> None:
        del self.lanes[lane.partition]
        lane.steps = lane.call = None
        lane.on_closed(lane.partition, error)


def _has_records(batch: Batch | None) -> bool:
    """Whether it takes memory: the end of a shard does not, nor does an answer at the tip of the stream."""
    return batch is not None and bool(batch.payloads)


def _records_waiting(lane: Lane) -> int:
    return sum(len(batch.payloads) for batch in lane.inbox if batch is not None)


def _in_memory(lane: Lane) -> bool:
    return lane.consumer is not None and bool(lane.consumer.state.windows)


def _dead_letters(counters: dict[str, int]) -> int:
    return sum(counters.get(reason, 0) for reason in _DEAD_LETTERS)
