"""Prunes the cache: entries that are older than they are kept, and files that the cache service has left behind; what
is gone, and what is left and why, goes out.

An entry goes only when nothing can need it any more: everything above it is final, and too old to be amended, by the
stream's own time. Then nobody misses it: a roll-up all of whose parts are gone stays as it is. So those of a day (or of
a month, of days) go together.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from msgspec import Struct, field

from sa_stream.commits.keys import PARTIALS_PREFIX, REPAIRS_PREFIX, parse_repair_key, window_label
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Cache, Listed, Prunable_Cache, Store
from sa_stream.rollups.editions import forget_steps
from sa_stream.rollups.entry import FINAL
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.periods import (
    CLOSED_BY,
    DAILY,
    HALF_HOUR,
    HOURLY,
    cache_key,
    end_of,
    half_hour_of,
    parents,
    parse_cache_key,
    start_of,
    time_key,
)
from sa_stream.rollups.readable import entry_in
from sa_stream.rollups.repairs import computed_from_ms
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED, NS_SA_RAW
from sa_stream.timing import DAY_MS, NEVER_MS, WINDOW_MS

RAW, CONSOLIDATED, ORPHANS = "raw", "consolidated", "orphans"  # beside the periods: what is pruned
NOT_FINAL_ABOVE = "not-final-above"  # a roll-up that it is part of may still be made anew
IN_USE = "in-use"  # something of it may still be amended
UNVERIFIED = "files-not-verified"  # files of it lie in the archive that were not held against it yet


class Retention(Struct, frozen=True):
    """How many days entries are kept after their day (or month, of days) is over; 0: for ever."""

    raw_days: int = 7
    consolidated_days: int = 90
    half_hour_days: int = 30
    hourly_days: int = 90
    daily_days: int = 365

    def kept_ms(self, what: str) -> int:
        days = {
            RAW: self.raw_days,
            CONSOLIDATED: self.consolidated_days,
            HALF_HOUR: self.half_hour_days,
            HOURLY: self.hourly_days,
            DAILY: self.daily_days,
        }[what]
        return days * DAY_MS or NEVER_MS


class Pruned(Struct):
    """gone: what -> entries; together: of which day (or month) -> entries; files: of the cache service that went with
    them, and orphans; left: what -> why -> entries that are older than they are kept."""

    gone: Counter[str] = field(default_factory=Counter)
    together: Counter[str] = field(default_factory=Counter)
    files: int = 0
    left: dict[str, Counter[str]] = field(default_factory=dict)


class Finals:
    """Whether entries are final, as the cache shows it: the entry itself, or a roll-up that it is part of, whatever has
    become of the entry since. Each is read once."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[str, bool] = {}

    def __call__(self, period: str, start_ms: int) -> bool:
        """Raises Store_Unavailable."""
        above = reversed([(period, start_ms), *parents(period, start_ms)])
        return any(self._shown(cache_key(each, each_ms)) for each, each_ms in above)

    def _shown(self, key: str) -> bool:
        if key not in self._known:
            entry = entry_in(self._cache, key)
            self._known[key] = entry is not None and entry["status"] == FINAL
        return self._known[key]


class In_Use(Struct, frozen=True):
    """What of the state store says that something of a window may still be published."""

    stream: Stream_View
    partials: frozenset[str]  # labels of windows
    repairs: frozenset[int]

    def __call__(self, start_ms: int, end_ms: int) -> bool:
        stream, windows = self.stream, range(start_ms, end_ms, WINDOW_MS)
        amendable_ms = min(stream.settled_until_ms - 2 * stream.timing.keep_ms, stream.amendable_from_ms)
        if end_ms >= amendable_ms or not stream.named.isdisjoint(windows):
            return True
        first_ms = stream.archive_from_ms
        if first_ms is not None and self.repairs and end_ms > computed_from_ms(first_ms, self.repairs):
            return True  # it may be computed again
        return not self.partials.isdisjoint(map(window_label, windows)) or not self.repairs.isdisjoint(windows)


def in_use_steps(store: Store, stream: Stream_View) -> Steps[In_Use]:
    folders: Sequence[str] = yield call(store.list_folders, PARTIALS_PREFIX)
    repairs: Sequence[Listed] = yield call(store.list, REPAIRS_PREFIX)
    return In_Use(
        stream,
        frozenset(folder.removeprefix(PARTIALS_PREFIX) for folder in folders),
        frozenset(parse_repair_key(item.key)[0] for item in repairs),
    )


