"""What happens to the KCL's tables from outside: the lock of a leader that was killed, a lease table that is deleted,
and leases that are another stream's or another state's."""

import time
from collections.abc import Callable

import pytest

from tests.real.kcl.scene import Scene
from tests.real.processes import until

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

GOES_ON_S = 40  # after the death of the leader, beside other tests (20 alone): its lock would last for 120
NOTICED_S = 60
WRONG_USE = 2


def test_a_leader_that_was_killed_leads_again_at_once_and_reads_the_children_of_a_split(
    set_scene: Callable[..., Scene],
) -> None:
    scene = set_scene(seed=51, records=2_000, closes_in_s=28, shards=2)
    scene.put(scene.older)
    first = scene.run()
    scene.wait_caught_up(first)
    wait_leader(scene)
    first.kill_tree()
    scene.stream.split(scene.stream.open_shards()[0])
    scene.put(600)
    began_s = time.monotonic()
    second = scene.run()
    scene.wait_caught_up(second, within_s=GOES_ON_S)
    assert second.process.events("lock_released"), second.tail()
    print(f"the children of the split were read {time.monotonic() - began_s:.1f} s after the start")

    refused = scene.run("b", STATE_URL=f"file://{scene.world.folder / 'another-state'}")
    assert refused.process.wait(30) == WRONG_USE, refused.tail()
    for word in (f"file://{scene.state_folder}", "another-state", scene.name, "SGRAPH_SEND__SA_APPLICATION"):
        assert word in refused.process.err()
    scene.stop_and_check(second)


def wait_leader(scene: Scene) -> None:
    def look() -> bool:
        found = scene.emulators.dynamodb.get_item(
            TableName=f"{scene.name}-CoordinatorState", Key={"key": {"S": "Leader"}}
        )
        return "Item" in found and found["Item"]["ownerName"]["S"] == scene.worker_id("a")

    until("the worker to be the leader", look, 30, show=scene.tails)


def test_a_lease_table_that_is_deleted_is_noticed_and_made_again(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=52, records=2_500, closes_in_s=68, shards=2)
    scene.put(scene.older)
    daemon = scene.run()
    scene.wait_caught_up(daemon)
    flow = scene.flow(2_500 - scene.older, per_s=40)
    daemon.wait_ready()
    scene.emulators.dynamodb.delete_table(TableName=scene.name)
    # The watch finds it gone, unless a checkpoint that fails for want of it has ended the KCL's process before.
    daemon.wait_reason(f"the KCL is (re)?start|the KCL is .*its table {scene.name} is gone", within_s=NOTICED_S)
    flow.finish()
    scene.wait_caught_up(daemon, within_s=90)
    assert set(scene.leases.checkpoints()) == {shard["ShardId"] for shard in scene.stream.shards()}
    daemon.wait_ready()
    scene.stop_and_check(daemon)


def test_a_stream_made_anew_under_its_name_ends_the_worker_with_a_sentence(set_scene: Callable[..., Scene]) -> None:
    scene = set_scene(seed=53, records=1_500, closes_in_s=300, shards=2)
    scene.put(scene.older)
    daemon = scene.run()
    scene.wait_caught_up(daemon)
    committed = scene.leases.checkpoints()
    scene.stream.delete()
    until("the stream to be gone", lambda: scene.name not in scene.emulators.kinesis.list_streams()["StreamNames"], 20)
    scene.emulators.kinesis.create_stream(StreamName=scene.name, ShardCount=2)
    assert daemon.process.wait(90) == WRONG_USE, daemon.tail()
    said = daemon.process.err()
    for word in ("this worker has read until now", "SGRAPH_SEND__SA_STATE_URL", "adopt-stream"):
        assert word in said, daemon.tail()
    assert "SHARD_END" not in committed.values()

    again = scene.run()
    assert again.process.wait(30) == WRONG_USE, again.tail()
    assert "the state in" in again.process.err()
    other = scene.run("b", STATE_URL=f"file://{scene.world.folder / 'new-state'}")
    assert other.process.wait(30) == WRONG_USE, other.tail()
    assert "The leases of the application" in other.process.err(), other.tail()
