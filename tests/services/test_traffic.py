"""What people ask about their traffic, against the recount of the same lines; and what it costs."""

from itertools import pairwise
from typing import Any

import pytest

from sa_stream.errors import Bad_Parameter, Not_There, Store_Unavailable
from sa_stream.rollups.entry_form import STATUS_KEY
from sa_stream.rollups.periods import cache_key, from_iso, iso
from sa_stream.rollups.status import STATUS_KEY as PUBLISHED_KEY
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.Series_Reader import READS_LEAN
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.traffic_metrics import COUNTS, METRICS, OF_MINUTES, values_of
from sa_stream.services.traffic_tables import DIMENSIONS, top_paths
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS
from tests.archive.test_layout import ms
from tests.services.world import BEGIN_MS, GAP, NIGHT, NOW_MS, REPAIRED_MS, World, computed, expected, lines, rows_of

SUMS = ("requests", "human", "bytes", "hits", "status_4xx", "status_5xx")
FEB_28 = ms(2026, 2, 28)


@pytest.fixture(params=[True, False], ids=["columns", "schema 1"])
def world(request: pytest.FixtureRequest) -> World:
    return World(columns=request.param)


def truth(period: str, start_ms: int, name: str) -> Any:
    """What the recount says of one period; 0 where it saw nothing."""
    entry = expected().get(cache_key(period, start_ms))
    return 0 if entry is None else values_of(entry, [name])[name]


def test_half_hours_are_those_of_the_recount_and_a_zero_is_told_from_a_gap(world: World):
    answer = world.traffic.timeseries({"from": "2026-02-27", "to": "2026-03-02", "period": "30min"}, NOW_MS)
    starts = [from_iso(row[0]) for row in answer["rows"]]
    assert starts == list(range(BEGIN_MS, NOW_MS, WINDOW_MS))
    states = dict(zip(starts, answer["slots"], strict=True))
    for name in SUMS:
        for start, value in rows_of(answer, name).items():
            start_ms = from_iso(start)
            assert value == (None if start_ms in GAP else truth("30min", start_ms, name)), (name, start)
    assert {states[start_ms] for start_ms in NIGHT} == {"zero"}
    assert {states[start_ms] for start_ms in GAP} == {"missing"}
    assert states[starts[-1]] == "partial"
    assert answer["gaps"] == [{"from": iso(GAP.start), "to": iso(GAP.stop), "reason": "not-covered"}]
    assert (answer["status"], answer["provenance"]) == ("partial", "mixed")


@pytest.mark.parametrize("period", ["hourly", "daily", "monthly"])
def test_longer_slots_are_those_of_the_recount(world: World, period: str):
    answer = world.traffic.timeseries({"from": "2026-02-27", "to": "2026-03-02", "period": period}, NOW_MS)
    for name in SUMS:
        rows = rows_of(answer, name)
        assert {start: value for start, value in rows.items() if value is not None} == {
            start: truth(period, from_iso(start), name) for start, value in rows.items() if value is not None
        }
    states = {row[0]: state for row, state in zip(answer["rows"], answer["slots"], strict=True)}
    if period == "hourly":
        assert states["2026-02-28T03:00:00Z"] == "zero"
        assert states["2026-02-28T12:00:00Z"] == "missing"
    if period == "daily":
        assert [states[iso(BEGIN_MS + day * DAY_MS)] for day in range(3)] == ["final", "partial", "partial"]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("period", ["30min", "hourly", "daily"])
def test_any_metric_can_be_asked_for_and_says_what_the_entry_says(period: str, name: str):
    if name == "hit_rate":
        return
    entries = computed(lines())
    answer = World().traffic.timeseries({"from": "2026-02-27", "period": period, "metrics": name}, NOW_MS)
    for start, value in rows_of(answer, name).items():
        entry = entries.get(cache_key(period, from_iso(start)))
        if entry is not None:
            assert value == values_of(entry, [name])[name], start


