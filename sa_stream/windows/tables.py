"""Records of some windows in, and of each window the distinct values of a column out, in the order of first records.

All windows of a fold are looked at together, with the window as a key, as each call of numpy costs as much as some ten
records do. What is left to do for each window is to add its distinct values to what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from sa_stream.records.coded import Coded, counted
from sa_stream.records.columns import Bools, Columns, Int64s
from sa_stream.records.micros import Micros
from sa_stream.windows.names import Names
from sa_stream.windows.window import Window

CELLS_MAX = 1 << 18  # up to so many possible values they are told apart by counting, and not by sorting


class Grouped(NamedTuple):
    """Of each window the distinct values that its records have, in the order of their first record.

    codes   for each record which of them it has; they are numbered over all windows, one after the other
    places  of each of them its place among the distinct values of all
    bounds  where those of each window begin; and where those of the last one end
    """

    codes: Int64s
    places: Int64s
    bounds: list[int]

    def numbers(self, weights: Int64s | None = None, rows: Bools | None = None) -> Int64s:
        """Of each how many records have it, or the sum of their weights. `rows`: only of some."""
        return counted(self.codes, len(self.places), weights, rows)


def grouped(codes: Int64s, width: int, window_of: Int64s, windows: int) -> Grouped:
    """codes: of each record one of `width` values; window_of: its window, ascending."""
    rows, keys = np.arange(len(codes)), window_of * width + codes
    if windows * width <= max(CELLS_MAX, len(codes)):
        first_at = np.empty(windows * width, np.int64)  # only where there is a record
        first_at[keys[::-1]] = rows[::-1]
        first = first_at[keys]
    else:
        order = np.argsort(keys, kind="stable")
        begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
        first = np.empty(len(codes), np.int64)
        first[order] = np.repeat(order[begins], np.diff(begins, append=len(codes)))
    leads = first == rows
    number = np.cumsum(leads) - 1
    of_each = window_of[leads]
    return Grouped(number[first], codes[leads], np.searchsorted(of_each, np.arange(windows + 1)).tolist())


def paired(codes: Int64s, width: int, other: Coded) -> tuple[Int64s, list[tuple[int, int]]]:
    """Numbers below `width` and a column as one: for each record which of the distinct pairs it has; and these, in the
    order of their first record."""
    both, nowhere = codes * len(other) + other.codes, np.zeros(len(codes), np.int64)
    pair_of, found, _ = grouped(both, width * len(other), nowhere, 1)
    return pair_of, list(zip((found // len(other)).tolist(), (found % len(other)).tolist(), strict=True))


class Table:
    """Records of some windows, of which each has one, those of one window after those of another.

    windows    the windows, and `bounds` where the records of each begin, and where those of the last one end
    window_of  of each record the place of its window
    status, sizes  of each: NO_STATUS where it has none; bytes
    huge       row -> bytes, of those with HUGE_BYTES or more, whose size is 0
    bounded    of input that ends: every agent and referer is looked at, however many there are, as no stream waits; and
               more names are held, until the windows are finished
    """

    def __init__(
        self, columns: Columns, windows: Sequence[Window], lengths: Sequence[int], bounded: bool = False
    ) -> None:
        texts = columns.as_texts
        self._coded, self._micros, self.huge = texts.coded, texts.micros, columns.huge
        self.status, self.sizes, self.event_ms = texts.status, texts.sizes, columns.event_ms
        self.windows, self.bounded = windows, bounded
        self.bounds = [0, *accumulate(lengths)]
        self.window_of = np.repeat(np.arange(len(windows)), lengths)

    def coded(self, name: str) -> Coded:
        return self._coded[name]

    def micros(self, name: str) -> Micros:
        return self._micros[name]

    def where(self, name: str, test: Callable[[str], bool]) -> Bools:
        """Which records have a value that passes a test."""
        column = self.coded(name)
        found: Bools = np.array([test(value) for value in column.values], np.bool_)[column.codes]
        return found

    def of_each(self, codes: Int64s, width: int, rows: Int64s | None = None) -> Grouped:
        """Numbers of records, all of those below `width`, by window. `rows`: of which records they are, if not of
        all."""
        if len(self.windows) == 1:  # the ordinary case
            return Grouped(codes, np.arange(width), [0, width])
        window_of = self.window_of if rows is None else self.window_of[rows]
        return grouped(codes, width, window_of, len(self.windows))

    def grouped(self, column: Coded) -> Grouped:
        """The distinct values of a column by window."""
        return self.of_each(column.codes, len(column))

    def add_names(self, tables: Iterable[Names], codes: Int64s, names: Sequence[str]) -> None:
        """Count records by names, of each window in a table. `codes`: of each record where its name is in `names`, all
        of which some record has."""
        groups = self.of_each(codes, len(names))
        named, numbers = [names[place] for place in groups.places.tolist()], groups.numbers().tolist()
        for table, (_, begin, end), first, last in zip(
            tables, self.each(groups), self.bounds, self.bounds[1:], strict=False
        ):
            table.add(named[begin:end], numbers[begin:end], groups.codes[first:last] - begin, self.bounded)

    def each(self, groups: Grouped) -> Iterator[tuple[Window, int, int]]:
        """Each window, and where its distinct values begin and end."""
        return zip(self.windows, groups.bounds[:-1], groups.bounds[1:], strict=True)
