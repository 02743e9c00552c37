"""Several workers of one application: they share the shards, take over from the dead, and do not believe a worker
whose lease is somebody else's."""

import os
import signal
from collections.abc import Callable

import pytest

from sa_stream.commits.keys import parse_progress_key, progress_prefix
from sa_stream.partitions import number_of
from tests.real.kcl.process_tree import Seen
from tests.real.kcl.scene import Kcl_Daemon, Scene
from tests.real.processes import until

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

# Otherwise taking over from a dead leader waits for its lock of two minutes.
QUICK_LEADER = {"KCL__clientVersionConfig": "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"}


def owned_by(scene: Scene, worker: str) -> int:
    """How many shards are a worker's."""
    return list(scene.leases.owners().values()).count(scene.worker_id(worker))


def wait_owned(scene: Scene, worker: str, at_least: int, within_s: float) -> None:
    until(
        f"{worker} to have {at_least} shards",
        lambda: owned_by(scene, worker) >= at_least,
        within_s,
        0.2,
        show=lambda: f"{scene.leases.owners()}\n{scene.tails()}",
    )


def test_one_of_two_workers_is_killed_the_other_finishes_and_a_third_joins(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=44, records=3_000, closes_in_s=46, owners="ab")
    scene.put(scene.older)
    first, second = scene.run("a", **QUICK_LEADER), scene.run("b", **QUICK_LEADER)
    flow = scene.flow(3_000 - scene.older, per_s=60)
    for daemon in (first, second):
        daemon.wait_event("first_records")
    scene.wait_caught_up(first, second)
    second.kill_tree()
    wait_owned(scene, "a", 4, within_s=40)
    scene.wait_caught_up(first)
    third = scene.run("c", **QUICK_LEADER)
    wait_owned(scene, "c", 1, within_s=40)
    flow.finish()
    third.wait_event("shard_opened")
    scene.wait_caught_up(first, third)
    scene.stop_and_check(first, third)


def newest_progress(scene: Scene) -> dict[str, int]:
    """shard -> the highest number that a progress record in the state store has."""
    newest: dict[str, int] = {}
    for path in (scene.state_folder / progress_prefix("")).rglob("*"):
        if path.is_file() and "#" not in path.name:
            key = str(path.relative_to(scene.state_folder))
            shard, number, _, _ = parse_progress_key(key)
            newest[shard] = max(newest.get(shard, 0), int(number_of(number)))
    return newest


def freeze_with_uncommitted_records(scene: Scene, daemon: Kcl_Daemon) -> Seen:
    """Stops the KCL of a worker while its engine has records that it has not committed; the process."""
    jvm = daemon.wait_one("jvm")
    for _ in range(4):
        scene.put(200)
        scene.wait_caught_up(daemon)
        os.kill(jvm.pid, signal.SIGSTOP)
        if any(shard["uncommitted_since"] for shard in daemon.get("/health")[1]["shards"].values()):
            return jvm
        os.kill(jvm.pid, signal.SIGCONT)  # it has committed just before
    raise AssertionError(f"it commits more often than it was told to\n{daemon.tail()}")


def test_the_old_owner_of_a_stolen_lease_writes_on_and_is_not_believed(set_scene: Callable[..., Scene]) -> None:
    """The first worker's KCL is frozen with records that are read and not committed, its leases become the second's;
    the engine, which knows nothing of it, writes its commit, and asks for a checkpoint that it must not get."""
    scene = set_scene(seed=47, records=3_000, closes_in_s=30)
    scene.put(scene.older)
    first = scene.run("a", COMMIT_INTERVAL_S="6")
    scene.wait_caught_up(first)
    frozen = freeze_with_uncommitted_records(scene, first)
    committed = scene.leases.checkpoints()
    for shard in committed:
        scene.leases.steal(shard, scene.worker_id("b"))
    ahead = until(
        "a commit of the old owner",
        lambda: {shard for shard, number in newest_progress(scene).items() if number > int(committed[shard])},
        20,
        show=lambda: f"{committed}, {newest_progress(scene)}\n{scene.tails()}",
    )
    assert scene.leases.checkpoints() == committed

    second = scene.run("b")
    scene.put(600)
    scene.wait_caught_up(second)
    os.kill(frozen.pid, signal.SIGCONT)
    until(
        "the old owner to hear that its commits are refused",
        lambda: (
            ahead
            <= {e["fields"]["shard"] for e in first.process.events("lease_lost") + first.process.events("shard_lost")}
        ),
        20,
        show=first.tail,
    )
    scene.put(600)
    scene.wait_caught_up(first, second)
    scene.stop_and_check(first, second)
