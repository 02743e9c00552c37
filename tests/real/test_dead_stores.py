"""Stores that die in the middle of a run: what can go on goes on, health says who it is, nothing is skipped, and when
they are back the entries are the oracle's."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.counting import SETTLE_MS, closed_keys, differences, expected_of, wait_all_read, wait_final
from tests.real.processes import TRACEBACK, Cache, Daemon, World, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CACHE_HANGS_S = 25  # more than two of the 10 s that a request has
CACHE_NAMED_S = 22  # by then: a request's deadline, and the time for which a store may fail
CACHE_GONE_S = 8
STATE_DEAD_S = 15


def passing(seconds: float) -> Iterator[float]:
    """The seconds that have passed, asked again and again until so many have."""
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds:
        yield passed_s
        time.sleep(0.5)


def test_a_cache_service_that_hangs_and_then_is_gone_only_delays_what_people_see(world: World) -> None:
    """First it takes requests and does not answer, then nobody is there. Every shard is read on and committed in both
    parts, so that nothing grows old however long it lasts."""
    stream = world.stream(records=20_000, seed=3, hours=2, live_per_s=50)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache))
    daemon.wait_ready()
    until("the first entries", lambda: daemon.process.events("entry"), 30, show=daemon.process.err)
    cache.process.signal(signal.SIGSTOP)
    before = positions(daemon)
    committed = set()
    for passed_s in passing(CACHE_HANGS_S):
        committed.add(look(daemon, cache, passed_s, named=passed_s > CACHE_NAMED_S))
    between = positions(daemon)
    assert all(between[shard_id] > number for shard_id, number in before.items()), "not read while the cache hangs"
    assert len(committed) > CACHE_HANGS_S / 2, "not committed while the cache hangs"

    cache.stop()
    committed.clear()
    for passed_s in passing(CACHE_GONE_S):
        committed.add(look(daemon, cache, CACHE_HANGS_S + passed_s, named=True))
    assert all(positions(daemon)[shard_id] > number for shard_id, number in between.items()), "not read without it"
    assert len(committed) > CACHE_GONE_S / 2, "not committed without it"

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


def positions(daemon: Daemon) -> dict[str, int]:
    return {shard_id: int(shard["sequence_number"]) for shard_id, shard in daemon.get("/health")[1]["shards"].items()}


def look(daemon: Daemon, cache: Cache, passed_s: float, named: bool) -> str:
    """That health answers, blames the cache service (by its URL, at the latest when it must be named) and no shard; the
    time of the last commit."""
    status, health = daemon.get("/health")
    assert status == 200, f"health does not answer after {passed_s:.0f} s\n{daemon.process.err()}"
    reasons = daemon.reasons() or []
    assert not [reason for reason in reasons if reason.startswith("shard ")], "reading or committing stopped"
    if named:
        assert any(reason.startswith("cache service") and cache.url in reason for reason in reasons), reasons
        assert daemon.get("/health/ready")[0] == 503
    return str(max(shard["last_commit"] for shard in health["shards"].values()))


def test_a_state_store_that_fails_for_15_seconds_makes_its_partitions_wait(world: World) -> None:
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
