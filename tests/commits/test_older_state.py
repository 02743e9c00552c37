"""What format version 2 stored is gone on from: `tests/cases/state_of_version_2` is a state directory that it wrote, of
a shard with three records in a half hour that was final and one in the next."""

import shutil
from pathlib import Path
from typing import Any

from sa_stream.commits.keys import parse_progress_key, partial_key
from sa_stream.commits.operations import drive
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.partitions import Shard_Info
from sa_stream.rollups.reconciler import Reconciler, Reconciler_Settings
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import WINDOW_MS
from sa_stream.windows.window import Window
from tests.rollups.rollup_stream import one_by_one
from tests.windows.partition_feed import PARTITION, Worker, now_at, record

STATE = Path(__file__).parents[1] / "cases" / "state_of_version_2"
NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z
FIRST, SECOND, THIRD = NOON_MS, NOON_MS + WINDOW_MS, NOON_MS + 2 * WINDOW_MS
LAST_READ = "4"


def store_of_version_2(folder: Path) -> State_Store:
    shutil.copytree(STATE, folder, dirs_exist_ok=True)
    return State_Store(f"file://{folder}")


def window_at(worker: Worker, start_ms: int) -> Window:
    name = worker.state.partials[start_ms]
    return Window.from_bytes(worker.store.get(partial_key(start_ms, PARTITION, name)) or b"")


def entries_of(store: State_Store, worker: Worker, now_ms: int) -> dict[str, dict[str, Any]]:
    cache = Memory_Cache()
    shards = [Shard_Info(PARTITION, (), closed=False)]
    settings = Reconciler_Settings(refresh_ms={})
    reconciler = Reconciler(store, cache, lambda: shards, worker.state.timing, settings)
    for seconds in range(4):
        drive(reconciler.pass_steps(now_at(now_ms + seconds * 1000)), one_by_one(lambda call: call()))
    return cache.entries(NS_SA_AGGREGATE)


def test_a_partition_goes_on_where_version_2_was_in_a_lineage_of_its_own(tmp_path: Path) -> None:
    worker = Worker(store_of_version_2(tmp_path), LAST_READ, THIRD, lineage="line-b")  # type: ignore[arg-type]
    assert worker.state.number == LAST_READ
    assert worker.state.lineage != "line-a.7d1ab54f"
    assert not worker.state.losses
    assert window_at(worker, FIRST).total_requests == 3


def test_what_version_2_counted_stays_and_only_its_maximum_is_unknown(tmp_path: Path) -> None:
    store, now_ms = store_of_version_2(tmp_path), THIRD + 125_000
    worker = Worker(store, LAST_READ, now_ms, lineage="line-b")  # type: ignore[arg-type]
    late = record(5, FIRST + 1, now_ms, time_taken="2.0", cs_uri_stem="/a%20b")
    worker.read([record(6, THIRD + 1, now_ms, time_taken="3.0"), late], now_ms)
    worker.flush(now_ms)
    amended, fresh = window_at(worker, FIRST), window_at(worker, THIRD)
    assert (amended.total_requests, amended.time_taken.count, amended.time_taken.sum_us) == (4, 4, 4_250_000)
    assert (amended.time_taken.max_us, fresh.time_taken.max_us) == (None, 3_000_000)

    entries = entries_of(store, worker, now_ms)
    half = entries["30min/2026-02-16-1200"]
    assert (half["status"], half["revision"], half["total_requests"]) == ("final", 1, 4)
    assert half["percentiles"]["time_taken"]["count"] == 4
    assert half["percentiles"]["time_taken"]["max"] is None
    assert abs(half["percentiles"]["time_taken"]["p99"] - 2.0) <= 0.02
    assert entries["30min/2026-02-16-1300"]["percentiles"]["time_taken"]["max"] == 3.0
    assert entries["hourly/2026-02-16-12"]["percentiles"]["time_taken"]["max"] is None
    assert entries["daily/2026-02-16"]["total_requests"] == 6
    assert entries["daily/2026-02-16"]["percentiles"]["time_taken"]["max"] is None


def test_a_half_hour_that_was_final_is_not_published_again_for_its_format(tmp_path: Path) -> None:
    store, now_ms = store_of_version_2(tmp_path), THIRD + 125_000
    worker = Worker(store, LAST_READ, now_ms, lineage="line-b")  # type: ignore[arg-type]
    half = entries_of(store, worker, now_ms)["30min/2026-02-16-1200"]
    assert (half["status"], half["revision"], half["total_requests"]) == ("final", 0, 3)


def test_the_snapshot_that_version_2_put_under_a_key_of_its_own_goes_when_two_commits_have_gone_past_it(
    tmp_path: Path,
) -> None:
    store = store_of_version_2(tmp_path)
    worker = Worker(store, LAST_READ, THIRD, lineage="line-b")  # type: ignore[arg-type]
    for number in (5, 6, 7):
        worker.read([record(number, THIRD)], THIRD)
        worker.flush(THIRD)
    assert store.list("snapshots/") == []
    assert {parse_progress_key(item.key)[1] for item in store.list("progress/")} == {"0016", "0017"}
    again = Worker(store, "7", THIRD, lineage="line-c")  # type: ignore[arg-type]
    assert again.state.to_bytes() == worker.state.to_bytes()


def test_a_snapshot_of_version_2_that_is_lost_is_a_loss(tmp_path: Path) -> None:
    store = store_of_version_2(tmp_path)
    store.delete([item.key for item in store.list("snapshots/")])
    worker = Worker(store, LAST_READ, THIRD, lineage="line-b")  # type: ignore[arg-type]
    assert (worker.state.lineage, worker.state.since_ms) == ("line-b", THIRD)
