"""Rules that were missing once, taken out again: each made something final that lacked records, lost some in silence,
or kept everything from becoming final.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sa_stream.commits.partition_consumer as consumer_module
import sa_stream.rollups.reconciler as reconciler
import sa_stream.rollups.retirement as retirement
import tests.simulation.identity as simulated_stream
import tests.simulation.workers as workers
from sa_stream.commits.keys import (
    EDITIONS_PREFIX,
    PARTIALS_PREFIX,
    SECRETS_PREFIX,
    partial_key,
    progress_prefix,
    snapshots_prefix,
    window_label,
)
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.progress import Progress
from sa_stream.errors import Superseded
from sa_stream.partitions import NOTHING_READ
from sa_stream.rollups.finality import Sources, Stream_View, Window_View
from sa_stream.rollups.memory import Memory
from sa_stream.rollups.periods import MONTHLY, from_iso
from sa_stream.rollups.publication import Found, is_final
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import BEGINNING_MS, WINDOW_MS, Now
from sa_stream.windows.coverage import First_Start
from sa_stream.windows.partition_state import Partition_State
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
def lateness_is_only_a_setting() -> Iterator[None]:
    """A window that the map has forgotten is begun anew when the setting says that a record may still amend it."""
    original = Partition_State.__dict__["from_bytes"].__func__

    def from_bytes(cls: type[Partition_State], *arguments: Any, **named: Any) -> Partition_State:
        state: Partition_State = original(cls, *arguments, **named)
        state.amendable_from_ms = BEGINNING_MS
        return state

    with patched(Partition_State, "from_bytes", classmethod(from_bytes)):
        yield


@planted
def secret_destroyed_by_the_wall_clock() -> Iterator[None]:
    def forget_secrets_steps(store: Any, cache: Any, stream: Stream_View, *more: Any, **named: Any) -> Steps[list[str]]:
        for item in (yield call(store.list, SECRETS_PREFIX)):
            month = item.key.removeprefix(SECRETS_PREFIX)[:7]
            entry = yield call(cache.retrieve_entry, NS_SA_AGGREGATE, f"{MONTHLY}/{month}")
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
def missing_partial_taken_for_superseded() -> Iterator[None]:
    """A partial that is gone means that somebody is ahead: also to the only one who reads the shard."""

    def load_steps(store: Any, state: Partition_State, starts: Sequence[int], *more: Any) -> Steps[list[int]]:
        for start, name in [(start, state.partials[start]) for start in starts if start in state.partials]:
            if start not in state.windows:
                key = partial_key(start, state.partition, name)
                data = yield call(store.get, key)
                if data is None:
                    raise Superseded(f"{key} is gone")
                state.windows[start] = Window.from_bytes(data, key)
        return []

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
def todays_retention_taken_for_the_past() -> Iterator[None]:
    """What the stream's retention was before is forgotten."""

    def observe_steps(store: Any, retention_ms: int, now_ms: int) -> Steps[tuple[tuple[int, int], ...]]:
        yield from ()
        return ()

    with patched(simulated_stream, "observe_steps", observe_steps):
        yield


@planted
def first_read_vouches_by_todays_retention() -> Iterator[None]:
    """A stream that was there before the application is taken to have kept all that today's retention keeps."""

    def since_first_ms(self: First_Start, arrival_ms: int, margin_ms: int) -> int:
        return self.from_ms if self.reach_ms >= self.kept_ms else max(self.from_ms, self.kept_ms)

    since_ms = property(lambda self: self.since_first_ms(0, 0))
    with patched(First_Start, "since_first_ms", since_first_ms), patched(First_Start, "since_ms", since_ms):
        yield


@planted
def gap_in_a_backlog_believed() -> Iterator[None]:
    """What comes next in a backlog is all there was: whatever the retention has become since it was asked for."""
    with patched(consumer_module.Partition_Consumer, "_remember_lag", lambda self: None):
        yield


def _retire_without_tombstone_steps(store: Any, partition: str, since_ms: int) -> Steps[None]:
    for prefix in (snapshots_prefix(partition), progress_prefix(partition)):
        for item in (yield call(store.list, prefix)):
            yield call(store.delete, item.key)


@planted
def retired_without_a_tombstone() -> Iterator[None]:
    """Whoever slept through the retirement brings the shard back."""
    with patched(retirement, "retire_steps", _retire_without_tombstone_steps):
        yield


