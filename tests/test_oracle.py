"""The oracle against numbers worked out by hand: what judges the product is judged here first."""

import gzip
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log_lines import NOW_MS, SECRETS, chunked, line_of, log_files, percent_encoded
from tests.oracle import (
    CANONICAL,
    LINE_BYTES_MAX,
    SEED,
    Stream_Oracle,
    compare,
    compare_all,
    decode_fully,
    event_time_ms,
    microseconds,
    rank_value,
    recount,
    scrub,
    shown_path,
    whole_number,
)

START_S = 1_771_252_200  # 2026-02-16 14:30:00 UTC


def line(at_s: float | str = START_S, request_id: str = "-", **values: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return line_of({"timestamp": str(at_s), "x-edge-request-id": request_id, **named})


def file_of(*lines: bytes) -> bytes:
    return b"\n".join(lines) + b"\n"


def half_hour(*lines: bytes) -> dict[str, Any]:
    return recount(file_of(*lines)).entries["30min/2026-02-16-1430"]


def test_a_windows_start_belongs_to_it_and_its_end_to_the_next() -> None:
    content = file_of(line(START_S), line(f"{START_S + 1799}.9999"), line(START_S + 1800))
    entries = recount(content).entries
    assert entries["30min/2026-02-16-1430"]["total_requests"] == 2
    assert entries["30min/2026-02-16-1500"]["total_requests"] == 1
    assert entries["hourly/2026-02-16-14"]["total_requests"] == 2
    assert entries["daily/2026-02-16"]["source_count"] == 2
    assert entries["monthly/2026-02"]["total_requests"] == 3
    assert len(entries) == 6


def test_a_leap_day_and_a_year_end_have_their_own_keys_and_ends() -> None:
    entries = recount(file_of(line(1_835_395_200), line("1798761599.999"), line(1_798_761_600))).entries
    assert {
        "daily/2028-02-29",
        "monthly/2028-02",
        "30min/2026-12-31-2330",
        "monthly/2026-12",
        "daily/2027-01-01",
    } <= set(entries)
    assert entries["monthly/2028-02"]["window_end"] == "2028-03-01T00:00:00Z"
    assert entries["monthly/2026-12"]["window_end"] == "2027-01-01T00:00:00Z"


def test_the_numbers_of_one_window() -> None:
    entry = half_hour(
        line(START_S, "a", sc_bytes="100", time_taken="1.5", cs_uri_stem="/b?x", x_edge_location="LHR"),
        line(START_S + 60, "b", sc_bytes="-", time_taken="-", sc_status="404", x_edge_result_type="RefreshHit"),
        line(START_S + 60, "b", sc_bytes="7", time_taken="9", sc_status="500"),
        line(START_S + 61, "-", sc_bytes="50.9", cs_uri_stem="/b", sc_status="000", x_edge_result_type="Miss"),
        line(START_S + 62, "-", sc_bytes="1e3", cs_uri_stem="-", cs_protocol="wss", time_taken="600", cs_host="-"),
    )
    assert (entry["total_requests"], entry["duplicate_records"], entry["total_bytes"]) == (4, 1, 150)
    assert entry["status_breakdown"] == {"2xx": 2, "4xx": 1, "0xx": 1}
    assert [(row["path"], row["count"], row["bytes"]) for row in entry["top_paths"]] == [
        ("/b", 2, 150),
        ("", 1, 0),
        ("/", 1, 0),
    ]
    of_b = {"hits": 1, "misses": 1, "status_4xx": 0, "status_5xx": 0, "avg_time_taken": 0.8125}
    assert of_b.items() <= entry["top_paths"][0].items()
    assert entry["top_paths"][1]["avg_time_taken"] is None
    assert entry["status_codes"] == {"200": 2, "404": 1, "000": 1}
    assert entry["path_groups"] == {"/": 3, "": 1}
    assert (entry["cache_hit_rate"], entry["served_from_cache_rate"]) == (50.0, 75.0)
    assert entry["avg_time_taken"] == (1.5 + 0.125) / 2
    high = {"p90": 1.5, "p95": 1.5, "p99": 1.5, "max": 1.5}
    assert entry["percentiles"]["time_taken"] == {"p50": 0.125, **high, "count": 2}
    assert entry["per_minute"]["requests"][:3] == [1, 3, 0]
    assert entry["per_minute"]["status_4xx"][:3] == [0, 1, 0]
    assert entry["per_minute"]["bytes"][:3] == [100, 50, 0]
    assert entry["hosts"] == {"www.example.org": 3}
    assert (entry["unique_edges"], entry["unique_paths"], entry["unique_agents"]) == (2, 3, 1)


def test_malformed_lines_are_counted_by_the_first_reason_that_holds() -> None:
    fits = b"x" * LINE_BYTES_MAX
    content = file_of(
        fits,
        fits + b"\r",
        fits + b"x",
        line("-", sc_status="abc"),
        line(sc_status="20"),
        line(START_S + 301),
        line(START_S + 300) + b"\r",
        b"#" + line(),
        b"\r",
        b"",
        line() + b"\t-",
    )
    result = recount(content, now_ms=START_S * 1000)
    assert result.invalid == {"fields": 3, "too_long": 1, "timestamp": 1, "status": 1, "future": 1}
    assert (result.records, result.aggregated) == (8, 1)


def test_numbers_and_times_are_read_exactly() -> None:
    assert event_time_ms("1767225600.1239") == 1_767_225_600_123
    assert event_time_ms("4102444800") is None
    assert event_time_ms("٠" * 10) is None
    assert [microseconds(text) for text in ("0.0000005", "0.0000015", "0.00000150001", "2", "-", "1e3")] == [
        0,
        2,
        2,
        2_000_000,
        None,
        None,
    ]
    assert (whole_number("9" * 30), whole_number("9" * 31), whole_number("12.9")) == (10**30 - 1, 0, 12)


def test_a_percentile_is_the_value_of_the_nearest_rank() -> None:
    values = list(range(100, 0, -1))
    assert [rank_value(values, Fraction(q, 100)) for q in (50, 90, 95, 99)] == [50, 90, 95, 99]
    assert [rank_value([1, 924], Fraction(q, 100)) for q in (50, 51, 90, 100)] == [1, 924, 924, 924]
    assert rank_value([], Fraction(1, 2)) is None


@pytest.mark.parametrize(
    ("as_it_came", "shown"),
    [
        ("/u/192.0.2.1/x", "/u/[ip]/x"),
        ("/a%20b/192%2e0.2.1", "/a b/[ip]"),
        ("/x1.2.3.4y", "/x[ip]y"),
        ("/192.168.001.001.html", "/[ip].html"),
        ("/10.0.0.1:80", "/[ip]:80"),
        ("/u/a%2540b.de", "/u/[email]"),
        ("/2001%253Adb8::1", "/[ip]"),
        ("/[2001:db8::1]/", "/[ip]/"),
        ("/::ffff:192.0.2.1", "/[ip]"),
        ("/1:2:3:4:5:6:7:8", "/[ip]"),
        ("/u/john@[10.0.0.1]", "/u/[email]"),
        ("/u/john@10.0.0.1?q=1", "/u/[email]"),
        ("/a&b=john@x.com&c=1", "/a&b=[email]&c=1"),
        ("-", ""),
        ("?a", ""),
        ("-?a", "-"),
        ("/" + "x" * 3000, "/" + "x" * 2047),
        ("/1.2.3.4/" + "x" * 3000, "/[ip]/" + "x" * 2042),
    ],
)
def test_addresses_leave_no_trace_in_a_path(as_it_came: str, shown: str) -> None:
    assert shown_path(as_it_came) == shown


@pytest.mark.parametrize(
    "innocent",
    [
        "/a%20b",
        "/x/1.2.3.4.5",
        "/256.1.1.1",
        "/v1.2.3.4/x",
        "/1.2.3",
        "/npm/react@18.2.0/x",
        "/@scope/pkg",
        "/a@b",
        "/t/12:30:45",
        "/a/::/b",
        "/docs/std::vec",
        "/docs/std::f32::consts",
        "/aa:bb:cc:dd:ee:ff",
        "/%zz%",
        "/%2541",
        "Foo::bar",
    ],
)
def test_what_only_looks_like_an_address_stays_as_it_came(innocent: str) -> None:
    assert scrub(innocent) == innocent


def test_decoding_goes_on_until_nothing_changes_and_takes_linear_time() -> None:
    assert decode_fully("%2525252541") == "A"
    assert decode_fully("%3%3%32") == "2"
    assert decode_fully("%" + "25" * 200_000) == "%"


def test_another_list_is_read_and_what_it_lacks_is_null() -> None:
    values = {"timestamp": f"{START_S}.5", "cs-uri-stem": "/a", "x-edge-request-id": "1"}
    seed = recount(line_of(values, SEED), fields="seed").entries
    canonical = recount(line_of(values, CANONICAL), fields="canonical").entries
    assert seed == canonical
    short = ["timestamp", "cs-uri-stem"]
    both = recount(
        file_of(line_of(values, short), line_of(values, [*short, "sc-status"])), [short, [*short, "sc-status"]]
    )
    entry = both.entries["30min/2026-02-16-1430"]
    assert (entry["total_requests"], entry["status_breakdown"], entry["total_bytes"]) == (2, {"2xx": 1}, None)
    assert "sc-bytes" in entry["missing_fields"]
    assert "sc-status" not in entry["missing_fields"]
    assert entry["per_minute"]["bytes"] is None


def test_values_beyond_the_hundredth_are_summed() -> None:
    entry = half_hour(*[line(cs_host=f"h{n:03}") for n in range(103)], line(cs_host="h102"))
    assert len(entry["hosts"]) == 101
    assert entry["hosts"]["h102"] == 2
    assert entry["hosts"]["(other)"] == 3
    assert "h099" not in entry["hosts"]
    assert "h098" in entry["hosts"]


def at(seconds: float) -> int:
    return round((START_S + seconds) * 1000)


def test_a_record_behind_the_watermark_is_late_and_much_later_is_dropped() -> None:
    oracle = Stream_Oracle(allowed_lateness_ms=3_600_000)
    oracle.add("p", line(START_S), at(1))
    oracle.add("p", line(START_S + 1859), at(1860))  # watermark: 1799 s, not yet the end of the window
    oracle.add("p", line(START_S + 1), at(1861))  # in time, and moves nothing
    oracle.add("p", line(START_S + 1860), at(1862))  # watermark: 1800 s
    oracle.add("p", line(START_S + 2), at(1863))  # late
    oracle.add("p", line(START_S + 5460), at(5461))  # watermark: 5400 s, the end and an hour
    oracle.add("p", line(START_S + 3, "gone"), at(5462))  # too late
    oracle.add("p", line(START_S + 5461, "gone"), at(5463))  # the dropped one's id was not remembered
    first = oracle.entries()["30min/2026-02-16-1430"]
    assert (first["total_requests"], first["late_records"], first["invalid_records"]) == (3, 1, 0)
    assert oracle.entries()["30min/2026-02-16-1600"]["invalid_records"] == 1
    assert oracle.counters().too_late == 1
    assert oracle.counters().aggregated == 7


def test_the_future_moves_nothing() -> None:
    oracle = Stream_Oracle()
    oracle.add("p", line(START_S), at(0))
    before = (oracle.partitions["p"].watermark_ms, oracle.partitions["p"].arrival_max_ms)
    oracle.add("p", line(f"{START_S + 310}.001", "x"), at(10))
    oracle.add("p", b"garbage", at(10))
    assert (oracle.partitions["p"].watermark_ms, oracle.partitions["p"].arrival_max_ms) == before
    assert oracle.counters().invalid == {"future": 1, "fields": 1}
    assert oracle.entries()["30min/2026-02-16-1430"]["invalid_records"] == 2


def test_an_id_is_remembered_for_ten_minutes_after_the_minute_it_last_came_in() -> None:
    oracle = Stream_Oracle()
    oracle.add("p", line(START_S, "a"), at(0))
    oracle.add("p", line(START_S, "a"), at(659))  # minute 10: a duplicate, and remembered anew
    oracle.add("p", line(START_S, "a"), at(1259))  # minute 20: a duplicate
    oracle.add("p", line(START_S, "a"), at(0))  # the clock of arrivals does not go back
    oracle.add("p", line(START_S, "a"), at(1860))  # minute 31: eleven later, counts again
    oracle.add("q", line(START_S, "a"), at(1))  # another partition knows nothing of it
    entry = oracle.entries()["30min/2026-02-16-1430"]
    assert (entry["total_requests"], entry["duplicate_records"], entry["source_count"]) == (3, 3, 2)


def test_a_child_knows_the_ids_of_its_parents() -> None:
    oracle = Stream_Oracle()
    oracle.add("a", line(START_S, "1"), at(0))
    oracle.add("b", line(START_S, "2"), at(0))
    oracle.start("c", parents=["a", "b"])
    for request_id in "123":
        oracle.add("c", line(START_S, request_id), at(60))
    assert (oracle.counters().aggregated, oracle.counters().duplicates) == (3, 2)


def test_a_childs_clock_starts_with_the_parent_that_is_furthest_behind() -> None:
    oracle = Stream_Oracle()
    oracle.add("a", line(START_S + 3600, "1"), at(3600))
    oracle.add("b", line(START_S + 1900, "2"), at(3600))
    child = oracle.start("c", parents=["a", "b"])
    assert (child.watermark_ms, child.arrival_max_ms) == (at(1840), at(3600))
    oracle.add("c", line(START_S + 1, "3"), at(3601))  # late from its first record on
    assert oracle.counters().late == 1


def test_a_window_in_which_only_dropped_records_arrived_has_an_entry_of_zeros() -> None:
    oracle = Stream_Oracle()
    oracle.add("p", b"garbage", at(0))
    for key in ("30min/2026-02-16-1430", "hourly/2026-02-16-14", "daily/2026-02-16", "monthly/2026-02"):
        entry = oracle.entries()[key]
        assert (entry["total_requests"], entry["invalid_records"], entry["source_count"]) == (0, 1, 1)


def test_one_payload_may_hold_several_lines_or_gzip() -> None:
    oracle = Stream_Oracle()
    oracle.add("p", gzip.compress(file_of(line(), line())), at(0))
    oracle.add("p", file_of(line()), at(0))
    oracle.add("p", b"", at(0))
    assert oracle.counters().aggregated == 3
    assert recount([gzip.compress(file_of(line())), line()]).aggregated == 2


def test_compare_finds_what_differs_and_forgives_what_is_estimated() -> None:
    oracle = half_hour(*[line(START_S, time_taken=f"{n}.0") for n in range(1, 1001)])
    entry = {
        **oracle,
        "percentiles": {
            **oracle["percentiles"],
            "time_taken": {"p50": 504, "p90": 908, "p95": 941, "p99": 990, "count": 1000, "max": 1000.0},
        },
    }
    assert compare(entry, oracle) == []
    entry["percentiles"]["time_taken"]["p50"] = 506
    assert compare(entry, oracle) == ["percentiles.time_taken.p50: 506000000.0 us is not within 1% of 500000000 us"]
    for name, wrong in (("total_requests", 999), ("unique_paths", 2), ("avg_ttfb", 0.0501), ("window_end", at(0))):
        assert len(compare({**oracle, name: wrong}, oracle)) == 1
    assert compare({key: value for key, value in oracle.items() if key != "hosts"}, oracle) == [
        "fields that are not in the entry: hosts"
    ]


def test_compare_all_looks_in_both_directions() -> None:
    oracle = recount(file_of(line())).entries
    assert compare_all(oracle.values(), oracle) == []
    assert compare_all(list(oracle.values())[1:], oracle) == ["30min/2026-02-16-1430: missing"]
    fewer = {key: entry for key, entry in oracle.items() if not key.startswith("daily")}
    assert compare_all(oracle.values(), fewer) == ["daily/2026-02-16: not expected"]


@given(
    st.sampled_from(SECRETS),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["", "x=", "a b", "é", "%zz", "_", "-"]),
)
def test_no_encoding_hides_an_address(secret: str, times: int, everything: bool, before: str) -> None:
    shown = scrub(f"/{before}{percent_encoded(secret, times, everything)}/x")
    assert "[ip]" in shown or "[email]" in shown
    assert secret.strip("[]").split(":8080")[0] not in decode_fully(shown)
    assert scrub(shown) == shown


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_record_of_a_hostile_file_is_counted_once_however_it_is_cut(data: st.DataObject) -> None:
    content = data.draw(log_files())
    whole = recount(content, now_ms=NOW_MS)
    assert whole.records == whole.aggregated + whole.duplicates + sum(whole.invalid.values())
    assert recount(data.draw(chunked(content)), now_ms=NOW_MS) == whole
    for period in ("30min", "hourly", "daily", "monthly"):
        ours = [entry for key, entry in whole.entries.items() if key.startswith(period)]
        assert sum(entry["total_requests"] for entry in ours) == whole.aggregated
        assert sum(entry["duplicate_records"] for entry in ours) == whole.duplicates


def test_a_window_that_is_shown_though_nothing_is_known_of_it_is_an_entry_of_zeros() -> None:
    oracle = Stream_Oracle()
    oracle.add("p", line(START_S), at(0))
    entries = oracle.entries(shown=[START_S // 1800, START_S // 1800 + 1])
    found = {key: (entry["total_requests"], entry["source_count"]) for key, entry in entries.items()}
    assert found == {
        "30min/2026-02-16-1430": (1, 1),
        "30min/2026-02-16-1500": (0, 0),
        "hourly/2026-02-16-14": (1, 1),
        "hourly/2026-02-16-15": (0, 1),
        "daily/2026-02-16": (1, 2),
        "monthly/2026-02": (1, 1),
    }
