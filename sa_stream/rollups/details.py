"""Who asked, from where, for what, and how it went: the parts of an entry that are lists of names and paths. A merged
window comes in, plain JSON values come out.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sa_stream.records.edges import city_of
from sa_stream.rollups.numbers import percentiles_s, ranked, shown
from sa_stream.rollups.periods import HALF_HOUR
from sa_stream.windows.names import Names
from sa_stream.windows.paths import Path_Row
from sa_stream.windows.summaries import OTHER, Durations
from sa_stream.windows.window import Window

type Given = Callable[[str, Any], Any]  # (field, value) -> the value, or None where no list has the field

TOP_PATHS = {HALF_HOUR: 50}  # half of what others list: there are 48 of them a day
TOP_PATHS_MAX = 100
TOP_LISTED = 20  # of paths with the most errors, misses, bytes
BOTS_SHOWN = 50
GROUPS_SHOWN = 200
COUNTRY_LEAST = 10  # requests of a country that is named: fewer may be one person
FEW = "(few)"


def details(period: str, window: Window, given: Given, given_results: Callable[[Any], Any]) -> dict[str, Any]:
    """What came with version 2 of the schema, in its order."""

    def known(value: Any, *fields: str) -> Any:
        """Null too where a part was stored by a version that did not count it."""
        for field in fields:
            value = given(field, value)
        return None if window.older else value

    counts = window.counts
    return {
        "rules": None if window.older else "; ".join(sorted(window.rules)),
        "agent_classes": known(ranked(counts["agent_classes"]), "cs-user-agent"),
        "bots": known(_bots(window.bots, given), "cs-user-agent"),
        **{kind: known(ranked(counts[kind]), "cs-user-agent") for kind in ("browsers", "systems", "devices")},
        "referrers": known(_named(window.referrers, window.total_requests), "cs-referer"),
        "content_types": known(shown(counts["content_types"]), "sc-content-type"),
        "kinds": known(ranked(counts["kinds"]), "sc-content-type"),
        "page_views": known(window.page_views, "cs-user-agent", "sc-content-type", "sc-status", "cs-method"),
        "http_versions": known(shown(counts["http_versions"]), "cs-protocol-version"),
        "tls_versions": known(shown(counts["tls_versions"]), "ssl-protocol"),
        "cities": given("x-edge-location", shown(_cities(counts["edges"]))),
        "status_codes": given("sc-status", dict(sorted(counts["status"].items()))),
        **_paths(period, window, given, given_results, known),
        "path_groups": known(_named(window.path_groups, window.total_requests, GROUPS_SHOWN), "cs-uri-stem"),
        "origin_latency": known(_latency_s(window.origin), "origin-fbl"),
        "countries": known(_countries(counts["countries"]), "c-country"),
    }


def bounds(window: Window, given: Given) -> dict[str, Any]:
    """The bound of each of them, as in `errors`: requests, of `top_bytes_paths` bytes; 0 where exact."""
    paths = window.paths
    found = {
        "agent_classes": given("cs-user-agent", window.unclassified),
        "referrers": given("cs-referer", window.referrers.error + window.unnamed),
        "path_groups": given("cs-uri-stem", window.path_groups.error),
        "top_error_paths": given("cs-uri-stem", given("sc-status", paths.error)),
        "top_missed_paths": given("cs-uri-stem", paths.error),
        "top_bytes_paths": given("cs-uri-stem", given("sc-bytes", paths.bytes_error)),
    }
    return dict.fromkeys(found) if window.older else found


def _paths(
    period: str, window: Window, given: Given, given_results: Callable[[Any], Any], known: Callable[..., Any]
) -> dict[str, Any]:
    def row_of(row: Path_Row) -> dict[str, Any]:
        return {
            "path": row.path,
            "count": row.requests,
            "bytes": given("sc-bytes", row.bytes),
            "hits": known(given_results(row.hits)),
            "misses": known(given_results(row.misses)),
            "status_4xx": known(row.status_4xx, "sc-status"),
            "status_5xx": known(row.status_5xx, "sc-status"),
            "avg_time_taken": known(_average_s(row), "time-taken"),
        }

    def most(name: str) -> list[dict[str, Any]]:
        rows = window.paths.top(TOP_LISTED, name)
        return [{"path": row.path, name: getattr(row, name), "count": row.requests} for row in rows]

    rows = window.paths.top(TOP_PATHS.get(period, TOP_PATHS_MAX))
    errors = {name: most(name) for name in ("status_4xx", "status_5xx")}
    return {
        "top_paths": given("cs-uri-stem", [row_of(row) for row in rows]),
        "top_error_paths": known(errors, "cs-uri-stem", "sc-status"),
        "top_missed_paths": given_results(known(most("misses"), "cs-uri-stem")),
        "top_bytes_paths": given("cs-uri-stem", given("sc-bytes", most("bytes"))),
    }


def _average_s(row: Path_Row) -> float | None:
    return round(row.time_us / row.times / 1e6, 6) if row.times else None


def _latency_s(durations: Durations) -> dict[str, Any]:
    average_s = round(durations.sum_us / durations.count / 1e6, 6) if durations.count else None
    return {**percentiles_s(durations), "avg": average_s}


def _bots(bots: Mapping[str, list[int]], given: Given) -> list[dict[str, Any]]:
    ordered = sorted(bots.items(), key=lambda bot: (-bot[1][0], bot[0]))
    listed = [
        {"name": name, "count": count, "bytes": given("sc-bytes", size), "ai": bool(ai)}
        for name, (count, size, ai) in ordered[:BOTS_SHOWN]
    ]
    if rest := [numbers for _, numbers in ordered[BOTS_SHOWN:]]:
        count, size, _ = map(sum, zip(*rest, strict=True))
        listed.append({"name": OTHER, "count": count, "bytes": given("sc-bytes", size), "ai": None})
    return listed


def _named(names: Names, total: int, limit: int = 100) -> dict[str, int]:
    """The most frequent names; every request has one, so `(other)` is what they leave of all."""
    most = shown(names.counts, limit)
    most.pop(OTHER, None)
    rest = total - sum(most.values())
    return {**most, OTHER: rest} if rest else most


def _countries(counts: Mapping[str, int]) -> dict[str, int]:
    named = {country: number for country, number in counts.items() if number >= COUNTRY_LEAST}
    few = sum(counts.values()) - sum(named.values())
    return ranked({**named, FEW: few} if few else named)


def _cities(edges: Mapping[str, int]) -> Counter[str]:
    cities: Counter[str] = Counter()
    for edge, number in edges.items():
        place = city_of(edge)
        cities[", ".join(place) if place else edge] += number
    return cities