@pytest.mark.parametrize("period", ["30min", "hourly", "daily"])
def test_records_that_are_no_requests_are_told_where_there_were_no_requests(world: World, period: str):
    """A silent half hour of the night in which malformed records came, and a duplicate; so has its hour."""
    told = {"total_requests": 0, "invalid_records": 7, "duplicate_records": 1, "status": "final"}
    for key in ("30min/2026-02-28-0300", "hourly/2026-02-28-03"):
        body = computed(lines())["30min/2026-02-27-1000"] | told
        world.put(key, body | {"window_start": "2026-02-28T03:00:00Z", "period": key.partition("/")[0]})
    words = {"from": "2026-02-28-03", "to": "2026-02-28-04", "metrics": "requests,invalid_records,duplicate_records"}
    words |= {"tz": "Asia/Tokyo"} if period == "daily" else {"period": period}
    row, *_ = world.traffic.timeseries(words, NOW_MS)["rows"]
    _, requests, invalid, duplicates = row
    if period == "daily":
        day = range(FEB_28 - 9 * HOUR_MS, FEB_28 + 15 * HOUR_MS, WINDOW_MS)
        requests -= sum(truth("30min", start_ms, "requests") for start_ms in day)
        duplicates -= sum(truth("30min", start_ms, "duplicate_records") for start_ms in day)
        assert invalid is None, "other half hours are of files, which do not know it"
    else:
        assert invalid == 7
    assert (requests, duplicates) == (0, 1)


def test_a_minute_without_requests_is_zero_whatever_is_asked_of_it():
    words = {"from": "2026-02-27T10:00:00Z", "to": "2026-02-27T10:30:00Z", "period": "minute"}
    states = [World().traffic.timeseries(words | {"metrics": name}, NOW_MS)["slots"] for name in OF_MINUTES]
    assert "zero" in states[0]
    assert all(each == states[0] for each in states)


def test_the_hit_rate_is_that_of_the_entries(world: World):
    for period in ("30min", "hourly", "daily"):
        answer = world.traffic.timeseries({"from": "2026-02-27", "period": period}, NOW_MS)
        for start, value in rows_of(answer, "hit_rate").items():
            entry = expected().get(cache_key(period, from_iso(start)))
            assert value in (None, 0.0) if entry is None else value == entry["cache_hit_rate"], start


@pytest.mark.parametrize(
    ("zone", "midnight"), [("Asia/Kolkata", "2026-02-26T18:30:00Z"), ("America/New_York", "2026-02-27T05:00:00Z")]
)
def test_days_of_a_zone_are_the_sums_of_its_half_hours(world: World, zone: str, midnight: str):
    answer = world.traffic.timeseries({"from": "2026-02-27", "to": "2026-03-02", "tz": zone}, NOW_MS)
    assert (answer["period"], answer["tz"], answer["left_out"]) == ("daily", zone, ["p95"])
    assert answer["from"] == midnight
    for row, name in [(row, name) for row in answer["rows"] for name in SUMS]:
        from_ms = from_iso(row[0])
        total = sum(truth("30min", start_ms, name) for start_ms in range(from_ms, from_ms + DAY_MS, WINDOW_MS))
        assert row[answer["columns"].index(name)] == total
    assert row[0].endswith(("+05:30", "-05:00"))


@pytest.mark.parametrize("period", ["auto", "30min", "hourly", "daily"])
def test_utc_is_the_zone_that_is_meant_where_none_is_named(world: World, period: str):
    words = {"from": "2026-02-27", "to": "2026-03-02", "period": period}
    assert world.traffic.timeseries(words | {"tz": "UTC"}, NOW_MS) == world.traffic.timeseries(words, NOW_MS)


