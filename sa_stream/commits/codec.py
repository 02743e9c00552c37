"""Progress records to bytes and back (windows and snapshots have their codecs beside their classes). A record may have
the snapshot of its commit in it, as the bytes that would else be an object of their own."""

from sa_stream.commits.progress import Progress
from sa_stream.format import pack, unpack
from sa_stream.partitions import Partial_Name
from sa_stream.timing import BEGINNING_MS

KIND = "progress"
CONTENT_FIELDS = 13  # of a record; after them comes its snapshot, where it has one


def encode_progress(progress: Progress, snapshot: bytes = b"") -> bytes:
    partials = [[window_ms, name.lineage, name.number] for window_ms, name in sorted(progress.partials.items())]
    return pack(
        KIND,
        [
            progress.partition,
            progress.number,
            progress.lineage,
            progress.watermark_ms,
            progress.since_ms,
            progress.ended,
            progress.position_ms,
            list(progress.parents),
            partials,
            sorted(progress.counters.items()),
            list(progress.followed),
            progress.began_ms,
            progress.amendable_from_ms,
            *([snapshot] if snapshot else []),
        ],
    )


def decode_progress(data: bytes, key: str = "") -> Progress:
    """Raises Corrupt_State, Unknown_Version."""
    content = unpack(KIND, data, key)
    partition, number, lineage, watermark_ms, since_ms, ended, position_ms, parents, partials, counters = content[:10]
    later = content[10:CONTENT_FIELDS] or ((), BEGINNING_MS, BEGINNING_MS)  # version 1 had none
    followed, began_ms, amendable_from_ms = later
    return Progress(
        partition=partition,
        number=number,
        lineage=lineage,
        watermark_ms=watermark_ms,
        since_ms=since_ms,
        ended=ended,
        position_ms=position_ms,
        parents=tuple(parents),
        partials={window_ms: Partial_Name(line, last) for window_ms, line, last in partials},
        counters=dict(counters),
        followed=tuple(followed),
        began_ms=began_ms,
        amendable_from_ms=amendable_from_ms,
    )


def snapshot_inside(data: bytes, key: str = "") -> bytes:
    """The snapshot in a progress record whose key says that it has one. Raises Corrupt_State, Unknown_Version."""
    snapshot: bytes = unpack(KIND, data, key)[CONTENT_FIELDS]
    return snapshot
