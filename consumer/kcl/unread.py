"""Which shards nobody reads: the reconciler's look at all workers' progress comes in, shards without any for too long
go out. A KCL that sits still looks healthy from inside; its shards' progress records do not."""

from msgspec import Struct, field

from sa_stream.rollups.finality import Stream_View
from sa_stream.timing import Moment

type Position = tuple[str, int]


class Unread_Shards(Struct):
    """patience_ms: without progress for so long, a shard counts as unread by every worker."""

    patience_ms: int
    _last: dict[str, tuple[Position | None, Moment]] = field(default_factory=dict)

    def observe(self, stream: Stream_View, now: Moment) -> dict[str, Moment]:
        """Open shards that some worker should be reading, and since when none has made progress with them."""
        last, unread = self._last, {}
        self._last = {}
        for partition in stream.merge_set:
            if not _is_due(stream, partition):
                continue
            progress = stream.progress.get(partition)
            position = None if progress is None else (progress.number, progress.watermark_ms)
            before, since = last.get(partition, (position, now))
            if position != before:
                since = now
            self._last[partition] = (position, since)
            if now - since >= self.patience_ms:
                unread[partition] = since
        return unread


def _is_due(stream: Stream_View, partition: str) -> bool:
    """Whether somebody has to read it: it is listed, has not ended, is not one that the application passed over, and
    its parents have ended or were passed over."""
    progress = stream.progress.get(partition)
    if not stream.listed(partition) or (progress is not None and progress.ended):
        return False
    if progress is not None:
        return True
    if stream.skipped(partition):
        return False
    return all(
        stream.skipped(parent) or ((read := stream.progress.get(parent)) is not None and read.ended)
        for parent in stream.parents(partition)
    )
