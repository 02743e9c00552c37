"""The four periods of entries: where each begins and ends, what it is made of, and under which key it is kept.

All times are UTC, in milliseconds since the epoch.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS

HALF_HOUR = "30min"
HOURLY = "hourly"
DAILY = "daily"
MONTHLY = "monthly"
STATUS_KEY = "status/stream"  # beside the entries: how far the stream is
PERIODS = (HALF_HOUR, HOURLY, DAILY, MONTHLY)  # each is made of the one before it
ROLLUPS = PERIODS[1:]

_FORMATS = {HALF_HOUR: "%Y-%m-%d-%H%M", HOURLY: "%Y-%m-%d-%H", DAILY: "%Y-%m-%d", MONTHLY: "%Y-%m"}
CLOSED_BY = {HALF_HOUR: DAILY, HOURLY: DAILY, DAILY: MONTHLY}  # once that is final and old, nothing is made of these
_LENGTHS_MS = {HALF_HOUR: WINDOW_MS, HOURLY: HOUR_MS, DAILY: DAY_MS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def iso(time_ms: int) -> str:
    """`2026-02-16T14:30:00Z`, with milliseconds where there are any."""
    moment = utc(time_ms)
    return moment.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")


def from_iso(text: str) -> int:
    """What `iso` was given."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def start_of(period: str, time_ms: int) -> int:
    """Start of the period that holds this moment."""
    if period == MONTHLY:
        return time_ms // DAY_MS * DAY_MS - (utc(time_ms).day - 1) * DAY_MS
    length = _LENGTHS_MS[period]
    return time_ms // length * length


def end_of(period: str, start_ms: int) -> int:
    """End of the period that starts here; it belongs to the next one."""
    if period == MONTHLY:
        return start_of(MONTHLY, start_ms + 31 * DAY_MS)  # from the first of a month, always a day of the next
    return start_ms + _LENGTHS_MS[period]


def child_period(period: str) -> str:
    """The period that this one is made of. A half hour has none."""
    if period == HALF_HOUR:
        raise ValueError("a half hour is made of partials, not of entries")
    return PERIODS[PERIODS.index(period) - 1]


def children(period: str, start_ms: int) -> Iterator[int]:
    """Starts of the entries that make up this one: 2 halves, 24 hours, 28 to 31 days."""
    step = _LENGTHS_MS[child_period(period)]
    return iter(range(start_ms, end_of(period, start_ms), step))


def parents(period: str, start_ms: int) -> Iterator[tuple[str, int]]:
    """(period, start) of every roll-up that this entry is part of, the smallest first."""
    for parent in PERIODS[PERIODS.index(period) + 1 :]:
        yield parent, start_of(parent, start_ms)


@lru_cache(maxsize=65_536)  # a pass of the reconciler asks for the same ones again and again
def time_key(period: str, start_ms: int) -> str:
    """`2026-02-16-1430`, `2026-02-16-14`, `2026-02-16`, `2026-02`."""
    return utc(start_ms).strftime(_FORMATS[period])


def cache_key(period: str, start_ms: int) -> str:
    """`30min/2026-02-16-1430`, `hourly/2026-02-16-14`, `daily/2026-02-16`, `monthly/2026-02`."""
    return f"{period}/{time_key(period, start_ms)}"


def parse_cache_key(key: str) -> tuple[str, int]:
    """(period, start in ms) of a key of an entry. Raises ValueError for anything `cache_key` did not make."""
    period, _, label = key.partition("/")
    if period not in _FORMATS:
        raise ValueError(f"{key!r} is no key of an entry: expected {', '.join(PERIODS)}, then / and a time")
    try:
        moment = datetime.strptime(label, _FORMATS[period]).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is not None:
        start_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
        if start_of(period, start_ms) == start_ms and time_key(period, start_ms) == label:
            return period, start_ms
    raise ValueError(f"{key!r} is no key of an entry: expected a time like {cache_key(period, 1771252200000)}")


def consolidated_key(window_ms: int) -> str:
    """Key of a window's consolidation result: `2026-02-16/14-30/summary`."""
    return utc(window_ms).strftime("%Y-%m-%d/%H-%M/summary")


def half_hour_of(key: str) -> int | None:
    """The start (ms) of the half hour with which a key begins, as those of consolidation results do; None: it does not
    begin with one."""
    try:
        moment = datetime.strptime("/".join(key.split("/")[:2]), "%Y-%m-%d/%H-%M").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)
