"""What people ask about their traffic, answered from entries alone: the words of a query come in, one JSON object goes
out. Nothing is computed here that an entry could be wrong about: see docs/entries.md for every number.

Every method may raise Bad_Parameter, Not_There, Store_Unavailable. now_ms: what time it is.
"""

from collections.abc import Mapping
from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Bad_Parameter, Not_There
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, cache_key, end_of, from_iso, iso, start_of
from sa_stream.services.Series_Reader import Read_Series, Series_Reader
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.traffic_answers import about_entry, about_series, zero_entry
from sa_stream.services.traffic_metrics import (
    COUNTS,
    HIT_RATE,
    IN_SLOTS,
    OF_MINUTES,
    SUMMED,
    needed,
    parse_metrics,
    shown,
)
from sa_stream.services.traffic_slots import FINAL, ZERO, gaps_of
from sa_stream.services.traffic_summary import FIELDS, SLOTS_OF, comparison, numbers
from sa_stream.services.traffic_tables import (
    DIMENSIONS,
    LIMIT_MAX,
    PREFIX_CHARACTERS_MAX,
    ROWS_MAX,
    breakdown,
    edge_locations,
    fields_of,
    status_codes,
    top_paths,
)
from sa_stream.services.traffic_times import (
    LATEST,
    MINUTE,
    Span,
    parse_period,
    parse_span,
    parse_time,
    shown_start,
)
from sa_stream.timing import MINUTE_MS

LIVE_MINUTES_MAX = 120
LOOKED_BACK = {HALF_HOUR: 4, HOURLY: 3}  # periods in which the latest entry is looked for; of others two

type Words = Mapping[str, str]
type Entry = Mapping[str, Any]
type Answer = dict[str, Any]

# fmt: off


class Service__SA__Traffic(Type_Safe):
    """Reads through one Service__SA__Cache, so that many who ask the same cost one read."""

    cache : Service__SA__Cache

    # fmt: on

    def summary(self, words: Words, now_ms: int) -> Answer:
        """One period, and the same slots of the one before. `period`, `at`."""
        reader = Series_Reader(self.cache, now_ms)
        period, start_ms, entry = self._found(reader, words, DAILY)
        before_ms, of = start_of(period, start_ms - 1), SLOTS_OF[period]
        slots = reader.slots(of, start_ms, end_of(period, start_ms), SUMMED)
        slots_before = reader.slots(of, before_ms, start_ms, SUMMED)
        before_key = cache_key(period, before_ms)
        before = reader.entries([before_key])[before_key]
        return {
            **about_entry(entry, reader.status, FIELDS),
            **numbers(entry),
            **comparison(entry, slots, before or zero_entry(period, before_ms), slots_before),
        }

    def timeseries(self, words: Words, now_ms: int) -> Answer:
        """Slots in a row. `from`, `to`, `period`, `metrics`, `tz`."""
        span = parse_span(words, now_ms)
        metrics, left_out = _sayable(words, span)
        reader = Series_Reader(self.cache, now_ms)
        series = reader.series(span, needed(metrics))
        return {**_series_answer(series, span, metrics, reader.status), "left_out": left_out}

    def top_paths(self, words: Words, now_ms: int) -> Answer:
        """`period`, `at`, `limit`, `prefix`, `sort`."""
        prefix = words.get("prefix", "")
        if len(prefix) > PREFIX_CHARACTERS_MAX:
            raise Bad_Parameter("prefix", f"prefix is longer than {PREFIX_CHARACTERS_MAX} characters, as no path is")
        limit, sort = parse_number(words, "limit", 20, LIMIT_MAX), words.get("sort", "count")
        lists = ("top_error_paths", "top_missed_paths", "top_bytes_paths")
        return self._table(words, now_ms, lists, lambda entry: top_paths(entry, sort, limit, prefix))

    def edge_locations(self, words: Words, now_ms: int) -> Answer:
        """`period`, `at`."""
        return self._table(words, now_ms, (), edge_locations)

    def status_codes(self, words: Words, now_ms: int) -> Answer:
        """`period`, `at`."""
        return self._table(words, now_ms, ("status_codes",), status_codes)

    def breakdown(self, dimension: str, words: Words, now_ms: int) -> Answer:
        """`period`, `at`, `limit`."""
        if dimension not in DIMENSIONS:
            raise Not_There(f"There is no such dimension: expected one of {', '.join(DIMENSIONS)}", "dimension")
        limit = parse_number(words, "limit", LIMIT_MAX, ROWS_MAX)
        return self._table(words, now_ms, fields_of(dimension), lambda entry: breakdown(entry, dimension, limit))

    def live(self, words: Words, now_ms: int) -> Answer:
        """The last minutes, one by one, as far as they are known. `minutes`."""
        minutes = parse_number(words, "minutes", 60, LIVE_MINUTES_MAX)
        last_ms = now_ms // MINUTE_MS * MINUTE_MS
        starts = tuple(last_ms - place * MINUTE_MS for place in range(minutes - 1, -2, -1))
        span, metrics = Span(MINUTE, starts), (*OF_MINUTES, HIT_RATE)
        reader = Series_Reader(self.cache, now_ms)
        series, status = reader.series(span, needed(metrics)), reader.status
        as_of_ms = _as_of_ms(series, status)
        if as_of_ms is not None:
            known = [slot for slot in series.slots if slot.start_ms <= as_of_ms]
            series.slots = known or series.slots  # nothing is known of all these minutes, and they say so
        return {
            **_series_answer(series, span, metrics, status),
            "as_of": None if as_of_ms is None else iso(as_of_ms),
            "delay_s": None if as_of_ms is None else max(0, now_ms - as_of_ms) // 1000,
            "lag_s": None if status is None else status.get("lag_s"),
            "watermark": None if status is None else status.get("watermark"),
        }

    def _table(self, words: Words, now_ms: int, fields: Any, made_of: Any) -> Answer:
        reader = Series_Reader(self.cache, now_ms)
        _, _, entry = self._found(reader, words, DAILY)
        return {**about_entry(entry, reader.status, fields), **made_of(entry)}

    def _found(self, reader: Series_Reader, words: Words, default: str) -> tuple[str, int, Entry]:
        """Which entry is meant by `period` and `at`, and what it says, if only that there was nothing."""
        period = parse_period(words.get("period", default))
        at = words.get("at", LATEST)
        if at == LATEST:
            starts = [start_of(period, reader.now_ms)]
            while len(starts) < LOOKED_BACK.get(period, 2):
                starts.append(start_of(period, starts[-1] - 1))
        else:
            starts = [start_of(period, parse_time(at, "at"))]
        entries = reader.entries(cache_key(period, start_ms) for start_ms in starts)
        for start_ms in starts:
            entry = entries[cache_key(period, start_ms)]
            if entry is not None:
                return period, start_ms, entry
        (slot,) = reader.slots(period, starts[0], starts[0] + 1, IN_SLOTS)
        if slot.state == ZERO:
            return period, starts[0], zero_entry(period, starts[0])
        if at == LATEST and (newest := reader.newest(period)) is not None:
            return period, from_iso(newest["window_start"]), newest
        key = cache_key(period, starts[0])
        raise Not_There(f"There is no entry {key}: {slot.reason or 'it is not published'} (see docs/entries.md)", "at")


