"""What is stored of a window, held against a recount of its files: two entries come in, the fields that differ go out,
each with the reason where one is known. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from sa_stream.rollups.entry import FINAL, MIXED, S3, Entry, merge
from sa_stream.rollups.periods import HALF_HOUR, ROLLUPS, children, end_of, start_of
from sa_stream.rollups.slots import as_part
from sa_stream.windows.summaries import VALUES_MAX
from sa_stream.windows.window import Window

# Not about the records of the window: what the entry is, where it came from, and what only a stream can say.
_OTHER = frozenset(
    (
        *("cache_key", "period", "time_key", "window_start", "window_end", "status", "revision", "provenance"),
        *("computed_at", "source_count", "sources_final", "sources", "missing_sources", "summary"),
        *("late_records", "invalid_records", "sampling_rate", "scaled", "errors", "missing_fields", "result_field"),
    )
)
_DISTINCT = ("unique_paths", "unique_agents", "unique_edges")
_FIELDS_OF = {"edges": ("edge_distribution", "cities"), "results": ("result_types",)}  # count -> where it is shown
_BY_AGENTS = ("agent_classes", "bots", "browsers", "systems", "devices", "page_views")

DUPLICATES = "duplicates that only the whole window's memory finds"
STREAM_DUPLICATES = "duplicates that came in the stream alone"
LANDED_AFTER = "files that landed after"
DROPPED = "late records that were dropped"
SET_ASIDE = "records set aside"
LATE_FILES = "records in files that landed late"
NOT_FINAL = "the entry is not final"
ESTIMATE = "within the error that the entry states"
OLDER_VERSION = "a version before did not count it"
OTHER_RULES = "agents were classified by other rules"
MORE_VALUES = "there are more different values than are kept by name"


class Facts(Struct, frozen=True):
    """What is known that explains differences: numbers of records, and fields.

    landed_after  of the window, in files that landed after its entry was computed
    late          of the window, in files in which nobody would look for them
    dropped       that came too late, set_aside: that were passed over unread; of all windows of the stream
    cut           as `cut_fields` of the recount
    """

    landed_after: int = 0
    late: int = 0
    dropped: int = 0
    set_aside: int = 0
    cut: frozenset[str] = frozenset()


class Difference(Struct, frozen=True):
    """field: `status_breakdown.2xx` and the like; reasons: empty if none is known."""

    field: str
    stored: Any
    recounted: Any
    reasons: tuple[str, ...] = ()


def differences(stored: Entry | None, recounted: Entry) -> list[Difference]:
    """Fields in which they differ. Where nothing is stored, that is like no requests."""
    if stored is None:
        total = recounted["total_requests"]
        return [Difference("total_requests", None, total)] if total else []
    found: list[Difference] = []
    for name, value in recounted.items():
        if name not in _OTHER:
            found += _differing(name, stored.get(name), value)
    return found


def _differing(name: str, stored: Any, recounted: Any) -> Iterator[Difference]:
    if stored == recounted:
        return
    if isinstance(stored, Mapping) and isinstance(recounted, Mapping):
        for key in dict.fromkeys((*stored, *recounted)):
            yield from _differing(f"{name}.{key}", stored.get(key), recounted.get(key))
    else:
        yield Difference(name, stored, recounted)


def explained(
    stored: Entry | None, recounted: Entry, found: Sequence[Difference], facts: Facts, same_hashes: bool = True
) -> tuple[list[Difference], int]:
    """(the same differences with their reasons; how many of the dropped or set-aside records these took)

    same_hashes  both were counted with one secret: distinct counts are then equal where the records are
    """
    if stored is not None and stored["status"] != FINAL:
        return [_because(each, NOT_FINAL) for each in found], 0
    known, surplus = _reasons(stored, recounted, facts)
    result = []
    for each in found:
        own = None if stored is None else _own_reason(each, stored, recounted, facts.cut, same_hashes)
        result.append(_because(each, *known, *([own] if own else [])))
    return result, surplus if DROPPED in known or SET_ASIDE in known else 0


def _reasons(stored: Entry | None, recounted: Entry, facts: Facts) -> tuple[tuple[str, ...], int]:
    """Why the files have other records than the entry, as far as numbers of records tell; and how many more there are
    in the files. No reason unless all of the difference is accounted for."""
    stored_total, stored_twice = (0, 0) if stored is None else _came(stored)
    total, twice = _came(recounted)
    more = total + twice - stored_total - stored_twice
    reasons = []
    if twice > stored_twice:
        reasons.append(DUPLICATES)
    if total == stored_total and twice < stored_twice and not _has_files(stored):
        return (STREAM_DUPLICATES,), 0
    if more > 0:
        possible = _surplus(stored, facts)
        if more > sum(possible.values()):
            return (), more
        reasons += [reason for reason, records in possible.items() if records]
    if more < 0:
        if -more > facts.late:
            return (), more
        reasons.append(LATE_FILES)
    return tuple(reasons), max(0, more)


def _surplus(stored: Entry | None, facts: Facts) -> dict[str, int]:
    """Reason -> how many more records the files may have for it."""
    if stored is not None and stored.get("provenance") == S3:
        return {LANDED_AFTER: facts.landed_after}
    return {DROPPED: facts.dropped, SET_ASIDE: facts.set_aside}


def _has_files(stored: Entry | None) -> bool:
    """Whether it was counted from files, all or some of it."""
    return stored is not None and stored.get("provenance") in (S3, MIXED)


def _came(entry: Entry) -> tuple[int, int]:
    return int(entry.get("total_requests") or 0), int(entry.get("duplicate_records") or 0)


def cut_fields(window: Window) -> frozenset[str]:
    """Of a recounted window those that have as many values as are kept by name. A stream keeps the first ones, files
    the most frequent."""
    full = {kind for kind, counts in window.counts.items() if len(counts) >= VALUES_MAX}
    return frozenset(field for kind in full for field in _FIELDS_OF.get(kind, (kind,)))


def _own_reason(
    each: Difference, stored: Entry, recounted: Entry, cut: frozenset[str], same_hashes: bool
) -> str | None:
    """Why a field may differ though the records are the same."""
    field = each.field.partition(".")[0]
    rules = stored.get("rules")
    if rules is None and _lacks(each.stored):
        return OLDER_VERSION
    by_agents = field in _BY_AGENTS or each.field.endswith(".human")
    if rules is not None and rules != recounted["rules"] and (by_agents or field == "rules"):
        return OTHER_RULES
    if field in cut:
        return MORE_VALUES
    error = "agent_classes" if by_agents else field  # one for all that agents tell
    errors = [(entry.get("errors") or {}).get(error) or 0 for entry in (stored, recounted)]
    if field not in _DISTINCT:
        return ESTIMATE if any(errors) and field != "percentiles" else None
    if same_hashes or not each.stored or not each.recounted:
        return None
    close = abs(each.stored - each.recounted) <= sum(errors) * max(each.stored, each.recounted)
    return ESTIMATE if close else None


def _lacks(value: Any) -> bool:
    """Whether something in it is not known."""
    if isinstance(value, Mapping):
        return any(_lacks(part) for part in value.values())
    return any(map(_lacks, value)) if isinstance(value, list) else value is None


def _because(each: Difference, *reasons: str) -> Difference:
    return Difference(each.field, each.stored, each.recounted, reasons)


class Rollups:
    """Half hours come in by time; every roll-up of which all half hours came goes out."""

    def __init__(self) -> None:
        self._held: dict[str, list[Window]] = {period: [] for period in ROLLUPS}

    def add(self, window: Window) -> Iterator[tuple[str, Window]]:
        """(period, content) of each roll-up that ends with this half hour."""
        below = HALF_HOUR
        for period in ROLLUPS:
            held, start_ms = self._held[period], start_of(period, window.start_ms)
            if held and held[0].start_ms < start_ms:
                held.clear()
            held.append(as_part(period, window))
            if end_of(below, window.start_ms) < end_of(period, start_ms) or len(held) < len(
                [*children(period, start_ms)]
            ):
                return
            window, below = merge(period, start_ms, held), period
            held.clear()
            yield period, window
