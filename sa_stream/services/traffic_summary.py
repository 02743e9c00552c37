"""One period at a glance, beside the period before: an entry and the slots of both come in, one answer goes out.
Pure."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, iso
from sa_stream.services.traffic_metrics import OTHERS, SUMMED, hit_rate, values_of
from sa_stream.services.traffic_slots import SETTLED, Slot, combined
from sa_stream.services.traffic_tables import share

type Entry = Mapping[str, Any]

SLOTS_OF = {HALF_HOUR: HALF_HOUR, HOURLY: HALF_HOUR, DAILY: HALF_HOUR, MONTHLY: DAILY}
FIELDS = ("agent_classes", "page_views", "status_codes", "origin_latency")  # what entries of schema 1 lack
_TOTALS = (
    *("requests", "human", "bots", "unknown_agents", "page_views", "bytes"),
    *("unique_paths", "unique_agents", "unique_edges", "late_records", "duplicate_records", "invalid_records"),
)
_OF_WHOLE = ("bots", "page_views", *OTHERS)  # what slots do not say


def numbers(entry: Entry) -> dict[str, Any]:
    """Totals, rates in percent, seconds, and requests by class."""
    totals = values_of(entry, _TOTALS)
    requests = totals["requests"]
    of_status = values_of(entry, ("status_0xx", "status_4xx", "status_5xx"))
    return {
        "totals": totals,
        "rates": {
            "cache_hit_rate": entry.get("cache_hit_rate"),
            "served_from_cache_rate": entry.get("served_from_cache_rate"),
            "human": share(totals["human"], requests),
            **{name: share(count, requests) for name, count in of_status.items()},
        },
        "percentiles": {**(entry.get("percentiles") or {}), "origin": entry.get("origin_latency")},
        "averages": {"time_taken": entry.get("avg_time_taken"), "ttfb": entry.get("avg_ttfb")},
        "status_breakdown": entry.get("status_breakdown"),
        "result_types": entry.get("result_types"),
        "agent_classes": entry.get("agent_classes"),
        "scaled": entry.get("scaled"),
    }


def comparison(
    entry: Entry, slots: Sequence[Slot], before: Entry | None, slots_before: Sequence[Slot]
) -> dict[str, Any]:
    """`elapsed`: what the settled slots at the beginning of the period say; `previous`: the same slots of the period
    before, null unless all of them are final. What cannot be added up is there if both are whole."""
    settled = len(list(takewhile(lambda slot: slot.state in SETTLED, slots)))
    count = min(settled, len(slots_before))
    mine, theirs = slots[:count], slots_before[:count]
    comparable = count > 0 and all(slot.state in SETTLED for slot in theirs)
    whole = comparable and count == len(slots) and count == len(slots_before)
    return {
        "elapsed": _side(mine, entry if whole else None) if count else None,
        "previous": _side(theirs, before if whole else None) if comparable else None,
    }


def _side(slots: Sequence[Slot], whole: Entry | None) -> dict[str, Any]:
    start_ms, end_ms = slots[0].start_ms, slots[-1].end_ms
    values = combined(start_ms, end_ms, slots, SUMMED).values
    return {
        "window_start": iso(start_ms),
        "window_end": iso(end_ms),
        "slots": len(slots),
        **values,
        "hit_rate": hit_rate(values),
        **(values_of(whole, _OF_WHOLE) if whole is not None else dict.fromkeys(_OF_WHOLE)),
    }
