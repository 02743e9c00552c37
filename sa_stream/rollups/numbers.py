"""How counts and durations are shown, everywhere in an entry."""

from collections.abc import Mapping

from sa_stream.windows.summaries import OTHER, Durations

VALUES_SHOWN = 100  # of names that strangers can make up
PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def percentiles_s(durations: Durations) -> dict[str, float | int | None]:
    """Seconds, in whole microseconds, beside how many values there are and the greatest, as far as that is known."""
    count, max_us = durations.count, durations.max_us
    found = durations.percentiles_us([*PERCENTILES.values()])
    values = {name: us / 1e6 if count else None for name, us in zip(PERCENTILES, found, strict=True)}
    return {**values, "count": count, "max": max_us / 1e6 if count and max_us is not None else None}


def ranked(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first; equal ones by value."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def shown(counts: Mapping[str, int], limit: int = VALUES_SHOWN) -> dict[str, int]:
    """The most frequent, and all others under `(other)`."""
    rest = counts.get(OTHER, 0)
    most = list(ranked({value: count for value, count in counts.items() if value != OTHER}).items())
    rest += sum(count for _, count in most[limit:])
    return {**dict(most[:limit]), OTHER: rest} if rest else dict(most[:limit])
