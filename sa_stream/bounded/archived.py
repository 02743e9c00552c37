"""Entries straight from the archive, where there is no state store: windows as their files gave them come in, what the
cache says afterwards goes out.

All that an entry says is computed from files, so whoever does it twice, later or beside somebody else does no harm. The
rules are those of repairs: an entry of more files takes the place of one of fewer, final is never replaced by partial.
Nothing is written over what a state store keeps: that has its own reconciler.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct, field

from sa_stream.bounded.files import Window_Read
from sa_stream.commits.ports import Cache
from sa_stream.rollups.entry import FINAL, PARTIAL, S3, About, Entry, build_entry, consolidation_result, merge
from sa_stream.rollups.finality import NO_FILES_YET, OPEN
from sa_stream.rollups.periods import (
    HALF_HOUR,
    cache_key,
    child_period,
    children,
    consolidated_key,
    end_of,
    time_key,
)
from sa_stream.rollups.publication import is_final
from sa_stream.rollups.readable import readable
from sa_stream.rollups.repairs import FILE_UNREADABLE, WHOLE, Repair, content_of, repair_of, unreadable_file
from sa_stream.rollups.slots import NOT_FINAL, Waits, as_part, waits_of_parts, with_waits
from sa_stream.rollups.wanted import names_json
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.windows.window import Window

OTHER_FILES = "other-files"  # a roll-up lacks it: its entry was made of files that are gone, or from another source

# What an entry says of itself. The rest is what its records say.
_ABOUT = ("status", "revision", "computed_at", "sources", "source_count", "sources_final", "missing_sources")


class Rules(Struct, frozen=True):
    """settle_ms  how long after its end the files of a window may take to land
    settings   what decides the content of a window, besides its records
    fields     mask of the used fields that records have as a rule: without them nothing is null in an empty period
    """

    now_ms: int
    settle_ms: int
    settings: str
    fields: int
    sampling_percent: float = 100


class Computed_Period(Struct):
    """A period as its files gave it, with all that it is made of.

    window  of everything in it; None once the period above has it
    entry   what would be published if nothing were there
    repair  of a half hour: which files it was made of
    """

    period: str
    start_ms: int
    window: Window | None
    entry: Entry
    repair: Repair | None = None
    below: Sequence["Computed_Period"] = field(default_factory=tuple)

    @property
    def missing(self) -> list[dict[str, Any]]:
        return list(self.entry["missing_sources"])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to say: no record, and no file that could not be read."""
        if self.below:
            return all(one.empty for one in self.below)
        unread = any(missing["reason"] == FILE_UNREADABLE for missing in self.missing)
        return not self.entry["total_requests"] and not unread


def compute_period(period: str, start_ms: int, reads: Iterator[Window_Read], rules: Rules) -> Computed_Period:
    """A period of its windows, which come oldest first; those that `reads` lacks at the end are still to come."""
    if period == HALF_HOUR:
        return _compute_window(start_ms, next(reads, None), rules)
    below = [compute_period(child_period(period), child_ms, reads, rules) for child_ms in children(period, start_ms)]
    window = merge(period, start_ms, [as_part(period, one.window) for one in below if one.window is not None])
    for one in below:
        one.window = None
    why = _why_not_yet(period, start_ms, rules)
    entry = _entry(period, start_ms, window, [], [{"reason": why}] if why else [], rules)
    return Computed_Period(period, start_ms, window, entry, below=below)


def _compute_window(start_ms: int, read: Window_Read | None, rules: Rules) -> Computed_Period:
    window = Window(start_ms) if read is None else read.window
    failed = () if read is None else read.failed
    names = () if read is None else tuple(file.name for file in read.files)
    content = content_of(rules.settings, names, (file.name for file in failed))
    repair = repair_of(len(names) - len(failed), not failed, content)
    missing = [unreadable_file(file.name, file.error) for file in failed]
    if why := _why_not_yet(HALF_HOUR, start_ms, rules):
        missing.append({"partition": S3, "reason": why})
    entry = _entry(HALF_HOUR, start_ms, window, names_json(((S3, repair.name),)), missing, rules)
    return Computed_Period(HALF_HOUR, start_ms, window, entry, repair)


def _why_not_yet(period: str, start_ms: int, rules: Rules) -> str:
    end_ms = end_of(period, start_ms)
    if end_ms > rules.now_ms:
        return OPEN
    return NO_FILES_YET if end_ms + rules.settle_ms > rules.now_ms else ""


def _entry(
    period: str,
    start_ms: int,
    window: Window,
    sources: Sequence[dict[str, Any]],
    missing: Sequence[dict[str, Any]],
    rules: Rules,
) -> Entry:
    if not window.fields:
        window = Window(start_ms)
        window.fields = rules.fields
    about = About(not missing, 0, sources, missing, None, rules.now_ms, S3)
    entry = build_entry(period, start_ms, window, about, rules.sampling_percent, bounded=True)
    return dict(Schema__SA__Aggregate__Window(**entry).json())


class Shown(Struct, frozen=True):
    """What the cache says of a period; None: nothing, as it is empty. computed: whether that is what was computed."""

    entry: Entry | None
    computed: bool


