"""Days on which nothing breaks: four shards read to the end with a stop in the middle, shards that split and merge."""

from collections.abc import Callable

import pytest

from tests.real.kcl.scene import Scene

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]


def test_records_of_four_shards_are_counted_once_and_after_a_stop_in_the_middle_none_is_delivered_again(
    set_scene: Callable[..., Scene],
) -> None:
    scene = set_scene(seed=46, records=5_000, closes_in_s=32)
    scene.put(scene.older)
    first = scene.run()
    flow = scene.flow(5_000 - scene.older, per_s=200)
    first.wait_event("first_records", at_least=4)
    scene.wait_caught_up(first)
    scene.stop(first)
    assert not first.process.events("unfinished"), first.tail()
    committed = scene.leases.checkpoints()
    assert all(checkpoint.isdigit() for checkpoint in committed.values()), "every shard was read before the stop"

    second = scene.run()
    opened = {event["fields"]["shard"]: event["fields"]["number"] for event in second.wait_event("shard_opened", 4)}
    assert opened == committed
    flow.finish()
    scene.wait_caught_up(second)
    delivered = {event["fields"]["shard"]: event["fields"] for event in second.process.events("first_records")}
    assert {shard: fields["redelivered"] for shard, fields in delivered.items()} == dict.fromkeys(committed, 0)
    scene.stop_and_check(second)
    ends = {shard["ShardId"]: scene.stream.records(shard["ShardId"])[-1][2] for shard in scene.stream.shards()}
    assert len(ends) == 4
    assert scene.leases.checkpoints() == ends


def test_a_window_that_overlaps_a_split_and_a_merge_becomes_final_once_and_right(
    set_scene: Callable[..., Scene],
) -> None:
    scene = set_scene(seed=45, records=3_000, closes_in_s=30)
    scene.put(scene.older)
    daemon = scene.run()
    scene.put(400)
    scene.wait_caught_up(daemon)
    scene.put(400)  # so that the parents have something left to read
    scene.stream.split(scene.stream.open_shards()[1])
    scene.put(400)
    scene.wait_caught_up(daemon)
    scene.put(400)
    scene.stream.merge(*scene.stream.open_shards()[-2:])
    scene.put(400)
    scene.wait_caught_up(daemon)
    assert len(scene.stream.shards()) == 7
    assert list(scene.leases.checkpoints().values()).count("SHARD_END") == 3
    scene.stop_and_check(daemon)
    entries = [event["fields"] for event in daemon.process.events("entry") if event["fields"]["key"] == scene.newer_key]
    assert [entry["revision"] for entry in entries if entry["status"] == "final"] == [0]
