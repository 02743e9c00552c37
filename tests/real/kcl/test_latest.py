"""An application that began at LATEST, on a stream that had been resharded more than once within its retention."""

from collections.abc import Callable

import pytest

from consumer.kcl.unread import Unread_Shards
from sa_stream.commits.operations import drive
from sa_stream.config import LATEST
from sa_stream.partitions import Shard_Info
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import DAY_MS, Timing, right_now
from tests.real.kcl.scene import Scene

pytestmark = [pytest.mark.kcl, pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE_MS = 1_000


def test_after_two_reshards_and_a_start_at_latest_records_become_final_and_no_shard_counts_as_unread(
    set_scene: Callable[..., Scene],
) -> None:
    scene = set_scene(seed=48, records=1_500, closes_in_s=16, shards=2)
    scene.stream.split(scene.stream.open_shards()[0])
    scene.stream.split(scene.stream.open_shards()[0])
    left, right = scene.stream.open_shards()[-2:]
    scene.stream.merge(left, right)
    opened = {shard["ShardId"] for shard in scene.stream.open_shards()}
    assert (len(scene.stream.shards()), len(opened)) == (7, 3)
    scene.begun_at_latest(scene.boundary_ms - 62 * DAY_MS)

    daemon = scene.run(INITIAL_POSITION=LATEST)
    scene.put(scene.older)
    scene.put(1_500 - scene.older)
    scene.wait_caught_up(daemon)
    assert scene.leases.all().keys() == opened, "the KCL reads none that were closed before"
    scene.wait_final(scene.expected())
    assert unread_shards(scene) <= opened
    scene.stop_and_check(daemon)


def unread_shards(scene: Scene) -> set[str]:
    """Those that every worker would call unread if nothing moved for as long as it is patient."""
    shards = [
        Shard_Info(
            shard["ShardId"],
            tuple(shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if shard.get(name)),
            "EndingSequenceNumber" in shard["SequenceNumberRange"],
        )
        for shard in scene.stream.shards()
    ]
    progress = drive(Progress_Reader(State_Store(f"file://{scene.state_folder}")).steps())
    assert progress
    unread, now = Unread_Shards(PATIENCE_MS), right_now()
    view = Stream_View(shards, progress, Timing(), now.wall_ms)
    unread.observe(view, now.moment)
    return set(unread.observe(view, now.moment + PATIENCE_MS))
