"""The steps: equal to the recount in whatever order and however often they run, and never less than before."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sa_stream.errors import Config_Error, SA_Stream_Error, Source_Error, Store_Unavailable
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS
from tests.firehose import delivered
from tests.log_lines import line_of
from tests.oracle import compare_all
from tests.services.place import BEGIN_MS, DAY_KEY, HALF_KEY, HOUR_KEY, NOW_MS, PLACES, Place

STEPS: dict[str, Callable[[Place], Any]] = {
    "ingest": lambda place: place.pipeline().ingestion.execute(now_ms=NOW_MS),
    "consolidate": lambda place: place.pipeline().consolidation.execute(HALF_KEY, NOW_MS),
    "half hour": lambda place: place.aggregate("30min", HALF_KEY),
    "hour": lambda place: place.aggregate("hourly", HOUR_KEY),
    "hour before": lambda place: place.aggregate("hourly", "2026-02-16-13"),
    "day": lambda place: place.aggregate("daily", DAY_KEY),
}
HALF_MS = BEGIN_MS + 3 * WINDOW_MS


def run_all(place: Place) -> None:
    for name in steps_of(place):
        STEPS[name](place)


def steps_of(place: Place) -> list[str]:
    return list(STEPS)[: -1 if place.state_url else None]  # a day of 48 half hours takes its time there


@pytest.fixture(params=["cache alone", "state store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(state_url="" if request.param == "cache alone" else f"file://{tmp_path}/state")


@pytest.fixture
def place_with_service(place: Place) -> Place:
    return Place(state_url=place.state_url, service=True)


def without_times(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, "computed_at": "", "summary": "", "sources": ""} for entry in entries]


def late_line(at_ms: int, request_id: str) -> bytes:
    values = {"timestamp": f"{at_ms / 1000:.3f}", "x-edge-request-id": request_id, "sc-status": "200"}
    return line_of(values) + b"\n"


def test_a_day_is_final_and_equal_to_the_recount_with_all_that_it_is_made_of(place_with_service: Place):
    place = place_with_service
    day = place.aggregate("daily", DAY_KEY)
    assert day["status"] == "final"
    assert bool(day["summary"]) == bool(place.state_url)
    assert not compare_all(place.entries(), place.expected())
    assert {entry["status"] for entry in place.entries()} == {"final"}
    assert {entry["provenance"] for entry in place.entries()} == {"s3"}


@pytest.mark.parametrize("seed", range(2))
def test_steps_run_twice_and_in_any_order_give_the_same(place: Place, seed: int):
    reference = Place(state_url=place.state_url and f"{place.state_url}-2")
    run_all(reference)
    order = [*steps_of(place), *steps_of(place)]
    random.Random(seed).shuffle(order)
    for name in order:
        STEPS[name](place)
    assert without_times(place.entries()) == without_times(reference.entries())
    assert place.consolidated() == reference.consolidated()


def test_a_step_that_runs_again_writes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch):
    run_all(place)
    written: list[str] = []
    store_entry = type(place.cache).store_entry
    monkeypatch.setattr(
        type(place.cache), "store_entry", lambda self, *put: (written.append(put[1]), store_entry(self, *put))
    )
    run_all(place)
    assert not written


def test_a_consolidation_is_the_half_hours_entry_in_short(place: Place):
    result = place.pipeline().consolidation.execute(HALF_KEY, NOW_MS).json()
    entry = place.shown(f"30min/{HALF_KEY}")
    assert entry is not None
    assert result == place.consolidated()
    assert (result["period_start"], result["cache_key"]) == ("2026-02-16T14:30:00Z", "2026-02-16/14-30/summary")
    for name in ("total_requests", "unique_paths", "status_breakdown", "top_paths", "cache_hit_rate"):
        assert result[name] == entry[name]


def test_without_a_time_the_newest_half_hour_is_meant_whose_files_had_time_to_land(place: Place):
    now_ms = HALF_MS + WINDOW_MS + 15 * MINUTE_MS
    pipeline = place.pipeline()
    assert pipeline.consolidation.execute(now_ms=now_ms).json()["period_start"] == "2026-02-16T14:30:00Z"
    assert pipeline.consolidation.execute(now_ms=now_ms - 1).json()["period_start"] == "2026-02-16T14:00:00Z"
    keys = [pipeline.aggregation.execute(period, now_ms=now_ms).json()["time_key"] for period in ("hourly", "daily")]
    assert keys == [HOUR_KEY, DAY_KEY]


def test_an_entry_is_partial_until_its_files_had_time_to_land(place: Place):
    landed_ms = HALF_MS + WINDOW_MS + 15 * MINUTE_MS
    for now_ms in (landed_ms - 20 * MINUTE_MS, landed_ms - 1):
        early = place.aggregate("30min", HALF_KEY, now_ms)
        assert early["status"] == "partial"
        assert early["missing_sources"][0]["reason"] in ("open", "no-files-yet")
    assert place.aggregate("hourly", HOUR_KEY, landed_ms - 1)["status"] == "partial"
    assert place.aggregate("30min", HALF_KEY, landed_ms)["status"] == "final"
    assert place.aggregate("hourly", HOUR_KEY, landed_ms)["status"] == "final"
    assert place.aggregate("hourly", HOUR_KEY, landed_ms)["revision"] == 0


def test_a_file_that_lands_later_makes_a_revision_up_to_the_day(place: Place):
    before = place.aggregate("daily", DAY_KEY)
    place.put(delivered(late_line(HALF_MS + 5 * MINUTE_MS, "late"), PLACES, seed=9))
    after = place.aggregate("daily", DAY_KEY)
    assert after["total_requests"] == before["total_requests"] + 1
    for key in (f"30min/{HALF_KEY}", f"hourly/{HOUR_KEY}", f"daily/{DAY_KEY}"):
        entry = place.shown(key)
        assert entry is not None
        assert (entry["status"], entry["revision"] >= 1) == ("final", True)
    other = place.shown("30min/2026-02-16-1330")
    assert other is not None
    assert other["revision"] == 0


def test_what_is_final_is_never_replaced_by_less(place: Place):
    run_all(place)
    entries, consolidated = place.entries(), place.consolidated()
    for key in list(place.store.keys):
        if key.rpartition("/")[0].endswith("/14"):
            place.store.delete(key)
    run_all(place)
    assert place.entries() == entries
    assert place.consolidated() == consolidated


def test_a_file_that_cannot_be_read_makes_the_window_partial_with_its_name_and_is_read_again(place: Place):
    broken = next(key for key in place.store.keys if "14-3" in key)
    errors: dict[str, SA_Stream_Error] = {broken: Store_Unavailable(f"S3 cannot give {broken} now: SlowDown")}
    place.store.fault = lambda call, key: errors.get(key)
    entry = place.aggregate("30min", HALF_KEY)
    assert entry["status"] == "partial"
    assert [(one["reason"], broken in one["file"]) for one in entry["missing_sources"]] == [("file-unreadable", True)]
    assert "SlowDown" in entry["missing_sources"][0]["error"]
    errors.clear()
    day = place.aggregate("daily", DAY_KEY)
    assert day["status"] == "final"
    assert not compare_all(place.entries(), place.expected())


def test_an_archive_that_may_not_be_listed_is_an_error_and_not_an_empty_one(place: Place):
    pipeline = place.pipeline()
    place.store.fault = lambda call, key: Source_Error("memory:// cannot be read: AccessDenied")
    for step in (pipeline.ingestion, pipeline.consolidation, pipeline.aggregation):
        with pytest.raises(Source_Error, match="AccessDenied"):
            step.execute()


def test_what_was_killed_between_two_writes_goes_on_where_it_broke_off(place: Place, monkeypatch: pytest.MonkeyPatch):
    store_entry, left = type(place.cache).store_entry, 0

    def killed(self: Any, *put: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Store_Unavailable("killed")
        store_entry(self, *put)

    monkeypatch.setattr(type(place.cache), "store_entry", killed)
    for writes in (1, 2, 3):
        left = writes
        with pytest.raises(Store_Unavailable):
            place.aggregate("daily", DAY_KEY)
    left = 1_000
    place.aggregate("daily", DAY_KEY)
    assert not compare_all(place.entries(), place.expected())
    assert {entry["status"] for entry in place.entries()} == {"final"}


def test_an_empty_half_hour_says_zero_and_has_no_entry():
    place = Place()
    entry = place.aggregate("30min", "2026-02-16-0330")
    assert (entry["total_requests"], entry["status"], entry["unique_paths"]) == (0, "final", 0)
    assert place.shown("30min/2026-02-16-0330") is None
    result = place.pipeline().consolidation.execute("2026-02-16-0330", NOW_MS).json()
    assert (result["total_requests"], result["status_breakdown"]) == (0, {})
    assert place.consolidated("2026-02-16/03-30/summary") is None


def test_nothing_is_written_over_what_a_state_store_keeps(tmp_path: Path):
    place = Place(state_url=f"file://{tmp_path}/state")
    run_all(place)
    entries = place.entries()
    place.state_url = ""
    place.put(delivered(late_line(HALF_MS + 5 * MINUTE_MS, "late"), PLACES, seed=9))
    STEPS["consolidate"](place)
    STEPS["hour"](place)
    assert place.entries() == entries


def test_an_entry_of_the_stream_is_left_as_it_is():
    place = Place()
    place.aggregate("30min", HALF_KEY)
    entry = place.shown(f"30min/{HALF_KEY}")
    assert entry is not None
    streams = {**entry, "provenance": "stream", "total_requests": 1}
    place.cache.store_entry(NS_SA_AGGREGATE, f"30min/{HALF_KEY}", streams)
    assert place.aggregate("30min", HALF_KEY)["total_requests"] == 1
    hour = place.aggregate("hourly", HOUR_KEY)
    assert (hour["status"], hour["missing_sources"]) == (
        "partial",
        [{"time_key": HALF_KEY, "reason": "other-files"}],
    )


@pytest.mark.parametrize("own", [{"provenance": "stream"}, {"provenance": "mixed"}, {"summary": "summaries/x"}])
def test_a_damaged_entry_of_a_state_store_is_left_to_who_can_restore_it(own: dict[str, str]):
    place = Place()
    whole = place.aggregate("30min", HALF_KEY)
    entry = place.shown(f"30min/{HALF_KEY}")
    assert entry is not None
    damaged = {**entry, **own, "total_requests": None}
    place.cache.store_entry(NS_SA_AGGREGATE, f"30min/{HALF_KEY}", damaged)
    assert place.aggregate("30min", HALF_KEY)["total_requests"] == whole["total_requests"]
    assert place.aggregate("hourly", HOUR_KEY)["missing_sources"] == [{"time_key": HALF_KEY, "reason": "other-files"}]
    assert place.shown(f"30min/{HALF_KEY}") == damaged


@pytest.mark.parametrize("sources", [[], [{"partition": "shardId-0", "lineage": "l", "number": "1"}], None])
def test_an_entry_that_does_not_say_what_it_is_made_of_is_computed_anew(sources: list[dict[str, str]] | None):
    place = Place()
    whole = place.aggregate("30min", HALF_KEY)
    entry = place.shown(f"30min/{HALF_KEY}")
    assert entry is not None
    place.cache.store_entry(NS_SA_AGGREGATE, f"30min/{HALF_KEY}", {**entry, "sources": sources, "total_requests": 1})
    assert place.aggregate("30min", HALF_KEY)["total_requests"] == whole["total_requests"]


@pytest.mark.parametrize(
    ("period", "time_key", "said"),
    [("weekly", "", "30min, hourly, daily, monthly"), ("hourly", "2026-02-16-1430", "expected one like 2026-02-16-14")],
)
def test_a_period_that_is_none_is_refused_with_what_was_expected(period: str, time_key: str, said: str):
    with pytest.raises(Config_Error, match=said):
        Place().aggregate(period, time_key)


def test_a_month_is_made_of_its_days():
    place = Place()
    now_ms = BEGIN_MS + 20 * 24 * HOUR_MS
    month = place.aggregate("monthly", "2026-02", now_ms)
    assert (month["status"], month["source_count"]) == ("final", 1)
    assert month["total_requests"] == place.expected()[f"daily/{DAY_KEY}"]["total_requests"]
