"""Bugs that the simulation must find: each is a patch of the product that breaks one rule of the design.

Each is registered by its name (tests/simulation/planting.py). Rules that were missing once are in planted_holes.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec.structs import replace

import sa_stream.commits.partition_consumer as consumer_module
import sa_stream.commits.protocol as protocol
from sa_stream.commits.keys import progress_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.poison import Poison
from sa_stream.commits.remains import Remains
from sa_stream.errors import Lease_Lost
from sa_stream.partitions import END
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.timing import Now
from sa_stream.windows.ids import Recent_Ids
from sa_stream.windows.partition_state import Partition_State, Placed
from tests.simulation.planting import patched, planted


@planted
def late_record_starts_anew() -> Iterator[None]:
    """A late record makes a new window instead of loading the partial of the one that is there."""

    def load_steps(store: Any, state: Partition_State, starts: Sequence[int]) -> Steps[list[int]]:
        yield from ()
        return []

    with patched(consumer_module, "load_steps", load_steps):
        yield


@planted
def dropped_from_the_map_before_published() -> Iterator[None]:
    """A partition forgets a window as soon as it is closed and too old for late records, whoever has seen it."""

    def window_is_old(state: Partition_State, start: int) -> bool:
        return start in state.closed_windows() or start not in state.windows

    def published(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self._shared = replace(self._shared, published=lambda partition, window_ms, name: True)

    original = consumer_module.Partition_Consumer.__init__
    with (
        patched(consumer_module, "window_is_old", window_is_old),
        patched(consumer_module.Partition_Consumer, "__init__", published),
    ):
        yield


@planted
def trimmed_parent_left_out() -> Iterator[None]:
    """Only shards that ListShards names are merged."""

    original = Stream_View.__init__

    def only_listed(self: Stream_View, shards: Any, progress: Any, timing: Any, now_ms: int) -> None:
        shards = list(shards)
        listed = {shard.shard_id for shard in shards}
        original(self, shards, {name: own for name, own in progress.items() if name in listed}, timing, now_ms)

    with patched(Stream_View, "__init__", only_listed):
        yield


@planted
def shard_end_without_its_windows() -> Iterator[None]:
    """The last commit of a shard is its checkpoint and its status, without the windows touched since the one before."""

    original = protocol.commit_steps

    def commit_steps(
        state: Partition_State, store: Any, checkpoint: Any, remains: Remains, ended: bool = False, *more: Any
    ) -> Steps[None]:
        if ended:
            state.touched.clear()
        yield from original(state, store, checkpoint, remains, ended, *more)

    with patched(consumer_module, "commit_steps", commit_steps):
        yield


@planted
def clock_followed_at_processing() -> Iterator[None]:
    """An idle tip moves the watermark to the time at which it is processed, not to one before it was fetched."""

    original = consumer_module.Partition_Consumer.receive

    def receive(self: Any, batch: Any, now: Now) -> None:
        if not batch.payloads and batch.millis_behind_latest == 0:
            batch.not_fetched_before_ms = now.wall_ms
        original(self, batch, now)

    with patched(consumer_module.Partition_Consumer, "receive", receive):
        yield


@planted
def ids_forgotten_by_event_time() -> Iterator[None]:
    """Ids are remembered by the minute of the event: a late record's retry counts twice."""

    original_take, original_see = Partition_State.take, Recent_Ids.see
    minutes: list[Any] = []

    def take(self: Partition_State, placed: Placed, *more: Any) -> Any:
        minutes.append((placed.columns.event_ms // 60_000).astype(np.int32))
        return original_take(self, placed, *more)

    def see(self: Recent_Ids, ids: Any, arrival_minutes: Any) -> Any:
        events = minutes.pop()
        if len(events) != len(ids):
            return original_see(self, ids, arrival_minutes)
        found = np.zeros(len(ids), np.bool_)
        for row in range(len(ids)):
            now = int(arrival_minutes[row])
            one = original_see(self, ids[row : row + 1], events[row : row + 1])
            found[row] = one is not None and bool(one[0])
            self.runs = [(run, kept) for run, kept in self.runs if kept.max(initial=-1) >= now - self.horizon]
        return found if found.any() else None

    with patched(Partition_State, "take", take), patched(Recent_Ids, "see", see):
        yield


@planted
def final_replaced_by_partial() -> Iterator[None]:
    """An entry follows the progress records, also from final back to partial."""

    original = Reconciler._nothing_to_write

    def nothing_to_write(self: Reconciler, key: str, current: Any, wanted: Any) -> bool:
        if current is not None and current["status"] == "final" and not wanted.final and wanted.sources:
            return wanted.equals(current)
        return original(self, key, current, wanted)

    with patched(Reconciler, "_nothing_to_write", nothing_to_write):
        yield


@planted
def idle_commit_under_an_old_key() -> Iterator[None]:
    """Progress without the watermark in its key: an idle commit overwrites the one before it."""

    def key_without_watermark(partition: str, number: str, watermark_ms: int, *more: Any, **named: Any) -> str:
        return progress_key(partition, number, 0, *more, **named)

    def commit_steps(state: Partition_State, store: Any, checkpoint: Any, remains: Remains, *more: Any) -> Steps[None]:
        remains.progress = ""
        yield from original(state, store, checkpoint, remains, *more)

    original = protocol.commit_steps
    with (
        patched(protocol, "progress_key", key_without_watermark),
        patched(consumer_module, "commit_steps", commit_steps),
    ):
        yield


@planted
def idle_commit_takes_the_snapshot_with_it() -> Iterator[None]:
    """An idle commit deletes the progress record before its own, also the one that has the snapshot in it."""

    def idle(self: Remains, progress: str) -> list[str]:
        obsolete, self.replaced = self.replaced, [self.progress] if not self.says(progress) else []
        self.progress = progress
        return [key for key in obsolete if key]

    with patched(Remains, "idle", idle):
        yield


@planted
def retention_loss_unnoticed() -> Iterator[None]:
    with patched(Partition_State, "may_have_lost_records", lambda self, now_ms, position_ms: False):
        yield


@planted
def checkpoint_before_snapshot() -> Iterator[None]:
    """The checkpoint is made first, and what it stands for is written after."""

    original = protocol.commit_steps

    def commit_steps(
        state: Partition_State,
        store: Any,
        checkpoint: Any,
        remains: Remains,
        ended: bool = False,
        prunable: Any = (),
        *more: Any,
    ) -> Steps[None]:
        number = END if ended else state.number
        if number == END or (int(number) > 0 and number != state.committed_number and (not more or more[0])):
            yield call(checkpoint, number)
        yield from original(state, store, lambda number: None, remains, ended, prunable, *more)

    with patched(consumer_module, "commit_steps", commit_steps):
        yield


@planted
def lost_lease_ignored() -> Iterator[None]:
    """A refused checkpoint is taken for a confirmed one, and what it would have made obsolete is deleted."""

    original = protocol.commit_steps

    def commit_steps(state: Partition_State, store: Any, checkpoint: Any, *more: Any) -> Steps[None]:
        def ignoring(number: str) -> None:
            with suppress(Lease_Lost):
                checkpoint(number)

        yield from original(state, store, ignoring, *more)

    with patched(consumer_module, "commit_steps", commit_steps):
        yield


@planted
def handed_over_without_what_was_read() -> Iterator[None]:
    """A partition that is handed over commits up to what it has received, and folds only what it has time for."""

    def flush_steps(self: Any, now: Now) -> Steps[None]:
        for segment in self._segments:
            self.state.number = segment.ends[-1] if segment.records else self.state.number
        self._segments.clear()
        yield from self._commit_steps(now, ended=False)

    with patched(consumer_module.Partition_Consumer, "flush_steps", flush_steps):
        yield


@planted
def shrunk_in_the_same_lineage() -> Iterator[None]:
    """A window in its bounded form is put under the name that whoever reads the same records gives to the exact one."""

    original = Partition_State.shrink

    def shrink(self: Partition_State, start: int, lineage: str) -> bool:
        return original(self, start, self.lineage)

    with patched(Partition_State, "shrink", shrink):
        yield


@planted
def evicted_before_it_was_put() -> Iterator[None]:
    """Windows leave memory whether their partials are up to date or not."""

    def evict(self: Partition_State) -> int:
        evicted = len(self.windows)
        self.windows.clear()
        self.touched.clear()
        return evicted

    with patched(Partition_State, "evict", evict):
        yield


@planted
def set_aside_and_still_vouched_for() -> Iterator[None]:
    """Records are set aside, and the windows that they belong to become final without them."""

    original = Partition_State.set_aside

    def set_aside(self: Partition_State, *more: Any) -> None:
        since_ms = self.since_ms
        original(self, *more)
        self.since_ms = since_ms

    with patched(Partition_State, "set_aside", set_aside):
        yield


@planted
def set_aside_with_its_neighbours() -> Iterator[None]:
    """After a failure batches are joined as ever, so that sound ones are set aside with the poisoned one."""

    original = Poison.failed

    def failed(self: Poison, partition: str, folding: Any, error_text: str, careful: bool) -> None:
        original(self, partition, folding, error_text)

    with patched(Poison, "careful", lambda self, partition: False), patched(Poison, "failed", failed):
        yield
