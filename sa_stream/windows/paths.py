"""Requests, bytes and what became of them per path: exact up to 65,536 distinct paths (or 32 MiB of them, as strangers
choose how long they are), then the frequent ones and a bound on what they lack.

Beyond the limit the table is cut as Misra and Gries do it (in the mergeable form of Agarwal et al., 2012): the same
number is taken from every count, so that few enough stay above zero, and the bound grows by that number. Cuts happen at
exact records and not at the end of some batch, so the table is a function of the records alone.

In memory a path is told from others by its hash under a secret of the process, as its text lies in bytes that nothing
needs to look at until it is shown or stored.
"""

import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from itertools import compress
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sa_stream.format import narrow, raw, unraw
from sa_stream.records.coded import Coded, counted
from sa_stream.records.columns import Int64s
from sa_stream.records.hashing import Texts_In
from sa_stream.windows.remembered import Remembered, own_secret
from sa_stream.windows.summaries import UInt64s

DISTINCT_MAX = 65_536
TEXT_BYTES_MAX = 32 << 20  # of all paths of a table: an average of 512 bytes, where usual ones take less than 100
KEPT_AT_A_CUT = DISTINCT_MAX // 2  # a cut makes room for as many new paths as it keeps
TEXT_BYTES_KEPT_AT_A_CUT = TEXT_BYTES_MAX // 2
SHRUNK_PATHS = DISTINCT_MAX // 16  # what `shrink` leaves
SHRUNK_TEXT_BYTES = TEXT_BYTES_MAX // 16
FEW_PATHS = 1_024  # so many rows wait in a dict before they become numbers
FEW_AT_ONCE = 256  # up to so many distinct paths, a dict takes less time
_TEXT_BYTES = 50  # that a text takes beside what it says
_INDEX_BYTES = 24  # by which a row is found, and its place in the order
_FEW_ROW_BYTES = 400  # of a row in a dict

# What is summed beside the requests: bytes; by result type and status; time-taken in microseconds, and of how many.
SUMS = ("bytes", "hits", "misses", "status_4xx", "status_5xx", "time_us", "times")
_PLACE = {name: place for place, name in enumerate(("count", *SUMS))}
_COUNT, _BYTES, _TIME_US = _PLACE["count"], _PLACE["bytes"], _PLACE["time_us"]
_COLUMN_END = 1 << 62  # below which these two stay, so that what comes at once can be added to them in 64 bits

type Texts_At = Callable[[Int64s], list[bytes]]
type Huge = Sequence[tuple[int, str, int]]


class Path_Row(NamedTuple):
    """One path with its sums, as in SUMS."""

    path: str
    requests: int
    bytes: int
    hits: int
    misses: int
    status_4xx: int
    status_5xx: int
    time_us: int
    times: int


