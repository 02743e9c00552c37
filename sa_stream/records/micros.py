"""Columns of times that something took: text comes in, whole microseconds of each record go out."""

import re
from collections.abc import Sequence
from decimal import Context, Decimal

import numpy as np

from sa_stream.records.coded import FEW_VALUES, Coded, Int64s, numbered

DURATIONS = ("time-taken", "time-to-first-byte", "origin-fbl")  # in seconds
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
NUMBER_DIGITS_MAX = 30  # a number with more digits counts as missing
NO_TIME = -1
LONG_US = 1 << 40  # sums of shorter ones stay within 64 bits; the rest is added as Python integers
KNOWN_MAX = 100_000
KNOWN_CHARS_MAX = 16
_EXACT = Context(prec=NUMBER_DIGITS_MAX + 6)  # the usual one rounds to 28 digits

# text -> its microseconds: the same few thousand texts come again and again
_known: dict[str, int] = {}


def micros_of(text: str | None) -> int:
    """Whole microseconds, the half to even, of seconds as digits, perhaps with a fraction; NO_TIME of anything else."""
    found = _known.get(text or "")
    if found is None:
        found = _micros_of(text or "")
        if len(_known) >= KNOWN_MAX:
            _known.clear()
        if len(text or "") <= KNOWN_CHARS_MAX:
            _known[text or ""] = found
    return found


def _micros_of(text: str) -> int:
    if not NUMBER.fullmatch(text) or len(text.replace(".", "")) > NUMBER_DIGITS_MAX:
        return NO_TIME
    return round(Decimal(text).scaleb(6, _EXACT))


class Micros:
    """Of each record how long something took.

    values  whole microseconds; NO_TIME where there are none, and of those in `long`
    long    row -> whole microseconds, where they are LONG_US or more
    """

    __slots__ = ("long", "values")

    def __init__(self, values: Int64s, long: dict[int, int] | None = None) -> None:
        self.values = values
        self.long = long or {}

    @classmethod
    def of(cls, micros: Sequence[int]) -> "Micros":
        """Of each record in whole microseconds, or NO_TIME."""
        long = {row: number for row, number in enumerate(micros) if number >= LONG_US} if micros else {}
        return cls(np.array([NO_TIME if row in long else us for row, us in enumerate(micros)], np.int64), long)

    @classmethod
    def of_texts(cls, column: Coded) -> "Micros":
        """Of a column of text."""
        distinct = cls.of([micros_of(text) for text in column.values])
        values = distinct.values[column.codes]
        if not distinct.long:
            return cls(values)
        codes = column.codes.tolist()
        return cls(values, {row: distinct.long[code] for row, code in enumerate(codes) if code in distinct.long})

    @classmethod
    def concatenated(cls, parts: "Sequence[Micros]") -> "Micros":
        """Records of several columns, one after the other."""
        ends = np.cumsum([0, *(len(part.values) for part in parts)]).tolist()
        long = {row + start: us for part, start in zip(parts, ends, strict=False) for row, us in part.long.items()}
        return cls(np.concatenate([part.values for part in parts]), long)

    def taken(self, rows: Int64s) -> "Micros":
        """Some of the records, by their places, in any order."""
        if not self.long:
            return Micros(self.values[rows])
        places = enumerate(rows.tolist())
        return Micros(self.values[rows], {place: self.long[row] for place, row in places if row in self.long})

    def each(self) -> list[int]:
        """The same as `of` takes."""
        found: list[int] = self.values.tolist()
        for row, us in self.long.items():
            found[row] = us
        return found


def numbered_micros(values: Int64s) -> tuple[Int64s, Int64s]:
    """Of times, none of which is NO_TIME, the number of each one's value, and the values. These are distinct, and
    ascending, where it is quick to tell them apart: where they are many, and not too far from each other."""
    if len(values) > FEW_VALUES:
        for unit in (1_000, 1):  # CloudFront tells milliseconds
            whole = values // unit
            if int(whole.max()) <= 4 * len(values) and (unit == 1 or bool((whole * unit == values).all())):
                codes, found = numbered(whole)
                return codes, found * unit
    return np.arange(len(values)), values
