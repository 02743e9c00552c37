"""How a lane of the engine ends: everything that it took is committed before it leaves, and it always leaves."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import field

from consumer.worker import memory_watch
from consumer.worker.engine import Engine
from consumer.worker.lane import Lane
from sa_stream.commits.operations import Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.health.notebook import Health
from sa_stream.partitions import END, Batch, Shard_Info
from sa_stream.records.intake import Intake
from sa_stream.timing import BEGINNING_MS, Moment, Now, Timing
from tests.windows.partition_feed import LISTS, Dict_Store, Record, batch_of, empty_tip, now_at, record

NOW_MS = 1_771_252_200_000
LIMIT_MB = 1_000


class Slow_Store(Dict_Store):
    """Takes a dead letter only while the gate is open."""

    gate: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def put(self, key: str, data: bytes) -> None:
        if key.startswith("dead-letters/") and not self.gate.is_set():
            self.waiting.set()
            assert self.gate.wait(20)
        super().put(key, data)


class Rig:
    """An engine with one partition, and a clock that the test turns."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.store = Slow_Store()
        self.checkpoints: list[str] = []
        self.closed: list[BaseException | None] = []
        self.taken = 0
        self.health = Health(Moment(NOW_MS))
        self.engine = Engine(self.health, lambda: now_at(self.now_ms), memory_limit_mb=LIMIT_MB)
        self.lane = self.open()
        self.turn(lambda: self.lane.consumer is not None)

    def open(self) -> Lane:
        return self.engine.open(
            "p", self._recover(), lambda consumer: None, self._took, lambda name, error: self.closed.append(error)
        )

    def _took(self) -> None:
        self.taken += 1

    def _recover(self) -> Steps[Partition_Consumer]:
        shared = Shared(
            self.store,
            Timing(),
            Start(BEGINNING_MS, NOW_MS),
            Intake(LISTS),
            Secrets(self.store, lambda: b"12345678"),
            lambda: "lineage",
        )
        state = yield from recover_steps(shared, Shard_Info("p", (), closed=False), None, NOW_MS)
        return Partition_Consumer(shared, state, self.checkpoints.append, now_at(NOW_MS))

    @property
    def consumer(self) -> Partition_Consumer:
        assert self.lane.consumer is not None
        return self.lane.consumer

    def turn(self, done: Callable[[], Any], times: int = 600) -> None:
        """Let the engine work until a condition holds."""
        for _ in range(times):
            self.engine.poll(0.005)
            self.now_ms += 20
            if done():
                return
        raise AssertionError("the engine did not get there")

    def count_looks(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Whenever the engine asks whether the partition has something to do."""
        looks: list[int] = []
        due = Partition_Consumer.due

        def counted(consumer: Partition_Consumer, now: Now) -> bool:
            looks.append(now.wall_ms)
            return due(consumer, now)

        monkeypatch.setattr(Partition_Consumer, "due", counted)
        return looks

    def deliver(self, *numbers: int) -> None:
        self.engine.take(self.lane, batch(*numbers))

    def begin_work(self) -> None:
        """No commit is due; a batch is being folded, and its dead letter waits for the store."""
        self.deliver(1)
        self.turn(lambda: self.checkpoints == ["1"])
        self.store.gate.clear()
        malformed = Record("3", NOW_MS + 5, b"malformed\n")
        self.engine.take(self.lane, batch_of([record(2, NOW_MS), malformed]))
        self.turn(self.store.waiting.is_set)
        assert self.lane.steps is not None


def batch(*numbers: int) -> Batch:
    return batch_of([record(number, NOW_MS + number) for number in numbers])


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(memory_watch, "resident_bytes", lambda: 100 << 20)  # not what other tests left in this process
    made = Rig()
    yield made
    made.store.gate.set()
    made.engine.shutdown()


def test_a_lane_closed_in_the_middle_of_its_work_commits_that_work_before_it_leaves(rig: Rig) -> None:
    rig.begin_work()
    rig.engine.close(rig.lane)
    rig.store.gate.set()
    rig.turn(lambda: rig.closed)
    assert rig.closed == [None]
    assert rig.checkpoints[-1:] == ["3"]
    assert not rig.consumer.state.touched


def test_batches_that_wait_behind_the_work_are_committed_too(rig: Rig) -> None:
    rig.begin_work()
    rig.deliver(4)
    rig.deliver(5)
    rig.engine.close(rig.lane)
    rig.store.gate.set()
    rig.turn(lambda: rig.closed)
    assert (rig.closed, rig.checkpoints[-1:], rig.taken) == ([None], ["5"], 4)


def test_a_flush_that_began_before_the_close_is_not_the_last_one(rig: Rig) -> None:
    rig.begin_work()
    rig.lane.flushing = True  # as memory pressure asks for
    rig.deliver(4)
    rig.engine.close(rig.lane)
    rig.store.gate.set()
    rig.turn(lambda: rig.closed)
    assert (rig.closed, rig.checkpoints[-1:]) == ([None], ["4"])


def test_a_lane_that_is_closed_while_it_recovers_leaves_when_it_has(rig: Rig) -> None:
    lane = rig.engine.open(
        "q", rig._recover(), lambda consumer: None, rig._took, lambda *how: rig.closed.append(how[1])
    )
    rig.engine.close(lane)
    rig.turn(lambda: rig.closed)
    assert rig.closed == [None]


def test_a_closing_lane_does_not_wait_for_room_in_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.deliver(1)
    monkeypatch.setattr(memory_watch, "resident_bytes", lambda: 950 << 20)
    rig.turn(lambda: rig.checkpoints == ["1"])
    rig.deliver(2)
    rig.engine.close(rig.lane)
    rig.turn(lambda: rig.closed)
    assert (rig.closed, rig.checkpoints, rig.taken) == ([None], ["1"], 1), "what it did not take is read again"


def test_a_shard_that_ends_while_it_is_closed_ends(rig: Rig) -> None:
    rig.begin_work()
    rig.engine.submit(rig.lane, None)
    rig.engine.close(rig.lane)
    rig.turn(lambda: rig.lane.inbox)
    rig.store.gate.set()
    rig.turn(lambda: rig.closed)
    assert (rig.closed, rig.checkpoints[-1:]) == ([None], [END])
    assert rig.health.view().shards["p"].ended


def test_a_batch_that_comes_during_the_last_flush_does_not_hold_it_up(rig: Rig) -> None:
    rig.store.gate.clear()
    rig.engine.take(rig.lane, batch_of([Record("1", NOW_MS, b"malformed\n")]))
    rig.engine.close(rig.lane)
    rig.turn(rig.store.waiting.is_set)
    rig.engine.submit(rig.lane, batch(2))
    rig.store.gate.set()
    rig.turn(lambda: rig.closed)
    assert (rig.closed, rig.checkpoints, rig.consumer.state.touched) == ([None], ["1"], {})


def test_a_lane_is_looked_at_when_it_has_something_to_do_and_not_with_every_wake_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand idle shards must not cost a thousand looks at each."""
    rig.deliver(1)
    rig.turn(lambda: rig.consumer.state.number == "1")
    looks = rig.count_looks(monkeypatch)
    for _ in range(500):  # 10 s in which nothing is due
        rig.engine.poll(0)
        rig.now_ms += 20
    assert len(looks) <= 3
    rig.now_ms += Timing().commit_interval_ms
    rig.turn(lambda: rig.checkpoints == ["1"])


def test_what_was_received_is_folded_a_second_later_though_nothing_else_happens(rig: Rig) -> None:
    rig.deliver(1)
    rig.turn(lambda: rig.consumer.state.number == "1")
    assert rig.now_ms >= NOW_MS + 1_000


def test_of_a_lane_that_is_busy_for_long_only_the_next_looks_are_kept(rig: Rig) -> None:
    for number in range(300):
        rig.engine.take(rig.lane, empty_tip(NOW_MS + number))
        rig.engine.poll(0)
        rig.now_ms += 100
    assert len(rig.engine._looks) <= 5


def test_a_lane_that_was_dropped_is_held_by_nobody(rig: Rig) -> None:
    rig.deliver(1)
    dropped = weakref.ref(rig.lane)
    rig.engine.drop(rig.lane)
    del rig.lane
    gc.collect()
    assert dropped() is None


def test_a_lane_that_is_dropped_by_who_hears_that_it_opened_leaves_nothing_behind(rig: Rig) -> None:
    """As a connection does that finds its other end gone when it answers."""

    def gone(*_: Any) -> None:
        rig.engine.drop(rig.engine.lanes["p"])
        rig.health.forget("p")

    rig.engine.drop(rig.lane)
    rig.health.forget("p")
    rig.lane = rig.engine.open("p", rig._recover(), gone, rig._took, lambda name, error: None)
    rig.turn(lambda: not rig.engine.lanes)
    rig.engine.poll(0)
    assert rig.health.view().shards == {}


def test_a_lane_that_is_dropped_by_who_hears_that_a_batch_was_taken_leaves_nothing_behind(rig: Rig) -> None:
    def gone() -> None:
        rig.engine.drop(rig.lane)
        rig.health.forget("p")

    rig.lane.on_taken = gone
    rig.deliver(1)
    assert rig.engine._waiting_bytes == 0, "it would hurry all others for ever"
    rig.now_ms += 2_000
    rig.engine.poll(0)
    assert rig.health.view().shards == {}
