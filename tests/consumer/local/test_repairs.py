"""A stream that fails beside an archive that does not: what the stream lost is computed from the files, and nothing is
counted twice. A state store that is emptied makes nothing wrong."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import consumer.worker.application as application_module
import consumer.worker.repairer as repairer_module
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.embedded.memory_kinesis import THROTTLED, Memory_Kinesis
from sa_stream.rollups.periods import HALF_HOUR, HOURLY, cache_key
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS, wall_clock_ms
from tests.consumer.local.conftest import Clock
from tests.consumer.local_run import STREAM, Local_Run
from tests.firehose import arrivals, delivered, plain
from tests.log_lines import ordinary_lines
from tests.oracle import compare_all, recount

PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
SHARD = "shardId-000000000000"
ARRIVAL_MS_MAX = 20_000  # after the event


class World:
    """A stream and an archive that get the same records, window by window."""

    def __init__(self, folder: Path, kinesis: Memory_Kinesis, clock: Clock) -> None:
        self.kinesis, self.clock, self.root = kinesis, clock, folder / "archive"
        self.begin_ms = clock.ms = wall_clock_ms() // HOUR_MS * HOUR_MS - 40 * HOUR_MS
        self.files: dict[str, bytes] = {}
        self.last: dict[str, tuple[int, str]] = {}  # entry that was final -> its requests, its provenance
        (self.root / "logs").mkdir(parents=True)
        kinesis.create_stream(STREAM)
        # more than ARRIVAL_MS_MAX: no record is late, whatever hour it is and the traffic is made of
        self.run = Local_Run(folder, LOGS_BUCKET=f"file://{self.root}", LOGS_PREFIX="logs", OUT_OF_ORDERNESS_S="30")
        self.run.config.repair_after_s = 3  # of our own time: the least that the setting takes is a minute

    def traffic(self, hours: int) -> None:
        """So many hours pass with their records."""
        assert self.clock.ms is not None
        from_ms = self.clock.ms
        lines = ordinary_lines(from_ms // HOUR_MS, 120 * hours, from_ms / 1000, hours)
        for arrival_ms, line in arrivals(lines.splitlines(), Random(1), ARRIVAL_MS_MAX):
            self.kinesis.put_to_shard(STREAM, SHARD, line + b"\n", arrival_ms)
        objects = delivered(lines, PLACES, seed=from_ms // HOUR_MS)
        self.files |= objects
        for key, content in objects.items():
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.clock.ms += hours * HOUR_MS

    def begin_outage(self) -> None:
        """Two hours are read, and then nothing more."""
        self.traffic(2)
        self.run.start()
        self.run.until("the first records to be counted", lambda: self.run.counted() >= 200)
        self.kinesis.fault = lambda operation, stream, shard: THROTTLED if operation == "GetRecords" else None

    def windows(self) -> range:
        """Those that ended a few minutes ago or earlier."""
        assert self.clock.ms is not None
        return range(self.begin_ms, (self.clock.ms - 3 * MINUTE_MS) // WINDOW_MS * WINDOW_MS, WINDOW_MS)

    def all_final(self) -> bool:
        return not self.not_final()

    def not_final(self) -> dict[str, Any]:
        found = self.halves()
        return {
            cache_key(HALF_HOUR, each): found.get(each, {}).get("missing_sources")
            for each in self.windows()
            if found.get(each, {}).get("status") != "final"
        }

    def halves(self) -> dict[int, dict[str, Any]]:
        entries = self.run.entries
        return {each: entries[key] for each in self.windows() if (key := cache_key(HALF_HOUR, each)) in entries}

    def assert_equal(self) -> None:
        """Every entry is the recount's, and none that was final says less now."""
        expected = recount(map(plain, self.files.values())).entries
        halves = self.halves()
        expected = {cache_key(HALF_HOUR, each): expected[cache_key(HALF_HOUR, each)] for each in halves}
        found = compare_all(halves.values(), expected)
        assert not [each for each in found if "invalid_records" not in each]  # of files nobody knows whose they are

    def provenances(self) -> list[str]:
        return [self.halves()[each]["provenance"] for each in self.windows()]


