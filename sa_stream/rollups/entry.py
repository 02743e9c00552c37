"""An entry is what people read about a period: a merged window comes in, plain JSON values come out.

What each number means is in docs/entries.md and, as a recount, in tests/oracle.py. Nothing here reads or writes
anything.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec import field as field_of

from sa_stream.records.fields import (
    ALLOWABLE_FIELDS,
    RESULT_FIELDS,
    USED_FIELDS,
    from_mask,
    missing_fields,
    result_field,
    to_mask,
)
from sa_stream.rollups.details import bounds, details
from sa_stream.rollups.numbers import percentiles_s, ranked, shown
from sa_stream.rollups.periods import HALF_HOUR, cache_key, consolidated_key, end_of, from_iso, iso, time_key
from sa_stream.rollups.slots import Waits, slot_columns, with_waits
from sa_stream.windows.summaries import PERCENTILE_ERROR_RATE, Distinct, Durations
from sa_stream.windows.window import Window

type Entry = dict[str, Any]

FINAL = "final"
PARTIAL = "partial"
STREAM = "stream"  # provenance: computed from the partitions of the stream
FILES = "files"  # ... from log files that were given
S3 = "s3"  # ... as a whole from the files of the archive
MIXED = "mixed"  # ... a roll-up of windows of both
OURS = (STREAM, S3, MIXED)  # what a reconciler writes, and may write anew
SCHEMA_VERSION = 2
FROM_CACHE = ("Hit", "RefreshHit", "OriginShieldHit")


class About(Struct, frozen=True):
    """What one version of an entry says of itself.

    sources  what was merged: partials of a half hour, entries of a roll-up
    missing  sources that are still to come, each with its reason
    summary  key of the mergeable window in the state store, from which roll-ups are computed
    waits    of a day or a month, the slots that are not final
    """

    final: bool
    revision: int
    sources: Sequence[Mapping[str, Any]]
    missing: Sequence[Mapping[str, Any]]
    summary: str | None
    computed_at_ms: int
    provenance: str = STREAM
    waits: Waits = field_of(default_factory=dict)


def build_entry(
    period: str, start_ms: int, window: Window, about: About, sampling_percent: float = 100, bounded: bool = False
) -> Entry:
    """The entry of one period.

    window   everything that counts in it, merged
    bounded  input without arrival times (a replay): when an invalid record came is not known
    """
    offered = from_mask(window.fields)

    def given(field: str, value: Any) -> Any:
        return value if field in offered else None

    result_source = result_field(offered)

    def given_results(value: Any) -> Any:
        return value if result_source else None

    total = window.total_requests
    results = window.counts["results"]
    minutes = _minutes(window, given, given_results) if period == HALF_HOUR else None
    counts = {"total_requests": total, "total_bytes": given("sc-bytes", window.total_bytes)}
    return {
        **_heading(period, start_ms, about),
        "missing_fields": missing_fields(offered),
        **counts,
        "unique_paths": given("cs-uri-stem", window.unique_paths.estimate()),
        "unique_agents": given("cs-user-agent", window.unique_agents.estimate()),
        "unique_edges": given("x-edge-location", window.unique_edges.estimate()),
        "status_breakdown": given("sc-status", _classes(window.counts["status"])),
        "cache_hit_rate": given_results(_percent(results.get("Hit", 0), total)),
        "served_from_cache_rate": given_results(_percent(sum(results.get(name, 0) for name in FROM_CACHE), total)),
        "result_types": given_results(ranked(results)),
        "result_field": result_source,
        "edge_distribution": given("x-edge-location", ranked(window.counts["edges"])),
        "methods": given("cs-method", shown(window.counts["methods"])),
        "protocols": given("cs-protocol", shown(window.counts["protocols"])),
        "hosts": given("cs-host", shown(window.counts["hosts"])),
        "avg_time_taken": given("time-taken", _average_s(window.time_taken)),
        "avg_ttfb": given("time-to-first-byte", _average_s(window.ttfb)),
        "percentiles": {
            "time_taken": given("time-taken", percentiles_s(window.time_taken)),
            "ttfb": given("time-to-first-byte", percentiles_s(window.ttfb)),
        },
        "late_records": window.late_records,
        "duplicate_records": given("x-edge-request-id", window.duplicate_records),
        "invalid_records": None if bounded else window.invalid_records,
        "per_minute": minutes,
        "sampling_rate": sampling_percent,
        "scaled": _scaled(counts, sampling_percent),
        "errors": {
            "unique_paths": given("cs-uri-stem", _error_rate(window.unique_paths)),
            "unique_agents": given("cs-user-agent", _error_rate(window.unique_agents)),
            "unique_edges": given("x-edge-location", _error_rate(window.unique_edges)),
            "percentiles": PERCENTILE_ERROR_RATE,
            "top_paths": given("cs-uri-stem", window.top_paths_error),
            **bounds(window, given),
        },
        "summary": about.summary,
        "schema_version": SCHEMA_VERSION,
        **details(period, window, given, given_results),
        **slot_columns(period, start_ms, window, about.waits, given, given_results),
    }


def _heading(period: str, start_ms: int, about: About) -> Entry:
    return {
        "cache_key": cache_key(period, start_ms),
        "period": period,
        "time_key": time_key(period, start_ms),
        "window_start": iso(start_ms),
        "window_end": iso(end_of(period, start_ms)),
        "status": FINAL if about.final else PARTIAL,
        "revision": about.revision,
        "provenance": about.provenance,
        "computed_at": iso(about.computed_at_ms),
        "source_count": len(about.sources),
        "sources_final": about.final,
        "sources": [dict(source) for source in about.sources],
        "missing_sources": [dict(source) for source in about.missing],
    }


def _minutes(
    window: Window, given: Callable[[str, Any], Any], given_results: Callable[[Any], Any]
) -> dict[str, list[int] | None]:
    minutes = dict[str, list[int] | None](window.per_minute())
    for name, field in (("status_4xx", "sc-status"), ("status_5xx", "sc-status"), ("bytes", "sc-bytes")):
        minutes[name] = given(field, minutes[name])
    minutes["hits"] = given_results(minutes["hits"])
    return minutes


def fields_of(entry: Entry) -> int:
    """Mask of the log fields that an entry was made with, from what `build_entry` says of them."""
    unsaid = {*RESULT_FIELDS} - {*(entry.get("result_field") or "").split(", ")}
    if entry.get("countries") is None:
        unsaid |= {*ALLOWABLE_FIELDS}
    return to_mask({*USED_FIELDS} - {*entry["missing_fields"]} - unsaid)


def nothing_instead_of(entry: Entry) -> Window:
    """What takes the place of a half hour's entry where the stream knows that there was nothing. It keeps the log
    fields: without them it would say that it does not know, and not that there was none."""
    window = Window(from_iso(entry["window_start"]))
    window.fields = fields_of(entry)
    return window


def merge(period: str, start_ms: int, windows: Sequence[Window]) -> Window:
    """The sum of at least one window, as the content of this period's entry. What it is made of comes from `as_part`;
    an earlier sum may be among them."""
    merged = Window.merged(windows)
    if period != HALF_HOUR:  # even if it is the sum of one: equal records give equal bytes
        merged.start_ms, merged.minutes = start_ms, None
    return merged


def with_status(
    entry: Entry,
    *,
    final: bool,
    sources: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    at_ms: int,
    waits: Waits,
) -> Entry:
    """The same content under another status: nothing was added, but fewer (or other) sources are missing."""
    return {
        **entry,
        "status": FINAL if final else PARTIAL,
        "sources_final": final,
        "sources": [dict(source) for source in sources],
        "source_count": len(sources),
        "missing_sources": [dict(source) for source in missing],
        "computed_at": iso(at_ms),
        **with_waits(entry, waits),
    }


def consolidation_result(entry: Entry, start_ms: int) -> dict[str, Any]:
    """The fields of Schema__SA__Consolidation__Result for a half hour's entry, and the key under which it is kept."""
    same = (
        "total_requests",
        "unique_paths",
        "unique_agents",
        "unique_edges",
        "status_breakdown",
        "top_paths",
        "edge_distribution",
        "cache_hit_rate",
        "total_bytes",
    )
    return {
        "cache_key": consolidated_key(start_ms),
        "period_start": entry["window_start"],
        "period_end": entry["window_end"],
        **{name: entry[name] for name in same},
    }


def _classes(statuses: Mapping[str, int]) -> dict[str, int]:
    classes: dict[str, int] = {}
    for status, count in sorted(statuses.items()):
        name = f"{status[0]}xx"
        classes[name] = classes.get(name, 0) + count
    return classes


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _average_s(durations: Durations) -> float:
    return durations.sum_us / durations.count / 1e6 if durations.count else 0.0


def _error_rate(distinct: Distinct) -> float:
    return 0 if distinct.exact else distinct.error


def _scaled(counts: Mapping[str, int | None], sampling_percent: float) -> dict[str, int | None] | None:
    """What all requests would have been; null where every request is in the log anyway."""
    if sampling_percent >= 100:
        return None
    return {name: None if n is None else round(n * 100 / sampling_percent) for name, n in counts.items()}