def test_a_day_has_the_hours_that_its_zone_gives_it():
    answer = World().traffic.timeseries(
        {"from": "2026-03-28", "to": "2026-03-31", "tz": "Europe/London"}, ms(2026, 4, 1)
    )
    starts = [from_iso(row[0]) for row in answer["rows"]]
    assert [(later - earlier) // HOUR_MS for earlier, later in pairwise(starts)] == [24, 23]


@pytest.mark.parametrize(
    "zone",
    [
        *("Asia/Kathmandu", "Mars/Olympus", "../etc/passwd", "", "Europe/London\0"),
        *("right/Europe/London", "posix/Europe/London", "localtime", "posixrules", "Factory"),
    ],
)
def test_a_zone_that_days_cannot_be_made_of_is_refused(zone: str):
    with pytest.raises(Bad_Parameter, match="tz"):
        World().traffic.timeseries({"tz": zone}, NOW_MS)


def test_minutes_are_those_of_the_half_hours():
    words = {"from": "2026-02-28T15:00:00Z", "to": "2026-02-28T17:00:00Z", "period": "minute"}
    answer = World().traffic.timeseries(words, NOW_MS)
    assert len(answer["rows"]) == 120
    for name in OF_MINUTES:
        rows = rows_of(answer, name)
        for half_ms in range(from_iso(words["from"]), from_iso(words["to"]), WINDOW_MS):
            minutes = [rows[iso(half_ms + place * MINUTE_MS)] for place in range(30)]
            entry = expected().get(cache_key("30min", half_ms))
            assert minutes == (entry["per_minute"][name] if entry else [0] * 30)
    empty = World().traffic.timeseries({"from": "2026-02-28T01:30:00Z", "to": "2026-02-28T12:10:00Z"} | MINUTES, NOW_MS)
    assert {row[1] for row in empty["rows"][:60]} == {0}
    assert (empty["slots"][0], empty["slots"][-1], empty["rows"][-1][1]) == ("zero", "missing", None)


MINUTES = {"period": "minute", "metrics": "requests"}


@pytest.mark.parametrize(
    ("length_ms", "period"),
    [
        (HOUR_MS, "minute"),
        (DAY_MS, "30min"),
        (8 * DAY_MS, "30min"),
        (31 * DAY_MS, "hourly"),
        (400 * DAY_MS, "daily"),
        (3_000 * DAY_MS, "monthly"),
    ],
)
def test_auto_takes_what_suits_the_stretch(length_ms: int, period: str):
    answer = World().traffic.timeseries({"from": iso(NOW_MS - length_ms)}, NOW_MS)
    assert answer["period"] == period
    assert len(answer["rows"]) <= 752


def test_more_than_750_points_are_refused_with_the_coarser_period():
    with pytest.raises(Bad_Parameter, match="period=hourly") as refused:
        World().traffic.timeseries({"from": "2026-02-01", "to": "2026-03-01", "period": "30min"}, NOW_MS)
    assert refused.value.code == "too_many_points"


@pytest.mark.parametrize("period", ["minute", "30min", "hourly", "daily", "monthly"])
def test_of_a_time_that_is_still_to_come_nothing_is_final(period: str):
    later_ms = NOW_MS + 60 * DAY_MS
    asked = {"from": iso(later_ms), "to": iso(later_ms + HOUR_MS), "period": period}
    answer = World().traffic.timeseries(asked, NOW_MS)
    assert (answer["status"], set(answer["slots"]) <= {"missing"}) == ("partial", True)


def test_too_many_days_of_local_time_are_not_sent_to_a_period_that_has_none():
    with pytest.raises(Bad_Parameter, match=r"daily: ask for a shorter time$"):
        World().traffic.timeseries({"from": "2015-01-01", "tz": "Europe/London"}, NOW_MS)


def test_a_week_by_half_hours_takes_at_most_ten_reads():
    for from_ms in (NOW_MS - 7 * DAY_MS, ms(2026, 2, 23)):
        world = World()
        for day in range(7):  # days before these three, as old ones are
            key = cache_key("daily", BEGIN_MS - day * DAY_MS - DAY_MS)
            world.put(key, world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-02-27") | {"time_key": "x"})
        world.reads.clear()
        answer = world.traffic.timeseries({"from": iso(from_ms), "period": "30min"}, NOW_MS)
        assert len(answer["rows"]) >= 7 * 46
        assert len(world.reads) <= READS_LEAN, world.reads


def test_what_is_newer_than_its_day_is_read_from_its_own_entry():
    world = World()
    day = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-03-01")
    assert day is not None
    columns = day["per_half_hour"]
    columns["state"][36:], columns["reason"][36:] = ["missing"] * 12, ["open"] * 12
    world.put("daily/2026-03-01", day | {"computed_at": "2026-03-01T18:35:00Z"})
    answer = world.traffic.timeseries({"from": "2026-03-01T17:00:00Z", "period": "30min"}, NOW_MS)
    assert answer["slots"] == ["final", "final", "final", "partial"]
    assert rows_of(answer, "requests")["2026-03-01T18:30:00Z"] == truth("30min", ms(2026, 3, 1, 18, 30), "requests")


def test_half_hours_that_an_older_version_of_their_day_did_not_keep_are_read_from_their_own_entries():
    world = World()
    day = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-02-27")
    assert day is not None
    columns = day["per_half_hour"]
    for name in SUMS:
        columns[name][10] = None
    columns["state"][10], columns["reason"][10] = "missing", "older-version"
    world.put("daily/2026-02-27", day)
    answer = world.traffic.timeseries({"from": "2026-02-27", "to": "2026-02-28", "period": "30min"}, NOW_MS)
    assert answer["slots"] == ["final"] * 48
    assert rows_of(answer, "requests")["2026-02-27T05:00:00Z"] == truth("30min", BEGIN_MS + 5 * HOUR_MS, "requests")


def test_a_late_revision_is_seen_when_what_is_remembered_is_asked_for_again():
    world = World()
    before = world.traffic.summary({"at": "2026-02-27"}, NOW_MS)
    entry = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-02-27")
    assert entry is not None
    world.put("daily/2026-02-27", entry | {"revision": 1, "total_requests": entry["total_requests"] + 1})
    assert world.traffic.summary({"at": "2026-02-27"}, NOW_MS) == before, "remembered for a while"
    world.cache.get("daily/2026-02-27", force_refresh=True)
    after = world.traffic.summary({"at": "2026-02-27"}, NOW_MS)
    assert (after["revision"], after["totals"]["requests"]) == (1, before["totals"]["requests"] + 1)


def test_a_repair_says_where_it_came_from():
    answer = World().traffic.summary({"period": "30min", "at": iso(REPAIRED_MS)}, NOW_MS)
    assert (answer["provenance"], answer["totals"]["requests"]) == ("s3", truth("30min", REPAIRED_MS, "requests"))


@pytest.mark.parametrize("period", ["30min", "hourly", "daily", "monthly"])
def test_a_summary_is_the_entry_of_its_period(world: World, period: str):
    answer = world.traffic.summary({"period": period, "at": "2026-02-27T10:10:00Z"}, NOW_MS)
    entry = expected()[answer["cache_key"]]
    for name in ("requests", "bytes", "unique_paths", "duplicate_records"):
        assert answer["totals"][name] == values_of(entry, [name])[name]
    assert answer["rates"]["cache_hit_rate"] == entry["cache_hit_rate"]
    assert answer["status_breakdown"] == entry["status_breakdown"]
    assert answer["percentiles"]["time_taken"]["count"] == entry["percentiles"]["time_taken"]["count"]


def test_previous_is_of_the_same_elapsed_slots_and_null_unless_all_of_them_are_final(world: World):
    today = world.traffic.summary({}, NOW_MS)
    assert today["cache_key"] == "daily/2026-03-01"
    assert today["previous"] is None, "yesterday has a gap"
    elapsed = today["elapsed"]
    assert elapsed["window_end"] == "2026-03-01T18:30:00Z"
    assert elapsed["requests"] == sum(
        truth("30min", start_ms, "requests") for start_ms in range(ms(2026, 3, 1), ms(2026, 3, 1, 18, 30), WINDOW_MS)
    )
    morning_ms = FEB_28 + 11 * HOUR_MS + 40 * MINUTE_MS
    hour = world.traffic.summary({"period": "hourly", "at": "2026-02-28T09:00:00Z"}, NOW_MS)
    assert hour["previous"]["requests"] == truth("hourly", FEB_28 + 8 * HOUR_MS, "requests")
    assert hour["previous"]["p95"] is not None
    night = world.traffic.summary({"period": "hourly", "at": "2026-02-28T05:00:00Z"}, NOW_MS)
    assert night["previous"]["requests"] == 0, "a zero is final"
    assert morning_ms < NOW_MS


def test_a_period_without_an_entry_is_zero_where_that_is_known_and_else_not_there(world: World):
    zero = world.traffic.summary({"period": "30min", "at": "2026-02-28T03:00:00Z"}, NOW_MS)
    assert (zero["status"], zero["totals"]["requests"]) == ("final", 0)
    for at, reason in (("2026-02-28T12:30:00Z", "not-covered"), ("2026-03-01T20:00:00Z", "open")):
        with pytest.raises(Not_There, match=reason):
            world.traffic.summary({"period": "30min", "at": at}, NOW_MS)


@pytest.mark.parametrize("lists", [True, False], ids=["listed", "one by one"])
@pytest.mark.parametrize("period", ["30min", "hourly", "minute"])
def test_half_hours_of_a_day_without_an_entry_are_there_if_they_have_entries_of_their_own(
    period: str, lists: bool, monkeypatch: pytest.MonkeyPatch
):
    """As where they were computed on demand, and their day was not."""

    def cannot(path: str) -> list[str]:
        raise Store_Unavailable("this storage cannot list")

    world = World()
    if not lists:
        monkeypatch.setattr(world, "list_folders", cannot)
    start_ms = BEGIN_MS + 8 * HOUR_MS
    for key in list(world.store.entries(NS_SA_AGGREGATE)):
        if key not in (cache_key("30min", start_ms), cache_key("30min", start_ms + WINDOW_MS)):
            del world.store.bodies[NS_SA_AGGREGATE, key]
    words = {"from": iso(start_ms), "to": iso(start_ms + 2 * HOUR_MS), "period": period}
    answer = world.traffic.timeseries(words, start_ms + 6 * DAY_MS)
    asked = sum(row[1] or 0 for row in answer["rows"])
    assert asked == sum(truth("30min", start_ms + half * WINDOW_MS, "requests") for half in (0, 1)) > 0
    assert answer["slots"][-1] == "missing"


def test_the_latest_is_the_newest_that_there_is_however_old():
    world = World()
    del world.store.bodies[NS_SA_AGGREGATE, "daily/2026-03-01"]
    answer = world.traffic.summary({"period": "daily"}, NOW_MS + 40 * DAY_MS)
    assert answer["cache_key"] == "daily/2026-02-28"


def test_of_agents_that_were_too_many_nothing_is_exact():
    world = World()
    entry = world.cache.get("daily/2026-02-27")
    world.put("daily/2026-02-27", {**entry, "errors": {**entry["errors"], "agent_classes": 50_000}})
    world.cache = world.traffic.cache = Service__SA__Cache(send_cache_client=world)
    for dimension in ("agents", "bots", "browsers", "systems", "devices"):
        assert world.traffic.breakdown(dimension, {"at": "2026-02-27"}, NOW_MS)["error_bound"] == 50_000
    assert world.traffic.breakdown("hosts", {"at": "2026-02-27"}, NOW_MS)["error_bound"] == 0


@pytest.mark.parametrize("clock", ["00:10", "11:50", "12:10", "23:50"])
def test_a_week_without_requests_is_zero_at_any_time_of_the_day(clock: str):
    world = World()
    world.store.bodies.clear()
    day_ms = ms(2026, 2, 20)
    now_ms = day_ms + 60_000 * (60 * int(clock[:2]) + int(clock[3:]))
    settled = (now_ms - DAY_MS - day_ms) // DAY_MS + 20  # days of the month that were final a day after their end
    days = {"state": ["zero"] * (settled - 1) + ["missing"] * (29 - settled), "reason": [None] * (settled - 1)}
    days["reason"] += ["open"] * (29 - settled)
    month = {"period": "monthly", "status": "partial", "per_day": days, "computed_at": iso(now_ms)}
    world.put("monthly/2026-02", month | {"window_start": "2026-02-01T00:00:00Z", "total_requests": 0})
    told = {"final_until": iso(now_ms // WINDOW_MS * WINDOW_MS), "covers_since": None, "gaps": []}
    world.put("status/stream", {**told, "computed_at": iso(now_ms - 30_000)})
    words = {"from": iso(now_ms // WINDOW_MS * WINDOW_MS - 7 * DAY_MS), "to": iso(now_ms), "period": "30min"}
    assert {*world.traffic.timeseries(words, now_ms)["slots"][:-1]} == {"zero"}


@pytest.mark.parametrize(
    "prefix", ["/caf\u00e9 m", "/caf%C3%A9%20m", "/caf%c3%a9 ", "/%63af%C3%A9", "/caf%C3", "/caf%", "/caf%c"]
)
def test_a_prefix_may_be_what_a_reader_sees_or_what_the_log_has(prefix: str):
    paths = ["/caf%C3%A9%20menu", "/caf"]
    found = top_paths({"top_paths": [{"path": path} for path in paths]}, "count", 10, prefix)
    assert [row["path"] for row in found["rows"]] == paths[:1]
    assert found["prefix"] == prefix


def test_paths_are_those_of_the_recount_and_the_prefix_is_a_prefix():
    world, paths = World(), expected()["daily/2026-02-27"]["exact"]["paths"]
    answer = world.traffic.top_paths({"at": "2026-02-27", "limit": "5"}, NOW_MS)
    assert [row["count"] for row in answer["rows"]] == sorted((each["count"] for each in paths.values()), reverse=True)[
        :5
    ]
    assert (answer["shown"], answer["total"], answer["error_bound"]) == (5, len(paths), 0)
    some = world.traffic.top_paths({"at": "2026-02-27", "prefix": "/p/1"}, NOW_MS)
    assert some["rows"]
    assert all(row["path"].startswith("/p/1") for row in some["rows"])
    assert some["total"] is None


def test_a_table_that_an_entry_lacks_is_null_and_named():
    world = World()
    entry = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-02-27")
    assert entry is not None
    world.put("daily/2026-02-27", {name: entry[name] for name in entry if name not in ("bots", "top_missed_paths")})
    bots = world.traffic.breakdown("bots", {"at": "2026-02-27"}, NOW_MS)
    assert (bots["rows"], bots["total"]) == (None, None)
    assert "bots" in bots["missing_fields"]
    assert world.traffic.top_paths({"at": "2026-02-27", "sort": "misses"}, NOW_MS)["rows"] is None


@pytest.mark.parametrize("sort", ["bytes", "status_4xx", "status_5xx", "misses"])
def test_paths_are_ranked_by_what_is_asked_for(sort: str):
    answer = World().traffic.top_paths({"at": "2026-02-27", "sort": sort}, NOW_MS)
    entry = computed(lines())["daily/2026-02-27"]
    listed = {"bytes": entry["top_bytes_paths"], "misses": entry["top_missed_paths"], **entry["top_error_paths"]}[sort]
    assert [(row["path"], row[sort]) for row in answer["rows"]] == [(row["path"], row[sort]) for row in listed]
    assert answer["rows"][0]["bytes"] is not None, "what else is known of a path is there too"
    assert answer["error_bound"] == 0


def test_edges_statuses_and_dimensions_are_those_of_the_recount():
    world, entry = World(), expected()["daily/2026-02-27"]
    edges = world.traffic.edge_locations({"at": "2026-02-27"}, NOW_MS)
    assert {row["edge"]: row["count"] for row in edges["rows"]} == entry["edge_distribution"]
    assert sum(row["count"] for row in edges["cities"]) == sum(entry["edge_distribution"].values())
    classes = world.traffic.status_codes({"at": "2026-02-27"}, NOW_MS)["classes"]
    assert {row["class"]: row["count"] for row in classes} == entry["status_breakdown"]
    codes = world.traffic.status_codes({"at": "2026-02-27"}, NOW_MS)["codes"]
    assert {row["code"]: row["count"] for row in codes} == entry["status_codes"]
    for dimension, (field, _) in DIMENSIONS.items():
        answer = world.traffic.breakdown(dimension, {"at": "2026-02-27", "limit": "1000"}, NOW_MS)
        if dimension == "countries":
            assert answer["rows"] is None, "no list has the field"
        elif dimension == "bots":
            assert [{name: row[name] for name in row if name != "share"} for row in answer["rows"]] == entry[field]
        else:
            assert {row["name"]: row["count"] for row in answer["rows"]} == entry[field]
            assert answer["shown"] == answer["total"] == len(entry[field])
    people = world.traffic.breakdown("devices", {"at": "2026-02-27"}, NOW_MS)["rows"]
    assert sum(row["share"] for row in people) == pytest.approx(100, abs=0.1), "of people, not of all requests"
    with pytest.raises(Not_There, match="dimension"):
        world.traffic.breakdown("passwords", {}, NOW_MS)


def test_live_says_until_when_it_knows():
    answer = World().traffic.live({"minutes": "30"}, NOW_MS)
    assert (answer["as_of"], answer["delay_s"], answer["lag_s"]) == ("2026-03-01T18:39:30Z", 30, 60)
    assert answer["rows"][-1][0] == "2026-03-01T18:39:00Z"
    open_entry = expected()["30min/2026-03-01-1830"]
    assert [row[1] for row in answer["rows"]][-10:] == open_entry["per_minute"]["requests"][:10]


def test_live_is_not_final_where_nothing_is_known_of_its_minutes():
    world = World()
    answer = world.traffic.live({"minutes": "10"}, NOW_MS + 3 * HOUR_MS)
    assert answer["status"] == "partial"
    assert answer["delay_s"] == 3 * 3600 + 20
    assert {*answer["slots"]} == {"missing"}


def test_sums_are_of_what_can_be_added():
    assert not {"p95", "unique_paths", "avg_ttfb"} & set(COUNTS)


def test_the_status_is_read_where_it_is_published():
    assert STATUS_KEY == PUBLISHED_KEY


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "1999-01-01"}, "from"),
        ({"from": "2026-03-01", "to": "2026-02-01"}, "from"),
        ({"period": "weekly"}, "period"),
        ({"metrics": "requests,passwords"}, "metrics"),
        ({"metrics": "p95", "period": "minute", "from": "2026-03-01T18:00:00Z"}, "metrics"),
        ({"tz": "Europe/London", "period": "hourly"}, "tz"),
        ({"from": "9" * 5_000}, "from"),
        ({"from": "٢٠٢٦-٠٢-١٦"}, "from"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(words: dict[str, str], parameter: str):
    with pytest.raises(Bad_Parameter) as refused:
        World().traffic.timeseries(words, NOW_MS)
    assert refused.value.parameter == parameter
