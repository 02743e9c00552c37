"""Columns in, their distinct values out, with how often each came: by polars for a frame, by dicts for lists. What is
done with the values is the fold's, and the same for both.
"""

from collections import Counter
from collections.abc import Callable
from itertools import compress
from typing import Any, Protocol, Self

import numpy as np
import polars as pl

from sa_stream.records.columns import Bools, Columns, Int64s, Lists

type Counts = dict[Any, int]  # value (None where missing) -> how many records have it


class Table(Protocol):
    """Some records.

    status, sizes  of each record: NO_STATUS where it has none, and bytes
    """

    status: Int64s
    sizes: Int64s

    def counted(self, name: str) -> Counts:
        """Distinct values of a column, in any order."""

    def in_order(self, *names: str) -> Counts:
        """Distinct values of a column (of several together: tuples), in the order of their first record."""

    def where(self, name: str, test: Callable[[str], bool]) -> Bools | None:
        """Which records have a value that passes a test; None if none has."""

    def without(self, rows: Bools) -> Self:
        """All other records."""


def table_of(columns: Columns) -> Table:
    return Few(columns.table) if isinstance(columns.table, dict) else Many(columns.table)


class Many:
    """A table that is a frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._counted: dict[str, Counts] = {}
        self.status: Int64s = frame["status"].to_numpy()
        self.sizes: Int64s = frame["bytes"].to_numpy()

    def counted(self, name: str) -> Counts:
        if name not in self._counted:
            found = self._frame[name].value_counts()
            self._counted[name] = dict(zip(found[name].to_list(), found["count"].to_list(), strict=True))
        return self._counted[name]

    def in_order(self, *names: str) -> Counts:
        *values, numbers = self._frame.group_by(names, maintain_order=True).agg(pl.len()).iter_columns()
        keys = values[0].to_list() if len(names) == 1 else zip(*(column.to_list() for column in values), strict=True)
        return dict(zip(keys, numbers.to_list(), strict=True))

    def where(self, name: str, test: Callable[[str], bool]) -> Bools | None:
        passing = [value for value in self.counted(name) if value is not None and test(value)]
        return self._frame[name].is_in(passing).fill_null(False).to_numpy() if passing else None

    def without(self, rows: Bools) -> "Many":
        return Many(self._frame.filter(pl.Series(~rows)))


class Few:
    """A table that is lists."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self.status: Int64s = np.array(lists["status"], np.int64)
        self.sizes: Int64s = np.array(lists["bytes"], np.int64)

    def counted(self, name: str) -> Counts:
        return Counter(self._lists[name])

    def in_order(self, *names: str) -> Counts:
        columns = [self._lists[name] for name in names]
        return Counter(columns[0] if len(names) == 1 else zip(*columns, strict=True))

    def where(self, name: str, test: Callable[[str], bool]) -> Bools | None:
        values = self._lists[name]
        passing = {value for value in set(values) if value is not None and test(value)}
        return np.array([value in passing for value in values]) if passing else None

    def without(self, rows: Bools) -> "Few":
        kept = (~rows).tolist()
        return Few({name: list(compress(values, kept)) for name, values in self._lists.items()})