def publish_period(cache: Cache, found: Computed_Period) -> Shown:
    """Write what differs, what a period is made of before itself; what was final and has not changed is not looked
    into. Raises Store_Unavailable: whoever does it again goes on where it broke off."""
    key = cache_key(found.period, found.start_ms)
    there = cache.retrieve_entry(NS_SA_AGGREGATE, key)
    shown = readable(key, there)
    if there is not None and _is_kept_elsewhere({"provenance": S3, **there}):  # also if it is damaged
        return Shown(shown, False)
    if shown is not None and is_final(shown) and _same_content(shown, found.entry):
        return Shown(shown, True)
    if shown is None and found.empty:
        return Shown(None, True)
    if found.period == HALF_HOUR:
        return _publish_window(cache, found, shown)
    below = [publish_period(cache, one) for one in found.below]
    entry = _with_sources(found, below)
    computed = all(one.computed for one in below)
    if shown is not None:
        less = not computed and shown["total_requests"] >= entry["total_requests"]
        if less or (is_final(shown) and not is_final(entry)):
            return Shown(shown, False)
    return Shown(_written(cache, found, entry, shown), computed)


def is_verified(shown: Entry | None, found: Computed_Period) -> bool:
    """Whether a half hour is final in the cache and says what its files say; or has no entry, and they no record."""
    if shown is None:
        return found.empty and not found.missing
    return is_final(shown) and is_final(found.entry) and _same_content(shown, found.entry)


def _publish_window(cache: Cache, found: Computed_Period, shown: Entry | None) -> Shown:
    assert found.repair is not None
    if shown is None:
        return Shown(_written(cache, found, found.entry, None), True)
    known = _repair_in(shown)
    fewer = (found.repair.files, found.repair.whole) < (known.files, known.whole)
    if fewer or (is_final(shown) and not is_final(found.entry)):
        return Shown(shown, False)
    return Shown(_written(cache, found, found.entry, shown), True)


def _written(cache: Cache, found: Computed_Period, entry: Entry, shown: Entry | None) -> Entry:
    if shown is not None:
        amended = is_final(shown) and not _same_content(shown, entry)
        entry = {**entry, "revision": shown["revision"] + amended}
        if {**shown, "computed_at": ""} == {**entry, "computed_at": ""}:
            return shown
    if found.period == HALF_HOUR:
        result = Schema__SA__Consolidation__Result(**consolidation_result(entry, found.start_ms))
        cache.store_entry(NS_SA_CONSOLIDATED, consolidated_key(found.start_ms), dict(result.json()))
    cache.store_entry(NS_SA_AGGREGATE, entry["cache_key"], entry)
    return entry


def _with_sources(found: Computed_Period, below: Sequence[Shown]) -> Entry:
    """A roll-up's entry by what the cache says of its parts: final when all of them are, or are empty for good."""
    sources, missing = [], []
    for one, shown in zip(found.below, below, strict=True):
        label = time_key(one.period, one.start_ms)
        reason = next((part["reason"] for part in one.missing), "")
        if shown.entry is not None:
            sources.append({"time_key": label, "revision": shown.entry["revision"], "summary": None})
            reason = "" if is_final(shown.entry) else NOT_FINAL
        if not shown.computed:
            reason = OTHER_FILES
        if reason:
            missing.append({"time_key": label, "reason": reason})
    about = {"sources": sources, "source_count": len(sources), "missing_sources": missing}
    status = {"status": PARTIAL if missing else FINAL, "sources_final": not missing}
    return {**found.entry, **about, **status, **with_waits(found.entry, _waits(found, below, missing))}


def _waits(found: Computed_Period, below: Sequence[Shown], missing: Sequence[dict[str, Any]]) -> Waits:
    """Which slots of a day or a month are not final, by what the cache says of its hours, or else by their files."""
    reasons = {part["time_key"]: part["reason"] for part in missing}
    parts = {one.start_ms: (one, shown.entry) for one, shown in zip(found.below, below, strict=True)}

    def told(hour_ms: int) -> dict[str, str]:
        one, entry = parts[hour_ms]
        if entry is not None:
            return {part["time_key"]: part["reason"] for part in entry["missing_sources"]}
        return {time_key(HALF_HOUR, half.start_ms): part["reason"] for half in one.below for part in half.missing}

    labels = {start_ms: time_key(one.period, start_ms) for start_ms, (one, _) in parts.items()}
    waiting = {start_ms: reasons[label] for start_ms, label in labels.items() if label in reasons}
    return waits_of_parts(found.period, waiting, told)


def _repair_in(entry: Entry) -> Repair:
    """Which files a half hour's entry was made of."""
    source = entry["sources"][0]
    return Repair(int(source["number"]), source["lineage"].endswith(f"-{WHOLE}"), source["lineage"])


def _is_kept_elsewhere(entry: Entry) -> bool:
    return entry.get("provenance") != S3 or entry.get("summary") is not None


def _same_content(one: Entry, other: Entry) -> bool:
    return all(one.get(name) == value for name, value in other.items() if name not in _ABOUT)
