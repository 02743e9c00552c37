"""Which time a request is about: words of a query come in, periods and milliseconds go out. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

from sa_stream.errors import Bad_Parameter
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, PERIODS, end_of, start_of, utc
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, TIMES_FROM_MS, TIMES_UNTIL_MS, WINDOW_MS, zone_of

MINUTE = "minute"
AUTO = "auto"
LATEST = "latest"
SERIES_PERIODS = (MINUTE, *PERIODS)
POINTS_MAX = 750
# auto takes the first whose stretch is at least as long as what was asked for
_AUTO_MS = ((MINUTE, 2 * HOUR_MS), (HALF_HOUR, 8 * DAY_MS), (HOURLY, 31 * DAY_MS), (DAILY, POINTS_MAX * DAY_MS))
_KEY_FORMATS = {
    re.compile(r"\d{4}-\d\d-\d\d-\d{4}"): "%Y-%m-%d-%H%M",
    re.compile(r"\d{4}-\d\d-\d\d-\d\d"): "%Y-%m-%d-%H",
    re.compile(r"\d{4}-\d\d-\d\d"): "%Y-%m-%d",
    re.compile(r"\d{4}-\d\d"): "%Y-%m",
}
_LOCAL_STEP = timedelta(minutes=30)


class Span(Struct, frozen=True):
    """A stretch of slots of one length. starts_ms: where they begin, and as the last where the last of them ends; zone:
    whose days they are."""

    period: str
    starts_ms: tuple[int, ...]
    zone: tzinfo = UTC

    @property
    def local(self) -> bool:
        return self.zone is not UTC

    @property
    def from_ms(self) -> int:
        return self.starts_ms[0]

    @property
    def to_ms(self) -> int:
        return self.starts_ms[-1]


def parse_time(text: str, parameter: str, zone: tzinfo = UTC) -> int:
    """Milliseconds of an ISO time, or of the start of a period by its key, with or without the period in front of it.
    zone: of what names none. Raises Bad_Parameter."""
    period, slash, label = text.partition("/")
    plain = label if slash and period in PERIODS else text
    moment = None
    if len(text) <= 40 and text.isascii():
        form = next((form for pattern, form in _KEY_FORMATS.items() if pattern.fullmatch(plain)), None)
        try:
            moment = datetime.strptime(plain, form) if form else datetime.fromisoformat(plain.replace(" ", "+"))
        except ValueError:
            moment = None
    time_ms = None if moment is None else _ms(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    if time_ms is None or not TIMES_FROM_MS <= time_ms < TIMES_UNTIL_MS:
        raise Bad_Parameter(
            parameter,
            f"{parameter} is no time: expected an ISO time from 2001 to 2099 such as 2026-02-16T14:30:00Z, or the key "
            "of a period such as 2026-02-16",
        )
    return time_ms


def parse_zone(text: str) -> tzinfo:
    """A zone by its IANA name; UTC is the one that entries are of. Raises Bad_Parameter."""
    if text == "UTC":
        return UTC
    zone = zone_of(text)
    if zone is None:
        raise Bad_Parameter("tz", "tz is no zone: expected an IANA name such as Europe/London or UTC")
    return zone


def parse_period(text: str, allowed: tuple[str, ...] = PERIODS) -> str:
    """Raises Bad_Parameter."""
    if text not in allowed:
        raise Bad_Parameter("period", f"period is none of {', '.join(allowed)}")
    return text


def parse_span(words: Mapping[str, str], now_ms: int) -> Span:
    """The slots that `from`, `to`, `period` and `tz` ask for: from the one that holds `from` to the last that begins
    before `to` and has begun. Without `from` it is the 24 hours before `to`, without `to` it ends now, and `tz` is UTC.

    Raises Bad_Parameter, also for more than 750 slots.
    """
    zone = parse_zone(words.get("tz", "UTC"))
    local = zone is not UTC
    to_ms = parse_time(words["to"], "to", zone) if "to" in words else now_ms
    from_ms = parse_time(words["from"], "from", zone) if "from" in words else to_ms - DAY_MS
    if from_ms >= to_ms:
        raise Bad_Parameter("from", "from must be before to (and without to, before now)")
    period = parse_period(words.get("period", AUTO), (AUTO, *SERIES_PERIODS))
    if local and period not in (AUTO, DAILY):
        raise Bad_Parameter("tz", "tz makes days of local time: leave it out, or ask for period=daily")
    if period == AUTO:
        period = DAILY if local else _auto(to_ms - from_ms)
    _check_points((period,) if local else SERIES_PERIODS[SERIES_PERIODS.index(period) :], from_ms, to_ms)
    to_ms = max(min(to_ms, now_ms + 1), from_ms + 1)  # what has not begun is no slot
    if local:
        return Span(DAILY, _local_days(from_ms, to_ms, zone), zone)
    starts = [_start_of(period, from_ms)]
    while starts[-1] < to_ms:
        starts.append(_end_of(period, starts[-1]))
    return Span(period, tuple(starts))


def length_ms(period: str) -> int:
    """How long one is; of a month, its shortest."""
    return {MINUTE: MINUTE_MS, HALF_HOUR: WINDOW_MS, HOURLY: HOUR_MS, DAILY: DAY_MS, MONTHLY: 28 * DAY_MS}[period]


def shown_start(start_ms: int, zone: tzinfo) -> str:
    """ISO, with the offset of the zone."""
    return utc(start_ms).astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")


def _auto(length: int) -> str:
    return next((period for period, most_ms in _AUTO_MS if length <= most_ms), MONTHLY)


def _check_points(periods: Sequence[str], from_ms: int, to_ms: int) -> None:
    """periods: the one that is asked for, and the longer ones that might be instead."""
    enough = next((each for each in periods if to_ms - from_ms <= POINTS_MAX * length_ms(each)), "")
    if enough == periods[0]:
        return
    advice = f"ask for period={enough}, or for a shorter time" if enough else "ask for a shorter time"
    raise Bad_Parameter(
        "period", f"these are more than {POINTS_MAX} slots of the period {periods[0]}: {advice}", "too_many_points"
    )


def _start_of(period: str, time_ms: int) -> int:
    return time_ms // MINUTE_MS * MINUTE_MS if period == MINUTE else start_of(period, time_ms)


def _end_of(period: str, start_ms: int) -> int:
    return start_ms + MINUTE_MS if period == MINUTE else end_of(period, start_ms)


def _local_days(from_ms: int, to_ms: int, zone: tzinfo) -> tuple[int, ...]:
    """Midnights of the zone. A day that it left out (Samoa, 2011-12-30) is none."""
    day = utc(from_ms).astimezone(zone).date()
    starts = [_midnight_ms(day, zone)]
    while starts[-1] < to_ms:
        day += timedelta(days=1)
        start_ms = _midnight_ms(day, zone)
        if start_ms > starts[-1]:
            starts.append(start_ms)
    return tuple(starts)


def _midnight_ms(day: object, zone: tzinfo) -> int:
    midnight = datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=zone)
    offset = midnight.utcoffset()
    if offset is None or offset % _LOCAL_STEP:
        raise Bad_Parameter(
            "tz",
            f"tz has an offset of {offset} at {day}, and entries are of whole half hours: days of this zone cannot be "
            "made of them",
        )
    return _ms(midnight)


def _ms(moment: datetime) -> int:
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        return 0
