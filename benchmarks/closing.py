"""A modelled run of the real reconciler: workers, shards and stores as actors on one clock that nobody waits for. The
stores take as long as they do elsewhere (GET 20 ms, PUT and LIST 40 ms, the cache service so many requests a second),
so it tells how long a window takes to become final, and how often an open entry is refreshed.
"""

import heapq
import random
from collections.abc import Generator
from typing import Any

from benchmarks.growth import commit, reconciler_of
from consumer.worker.publisher import CALLS_AT_ONCE, pause_s, shared_publish_s
from sa_stream.commits.keys import partial_key, progress_key
from sa_stream.commits.operations import Call, Operation, Together
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.partitions import Partial_Name
from sa_stream.rollups.entry import FINAL
from sa_stream.rollups.periods import HALF_HOUR, cache_key
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import DAY_MS, MINUTE_MS, WINDOW_MS, Moment, Now
from sa_stream.windows.window import Window

GET_MS, OTHER_MS = 20, 40
COMMIT_MS = 60_000
CLOSES_MS = 65_000  # after its end a window closes on an idle shard: out-of-orderness and margin
HISTORY_MS = DAY_MS  # of windows that are named, as they may still be amended
END_MS = 20_000 * DAY_MS  # of the window that is watched
WATCHED = cache_key(HALF_HOUR, END_MS - WINDOW_MS)
WARM_MS = 40 * MINUTE_MS

type Actor = Generator[float, None, None]  # yields when it goes on (ms)


class Slow_Cache(Memory_Cache):
    """One request after the other, for all workers."""

    def __init__(self, world: "World", a_second: float) -> None:
        super().__init__()
        self._world, self._takes_ms, self._free_ms = world, 1000 / a_second, 0.0

    def _wait(self) -> None:
        self._free_ms = max(self._free_ms, self._world.now_ms) + self._takes_ms
        self._world.now_ms = self._free_ms

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        self._wait()
        return super().retrieve_entry(namespace, cache_key)

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        self._wait()
        super().store_entry(namespace, cache_key, body)
        if cache_key == WATCHED and body["status"] == FINAL:
            self._world.final_ms = self._world.final_ms or self._world.now_ms


class World:
    """`run` gives how long after its end the watched window was final, how often its entry was written before, and how
    many merges were given up."""

    def __init__(self, shards: int, workers: int, cache_a_second: float, seed: int = 1) -> None:
        self.now_ms = 0.0
        self.rng = random.Random(seed)
        self.store, self.cache = State_Store("memory://"), Slow_Cache(self, cache_a_second)
        self.partitions = [f"shard-{i:04d}" for i in range(shards)]
        self.workers = workers
        self.final_ms = 0.0
        self.refreshed = self.given_up = 0

    def run(self) -> dict[str, float]:
        actors = [self._shard(partition) for partition in self.partitions]
        actors += [self._worker(number) for number in range(self.workers)]
        queue = [(float(END_MS - WINDOW_MS - WARM_MS), number) for number in range(len(actors))]
        while queue and not self.final_ms:
            self.now_ms, number = heapq.heappop(queue)
            heapq.heappush(queue, (next(actors[number]), number))
        return {"final_s": (self.final_ms - END_MS) / 1000, "refreshed": self.refreshed, "given_up": self.given_up}

    def _shard(self, partition: str) -> Actor:
        """Commits once a minute at a time of its own, and when a window closes; deletes one commit later."""
        names: dict[int, Partial_Name] = {}
        replaced: list[str] = []
        number, before = 1, ""
        begins_ms = END_MS - WINDOW_MS - WARM_MS
        first_ms = begins_ms // WINDOW_MS * WINDOW_MS
        for start_ms in range(first_ms - HISTORY_MS, first_ms, WINDOW_MS):
            self._put(partition, start_ms, number, names)
        next_ms = begins_ms + self.rng.uniform(0, COMMIT_MS)
        while True:
            now_ms = int(self.now_ms)
            number += 1
            obsolete, replaced = replaced, [before] if before else []
            start_ms = now_ms // WINDOW_MS * WINDOW_MS
            if start_ms in names:
                replaced.append(partial_key(start_ms, partition, names[start_ms]))
            self._put(partition, start_ms, number, names)
            watermark_ms = now_ms - CLOSES_MS
            commit(self.store, partition, number, watermark_ms, names)
            before = progress_key(partition, str(number), watermark_ms, "l")
            self.store.delete(obsolete)
            closes_ms = (watermark_ms // WINDOW_MS + 1) * WINDOW_MS + CLOSES_MS + self.rng.uniform(0, 2_000)
            if self.now_ms >= next_ms:
                next_ms = self.now_ms + COMMIT_MS
            yield max(self.now_ms + 1, min(next_ms, closes_ms))

    def _put(self, partition: str, start_ms: int, number: int, names: dict[int, Partial_Name]) -> None:
        window = Window(start_ms)
        window.total_requests = number
        names[start_ms] = Partial_Name("l", str(number))
        self.store.put(partial_key(start_ms, partition, names[start_ms]), window.to_bytes())

    def _worker(self, number: int) -> Actor:
        reconciler = reconciler_of(self.store, self.cache, self.partitions)
        intervals_s = shared_publish_s(COMMIT_MS / 1000)
        yield self.now_ms + self.rng.uniform(0, intervals_s[1] * 1000)
        while True:
            began_ms = self.now_ms
            steps, answer = reconciler.pass_steps(Now(int(began_ms), Moment(int(began_ms)))), None
            while True:
                try:
                    operation = steps.send(answer)
                except StopIteration as stop:
                    result = stop.value
                    break
                answer = self._perform(operation)
                yield self.now_ms
            if self.now_ms >= END_MS - 25 * MINUTE_MS:
                self.refreshed += any(written.cache_key == WATCHED for written in result.written)
                self.given_up += result.skipped["partial-gone"] + result.skipped["progress-moved"]
            wait_s = pause_s(intervals_s, bool(result.waiting), int(began_ms), reconciler.timing)
            yield max(self.now_ms, began_ms + wait_s * 1000)

    def _perform(self, operation: Operation) -> Any:
        if not isinstance(operation, Together):
            return self._one(operation)
        began_ms, slots, answers = self.now_ms, [self.now_ms] * CALLS_AT_ONCE, []
        for place, one in enumerate(operation.calls):
            self.now_ms = slots[place % CALLS_AT_ONCE]
            answers.append(self._one(one))
            slots[place % CALLS_AT_ONCE] = self.now_ms
        self.now_ms = max(slots, default=began_ms)
        return answers

    def _one(self, operation: Call) -> Any:
        if operation.name.startswith("State_Store."):
            self.now_ms += GET_MS if operation.name.endswith(".get") else OTHER_MS
        return operation()


def closing(shards: int, workers: int, cache_a_second: float) -> dict[str, float]:
    return World(shards, workers, cache_a_second).run()
