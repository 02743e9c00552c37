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

type Values = list[str | None]


class Table(Protocol):
    """Some records.

    status, sizes  of each record: NO_STATUS where it has none, and bytes
    """

    status: Int64s
    sizes: Int64s

    def counted(self, name: str) -> tuple[Values, list[int]]:
        """Distinct values of a column in any order, and how many records have each."""

    def in_order(self, *names: str) -> list[tuple[Any, ...]]:
        """Distinct values of a column, or of several together, each with how many records have it, in the order of
        their first record."""

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
        self._counted: dict[str, tuple[Values, list[int]]] = {}
        self.status: Int64s = frame["status"].to_numpy()
        self.sizes: Int64s = frame["bytes"].to_numpy()

    def counted(self, name: str) -> tuple[Values, list[int]]:
        found = self._counted.get(name)
        if found is None:
            values = self._frame[name].value_counts()
            found = self._counted[name] = values[name].to_list(), values["count"].to_list()
        return found

    def in_order(self, *names: str) -> list[tuple[Any, ...]]:
        return self._frame.group_by(names, maintain_order=True).agg(pl.len()).rows()

    def where(self, name: str, test: Callable[[str], bool]) -> Bools | None:
        passing = [value for value in self.counted(name)[0] if value is not None and test(value)]
        return self._frame[name].is_in(passing).fill_null(False).to_numpy() if passing else None

    def without(self, rows: Bools) -> "Many":
        return Many(self._frame.filter(pl.Series(~rows)))


class Few:
    """A table that is lists."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self.status: Int64s = np.array(lists["status"], np.int64)
        self.sizes: Int64s = np.array(lists["bytes"], np.int64)

    def counted(self, name: str) -> tuple[Values, list[int]]:
        found = Counter(self._lists[name])
        return list(found), list(found.values())

    def in_order(self, *names: str) -> list[tuple[Any, ...]]:
        found = Counter(zip(*(self._lists[name] for name in names), strict=True))
        return [(*values, number) for values, number in found.items()]

    def where(self, name: str, test: Callable[[str], bool]) -> Bools | None:
        passing = [value is not None and test(value) for value in self._lists[name]]
        return np.array(passing) if any(passing) else None

    def without(self, rows: Bools) -> "Few":
        kept = (~rows).tolist()
        return Few({name: list(compress(values, kept)) for name, values in self._lists.items()})
