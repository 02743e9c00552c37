"""The numbers of a slot by their names in `traffic/timeseries`: an entry, or several slots that add up, come in; values
go out. Null is what is not known, and never zero. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sa_stream.errors import Bad_Parameter

type Entry = Mapping[str, Any]
type Values = Mapping[str, float | None]

SUMMED = ("requests", "human", "bytes", "hits", "status_4xx", "status_5xx")  # in the half hours of a day's entry
IN_SLOTS = (*SUMMED, "p95")
OF_MINUTES = ("requests", "status_4xx", "status_5xx", "bytes", "hits")
BESIDE_REQUESTS = frozenset({"duplicate_records", "invalid_records"})  # may be there where no request is
HIT_RATE = "hit_rate"
_RESULTS = {
    "hits": "Hit",
    "refresh_hits": "RefreshHit",
    "shield_hits": "OriginShieldHit",
    "misses": "Miss",
    "redirects": "Redirect",
    "errors": "Error",
}
_CLASSES = ("0xx", "1xx", "2xx", "3xx", "4xx", "5xx")
_RANKS = ("p50", "p90", "p95", "p99")


def _part(field: str, *names: str) -> Callable[[Entry], float | None]:
    """The sum of some counts of a table; a name that is not in it was not seen."""

    def value(entry: Entry) -> float | None:
        table = entry.get(field)
        return None if table is None else sum(table.get(name, 0) for name in names)

    return value


def _plain(field: str) -> Callable[[Entry], float | None]:
    return lambda entry: entry.get(field)


def _rank(what: str, rank: str) -> Callable[[Entry], float | None]:
    return lambda entry: ((entry.get("percentiles") or {}).get(what) or {}).get(rank)


def _origin(rank: str) -> Callable[[Entry], float | None]:
    return lambda entry: (entry.get("origin_latency") or {}).get(rank)


def _other_results(entry: Entry) -> float | None:
    table = entry.get("result_types")
    return None if table is None else sum(n for name, n in table.items() if name not in _RESULTS.values())


# What can be added up over slots.
COUNTS: dict[str, Callable[[Entry], float | None]] = {
    "requests": _plain("total_requests"),
    "human": _part("agent_classes", "human"),
    "bots": _part("agent_classes", "bot_known", "bot_generic"),
    "unknown_agents": _part("agent_classes", "unknown"),
    "page_views": _plain("page_views"),
    "bytes": _plain("total_bytes"),
    **{name: _part("result_types", result) for name, result in _RESULTS.items()},
    "other_results": _other_results,
    **{f"status_{name}": _part("status_breakdown", name) for name in _CLASSES},
    "late_records": _plain("late_records"),
    "duplicate_records": _plain("duplicate_records"),
    "invalid_records": _plain("invalid_records"),
}
# What only the slot's own entry can say.
OTHERS: dict[str, Callable[[Entry], float | None]] = {
    **{rank: _rank("time_taken", rank) for rank in _RANKS},
    **{f"ttfb_{rank}": _rank("ttfb", rank) for rank in _RANKS},
    **{f"origin_{rank}": _origin(rank) for rank in _RANKS},
    "avg_time_taken": _plain("avg_time_taken"),
    "avg_ttfb": _plain("avg_ttfb"),
    "unique_paths": _plain("unique_paths"),
    "unique_agents": _plain("unique_agents"),
    "unique_edges": _plain("unique_edges"),
}
METRICS = (*COUNTS, HIT_RATE, *OTHERS)
_OF_ENTRY = {**COUNTS, **OTHERS}


def parse_metrics(text: str) -> tuple[str, ...]:
    """Names with commas between, each once. Raises Bad_Parameter."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise Bad_Parameter("metrics", f"metrics has a name that is none of {', '.join(METRICS)}")
    return names


def needed(metrics: Sequence[str]) -> tuple[str, ...]:
    """What has to be known to say these: the hit rate is made of two counts."""
    plain = [name for name in metrics if name != HIT_RATE]
    return tuple(dict.fromkeys([*plain, *(("requests", "hits") if HIT_RATE in metrics else ())]))


def values_of(entry: Entry, names: Sequence[str]) -> dict[str, float | None]:
    """What an entry says of these."""
    return {name: _OF_ENTRY[name](entry) for name in names}


def nothing(names: Sequence[str]) -> dict[str, float | None]:
    """Of a slot in which nothing happened: no count, and no value where there is nothing to measure."""
    return {name: 0 if name in COUNTS or name.startswith("unique_") else None for name in names}


def added(parts: Sequence[Values], names: Sequence[str]) -> dict[str, float | None]:
    """The sums of what can be added; null where one of them is not known."""
    return {name: _sum([part.get(name) for part in parts]) if name in COUNTS else None for name in names}


def shown(values: Values, metrics: Sequence[str]) -> list[float | None]:
    """In the order of the metrics, the hit rate (percent, two decimals) worked out."""
    return [hit_rate(values) if name == HIT_RATE else values.get(name) for name in metrics]


def hit_rate(values: Values) -> float | None:
    """As `cache_hit_rate` of an entry."""
    hits, requests = values.get("hits"), values.get("requests")
    if hits is None or requests is None:
        return None
    return round(100 * hits / requests, 2) if requests else 0.0


def _sum(numbers: Sequence[float | None]) -> float | None:
    return None if any(number is None for number in numbers) else sum(number or 0 for number in numbers)
