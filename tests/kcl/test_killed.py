"""Processes that are killed or hang, as a whole or one of them: what is left notices, ends, and comes back by itself;
the entries are the oracle's."""

import os
import random
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.kcl.process_tree import descendants, kill
from tests.kcl.scene import Kcl_Daemon, Scene, gone
from tests.real.processes import TRACEBACK, until

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 5


def live_for(daemon: Kcl_Daemon, seconds: float) -> None:
    """Let it run for so long, and make sure that it does."""
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.popen.wait(seconds)


def test_killed_as_a_whole_five_times_it_counts_every_record_once(set_scene: Callable[..., Scene]) -> None:
    chance = random.Random(20260216)
    scene = set_scene(seed=42, records=4_000, closes_in_s=75)
    scene.put(scene.older)
    flow = scene.flow(4_000 - scene.older, per_s=50)
    for number in range(KILLS):
        daemon = scene.run()
        if number == 1:  # while it starts; at the other times while it reads
            live_for(daemon, chance.uniform(1, 5))
        else:
            daemon.wait_event("first_records")
            live_for(daemon, chance.uniform(0, 1.5))
        daemon.kill_tree()
        assert TRACEBACK not in daemon.process.err(), daemon.tail()
    last = scene.run()
    flow.finish()
    scene.wait_caught_up(last)
    scene.stop_and_check(last)


def test_a_killed_jvm_child_or_engine_comes_back_by_itself(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=43, records=3_000, closes_in_s=75)
    scene.put(scene.older)
    daemon = scene.run()
    flow = scene.flow(3_000 - scene.older, per_s=40)
    scene.wait_caught_up(daemon)
    for role in ("jvm", "child", "daemon"):
        until(f"four children before the {role} is killed", lambda: len(daemon.tree()["child"]) == 4, 20)
        before = daemon.tree()
        ends_with_it = before["jvm"] + before["child"] + (before["daemon"] if role == "daemon" else [])
        kill([before[role][0]])
        gone(ends_with_it, daemon, within_s=20)
        scene.wait_caught_up(daemon)
        after = daemon.tree()
        assert (after["daemon"] == before["daemon"]) == (role != "daemon")
    flow.finish()
    scene.wait_caught_up(daemon)
    scene.stop_and_check(daemon)


def test_an_engine_that_hangs_is_noticed_and_started_anew(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=49, records=2_000, closes_in_s=45)
    scene.put(scene.older)
    daemon = scene.run(HANG_TIMEOUT_S="5")
    flow = scene.flow(2_000 - scene.older, per_s=80)
    scene.wait_caught_up(daemon)
    hung = descendants(daemon.process.pid)
    os.kill(daemon.wait_one("daemon").pid, signal.SIGSTOP)
    gone(hung, daemon, within_s=20)
    flow.finish()
    scene.wait_caught_up(daemon)
    restarted = daemon.process.events("restarted")
    assert len(restarted) == 1, daemon.tail()
    assert "gave no sign of life for 5 s" in restarted[0]["message"]
    scene.stop_and_check(daemon)
