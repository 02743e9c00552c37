"""Requests by name, of names that strangers choose (referring hosts, first segments): exact up to 1,000 of them, then
the frequent ones and a bound on what they lack.

The cut is the one of the paths (Misra and Gries, in the mergeable form): it happens at exact records, so a table is a
function of the records alone and not of their batches. Of input that ends more names are held until all of it was
counted, so that what is cut then does not depend on the order of records either.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from sa_stream.records.coded import firsts
from sa_stream.windows.summaries import Int64s

NAMES_MAX = 1_000
NAMES_HELD_MAX = 16_384  # of input that ends, until `finish`
RECORDS_AT_ONCE = 1 << 13  # are looked at for the name that is one too many
REPEATED_MIN = 32  # records of a name, on average, from which on it takes less time to look at names than at records


class Names:
    """name -> requests; `error`: a count lacks at most this many."""

    __slots__ = ("counts", "error")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.error = 0

    def add(self, names: Sequence[str], numbers: Sequence[int], places: Int64s, bounded: bool = False) -> None:
        """Take in records in their order.

        names, numbers  some names, which may repeat, and how many records have each: none is 0
        places          of each record where its name stands in `names`
        bounded         of input that ends: `finish` comes
        """
        counts, most = self.counts, NAMES_HELD_MAX if bounded else NAMES_MAX
        if len(counts) + len(names) <= most or len(counts.keys() | set(names)) <= most:
            for name, number in zip(names, numbers, strict=True):
                counts[name] = counts.get(name, 0) + number
            return
        if len(places) < REPEATED_MIN * len(names):  # whoever makes up a name for each record shall not cost more
            self._add_each(map(names.__getitem__, places.tolist()), most)
            return
        begin, at_once = 0, RECORDS_AT_ONCE
        while begin < len(places):
            taken = self._add_until_full(names, places[begin : begin + at_once], most)
            begin, at_once = begin + taken, min(2 * taken, RECORDS_AT_ONCE)  # after a cut the next one may be as near

    def _add_each(self, names: Iterable[str], most: int) -> None:
        """Take in records one by one, by their names."""
        counts = self.counts
        for name in names:
            counts[name] = counts.get(name, 0) + 1
            if len(counts) > most:
                self._cut(most // 2)  # which makes room for as many new names as it keeps
                counts = self.counts

    def _add_until_full(self, names: Sequence[str], places: Int64s, most: int) -> int:
        """Take in records up to the one that brings a name too many, if there is one; returns how many it took in."""
        counts, end = self.counts, len(places)
        first = firsts(places)
        fresh = [place for place in np.flatnonzero(np.bincount(places)).tolist() if names[place] not in counts]
        room = most - len(counts)
        if len(fresh) > room:
            came = dict[str, int]()
            for place in np.array(fresh)[np.argsort(first[fresh])].tolist():
                if came.setdefault(names[place], len(came)) == room:
                    end = int(first[place]) + 1
                    break
        numbers = np.bincount(places[:end])
        there = np.flatnonzero(numbers)
        for place, number in zip(there.tolist(), numbers[there].tolist(), strict=True):
            counts[names[place]] = counts.get(names[place], 0) + number
        if len(counts) > most:
            self._cut(most // 2)
        return end

    def finish(self) -> None:
        """Nothing is added any more."""
        if len(self.counts) > NAMES_MAX:
            self._cut(NAMES_MAX)

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
        result.finish()
        return result

    def content(self) -> list[Any]:
        """Plain values for storage."""
        return [sorted(self.counts.items()), self.error]

    @classmethod
    def from_content(cls, content: list[Any]) -> Self:
        result = cls()
        result.counts, result.error = dict(content[0]), content[1]
        return result
