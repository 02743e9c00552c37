"""Which period a step is about, and how it is published; what both steps that publish have in common."""

from typing import Any, Protocol

from sa_stream.errors import Config_Error
from sa_stream.rollups.periods import PERIODS, cache_key, parse_cache_key, start_of
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.host_cache import cache_of
from sa_stream.timing import WINDOW_MS, wall_clock_ms


class Wiring(Protocol):
    """A step that publishes. state_url: empty where there is only the cache; state: the store, where it is open."""

    send_cache_client: Any
    logs_collector: CloudFront__Logs__Collector
    state_url: str
    state: Any


def publish(wiring: Wiring, period: str, time_key: str, now_ms: int | None = None) -> dict[str, Any]:
    """Compute a period from its files, publish it with all that it is made of, and return its entry as the cache shows
    it then. One without records has none in the cache: it is returned all the same.

    time_key  such as `2026-02-16-1430`; empty: the period of the newest half hour whose files had time to land

    Raises Config_Error, Source_Error, Store_Unavailable.
    """
    from sa_stream.bounded.archived import publish_period  # loads polars, as everything that reads does

    cache, archive = cache_of(wiring.send_cache_client), wiring.logs_collector.archive()
    now_ms = wall_clock_ms() if now_ms is None else now_ms
    start_ms = start_ms_of(period, time_key, now_ms - archive.settle_ms)
    if state := wiring.state or wiring.state_url:
        from sa_stream.services.state_publication import publish_by_state  # loads obstore

        shown = publish_by_state(state, cache, archive, period, start_ms, now_ms)
    else:
        shown = publish_period(cache, archive.period(period, start_ms, now_ms)).entry
    return shown or archive.period(period, start_ms, now_ms).entry


def start_ms_of(period: str, time_key: str, landed_ms: int) -> int:
    """Where that period begins. landed_ms: what ended until then had time to land. Raises Config_Error."""
    if period not in PERIODS:
        raise Config_Error(f"{period!r} is no period: expected {', '.join(PERIODS)}")
    if not time_key:
        return start_of(period, landed_ms // WINDOW_MS * WINDOW_MS - WINDOW_MS)
    try:
        return parse_cache_key(f"{period}/{time_key}")[1]
    except ValueError:
        example = cache_key(period, 1_771_252_200_000).partition("/")[2]
        raise Config_Error(f"{time_key!r} is no time of the period {period}: expected one like {example}") from None