class Path_Table:
    """A row for each path: its text, and its count and SUMS. Where few came at once, they wait in a dict before."""

    __slots__ = (
        "_few",
        "_in_order",
        "_numbers",
        "_row_of",
        "_texts",
        "bytes_error",
        "error",
        "huge_bytes",
        "huge_us",
        "text_bytes",
    )

    def __init__(self) -> None:
        self._texts: list[bytes] = []  # of each row
        self._numbers = np.empty((0, len(_PLACE)), np.int64)  # of each row, and of rows to come
        self._row_of = Remembered()  # key of a path -> its row, from 1 on
        self._in_order = np.empty(0, np.int32)  # the first rows by their paths, as they were when they were stored
        self.text_bytes = 0  # of their paths, and of those that wait
        self._few: dict[bytes, tuple[int, ...]] = {}  # path -> (count, *SUMS); the garbage collector lets these be
        self.error = 0  # a count lacks at most this many requests, and so does any other number but bytes
        self.bytes_error = 0  # the bytes of a path lack at most this many
        # path -> what its column lacks: single responses that are too large for one, and multiples of _COLUMN_END
        self.huge_bytes: dict[str, int] = {}
        self.huge_us: dict[str, int] = {}

    def __len__(self) -> int:
        """Paths; one that waits may be counted twice."""
        return len(self._texts) + len(self._few)

    # ------------------------------------------------------------------ records come in

    def add(self, paths: Coded, keys: UInt64s, sums: Mapping[str, Int64s], huge: Huge = ()) -> None:
        """Take in some records.

        paths, keys  of each record, as it may be stored; the key of each distinct one (`keys_of`)
        sums         of each record what it adds to each of SUMS
        huge         (row, path, bytes), ascending, of those whose bytes are too large for the column (0 there)
        """
        if self.has_room(len(paths), paths.bytes_at_most):  # the ordinary case
            self.add_distinct(keys, numbers_of(paths.codes, len(paths), sums), paths.some_bytes, huge)
            return
        self._take_in_few()
        begin, rows = 0, len(paths.codes)
        while begin < rows:
            end = self._room_until(paths, keys, begin)
            self._take(paths, keys, sums, begin, end)
            self._add_huge([entry for entry in huge if begin <= entry[0] < end])
            if len(self._texts) > DISTINCT_MAX or self.text_bytes > TEXT_BYTES_MAX:
                self._cut(KEPT_AT_A_CUT, TEXT_BYTES_KEPT_AT_A_CUT)
            begin = end

    def add_distinct(self, keys: UInt64s, numbers: Int64s, texts_at: Texts_At, huge: Huge = ()) -> None:
        """Take in distinct paths for which there is room (`has_room`), each with its count and SUMS. `texts_at` is
        asked for the texts of some, by their places."""
        if len(keys) > FEW_AT_ONCE:
            self._take_in_few()
            self._sum_in(keys, numbers, texts_at)
        else:
            self._add_few(texts_at(np.arange(len(keys))), map(tuple, numbers.tolist()))
        self._add_huge(huge)

    def _room_until(self, paths: Coded, keys: UInt64s, begin: int) -> int:
        """Behind the record that brings one path too many; behind the last, where none does."""
        rows = len(paths.codes)
        if self.has_room(len(paths), paths.bytes_at_most):
            return rows
        first = np.full(len(paths), -1)
        first[paths.codes[begin:][::-1]] = np.arange(rows - 1, begin - 1, -1)
        fresh = np.flatnonzero((first >= 0) & (self._row_of.of(keys) == 0))
        if not len(fresh):
            return rows
        fresh = fresh[np.argsort(first[fresh])]
        lengths = np.array([len(text) for text in paths.some_bytes(fresh)], np.int64)
        room = _fitting(lengths, DISTINCT_MAX - len(self._texts), TEXT_BYTES_MAX - self.text_bytes)
        return int(first[fresh[room]]) + 1 if room < len(fresh) else rows

    def _take(self, paths: Coded, keys: UInt64s, sums: Mapping[str, Int64s], begin: int, end: int) -> None:
        """Records from `begin` to `end`, for which there is room."""
        own_sums = {name: sums[name][begin:end] for name in SUMS}
        numbers = numbers_of(paths.codes[begin:end], len(paths), own_sums)
        there = np.flatnonzero(numbers[:, _COUNT])
        self._sum_in(keys[there], numbers[there], lambda places: paths.some_bytes(there[places]))

    def _sum_in(self, keys: UInt64s, numbers: Int64s, texts_at: Texts_At) -> None:
        """Numbers of distinct paths, the texts of which are asked for by their places."""
        row = self._row_of.of(keys) - 1
        fresh = np.flatnonzero(row < 0)
        if len(fresh):
            texts, before = texts_at(fresh), len(self._texts)
            self._texts += texts
            self.text_bytes += sum(map(len, texts))
            row[fresh] = np.arange(before, len(self._texts))
            self._row_of.put(keys[fresh], row[fresh] + 1)
            if len(self._texts) > len(self._numbers):
                self._grow()
            self._numbers[before : len(self._texts)] = 0
        total = self._numbers[row] + numbers
        self._numbers[row] = total
        if total.max(initial=0) >= _COLUMN_END:
            for place in np.flatnonzero(total.max(axis=1) >= _COLUMN_END).tolist():
                self._numbers[row[place]] = self._within_columns(self._texts[row[place]], total[place].tolist())

    def _within_columns(self, path: bytes, numbers: Sequence[int]) -> tuple[int, ...]:
        """Numbers of a path without the multiples of _COLUMN_END in them, which are kept as Python integers: so what is
        where depends on the sums alone."""
        within = list(numbers)
        for place, huge in ((_BYTES, self.huge_bytes), (_TIME_US, self.huge_us)):
            within[place] %= _COLUMN_END
            if more := numbers[place] - within[place]:
                huge[path.decode()] = huge.get(path.decode(), 0) + more
        return tuple(within)

    def _sum_in_table(self, table: Self) -> None:
        texts = table._texts
        if self._texts:
            self._sum_in(table._keys(), table._numbers[: len(texts)], partial(_chosen, texts))
            return
        self._texts, self.text_bytes, self._in_order = texts.copy(), table.text_bytes, table._in_order
        self._numbers, self._row_of = table._numbers[: len(texts)].copy(), table._row_of.copy()

    def _grow(self) -> None:
        larger = np.empty((len(self._texts) * 5 // 4, len(_PLACE)), np.int64)
        larger[: len(self._numbers)] = self._numbers
        self._numbers = larger

    def _add_few(self, paths: Sequence[bytes], numbers: Iterable[tuple[int, ...]]) -> None:
        few = self._few
        for path, added in zip(paths, numbers, strict=True):
            known = few.get(path)
            if known is None:
                few[path] = added
                self.text_bytes += len(path)
            else:
                total = tuple(map(operator.add, known, added))
                few[path] = total if max(total) < _COLUMN_END else self._within_columns(path, total)
        if len(few) > FEW_PATHS:
            self._take_in_few()

    def _take_in_few(self) -> None:
        """From the dict, in which a row takes several times the memory, to the others."""
        if self._few:
            few, self._few = self._few, {}
            texts = Texts_In.joined(list(few))
            self.text_bytes -= len(texts.data)
            self._sum_in(texts.hashed(own_secret()), np.array(list(few.values()), np.int64), texts.bytes_at)

    def has_room(self, more_paths: int, more_bytes: int) -> bool:
        """Whether so many more paths, of so many bytes at most, pass no limit."""
        return len(self) + more_paths <= DISTINCT_MAX and self.text_bytes + more_bytes <= TEXT_BYTES_MAX

    def _add_huge(self, huge: Huge) -> None:
        for _, path, number in huge:
            self.huge_bytes[path] = self.huge_bytes.get(path, 0) + number

    # ------------------------------------------------------------------ and are cut

    def _cut(self, keep: int, keep_bytes: int) -> None:
        """Keep at most so many paths, of at most so many bytes; what ties with the first one to go, goes too."""
        if len(self._texts) <= keep and self.text_bytes <= keep_bytes:
            return
        numbers = self._numbers[: len(self._texts)]
        counts = numbers[:, _COUNT]
        lengths = np.array(list(map(len, self._texts)), np.int64)
        most_first = np.argsort(-counts)
        taken = int(counts[most_first[_fitting(lengths[most_first], keep, keep_bytes)]])
        self.error += taken
        stays = counts > taken
        lost = int(numbers[~stays, _BYTES].max())
        keys = self._keys()[stays]
        self._texts = _chosen(self._texts, np.flatnonzero(stays))
        self._numbers = numbers[stays]
        self._numbers[:, _COUNT] -= taken
        self._in_order = np.empty(0, np.int32)
        self.text_bytes = int(lengths[stays].sum())
        self._row_of.forget()
        self._row_of.put(keys, np.arange(1, len(keys) + 1))
        left = self._of_rows(self.huge_bytes)
        lost += max((number for path, number in self.huge_bytes.items() if path not in left), default=0)
        self.huge_bytes, self.huge_us = left, self._of_rows(self.huge_us)
        self.bytes_error += lost

    def _of_rows(self, huge: dict[str, int]) -> dict[str, int]:
        """Of the paths that are still there."""
        if not huge:
            return huge
        there = self._row_of.of(Texts_In.of(list(huge)).hashed(own_secret())) > 0
        return dict(compress(huge.items(), there))

    def shrink(self) -> bool:
        """Keep only the most frequent paths, a sixteenth of what a table may hold; False if there are no more. What
        they lack from then on is in `error`."""
        self._take_in_few()
        before = self.error
        self._cut(SHRUNK_PATHS, SHRUNK_TEXT_BYTES)
        return self.error > before

    @property
    def shrinkable(self) -> bool:
        """Whether `shrink` may find something to cut."""
        return len(self) > SHRUNK_PATHS or self.text_bytes > SHRUNK_TEXT_BYTES

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        huge = sum(sys.getsizeof(path) + _FEW_ROW_BYTES for path in (*self.huge_bytes, *self.huge_us))
        rows = self._numbers.nbytes + (_TEXT_BYTES + _INDEX_BYTES) * len(self._texts)
        return self.text_bytes + huge + rows + _FEW_ROW_BYTES * len(self._few)

    # ------------------------------------------------------------------ what it says

    def _keys(self) -> UInt64s:
        """Of each row."""
        hashes, rows = self._row_of.items()
        keys = np.empty_like(hashes)
        keys[rows - 1] = hashes
        return keys

    def rows(self) -> Iterator[Path_Row]:
        """All of them, in any order."""
        self._take_in_few()
        return self._rows(range(len(self._texts)))

    def _rows(self, rows: Sequence[int]) -> Iterator[Path_Row]:
        for row, numbers in zip(rows, self._numbers[np.array(rows, np.int64)].tolist(), strict=True):
            path = self._texts[row].decode()
            numbers[_BYTES] += self.huge_bytes.get(path, 0)
            numbers[_TIME_US] += self.huge_us.get(path, 0)
            yield Path_Row(path, *numbers)

    def top(self, limit: int, by: str = "count") -> list[Path_Row]:
        """The paths with the most of something (`count`, or one of SUMS), and not none of it; equal ones by path
        ascending by code point."""
        self._take_in_few()
        values = self._numbers[: len(self._texts), _PLACE[by]]
        if {"bytes": self.huge_bytes, "time_us": self.huge_us}.get(by):  # which the column lacks
            found = (row for row in self.rows() if getattr(row, by))
            return sorted(found, key=lambda row: (-getattr(row, by), row.path))[:limit]
        places = np.flatnonzero(values > 0)
        if 0 < limit < len(places):
            # Of those that tie with the last one, which may be most of all, only as many are put in order as belong to
            # it.
            of_each = values[places]
            last = np.partition(of_each, -limit)[-limit]
            above, ties = places[of_each > last], places[of_each == last].tolist()
            least = nsmallest(limit - len(above), ties, key=self._texts.__getitem__)
            places = np.concatenate((above, np.array(least, np.int64)))
        # The bytes of UTF-8 are ordered as its code points are.
        order = sorted(places.tolist(), key=lambda row: (-int(values[row]), self._texts[row]))
        return list(self._rows(order[:limit]))

    @classmethod
    def merged(cls, tables: Sequence[Self]) -> Self:
        """Sum of the tables, cut once if it is too long; the order of the tables does not matter."""
        result = cls()
        for table in sorted(tables, key=len, reverse=True):
            table._take_in_few()
            result.error += table.error
            result.bytes_error += table.bytes_error
            for huge, more in ((result.huge_bytes, table.huge_bytes), (result.huge_us, table.huge_us)):
                for path, number in more.items():
                    huge[path] = huge.get(path, 0) + number
            result._sum_in_table(table)
        result._cut(DISTINCT_MAX, TEXT_BYTES_MAX)
        return result

    def content(self, in_order: bool = True) -> list[Any]:
        """Plain values for storage, sorted by path unless they need not be `in_order`."""
        self._take_in_few()
        if in_order and len(self._in_order) < len(self._texts):
            # What was in order before is one run, which sorting only has to look through.
            order = [*self._in_order.tolist(), *range(len(self._in_order), len(self._texts))]
            order.sort(key=self._texts.__getitem__)
            self._in_order = np.array(order, np.int32)
        texts, numbers = self._texts, self._numbers[: len(self._texts)]
        if in_order:
            texts, numbers = _chosen(texts, self._in_order), numbers[self._in_order]
        return [
            raw(np.array(list(map(len, texts)), np.uint16)),
            b"".join(texts),
            raw(numbers[:, _COUNT]),
            raw(numbers[:, _BYTES]),
            self.error,
            _texts_of(self.huge_bytes),
            str(self.bytes_error),
            [raw(narrow(numbers[:, _PLACE[name]])) for name in SUMS[1:]],
            *([_texts_of(self.huge_us)] if self.huge_us else ()),
        ]

    @classmethod
    def from_content(cls, content: list[Any], in_order: bool = True) -> Self:
        """Of versions up to 3 too, which had no sums but bytes: the others are 0. in_order: as in `content`."""
        result = cls()
        lengths, data, counts, sizes, result.error, huge, *rest = content
        ends = np.cumsum(unraw(lengths), dtype=np.int64)
        texts = Texts_In(data, np.concatenate(([0], ends))[:-1], ends)
        numbers = np.zeros((len(ends), len(_PLACE)), np.int64)
        numbers[:, _COUNT], numbers[:, _BYTES] = unraw(counts), unraw(sizes)
        result.bytes_error = int(rest[0]) if rest else 0
        for name, values in zip(SUMS[1:], rest[1] if rest else (), strict=False):
            numbers[:, _PLACE[name]] = unraw(values)
        result.huge_bytes, result.huge_us = _numbers_in(huge), _numbers_in(rest[2] if len(rest) > 2 else ())
        result._sum_in(texts.hashed(own_secret()), numbers, texts.bytes_at)
        result._in_order = np.arange(len(ends) if in_order else 0, dtype=np.int32)
        return result


def numbers_of(codes: Int64s, width: int, sums: Mapping[str, Int64s]) -> Int64s:
    """Of each distinct path its count and SUMS.

    codes  of each record which of `width` paths it has; sums  and what it adds to each of SUMS
    """
    return np.array([counted(codes, width), *(counted(codes, width, sums[name]) for name in SUMS)]).T


def _fitting(lengths: Int64s, paths_max: int, bytes_max: int) -> int:
    """How many of the first of these texts are within both limits."""
    return min(paths_max, int(np.searchsorted(np.cumsum(lengths), bytes_max, side="right")))


def _texts_of(huge: Mapping[str, int]) -> list[list[str]]:
    return [[path, str(number)] for path, number in sorted(huge.items())]


def _numbers_in(huge: Iterable[tuple[str, str]]) -> dict[str, int]:
    return {path: int(number) for path, number in huge}


def _chosen(texts: Sequence[bytes], places: npt.NDArray[np.integer]) -> list[bytes]:
    return [texts[place] for place in places.tolist()]
