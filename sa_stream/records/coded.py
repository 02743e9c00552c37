"""Columns of text as numbers, which are quick to join, to choose from and to count: what the fold works on, however the
records were read. A text is looked at once for each distinct value, never for a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sa_stream.frames import pl
from sa_stream.records.hashing import FEW_TEXTS, Texts_In, UInt64s, hash_expression, hashed_bytes

FEW_VALUES = 256  # up to so many, a loop costs less than a call of polars

type Int64s = npt.NDArray[np.int64]
type Bools = npt.NDArray[np.bool_]


class Coded:
    """A column as numbers.

    codes   for each record which of the distinct values it has; these are numbered in the order of their first record
    first   the place of that record
    lying   the distinct values as bytes, where they lie so
    values  the distinct values; '' where missing, which may be `-` too
    """

    __slots__ = ("_places", "_series", "_values", "codes", "first", "lying")

    def __init__(
        self, codes: Int64s, first: Int64s, texts: pl.Series | list[str] | Texts_In, places: Int64s | None = None
    ) -> None:
        """`places`: where in `texts` the distinct values are, if they are not all of it."""
        self.codes, self.first = codes, first
        self._values = texts if isinstance(texts, list) else None
        self.lying = texts if isinstance(texts, Texts_In) else None
        self._series = None if isinstance(texts, list | Texts_In) else texts
        self._places = places
        if self.lying is not None and places is not None:
            self.lying, self._places = self.lying.taken(places), None

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of_texts(cls, texts: Sequence[str | None]) -> Coded:
        """Of the text of each record."""
        number: dict[str, int] = {}
        codes = np.array([number.setdefault(text or "", len(number)) for text in texts], np.int64)
        first = codes if len(number) == len(texts) else firsts(codes)
        return cls(codes, first, list(number))

    @classmethod
    def concatenated(cls, parts: Sequence[Coded]) -> Coded:
        """Records of several columns, one after the other."""
        number: dict[str, int] = {}
        maps = [np.array([number.setdefault(text, len(number)) for text in part.values], np.int64) for part in parts]
        codes = np.concatenate([of_part[part.codes] for of_part, part in zip(maps, parts, strict=True)])
        return cls(codes, firsts(codes), list(number))

    @property
    def series(self) -> pl.Series:
        """The distinct values."""
        self._gather()
        if self._series is None:
            self._series = pl.Series(self.values, dtype=pl.String)
        return self._series

    @property
    def values(self) -> list[str]:
        self._gather()
        if self._values is None:
            self._values = self.series.to_list() if self.lying is None else self.lying.texts()
        return self._values

    def _gather(self) -> None:
        if self._places is None:
            return
        if self._series is not None:
            self._series, self._values = self._series.gather(self._places), None
        elif self._values is not None:
            self._values = [self._values[place] for place in self._places.tolist()]
        self._places = None

    def some(self, places: Int64s) -> list[str]:
        """Some of the distinct values."""
        if self._values is None and self.lying is not None:
            return self.lying.texts_at(places)
        if self._values is None and self._series is not None:
            found: list[str] = self._series.gather(self._placed(places)).to_list()
            return found
        values = self.values
        return [values[place] for place in places.tolist()]

    def some_bytes(self, places: Int64s) -> list[bytes]:
        """The same in UTF-8."""
        if self.lying is not None:
            return self.lying.bytes_at(places)
        return [text.encode() for text in self.some(places)]

    @property
    def bytes_at_most(self) -> int:
        """That all distinct values have in UTF-8, or more."""
        if self.lying is not None:
            return int((self.lying.end - self.lying.begin).sum())
        return 4 * sum(map(len, self.values))

    def hashed(self, seed: int) -> UInt64s:
        """Of the distinct values."""
        if self.lying is not None:
            return self.lying.hashed(seed)
        if len(self) <= FEW_TEXTS:
            return hashed_bytes([text.encode() for text in self.values], seed)
        if self._series is None or len(self) <= FEW_VALUES:
            return Texts_In.of(self.values).hashed(seed)
        hashed: UInt64s = self.series.to_frame("text").select(hash_expression("text", seed)).to_series().to_numpy()
        return hashed

    def texts(self) -> list[str]:
        """The value of each record."""
        values = self.values
        return [values[code] for code in self.codes.tolist()]

    def chosen(self, rows: Int64s) -> Coded:
        """Some of the records, with the same distinct values."""
        return Coded(self.codes[rows], self.first, self._given, self._places)

    def taken(self, rows: Int64s) -> Coded:
        """Some of the records, in any order, as a column of its own: with the values that these have."""
        codes = self.codes[rows]
        place = np.full(len(self), -1, np.int64)
        place[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
        used = np.flatnonzero(place >= 0)
        used = used[np.argsort(place[used])]
        number = np.empty(len(self), np.int64)
        number[used] = np.arange(len(used))
        return Coded(number[codes], place[used], self._given, self._placed(used))

    def _placed(self, places: Int64s) -> Int64s:
        """Where in what is given these of the distinct values are."""
        return places if self._places is None else self._places[places]

    @property
    def _given(self) -> pl.Series | list[str] | Texts_In:
        """What `_places` are places in."""
        if self.lying is not None:
            return self.lying
        return self._series if self._series is not None else self._values or []

    def with_values(self, values: list[str]) -> Coded:
        """The same records under other values, one for each of the distinct ones, of which some may be equal."""
        other = Coded.of_texts(values)
        return Coded(other.codes[self.codes], self.first[other.first], other.values)

    def replaced(self, places: Int64s, texts: Sequence[str]) -> Coded:
        """The same records with other values in some places, which may be equal to others then."""
        if self.lying is not None:
            return Coded(self.codes, self.first, self.lying.replaced(places, texts))
        values = self.values.copy()
        for place, text in zip(places.tolist(), texts, strict=True):
            values[place] = text
        return Coded(self.codes, self.first, values)

    def told_apart_by(self, keys: UInt64s) -> tuple[Coded, UInt64s]:
        """The same records, where values with one key are one; and the keys of these."""
        ordered = np.sort(keys)
        if (ordered[1:] != ordered[:-1]).all():  # quicker to see than to tell them apart anew
            return self, keys
        _, place, number = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(place)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        kept = place[order]
        return Coded(rank[number][self.codes], self.first[kept], self._given, self._placed(kept)), keys[kept]

    def shortened(self, pattern: re.Pattern[str]) -> Coded:
        """The same records, told apart only by what a pattern finds in their values, where it finds something."""
        return self.with_values([part.group() if (part := pattern.search(text)) else text for text in self.values])

    def numbers(self, weights: Int64s | None = None, rows: Bools | None = None) -> Int64s:
        """Of each distinct value how many records have it, or the sum of their weights. `rows`: only of some."""
        return counted(self.codes, len(self), weights, rows)


def coded(column: pl.Series) -> Coded:
    """Of a column of text."""
    if column.null_count():
        column = column.fill_null("")
    # categories of its own: those that all share would be remembered
    codes = column.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy().astype(np.int64)
    first = firsts(codes)
    if (np.diff(first) < 0).any():
        order = np.argsort(first)
        codes, first = np.argsort(order)[codes], first[order]
    return Coded(codes, first, column, first)


def counted(codes: Int64s, width: int, weights: Int64s | None = None, rows: Bools | None = None) -> Int64s:
    """Of each number below `width` how many records have it, or the sum of their weights. `rows`: only of some."""
    if rows is not None:
        codes = codes[rows]
    if weights is None:
        return np.bincount(codes, minlength=width)
    result = np.zeros(width, np.int64)
    np.add.at(result, codes, weights if rows is None else weights[rows])
    return result


def numbered(values: Int64s) -> tuple[Int64s, Int64s]:
    """Of small numbers, none below 0, which of the distinct ones each is, and these, ascending."""
    there = np.bincount(values) > 0
    return (np.cumsum(there) - 1)[values], np.flatnonzero(there)


def firsts(codes: Int64s) -> Int64s:
    """Of each number from 0 on its first place."""
    first = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first
