import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.records.coded import Coded
from sa_stream.records.fields import RESULT_FIELDS, USED_FIELDS, to_mask
from sa_stream.rollups.entry import About, build_entry, consolidation_result, fields_of, merge
from sa_stream.rollups.periods import HALF_HOUR, HOURLY
from sa_stream.windows.paths import SUMS
from sa_stream.windows.remembered import keys_of
from sa_stream.windows.window import MINUTES, PER_MINUTE, Window

START = 1_771_252_200_000  # 2026-02-16T14:30:00Z
FIELDS = {*USED_FIELDS} - {*RESULT_FIELDS[1:]}  # of a list that has one result type
ALL = to_mask(FIELDS)


def window(requests: int = 8, start_ms: int = START, fields: int = ALL) -> Window:
    made = Window(start_ms)
    made.fields = fields
    made.total_requests = requests
    made.total_bytes = 100 * requests
    made.counts["status"] = {"000": 1, "200": requests - 2, "404": 1}
    made.counts["results"] = {"Hit": 3, "RefreshHit": 1, "Miss": requests - 4}
    made.counts["edges"] = {"LHR3": requests - 2, "AMS1": 1, "CDG2": 1}
    made.time_taken.add(np.array([1_000, 3_000]), np.array([1, 2]))
    made.minutes = [[0] * MINUTES for _ in PER_MINUTE]
    made.minutes[0][3] = requests
    made.unique_paths.add(np.arange(5, dtype=np.uint64))
    paths = Coded.of_texts(["/b"] * 4 + ["/a"] * 4)
    made.paths.add(paths, keys_of(paths), dict.fromkeys(SUMS, np.ones(8, np.int64)))
    return made


def entry_of(made: Window, period: str = HALF_HOUR, **options) -> dict:
    about = {"final": True, "revision": 0, "sources": [{"partition": "p"}], "missing": [], "summary": "s"}
    about |= {name: options.pop(name) for name in about.keys() & options.keys()}
    return build_entry(period, made.start_ms, made, About(**about, computed_at_ms=START + 1), **options)


def test_the_numbers_mean_what_the_contract_says():
    entry = entry_of(window())
    assert entry["cache_key"] == "30min/2026-02-16-1430"
    assert (entry["window_start"], entry["window_end"]) == ("2026-02-16T14:30:00Z", "2026-02-16T15:00:00Z")
    assert entry["status_breakdown"] == {"0xx": 1, "2xx": 6, "4xx": 1}
    assert entry["cache_hit_rate"] == 37.5
    assert entry["served_from_cache_rate"] == 50.0
    assert entry["avg_time_taken"] == pytest.approx(0.007 / 3, abs=1e-12)
    assert entry["unique_paths"] == 5
    assert list(entry["edge_distribution"].items()) == [("LHR3", 6), ("AMS1", 1), ("CDG2", 1)]
    assert [path["path"] for path in entry["top_paths"]] == ["/a", "/b"]
    assert entry["per_minute"]["requests"][3] == 8
    assert entry["missing_fields"] == []
    assert entry["source_count"] == 1
    assert set(entry["errors"].values()) == {0, 0.01}
    assert json.loads(json.dumps(entry)) == entry


@given(st.sets(st.sampled_from(USED_FIELDS)))
def test_an_entry_tells_with_which_log_fields_it_was_made(names: set[str]):
    assert fields_of(entry_of(window(fields=to_mask(names)))) == to_mask(names)


def test_an_average_of_nothing_is_zero_and_its_percentiles_are_null():
    entry = entry_of(window())
    assert entry["avg_ttfb"] == 0.0
    nothing = {"p50": None, "p90": None, "p95": None, "p99": None, "count": 0, "max": None}
    assert entry["percentiles"]["ttfb"] == nothing
    assert entry["percentiles"]["time_taken"]["p99"] == pytest.approx(0.003, rel=0.01)


def test_percentiles_are_whole_microseconds_beside_their_count_and_the_exact_maximum():
    found = entry_of(window())["percentiles"]["time_taken"]
    assert (found["count"], found["max"]) == (3, 0.003)
    assert all(round(found[name], 6) == found[name] <= found["max"] for name in ("p50", "p90", "p95", "p99"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (["x-edge-result-type"], "x-edge-result-type"),
        (["x-edge-detailed-result-type"], "x-edge-detailed-result-type"),
        (  # of several lists
            ["x-edge-detailed-result-type", "x-edge-response-result-type"],
            "x-edge-response-result-type, x-edge-detailed-result-type",
        ),
    ],
)
def test_an_entry_names_the_field_that_its_result_types_are_from(fields: list[str], named: str):
    entry = entry_of(window(fields=to_mask(FIELDS - {*RESULT_FIELDS} | {*fields})))
    assert (entry["result_field"], entry["cache_hit_rate"], entry["missing_fields"]) == (named, 37.5, [])


