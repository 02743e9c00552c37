"""`/metrics`: every metric of the list, told from the notebook at scrape time, and what must never be in it."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from sa_stream.api.http_server import Health_Server
from sa_stream.api.metrics_collector import Process, registry_of
from sa_stream.health import metrics
from sa_stream.health.metrics import COUNTER, GAUGE, HISTOGRAM, METRICS
from sa_stream.health.notebook import Health, Last_Window
from sa_stream.timing import Now
from tests.api.lived_in import NOW, PROCESS, START, lived_in

FORBIDDEN_LABELS = {"path", "agent", "user_agent", "host", "referrer", "referer", "uri", "ip"}


def told(health: Health, process: Process = PROCESS, now: Now = NOW) -> dict[str, Family]:
    """Family by its name, as Prometheus reads it."""
    text = generate_latest(registry_of(health, lambda: now, process)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Family], name: str, **labels: str) -> float | None:
    samples = (sample for family in families.values() for sample in family.samples)
    return next((each.value for each in samples if each.name == name and each.labels == labels), None)


def test_every_metric_of_the_list_is_told_with_its_sentence_and_no_other_is() -> None:
    families = told(lived_in())
    assert {metric.name.removesuffix("_total") for metric in METRICS} == set(families)
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        assert family.samples, metric.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == set(metric.labels)


def test_the_list_keeps_prometheus_s_habits() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.kind in (GAUGE, COUNTER, HISTOGRAM)
        assert re.fullmatch(r"sa_(stream|traffic)_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == COUNTER)
        assert not FORBIDDEN_LABELS.intersection(metric.labels)


def test_what_a_shard_does_is_told_in_seconds() -> None:
    families = told(lived_in())
    assert value(families, "sa_stream_lag_seconds", shard="shard-0") == 11.5, "it grows while nothing is read"
    assert value(families, "sa_stream_last_read_timestamp_seconds", shard="shard-0") == NOW.wall_ms / 1000 - 10
    assert value(families, "sa_stream_uncommitted_seconds", shard="shard-0") == 10
    assert value(families, "sa_stream_blocked", shard="shard-0") == 1


def test_series_of_a_shard_that_was_released_or_has_ended_vanish() -> None:
    health = lived_in()
    health.shard("shard-1").ended()
    health.forget("shard-0")
    assert "shard-" not in generate_latest(registry_of(health, lambda: NOW, PROCESS)).decode()


def test_what_is_not_known_yet_has_no_series_and_is_not_zero() -> None:
    families = told(Health(START), Process())
    for metric in (metrics.FINAL_UNTIL, metrics.REPAIRS_WAITING, metrics.SHARDS_UNREAD, metrics.RETENTION):
        assert families[metric.name].samples == []
    health = Health(START)
    health.last_window(Last_Window(1_800_000, 0))
    families = told(health)
    assert value(families, "sa_traffic_window_requests") == 0
    assert families["sa_traffic_window_hit_ratio"].samples == []


def test_a_lease_that_was_lost_takes_no_count_back() -> None:
    health = lived_in()
    before = value(told(health), "sa_stream_records_total", outcome="counted")
    health.forget("shard-0")
    assert value(told(health), "sa_stream_records_total", outcome="counted") == before == 90


def test_durations_are_cumulative_buckets_in_seconds() -> None:
    health = Health(START)
    for duration_ms in (5, 6, 400, 90_000):
        health.counts.took(metrics.COMMIT_DURATION, duration_ms)
    families = told(health)
    name = "sa_stream_commit_duration_seconds"
    assert value(families, f"{name}_bucket", le="0.005") == 1
    assert value(families, f"{name}_bucket", le="0.025") == 2
    assert value(families, f"{name}_bucket", le="60.0") == 3
    assert value(families, f"{name}_bucket", le="+Inf") == value(families, f"{name}_count") == 4
    assert value(families, f"{name}_sum") == pytest.approx(90.411)


def test_a_part_that_fails_is_counted_and_logged_and_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> int:
        raise OSError("no such file")

    health = lived_in()
    for failures in (1, 2):
        families = told(health, Process(resident_bytes=broken))
        assert value(families, "sa_stream_metrics_failures_total", part="process") == failures
    assert value(families, "sa_stream_ready") == 0
    assert value(families, "sa_stream_metrics_failures_total", part="shards") == 0
    assert "sa_stream_memory_bytes" not in families
    assert [record.event for record in caplog.records] == ["metrics_failed"] * 2  # type: ignore[attr-defined]


def test_hostile_names_are_escaped() -> None:
    health = Health(START)
    name = 'a"} 1\nsa_stream_ready 1\n# \\'
    health.store(name).ok(START)
    families = told(health)
    assert value(families, "sa_stream_store_up", store=name) == 1
    assert len(families["sa_stream_ready"].samples) == 1


def test_a_scrape_of_500_shards_takes_at_most_20_ms() -> None:
    """Of this thread's CPU, as others use this machine and this process too; the best of some."""
    health = lived_in()
    for number in range(500):
        pen = health.shard(f"shardId-{number:012}")
        pen.read(START, 100, "1")
        pen.committed(START)
        pen.watermark(NOW.wall_ms)
    registry = registry_of(health, lambda: NOW, PROCESS)
    took_s = []
    for _ in range(40):
        began_s = time.thread_time()
        text = generate_latest(registry)
        took_s.append(time.thread_time() - began_s)
    assert text.count(b'shard="shardId-') == 500 * 6
    assert min(took_s) <= 0.020


@pytest.fixture
def server() -> Iterator[Health_Server]:
    server = Health_Server(lived_in(), port=0, clock=lambda: NOW, process=PROCESS)
    yield server
    server.stop()


def get(server: Health_Server, path: str, **headers: str) -> tuple[str, str]:
    request = urllib.request.Request(server.url + path, headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_prometheus_gets_the_form_that_it_asks_for(server: Health_Server) -> None:
    content_type, text = get(server, "/metrics")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert "sa_stream_ready 0.0" in text
    content_type, text = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("version", ["abc", "1.x", "1e9", ""])
def test_whoever_asks_for_a_version_that_is_none_gets_metrics_all_the_same(
    server: Health_Server, media_type: str, version: str
) -> None:
    _, text = get(server, "/metrics", Accept=f"{media_type}; version={version}")
    assert "sa_stream_ready 0.0" in text


def test_requests_are_told_by_their_route_and_never_by_their_path(server: Health_Server) -> None:
    with pytest.raises(urllib.error.HTTPError):
        get(server, "/secret-path?a=1")
    get(server, "/health/live")
    time.sleep(0.1)  # the answer is here before its time is written down
    _, text = get(server, "/metrics")
    assert 'sa_stream_http_request_duration_seconds_count{route="none"} 1.0' in text
    assert 'sa_stream_http_request_duration_seconds_count{route="/health/live"} 1.0' in text
    assert "secret" not in text
