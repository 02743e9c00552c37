"""Which request ids came lately: the memory that finds duplicates.

An id is a 64-bit hash; what is known of it is the last minute (of the partition's running maximum of arrival times) in
which it came. A record is a duplicate if its id came in the same minute or in the `horizon` minutes before. Arrival and
not event time decides, since the retry of a late record comes late as well.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sa_stream import native
from sa_stream.format import raw, unraw
from sa_stream.native.ids import merged, parted
from sa_stream.windows.summaries import UInt64s, sorted_distinct

_SLOTS_AN_ID = 8
_SLOTS_MAX = 1 << 22

type Bools = npt.NDArray[np.bool_]
type Minutes = npt.NDArray[np.int32]
_NO_IDS = np.empty(0, np.uint64)
_NO_MINUTES = np.empty(0, np.int32)


class Recent_Ids:
    """Sorted runs of (id, minute), newest last, merged like a log-structured tree: 12 bytes an id, no Python object.

    In front of them stands a table of the last minute in which any id of a slot came, slots being the lowest bits of
    ids. Most ids find an old minute there and need no search; a slot shared by two ids only costs a search.
    """

    __slots__ = ("_newest", "_table", "horizon", "runs")

    def __init__(self, horizon_minutes: int) -> None:
        self.horizon = horizon_minutes
        self.runs: list[tuple[UInt64s, Minutes]] = []
        self._table: npt.NDArray[Any] | None = None
        self._newest = -(1 << 31)

    def see(self, ids: UInt64s, minutes: Minutes) -> Bools | None:
        """Take in the ids of consecutive records with their minutes (never falling). Returns True per record that is a
        duplicate, or None if none is."""
        if not len(ids):
            return None
        order = np.argsort(ids)
        ordered = ids[order]
        repeated = ordered[1:] == ordered[:-1]
        twice = ordered[1:][repeated]
        duplicates = self._judge(ids, minutes, sorted_distinct(self._seen_before(ids, minutes)), twice)
        if len(twice):
            self._remember(_latest([(ids, minutes)], int(minutes[-1]) - self.horizon), int(minutes[-1]))
        else:
            self._remember((ordered, minutes[order]), int(minutes[-1]))
        return duplicates

    def _seen_before(self, ids: UInt64s, minutes: Minutes) -> UInt64s:
        """Those of the ids that may have come within the horizon; enters all of them into the table."""
        if (
            minutes[0] < self._newest
        ):  # a child shard behind one of its parents: the table cannot tell, and is stale now
            self._table = None
            return ids
        self._newest = int(minutes[-1])
        if self._table is None or (
            len(self._table) < _SLOTS_MAX and _SLOTS_AN_ID * (len(self) + len(ids)) > len(self._table)
        ):
            self._table = self._new_table(int(minutes[0]), len(ids))
        slots = (ids & np.uint64(len(self._table) - 1)).astype(np.int64)
        kind = self._table.dtype.type
        ages = (
            minutes.astype(kind) - self._table[slots]
        )  # wraps around: after long enough, old looks new, and is searched
        self._table[slots] = minutes.astype(kind)
        suspicious: UInt64s = ids[ages <= self.horizon]
        return suspicious

    def _new_table(self, now_minute: int, more: int) -> npt.NDArray[Any]:
        slots = 1 << 12
        while slots < min(_SLOTS_MAX, _SLOTS_AN_ID * 2 * (len(self) + more)):
            slots *= 2
        kind = np.uint8 if self.horizon < 200 else np.uint16
        long_ago = np.array(now_minute - self.horizon - 1).astype(kind)
        table = np.full(slots, long_ago, kind)
        if self.runs:
            ids, minutes = _latest(self.runs, now_minute - self.horizon)
            by_minute = np.argsort(minutes, kind="stable")  # the newest is written last, and stays
            ids, minutes = ids[by_minute], minutes[by_minute]
            table[(ids & np.uint64(slots - 1)).astype(np.int64)] = minutes.astype(kind)
        return table

    def _judge(self, ids: UInt64s, minutes: Minutes, suspects: UInt64s, repeated: UInt64s) -> Bools | None:
        """Record by record, but only for ids that did come before, or that come twice in this call."""
        last: dict[int, int] = {}
        for run, run_minutes in self.runs:
            place = np.searchsorted(run, suspects)
            place[place == len(run)] = 0
            for index in np.flatnonzero(run[place] == suspects).tolist():
                request_id, minute = int(suspects[index]), int(run_minutes[place[index]])
                last[request_id] = max(minute, last.get(request_id, minute))
        real = sorted_distinct(np.concatenate((np.array(list(last), np.uint64), repeated)))
        if not len(real):
            return None
        duplicates = np.zeros(len(ids), np.bool_)
        for row in np.flatnonzero(np.isin(ids, real)).tolist():
            request_id, minute = int(ids[row]), int(minutes[row])
            came = last.get(request_id)
            duplicates[row] = came is not None and came >= minute - self.horizon
            last[request_id] = minute if came is None else max(minute, came)
        return duplicates if duplicates.any() else None

    def _remember(self, run: tuple[UInt64s, Minutes], now: int) -> None:
        self.runs = [kept for kept in self.runs if kept[1].max(initial=-1) >= now - self.horizon]
        self.runs.append(run)
        while len(self.runs) > 1 and len(self.runs[-2][0]) <= 2 * len(self.runs[-1][0]):
            newer, older = self.runs.pop(), self.runs.pop()
            oldest = now - self.horizon
            self.runs.append(merged(older, newer, oldest) if native.AVAILABLE else _latest([older, newer], oldest))

    def canonical(self, now_minute: int) -> tuple[UInt64s, Minutes]:
        """All live ids ascending, each with its latest minute; equal knowledge gives equal arrays."""
        oldest = now_minute - self.horizon
        if native.AVAILABLE:
            whole = _NO_IDS, _NO_MINUTES
            for run in reversed(self.runs):  # the shortest first
                whole = merged(run, whole, oldest)
        else:
            whole = _latest(self.runs, oldest)
        self.runs = [whole] if len(whole[0]) else []
        return whole

    def content(self, now_minute: int) -> list[Any]:
        """For storage: one ascending array of ids a minute, 8 bytes an id."""
        ids, minutes = self.canonical(now_minute)
        if not len(ids):
            return []
        first, last = int(minutes.min()), int(minutes.max())
        grouped, ends = (parted if native.AVAILABLE else _parted)(ids, minutes, first, last - first + 1)
        return [
            [first + minute, raw(grouped[begin:end])]
            for minute, (begin, end) in enumerate(pairwise([0, *ends.tolist()]))
            if end > begin
        ]

    @classmethod
    def from_content(cls, horizon_minutes: int, contents: Sequence[list[Any]]) -> Self:
        """From one or several contents (a child shard starts with the union of its parents' ids)."""
        recent = cls(horizon_minutes)
        runs = []
        for content in contents:
            for minute, values in content:
                ids = unraw(values)
                runs.append((ids, np.full(len(ids), minute, np.int32)))
        if runs:
            recent._newest = max(int(minutes[0]) for _, minutes in runs)
            recent.runs = [_latest(sorted(runs, key=lambda run: int(run[1][0])), -(1 << 31))]
        return recent

    def __len__(self) -> int:
        return sum(len(run) for run, _ in self.runs)


def _parted(ids: UInt64s, minutes: Minutes, first: int, count: int) -> tuple[UInt64s, npt.NDArray[np.int64]]:
    """Ids by their minutes, and where those of each minute end."""
    offsets: npt.NDArray[Any] = (minutes - first).astype(np.uint16 if count <= 1 << 16 else np.int32)
    order = np.argsort(offsets, kind="stable")  # stable, so that ids stay ascending; quick on small numbers
    return ids[order], np.cumsum(np.bincount(offsets, minlength=count))


def _latest(runs: Sequence[tuple[UInt64s, Minutes]], oldest_minute: int) -> tuple[UInt64s, Minutes]:
    """One ascending run of distinct ids, each with the last of its minutes, without those before `oldest_minute`."""
    ids = np.concatenate([_NO_IDS, *(run for run, _ in runs)])
    minutes = np.concatenate([_NO_MINUTES, *(run_minutes for _, run_minutes in runs)])
    if len(minutes) and minutes.min() < oldest_minute:
        live = minutes >= oldest_minute
        ids, minutes = ids[live], minutes[live]
    order = np.argsort(ids, kind="stable")  # stable: quick on the sorted runs that these mostly are
    ids, minutes = ids[order], minutes[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    if first.all():
        return ids, minutes
    return ids[first], np.maximum.reduceat(minutes, np.flatnonzero(first))
