"""Stores that die in the middle of a run: what can go on goes on, health says who it is, nothing is skipped, and when
they are back the entries are the oracle's."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.counting import SETTLE_MS, closed_keys, differences, expected_of, wait_all_read, wait_final
from tests.real.processes import TRACEBACK, World, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CACHE_DEAD_S = 90
STATE_DEAD_S = 20


def passing(seconds: float) -> Iterator[float]:
    """The seconds that have passed, asked again and again until so many have."""
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds:
        yield passed_s
        time.sleep(0.5)


def test_a_cache_service_that_is_away_for_90_seconds_only_delays_what_people_see(world: World) -> None:
    """First it takes requests and does not answer, then it is gone."""
    stream = world.stream(records=20_000, seed=3, hours=2, live_per_s=50)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache))
    daemon.wait_ready()
    until("the first entries", lambda: daemon.process.events("entry"), 30, show=daemon.process.err)
    cache.process.signal(signal.SIGSTOP)
    before = {shard_id: shard["sequence_number"] for shard_id, shard in daemon.get("/health")[1]["shards"].items()}

    named, read_s, committed = "", 0.0, set()
    for passed_s in passing(CACHE_DEAD_S):
        if passed_s > CACHE_DEAD_S / 2 and cache.process.running():
            cache.stop()
        status, health = daemon.get("/health")
        assert status == 200, f"health does not answer after {passed_s:.0f} s\n{daemon.process.err()}"
        shards = health["shards"]
        committed.add(max(shard["last_commit"] for shard in shards.values()))
        if all(int(shards[shard_id]["sequence_number"]) > int(number) for shard_id, number in before.items()):
            read_s = read_s or passed_s
        reasons = daemon.reasons() or []
        named = named or next((reason for reason in reasons if reason.startswith("cache service")), "")
        if passed_s > 30:
            assert any(reason.startswith("cache service") for reason in reasons), reasons
            assert daemon.get("/health/ready")[0] == 503
        assert not [reason for reason in reasons if reason.startswith("shard ")], "reading or committing stopped"
    assert cache.url in named, named
    assert 0 < read_s < 30, "nothing was read while the cache service was away"
    assert len(committed) > 30, "nothing was committed while the cache service was away"

    cache.start()
    daemon.wait_ready()
    stream.pause()
    oracle = expected_of(stream)
    wait_all_read(daemon, stream)
    wait_final(daemon, cache, closed_keys(oracle, stream.until_ms - SETTLE_MS))
    assert daemon.terminate() == 0
    found = differences(cache, oracle, stream.until_ms - SETTLE_MS)
    assert not found, "\n".join(found[:20])
    assert TRACEBACK not in daemon.process.err()


def test_a_state_store_that_fails_for_20_seconds_makes_its_partitions_wait(world: World) -> None:
    """The disk is gone: its directory has another name, and a file stands in its place."""
    stream = world.stream(records=20_000, seed=4, hours=2, page=200, live_per_s=50)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache))
    daemon.wait_ready()
    state, aside = world.folder / "state", world.folder / "aside"
    state.rename(aside)
    state.touch()

    named: set[str] = set()
    blocked: dict[str, set[str]] = {}
    for passed_s in passing(STATE_DEAD_S):
        status, health = daemon.get("/health")
        assert status == 200, f"health does not answer after {passed_s:.0f} s\n{daemon.process.err()}"
        named.update(reason for reason in daemon.reasons() or [] if "state store" in reason)
        if passed_s > STATE_DEAD_S / 2:
            for shard_id, shard in health["shards"].items():
                blocked.setdefault(shard_id, set()).add(shard["sequence_number"])
    assert any(reason.startswith("state store") for reason in named), named
    assert sum(reason.startswith("shard ") and "is blocked" in reason for reason in named) >= 4, named
    assert all(len(numbers) == 1 for numbers in blocked.values()), f"read on without a state store: {blocked}"

    Path(state).unlink()
    aside.rename(state)
    daemon.wait_ready()
    stream.pause()
    oracle = expected_of(stream)
    wait_all_read(daemon, stream)
    wait_final(daemon, cache, closed_keys(oracle, stream.until_ms - SETTLE_MS))
    assert daemon.terminate() == 0
    found = differences(cache, oracle, stream.until_ms - SETTLE_MS)
    assert not found, "\n".join(found[:20])
    assert TRACEBACK not in daemon.process.err()