def parse_number(words: Words, name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises Bad_Parameter."""
    text = words.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= most):
        raise Bad_Parameter(name, f"{name} is no whole number from 1 to {most}")
    return int(text)


def _sayable(words: Words, span: Span) -> tuple[tuple[str, ...], list[str]]:
    """The metrics that are asked for, or usual, and that slots of this kind have; and those that they have not."""
    usual: tuple[str, ...] = (*OF_MINUTES, HIT_RATE) if span.period == MINUTE else (*SUMMED, HIT_RATE, "p95")
    if span.period == HOURLY:
        usual = (*SUMMED, HIT_RATE)  # only its own entry says more of an hour
    asked = parse_metrics(words["metrics"]) if "metrics" in words else usual
    sayable = METRICS_OF_MINUTES if span.period == MINUTE else METRICS_OF_SUMS if span.local else asked
    metrics = tuple(name for name in asked if name in sayable)
    left_out = [name for name in asked if name not in sayable]
    if not metrics:
        kind = "minutes" if span.period == MINUTE else "days of local time"
        raise Bad_Parameter("metrics", f"metrics has nothing that {kind} have: expected {', '.join(sayable)}")
    return metrics, left_out


METRICS_OF_MINUTES = (*OF_MINUTES, HIT_RATE)
METRICS_OF_SUMS = (*COUNTS, HIT_RATE)


def _series_answer(series: Read_Series, span: Span, metrics: tuple[str, ...], status: Entry | None) -> Answer:
    slots = series.slots
    return {
        **about_series(slots, series.entries, status),
        "period": span.period,
        "tz": getattr(span.zone, "key", "UTC"),
        "from": iso(span.from_ms),
        "to": iso(slots[-1].end_ms if slots else span.from_ms),
        "columns": ["start", *metrics],
        "rows": [[shown_start(slot.start_ms, span.zone), *shown(slot.values, metrics)] for slot in slots],
        "slots": [slot.state for slot in slots],
        "gaps": gaps_of(slots),
    }


def _as_of_ms(series: Read_Series, status: Entry | None) -> int | None:
    """Until when minutes are known: while a half hour is open, as its entry was written; else as of the status."""
    halves = [entry for entry in series.entries if entry.get("period") == HALF_HOUR]
    newest = max(halves, key=lambda entry: entry["window_start"], default=None)
    told = [newest["computed_at"]] if newest is not None else []
    if status is not None and (newest is None or newest.get("status") == FINAL):
        told.append(status["computed_at"])
    return max((from_iso(time) for time in told), default=None)
