"""A stream that was deleted and made anew, and goes on in the state of the one before."""

import json
from pathlib import Path

import pytest

from consumer.commands.adopt_stream import adopt_stream
from sa_stream.commits.shared import Start
from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Config_Error
from sa_stream.rollups.periods import HALF_HOUR, cache_key
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.timing import BEGINNING_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Timing, wall_clock_ms
from tests.consumer.local_run import STREAM, Local_Run
from tests.rollups.rollup_stream import Stream
from tests.windows.partition_feed import MONTH_END_MS, PARTITION, Record, Worker, record

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def test_a_new_stream_goes_on_where_the_old_one_ended_and_takes_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_ms = wall_clock_ms()
    clock = {"ms": started_ms - 5 * HOUR_MS}
    kinesis = Memory_Kinesis(lambda: clock["ms"])
    server = kinesis_server.start(kinesis)
    for name, value in {**AWS, "AWS_ENDPOINT_URL_KINESIS": server.url}.items():
        monkeypatch.setenv(name, value)
    run = Local_Run(tmp_path, lambda: Kinesis_Reader(STREAM, read_interval_ms=20, idle_interval_ms=50))

    def traffic(first: int, until_ms: int) -> int:
        number = first
        while clock["ms"] < until_ms:
            number += 1
            kinesis.put(STREAM, record(number, clock["ms"]).payload, f"key-{number}")
            clock["ms"] += WINDOW_MS // 6
        return number - first

    kinesis.create_stream(STREAM, 2)
    put = traffic(0, started_ms - 3 * HOUR_MS)
    run.start()
    run.until("all of the old stream", lambda: run.counted() == put)
    run.stop()
    before = dict(run.entries)

    kinesis.delete_stream(STREAM)
    made_ms = clock["ms"] = clock["ms"] + WINDOW_MS
    kinesis.create_stream(STREAM, 2)
    again = traffic(10_000, started_ms)
    run.start()
    run.until("the refusal", lambda: isinstance(run.error, Config_Error))
    run.error = None
    said: list[str] = []
    assert adopt_stream(run.config, said.append)
    assert not adopt_stream(run.config, said.append)
    assert "nothing to adopt" in said[-1]

    run = Local_Run(tmp_path, lambda: Kinesis_Reader(STREAM, read_interval_ms=20, idle_interval_ms=50))
    run.cache.bodies = {("sa-cloudfront-aggregate", key): json.dumps(e).encode() for key, e in before.items()}
    run.start()
    first_kept_ms = -(-made_ms // WINDOW_MS) * WINDOW_MS
    run.until(
        "all of the new stream", lambda: sum(p.counters.get("records", 0) for p in run.progress.values()) == again
    )
    last = cache_key(HALF_HOUR, (started_ms - HOUR_MS) // WINDOW_MS * WINDOW_MS)
    run.until("its windows", lambda: run.entries.get(last, {}).get("status") == "final")
    run.stop()
    for key, entry in before.items():
        if key.startswith(HALF_HOUR):
            assert run.entries[key]["total_requests"] == entry["total_requests"], key
    halves = {key: e for key, e in run.entries.items() if key.startswith(HALF_HOUR) and key not in before}
    assert sum(e["total_requests"] for e in halves.values()) == sum(
        1 for n in range(again) if made_ms + n * (WINDOW_MS // 6) >= first_kept_ms
    )
    server.stop()


@pytest.mark.parametrize(
    "dropped", [record(101, MONTH_END_MS + 11 * MINUTE_MS), Record("101", MONTH_END_MS + 11 * MINUTE_MS, b"?")]
)
def test_what_the_new_stream_drops_leaves_the_half_hour_in_which_it_was_made_as_it_is(dropped: Record) -> None:
    """Its shard has the name of an old one: a partial of it would take the place of the old one's."""
    start_ms, made_ms = MONTH_END_MS, MONTH_END_MS + 10 * MINUTE_MS
    stream, timing, key = Stream(PARTITION), Timing(), cache_key(HALF_HOUR, start_ms)
    old = Worker(stream.store, None, start_ms, timing, start=Start(BEGINNING_MS, start_ms))  # type: ignore[arg-type]
    old.read([record(number, start_ms + number) for number in range(1, 11)], start_ms + MINUTE_MS)
    old.flush(start_ms + MINUTE_MS)
    stream.settle(start_ms + MINUTE_MS)
    for prefix in ("progress", "snapshots"):
        stream.store.delete([item.key for item in stream.store.list(prefix)])

    start = Start(made_ms, made_ms, adopted_ms=made_ms)
    new = Worker(stream.store, None, made_ms, timing, lineage="new", start=start)  # type: ignore[arg-type]
    next_ms = start_ms + WINDOW_MS
    new.read([dropped, record(102, next_ms)], next_ms)
    new.flush(next_ms)
    stream.settle(next_ms)
    assert (new.state.counters["records"], new.state.counters["aggregated"]) == (2, 1)
    assert list(new.state.partials) == [next_ms]
    assert stream.entries[key]["total_requests"] == 10