def test_rates_of_an_empty_window_are_zero():
    entry = entry_of(Window(START))
    assert entry["cache_hit_rate"] is None  # no field list at all
    made = Window(START)
    made.fields = ALL
    assert entry_of(made)["cache_hit_rate"] == 0.0


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("sc-bytes", ["total_bytes", "top_bytes_paths"]),
        ("sc-status", ["status_breakdown", "page_views", "status_codes", "top_error_paths"]),
        (
            "cs-uri-stem",
            ["unique_paths", "top_paths", "top_error_paths", "top_missed_paths", "top_bytes_paths", "path_groups"],
        ),
        (
            "cs-user-agent",
            ["unique_agents", "agent_classes", "bots", "browsers", "systems", "devices", "page_views"],
        ),
        ("x-edge-location", ["unique_edges", "edge_distribution", "cities"]),
        (
            "x-edge-result-type",
            ["cache_hit_rate", "served_from_cache_rate", "result_types", "result_field", "top_missed_paths"],
        ),
        ("cs-method", ["methods", "page_views"]),
        ("cs-referer", ["referrers"]),
        ("sc-content-type", ["content_types", "kinds", "page_views"]),
        ("cs-protocol-version", ["http_versions"]),
        ("ssl-protocol", ["tls_versions"]),
        ("origin-fbl", ["origin_latency"]),
        ("cs-protocol", ["protocols"]),
        ("cs-host", ["hosts"]),
        ("time-taken", ["avg_time_taken"]),
        ("time-to-first-byte", ["avg_ttfb"]),
        ("x-edge-request-id", ["duplicate_records"]),
    ],
)
def test_what_needs_a_field_that_no_list_has_is_null_and_the_field_is_named(field: str, names: list[str]):
    entry = entry_of(window(fields=to_mask(FIELDS - {field})))
    assert entry["missing_fields"] == [field]
    full = entry_of(window())
    assert [name for name in full if entry[name] is None and full[name] is not None] == sorted(
        names, key=list(full).index
    )


def test_minutes_lack_what_their_fields_lack():
    entry = entry_of(window(fields=to_mask({"timestamp", "sc-status"})))
    assert [name for name, numbers in entry["per_minute"].items() if numbers is None] == ["bytes", "hits"]
    assert entry["percentiles"] == {"time_taken": None, "ttfb": None}


def test_at_most_a_hundred_hosts_are_named_and_the_rest_is_other():
    made = window()
    made.counts["hosts"] = {f"h{i:03d}": 1 + (i == 104) for i in range(105)} | {"(other)": 7}
    hosts = entry_of(made)["hosts"]
    assert len(hosts) == 101
    assert next(iter(hosts)) == "h104"
    assert hosts["(other)"] == 7 + 5
    assert sum(hosts.values()) == 106 + 7


def test_bounded_input_does_not_know_when_a_bad_record_came():
    assert entry_of(window())["invalid_records"] == 0
    assert entry_of(window(), bounded=True)["invalid_records"] is None


def test_sampled_counts_are_scaled_as_well():
    assert entry_of(window())["scaled"] is None
    entry = entry_of(window(), sampling_percent=10)
    assert entry["sampling_rate"] == 10
    assert entry["scaled"] == {"total_requests": 80, "total_bytes": 8_000}
    assert entry["total_requests"] == 8


def test_a_rollup_has_no_minutes_and_counts_distinct_values_once():
    halves = [window(), window(start_ms=START - 1_800_000)]
    merged = merge(HOURLY, START - 1_800_000, halves)
    entry = entry_of(merged, HOURLY)
    assert entry["cache_key"] == "hourly/2026-02-16-14"
    assert entry["per_minute"] is None
    assert (entry["total_requests"], entry["unique_paths"]) == (16, 5)


def test_an_hour_of_one_half_is_not_taken_for_the_half():
    assert merge(HOURLY, START - 1_800_000, [window()]).minutes is None


def test_the_consolidation_result_repeats_the_entry_under_the_seeds_names():
    result = consolidation_result(entry_of(window()), START)
    assert result["cache_key"] == "2026-02-16/14-30/summary"
    assert result["period_start"] == "2026-02-16T14:30:00Z"
    assert result["total_requests"] == 8
    assert set(result) == {
        *("cache_key", "period_start", "period_end", "total_requests", "unique_paths", "unique_agents"),
        *("unique_edges", "status_breakdown", "top_paths", "edge_distribution", "cache_hit_rate", "total_bytes"),
    }