@pytest.fixture
def world(tmp_path: Path, kinesis: Memory_Kinesis, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in {"ROUND_S": 0.1, "LOOK_MS": 500, "OLD_LOOK_MS": 500}.items():
        monkeypatch.setattr(repairer_module, name, value)
    made = World(tmp_path, kinesis, clock)
    yield made
    made.run.stop()


def test_an_outage_longer_than_the_retention_is_repaired_and_the_stream_goes_on(
    world: World, kinesis: Memory_Kinesis, clock: Clock
) -> None:
    world.begin_outage()
    world.traffic(4)
    world.run.until("windows of the outage to be repaired", world.all_final, 40)
    world.assert_equal()
    world.traffic(25)
    world.run.until("every window of the outage to be repaired", world.all_final, 60)
    world.assert_equal()
    kinesis.fault = None
    world.traffic(2)
    world.run.until("everything to be final", world.all_final, 60)
    world.assert_equal()
    found = world.provenances()
    assert found[:2] == ["stream", "stream"], "what the stream had made final stays"
    assert found.count("s3") >= 2 * 25
    hours = range(world.begin_ms, world.windows().stop // HOUR_MS * HOUR_MS, HOUR_MS)
    keys = [cache_key(HOURLY, each) for each in hours]
    run = world.run
    run.until("the hours", lambda: run.are_final(keys))
    entries = run.entries
    assert sum(entries[key]["total_requests"] for key in keys) == sum(
        world.halves()[each]["total_requests"] for each in range(hours.start, hours.stop, WINDOW_MS)
    )


def test_when_the_stream_comes_back_a_repaired_window_stays_and_nothing_counts_twice(
    world: World, kinesis: Memory_Kinesis, clock: Clock
) -> None:
    world.begin_outage()
    world.traffic(3)
    world.run.until("windows of the outage to be repaired", world.all_final, 40)
    kinesis.fault = None  # well within the retention: all its records come now
    world.run.until("all of them to be counted", lambda: world.run.counted() >= 120 * 5 - 20)
    world.traffic(2)
    world.run.until("everything to be final", world.all_final, 40)
    world.assert_equal()
    found = world.provenances()
    assert found.count("s3") >= 4
    assert len([pair for pair in pairwise(found) if pair[0] != pair[1]]) <= 4, "stretches, not a mixture"


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_an_emptied_state_store_makes_no_wrong_final_and_is_repaired(
    world: World, kinesis: Memory_Kinesis, clock: Clock, running: bool
) -> None:
    world.traffic(3)
    world.run.start()
    world.run.until("windows to be final", world.all_final, 40)
    world.traffic(1)
    world.run.until("records of the next to be counted", lambda: world.run.counted() >= 4 * 100)
    if not running:
        world.run.stop()
    world.run.state.delete([item.key for item in world.run.state.list("") if not item.key.startswith("locks/")])
    if not running:
        world.run.start()
    world.traffic(2)
    world.run.until("everything to be final", world.all_final, 60)
    world.assert_equal()


def test_a_restart_while_the_stream_does_not_answer_repairs_its_windows(
    world: World, kinesis: Memory_Kinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application_module, "PATIENCE_S", 0.0)
    world.traffic(2)
    world.run.start()
    world.run.until("windows to be final", world.all_final, 40)
    world.run.stop()
    kinesis.fault = lambda operation, stream, shard: None if operation == "PutRecord" else THROTTLED
    world.traffic(2)
    world.run.start()
    world.run.until("windows of the outage to be repaired", world.all_final, 40)
    world.assert_equal()
    kinesis.fault = None
    world.traffic(1)
    world.run.until("everything to be final", world.all_final, 40)
    world.assert_equal()
