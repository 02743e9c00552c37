"""The durations that decide what a window holds and when it is final, in one value that every pure function gets.

All times are integers: milliseconds since the epoch, UTC. Integers compare exactly, so a window's edge is the same edge
on every machine. Fractions of a millisecond in a record's timestamp are cut off.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache

from msgspec import Struct

BEGINNING_MS = -(1 << 62)  # before every time: a watermark that has seen nothing; a coverage that lacks nothing
NEVER_MS = 1 << 62  # after every time: the coverage of a partition that vouches for nothing yet

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
WINDOW_MS = 1_800_000

TIMES_FROM_MS, TIMES_UNTIL_MS = 978_307_200_000, 4_102_444_800_000  # 2001 to 2099: what people may ask for

# Files of the database of zones that are no place's: what this machine is set to, and a sign that nothing was set.
NO_ZONES = frozenset({"localtime", "Factory"})

CLOCK_OFF_MS_MAX = 5_000  # farther off the source's, a clock is wrong


type Retentions = tuple[int, tuple[tuple[int, int], ...]]  # ms; (until_ms, ms) of each value before


class Stream_Retention(Struct, eq=False):
    """How long the stream keeps its records, as far as is known; shared by all that reckon with it.

    ask  asks the stream, and sets `now`. Raises Store_Unavailable
    """

    now: Retentions
    ask: Callable[[], None]


class Timing(Struct, frozen=True):
    """What the settings say about time."""

    out_of_orderness_ms: int = 60_000  # the watermark stays this far behind the newest record
    allowed_lateness_ms: int = DAY_MS  # a record later than this after its window's end is dropped and counted
    dedupe_horizon_minutes: int = 10  # a request id is remembered this many minutes after the minute it came in
    future_ms: int = 300_000  # an event further ahead of its arrival than this is quarantined
    idle_margin_ms: int = 5_000  # how far an idle shard's watermark stays behind the time of an empty answer
    coverage_margin_ms: int = 300_000  # a partition vouches for windows from `since` + this
    retention_ms: int = DAY_MS  # how long the stream keeps records
    past_retentions: tuple[tuple[int, int], ...] = ()  # (until_ms, retention_ms) of each value that it had before
    retention_least_ms: int = DAY_MS  # no stream ever kept its records for less
    stream: Stream_Retention | None = None  # both of these as they are now, where they may change
    commit_interval_ms: int = 60_000
    map_keep_ms: int = 2 * DAY_MS  # a partial is named at least this long after its window's end

    @property
    def keep_ms(self) -> int:
        """How long after its end a window's partial must stay named: while a late record may still amend it."""
        return max(self.map_keep_ms, self.allowed_lateness_ms + DAY_MS)

    @property
    def content(self) -> tuple[int, ...]:
        """What decides the content of a window. Another value is another history: it needs another lineage."""
        return self.out_of_orderness_ms, self.allowed_lateness_ms, self.dedupe_horizon_minutes, self.future_ms

    @property
    def retentions(self) -> Retentions:
        """How long the stream keeps its records now, and what it did before."""
        return self.stream.now if self.stream is not None else (self.retention_ms, self.past_retentions)

    @property
    def retention_longest_ms(self) -> int:
        retention_ms, past = self.retentions
        return max([retention_ms, *(value_ms for _, value_ms in past)])

    def kept_from_ms(self, now_ms: int) -> int:
        """What arrived at or after this time is still in the stream. What a shorter retention of the past has taken
        stays gone, whatever holds today."""
        retention_ms, past = self.retentions
        return max([now_ms - retention_ms, *(until_ms - value_ms for until_ms, value_ms in past)])

    def surely_kept_from_ms(self, now_ms: int) -> int:
        """What came after this is still in the stream, whatever its retention is by now."""
        return now_ms - self.retention_least_ms + self.coverage_margin_ms

    def vouch_from_ms(self, now_ms: int) -> int:
        """From when on somebody who has read all that the stream still has may vouch for it: a little later, since the
        stream goes on trimming while it is read."""
        return self.kept_from_ms(now_ms) + self.coverage_margin_ms


class Moment(Struct, frozen=True, order=True):
    """A point on a clock that cannot step: what durations are measured with (waits, retries, intervals, ages). It is no
    number, so that nobody compares it with a time of day: mypy finds who does."""

    ms: int

    def __sub__(self, earlier: "Moment") -> int:
        return self.ms - earlier.ms

    def __add__(self, ms: int) -> "Moment":
        return Moment(self.ms + ms)


class Backoff(Struct):
    """How long to wait before what failed is tried again: `least_ms`, twice as long after each failure, at most
    `most_ms`. Whoever shares what failed with others adds the jitter.

    failures  in a row, so far
    """

    least_ms: int
    most_ms: int
    failures: int = 0

    def failed(self) -> int:
        """Count one more failure in a row; how long (ms) to wait for the next try."""
        wait_ms = min(self.most_ms, self.least_ms << min(self.failures, 30))
        self.failures += 1
        return wait_ms

    def worked(self) -> None:
        self.failures = 0


class Now(Struct, frozen=True):
    """What time it is, on both clocks.

    wall_ms  the time of day: what is compared with events and arrivals, or stored. It may be wrong, and it may step
    moment   for durations
    """

    wall_ms: int
    moment: Moment


def wall_clock_ms() -> int:
    """What time it is; for the edges only, as everything between gets the time as an argument."""
    return time.time_ns() // 1_000_000


def moment() -> Moment:
    """Now, on the clock that cannot step; for the edges only."""
    return Moment(time.monotonic_ns() // 1_000_000)


def right_now() -> Now:
    return Now(wall_clock_ms(), moment())


def iso(time_ms: int | None) -> str | None:
    """ISO time in UTC; None also for the watermarks that stand before and after all times."""
    if time_ms is None or not 0 <= time_ms < 253_402_300_800_000:  # the year 10000
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@lru_cache(maxsize=4_096)  # windows' starts, again and again
def month_of(time_ms: int) -> str:
    """The month of event time whose secret hashes a value: `2026-02`."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m")


def start_of_month(month: str) -> int:
    """The reverse of `month_of`."""
    return int(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp()) * 1000


def end_of_month(month: str) -> int:
    """Where the next month begins: at most 31 days on, and never two months."""
    return start_of_month(month_of(start_of_month(month) + 31 * DAY_MS))


def zone_of(name: str) -> tzinfo | None:
    """The time zone of an IANA name; None if it is none. `ZoneInfo` alone opens any file of the database, also
    `right/…`, whose times count leap seconds and are half a minute off everybody else's."""
    from zoneinfo import ZoneInfo  # few settings name one

    return ZoneInfo(name) if name in _zone_names() else None


@cache  # they are found by a look into each file of the database: 80 ms
def _zone_names() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones() - NO_ZONES)
