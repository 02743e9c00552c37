"""Real runs, and what `/metrics` says of them: what was read, written and repaired is what the entries and the recount
have."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import consumer.worker.publisher as publisher_module
from sa_stream.api.metrics_collector import Process, registry_of
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.rollups.entry import Entry
from sa_stream.rollups.periods import HALF_HOUR, cache_key
from sa_stream.timing import MINUTE_MS, WINDOW_MS, right_now, wall_clock_ms
from tests.consumer.local.conftest import Clock
from tests.consumer.local_run import STREAM, Local_Run
from tests.log_lines import ordinary_lines
from tests.windows.partition_feed import record

BEGIN_MS = wall_clock_ms() // WINDOW_MS * WINDOW_MS - 4 * WINDOW_MS


@pytest.fixture
def run(tmp_path: Path, kinesis: Memory_Kinesis, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local_Run]:
    monkeypatch.setattr(publisher_module, "EVERY_MS", 500)
    clock.ms = BEGIN_MS
    kinesis.create_stream(STREAM)
    made = Local_Run(tmp_path, OUT_OF_ORDERNESS_S="5")
    yield made
    made.stop()


class Scrapes:
    def __init__(self, run: Local_Run) -> None:
        self._registry: CollectorRegistry = registry_of(run.health, right_now, Process())

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)

    def records(self) -> dict[str, float]:
        """Outcome, or reason of a malformed one -> records."""
        return self.by("sa_stream_records_total", "outcome") | self.by("sa_stream_invalid_records_total", "reason")

    def by(self, name: str, label: str) -> dict[str, float]:
        """Label's value -> number, of those that are not 0."""
        samples = (sample for family in self._registry.collect() for sample in family.samples)
        return {each.labels[label]: each.value for each in samples if each.name == name and each.value}


def entry(run: Local_Run, window_ms: int) -> Entry:
    return run.entries.get(cache_key(HALF_HOUR, window_ms), {})


def test_what_was_read_counted_and_written_is_what_the_entries_say(
    kinesis: Memory_Kinesis, clock: Clock, run: Local_Run
) -> None:
    lines = ordinary_lines(7, 300, BEGIN_MS / 1000, 0.4).splitlines()
    for line in lines:
        kinesis.put_to_shard(STREAM, "shardId-000000000000", line + b"\n", BEGIN_MS + 25 * MINUTE_MS)
    kinesis.put_to_shard(STREAM, "shardId-000000000000", lines[0] + b"\n", BEGIN_MS + 25 * MINUTE_MS)
    kinesis.put_to_shard(STREAM, "shardId-000000000000", b"nonsense\n", BEGIN_MS + 25 * MINUTE_MS)
    clock.ms = BEGIN_MS + 25 * MINUTE_MS
    run.start()
    scrapes = Scrapes(run)
    read = len(lines) + 2
    run.until("the records to be counted", lambda: sum(scrapes.records().values()) == read)
    assert scrapes.value("sa_stream_uncommitted_seconds", shard="shardId-000000000000") is not None
    assert scrapes.value("sa_stream_retention_seconds") == 24 * 3600

    clock.ms = BEGIN_MS + WINDOW_MS + MINUTE_MS
    run.until("the half hour to be final", lambda: entry(run, BEGIN_MS).get("status") == "final")
    end_s = (BEGIN_MS + WINDOW_MS) / 1000
    run.until("the gauges", lambda: scrapes.value("sa_traffic_window_end_timestamp_seconds") == end_s)
    found = entry(run, BEGIN_MS)
    requests, classes = found["total_requests"], found["status_breakdown"]
    records = {
        "counted": requests,
        "duplicate": found["duplicate_records"],
        "fields": found["invalid_records"],
    }
    assert scrapes.records() == records
    assert scrapes.by("sa_traffic_requests_total", "status_class") == classes
    assert scrapes.by("sa_traffic_cache_results_total", "result_type") == found["result_types"]
    assert scrapes.value("sa_traffic_bytes_total") == found["total_bytes"]
    assert scrapes.value("sa_traffic_window_requests") == requests
    assert scrapes.value("sa_traffic_window_5xx_ratio") == classes.get("5xx", 0) / requests
    assert scrapes.value("sa_traffic_window_hit_ratio") == found["cache_hit_rate"] / 100
    assert scrapes.value("sa_traffic_window_p95_seconds") == found["percentiles"]["time_taken"]["p95"]
    assert scrapes.value("sa_stream_final_until_timestamp_seconds") == end_s
    assert scrapes.value("sa_stream_entries_written_total", period="30min", status="final") == 1
    assert scrapes.value("sa_stream_commit_duration_seconds_count") >= 2
    assert scrapes.value("sa_stream_publish_duration_seconds_count") >= 2

    kinesis.put(STREAM, record(1, BEGIN_MS + WINDOW_MS + 50_000).payload, "in time")
    kinesis.put(STREAM, record(2, BEGIN_MS + 1_000).payload, "late")
    run.until("the late record", lambda: scrapes.records().get("late"))
    clock.ms += MINUTE_MS
    run.until("the revision", lambda: scrapes.by("sa_stream_entry_revisions_total", "period").get("30min") == 1)
    assert scrapes.records() == {**records, "counted": requests + 1, "late": 1}

    clock.ms = BEGIN_MS + 3 * WINDOW_MS + MINUTE_MS
    end_s += 2 * WINDOW_MS / 1000
    run.until("an empty half hour", lambda: scrapes.value("sa_traffic_window_end_timestamp_seconds") == end_s)
    assert scrapes.value("sa_traffic_window_requests") == 0
    assert scrapes.value("sa_traffic_window_hit_ratio") is None


def test_a_worker_that_goes_on_counts_only_what_comes_now(
    kinesis: Memory_Kinesis, clock: Clock, run: Local_Run
) -> None:
    kinesis.put(STREAM, record(1, BEGIN_MS).payload, "key")
    run.start()
    run.until("the record to be counted", lambda: run.counted() == 1)
    run.stop()
    kinesis.put(STREAM, record(2, BEGIN_MS).payload, "key")
    run.start()
    run.until("the next one", lambda: run.counted() == 2)
    scrapes = Scrapes(run)
    run.until("the metrics", lambda: scrapes.by("sa_stream_records_total", "outcome") == {"counted": 1})
    assert sum(scrapes.by("sa_traffic_requests_total", "status_class").values()) == 1
    run.stop()
    assert scrapes.by("sa_stream_records_total", "outcome") == {"counted": 1}
