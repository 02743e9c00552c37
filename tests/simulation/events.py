"""What seldom comes together by itself in so short a time, brought about where an option says so."""

from typing import TYPE_CHECKING

from sa_stream.commits.keys import progress_prefix
from sa_stream.commits.operations import Call
from sa_stream.embedded.memory_kinesis import Shard
from sa_stream.partitions import END
from sa_stream.timing import HOUR_MS, MINUTE_MS
from tests.simulation.parts import FOREVER_MS, STREAM, Died, Lease, Link, Task, Task_Steps

if TYPE_CHECKING:
    from tests.simulation.world import World


class Outage:
    """The time in which no worker lives.

    begins_ms, ends_ms  FOREVER_MS: there is none
    quiet               nothing is put now, so that the last records of a shard are much older than its end
    """

    def __init__(self, world: "World", begins_ms: int = FOREVER_MS, lasts_ms: int = 0) -> None:
        self.begins_ms, self.ends_ms = begins_ms, begins_ms + lasts_ms
        self.quiet = False
        self._world = world
        self._lasts_ms = lasts_ms
        self._reshard = world.options["outage_reshard"] if lasts_ms else ""
        self._split: Shard | None = None  # whose end the outage follows

    @property
    def off(self) -> bool:
        return self.begins_ms < self._world.now_ms < self.ends_ms

    def step(self) -> None:
        """Shards are split so that the retention takes records, or whole shards, that nobody has read:

        early        all open shards, when the outage has just begun
        late         when what came before the outage is about to be taken: their records go first, then they
        generations  one that is just read to its end when the outage begins, and then its children
        """
        world, now_ms = self._world, self._world.now_ms
        if not self._reshard:
            return
        if self._reshard == "generations" and now_ms > self.begins_ms - MINUTE_MS:
            if self._split is None:
                self._split = world.kinesis.stream(STREAM).open_shards()[0]
                self._children = world.split(self._split)
                self._waits_until_ms = now_ms + 2 * HOUR_MS
            elif getattr(world.leases.get(self._split.shard_id), "checkpoint", None) == END:
                self.begins_ms, self.ends_ms = now_ms - 1, now_ms + self._lasts_ms
                self._split_all(self._children)
            elif now_ms < self._waits_until_ms:
                self.begins_ms, self.ends_ms = now_ms + MINUTE_MS // 2, now_ms + self._lasts_ms
        elif self._reshard == "early" and self.off:
            self._split_all(world.kinesis.stream(STREAM).open_shards())
        elif self._reshard == "late" and self.off:
            if not self.quiet:
                self._produce()
            self.quiet = True
            if now_ms > self.ends_ms - world.timing.retention_ms + HOUR_MS:
                self._split_all(world.kinesis.stream(STREAM).open_shards(), busy=False)

    def _split_all(self, shards: list[Shard], busy: bool = True) -> None:
        if busy:
            self._produce()
        for shard in shards:
            if shard.closed_ms is None:
                self._world.split(shard)
        self.quiet, self._reshard = False, ""

    def _produce(self) -> None:
        for _ in range(10):
            self._world.produce()


class Events:
    """The part of a world in which they happen."""

    def split(self, shard: Shard) -> list[Shard]:
        children = list(self.kinesis.split(STREAM, shard.shard_id))
        for child in children:
            self.ledger.start(child.shard_id, child.parents)
        self.say("split", shard.shard_id[-2:], "into", [child.shard_id[-2:] for child in children])
        return children

    def is_taken_up(self, shard_id: str, lease: Lease) -> bool:
        """Whether a lease gets its first owner now: every other one only after a while."""
        if lease.token or not self.faults or not self.options["late_leases"] or int(shard_id[-2:]) % 2 != self.seed % 2:
            return True
        lease.not_before_ms = lease.not_before_ms or self.now_ms + self.options["late_leases"] * MINUTE_MS
        return self.now_ms >= lease.not_before_ms

    def forget_begun_leases(self) -> None:
        """With the last local runner goes what it knew of shards of which it had put neither a checkpoint nor progress
        (the next one looks for both: `Local_Runner._begun`)."""
        if self.options["listed_only"] and self.options["local"]:
            for shard in self.shards():
                lease = self.leases.get(shard.shard_id)
                begun = any(key.startswith(progress_prefix(shard.shard_id)) for key in self.store.objects)
                if shard.parents and lease is not None and lease.checkpoint is None and not begun:
                    del self.leases[shard.shard_id]

    def put_again_later(self, call: Call) -> None:
        """A put of a progress record takes effect once more, when everything that is old has been cleared away."""
        chance = self.options["late_progress"] if self.faults and call.name.endswith("put") else 0.0
        if chance and str(call.arguments[0]).startswith("progress/") and self.rng.random() < chance:
            later_ms = self.timing.retention_longest_ms + self.rng.randint(60, 300) * MINUTE_MS
            self.ghosts.append((self.now_ms + later_ms, call))

    def split_end_steps(self, link: Link) -> Task_Steps:
        """At the end of a shard another worker gets it, whose snapshot is lost, so that it vouches for less; the one
        before has just the time to put the snapshot of the end."""
        others = [worker for worker in self.workers.values() if worker.alive and worker is not link.worker]
        lease = self.leases[link.shard_id]
        asked = self.faults and others and self.options["split_ends"] and lease.token == link.token
        if not asked or lease.checkpoint is None or self.rng.random() >= self.options["split_ends"]:
            return
        for key in self.store.snapshots(link.shard_id):
            self.store.damage(key, None)
            self.say("lost", key)
            self.broken.add(key)
        self.damaged.add(link.shard_id)
        self.give(link.shard_id, lease, others[0])
        other = self.links[-1]
        while other.consumer is None and not other.dead:
            yield None
        link.dies_after = "snapshots/"

    def dies_of(self, task: Task, call: Call) -> None:
        """With the call that the split of an end waits for."""
        last = task.link.dies_after if task.link is not None else ""
        if last and call.arguments and call.name.endswith("put") and str(call.arguments[0]).startswith(last):
            raise Died
