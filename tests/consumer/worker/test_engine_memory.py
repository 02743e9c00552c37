"""What the engine does when memory runs short: smaller summaries, then a pause in which everything is committed."""

import threading
from itertools import count
from pathlib import Path

import pytest

from consumer.worker import memory_watch
from consumer.worker.engine import Engine
from consumer.worker.lane import Lane
from sa_stream.commits.operations import Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.health.notebook import Health
from sa_stream.partitions import Batch, Shard_Info
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, Moment, Timing
from tests.log_lines import line_of
from tests.windows.partition_feed import now_at

LIMIT_MB = 1_000
NOW_MS = 1_771_252_200_000


class Slow_Store(State_Store):
    """Takes what is put only after it was told to go on."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def put(self, key: str, data: bytes) -> None:
        self.asked.set()
        self.goes_on.wait(60)
        super().put(key, data)


class Rig:
    """An engine with one partition, a clock, and a reading of memory that the test turns."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resident_mb = 100
        self.now_ms = NOW_MS
        self.taken = 0
        self.held: list[int] = []  # windows in memory whenever a batch was taken
        self.checkpoints: list[str] = []
        self._lineages = count()
        monkeypatch.setattr(memory_watch, "resident_bytes", lambda: self.resident_mb << 20)
        self.health = Health(Moment(NOW_MS))
        self.engine = Engine(self.health, lambda: now_at(self.now_ms), memory_limit_mb=LIMIT_MB)
        self.store = State_Store(f"file://{folder}")
        self.lane = self.engine.open("p", self._recover(), lambda consumer: None, self._took, lambda name, error: None)
        self.turn(lambda: self.lane.consumer is not None)

    def _took(self) -> None:
        self.taken += 1
        self.held.append(self.in_memory())

    def in_memory(self) -> int:
        """Windows of all partitions."""
        return sum(len(lane.consumer.state.windows) for lane in self.engine.lanes.values() if lane.consumer is not None)

    def _recover(self, partition: str = "p", store: State_Store | None = None) -> Steps[Partition_Consumer]:
        store = store or self.store
        shared = Shared(
            store,
            Timing(),
            Start(BEGINNING_MS, NOW_MS),
            Intake(resolve_field_lists("canonical", "")),
            Secrets(store, lambda: b"12345678"),
            lambda: f"lineage-{next(self._lineages)}",
        )
        state = yield from recover_steps(shared, Shard_Info(partition, (), closed=False), None, NOW_MS)
        return Partition_Consumer(shared, state, self.checkpoints.append, now_at(NOW_MS))

    def turn(self, done: object = None, times: int = 400) -> None:
        """Let the engine work until a condition holds."""
        for _ in range(times):
            self.engine.poll(0.005)
            self.now_ms += 20
            if callable(done) and done():
                return
        assert not callable(done), "the engine did not get there"

    def deliver(self, first: int, count: int, lane: Lane | None = None) -> None:
        numbers = [str(n) for n in range(first, first + count)]
        values = {"timestamp": f"{NOW_MS // 1000}", "sc-status": "200"}
        payloads = [line_of({**values, "cs-uri-stem": f"/{number}" + "x" * 1_000}) for number in numbers]
        self.engine.take(lane or self.lane, Batch(payloads, [NOW_MS] * count, numbers, 5))

    @property
    def windows(self) -> dict[int, object]:
        assert self.lane.consumer is not None
        return dict(self.lane.consumer.state.windows)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def test_near_the_limit_the_largest_window_shrinks_and_reading_goes_on(rig: Rig) -> None:
    rig.deliver(1, 12_000)
    rig.turn(lambda: rig.windows)
    rig.resident_mb = 850
    consumer = rig.lane.consumer
    assert consumer is not None
    size_bytes = consumer.state.windows[min(rig.windows)].size_bytes
    rig.deliver(20_001, 10)
    rig.turn(lambda: consumer.state.counters.get("shrunk_windows"))
    assert consumer.state.windows[min(rig.windows)].size_bytes < size_bytes / 2
    assert rig.taken == 2
    assert rig.health.view().memory is None


