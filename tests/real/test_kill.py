"""`kill -9` at ten random moments of a real run, with the stream, the cache service and the consumer as processes of
their own; between them a shard splits and two merge. Whatever was under way, the entries end as the oracle's."""

import random
import subprocess

import pytest

from tests.real.counting import SETTLE_MS, closed_keys, differences, expected_of, wait_all_read, wait_final
from tests.real.processes import TRACEBACK, Daemon, World

KILLS = 10


def live_until(daemon: Daemon, seconds: float) -> None:
    """Let it run for so long, and make sure that it does."""
    try:
        daemon.process.popen.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    pytest.fail(f"it ended by itself: {daemon.process.err()[-2000:]}")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_ten_times_it_counts_every_record_once(world: World) -> None:
    chance = random.Random(20260217)
    stream = world.stream(records=25_000, seed=8, hours=3, page=100, live_per_s=100)
    cache = world.cache()
    env = world.settings(stream, cache)
    moments_s = []
    for number in range(KILLS):
        if number == 3:
            stream.split(stream.open_shards()[1])
        if number == 6:
            stream.merge(*stream.open_shards()[-2:])
        daemon = world.run(env, f"run-{number}")
        if number % 4:  # most from when it answers, the others from birth
            daemon.wait_answer()
        moments_s.append(round(chance.uniform(0.1, 1.6), 3))
        live_until(daemon, moments_s[-1])
        daemon.process.kill()
        assert TRACEBACK not in daemon.process.err()

    daemon = world.run(env, "run-last")
    stream.pause()
    oracle = expected_of(stream)
    wait_all_read(daemon, stream)
    closed = [key for key in closed_keys(oracle, stream.until_ms - SETTLE_MS) if key.startswith("30min")]
    wait_final(daemon, cache, closed)
    assert daemon.terminate() == 0, daemon.process.err()
    assert len(closed) >= 4
    found = differences(cache, oracle, stream.until_ms - SETTLE_MS)
    assert not found, f"killed after {moments_s} s: " + "\n".join(found[:20])
    assert TRACEBACK not in daemon.process.err()
