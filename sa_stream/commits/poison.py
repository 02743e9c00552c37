"""Batches on which the engine fails: failures of partitions come in, what to do at the next start goes out. A record
that breaks the program must neither stop its shard for ever nor vanish in silence.

After a failure the source delivers again from the checkpoint. From then on the partition is read carefully, a batch and
a commit at a time, so that the next failure belongs to one batch; when that fails in the same way again and again, it
is set aside as a whole. Only in memory: another process finds out by itself.
"""

import re
from collections import Counter, defaultdict

from msgspec import Struct, field

from sa_stream.partitions import END

SAME_WAY_MAX = 3  # so many failures in one way at one number
FAILURES_MAX = 9  # or so many in any way, as a message may say something else each time
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")  # addresses and places differ between failures of one kind


class Set_Aside(Struct, frozen=True):
    """Records that are not looked at any more: those whose numbers are in [first, last], and what the engine said."""

    first: int
    last: int
    error: str


class _Spot(Struct):
    """Failures that began at one number. `last` is the last number of the shortest batch that failed: as all of them
    did, what breaks the engine is in that one."""

    last: int
    error: str
    ways: Counter[str] = field(default_factory=Counter)

    @property
    def hopeless(self) -> bool:
        return max(self.ways.values()) >= SAME_WAY_MAX or self.ways.total() >= FAILURES_MAX


class Poison:
    """What is known of the failures of each partition. Holds no clock and does no I/O."""

    def __init__(self) -> None:
        self._spots: defaultdict[str, dict[int, _Spot]] = defaultdict(dict)  # partition -> first number ->
        self._careful_to: dict[str, int] = {}  # partition -> number up to which it is read carefully

    def failed(self, partition: str, folding: tuple[str, str] | None, error_text: str, careful: bool = True) -> None:
        """The engine failed on a partition, with anything but Lease_Lost, Superseded and Store_Unavailable.

        folding  Partition_Consumer.folding at that moment; None (no record was involved) is only remembered as a
                 reason to be careful until the next commit
        careful  Partition_Consumer.careful at that moment; a failure on batches that were joined is a reason to be
                 careful, and no more
        """
        first, last = (0, 0) if folding is None else (int(folding[0]), int(folding[1]))
        self._careful_to[partition] = max(last, self._careful_to.get(partition, 0))
        if folding is not None and careful:
            spot = self._spots[partition].setdefault(first, _Spot(last, error_text))
            spot.last = min(spot.last, last)
            spot.error = error_text
            spot.ways[_VARIABLE.sub("#", error_text)] += 1

    def careful(self, partition: str) -> bool:
        """Whether the partition's next consumer should fold and commit each batch by itself."""
        return partition in self._careful_to

    def set_aside(self, partition: str) -> tuple[Set_Aside, ...]:
        """What the partition's next consumer must not look at, ascending."""
        spots = sorted(self._spots.get(partition, {}).items())
        return tuple(Set_Aside(first, spot.last, spot.error) for first, spot in spots if spot.hopeless)

    def committed(self, partition: str, number: str) -> None:
        """The partition has a checkpoint at this number (or END), whoever made it: what lies before it is over."""
        if partition not in self._careful_to:
            return
        if number == END or int(number) >= self._careful_to[partition]:
            self._careful_to.pop(partition)
            self._spots.pop(partition, None)
            return
        spots = self._spots[partition]
        for first, spot in list(spots.items()):
            if int(number) >= (spot.last if spot.hopeless else first):
                del spots[first]
