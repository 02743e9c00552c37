"""Entries of several days as one, as far as they can be added up: the sums of counts and of tables; null is what cannot
(distinct counts, percentiles), and what one of them does not know. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

type Entry = Mapping[str, Any]

_COUNTS = ("total_requests", "total_bytes", "page_views", "late_records", "duplicate_records", "invalid_records")
_TABLES = ("status_breakdown", "result_types", "agent_classes", "referrers")
_PATHS = ("top_paths", "top_missed_paths")


def merged_entry(entries: Sequence[Entry]) -> Entry | None:
    """None of none; one as it is."""
    if len(entries) <= 1:
        return entries[0] if entries else None
    provenances = {entry.get("provenance") for entry in entries}
    merged: dict[str, Any] = {
        "provenance": provenances.pop() if len(provenances) == 1 else "mixed",
        "missing_fields": sorted({name for entry in entries for name in entry.get("missing_fields") or ()}),
        "sampling_rate": min((entry["sampling_rate"] for entry in entries if entry.get("sampling_rate")), default=None),
        "schema_version": min(entry.get("schema_version", 1) for entry in entries),
        "computed_at": max(entry["computed_at"] for entry in entries),
    }
    for name in _COUNTS:
        numbers = [entry.get(name) for entry in entries]
        merged[name] = None if None in numbers else sum(number or 0 for number in numbers)
    for name in _TABLES:
        merged[name] = _sum([entry.get(name) for entry in entries])
    for name in _PATHS:
        merged[name] = _paths([entry.get(name) for entry in entries])
    errors = [entry.get("top_error_paths") or {} for entry in entries]
    both = {name: _paths([each.get(name) for each in errors]) for name in ("status_4xx", "status_5xx")}
    merged["top_error_paths"] = None if None in both.values() else both
    merged["bots"] = _paths([entry.get("bots") for entry in entries], "name")
    results, total = merged["result_types"], merged["total_requests"]
    if results is not None and total:
        merged["cache_hit_rate"] = round(100 * results.get("Hit", 0) / total, 2)
        served = sum(results.get(name, 0) for name in ("Hit", "RefreshHit", "OriginShieldHit"))
        merged["served_from_cache_rate"] = round(100 * served / total, 2)
    return merged


def _sum(tables: Sequence[Mapping[str, int] | None]) -> dict[str, int] | None:
    total: Counter[str] = Counter()
    for table in tables:
        if table is None:
            return None
        total.update(table)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _paths(lists: Sequence[Sequence[Mapping[str, Any]] | None], label: str = "path") -> list[dict[str, Any]] | None:
    """Rows of the same path (or name) added up; the average of times by the requests of each. In the order of what
    their list is ranked by: its first number."""
    rows: dict[str, dict[str, Any]] = {}
    ranked = "count"
    for rows_of_one in lists:
        if rows_of_one is None:
            return None
        for row in rows_of_one:
            ranked = next(name for name in row if name != label)
            rows[row[label]] = _added(rows[row[label]], row, label) if row[label] in rows else dict(row)
    return sorted(rows.values(), key=lambda row: (-(row.get(ranked) or 0), row[label]))


def _added(one: Mapping[str, Any], other: Mapping[str, Any], label: str) -> dict[str, Any]:
    total: dict[str, Any] = {label: one[label]}
    for name in [name for name in one if name != label]:
        mine, theirs = one[name], other.get(name)
        if name == "avg_time_taken":
            weights = [(each[name], each["count"]) for each in (one, other) if each.get(name) is not None]
            count = sum(weight for _, weight in weights)
            total[name] = round(sum(value * weight for value, weight in weights) / count, 6) if count else None
        elif name == "ai":
            total[name] = mine
        else:
            total[name] = None if mine is None or theirs is None else mine + theirs
    return total
