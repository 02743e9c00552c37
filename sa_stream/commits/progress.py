"""What a partition tells everybody else: how far it is, what it vouches for, and where the partials of its windows are.

A progress record is the only thing that readers (the reconciler, health, other workers) know about a partition. It is
immutable: each has its own key, and the highest (number, watermark) is the partition's present.
"""

from msgspec import Struct, field

from sa_stream.partitions import RETIRED, Partial_Name
from sa_stream.timing import BEGINNING_MS


class Progress(Struct):
    """Content of one progress record.

    number        sequence number of the last record seen ("0" before the first), or END
    watermark_ms  published watermark: windows that end at or before it are closed here
    since_ms      the partition vouches for windows that begin at or after since_ms + coverage margin
                  (BEGINNING_MS: for all; NEVER_MS: for none yet)
    position_ms   up to this arrival time, all has been read
    partials      window start (ms) -> name of its partial, open and closed windows alike
    counters      what was dropped and seen, by name; only grow within a lineage
    followed      those of its parents whose last snapshot it began from
    began_ms      what arrived later was its own to read; what arrived before may have been its ancestors'
    amendable_from_ms  windows that start before it take no more records here
    """

    partition: str
    number: str
    lineage: str
    watermark_ms: int
    since_ms: int
    ended: bool
    position_ms: int = 0
    parents: tuple[str, ...] = ()
    partials: dict[int, Partial_Name] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    followed: tuple[str, ...] = ()
    began_ms: int = BEGINNING_MS
    amendable_from_ms: int = BEGINNING_MS

    @property
    def retired(self) -> bool:
        return self.number == RETIRED
