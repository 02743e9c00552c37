"""Which request ids came lately: the memory that finds duplicates.

An id is a 64-bit hash; what is known of it is the last minute (of the partition's running maximum of arrival times) in
which it came. A record is a duplicate if its id came in the same minute or in the `horizon` minutes before. Arrival and
not event time decides, since the retry of a late record comes late as well.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sa_stream.windows.format import raw, unraw
from sa_stream.windows.summaries import UInt64s

type Minutes = npt.NDArray[np.int32]
_NO_IDS = np.empty(0, np.uint64)
_NO_MINUTES = np.empty(0, np.int32)


class Recent_Ids:
    """Sorted runs of (id, minute), newest last, merged like a log-structured tree: 12 bytes an id, no Python object."""

    __slots__ = ("horizon", "runs")

    def __init__(self, horizon_minutes: int) -> None:
        self.horizon = horizon_minutes
        self.runs: list[tuple[UInt64s, Minutes]] = []

    def see(self, ids: UInt64s, minutes: Minutes) -> npt.NDArray[np.bool_] | None:
        """Take in the ids of consecutive records with their minutes (never falling). Returns True per record that is a
        duplicate, or None if none is."""
        if not len(ids):
            return None
        ordered = np.sort(ids)
        repeated = ordered[1:] == ordered[:-1]
        suspects = [ordered[1:][repeated]] if repeated.any() else []
        for run, _ in self.runs:
            place = np.searchsorted(run, ordered)
            place[place == len(run)] = 0
            known = run[place] == ordered
            if known.any():
                suspects.append(ordered[known])
        duplicates = self._judge(ids, minutes, np.unique(np.concatenate(suspects))) if suspects else None
        self._remember(ids, minutes, ordered, bool(repeated.any()))
        return duplicates

    def _judge(self, ids: UInt64s, minutes: Minutes, suspects: UInt64s) -> npt.NDArray[np.bool_] | None:
        """Record by record, but only for ids that were seen before or come twice in this call."""
        duplicates = np.zeros(len(ids), np.bool_)
        last: dict[int, int] = {}
        for run, run_minutes in self.runs:
            place = np.searchsorted(run, suspects)
            place[place == len(run)] = 0
            for index in np.flatnonzero(run[place] == suspects):
                request_id, minute = int(suspects[index]), int(run_minutes[place[index]])
                last[request_id] = max(minute, last.get(request_id, minute))
        for row in np.flatnonzero(np.isin(ids, suspects)):
            request_id, minute = int(ids[row]), int(minutes[row])
            came = last.get(request_id)
            duplicates[row] = came is not None and came >= minute - self.horizon
            last[request_id] = minute if came is None else max(minute, came)
        return duplicates if duplicates.any() else None

    def _remember(self, ids: UInt64s, minutes: Minutes, ordered: UInt64s, repeated: bool) -> None:
        now = int(minutes[-1])
        if minutes[0] == now:
            distinct = np.unique(ordered) if repeated else ordered
            run = (distinct, np.full(len(distinct), now, np.int32))
        else:
            run = _latest([(ids, minutes)], now - self.horizon)
        self.runs = [kept for kept in self.runs if kept[1].max(initial=-1) >= now - self.horizon]
        self.runs.append(run)
        while len(self.runs) > 1 and len(self.runs[-2][0]) <= 2 * len(self.runs[-1][0]):
            newer, older = self.runs.pop(), self.runs.pop()
            self.runs.append(_latest([older, newer], now - self.horizon))

    def canonical(self, now_minute: int) -> tuple[UInt64s, Minutes]:
        """All live ids ascending, each with its latest minute; equal knowledge gives equal arrays."""
        merged = _latest(self.runs, now_minute - self.horizon)
        self.runs = [merged] if len(merged[0]) else []
        return merged

    def content(self, now_minute: int) -> list[Any]:
        """For storage: one ascending array of ids a minute, 8 bytes an id."""
        ids, minutes = self.canonical(now_minute)
        return [[int(minute), raw(ids[minutes == minute])] for minute in np.unique(minutes)]

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
            recent.runs = [_latest(sorted(runs, key=lambda run: int(run[1][0])), -(1 << 31))]
        return recent

    def __len__(self) -> int:
        return sum(len(run) for run, _ in self.runs)


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
