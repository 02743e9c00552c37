"""What a partition's commits leave behind: what each made obsolete is deleted by name, one commit later.

Others may be reading what a commit replaces: publishers, who begin a whole merge anew when a name is gone, and a worker
that recovers. Nothing is listed but what workers before this one may have left, once.
"""

from collections.abc import Sequence
from itertools import batched

from msgspec import Struct, field

from sa_stream.commits.keys import (
    PROGRESS_PREFIX,
    SNAPSHOTS_PREFIX,
    parse_progress_key,
    parse_snapshot_key,
    partial_key,
    partials_prefix,
    progress_prefix,
    snapshots_prefix,
    without_snapshot,
)
from sa_stream.commits.operations import Steps, call, together
from sa_stream.commits.ports import Store
from sa_stream.windows.partition_state import Partition_State

CALLS_MAX = 8  # of one partition at the same time; each put may hold a few megabytes


class Remains(Struct):
    """Keys that nobody needs any more, or soon.

    inherited  the lineage in which somebody before this worker may have written, "" if there is none
    snapshot   what holds the last one of this worker: an object of its own, or the progress record of its commit
    progress   the last record of this worker
    replacing  what the commit under way makes obsolete; `replaced`: what the last one did
    listed     what others left of snapshots and progress was looked for; `looked`: ... of the partials of these windows
    """

    inherited: str = ""
    snapshot: str = ""
    progress: str = ""
    replacing: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    listed: bool = False
    looked: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, state: Partition_State) -> "Remains":
        """Of a partition that was just recovered."""
        return cls(inherited=state.lineage if state.lineage == state.committed_lineage else "")

    def partial(self, state: Partition_State, start: int) -> None:
        """A partial was put that the map does not name yet, in place of the one that it names. One of another lineage
        stays: somebody may go on from there."""
        before = state.partials.get(start)
        if before is not None and before.lineage == state.lineage and before.number != state.touched[start]:
            self.replacing.append(partial_key(start, state.partition, before))

    def confirmed(self, snapshot: str, progress: str, leftovers: Sequence[str]) -> list[str]:
        """The commit that put these was confirmed: what may be deleted now."""
        before = {*self.replacing, self.snapshot, self.progress, *leftovers} - {"", snapshot, progress}
        obsolete, self.replaced, self.replacing = self.replaced, sorted(before), []
        self.snapshot, self.progress = snapshot, progress
        return obsolete

    def idle(self, progress: str) -> list[str]:
        """An idle commit has put this progress, or found it as it is: what may be deleted now. Never the record that
        holds the snapshot: no checkpoint fences this."""
        obsolete, self.replaced = self.replaced, []
        if not self.says(progress):
            self.replaced = [self.progress] if self.progress not in ("", self.snapshot) else []
            self.progress = progress
        return obsolete

    def says(self, progress: str) -> bool:
        """Whether the last record of this worker says what one of an idle commit would say."""
        return without_snapshot(self.progress) == progress


def leftovers_steps(
    state: Partition_State, store: Store, remains: Remains, touched: Sequence[int], progress: str
) -> Steps[list[str]]:
    """What workers before this one left, where it was not looked for yet: snapshots and progress below the progress
    that was just put, and below the partials of the touched windows those of the same lineage. What is above them
    belongs to somebody who writes on, or goes when its window is old."""
    partition, order, watermark_ms, _ = parse_progress_key(progress)
    starts = [start for start in touched if start not in remains.looked] if state.lineage == remains.inherited else []
    named = {
        partials_prefix(start, partition, state.lineage): partial_key(start, partition, state.partials[start])
        for start in starts
    }
    folders = [*([] if remains.listed else [snapshots_prefix(partition), progress_prefix(partition)]), *named]
    keys: list[str] = []
    for group in batched(folders, CALLS_MAX):
        for listed in (yield from together(call(store.list, folder) for folder in group)):
            keys += [item.key for item in listed]
    remains.listed = True
    remains.looked.update(starts)

    def is_left(key: str) -> bool:
        if key.startswith(SNAPSHOTS_PREFIX):
            return parse_snapshot_key(key)[1] < order
        if key.startswith(PROGRESS_PREFIX):
            _, number, its_ms, lineage = parse_progress_key(key)
            return number < order or (number == order and lineage == state.lineage and its_ms < watermark_ms)
        return key < named[key.rpartition("/")[0] + "/"]

    return [key for key in keys if is_left(key)]
