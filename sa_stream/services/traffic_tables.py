"""Tables of one entry: paths, edge locations, statuses, and one for each dimension. Pure; null where an entry lacks the
field."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sa_stream.errors import Bad_Parameter
from sa_stream.records.edges import city_of
from sa_stream.records.privacy import normalized

type Entry = Mapping[str, Any]
type Row = dict[str, Any]

LIMIT_MAX = 100
ROWS_MAX = 1_000
PREFIX_CHARACTERS_MAX = 2_048
_UNESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2}|[0-9A-Fa-f]?\Z)|[^!-~]|[#?]")
_HALF_TYPED = re.compile(r"%[a-f]\Z")
# sort -> the list of an entry that has the most of it, its name in `errors`
_SORTS: dict[str, tuple[str, ...]] = {
    "count": ("top_paths",),
    "bytes": ("top_bytes_paths",),
    "status_4xx": ("top_error_paths", "status_4xx"),
    "status_5xx": ("top_error_paths", "status_5xx"),
    "misses": ("top_missed_paths",),
}
SORTS = tuple(_SORTS)
_PATH_FIELDS = ("path", "count", "bytes", "hits", "misses", "status_4xx", "status_5xx", "avg_time_taken")
# Of agents that were too many to be classified, all that agents tell is unknown.
_BOUNDS = dict.fromkeys(("bots", "browsers", "systems", "devices"), "agent_classes")  # field -> its name in `errors`
# dimension -> (field of an entry, what its shares are of)
REQUESTS, HUMANS = "requests", "human requests"
DIMENSIONS: dict[str, tuple[str, str]] = {
    "hosts": ("hosts", REQUESTS),
    "methods": ("methods", REQUESTS),
    "protocols": ("protocols", REQUESTS),
    "results": ("result_types", REQUESTS),
    "agents": ("agent_classes", REQUESTS),
    "bots": ("bots", REQUESTS),
    "browsers": ("browsers", HUMANS),
    "systems": ("systems", HUMANS),
    "devices": ("devices", HUMANS),
    "referrers": ("referrers", REQUESTS),
    "content-types": ("content_types", REQUESTS),
    "kinds": ("kinds", REQUESTS),
    "http-versions": ("http_versions", REQUESTS),
    "tls-versions": ("tls_versions", REQUESTS),
    "countries": ("countries", REQUESTS),
    "path-groups": ("path_groups", REQUESTS),
}


def top_paths(entry: Entry, sort: str, limit: int, prefix: str) -> dict[str, Any]:
    """Paths with the most of something, as far as the entry lists them: 100 by count (a half hour 50), 20 of the rest.

    total        different paths of the period; null with a prefix, as an entry does not know how many have it
    error_bound  how much a number may lack; 0 where exact
    """
    if sort not in _SORTS:
        raise Bad_Parameter("sort", f"sort is none of {', '.join(_SORTS)}")
    field, *parts = _SORTS[sort]
    listed = entry.get(field)
    for part in parts:
        listed = listed.get(part) if listed else listed
    by_count = {row["path"]: row for row in entry.get("top_paths") or ()}
    rows = None
    if listed is not None:
        begins = stored_form(prefix)
        whole = ({**by_count.get(row["path"], {}), **row} for row in listed if row["path"].startswith(begins))
        rows = [{name: row.get(name) for name in _PATH_FIELDS} for row in whole][:limit]
    return {
        "rows": rows,
        "shown": len(rows or ()),
        "total": None if prefix else entry.get("unique_paths"),
        "error_bound": (entry.get("errors") or {}).get(field),
        "sort": sort,
        "prefix": prefix,
    }


def stored_form(prefix: str) -> str:
    """What somebody gives of a path in the form that paths are stored in: escapes in their one form, and escaped what
    no path has as it is. Braces and brackets are left, as rules for paths may have put them there; so is a per cent
    sign at the end, where an escape may be half typed, whose letter is upper-case as in a whole one."""
    escaped = normalized(_UNESCAPED.sub(lambda found: quote(found[0], safe="", errors="replace"), prefix))
    return _HALF_TYPED.sub(lambda found: found[0].upper(), escaped)


def edge_locations(entry: Entry) -> dict[str, Any]:
    """Rows by edge location, and the same by city. share: percent of all requests."""
    counts = entry.get("edge_distribution")
    if counts is None:
        return {"rows": None, "cities": None, "shown": 0, "total": None}
    total = entry["total_requests"]
    rows, cities = [], defaultdict[tuple[str | None, str | None], int](int)
    for edge, count in counts.items():
        city, country = city_of(edge) or (None, None)
        rows.append({"edge": edge, "city": city, "country": country, "count": count, "share": share(count, total)})
        cities[city, country] += count
    ranked = sorted(cities.items(), key=lambda item: (-item[1], item[0][0] or "~"))
    return {
        "rows": rows[:ROWS_MAX],
        "cities": [
            {"city": city, "country": country, "count": count, "share": share(count, total)}
            for (city, country), count in ranked
        ],
        "shown": len(rows[:ROWS_MAX]),
        "total": entry.get("unique_edges"),
    }


def status_codes(entry: Entry) -> dict[str, Any]:
    """Requests by class (the first digit) and by code; `0xx` are viewers who left before the response."""
    total = entry["total_requests"]
    classes, codes = entry.get("status_breakdown"), entry.get("status_codes")
    return {"classes": _rows(classes, total, "class"), "codes": _rows(codes, total, "code")}


def breakdown(entry: Entry, dimension: str, limit: int) -> dict[str, Any]:
    """Rows by what the dimension has, the most frequent first. total: rows that the entry has."""
    field, base = DIMENSIONS[dimension]
    table = entry.get(field)
    of = entry["total_requests"] if base == REQUESTS else (entry.get("agent_classes") or {}).get("human", 0)
    rows: list[Row] | None
    if isinstance(table, list):
        rows = [{**row, "share": share(row["count"], of)} for row in table]
    else:
        rows = _rows(table, of, "name")
    shown = None if rows is None else rows[:limit]
    return {
        "dimension": dimension,
        "rows": shown,
        "shown": len(shown or ()),
        "total": None if rows is None else len(rows),
        "share_of": base,
        "error_bound": (entry.get("errors") or {}).get(_BOUNDS.get(field, field), 0),
    }


def share(count: float | None, total: float | None) -> float | None:
    """Percent, two decimals; 0 of nothing is 0."""
    if count is None or total is None:
        return None
    return round(100 * count / total, 2) if total else 0.0


def fields_of(dimension: str) -> Sequence[str]:
    """Fields of an entry that a table of this dimension is made of."""
    return (DIMENSIONS[dimension][0],)


def _rows(table: Mapping[str, int] | None, total: int, label: str) -> list[Row] | None:
    if table is None:
        return None
    return [{label: name, "count": count, "share": share(count, total)} for name, count in table.items()]
