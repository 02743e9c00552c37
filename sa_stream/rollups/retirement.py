"""Forgets shards that ended long ago: their progress records and snapshots leave the state store, once nobody can need
them. Until then they keep their windows in the merge set."""

from sa_stream.commits.keys import parse_progress_key, progress_prefix, snapshots_prefix
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.progress import Progress
from sa_stream.rollups.finality import Sources, Stream_View
from sa_stream.rollups.reconciler import Store
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
