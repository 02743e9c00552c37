"""Where the snapshot of a commit is: in its progress record, or an object of its own; and that nobody takes it away."""

import pytest

from sa_stream.commits import protocol
from sa_stream.commits.codec import decode_progress, snapshot_inside
from sa_stream.commits.keys import has_snapshot, parse_progress_key, snapshots_prefix
from sa_stream.commits.operations import drive
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.timing import MINUTE_MS
from sa_stream.windows.partition_state import Partition_State
from tests.windows.partition_feed import PARTITION, TIMING, Dict_Store, Stored, Worker, record, snapshot_keys

NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z


def working(*numbers: int, store: Dict_Store | None = None, checkpoint: str | None = None) -> Worker:
    """A worker that has committed these records one after the other."""
    worker = Worker(store, checkpoint, NOON_MS)
    for number in numbers:
        worker.read([record(number, NOON_MS)], NOON_MS)
        worker.flush(NOON_MS)
    return worker


def idle(worker: Worker, minutes: int) -> None:
    worker.tip(NOON_MS + minutes * MINUTE_MS)
    worker.flush(NOON_MS + minutes * MINUTE_MS)


@pytest.mark.parametrize("room", [0, -1])
def test_a_small_snapshot_is_in_the_progress_record_and_a_larger_one_is_an_object_of_its_own(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_bytes = len(working(1).state.to_bytes())
    monkeypatch.setattr(protocol, "SNAPSHOT_INSIDE_BYTES_MAX", size_bytes + room)
    worker = working(1)
    (key,) = worker.store.keys("progress/")
    assert has_snapshot(key) == (room == 0)
    assert worker.store.keys("snapshots/") == ([] if room == 0 else [f"snapshots/shard-0/0011/{worker.state.lineage}"])
    (held,) = snapshot_keys(worker.store)
    data = worker.store.objects[held]
    inside = snapshot_inside(data, held) if has_snapshot(held) else data
    assert Partition_State.from_bytes(inside, TIMING).to_bytes() == worker.state.to_bytes()


def test_a_record_says_the_same_to_publishers_with_a_snapshot_in_it_and_without() -> None:
    worker = working(1)
    (key,) = worker.store.keys("progress/")
    own = decode_progress(worker.store.objects[key], key)
    assert parse_progress_key(key) == (PARTITION, "0011", own.watermark_ms, own.lineage)
    assert drive(Progress_Reader(worker.store).steps()) == {PARTITION: own}  # type: ignore[arg-type]


def test_idle_commits_leave_the_record_that_holds_the_snapshot_until_the_next_is_confirmed() -> None:
    worker = working(1)
    (held,) = snapshot_keys(worker.store)
    for minutes in (5, 10, 15):
        idle(worker, minutes)
        assert snapshot_keys(worker.store) == [held]
    assert len(worker.store.keys("progress/")) == 3  # it, the idle one, and the idle one before
    for number in (2, 3):
        worker.read([record(number, NOON_MS)], NOON_MS + 16 * MINUTE_MS)
        worker.flush(NOON_MS + 16 * MINUTE_MS)
    assert [key.split("/")[2] for key in worker.store.keys("progress/")] == ["0012", "0013"]
    assert held not in worker.store.objects


def test_an_idle_commit_after_a_recovery_puts_nothing_over_the_snapshot() -> None:
    worker = working(1)
    again = Worker(worker.store, "1", NOON_MS)
    again.flush(NOON_MS)
    assert all(len(contents) == 1 for contents in worker.store.contents.values())
    assert Worker(worker.store, "1", NOON_MS).state.to_bytes() == worker.state.to_bytes()


def test_a_worker_that_lost_its_lease_takes_nothing_from_the_one_who_has_it() -> None:
    """Both come to the same record and watermarks; idle commits are not fenced, neither what they put nor delete."""
    zombie = working(1)
    idle(zombie, 5)
    owner = Worker(zombie.store, "1", NOON_MS)
    owner.tip(NOON_MS + 10 * MINUTE_MS)
    owner.read([record(2, NOON_MS)], NOON_MS)
    owner.flush(NOON_MS + 10 * MINUTE_MS)
    ours = snapshot_keys(owner.store)[-1]
    zombie.read([record(2, NOON_MS)], NOON_MS)
    zombie._take_checkpoint = lambda number: None  # type: ignore[method-assign]
    for minutes in (10, 15, 20, 25):
        idle(zombie, minutes)
        assert ours in owner.store.objects
    again = Worker(owner.store, "2", NOON_MS)
    assert (again.state.number, again.state.lineage) == ("2", owner.state.lineage)


def test_the_snapshot_of_a_shards_end_is_an_object_of_its_own() -> None:
    """So that its last progress, which its windows wait for, can be put again when it is lost."""
    worker = working(1)
    worker.end(NOON_MS)
    assert worker.store.keys("snapshots/") == [f"snapshots/shard-0/END/{worker.state.lineage}"]
    (lost,) = worker.store.keys("progress/")
    before = worker.store.objects.pop(lost)
    assert drive(protocol.restore_end_steps(worker.store, PARTITION, TIMING))  # type: ignore[arg-type]
    assert worker.store.objects[lost] == before


@pytest.mark.parametrize("grows", [False, True])
def test_a_snapshot_that_moves_from_folder_to_folder_while_they_are_listed_is_not_lost(
    grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [1 << 20, 0] if grows else [0, 1 << 20]
    monkeypatch.setattr(protocol, "SNAPSHOT_INSIDE_BYTES_MAX", sizes[0])
    owner = working(1)

    class Moving(Dict_Store):
        def list(self, prefix: str) -> list[Stored]:
            found = [Stored(key) for key in self.keys(prefix)]
            if prefix == snapshots_prefix(PARTITION) and owner.checkpoint == "1":
                monkeypatch.setattr(protocol, "SNAPSHOT_INSIDE_BYTES_MAX", sizes[1])
                for number in (2, 3):
                    owner.read([record(number, NOON_MS)], NOON_MS)
                    owner.flush(NOON_MS)
            return found

    late = Worker(Moving(owner.store.objects), "1", NOON_MS, lineage="other")
    assert (late.state.number, late.state.lineage) == ("3", owner.state.lineage)
