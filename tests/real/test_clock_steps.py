"""A machine whose clock is wrong, or is put forward and right again, while the stream's is right: reading goes on,
health says what is wrong with the clock and nothing else, no window is final before its end, and every record counts
once."""

import time
from typing import Any

import pytest

from sa_stream.rollups.periods import end_of, parse_cache_key
from sa_stream.timing import wall_clock_ms
from tests.log_lines import line_of
from tests.real.counting import SETTLE_MS, closed_keys, differences, expected_of, wait_all_read, wait_final
from tests.real.processes import TRACEBACK, Cache, Daemon, Stream, World, until
from tests.real.stepped_clock import Stepped_Clock
from tests.real.stream_server import STREAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

HOUR_S, DAY_S = 3_600, 86_400
AHEAD_S = 4  # how long the clock is wrong
STEPS_S = (HOUR_S, 25 * HOUR_S, -HOUR_S)  # by so much, one after the other
READ_WITHIN_S = 5
RECORDS = 40


@pytest.fixture
def clock(world: World) -> Stepped_Clock:
    return Stepped_Clock(world.folder)


def put(stream: Stream) -> None:
    """Some records of now, all over the shards of a stream that is idle otherwise."""
    values = {"timestamp": f"{time.time():.3f}", "sc-status": "200"}
    lines = [line_of({**values, "x-edge-request-id": f"{time.time_ns()}-{number}"}) for number in range(RECORDS)]
    records = [{"Data": line + b"\n", "PartitionKey": str(number)} for number, line in enumerate(lines)]
    assert stream.client.put_records(StreamName=STREAM, Records=records)["FailedRecordCount"] == 0


def final_too_early(daemon: Daemon) -> list[dict[str, Any]]:
    """Every entry that was ever said to be final although its time is not over even now."""
    written = [line["fields"] for line in daemon.process.events("entry")]
    assert written
    now_ms = wall_clock_ms()
    return [
        entry for entry in written if entry["status"] == "final" and end_of(*parse_cache_key(entry["key"])) > now_ms
    ]


def check(daemon: Daemon, stream: Stream, cache: Cache) -> None:
    """Everything is read, what is over is final, and all of it is what the oracle says."""
    oracle = expected_of(stream)
    wait_all_read(daemon, stream)
    closed = [key for key in closed_keys(oracle, stream.until_ms - SETTLE_MS) if key.startswith("30min")]
    assert len(closed) >= 3
    wait_final(daemon, cache, closed)
    assert final_too_early(daemon) == []
    assert daemon.terminate() == 0, daemon.process.err()
    found = differences(cache, oracle, stream.until_ms - SETTLE_MS)
    assert not found, "\n".join(found[:20])
    assert TRACEBACK not in daemon.process.err()


def lags_ms(daemon: Daemon) -> list[int]:
    return [shard["lag_ms"] for shard in daemon.get("/health")[1]["shards"].values()]


def test_a_clock_that_is_wrong_for_seconds_holds_up_nothing_and_closes_nothing(
    world: World, clock: Stepped_Clock
) -> None:
    stream = world.stream(records=8_000, seed=5, hours=2.2)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache) | clock.env)
    daemon.wait_ready()
    wait_all_read(daemon, stream)

    for ahead_s in STEPS_S:
        clock.set(ahead_s)
        put(stream)
        began_s = time.monotonic()
        daemon.wait_reason("^the clock of this machine", AHEAD_S)
        wait_all_read(daemon, stream, READ_WITHIN_S)
        time.sleep(max(0.0, AHEAD_S - (time.monotonic() - began_s)))
        assert max(lags_ms(daemon)) < READ_WITHIN_S * 1000, ahead_s
        clock.set(0)
        put(stream)
        wait_all_read(daemon, stream, READ_WITHIN_S)
        assert max(lags_ms(daemon)) < READ_WITHIN_S * 1000, ahead_s
        daemon.wait_ready(READ_WITHIN_S)
    stepped_s = [round(line["fields"]["step_ms"] / 1000) for line in daemon.process.events("clock_stepped")]
    assert stepped_s == [step_s for ahead_s in STEPS_S for step_s in (ahead_s, -ahead_s)]
    check(daemon, stream, cache)


def test_a_clock_that_is_days_behind_from_the_start_is_said_and_closes_windows_by_the_stream_s_time(
    world: World, clock: Stepped_Clock
) -> None:
    clock.set(-3 * DAY_S)
    stream = world.stream(records=8_000, seed=6, hours=2.2)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache) | clock.env)
    reason = daemon.wait_reason("^the clock of this machine is .* s behind the source's", 30)
    assert 3 * DAY_S - 10 <= int(reason.split(" is ")[1].split()[0]) <= 3 * DAY_S
    wait_all_read(daemon, stream)
    put(stream)
    wait_all_read(daemon, stream, READ_WITHIN_S)
    oracle = expected_of(stream)
    wait_final(daemon, cache, closed_keys(oracle, stream.until_ms - SETTLE_MS)[:1])
    until("nothing else to be wrong", lambda: len(daemon.reasons() or []) == 1, 20, show=daemon.reasons)

    clock.set(0)
    daemon.wait_ready(READ_WITHIN_S)
    assert [round(line["fields"]["step_ms"] / 1000) for line in daemon.process.events("clock_stepped")] == [3 * DAY_S]
    put(stream)
    check(daemon, stream, cache)
