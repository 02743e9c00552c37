"""Clears the state store of what nobody can need any more: the records of shards that ended long ago, which keep their
windows in the merge set until then, and the partials of windows that every partition forgot."""

from collections.abc import Sequence
from typing import Protocol

from sa_stream.commits.keys import (
    PARTIALS_PREFIX,
    SECRETS_PREFIX,
    parse_progress_key,
    progress_prefix,
    snapshots_prefix,
    window_label,
)
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.progress import Progress
from sa_stream.rollups.entry import FINAL
from sa_stream.rollups.finality import Sources, Stream_View
from sa_stream.rollups.periods import MONTHLY, from_iso
from sa_stream.rollups.reconciler import AGGREGATE_NAMESPACE, Cache, Store
from sa_stream.timing import WINDOW_MS
from sa_stream.windows.partition import NOTHING_READ


def retirable(stream: Stream_View, settled: dict[int, Sources], any_listed: bool) -> list[str]:
    """Ended partitions that may be forgotten.

    settled     window -> partials that its entry lists (Pass_Result.settled)
    any_listed  whether ListShards named any shard at all; an empty answer proves nothing

    The stream has trimmed the shard; every child has read something; all windows are published and so old that nothing
    amends them; and its own parents are gone already, as an ended shard without a known child has passed nothing.
    """
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


def retire_steps(store: Store, partition: str) -> Steps[None]:
    """Delete a partition's snapshots, then its progress records, the lowest first: at any moment, what is left says
    that it has ended."""
    snapshots = yield call(store.list, snapshots_prefix(partition))
    for item in snapshots:
        yield call(store.delete, item.key)
    records = yield call(store.list, progress_prefix(partition))
    for item in sorted(records, key=lambda item: parse_progress_key(item.key)[1:3]):
        yield call(store.delete, item.key)


class Folder_Store(Store, Protocol):
    def list_folders(self, prefix: str) -> Sequence[str]: ...


def forget_partials_steps(store: Folder_Store, stream: Stream_View) -> Steps[int]:
    """Delete the partials of windows that ended long ago and that no partition names; how many. Until then they serve
    a late record in another partition: an entry lists them, and is made of all that it lists."""
    named = {f"{PARTIALS_PREFIX}{window_label(window_ms)}" for window_ms in stream.named}
    first_kept = f"{PARTIALS_PREFIX}{window_label(stream.now_ms - 2 * stream.timing.keep_ms)}"
    deleted = 0
    folders: Sequence[str] = yield call(store.list_folders, PARTIALS_PREFIX)
    for folder in folders:
        if folder < first_kept and folder not in named:
            listed = yield call(store.list, f"{folder}/")
            for item in listed:
                yield call(store.delete, item.key)
                deleted += 1
    return deleted


def forget_secrets_steps(store: Store, cache: Cache, stream: Stream_View) -> Steps[list[str]]:
    """Destroy the hash secrets of closed months: final, and too old to be amended. Without it, nobody can find out any
    more whose request id or agent a stored hash was made of. Returns the months."""
    closed = []
    for item in (yield call(store.list, SECRETS_PREFIX)):
        month = item.key.removeprefix(SECRETS_PREFIX)
        entry = yield call(cache.retrieve_entry, AGGREGATE_NAMESPACE, f"{MONTHLY}/{month}")
        if entry is None or entry["status"] != FINAL:
            continue
        if from_iso(entry["window_end"]) + stream.timing.keep_ms < stream.now_ms:
            yield call(store.delete, item.key)
            closed.append(month)
    return closed


def clean_up_steps(store: Folder_Store, cache: Cache, stream: Stream_View, settled: dict[int, Sources]) -> Steps[None]:
    """All of it; now and then is enough."""
    for partition in retirable(stream, settled, stream.any_listed):
        yield from retire_steps(store, partition)
    yield from forget_partials_steps(store, stream)
    yield from forget_secrets_steps(store, cache, stream)
