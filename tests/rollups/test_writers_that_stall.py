"""Reconcilers that interleave at any single call of the store and of the cache, also between the last look at an entry
and its write, for hours; that crash at any of them; and partitions that forget what was published. Once all is quiet,
every entry is final, complete, and not below what anybody was shown.
"""

import random
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from sa_stream.commits.operations import drive
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.timing import DAY_MS, MINUTE_MS, WINDOW_MS
from tests.rollups.rollup_stream import Stream, now_at

W = int(datetime(2026, 2, 16, 14, tzinfo=UTC).timestamp() * 1000)
WINDOWS = [W, W + WINDOW_MS]
GRACE = Reconciler_Settings().grace_ms
TURNS = 70
FREEZES = {"store_entry": 0.2, "create": 0.1, "put": 0.05, "delete": 0.05}  # before which call somebody stands still


class Dropped(BaseException):
    """The worker crashed at this call, which never took effect."""


class Waiting:
    """A store or cache whose calls wait until it is their worker's turn."""

    def __init__(self, worker: "Worker", inner: Any) -> None:
        self._worker, self._inner = worker, inner

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            self._worker.next_call = name
            self._worker.wait()
            if name in FREEZES:
                self._worker.late |= self._worker.world.now_ms - self._worker.pass_ms >= GRACE
            return function(*arguments)

        return call


class Worker:
    """A reconciler in a thread that runs from one call to the next, each time it is told to."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.dropped = self.resting = self.late = False
        self.next_call = ""
        self.frozen_turns = 0
        self.pass_ms = world.now_ms
        stream = world.stream
        store, cache = Waiting(self, stream.store), Waiting(self, stream.cache)
        self.reconciler = Reconciler(store, cache, lambda: list(stream.shards), stream.timing, stream.settings)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            while True:
                self.resting = True
                self.wait()
                self.resting, self.next_call = False, ""
                self.pass_ms = self.world.now_ms
                self.world.settled(drive(self.reconciler.pass_steps(now_at(self.pass_ms))).settled)
        except Dropped:
            self.done.release()

    def wait(self) -> None:
        self.done.release()
        self.go.acquire()
        if self.dropped:
            raise Dropped

    def step(self) -> None:
        self.go.release()
        self.done.acquire()

    def drop(self) -> None:
        self.dropped = True
        self.step()
        self.thread.join()


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = W + 3 * DAY_MS
        self.stream = Stream("a", "b")
        self.numbers = {"a": 1, "b": 1}
        self.counts: dict[str, dict[int, int]] = {"a": {W: 1}, "b": {}}
        self.reach = {"a": W, "b": W}
        self.forgotten: dict[str, set[int]] = {"a": set(), "b": set()}
        self.busy = self.chance.choice([0.1, 0.3, 0.6])
        self.best: dict[str, tuple[bool, int]] = {}
        self.stream.commit("a", 1, W, dict(self.counts["a"]))
        self.stream.commit("b", 1, W)
        self.workers = [self._worker() for _ in range(3)]

    def _worker(self) -> Worker:
        worker = Worker(self)
        worker.done.acquire()
        return worker

    def settled(self, settled: dict[int, Any]) -> None:
        """A partition may forget what was published of it."""
        for partition, own in self.stream.maps.items():
            for window_ms, name in list(own.items()):
                passed = self.reach[partition] >= window_ms + WINDOW_MS
                if passed and (partition, name) in settled.get(window_ms, ()) and self.chance.random() < 0.9:
                    self.forgotten[partition].add(window_ms)
                    self.commit(partition, {}, (window_ms,))

    def commit(self, partition: str, touched: dict[int, int], forget: tuple[int, ...] = ()) -> None:
        self.numbers[partition] += 1
        self.stream.commit(
            partition, self.numbers[partition], self.reach[partition], touched, forget=forget, salt=ord(partition)
        )

    def read_on(self) -> None:
        """A partition reads more: a window passes, a record comes in time or late."""
        partition = self.chance.choice("ab")
        own = self.counts[partition]
        self.reach[partition] = max(self.reach[partition], W + self.chance.randrange(3) * WINDOW_MS)
        window_ms = self.chance.choice(WINDOWS)
        touched = {}
        if window_ms not in self.forgotten[partition]:
            own[window_ms] = own.get(window_ms, 0) + 1
            touched = {window_ms: own[window_ms]}
        self.commit(partition, touched)

    def turn(self) -> None:
        """Somebody runs on for a while, and then stands still, most often before a write; a minute or an hour pass."""
        chance = self.chance
        if chance.random() < self.busy:
            self.read_on()
        self.now_ms += chance.choice([0, 1, 6, 12, 12, 60]) * MINUTE_MS
        for worker in self.workers:
            worker.frozen_turns = max(0, worker.frozen_turns - 1)
        awake = [worker for worker in self.workers if not worker.frozen_turns]
        if not awake:
            return
        worker = chance.choice(awake)
        for _ in range(chance.choice([3, 20, 200])):
            worker.step()
            self.look()
            if len(awake) > 1 and chance.random() < FREEZES.get(worker.next_call, 0):
                worker.frozen_turns = chance.choice([2, 8, 30])
                break
            if worker.resting and chance.random() < 0.7:
                break
        # A crash of a writer that stood still for long, before it could look again, is the limit of this.
        if chance.random() < 0.04 and not worker.late and self.now_ms - worker.pass_ms < GRACE:
            self.workers.remove(worker)
            worker.drop()
            self.workers.append(self._worker())

    def look(self) -> None:
        for key, entry in self.stream.entries.items():
            self.best[key] = max(self.best.get(key, (False, 0)), (entry["status"] == "final", entry["revision"]))

    def rest(self) -> None:
        """Everybody has read everything; the workers go on one after another."""
        self.now_ms += MINUTE_MS
        for partition in "ab":
            self.reach[partition] = W + DAY_MS
            self.commit(partition, {})
        for _ in range(10):
            self.now_ms += GRACE
            for worker in self.workers:
                for _ in range(2):  # the rest of the pass under way, and a whole one
                    worker.step()
                    while not worker.resting:
                        worker.step()
            self.look()

    def close(self) -> None:
        for worker in self.workers:
            worker.drop()


@pytest.mark.parametrize("seed", range(30))
def test_at_rest_every_entry_is_final_complete_and_not_below_what_was_shown(seed: int):
    world = World(seed)
    try:
        for _ in range(TURNS):
            world.turn()
        world.rest()
    finally:
        world.close()
    entries, counts = world.stream.entries, world.counts
    for window_ms in WINDOWS:
        total = sum(own.get(window_ms, 0) for own in counts.values())
        label = "30min/" + datetime.fromtimestamp(window_ms // 1000, UTC).strftime("%Y-%m-%d-%H%M")
        assert (label in entries) == (total > 0)
        if total:
            assert (entries[label]["status"], entries[label]["total_requests"]) == ("final", total)
    everything = sum(sum(own.values()) for own in counts.values())
    assert (entries["hourly/2026-02-16-14"]["status"], entries["hourly/2026-02-16-14"]["total_requests"]) == (
        "final",
        everything,
    )
    assert entries["daily/2026-02-16"]["total_requests"] == everything
    for key, entry in entries.items():
        assert (entry["status"] == "final", entry["revision"]) >= world.best[key], key
        assert world.stream.summary(key).total_requests == entry["total_requests"], key
