"""Columns in, their distinct values out, with how often each came: by polars for a frame, by dicts for lists. What is
done with the values is the fold's, and the same for both.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import polars as pl

from sa_stream.records.columns import Bools, Columns, Int64s, Lists

type Counts = dict[Any, int]  # value (None where missing) -> how many records have it


class Many:
    """Records in a frame.

    status, sizes  of each: NO_STATUS where it has none; bytes
    huge           row -> bytes, of those with HUGE_BYTES or more, whose size is 0
    """

    def __init__(self, frame: pl.DataFrame, huge: dict[int, int]) -> None:
        self.frame, self.huge = frame, huge
        self._counted: dict[str, Counts] = {}
        self.status: Int64s = frame["status"].to_numpy()
        self.sizes: Int64s = frame["bytes"].to_numpy()

    def part(self, begin: int, end: int) -> "Many":
        """Consecutive records."""
        if end - begin == len(self.frame):
            return self
        return Many(self.frame[begin:end], _between(self.huge, begin, end))

    def counted(self, name: str) -> Counts:
        """Distinct values of a column, in any order."""
        if name not in self._counted:
            found = self.frame[name].value_counts()
            self._counted[name] = dict(zip(found[name].to_list(), found["count"].to_list(), strict=True))
        return self._counted[name]

    def in_order(self, *names: str) -> Counts:
        """Distinct values of a column (of several together: tuples), in the order of their first record."""
        *values, numbers = self.frame.group_by(names, maintain_order=True).agg(pl.len()).iter_columns()
        keys = values[0].to_list() if len(names) == 1 else zip(*(column.to_list() for column in values), strict=True)
        return dict(zip(keys, numbers.to_list(), strict=True))

    def where(self, name: str, test: Callable[[str], bool]) -> Bools:
        """Which records have a value that passes a test."""
        passing = [value for value in self.counted(name) if value is not None and test(value)]
        if not passing:
            return np.zeros(len(self.frame), np.bool_)
        column = self.frame[name]
        found = column == passing[0] if len(passing) == 1 else column.is_in(passing)  # a third of the time
        return found.fill_null(False).to_numpy()

    def without(self, rows: Bools, names: Sequence[str]) -> "Many":
        """Some columns of all other records; `huge` is not kept."""
        return Many(self.frame.select(*names, "status", "bytes").filter(pl.Series(~rows)), {})


class Few:
    """The same of records in lists, of which there are few."""

    def __init__(self, lists: Lists, status: Int64s, sizes: Int64s, huge: dict[int, int]) -> None:
        self.lists, self.status, self.sizes, self.huge = lists, status, sizes, huge

    def part(self, begin: int, end: int) -> "Few":
        if end - begin == len(self.sizes):
            return self
        lists = {name: values[begin:end] for name, values in self.lists.items()}
        return Few(lists, self.status[begin:end], self.sizes[begin:end], _between(self.huge, begin, end))

    def counted(self, name: str) -> Counts:
        return Counter(self.lists[name])

    def in_order(self, *names: str) -> Counts:
        columns = [self.lists[name] for name in names]
        return Counter(columns[0] if len(names) == 1 else zip(*columns, strict=True))

    def where(self, name: str, test: Callable[[str], bool]) -> Bools:
        values = self.lists[name]
        passing = {value for value in set(values) if value is not None and test(value)}
        return (
            np.array([value in passing for value in values], np.bool_) if passing else np.zeros(len(values), np.bool_)
        )

    def without(self, rows: Bools, names: Sequence[str]) -> "Few":
        rest = (~rows).tolist()
        lists = {name: list(compress(self.lists[name], rest)) for name in names}
        return Few(lists, self.status[~rows], self.sizes[~rows], {})


type Table = Many | Few


def table_of(columns: Columns) -> Table:
    table, huge = columns.table, columns.huge
    if isinstance(table, dict):
        return Few(table, np.array(table["status"], np.int64), np.array(table["bytes"], np.int64), huge)
    return Many(table, huge)


def _between(huge: dict[int, int], begin: int, end: int) -> dict[int, int]:
    return {row - begin: huge[row] for row in range(begin, end) if row in huge} if huge else huge
