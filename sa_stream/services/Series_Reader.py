"""Reads the slots of a time line with as few reads of the cache service as there can be: from the entries of days and
months, which have a column of half hours and days, and from a slot's own entry only for what those cannot say."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct, field

from sa_stream.errors import Store_Unavailable
from sa_stream.rollups.periods import (
    DAILY,
    HALF_HOUR,
    HOURLY,
    MONTHLY,
    STATUS_KEY,
    cache_key,
    end_of,
    from_iso,
    start_of,
    time_key,
)
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.traffic_metrics import BESIDE_REQUESTS, IN_SLOTS, SUMMED
from sa_stream.services.traffic_slots import (
    COLUMNS,
    FINAL,
    MISSING,
    PARTIAL,
    SETTLED,
    STATUS_LOOKS_BACK_MS,
    ZERO,
    Slot,
    combined,
    of_columns,
    of_entry,
    of_minutes,
    of_names,
    silent_minutes,
    without_entry,
)
from sa_stream.services.traffic_times import MINUTE, Span
from sa_stream.timing import MINUTE_MS, WINDOW_MS

REFRESHED_MS = 10 * MINUTE_MS  # entries of days are written less often than those of half hours
READS_LEAN = 10  # what a week by half hours may cost, with the newest of them, which its day does not have yet

type Entry = Mapping[str, Any]


class Read_Series(Struct):
    """slots, oldest first; entries: all that they are from."""

    slots: list[Slot]
    entries: list[Entry] = field(default_factory=list)


class Series_Reader:
    """One question about a time line: what the entries say at one moment. Every method may raise Store_Unavailable."""

    def __init__(self, cache: Service__SA__Cache, now_ms: int, force_refresh: bool = False) -> None:
        self._cache = cache
        self.now_ms = now_ms
        self._force = force_refresh
        self._entries: dict[str, Entry | None] = {}

    @property
    def status(self) -> Entry | None:
        """`status/stream`, if somebody publishes it."""
        return self._read([STATUS_KEY])[STATUS_KEY]

    def entries(self, keys: Iterable[str]) -> dict[str, Entry | None]:
        """Entries by their keys."""
        return self._read(keys)

    def newest(self, period: str) -> Entry | None:
        """The latest entry of a period that has begun, however old; None if there is none, or nobody can list them."""
        begun = time_key(period, start_of(period, self.now_ms))
        names = [name for name in self._names_in(period) or () if name <= begun]
        return self._read([key := f"{period}/{max(names)}"])[key] if names else None

    def series(self, span: Span, names: Sequence[str]) -> Read_Series:
        """The slots of a span. names: the metrics that are needed."""
        if span.period == MINUTE:
            slots = self._minutes(span, names)
        elif span.local:
            slots = _sums(span.starts_ms, self.slots(HALF_HOUR, span.from_ms, span.to_ms, names), names)
        else:
            slots = self.slots(span.period, span.from_ms, span.to_ms, names)
        used = [entry for key, entry in self._entries.items() if entry is not None and key != STATUS_KEY]
        return Read_Series(slots, used)

    def slots(self, period: str, from_ms: int, to_ms: int, names: Sequence[str]) -> list[Slot]:
        """The slots of a period from the one that holds `from_ms` to the last that begins before `to_ms`."""
        starts = _starts(period, from_ms, to_ms)
        if period == HOURLY and set(names) <= {*SUMMED}:
            return _sums((*starts, end_of(HOURLY, starts[-1])), self.slots(HALF_HOUR, from_ms, to_ms, names), names)
        told, parents = self._told(period, starts)
        own = self._own(starts, told, parents, period != HOURLY and set(names) <= {*IN_SLOTS})
        if not BESIDE_REQUESTS.isdisjoint(names):
            own |= {start_ms for start_ms, slot in told.items() if slot.state == ZERO}
        entries = self._read([cache_key(period, start_ms) for start_ms in own])
        found = []
        for start_ms in starts:
            entry, slot = entries.get(cache_key(period, start_ms)), told.get(start_ms)
            if entry is not None:
                slot = of_entry(period, start_ms, entry, names)
            elif slot is None or (slot.state == MISSING and start_ms in own):
                end_ms = end_of(period, start_ms)
                slot = without_entry(start_ms, end_ms, names, self.status, self.now_ms, parents.get(start_ms))
            found.append(of_names(slot, names))
        return found

    def _told(self, period: str, starts: Sequence[int]) -> tuple[dict[int, Slot], dict[int, Entry]]:
        """What the entries above say of these slots, and for each the one that it is a part of."""
        if period == MONTHLY:
            return {}, {}
        of = HALF_HOUR if period == HOURLY else period
        above, _ = COLUMNS[of]
        keys = {start_ms: cache_key(above, start_of(above, start_ms)) for start_ms in starts}
        read = self._read([STATUS_KEY, *dict.fromkeys(keys.values())])
        told: dict[int, Slot] = {}
        for key in dict.fromkeys(keys.values()):
            entry = read[key]
            told |= (of_columns(of, entry) if entry is not None else None) or {}
        if period == HOURLY:
            told = _hours(starts, told)
        parents = {start_ms: entry for start_ms, key in keys.items() if (entry := read[key]) is not None}
        if above == DAILY:
            told |= self._silent_days([start_ms for start_ms in starts if start_ms not in parents], period)
        return {start_ms: told[start_ms] for start_ms in starts if start_ms in told}, parents

    def _silent_days(self, starts: Sequence[int], period: str) -> dict[int, Slot]:
        """Slots of days that have no entry, from before the time that `status/stream` tells about: their month tells
        whether they are zero. Nobody tells of those that have an entry of their own all the same: where half hours were
        computed on demand, and their day was not."""
        old = [start_ms for start_ms in starts if start_ms < self.now_ms - STATUS_LOOKS_BACK_MS]
        if not old:
            return {}
        days = self.slots(DAILY, start_of(DAILY, old[0]), old[-1] + 1, IN_SLOTS)
        of_day = {day.start_ms: day for day in days}
        of_each = {start_ms: of_day[start_of(DAILY, start_ms)] for start_ms in old}
        silent = {start_ms: day for start_ms, day in of_each.items() if day.state in (ZERO, MISSING)}
        there = self._names_in(period) if any(day.state == MISSING for day in silent.values()) else ()
        found = {}
        for start_ms, day in silent.items():
            if day.state == ZERO or (there is not None and time_key(period, start_ms) not in there):
                found[start_ms] = Slot(start_ms, end_of(period, start_ms), day.state, day.reason, day.values)
        return found

    def _names_in(self, period: str) -> set[str] | None:
        """Time keys of all entries of a period; None where the cache service cannot list them."""
        try:
            return set(self._cache.names_in(period))
        except Store_Unavailable:
            return None  # then each is looked up: slower, and no less right

    def _own(
        self, starts: Sequence[int], told: Mapping[int, Slot], parents: Mapping[int, Entry], columns_suffice: bool
    ) -> set[int]:
        """Which slots have to be looked up in their own entries: those of which nobody told; those that were not
        settled when their day was written; and where more is asked than columns have, all that have requests."""
        begun = [start_ms for start_ms in starts if start_ms <= self.now_ms]
        untold = [start_ms for start_ms in begun if start_ms not in told]
        known = [start_ms for start_ms in begun if start_ms in told]
        fresh = [start_ms for start_ms in known if _may_be_newer(told[start_ms], parents.get(start_ms))]
        if not columns_suffice:
            return {*untold, *fresh, *(start_ms for start_ms in known if told[start_ms].state in (FINAL, PARTIAL))}
        room = max(1, READS_LEAN - len(self._entries))
        return {*untold, *(fresh if untold else fresh[-room:])}

    def _minutes(self, span: Span, names: Sequence[str]) -> list[Slot]:
        halves = _starts(HALF_HOUR, span.from_ms, span.to_ms)
        read = self._read(cache_key(HALF_HOUR, start_ms) for start_ms in halves)
        silent = [start_ms for start_ms in halves if read[cache_key(HALF_HOUR, start_ms)] is None]
        told = self.slots(HALF_HOUR, silent[0], silent[-1] + 1, IN_SLOTS) if silent else []
        of_half = {slot.start_ms: slot for slot in told}
        found: list[Slot] = []
        for start_ms in halves:
            entry = read[cache_key(HALF_HOUR, start_ms)]
            if entry is not None:
                found += of_minutes(start_ms, entry, names, self.now_ms)
            else:
                found += silent_minutes(of_half[start_ms], names, self.now_ms)
        return [slot for slot in found if span.from_ms <= slot.start_ms < span.to_ms]

    def _read(self, keys: Iterable[str]) -> dict[str, Entry | None]:
        wanted = list(dict.fromkeys(keys))
        new = [key for key in wanted if key not in self._entries]
        if new:
            self._entries |= self._cache.get_many(new, self._force)
        return {key: self._entries[key] for key in wanted}


def _may_be_newer(slot: Slot, parent: Entry | None) -> bool:
    """Whether its own entry may say more than its day did when that was written."""
    if slot.state in SETTLED or parent is None:
        return False
    return slot.end_ms > from_iso(parent["computed_at"]) - REFRESHED_MS


def _sums(starts: Sequence[int], parts: Sequence[Slot], names: Sequence[str]) -> list[Slot]:
    """Parts, in order, as slots between these times."""
    found, rest = [], deque(parts)
    for start_ms, end_ms in pairwise(starts):
        inside = []
        while rest and rest[0].start_ms < end_ms:
            inside.append(rest.popleft())
        found.append(combined(start_ms, end_ms, inside, names))
    return found


def _hours(starts: Sequence[int], halves: Mapping[int, Slot]) -> dict[int, Slot]:
    found = {}
    for start_ms in starts:
        parts = [halves[each] for each in (start_ms, start_ms + WINDOW_MS) if each in halves]
        if len(parts) == 2:
            found[start_ms] = combined(start_ms, end_of(HOURLY, start_ms), parts, IN_SLOTS)
    return found


def _starts(period: str, from_ms: int, to_ms: int) -> list[int]:
    starts = [start_of(period, from_ms)]
    while (next_ms := end_of(period, starts[-1])) < to_ms:
        starts.append(next_ms)
    return starts
