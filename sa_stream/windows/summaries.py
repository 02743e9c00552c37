"""Summaries of many values in little memory: distinct counts, durations, value counts.

All are mergeable, deterministic, and independent of the order of their input, so that a replay, a recovery and a merge
give the same bytes. Sums of distinct counts or of percentiles are wrong; merging these is right.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sa_stream.format import raw, unraw

type UInt64s = npt.NDArray[np.uint64]
type Int64s = npt.NDArray[np.int64]

DISTINCT_EXACT = 16_384  # distinct values up to which a count is exact
_KEPT = DISTINCT_EXACT + 1  # one more is kept, to know when there are more
DISTINCT_ERROR_RATE = 0.02  # promised bound; one standard error is 1/sqrt(k) = 0.8%
_HASH_SPACE = float(1 << 64)

PERCENTILE_ERROR_RATE = 0.01
VALUES_MAX = 4_096  # distinct values that one count keeps by name: hosts and methods come from strangers
VALUES_HELD_MAX = 16_384  # of input that ends, until all of it was counted
OTHER = "(other)"

FEW_HASHES = 1_024  # up to so many are sorted again in less time than it takes to find what they lack
_NO_HASHES = np.empty(0, np.uint64)


def distinct(times_ms: Int64s) -> list[int]:
    """Ascending distinct values; the ordinary case is one."""
    if not len(times_ms):
        return []
    lowest = int(times_ms.min())
    return [lowest] if lowest == int(times_ms.max()) else sorted(set(times_ms.tolist()))


def sorted_distinct(values: UInt64s) -> UInt64s:
    """Ascending distinct values. (numpy's own `unique` is five to ten times as slow here: it builds a hash table.)"""
    ordered = np.sort(values)
    if len(ordered) < 2:
        return ordered
    first = np.empty(len(ordered), np.bool_)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered if first.all() else ordered[first]


def with_more(known: UInt64s, values: UInt64s) -> UInt64s:
    """Ascending distinct values, and more of them in any order, with repetitions."""
    if len(known) <= FEW_HASHES:
        return sorted_distinct(np.concatenate((known, values)))
    fresh = sorted_distinct(values)
    fresh = fresh[known.take(np.searchsorted(known, fresh), mode="clip") != fresh]
    if not len(fresh):
        return known
    merged = np.concatenate((known, fresh))
    merged.sort(kind="stable")  # quick on two sorted runs
    return merged


class Distinct:
    """How many distinct values: the k smallest of their 64-bit hashes (KMV, also called a theta sketch).

    Exact up to k values; beyond, the k-th smallest hash says how dense all hashes are.
    """

    __slots__ = ("hashes",)

    def __init__(self, hashes: UInt64s = _NO_HASHES) -> None:
        self.hashes = hashes  # ascending, distinct, at most _KEPT

    def add(self, hashes: UInt64s) -> None:
        """Take in hashes in any order, with repetitions."""
        if len(self.hashes) == _KEPT:
            hashes = hashes[hashes < self.hashes[-1]]
        self.hashes = with_more(self.hashes, hashes)[:_KEPT]

    def estimate(self) -> int:
        if self.exact:
            return len(self.hashes)
        return round((_KEPT - 1) / (float(self.hashes[-1]) / _HASH_SPACE))

    @property
    def exact(self) -> bool:
        return len(self.hashes) < _KEPT

    @property
    def error(self) -> float:
        """Relative bound of the estimate; 0.0 where it is exact."""
        return 0.0 if self.exact else DISTINCT_ERROR_RATE

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        return cls(sorted_distinct(np.concatenate([_NO_HASHES, *(part.hashes for part in parts)]))[:_KEPT])


def _bucket_bounds() -> Int64s:
    """Upper ends of the buckets in whole microseconds, so that they are the same integers on every machine.

    Neighbours differ by the factor (1 + e) / (1 - e), the logarithmic mapping of DDSketch (Masson et al., VLDB 2019);
    below 50 microseconds every value has its own bucket.
    """
    gamma = (1 + PERCENTILE_ERROR_RATE) / (1 - PERCENTILE_ERROR_RATE)
    bounds = [0]
    while bounds[-1] < 1 << 52:
        bounds.append(max(bounds[-1] + 1, int(bounds[-1] * gamma)))
    return np.array(bounds, np.int64)


BOUNDS_US = _bucket_bounds()
DURATION_US_MAX = int(BOUNDS_US[-1])
_HALF_BITS = 26  # DURATION_US_MAX has 53
_NO_BUCKETS = np.empty(0, np.int64)


def buckets_of(values_us: Int64s) -> Int64s:
    """The bucket of each value."""
    return np.searchsorted(BOUNDS_US, values_us)


class Durations:
    """Sum, count, maximum and percentiles of durations in whole microseconds."""

    __slots__ = ("buckets", "count", "max_us", "sum_us")

    def __init__(self) -> None:
        self.count = 0
        self.sum_us = 0  # a Python int: no order of adding and no size changes it
        self.max_us: int | None = 0  # None: unknown, as a part of it was stored before the maximum was
        self.buckets = _NO_BUCKETS  # records per bucket, up to the last that has some

    def add(self, values_us: Int64s, counts: Int64s) -> None:
        """Take in distinct values, at most DURATION_US_MAX, with how often each occurred."""
        if not len(values_us):
            return
        # In two halves, as the products of long times and many records do not fit 64 bits.
        high, low = values_us >> _HALF_BITS, values_us & ((1 << _HALF_BITS) - 1)
        sum_us = (int((high * counts).sum()) << _HALF_BITS) + int((low * counts).sum())
        self.add_sum(int(counts.sum()), sum_us, int(values_us.max()), buckets_of(values_us), counts)

    def add_sum(self, count: int, sum_us: int, max_us: int, buckets: Int64s, counts: Int64s) -> None:
        """The same of values of which all but the buckets is summed up, and each one's bucket is known."""
        self.count += count
        self.sum_us += sum_us
        self._reach(max_us)
        self._reach_bucket(int(buckets.max()) + 1)
        np.add.at(self.buckets, buckets, counts)

    def add_long(self, values_us: Sequence[int], counts: Sequence[int]) -> None:
        """Take in values of any size, with how often each occurred."""
        cut = [min(value, DURATION_US_MAX) for value in values_us]
        self.add(np.array(cut, np.int64), np.array(counts, np.int64))
        self._reach(max(values_us, default=0))
        self.sum_us += sum((value - low) * n for value, low, n in zip(values_us, cut, counts, strict=True))

    def _reach(self, value_us: int | None) -> None:
        """Raise the maximum to a value; what is unknown stays so, and makes it unknown."""
        self.max_us = None if self.max_us is None or value_us is None else max(self.max_us, value_us)

    def _reach_bucket(self, number: int) -> None:
        """Have at least so many buckets. Most windows need less than half of all: the others are above 200 seconds."""
        if number > len(self.buckets):
            longer = np.zeros(number, np.int64)
            longer[: len(self.buckets)] = self.buckets
            self.buckets = longer

    def percentile_us(self, percent: int) -> int:
        """Microseconds at rank ceil(percent * count / 100), counted from 1 (nearest-rank), within 1% and half a
        microsecond, and never above the maximum; 0 if there is none."""
        return self.percentiles_us((percent,))[0]

    def percentiles_us(self, percents: Sequence[int]) -> list[int]:
        if not self.count:
            return [0 for _ in percents]
        ranks = [max(-(-percent * self.count // 100), 1) for percent in percents]  # in integers: 0.07 * 100 is over 7
        return [self._middle_us(index) for index in np.searchsorted(np.cumsum(self.buckets), ranks).tolist()]

    def _middle_us(self, index: int) -> int:
        """What stands for the values of a bucket."""
        high = int(BOUNDS_US[min(index, len(BOUNDS_US) - 1)])
        low = int(BOUNDS_US[index - 1]) + 1 if index else 0
        middle = high if high <= low else round(2.0 * low * high / (low + high))
        return middle if self.max_us is None else min(middle, self.max_us)

    def merge(self, other: Self) -> None:
        self.count += other.count
        self.sum_us += other.sum_us
        self._reach(other.max_us)
        self._reach_bucket(len(other.buckets))
        self.buckets[: len(other.buckets)] += other.buckets

    def content(self) -> list[Any]:
        """Plain values for storage: only the buckets that hold something."""
        used = np.flatnonzero(self.buckets)
        return [
            self.count,
            big(self.sum_us),
            raw(used.astype(np.uint16)),
            raw(self.buckets[used]),
            None if self.max_us is None else big(self.max_us),
        ]

    @classmethod
    def from_content(cls, content: list[Any]) -> Self:
        durations = cls()
        durations.count, total, used, held, *rest = content
        durations.sum_us = unbig(total)
        if rest:
            durations.max_us = None if rest[0] is None else unbig(rest[0])
        elif durations.count:
            durations.max_us = None  # versions 1 and 2 had none
        places = unraw(used).astype(np.int64)
        durations._reach_bucket(int(places.max(initial=-1)) + 1)
        durations.buckets[places] = unraw(held)
        return durations


def add_counts(counts: dict[str, int], found: Iterable[tuple[str | None, int]], bounded: bool = False) -> None:
    """Add values, each with a number, to a count of few distinct ones; past VALUES_MAX names, new ones are counted
    together as `(other)`. None is no value. bounded: of input that ends, where more are held until `merged_counts`.

    Values come in the order of their first record, where they could pass the limit: which names are kept is then a
    function of the records alone.
    """
    most = VALUES_HELD_MAX if bounded else VALUES_MAX
    for value, number in found:
        if value is None:
            continue
        known = counts.get(value)
        if known is None and len(counts) >= most:
            value, known = OTHER, counts.get(OTHER)
        counts[value] = number + (known or 0)


def merged_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Sum of counts; if there are too many names, the most frequent ones keep theirs."""
    total: dict[str, int] = {}
    for part in parts:
        for value, number in part.items():
            total[value] = total.get(value, 0) + number
    if len(total) <= VALUES_MAX:
        return total
    other = total.pop(OTHER, 0)
    ranked = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[: VALUES_MAX - 1])
    kept[OTHER] = other + sum(number for _, number in ranked[VALUES_MAX - 1 :])
    return kept


def big(number: int) -> int | str:
    """An integer of any size for msgpack, which stops at 64 bits."""
    return number if -(1 << 63) <= number < 1 << 63 else str(number)


def unbig(value: int | str) -> int:
    return int(value)
