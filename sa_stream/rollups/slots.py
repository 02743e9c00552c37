"""The half hours of a day and the days of a month, in the day's and the month's own entry: numbers of each, and whether
they are final, so that a zero is told from a gap.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, children, end_of, parse_cache_key, time_key
from sa_stream.windows.window import SLOT, SLOT_FIELDS, Window

FINAL, PARTIAL, ZERO, MISSING = "final", "partial", "zero", "missing"
NOT_FINAL = "partial"  # the reason of a roll-up that waits for an entry that is there, but not final
OLDER_VERSION = "older-version"  # a version before stored its day, which kept no half hours
COLUMNS = {DAILY: "per_half_hour", MONTHLY: "per_day"}  # name of the columns -> of which period
_OF_EACH = {DAILY: HALF_HOUR, MONTHLY: DAILY}

# start (ms) of a slot that is not final -> its state, and why
type Waits = Mapping[int, tuple[str, str]]


def as_part(period: str, window: Window) -> Window:
    """A window that is merged into this period: where its time is a slot there, or of the day above an hour, as one."""
    return window.as_slot() if period in (HOURLY, MONTHLY) else window


def slot_starts(period: str, start_ms: int) -> list[int]:
    """Starts of the slots of a day or a month; of other periods none."""
    if period not in COLUMNS:
        return []
    starts, end_ms = [start_ms], end_of(period, start_ms)
    while (next_ms := end_of(_OF_EACH[period], starts[-1])) < end_ms:
        starts.append(next_ms)
    return starts


def slot_columns(
    period: str,
    start_ms: int,
    window: Window,
    waits: Waits,
    given: Callable[[str, Any], Any],
    given_results: Callable[[Any], Any],
) -> dict[str, Any]:
    """The columns under their name; the other one, and both for a period that has none, are null."""
    starts = slot_starts(period, start_ms)
    if not starts:
        return dict.fromkeys(COLUMNS.values())
    rows, states, reasons = [], [], []
    for slot_ms in starts:
        slot = window.slots.get(slot_ms)
        state, reason = waits.get(slot_ms, ("", ""))
        if not state and slot is None and window.older:
            state, reason = MISSING, OLDER_VERSION
        nothing = (None,) * len(SLOT) if state else (*(0 for _ in SLOT[:-1]), None)
        rows.append(nothing if slot is None else slot)
        states.append(state or (FINAL if slot and slot[0] else ZERO))
        reasons.append(reason or None)
    columns: dict[str, Any] = dict(zip(SLOT, map(list, zip(*rows, strict=True)), strict=True))
    columns["p95"] = given("time-taken", [None if us is None else us / 1e6 for us in columns["p95"]])
    for name, (field, *others) in SLOT_FIELDS.items():
        columns[name] = given_results(columns[name]) if others else given(field, columns[name])
    return {**dict.fromkeys(COLUMNS.values()), COLUMNS[period]: {**columns, "state": states, "reason": reasons}}


def with_waits(entry: Mapping[str, Any], waits: Waits) -> dict[str, Any]:
    """The columns of an entry whose numbers are the same, with other states; nothing where it has none."""
    columns = _columns_of(entry)
    if columns is None:
        return {}
    changed = {name: None if column is None else list(column) for name, column in columns.items()}
    states, reasons, requests = changed["state"], changed["reason"], changed["requests"]
    assert states is not None
    assert reasons is not None
    assert requests is not None
    for place, slot_ms in enumerate(_starts_of(entry)):
        before = states[place], reasons[place]
        if before == (MISSING, OLDER_VERSION):
            continue
        state, reason = waits.get(slot_ms, ("", ""))
        states[place] = state or (FINAL if requests[place] else ZERO)
        reasons[place] = reason or None
        if not requests[place]:
            for name in SLOT[:-1]:
                if (column := changed[name]) is not None:
                    column[place] = None if state == MISSING else 0
    return {COLUMNS[entry["period"]]: changed}


def waits_of(entry: Mapping[str, Any]) -> dict[int, tuple[str, str]] | None:
    """What an entry says of its slots that are not final; None if it has none."""
    columns = _columns_of(entry)
    if columns is None:
        return None
    told = zip(_starts_of(entry), columns["state"], columns["reason"], strict=True)
    return {
        slot_ms: (state, reason or "")
        for slot_ms, state, reason in told
        if state in (PARTIAL, MISSING) and reason != OLDER_VERSION
    }


def waits_of_parts(
    period: str, reasons: Mapping[int, str], told: Callable[[int], Mapping[str, str]]
) -> dict[int, tuple[str, str]]:
    """The slots of a day or a month that are not final; of an hour none.

    reasons  start (ms) of an hour (month: of a day) that is not final -> why
    told     of such an hour: time key of a half hour that is not final -> why
    """
    waits: dict[int, tuple[str, str]] = {}
    for child_ms, reason in reasons.items():
        if period == MONTHLY:
            waits[child_ms] = _wait(reason)
        elif period == DAILY:
            halves = told(child_ms)
            for slot_ms in children(HOURLY, child_ms):
                if why := halves.get(time_key(HALF_HOUR, slot_ms)):
                    waits[slot_ms] = _wait(why)
    return waits


def _wait(reason: str) -> tuple[str, str]:
    return (PARTIAL, "") if reason == NOT_FINAL else (MISSING, reason)


def _starts_of(entry: Mapping[str, Any]) -> list[int]:
    return slot_starts(*parse_cache_key(entry["cache_key"]))


def _columns_of(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    return entry.get(COLUMNS.get(entry.get("period", ""), ""))
