"""Processes that are killed or hang, as a whole or one of them: what is left notices, ends, and comes back by itself;
the entries are the oracle's."""

import os
import random
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.real.kcl.process_tree import Seen, kill
from tests.real.kcl.scene import AT_ONCE_S, Kcl_Daemon, Scene, gone
from tests.real.processes import TRACEBACK, until

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 3
HANG_TIMEOUT_S = 8


def live_for(daemon: Kcl_Daemon, seconds: float) -> None:
    """Let it run for so long, and make sure that it does."""
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.popen.wait(seconds)


def test_killed_as_a_whole_three_times_it_counts_every_record_once(set_scene: Callable[..., Scene]) -> None:
    chance = random.Random(20260216)
    scene = set_scene(seed=42, records=4_000, closes_in_s=44)
    scene.put(scene.older)
    flow = scene.flow(4_000 - scene.older, per_s=80)
    for number in range(KILLS):
        daemon = scene.run()
        if number == 1:  # while it starts; at the other times while it reads
            live_for(daemon, chance.uniform(1, 5))
        else:
            daemon.wait_event("first_records")
            live_for(daemon, chance.uniform(0, 1.5))
        if number == 2:
            daemon.kill_root()
        else:
            daemon.kill_tree()
        assert TRACEBACK not in daemon.process.err(), daemon.tail()
    last = scene.run()
    flow.finish()
    scene.wait_caught_up(last)
    scene.stop_and_check(last)


def test_a_part_that_is_killed_or_hangs_is_replaced_without_help(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=43, records=3_500, closes_in_s=58)
    scene.put(scene.older)
    daemon = scene.run(HANG_TIMEOUT_S=str(HANG_TIMEOUT_S))
    flow = scene.flow(3_500 - scene.older, per_s=60)
    scene.wait_caught_up(daemon)
    for role in ("jvm", "child", "daemon"):
        before = wait_whole(daemon)
        kill([before[role][0]])
        must_end(before, daemon, with_engine=role == "daemon", within_s=AT_ONCE_S if role == "daemon" else 30)
        scene.wait_caught_up(daemon)
    before = wait_whole(daemon)
    os.kill(before["daemon"][0].pid, signal.SIGSTOP)
    must_end(before, daemon, with_engine=True, within_s=HANG_TIMEOUT_S + AT_ONCE_S)
    flow.finish()
    scene.wait_caught_up(daemon)
    said = [event["message"] for event in daemon.process.events("restarted")]
    assert len(said) == 2, daemon.tail()
    assert "was killed by SIGKILL" in said[0]
    assert f"gave no sign of life for {HANG_TIMEOUT_S} s" in said[1]
    scene.stop_and_check(daemon)


def wait_whole(daemon: Kcl_Daemon) -> dict[str, list[Seen]]:
    """The processes by role, once there is a child for each of the four shards."""
    until("a child for every shard", lambda: len(daemon.tree()["child"]) == 4, 30, show=daemon.tail)
    return daemon.tree()


def must_end(before: dict[str, list[Seen]], daemon: Kcl_Daemon, with_engine: bool, within_s: float) -> None:
    """Wait until the old processes are gone: the KCL's with their children, and the engine's if that was the trouble;
    otherwise it must live on."""
    gone(before["jvm"] + before["child"] + (before["daemon"] if with_engine else []), daemon, within_s)
    assert with_engine or daemon.tree()["daemon"] == before["daemon"], daemon.tail()
