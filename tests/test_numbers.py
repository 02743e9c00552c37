"""Small files of the kinds that people reported, each with the numbers that are right; and that the recount agrees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sa_stream.bounded.replay import replay_logs
from sa_stream.log_file import Log_File, Log_Form, Log_Lines
from sa_stream.records.fields import CANONICAL, RESULT_FIELDS, resolve_field_lists
from sa_stream.records.intake import Intake
from tests.log_lines import NOW_MS, line_of
from tests.oracle import compare_all, recount

pytestmark = pytest.mark.usefixtures("both_ways")

CASES = Path(__file__).parent / "cases"
WITHOUT_PROTOCOL = tuple(name for name in CANONICAL if name != "cs-protocol")


def log(content: bytes) -> list[Log_Lines]:
    return [Log_Lines(Log_File("a log", Log_Form.TEXT), content)]


def half_hour(content: bytes, fields: Sequence[str] = CANONICAL) -> dict[str, Any]:
    """The one entry of a half hour, after all entries were compared with a recount."""
    lists = resolve_field_lists(",".join(fields), "")
    entries = list(replay_logs(log(content), Intake(lists), NOW_MS)[0])
    assert compare_all(entries, recount(content, fields=list(fields), now_ms=NOW_MS).entries) == []
    (found,) = (entry for entry in entries if entry["period"] == "30min")
    return found


def case(name: str, fields: Sequence[str] = CANONICAL) -> dict[str, Any]:
    return half_hour((CASES / f"{name}.log").read_bytes(), fields)


def lines_of(*records: dict[str, str], fields: Sequence[str] = CANONICAL) -> bytes:
    time = {"timestamp": "1771252345"}
    return b"".join(line_of(time | record, fields) + b"\n" for record in records)


def test_scales_and_versions_in_paths_are_no_email_addresses() -> None:
    entry = case("retina_paths")
    assert {row["path"]: row["count"] for row in entry["top_paths"]} == {
        "/b": 12,
        "/a": 11,
        "/u/[email]": 10,
        "/u/[email]/x": 9,
        "/img/banner@2x.jpg": 8,
        "/fonts/a@1.5x.woff2": 7,
        "/npm/@scope/pkg@1.2.0/dist/a.css": 6,
        "/npm/jquery@3.7.1.min.js": 5,
        "/img/logo%402x.png": 4,
        "/img/logo@3x.min.png": 3,
        "/img/icon@2x.png": 2,
        "/img/logo@2x.png": 1,
    }


def test_the_life_of_a_websocket_is_no_latency_even_without_its_protocol() -> None:
    entry = case("websocket_without_protocol_field", WITHOUT_PROTOCOL)
    times = entry["percentiles"]["time_taken"]
    assert (entry["total_requests"], times["count"], times["max"]) == (45, 40, 0.089)
    assert entry["avg_time_taken"] < 0.09
    assert (entry["protocols"], entry["missing_fields"]) == (None, ["cs-protocol"])


def test_nor_is_that_of_a_call_or_of_a_stream_of_events() -> None:
    entry = case("grpc_and_event_stream")
    for name, highest_s in (("time_taken", 0.09), ("ttfb", 0.039)):
        times = entry["percentiles"][name]
        assert (entry["total_requests"], times["count"], times["max"]) == (46, 40, highest_s)


def test_of_two_values_the_greater_one_is_the_p90() -> None:
    times = case("two_values")["percentiles"]["time_taken"]
    assert times.pop("p50") == pytest.approx(0.001, rel=0.01)
    assert (times.pop("count"), times.pop("max")) == (2, 0.924)
    assert times == pytest.approx({"p90": 0.924, "p95": 0.924, "p99": 0.924}, rel=0.01)


def test_one_host_has_one_name() -> None:
    assert case("hosts_by_case")["hosts"] == {"cdn.example.org": 4}


@pytest.mark.parametrize("field", RESULT_FIELDS)
def test_hit_rates_are_from_the_first_result_type_that_the_list_has(field: str) -> None:
    others = RESULT_FIELDS[RESULT_FIELDS.index(field) + 1 :]  # those that come after it are no better
    fields = [*others, *(name for name in CANONICAL if name not in RESULT_FIELDS), field]
    results = ["Hit", "MissGeneratedResponse", "OriginShieldHit", "Miss"]
    records = [
        {"x-edge-request-id": str(number)} | dict.fromkeys(RESULT_FIELDS, "Error") | {field: result}
        for number, result in enumerate(results)
    ]
    entry = half_hour(lines_of(*records, fields=fields), fields)
    assert entry["result_field"] == field
    assert (entry["cache_hit_rate"], entry["served_from_cache_rate"]) == (25.0, 50.0)
    assert entry["result_types"] == dict.fromkeys(results, 1)
    assert sum(entry["per_minute"]["hits"]) == 1


def test_each_of_several_lists_has_its_own_result_type_and_the_entry_names_both() -> None:
    lists = [list(CANONICAL), [name for name in CANONICAL if name != "x-edge-result-type"]]
    values = {"x-edge-result-type": "Hit", "x-edge-response-result-type": "Miss"}
    content = b"".join(
        lines_of(values | {"x-edge-request-id": str(number)}, fields=one) for number, one in enumerate(lists)
    )
    settings = resolve_field_lists(";".join(map(",".join, lists)), "")
    entries = list(replay_logs(log(content), Intake(settings), NOW_MS)[0])
    assert compare_all(entries, recount(content, fields=lists, now_ms=NOW_MS).entries) == []
    assert entries[0]["result_types"] == {"Hit": 1, "Miss": 1}
    assert entries[0]["result_field"] == "x-edge-result-type, x-edge-response-result-type"


def test_a_path_is_one_path_however_its_escapes_are_written() -> None:
    stems = ["/%c3%a9", "/%C3%A9", "/%7Eann", "/~ann", "/a%2fb", "/a/b"]
    records = [{"x-edge-request-id": str(number), "cs-uri-stem": stem} for number, stem in enumerate(stems)]
    entry = half_hour(lines_of(*records))
    assert entry["unique_paths"] == 4
    assert {row["path"]: row["count"] for row in entry["top_paths"]} == {
        "/%C3%A9": 2,
        "/~ann": 2,
        "/a%2Fb": 1,
        "/a/b": 1,
    }
