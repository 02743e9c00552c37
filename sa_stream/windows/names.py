"""Requests by name, of names that strangers choose (referring hosts, first segments): exact up to 1,000 of them, then
the frequent ones and a bound on what they lack.

The cut is the one of the paths (Misra and Gries, in the mergeable form): it happens at exact records, so a table is a
function of the records alone and not of their batches.
"""

from collections.abc import Sequence
from typing import Any, Self

from sa_stream.windows.summaries import Int64s

NAMES_MAX = 1_000
NAMES_KEPT_AT_A_CUT = NAMES_MAX // 2  # a cut makes room for as many new names as it keeps


class Names:
    """name -> requests; `error`: a count lacks at most this many."""

    __slots__ = ("counts", "error")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.error = 0

    def add(self, names: Sequence[str], numbers: Sequence[int], places: Int64s) -> None:
        """Take in records in their order.

        names, numbers  some names, which may repeat, and how many records have each: none is 0
        places          of each record where its name stands in `names`
        """
        counts = self.counts
        if len(counts) + len(names) <= NAMES_MAX or len(counts.keys() | set(names)) <= NAMES_MAX:
            for name, number in zip(names, numbers, strict=True):
                counts[name] = counts.get(name, 0) + number
            return
        for place in places.tolist():
            name = names[place]
            counts[name] = counts.get(name, 0) + 1
            if len(counts) > NAMES_MAX:
                self._cut(NAMES_KEPT_AT_A_CUT)
                counts = self.counts

    def _cut(self, keep: int) -> None:
        """Keep at most so many; what ties with the first one to go, goes too."""
        taken = sorted(self.counts.values(), reverse=True)[keep]
        self.error += taken
        self.counts = {name: number - taken for name, number in self.counts.items() if number > taken}

    @classmethod
    def merged(cls, tables: Sequence[Self]) -> Self:
        """Sum of the tables, cut once if it is too long; their order does not matter."""
        result = cls()
        for table in tables:
            result.error += table.error
            for name, number in table.counts.items():
                result.counts[name] = result.counts.get(name, 0) + number
        if len(result.counts) > NAMES_MAX:
            result._cut(NAMES_MAX)
        return result

    def content(self) -> list[Any]:
        """Plain values for storage."""
        return [sorted(self.counts.items()), self.error]

    @classmethod
    def from_content(cls, content: list[Any]) -> Self:
        result = cls()
        result.counts, result.error = dict(content[0]), content[1]
        return result
