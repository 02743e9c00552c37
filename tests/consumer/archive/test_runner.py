"""The archive as the source: what is final, what lags, what comes later, and what a restart reads again."""

import time
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import consumer.worker.repairer as repairer_module
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.commits.decisions import claim_runner
from sa_stream.commits.keys import REPAIRS_PREFIX, window_label
from sa_stream.errors import Config_Error
from sa_stream.health.readiness import detail, readiness
from sa_stream.rollups.periods import HALF_HOUR, HOURLY, cache_key
from sa_stream.services.archive_windows import Archive_Windows
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS, right_now
from tests.consumer.local_run import Local_Run
from tests.firehose import delivered, plain
from tests.log_lines import line_of, ordinary_lines
from tests.oracle import compare_all, recount

PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
HOURS = 4


class Place:
    """An archive in a folder, with the traffic of the last hours up to the last window that has ended."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "archive"
        self.end_ms = (right_now().wall_ms - 2 * MINUTE_MS) // WINDOW_MS * WINDOW_MS
        self.begin_ms = self.end_ms - HOURS * HOUR_MS
        self.lines = ordinary_lines(1, 3_000, self.begin_ms / 1000, HOURS, duplicate_rate=0.02)
        self.objects = delivered(self.lines, PLACES, twice=0.05)
        self.put(self.objects)

    def put(self, objects: dict[str, bytes]) -> None:
        for key, content in objects.items():
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def run(self, folder: Path, **settings: str) -> Local_Run:
        of_archive = {"SOURCE": "s3", "LOGS_BUCKET": f"file://{self.root}", "LOGS_PREFIX": "logs", "S3_SETTLE_S": "60"}
        return Local_Run(folder, **(of_archive | settings))

    def expected(self, *lines: bytes) -> dict[str, dict[str, Any]]:
        """What the recount says of all files, and these lines."""
        return recount([*map(plain, self.objects.values()), *(line + b"\n" for line in lines)]).entries

    @property
    def windows(self) -> range:
        return range(self.begin_ms, self.end_ms, WINDOW_MS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds and looks come at once."""
    monkeypatch.setattr(repairer_module, "ROUND_S", 0.1)
    monkeypatch.setattr(repairer_module, "LOOK_MS", 200)
    monkeypatch.setattr(repairer_module, "OLD_LOOK_MS", 200)


def all_final(run: Local_Run, place: Place) -> bool:
    entries = run.entries
    return all(entries.get(cache_key(HALF_HOUR, each), {}).get("status") == "final" for each in place.windows)


def equal(run: Local_Run, key: str, expected: dict[str, dict[str, Any]]) -> bool:
    return key in run.entries and not compare_all([run.entries[key]], {key: expected[key]})