@planted
def retired_by_one_list() -> Iterator[None]:
    """A shard that one list lacks is trimmed, as far as anybody can tell: it goes, without a trace."""

    def retirable(stream: Stream_View, settled: Any) -> list[str]:
        old_ms = stream.now_ms - stream.timing.keep_ms

        def forgettable(partition: str, own: Progress) -> bool:
            children = [stream.progress.get(child) for child in stream.children(partition)]
            return (
                own.ended
                and stream.any_listed
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

    with (
        patched(retirement, "retirable", retirable),
        patched(retirement, "retire_steps", _retire_without_tombstone_steps),
    ):
        yield


@planted
def retired_coverage_forgotten() -> Iterator[None]:
    """A loss that only a retired shard knew of is forgotten with it."""

    def retire_steps(store: Any, partition: str, since_ms: int) -> Steps[None]:
        yield from original(store, partition, 0)

    original = retirement.retire_steps
    with patched(retirement, "retire_steps", retire_steps):
        yield


@planted
def trimmed_shard_never_answered() -> Iterator[None]:
    """Who is to read a shard that no list has any more waits until one has it."""

    def look_up_steps(self: Any, worker: Any, shard_id: str) -> Any:
        while True:
            for shard in (yield call(self.list_anew, worker)):
                if shard.shard_id == shard_id:
                    return shard.parents
            yield None

    with patched(workers.Work, "look_up_steps", look_up_steps):
        yield


def _ends_without(gone_too: bool) -> Callable[..., Steps[None]]:
    def end_steps(self: Any, now: Now, gone: bool = False) -> Steps[None]:
        yield from self._fold_steps(now)
        if gone and not gone_too:
            self.state.lose(now.wall_ms, self._new_lineage())
        yield from self._commit_steps(now, ended=True)

    return end_steps


@planted
def trimmed_shard_ends_as_if_read() -> Iterator[None]:
    """A shard that went before it was read ends, and vouches for what it did not read."""
    with patched(consumer_module.Partition_Consumer, "end_steps", _ends_without(gone_too=True)):
        yield


@planted
def loss_not_asked_for_before_the_end() -> Iterator[None]:
    """Only records tell of a loss: a shard whose last ones were trimmed unread ends as if it had had none."""
    with patched(consumer_module.Partition_Consumer, "end_steps", _ends_without(gone_too=False)):
        yield


@planted
def skipped_for_one_generation() -> Iterator[None]:
    """A shard that nobody read counts as skipped only if its children were read, and not theirs."""

    def is_consumed_below(self: Stream_View, partition: str) -> bool:
        return any(child in self.progress for child in self.children(partition))

    with patched(Stream_View, "_is_consumed_below", is_consumed_below):
        yield


@planted
def old_list_believed() -> Iterator[None]:
    """A shard that is read and not listed says nothing of what else the list lacks."""
    with patched(Stream_View, "_proves_the_list_old", lambda self, partition: False):
        yield


@planted
def trimmed_without_its_children_never_passes() -> Iterator[None]:
    """An ended shard waits for its children, also where the stream has trimmed them too."""
    with patched(Stream_View, "_is_trimmed", lambda self, partition: False):
        yield


@planted
def settled_without_being_listed() -> Iterator[None]:
    """What is final, while the stream says that it cannot be yet, is published, whatever it lists."""

    def is_settled(stream: Stream_View, view: Window_View, found: Found) -> bool:
        return original(stream, view, found) or (is_final(found.shown) and not view.final)

    original = reconciler.is_settled
    with patched(reconciler, "is_settled", is_settled):
        yield


@planted
def forgotten_after_one_look() -> Iterator[None]:
    """What the cache showed once is published for good, and nobody looks again at what he wrote."""

    def shows(self: Memory, key: str, sources: Sources | None) -> bool:
        original(self, key, sources)
        if known := self._known.get(key):
            known.settled = sources is not None
        return sources is not None

    original = Memory.shows
    with patched(Memory, "shows", shows), patched(Memory, "look_again", lambda self, key: None):
        yield


@planted
def torn_secret_without_a_tag() -> Iterator[None]:
    """Whichever secret is there is taken for the one that all hashes were made with."""
    with patched(Partition_State, "knows_secret", lambda self, month, tag: True):
        yield
