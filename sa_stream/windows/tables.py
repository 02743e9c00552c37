"""Columns in, their distinct values out, in the order of their first record: by numbers, or by dicts for lists. What is
done with the values is the fold's, and the same for both.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from sa_stream.records.coded import Coded, firsts
from sa_stream.records.columns import Bools, Columns, Int64s, Lists, Texts
from sa_stream.records.micros import Micros

type Counts = dict[Any, int]  # value -> how many records have it


def paired(one: Coded, other: Coded) -> tuple[Int64s, list[tuple[int, int]]]:
    """Two columns as one: for each record which of the distinct pairs it has, and these, as places in both."""
    both, width = one.codes * len(other) + other.codes, len(other)
    if len(one) * width <= PAIRS_TOLD_BY_COUNTING:
        found = np.flatnonzero(np.bincount(both))
        number = np.zeros(len(one) * width, np.int64)
        number[found] = np.arange(len(found))
        codes = number[both]
    else:
        found, codes = np.unique(both, return_inverse=True)
    return codes, list(zip((found // width).tolist(), (found % width).tolist(), strict=True))


PAIRS_TOLD_BY_COUNTING = 1 << 18


class Many:
    """Records as numbers.

    status, sizes  of each: NO_STATUS where it has none; bytes
    huge           row -> bytes, of those with HUGE_BYTES or more, whose size is 0
    """

    def __init__(self, texts: Texts, huge: dict[int, int]) -> None:
        self._coded, self._micros, self.huge = texts.coded, texts.micros, huge
        self.status, self.sizes = texts.status, texts.sizes

    def part(self, begin: int, end: int) -> "Many":
        """Consecutive records: all of them, as those of several windows are never so many."""
        assert (begin, end) == (0, len(self.sizes))
        return self

    def counted(self, name: str) -> Counts:
        """Distinct values of a column."""
        column = self.coded(name)
        return dict(zip(column.values, column.numbers().tolist(), strict=True))

    def counted_pairs(self, one: str, other: str) -> Counts:
        """Distinct pairs of values of two columns, in the order of their first record."""
        columns = self.coded(one), self.coded(other)
        codes, pairs = paired(*columns)
        numbers = np.bincount(codes).tolist()
        order = np.argsort(firsts(codes)).tolist()
        return {(columns[0].values[a], columns[1].values[b]): numbers[k] for k in order for a, b in (pairs[k],)}

    def where(self, name: str, test: Callable[[str], bool]) -> Bools:
        """Which records have a value that passes a test."""
        column = self.coded(name)
        found: Bools = np.array([test(value) for value in column.values], np.bool_)[column.codes]
        return found

    def coded(self, name: str) -> Coded:
        return self._coded[name]

    def micros(self, name: str) -> Micros:
        return self._micros[name]


class Few:
    """The same of records in lists, of which there are few."""

    def __init__(self, lists: Lists, status: Int64s, sizes: Int64s, huge: dict[int, int]) -> None:
        self.lists, self.status, self.sizes, self.huge = lists, status, sizes, huge
        self._coded: dict[str, Coded] = {}

    def part(self, begin: int, end: int) -> "Few":
        if end - begin == len(self.sizes):
            return self
        lists = {name: values[begin:end] for name, values in self.lists.items()}
        return Few(lists, self.status[begin:end], self.sizes[begin:end], _between(self.huge, begin, end))

    def counted(self, name: str) -> Counts:
        return Counter([value or "" for value in self.lists[name]])

    def counted_pairs(self, one: str, other: str) -> Counts:
        return Counter(zip(self.lists[one], self.lists[other], strict=True))

    def where(self, name: str, test: Callable[[str], bool]) -> Bools:
        values = self.lists[name]
        passing = {value for value in set(values) if value is not None and test(value)}
        return (
            np.array([value in passing for value in values], np.bool_) if passing else np.zeros(len(values), np.bool_)
        )

    def coded(self, name: str) -> Coded:
        if name not in self._coded:
            self._coded[name] = Coded.of_texts(self.lists[name])
        return self._coded[name]

    def micros(self, name: str) -> Micros:
        return Micros.of(self.lists[name])


type Table = Many | Few


def table_of(columns: Columns) -> Table:
    table, huge = columns.table, columns.huge
    if isinstance(table, dict):
        return Few(table, np.array(table["status"], np.int64), np.array(table["bytes"], np.int64), huge)
    return Many(table, huge)


def _between(huge: dict[int, int], begin: int, end: int) -> dict[int, int]:
    return {row - begin: huge[row] for row in range(begin, end) if row in huge} if huge else huge
