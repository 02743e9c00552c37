"""Slots of a time line, each with its numbers and with what to believe of them: entries come in, slots and gaps go out.
Pure.

A slot is `final`, `partial` (more may come), `zero` (final, and without a request: there is no entry) or `missing`, and
of the last two only `zero` is a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from sa_stream.rollups.periods import DAILY, HALF_HOUR, MONTHLY, end_of, from_iso, iso, parse_cache_key
from sa_stream.services.traffic_metrics import IN_SLOTS, OF_MINUTES, added, nothing, values_of
from sa_stream.timing import DAY_MS, MINUTE_MS

FINAL, PARTIAL, ZERO, MISSING = "final", "partial", "zero", "missing"
SETTLED = (FINAL, ZERO)
OPEN = "open"
BEFORE_START = "before-start"
NOT_PUBLISHED = "not-published"
OLDER_VERSION = "older-version"  # a day that kept no half hours before it was written anew: their own entries know
NO_ENTRY = "no-entry"  # of a time of which nothing in the cache says more
COLUMNS = {HALF_HOUR: (DAILY, "per_half_hour"), DAILY: (MONTHLY, "per_day")}  # slots of this period -> whose columns
STATUS_LOOKS_BACK_MS = 2 * DAY_MS

type Entry = Mapping[str, Any]


class Slot(Struct, frozen=True):
    """values: by metric; none where it is missing. reason: why it is not settled, '' if it is."""

    start_ms: int
    end_ms: int
    state: str
    reason: str
    values: Mapping[str, float | None]


def of_entry(period: str, start_ms: int, entry: Entry, names: Sequence[str]) -> Slot:
    """What its own entry says."""
    final = entry.get("status") == FINAL
    state = (FINAL if entry.get("total_requests") else ZERO) if final else PARTIAL
    return Slot(start_ms, end_of(period, start_ms), state, "" if final else reason_of(entry), values_of(entry, names))


def reason_of(entry: Entry) -> str:
    """The first reason for which an entry is not final."""
    return next((str(each.get("reason")) for each in entry.get("missing_sources") or ()), PARTIAL)


def of_columns(period: str, parent: Entry) -> dict[int, Slot] | None:
    """The slots that the entry of a day or a month knows of this period; None if it has none, as those of schema 1."""
    columns = parent.get(COLUMNS[period][1])
    if columns is None:
        return None
    _, start_ms = parse_cache_key(parent["cache_key"])
    reasons = columns.get("reason") or [None] * len(columns["state"])
    found = {}
    for place, (state, reason) in enumerate(zip(columns["state"], reasons, strict=True)):
        end_ms = end_of(period, start_ms)
        values = {} if state == MISSING else {name: _at(columns.get(name), place) for name in IN_SLOTS}
        if reason != OLDER_VERSION:
            found[start_ms] = Slot(start_ms, end_ms, state, "" if state in SETTLED else reason or PARTIAL, values)
        start_ms = end_ms
    return found


def of_minutes(start_ms: int, entry: Entry, names: Sequence[str], until_ms: int) -> list[Slot]:
    """The minutes of a half hour that have begun until then."""
    final, minutes = entry.get("status") == FINAL, entry.get("per_minute") or {}
    requests = minutes.get("requests")
    found = []
    for place in range(30):
        minute_ms = start_ms + place * MINUTE_MS
        if minute_ms > until_ms:
            break
        values = {name: _at(minutes.get(name), place) if name in OF_MINUTES else None for name in names}
        state = PARTIAL if not final else ZERO if _at(requests, place) == 0 else FINAL
        found.append(Slot(minute_ms, minute_ms + MINUTE_MS, state, "" if final else reason_of(entry), values))
    return found


def silent_minutes(half: Slot, names: Sequence[str], until_ms: int) -> list[Slot]:
    """The minutes of a half hour that has no entry: zero where that is known, else missing."""
    values = {name: 0 if name in OF_MINUTES else None for name in names} if half.state == ZERO else {}
    state = ZERO if half.state == ZERO else MISSING
    return [
        Slot(minute_ms, minute_ms + MINUTE_MS, state, half.reason, values)
        for minute_ms in range(half.start_ms, min(half.end_ms, until_ms + 1), MINUTE_MS)
    ]


def without_entry(
    start_ms: int, end_ms: int, names: Sequence[str], status: Entry | None, now_ms: int, parent: Entry | None = None
) -> Slot:
    """A slot that has no entry: zero if something says so, else missing, with a reason.

    parent  the entry of which this slot is a part, if it has no columns
    """

    def missing(reason: str) -> Slot:
        return Slot(start_ms, end_ms, MISSING, reason, {})

    zero = Slot(start_ms, end_ms, ZERO, "", nothing(names))
    if parent is not None and parent.get("status") == FINAL:
        return zero
    if status is None:
        return missing(OPEN if end_ms > now_ms else NO_ENTRY)
    since = status.get("covers_since")
    final_until_ms, told_ms = from_iso(status["final_until"]), from_iso(status["computed_at"])
    for gap in status.get("gaps") or ():
        if from_iso(gap["from"]) < end_ms and start_ms < from_iso(gap["to"]):
            return missing(gap["reason"])
    if since is not None and start_ms < from_iso(since):
        return missing(BEFORE_START)
    if start_ms < told_ms - STATUS_LOOKS_BACK_MS:
        return missing(NO_ENTRY)
    if end_ms <= final_until_ms:
        return zero
    return missing(OPEN if end_ms > now_ms else NOT_PUBLISHED)


def combined(start_ms: int, end_ms: int, parts: Sequence[Slot], names: Sequence[str]) -> Slot:
    """One slot of several: what is known of it. It is final if all of them are; if one is missing, its sums lack it,
    and it says so."""
    parts = [*parts, *(_to_come(part, end_ms) for part in parts[-1:] if part.end_ms < end_ms)]
    known = [part for part in parts if part.state != MISSING]
    waiting = [part for part in parts if part.state not in SETTLED]
    if not known:
        return Slot(start_ms, end_ms, MISSING, waiting[0].reason if waiting else NO_ENTRY, {})
    state = PARTIAL if waiting else ZERO if all(part.state == ZERO for part in parts) else FINAL
    reason = waiting[0].reason if waiting else ""
    return Slot(start_ms, end_ms, state, reason, added([part.values for part in known], names))


def of_names(slot: Slot, names: Sequence[str]) -> Slot:
    """With the values of these alone: null what it does not say, and none if it is missing."""
    silent = nothing(names) if slot.state == ZERO else {}
    values = {} if slot.state == MISSING else {name: slot.values.get(name, silent.get(name)) for name in names}
    return Slot(slot.start_ms, slot.end_ms, slot.state, slot.reason, values)


def gaps_of(slots: Iterable[Slot]) -> list[dict[str, Any]]:
    """Stretches of missing slots, of one reason each; `to` is not included."""
    found = []
    for (state, reason), group in groupby(slots, lambda slot: (slot.state, slot.reason)):
        members = list(group)
        if state == MISSING:
            found.append({"from": iso(members[0].start_ms), "to": iso(members[-1].end_ms), "reason": reason})
    return found


def _to_come(last: Slot, end_ms: int) -> Slot:
    return Slot(last.end_ms, end_ms, MISSING, OPEN, {})


def _at(column: Sequence[Any] | None, place: int) -> Any:
    return None if column is None else column[place]