def test_at_the_limit_nothing_is_read_everything_is_committed_and_leaves_memory(rig: Rig) -> None:
    rig.deliver(1, 50)
    rig.turn(lambda: rig.windows)
    rig.resident_mb = 950
    rig.turn(lambda: rig.health.view().memory)
    rig.deliver(51, 50)
    rig.turn(lambda: rig.checkpoints == ["50"])
    assert rig.taken == 1, "the batch waits, and so does the source"
    assert "reading pauses (SGRAPH_SEND__SA_MEMORY_LIMIT_MB)" in (rig.health.view().memory or "")

    rig.resident_mb = 300
    rig.turn(lambda: rig.health.view().memory is None)
    rig.turn(lambda: rig.taken == 2)
    rig.engine.close(rig.lane)
    rig.turn(lambda: rig.checkpoints[-1] == "100")


def test_a_pause_with_nothing_left_to_let_go_takes_one_batch_at_a_time_and_commits_it(rig: Rig) -> None:
    """What fills memory then is what was read ahead: waiting would never end it."""
    other = rig.engine.open(
        "q", rig._recover("q"), lambda consumer: None, lambda: rig.held.append(rig.in_memory()), lambda *how: None
    )
    rig.turn(lambda: other.consumer is not None)
    rig.resident_mb = 950
    rig.turn(lambda: rig.health.view().memory)
    for first in (1, 51, 101):
        rig.deliver(first, 50)
        rig.deliver(first, 50, other)
    rig.turn(lambda: len(rig.checkpoints) == 6, times=1_000)
    assert sorted(rig.checkpoints) == sorted(["50", "100", "150"] * 2)
    assert rig.held == [0] * 6, "nothing else was in memory when a batch was taken"
    assert rig.health.view().memory is not None, "it is as short as before"


def test_shards_at_the_tip_do_not_keep_the_others_from_being_read_in_a_pause(rig: Rig) -> None:
    """They have the longest queues, as their readers soon bring the next empty answers; those need no memory."""
    tip = rig.engine.open("q", rig._recover("q"), lambda consumer: None, lambda: None, lambda *how: None)
    rig.turn(lambda: tip.consumer is not None)
    rig.resident_mb = 950
    rig.turn(lambda: rig.health.view().memory)
    rig.deliver(1, 50)
    rig.deliver(51, 50)

    def done() -> bool:
        while len(tip.inbox) < 3:
            rig.engine.take(tip, Batch([], [], [], 0))
            if tip.steps is None and not tip.inbox:
                break
        return bool(rig.checkpoints) and rig.checkpoints[-1] == "100"

    rig.turn(done, times=1_000)
    assert rig.held == [0, 0]


def test_a_slow_commit_of_a_shard_without_windows_does_not_keep_a_pause_from_ending(rig: Rig) -> None:
    """Of many shards, one is always under way to say that it has read nothing."""
    store = Slow_Store(rig.store.url)
    tip = rig.engine.open("q", rig._recover("q", store), lambda consumer: None, lambda: None, lambda *how: None)
    rig.turn(lambda: tip.consumer is not None)
    rig.engine.take(tip, Batch([], [], [], 0, rig.now_ms))
    rig.now_ms += 61_000  # the commit interval
    try:
        rig.turn(store.asked.is_set)
        rig.resident_mb = 950
        rig.turn(lambda: rig.health.view().memory)
        rig.deliver(1, 50)
        rig.deliver(51, 50)
        rig.turn(lambda: rig.checkpoints and rig.checkpoints[-1] == "100", times=1_000)
        assert rig.held == [0, 0]
        assert tip.steps is not None
    finally:
        store.goes_on.set()


@pytest.mark.parametrize(
    ("shards", "limit_mb", "read_ahead_rate", "needed"),
    [
        (64, 921, 0, "1382 MiB"),
        (64, 1_500, 0, ""),
        (64, 1_500, 0.2, "1936 MiB"),
        (64, 2_000, 0.2, ""),
        (4, 921, 0, ""),
        (4, 921, 0.2, ""),
    ],
)
def test_a_limit_that_cannot_work_with_so_many_shards_is_said_at_the_start(
    shards: int, limit_mb: int, read_ahead_rate: float, needed: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(Health(Moment(0)), memory_limit_mb=limit_mb)
    engine.memory.check(shards, read_ahead_rate)
    engine.shutdown()
    told = [entry.getMessage() for entry in caplog.records if getattr(entry, "event", "") == "memory_small"]
    assert bool(told) == bool(needed)
    for figure in (f"{limit_mb} MiB", f"{shards} shards", needed, "SGRAPH_SEND__SA_MEMORY_LIMIT_MB") if needed else ():
        assert figure in told[0]
