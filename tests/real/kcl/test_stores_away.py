"""The cache service and the state store are away for a while, in the end both: health names each, nothing is skipped,
and when they are back the entries are the oracle's."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.real.kcl.scene import Scene

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

AWAY_S = 15


def passing(seconds: float) -> Iterator[float]:
    """The seconds that have passed, asked again and again until so many have."""
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds:
        yield passed_s
        time.sleep(0.5)


def test_stores_that_are_away_for_15_seconds_only_delay_it(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=48, records=2_500, closes_in_s=42)
    scene.put(scene.older)
    daemon = scene.run()
    flow = scene.flow(2_500 - scene.older, per_s=60)
    scene.wait_caught_up(daemon)
    jvm = daemon.wait_one("jvm")
    scene.cache.stop()
    daemon.wait_reason("^cache service", within_s=20)
    aside = scene.state_folder.with_name("aside")
    scene.state_folder.rename(aside)  # and a file in its place, so that nobody can make it anew
    scene.state_folder.touch()

    named: set[str] = set()
    blocked: dict[str, set[str]] = {}
    for passed_s in passing(AWAY_S):
        status, health = daemon.get("/health")
        assert status == 200, f"health does not answer after {passed_s:.0f} s\n{daemon.tail()}"
        named.update(health["reasons"])
        if passed_s > AWAY_S / 2:
            for shard_id, shard in health["shards"].items():
                blocked.setdefault(shard_id, set()).add(shard["sequence_number"])
    assert any(reason.startswith("state store") for reason in named), named
    assert sum("is blocked" in reason for reason in named) >= 4, named
    assert len(blocked) == 4
    assert all(len(numbers) == 1 for numbers in blocked.values()), f"read on without a state store: {blocked}"

    scene.state_folder.unlink()
    aside.rename(scene.state_folder)
    scene.cache.start()
    flow.finish()
    scene.wait_caught_up(daemon)
    assert daemon.wait_one("jvm") == jvm, "the KCL was restarted, which helps nobody"
    scene.stop_and_check(daemon)
