"""Whatever a shard loses is an event of its own and stands in health: nobody may find it out by chance."""

import logging
import time
from collections.abc import Callable

import pytest

from consumer.worker.engine import Engine
from sa_stream.commits.operations import Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.health.notebook import Health
from sa_stream.health.readiness import notes
from sa_stream.partitions import Shard_Info
from sa_stream.records.intake import Intake
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, Moment, Now, Timing, moment
from tests.windows.partition_feed import LISTS, Dict_Store, Record, Worker, batch_of, record, snapshot_keys

NOON_MS = 1_771_243_200_000
START = Start(BEGINNING_MS, NOON_MS - HOUR_MS)


class Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str, str]] = []

    def emit(self, entry: logging.LogRecord) -> None:
        fields = getattr(entry, "fields", {})
        self.events.append((getattr(entry, "event", ""), entry.levelname, str(fields.get("kind", ""))))


@pytest.fixture
def told() -> Told:
    handler = Told()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler  # type: ignore[misc]
    root.removeHandler(handler)


def read_again(store: Dict_Store, now_ms: int, records: list[Record]) -> Health:
    """An engine that goes on after a restart, reads, commits and leaves."""
    health, closed = Health(moment()), []
    engine = Engine(health, lambda: Now(now_ms, Moment(moment().ms)))

    def recover() -> Steps[Partition_Consumer]:
        lineages = iter(("line-b", "line-c"))
        secrets = Secrets(store, lambda: b"another ")
        shared = Shared(store, Timing(), START, Intake(LISTS), secrets, lambda: next(lineages))
        state = yield from recover_steps(shared, Shard_Info("shard-0", (), closed=False), "1", now_ms)
        return Partition_Consumer(shared, state, lambda number: None, Now(now_ms, moment()))

    lane = engine.open("shard-0", recover(), lambda c: None, lambda: None, lambda name, error: closed.append(error))
    deadline_s = time.monotonic() + 20

    def poll(until: Callable[[], bool]) -> None:
        while not until():
            assert time.monotonic() < deadline_s
            engine.poll(0.01)

    poll(lambda: lane.consumer is not None)
    engine.take(lane, batch_of(records))
    engine.close(lane)
    poll(lambda: bool(closed))
    assert closed == [None]
    engine.shutdown()
    return health


def lose_nothing(store: Dict_Store) -> None: ...


def lose_snapshots(store: Dict_Store) -> None:
    store.delete(snapshot_keys(store))


def lose_partials(store: Dict_Store) -> None:
    store.delete(store.keys("partials/"))


def tear_secrets(store: Dict_Store) -> None:
    store.objects.update(dict.fromkeys(store.keys("secrets/"), b""))


@pytest.mark.parametrize(
    ("kind", "lose", "later_ms"),
    [
        ("retention", lose_nothing, DAY_MS + HOUR_MS),
        ("snapshot", lose_snapshots, MINUTE_MS),
        ("partial", lose_partials, MINUTE_MS),
        ("secret", tear_secrets, MINUTE_MS),
    ],
)
def test_a_loss_is_an_error_in_the_log_and_a_note_in_health(
    kind: str, lose: Callable[[Dict_Store], None], later_ms: int, told: Told
) -> None:
    worker = Worker(None, None, NOON_MS, Timing(), start=START)
    worker.read([record(1, NOON_MS, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    assert isinstance(worker.store, Dict_Store)
    lose(worker.store)
    now_ms = NOON_MS + later_ms
    health = read_again(worker.store, now_ms, [record(2, NOON_MS + 1_000, now_ms)])
    assert ("loss", "ERROR", kind) in told.events
    assert any("shard-0 has lost something" in note for note in notes(health.view(), moment()))


def test_nothing_is_told_where_nothing_was_lost(told: Told) -> None:
    worker = Worker(None, None, NOON_MS, Timing(), start=START)
    worker.read([record(1, NOON_MS, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    assert isinstance(worker.store, Dict_Store)
    read_again(worker.store, NOON_MS + MINUTE_MS, [record(2, NOON_MS + 1_000)])
    assert "loss" not in [event for event, _, _ in told.events]