def test_every_window_becomes_final_from_its_files_and_equals_the_recount(place: Place, tmp_path: Path):
    run = place.run(tmp_path)
    run.start()
    run.until("every window to be final", lambda: all_final(run, place))
    expected = place.expected()
    halves = {key: entry for key, entry in run.entries.items() if key.startswith(HALF_HOUR)}
    counted = {key: entry for key, entry in halves.items() if entry["total_requests"]}
    assert not compare_all(counted.values(), {key: entry for key, entry in expected.items() if key in halves})
    assert {entry["provenance"] for entry in halves.values()} == {"s3"}
    hours = range(-(-place.begin_ms // HOUR_MS) * HOUR_MS, place.end_ms // HOUR_MS * HOUR_MS, HOUR_MS)
    keys = [cache_key(HOURLY, each) for each in hours]
    run.until("the hours", lambda: run.are_final(keys))
    entries = run.entries
    assert not compare_all([entries[key] for key in keys], {key: expected[key] for key in keys})
    run.stop()


def test_health_has_the_lag_of_the_newest_window_and_the_archive_as_a_store(place: Place, tmp_path: Path):
    run = place.run(tmp_path)
    run.start()
    run.until("every window to be final", lambda: all_final(run, place))

    def told() -> bool:
        now = right_now()
        shard = detail(run.health.view(), now)["shards"]["s3"]
        newest_end_ms = (now.wall_ms - MINUTE_MS) // WINDOW_MS * WINDOW_MS  # it settles within a minute
        lag_ms = now.wall_ms - newest_end_ms
        return shard["watermark"] is not None and abs(shard["lag_ms"] - lag_ms) < 5_000

    run.until("health to tell", told)
    now = right_now()
    assert not readiness(run.health.view(), now.moment)
    assert detail(run.health.view(), now)["stores"]["S3"]["ok"]
    run.stop()


def test_a_file_that_comes_later_makes_a_revision(place: Place, tmp_path: Path):
    run = place.run(tmp_path)
    run.start()
    run.until("every window to be final", lambda: all_final(run, place))
    first = cache_key(HALF_HOUR, place.begin_ms)
    before = run.entries[first]
    at_ms = place.begin_ms + 10 * MINUTE_MS
    late = line_of({"timestamp": f"{at_ms / 1000:.3f}", "x-edge-request-id": "late", "sc-status": "200"})
    place.put(delivered(late + b"\n", PLACES, seed=7))
    run.until("the revision", lambda: run.entries[first]["total_requests"] == before["total_requests"] + 1)
    assert run.entries[first]["revision"] > before["revision"]
    assert run.entries[first]["status"] == "final"
    run.stop()


def test_a_record_that_arrives_long_after_its_event_is_counted_in_its_window(place: Place, tmp_path: Path):
    at_ms = place.begin_ms + 10 * MINUTE_MS
    late = line_of({"timestamp": f"{at_ms / 1000:.3f}", "x-edge-request-id": "late", "sc-status": "200"})
    neighbour_ms = place.begin_ms + 3 * HOUR_MS
    neighbour = line_of({"timestamp": f"{neighbour_ms / 1000:.3f}", "x-edge-request-id": "n", "sc-status": "200"})
    (name,) = delivered(neighbour + b"\n", PLACES, seed=9)
    place.put({name: neighbour + b"\n" + late + b"\n"})
    expected = place.expected(late, neighbour)
    first = cache_key(HALF_HOUR, place.begin_ms)
    for _ in range(2):  # also after a restart, which finds the file by what was kept of it
        run = place.run(tmp_path)
        run.start()
        run.until("the record", partial(equal, run, first, expected))
        run.stop()


def test_a_restart_computes_only_what_is_not_final(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = place.run(tmp_path)
    run.start()
    run.until("every window to be final", lambda: all_final(run, place))
    run.stop()
    computed: list[int] = []
    compute = Archive_Windows.compute

    def noted(self, window_ms, files, seed):
        computed.append(window_ms)
        return compute(self, window_ms, files, seed)

    monkeypatch.setattr(Archive_Windows, "compute", noted)
    lost = place.windows[2]
    (repair,) = run.state.list(f"{REPAIRS_PREFIX}{window_label(lost)}/")
    run.state.delete(repair.key)
    run.start()
    run.until("it to be computed", lambda: computed)
    time.sleep(0.5)
    assert set(computed) == {lost}
    run.stop()


def test_a_file_that_cannot_be_read_makes_the_window_partial_and_is_tried_again(place: Place, tmp_path: Path):
    name = next(key for key in sorted(place.objects) if place.objects[key].startswith(b"\x1f\x8b"))
    place.put({name: place.objects[name][:-20]})
    run = place.run(tmp_path)
    run.start()
    first = cache_key(HALF_HOUR, place.begin_ms)
    run.until("the window", lambda: first in run.entries)
    entry = run.entries[first]
    assert entry["status"] == "partial"
    assert [(each["reason"], each["file"].endswith(name)) for each in entry["missing_sources"]] == [
        ("file-unreadable", True)
    ]
    place.put({name: place.objects[name]})
    run.until("every window to be final", lambda: all_final(run, place))
    assert not compare_all([run.entries[first]], {first: place.expected()[first]})
    run.stop()


def test_an_archive_that_is_not_there_ends_the_start_with_its_name(tmp_path: Path):
    run = Local_Run(tmp_path, SOURCE="s3", LOGS_BUCKET=f"file://{tmp_path}/nothing", LOGS_PREFIX="logs")
    run.start()
    with pytest.raises(AssertionError, match="nothing"):
        run.until("it", lambda: False)


def test_the_state_of_a_stream_is_not_an_archives(place: Place, tmp_path: Path):
    run = place.run(tmp_path, APPLICATION="one")
    run.start()
    run.until("every window to be final", lambda: all_final(run, place))
    run.stop()
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_SOURCE=s3"):
        claim_runner(run.state, "local")
