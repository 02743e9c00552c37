"""Numbers by hash: what was found out once of a text that comes again and again. Whoever remembers bounds how many."""

import secrets
from functools import cache
from typing import Self

import numpy as np

from sa_stream.records.coded import Coded
from sa_stream.records.columns import Bools, Int64s
from sa_stream.windows.summaries import UInt64s


@cache
def own_secret() -> int:
    """Of this process, to remember by where hashes have no secret. Whoever knew it could make a text that is taken for
    another one."""
    return secrets.randbits(63) + 1


def keys_of(column: Coded) -> UInt64s:
    """What the distinct values of a column are known by in this process."""
    return column.hashed(own_secret())


class Remembered:
    """hash -> number above 0. The hashes are under a secret."""

    __slots__ = ("_hashes", "_numbers")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._hashes = np.empty(0, np.uint64)  # ascending
        self._numbers = np.empty(0, np.int64)

    def copy(self) -> Self:
        other = type(self)()
        other._hashes, other._numbers = self._hashes, self._numbers.copy()  # hashes are only replaced
        return other

    def __len__(self) -> int:
        return len(self._hashes)

    def items(self) -> tuple[UInt64s, Int64s]:
        """The hashes, ascending, and the number of each."""
        return self._hashes, self._numbers

    def of(self, hashes: UInt64s) -> Int64s:
        """The number of each; 0 of one that is not known."""
        place, known = self._find(hashes)
        numbers = np.zeros(len(hashes), np.int64)
        numbers[known] = self._numbers[place[known]]
        return numbers

    def put(self, hashes: UInt64s, numbers: Int64s) -> None:
        """Of distinct hashes; one that is known gets another number."""
        order = np.argsort(hashes)
        hashes, numbers = hashes[order], numbers[order]
        if not len(self._hashes):
            self._hashes, self._numbers = hashes, numbers
            return
        place, known = self._find(hashes)
        self._numbers[place[known]] = numbers[known]
        self._hashes = np.insert(self._hashes, place[~known], hashes[~known])
        self._numbers = np.insert(self._numbers, place[~known], numbers[~known])

    def _find(self, hashes: UInt64s) -> tuple[Int64s, Bools]:
        """Where each is or belongs, and whether it is there."""
        if not len(self._hashes):
            return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.bool_)
        place = np.searchsorted(self._hashes, hashes)
        known: Bools = self._hashes.take(place, mode="clip") == hashes
        return place, known & (place < len(self._hashes))
