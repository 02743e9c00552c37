"""What every answer begins with, whatever it goes on with: what to believe of it. Entries come in. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sa_stream.rollups.periods import cache_key, end_of, iso, time_key
from sa_stream.services.traffic_slots import FINAL, PARTIAL, SETTLED, Slot

type Entry = Mapping[str, Any]

_COUNTS = ("total_requests", "total_bytes", "unique_paths", "unique_agents", "unique_edges", "page_views")
_RECORDS = ("late_records", "duplicate_records", "invalid_records")
_TABLES = (
    *("status_breakdown", "status_codes", "result_types", "edge_distribution", "methods", "protocols", "hosts"),
    *("agent_classes", "browsers", "systems", "devices", "referrers", "content_types", "kinds", "http_versions"),
    *("tls_versions", "cities", "path_groups"),
)
_LISTS = ("top_paths", "top_missed_paths", "top_bytes_paths", "bots")


def about_entry(entry: Entry, status: Entry | None, fields: Sequence[str] = ()) -> dict[str, Any]:
    """Of an answer that is made of one entry. fields: those that it shows; what the entry lacks is named among the
    missing ones."""
    lacking = [name for name in fields if name not in entry]
    return {
        "schema_version": entry.get("schema_version", 1),
        "status": entry.get("status"),
        "final_until": None if status is None else status.get("final_until"),
        "computed_at": entry.get("computed_at"),
        "revision": entry.get("revision"),
        "provenance": entry.get("provenance"),
        "missing_sources": entry.get("missing_sources", []),
        "missing_fields": [*entry.get("missing_fields", ()), *lacking],
        "sampling_rate": entry.get("sampling_rate"),
        **{name: entry.get(name) for name in ("cache_key", "period", "time_key", "window_start", "window_end")},
    }


def about_series(slots: Sequence[Slot], entries: Iterable[Entry], status: Entry | None) -> dict[str, Any]:
    """Of an answer that is made of many. provenance: `mixed` if they differ; sampling_rate: the least."""
    listed = list(entries)
    provenances = {entry["provenance"] for entry in listed if entry.get("provenance")}
    rates = [entry["sampling_rate"] for entry in listed if entry.get("sampling_rate") is not None]
    return {
        "schema_version": min((entry.get("schema_version", 1) for entry in listed), default=None),
        "status": FINAL if slots and all(slot.state in SETTLED for slot in slots) else PARTIAL,
        "final_until": None if status is None else status.get("final_until"),
        "computed_at": max((entry["computed_at"] for entry in listed if entry.get("computed_at")), default=None),
        "provenance": provenances.pop() if len(provenances) == 1 else "mixed" if provenances else None,
        "missing_fields": sorted({name for entry in listed for name in entry.get("missing_fields") or ()}),
        "sampling_rate": min(rates, default=None),
    }


def zero_entry(period: str, start_ms: int) -> dict[str, Any]:
    """What the entry of a period would say that ended without a request, and so has none."""
    ranks = {"p50": None, "p90": None, "p95": None, "p99": None, "count": 0, "max": None}
    return {
        "schema_version": 2,
        "cache_key": cache_key(period, start_ms),
        "period": period,
        "time_key": time_key(period, start_ms),
        "window_start": iso(start_ms),
        "window_end": iso(end_of(period, start_ms)),
        "status": FINAL,
        "revision": 0,
        "computed_at": None,
        "provenance": None,
        "missing_sources": [],
        "missing_fields": [],
        "sampling_rate": None,
        **dict.fromkeys((*_COUNTS, *_RECORDS), 0),
        **{name: {} for name in _TABLES},
        **{name: [] for name in _LISTS},
        "top_error_paths": {"status_4xx": [], "status_5xx": []},
        "percentiles": {"time_taken": ranks, "ttfb": ranks},
        "origin_latency": {**ranks, "avg": None},
        **dict.fromkeys(("avg_time_taken", "avg_ttfb", "cache_hit_rate", "served_from_cache_rate"), 0.0),
        "errors": {},
    }
