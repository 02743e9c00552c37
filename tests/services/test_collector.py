"""The collector: the seed's dictionaries and summary, without what nobody may see, and with what could not be read."""

import json
import logging

import pytest

from sa_stream.errors import Source_Error
from sa_stream.records.fields import SEED
from sa_stream.services.CloudFront__Logs__Collector import CF_LOG_FIELDS, CloudFront__Logs__Collector
from sa_stream.timing import HOUR_MS
from tests.log_lines import line_of
from tests.services.place import BEGIN_MS, DAY_KEY, NOW_MS, Place

KEY = "cloudfront-realtime/2026/02/16/13/logs-1-2026-02-16-13-00-00-ab"


def record(number: int, **values: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    usual = {"timestamp": f"{BEGIN_MS // 1000 + number}.125", "sc-status": "200", "x-edge-request-id": f"id-{number}=="}
    return line_of(usual | named) + b"\n"


def collector_of(*lines: bytes) -> tuple[CloudFront__Logs__Collector, Place]:
    place = Place(b"")
    place.put({KEY: b"".join(lines)})
    return place.pipeline().logs_collector, place


def test_a_record_is_a_dictionary_of_the_seeds_fields_with_nothing_for_a_missing_value():
    collector, _ = collector_of(record(0, cs_method="GET", x_edge_location="LHR62-C3", sc_bytes="-", cs_referer="-"))
    (event,) = collector.collect(NOW_MS)
    assert list(event) == list(SEED) == CF_LOG_FIELDS
    assert event["timestamp"] == f"{BEGIN_MS // 1000}.125"
    assert (event["sc-status"], event["cs-method"], event["x-edge-location"]) == ("200", "GET", "LHR62-C3")
    assert (event["sc-bytes"], event["cs-referer"]) == ("", "")
    assert all(isinstance(value, str) for value in event.values())


def test_what_stands_in_a_column_that_is_not_its_own_is_not_shown():
    """As where a list was changed and its number of fields was not."""
    collector, _ = collector_of(
        record(
            0,
            origin_fbl="cookie:a=b%0Ax-real-ip:203.0.113.7",
            sc_range_start="203.0.113.7",
            sc_content_type="text/203.0.113.7",
            x_edge_request_id="2001:db8::7",
            origin_lbl="0.25",
        )
    )
    (event,) = collector.collect(NOW_MS)
    assert (event["origin-fbl"], event["sc-range-start"], event["origin-lbl"]) == ("", "", "0.25")
    assert (event["sc-content-type"], event["x-edge-request-id"]) == ("text/[ip]", "[ip]")


def test_a_record_is_the_same_from_every_form_of_a_log():
    values = {"date": "2026-02-16", "time": "14:54:04", "sc-status": "200", "ssl-cipher": "TLS_AES_128_GCM_SHA256"}
    values |= {"c-ip": "203.0.113.7", "x-edge-response-result-type": "Hit", "sc-content-len": "10"}
    values |= {"x-edge-result-type": "Hit", "cs(Referer)": "-", "x-host-header": "www.example.org"}
    w3c = f"#Fields: {' '.join(values)}\n" + "\t".join(values.values()) + "\n"
    events = []
    for content in (w3c.encode(), json.dumps(values).encode() + b"\n"):
        collector, _ = collector_of(content)
        events += collector.collect(NOW_MS)
    assert events[0] == events[1]
    assert (events[0]["sc-content-len"], events[0]["ssl-cipher"]) == ("10", "TLS_AES_128_GCM_SHA256")
    assert "203.0.113.7" not in str(events)


def test_each_record_comes_once_though_its_folder_is_looked_into_for_every_hour():
    lines = [record(number) for number in range(20)]
    collector, place = collector_of(*lines, *lines[:5])
    place.put({f"{KEY}c": b"".join(lines)})
    assert len(collector.collect(NOW_MS)) == 20
    assert collector.collect_summary(NOW_MS)["total_records"] == 20


def test_lines_that_are_no_records_are_left_out():
    collector, _ = collector_of(record(0), b"#comment\n", b"\n", b"too\tshort\n", record(1, sc_status="-"))
    assert len(collector.collect(NOW_MS)) == 1


def test_no_query_string_and_no_address_is_handed_over():
    collector, _ = collector_of(
        record(
            0,
            cs_uri_stem="/a/203.0.113.9?token=secret",
            cs_uri_query="token=secret",
            cs_referer="https://example.com/x?token=secret",
            cs_user_agent="Chrome/120.0.0.0%20jane%40example.org",
        )
    )
    (event,) = collector.collect(NOW_MS)
    assert "secret" not in str(event)
    assert (event["cs-uri-stem"], event["cs-uri-query"]) == ("/a/[ip]", "")
    assert event["cs-referer"] == "https://example.com/x"
    assert "example.org" not in event["cs-user-agent"]
    assert "Chrome" in event["cs-user-agent"]


def test_only_the_last_hours_are_looked_at():
    collector, _ = collector_of(record(0), record(3_000))
    collector.lookback_hours = 1
    assert len(collector.collect(BEGIN_MS + HOUR_MS + 1_000)) == 1


def test_the_summary_is_what_the_entries_say():
    place = Place()
    day = place.aggregate("daily", DAY_KEY)
    summary = place.pipeline().logs_collector.collect_summary(NOW_MS)
    assert summary["total_records"] == day["total_requests"] == len(place.pipeline().logs_collector.collect(NOW_MS))
    assert summary["log_files_read"] == len(place.objects)
    assert summary["status_breakdown"] == day["status_breakdown"]
    assert summary["cache_hit_rate"] == day["cache_hit_rate"]
    assert summary["edge_locations"] == sorted(day["edge_distribution"])
    assert summary["top_paths"] == [{name: top[name] for name in ("path", "count")} for top in day["top_paths"]]
    assert summary["time_range"].startswith("2026-02-16T13:00:")
    assert summary["errors"] == []


def test_without_records_the_summary_is_the_seeds():
    collector, _ = collector_of(record(0))
    assert collector.collect(NOW_MS + 9 * 24 * HOUR_MS) == []
    assert collector.collect_summary(NOW_MS + 9 * 24 * HOUR_MS) == {
        "total_records": 0,
        "log_files_read": 0,
        "time_range": "",
        "status_breakdown": {},
        "edge_locations": [],
        "cache_hit_rate": 0.0,
        "top_paths": [],
        "errors": [],
    }


def test_a_file_that_cannot_be_read_is_named_and_keeps_no_other_back(caplog: pytest.LogCaptureFixture):
    collector, place = collector_of(record(0))
    place.put({f"{KEY}c": record(1)})
    place.store.fault = lambda call, key: Source_Error(f"{key} is denied") if (call, key) == ("read", KEY) else None
    with caplog.at_level(logging.ERROR):
        assert len(collector.collect(NOW_MS)) == 1
    assert collector.errors == [f"{KEY} is denied"]
    assert collector.collect_summary(NOW_MS)["errors"] == [f"{KEY} is denied"]
    assert f"{KEY} is denied" in caplog.text
