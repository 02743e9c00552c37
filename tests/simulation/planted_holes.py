"""Rules that were missing once, taken out again: each made something final that lacked records, lost some in silence,
or kept everything from becoming final.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sa_stream.commits.consumer as consumer_module
import sa_stream.rollups.retirement as retirement
import tests.simulation.stream as simulated_stream
import tests.simulation.workers as workers
from sa_stream.commits.keys import (
    EDITIONS_PREFIX,
    PARTIALS_PREFIX,
    SECRETS_PREFIX,
    parse_progress_key,
    partial_key,
    progress_prefix,
    snapshots_prefix,
    window_label,
)
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.progress import Progress
from sa_stream.errors import Superseded
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.periods import MONTHLY, from_iso
from sa_stream.rollups.reconciler import AGGREGATE_NAMESPACE
from sa_stream.timing import BEGINNING_MS, WINDOW_MS
from sa_stream.windows.partition import NOTHING_READ, Partition_State
from sa_stream.windows.window import Window
from tests.simulation.planting import patched, planted
from tests.simulation.stores import Listed, Watched_Store


def _always(value: Any) -> property:
    """An attribute that takes whatever it is given, and keeps this."""
    return property(lambda self: value, lambda self, given: None)


@planted
def partials_deleted_by_the_wall_clock() -> Iterator[None]:
    """What nobody named when the pass began, and is old by the clock, goes: also what a backlog has just committed."""

    def forget_partials_steps(store: Any, stream: Stream_View, *more: Any, **named_more: Any) -> Steps[int]:
        named = {f"{PARTIALS_PREFIX}{window_label(window_ms)}" for window_ms in stream.named}
        first_kept = f"{PARTIALS_PREFIX}{window_label(stream.now_ms - 2 * stream.timing.keep_ms)}"
        folders: Sequence[str] = yield call(store.list_folders, PARTIALS_PREFIX)
        for folder in folders:
            if folder < first_kept and folder not in named:
                for item in (yield call(store.list, f"{folder}/")):
                    yield call(store.delete, item.key)
        return 0

    with patched(retirement, "forget_partials_steps", forget_partials_steps):
        yield


@planted
def partials_deleted_while_young() -> Iterator[None]:
    """Every partial looks as if it were there since the beginning."""
    original = Watched_Store.list

    def list_keys(self: Watched_Store, prefix: str) -> Sequence[Listed]:
        found = original(self, prefix)
        return [Listed(item.key) for item in found] if prefix.startswith(PARTIALS_PREFIX) else found

    with patched(Watched_Store, "list", list_keys):
        yield


@planted
def todays_retention_taken_for_the_past() -> Iterator[None]:
    with patched(simulated_stream, "observe_steps", None):
        yield


@planted
def lateness_is_only_a_setting() -> Iterator[None]:
    """A window that the map has forgotten is begun anew when the setting says that a record may still amend it."""
    with patched(Partition_State, "amendable_from_ms", _always(BEGINNING_MS)):
        yield


@planted
def secret_destroyed_by_the_wall_clock() -> Iterator[None]:
    def forget_secrets_steps(store: Any, cache: Any, stream: Stream_View, *more: Any, **named: Any) -> Steps[list[str]]:
        for item in (yield call(store.list, SECRETS_PREFIX)):
            month = item.key.removeprefix(SECRETS_PREFIX)[:7]
            entry = yield call(cache.retrieve_entry, AGGREGATE_NAMESPACE, f"{MONTHLY}/{month}")
            if entry is not None and from_iso(entry["window_end"]) + stream.timing.keep_ms < stream.now_ms:
                yield call(store.delete, item.key)
        return []

    with patched(retirement, "forget_secrets_steps", forget_secrets_steps):
        yield


@planted
def lost_end_taken_for_skipped() -> Iterator[None]:
    """Nobody says from which parents a child began: one whose END record is lost looks like one that nobody read."""
    with patched(Progress, "followed", _always(())):
        yield


@planted
def retired_without_a_tombstone() -> Iterator[None]:
    def retire_steps(store: Any, partition: Any, *more: Any, **named: Any) -> Steps[None]:
        partition = getattr(partition, "partition", partition)
        for item in (yield call(store.list, snapshots_prefix(partition))):
            yield call(store.delete, item.key)
        records = yield call(store.list, progress_prefix(partition))
        for item in sorted(records, key=lambda item: parse_progress_key(item.key)[1:3]):
            yield call(store.delete, item.key)

    with patched(retirement, "retire_steps", retire_steps):
        yield


@planted
def retired_by_one_list() -> Iterator[None]:
    """A shard that one list lacks is trimmed, as far as anybody can tell."""

    def retirable(stream: Stream_View, settled: Any, any_listed: bool, *more: Any, **named: Any) -> list[str]:
        old_ms = stream.now_ms - stream.timing.keep_ms

        def forgettable(partition: str, own: Progress) -> bool:
            children = [stream.progress.get(child) for child in stream.children(partition)]
            return (
                own.ended
                and any_listed
                and not stream.listed(partition)
                and not stream.parents(partition)
                and own.watermark_ms < old_ms
                and all(child is not None and (child.ended or child.number != NOTHING_READ) for child in children)
                and all(
                    start_ms + WINDOW_MS < old_ms and (partition, name) in settled.get(start_ms, ())
                    for start_ms, name in own.partials.items()
                )
            )

        return [partition for partition, own in stream.progress.items() if forgettable(partition, own)]

    with patched(retirement, "retirable", retirable):
        yield


@planted
def retired_coverage_forgotten() -> Iterator[None]:
    """A loss that only a retired shard knew of is forgotten with it."""
    original = Stream_View.__init__

    def without_tombstones(self: Stream_View, shards: Any, progress: Any, *more: Any, **named: Any) -> None:
        original(self, shards, {name: own for name, own in progress.items() if not own.retired}, *more, **named)

    with patched(Stream_View, "__init__", without_tombstones):
        yield


@planted
def trimmed_shard_never_answered() -> Iterator[None]:
    """Who is to read a shard that no list has any more waits until one has it."""
    with patched(workers, "GONE_KNOWN", False):
        yield


@planted
def trimmed_shard_ends_as_if_read() -> Iterator[None]:
    """A shard that went before it was read ends, and vouches for what it did not read."""
    original = consumer_module.Partition_Consumer.end_steps

    def end_steps(self: Any, now_ms: int, gone: bool = False) -> Steps[None]:
        yield from original(self, now_ms)

    with (
        patched(consumer_module.Partition_Consumer, "end_steps", end_steps),
        patched(Partition_State, "may_have_lost_records", lambda self, now_ms, position_ms: False),
    ):
        yield


@planted
def skipped_for_one_generation() -> Iterator[None]:
    """A shard that nobody read counts as skipped only if its children were read, and not theirs."""

    def skipped(self: Stream_View, partition: str) -> bool:
        return (
            partition not in self.progress
            and self.listed(partition)
            and self._listed[partition].closed
            and any(child in self.progress for child in self.children(partition))
        )

    with patched(Stream_View, "_skipped", skipped):
        yield


@planted
def missing_partial_taken_for_superseded() -> Iterator[None]:
    """A partial that is gone means that somebody is ahead: also to the only one who reads the shard."""

    def load_steps(store: Any, state: Partition_State, starts: Sequence[int], *more: Any) -> Steps[None]:
        for start, name in [(start, state.partials[start]) for start in starts if start in state.partials]:
            if start not in state.windows:
                key = partial_key(start, state.partition, name)
                data = yield call(store.get, key)
                if data is None:
                    raise Superseded(f"{key} is gone")
                state.windows[start] = Window.from_bytes(data, key)

    with patched(consumer_module, "load_steps", load_steps):
        yield


@planted
def editions_not_looked_at() -> Iterator[None]:
    """Only the cache says what was published: what somebody who stalled puts there is believed."""
    original = Watched_Store.list

    def list_keys(self: Watched_Store, prefix: str) -> Sequence[Listed]:
        return [] if prefix.startswith(EDITIONS_PREFIX) else original(self, prefix)

    with patched(Watched_Store, "list", list_keys):
        yield


@planted
def position_by_a_clock_that_is_off() -> Iterator[None]:
    """A worker whose clock is ahead says that it has read what nobody could have read yet: a loss goes unnoticed."""
    original = Partition_State.tip_was_empty

    def tip_was_empty(self: Partition_State, not_fetched_before_ms: int, clock_off: bool = False) -> None:
        original(self, not_fetched_before_ms, clock_off)
        self.position_ms = max(self.position_ms, not_fetched_before_ms)

    with patched(Partition_State, "tip_was_empty", tip_was_empty):
        yield