class Pruning:
    """Deletes the entries that are past their retention, and what the cache service has left behind.

    unverified  windows (start in ms) whose half hours are still to be held against the files of the archive
    """

    def __init__(
        self,
        store: Store,
        cache: Prunable_Cache,
        stream: Stream_View,
        retention: Retention,
        unverified: Collection[int] = frozenset(),
    ) -> None:
        self._store, self._cache, self._stream, self._retention = store, cache, stream, retention
        self._unverified = frozenset(unverified)
        self._finals = Finals(cache)
        self.pruned = Pruned()

    def steps(self) -> Steps[Pruned]:
        """Can be stopped anywhere and done again. Raises Store_Unavailable, also where the cache service cannot list
        what it has."""
        in_use = yield from in_use_steps(self._store, self._stream)
        keys: Sequence[str] = yield call(self._cache.keys, NS_SA_AGGREGATE)
        for period, whole in CLOSED_BY.items():
            found = ((start_of(whole, start_ms), key) for key, start_ms in _starts(keys, period))
            for whole_ms, members in _together(found).items():
                if (yield from self._may_go_steps(period, whole, whole_ms, len(members), in_use)):
                    yield from forget_steps(self._store, period, whole_ms, members)
                    yield from self._delete_steps(period, NS_SA_AGGREGATE, members)
        keys = yield call(self._cache.keys, NS_SA_CONSOLIDATED)
        for day_ms, members in _together(_days(keys)).items():
            if (yield from self._may_go_steps(CONSOLIDATED, DAILY, day_ms, len(members), in_use)):
                yield from self._delete_steps(CONSOLIDATED, NS_SA_CONSOLIDATED, members)
        yield from self._raw_steps()
        for namespace in (NS_SA_AGGREGATE, NS_SA_CONSOLIDATED, NS_SA_RAW):
            paths: Sequence[str] = yield call(self._cache.orphans, namespace, self._stream.settled_until_ms - DAY_MS)
            for path in paths:
                self.pruned.files += yield call(self._cache.delete_file, path)
            self.pruned.gone[ORPHANS] += len(paths)
        return self.pruned

    def _may_go_steps(self, what: str, whole: str, whole_ms: int, entries: int, in_use: In_Use) -> Steps[bool]:
        """Whether all entries of a day (or month) may go."""
        end_ms = end_of(whole, whole_ms)
        if not self._is_old(what, end_ms):
            return False
        why = IN_USE if in_use(whole_ms, end_ms) else ""
        if what == HALF_HOUR and not self._unverified.isdisjoint(range(whole_ms, end_ms, WINDOW_MS)):
            why = UNVERIFIED
        if not (yield call(self._finals, whole, whole_ms)):
            why = NOT_FINAL_ABOVE
        if why:
            self.pruned.left.setdefault(what, Counter())[why] += entries
        else:
            self.pruned.together[f"{what} of {time_key(whole, whole_ms)}"] += entries
        return not why

    def _is_old(self, what: str, end_ms: int) -> bool:
        return end_ms + self._retention.kept_ms(what) <= self._stream.settled_until_ms

    def _delete_steps(self, what: str, namespace: str, keys: Sequence[str]) -> Steps[None]:
        for key in keys:
            self.pruned.files += yield call(self._cache.delete_entry, namespace, key)
            self.pruned.gone[what] += 1

    def _raw_steps(self) -> Steps[None]:
        """What ingestion wrote down: nothing is made of it."""
        keys: Sequence[str] = yield call(self._cache.keys, NS_SA_RAW)
        yield from self._delete_steps(
            RAW, NS_SA_RAW, [key for day_ms, key in _days(keys) if self._is_old(RAW, day_ms + DAY_MS)]
        )
        stored: Sequence[tuple[int, str]] = yield call(self._cache.stored_by_hour, NS_SA_RAW)
        for hour_ms, cache_id in stored:
            if self._is_old(RAW, start_of(DAILY, hour_ms) + DAY_MS):
                self.pruned.files += yield call(self._cache.delete_stored, NS_SA_RAW, cache_id)
                self.pruned.gone[RAW] += 1


def _starts(keys: Iterable[str], period: str) -> Iterator[tuple[str, int]]:
    for key in keys:
        if key.startswith(f"{period}/"):
            with suppress(ValueError):  # somebody else's
                yield key, parse_cache_key(key)[1]


def _days(keys: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(start of the day, key) of keys that begin with a half hour."""
    for key in keys:
        if (start_ms := half_hour_of(key)) is not None:
            yield start_of(DAILY, start_ms), key


def _together(found: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    """Keys by the start of what they are part of, ascending."""
    groups: dict[int, list[str]] = {}
    for start_ms, key in sorted(found):
        groups.setdefault(start_ms, []).append(key)
    return groups
