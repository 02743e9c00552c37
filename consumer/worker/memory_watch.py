"""What a worker does about its memory: how much this process takes, and its lanes, come in; smaller windows go out, and
near the ceiling a pause in which everything is committed and let go."""

from collections.abc import Collection

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
from consumer.worker.lane import Lane
from sa_stream.health.notebook import Health
from sa_stream.log import MEMORY, MEMORY_SMALL, SHRUNK, Log
from sa_stream.timing import Moment

log = Log("engine")

RELEASE_MEMORY_MS = 10_000
LOOK_MS = 50


class Memory_Watch:
    """limit_mb  MEMORY_LIMIT_MB; jvm: the KCL's process takes its share of the container
    paused    memory is short: no batch is to be taken, but for one of a lane that says so (`one_batch`)
    acts      something has changed for all lanes since the tick before
    """

    def __init__(self, health: Health, limit_mb: int, jvm: bool, now: Moment) -> None:
        self.paused = False
        self.acts = False
        self._health = health
        self._pressure = Pressure(memory_limit_bytes(limit_mb, jvm))
        health.memory_limit(self._pressure.limit_bytes)
        self._next_look = now
        self._next_release = now + RELEASE_MEMORY_MS

    @property
    def limit_bytes(self) -> int:
        return self._pressure.limit_bytes

    def check(self, shards: int, read_ahead_rate: float = 0.0) -> None:
        """Say so at the start if so many shards cannot be read with the memory that there is, of which a part may be
        filled with what was read ahead in this process."""
        needed = memory_needed_bytes(shards, read_ahead_rate)
        if needed > self.limit_bytes:
            log.tell(
                MEMORY_SMALL,
                f"SGRAPH_SEND__SA_MEMORY_LIMIT_MB allows {self.limit_bytes // MIB} MiB, and a worker that reads "
                f"all {shards} shards at full load needs about {needed // MIB} MiB: reading will pause again and "
                "again. Give it more, or share the shards among more workers",
                limit_mb=self.limit_bytes // MIB,
                needed_mb=needed // MIB,
                shards=shards,
            )

    def tick(self, now: Moment, lanes: Collection[Lane]) -> None:
        """With every poll. Near the ceiling the largest windows shrink first; then nothing is taken, and everything is
        committed and leaves memory, until there is room again."""
        if now >= self._next_release:
            self._next_release = now + RELEASE_MEMORY_MS
            release_memory()
        self.acts = False
        if now < self._next_look:
            return
        self._next_look = now + LOOK_MS
        level = self._pressure.look(resident_bytes(), now)
        if (level == PAUSE) != self.paused:
            self._turn(level == PAUSE)
            self.acts = True
        if level == OK or not self._pressure.shrink_due(now):
            return
        if self.paused:
            _make_room(lanes)
            self.acts = True
        else:
            self._shrink_largest(lanes)
        release_memory()

    def _turn(self, paused: bool) -> None:
        self.paused = paused
        message = f"{self._pressure}: reading {'pauses' if paused else 'goes on'}"
        log.tell(MEMORY, message)
        self._health.memory(f"{message} (SGRAPH_SEND__SA_MEMORY_LIMIT_MB)" if paused else None)

    def _shrink_largest(self, lanes: Collection[Lane]) -> None:
        sizes = [
            (largest, lane.consumer)
            for lane in lanes
            if lane.consumer is not None and (largest := lane.consumer.largest_window()) is not None
        ]
        if not sizes:
            return
        (size_bytes, start_ms), consumer = max(sizes, key=lambda pair: pair[0])
        became = consumer.shrink(start_ms)
        if became is not None:
            log.tell(SHRUNK, f"{self._pressure}: a window of {size_bytes >> 20} MiB {became.value}")


def _make_room(lanes: Collection[Lane]) -> None:
    """Commit everything and let it go. When nothing is left, what fills memory are the batches that wait: one of where
    most records wait is taken and committed, and so on, as the pause would never end by itself."""
    opened = [lane for lane in lanes if lane.consumer is not None]
    for lane in opened:
        assert lane.consumer is not None
        if lane.consumer.state.touched:
            lane.flushing = True
        else:
            lane.consumer.evict()
    # Other steps are no reason to wait: of many shards, one is always about to commit that it has read nothing.
    busy = any(lane.flushing or lane.one_batch or lane.emptying or lane.in_memory for lane in opened)
    waiting = [lane for lane in opened if lane.records_waiting and not lane.closing]
    if waiting and not busy:
        max(waiting, key=lambda lane: lane.records_waiting).one_batch = True
