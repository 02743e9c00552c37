"""The engine: one thread that takes batches of all partitions, drives their consumers, and lets a small pool make the
calls that they ask for. While a partition waits for a call, it takes no more batches, and nothing else waits with it.
"""

import contextlib
import heapq
import os
import queue
import random
import selectors
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from consumer.worker.gathering import Gathering
from consumer.worker.lane import Answered_Later, Ending, Lane
from consumer.worker.lane_report import Lane_Report
from consumer.worker.memory_watch import Memory_Watch
from sa_stream.commits.operations import Call, Steps, Together
from sa_stream.commits.partition_consumer import JOIN_MS, Partition_Consumer
from sa_stream.errors import Lease_Lost, Store_Unavailable, Superseded
from sa_stream.health.notebook import Health
from sa_stream.partitions import Batch
from sa_stream.timing import Moment, Now, right_now

POOL_THREADS = 8
TICK_S = 0.05
JOIN_MS_A_LANE = 16  # 64 lanes fold every second what comes, 320 and more every 5 s
JOIN_MS_MAX = 5_000
WAITING_BYTES_MAX = 32 << 20  # of payloads of all lanes that wait for more to be folded with; beyond it none waits


class Engine:
    """Verbs: `open` a partition, `submit` what was read of it, `close` or `drop` it, and `poll`, which does the work.
    `watch` lets `poll` wait for a file descriptor as well.

    Only `submit` may be called from other threads. Raises nothing of a single partition: what ends one is handed to its
    `on_closed` (None: it ended or was closed in order).

    records  received since the start, for whoever wants to show a rate
    memory   decides when windows shrink, and when no batch is taken
    """

    def __init__(
        self,
        health: Health,
        clock: Callable[[], Now] = right_now,
        memory_limit_mb: int = 0,
        jvm: bool = False,
    ) -> None:
        self.lanes: dict[str, Lane] = {}
        self.records = 0
        self.memory = Memory_Watch(health, memory_limit_mb, jvm, clock().moment)
        self._health = health
        self._clock = clock
        self._events: queue.SimpleQueue[tuple[Lane, Any]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self.watch(self._wake_reader, lambda: os.read(self._wake_reader, 65_536))
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="store")
        self._running: set[Future[Any]] = set()  # calls in the pool
        self._retries: list[tuple[Moment, int, Lane]] = []
        # When time alone gives a lane something to do. One that has left must not be held by this.
        self._looks: list[tuple[Moment, int, weakref.ref[Lane]]] = []
        self._number = 0  # of what is in these heaps
        self._waiting_bytes = 0

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
        lane = Lane(partition, on_open, on_taken, on_closed, end, Lane_Report(partition, self._health), steps=recover)
        self.lanes[partition] = lane
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
        if self._has(lane):
            del self.lanes[lane.partition]
            lane.steps = lane.call = None
            self._count_waiting(lane, 0)

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
        self.memory.tick(moment, self.lanes.values())
        while self._retries and self._retries[0][0] <= moment:
            _, _, lane = heapq.heappop(self._retries)
            self._perform(lane)
        while self._looks and self._looks[0][0] <= moment:
            at, _, left = heapq.heappop(self._looks)
            here = left()
            if here is not None:
                here.looks.discard(at)
                self._work(here)
        if self.memory.acts:
            for lane in list(self.lanes.values()):
                self._work(lane)

    @property
    def busy(self) -> bool:
        """Whether a store still has a call under way."""
        return bool(self._running)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, lane: Lane, event: tuple[str, Any]) -> None:
        self._events.put((lane, event))
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: as good as one more
            os.write(self._wake_writer, b"!")

    # ------------------------------------------------------------------ one lane

    def _has(self, lane: Lane) -> bool:
        """Whether it is still here. Whoever is called back (`on_open`, `on_taken`) may drop it."""
        return self.lanes.get(lane.partition) is lane

    def _handle(self, lane: Lane, event: tuple[str, Any]) -> None:
        kind, value = event
        if not self._has(lane):
            return  # it was closed meanwhile
        if kind == "batch":
            lane.inbox.append(value)
            self._work(lane)
        else:
            self._called(lane, value)

    def _work(self, lane: Lane) -> None:
        consumer = lane.consumer
        if lane.steps is None and consumer is not None and self._has(lane):
            try:
                self._begin(lane, consumer)
            except Exception as failure:  # noqa: BLE001 - as in _advance
                self._fail(lane, failure)

    def _begin(self, lane: Lane, consumer: Partition_Consumer) -> None:
        """Take in what waits, and start the steps that are due."""
        now = self._clock()
        while lane.inbox and not lane.ending and (not self.memory.paused or lane.one_batch or not lane.next_is_large):
            large, batch = lane.next_is_large, lane.inbox.popleft()
            if large:
                lane.one_batch, lane.flushing = False, lane.flushing or lane.one_batch
            if batch is None:
                lane.ending = True
            else:
                consumer.receive(batch, now)
                self.records += len(batch.payloads)
                lane.report.read(batch, now.moment)
                lane.on_taken()
                if not self._has(lane):
                    return
                self._count_waiting(lane, consumer.waiting_bytes)
            if self._is_due(lane, consumer, now):
                break
        closes = lane.closing and (self.memory.paused or not lane.inbox)
        if lane.ending:
            lane.leaving = True
            lane.steps = lane.end(consumer, now)
        elif lane.flushing or closes:
            lane.leaving = closes
            lane.flushing, lane.emptying = False, True
            lane.steps = consumer.flush_steps(now)
        elif self._is_due(lane, consumer, now):
            lane.steps = consumer.work_steps(now)
        else:
            self._look_later(lane, consumer.due_at(self._join_ms))
            return
        self._advance(lane, None)

    def _is_due(self, lane: Lane, consumer: Partition_Consumer, now: Now) -> bool:
        crowded = lane.waiting_bytes > 0 and self._waiting_bytes > WAITING_BYTES_MAX
        return crowded or consumer.due(now, self._join_ms)

    @property
    def _join_ms(self) -> int:
        """How long few records wait for others: longer among many lanes, as each fold has a cost of its own."""
        return min(JOIN_MS_MAX, max(JOIN_MS, len(self.lanes) * JOIN_MS_A_LANE))

    def _count_waiting(self, lane: Lane, size_bytes: int) -> None:
        self._waiting_bytes += size_bytes - lane.waiting_bytes
        lane.waiting_bytes = size_bytes

    def _look_later(self, lane: Lane, at: Moment) -> None:
        if at not in lane.looks:
            lane.looks.add(at)
            self._number += 1
            heapq.heappush(self._looks, (at, self._number, weakref.ref(lane)))

    def _advance(self, lane: Lane, result: Any, error: Exception | None = None) -> None:
        """Run the lane's protocol up to its next call."""
        assert lane.steps is not None
        try:
            operation = lane.steps.throw(error) if error is not None else lane.steps.send(result)
            lane.call = Gathering(operation, self._submit) if isinstance(operation, Together) else operation
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
        lane.report.failed(failure)
        if self._has(lane):
            self._leave(lane, failure)

    def _perform(self, lane: Lane) -> None:
        if lane.call is not None and self._has(lane):
            future: Future[Any]
            if isinstance(lane.call, Gathering):
                future = lane.call.start()
            elif isinstance(lane.call.function, Answered_Later):
                future = lane.call()
            else:
                future = self._submit(lane.call)
            future.add_done_callback(lambda done: self._tell(lane, ("called", done)))

    def _submit(self, call: Call) -> Future[Any]:
        future = self._pool.submit(call)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _called(self, lane: Lane, done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            if lane.backoff.failures:
                lane.backoff.worked()
                lane.report.goes_on()
            self._advance(lane, done.result())
        elif isinstance(error, Store_Unavailable):
            self._retry_later(lane, error)
        elif isinstance(error, Exception):
            self._advance(lane, None, error)
        else:
            raise error

    def _retry_later(self, lane: Lane, error: Store_Unavailable) -> None:
        """Hold the line: the same call again, after twice as long each time, with jitter."""
        lane.report.waits(error, first=not lane.backoff.failures)
        wait_ms = lane.backoff.failed()
        self._number += 1
        at = self._clock().moment + random.randint(wait_ms // 2, wait_ms)
        heapq.heappush(self._retries, (at, self._number, lane))

    def _finished(self, lane: Lane, value: Any) -> None:
        now = self._clock().moment
        lane.emptying = False
        if lane.consumer is None:
            lane.consumer = value
            lane.report.opened(value)
            lane.on_open(value)
            if not self._has(lane):
                return
        elif lane.leaving:
            lane.report.left(lane.consumer, lane.ending, now)
            self._leave(lane, None)
            return
        lane.report.worked(lane.consumer, now)
        self._count_waiting(lane, lane.consumer.waiting_bytes)
        self._look_later(lane, now)

    def _leave(self, lane: Lane, error: BaseException | None) -> None:
        del self.lanes[lane.partition]
        lane.steps = lane.call = None
        self._count_waiting(lane, 0)
        lane.on_closed(lane.partition, error)
