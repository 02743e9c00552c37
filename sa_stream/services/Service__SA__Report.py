"""The morning report: a day, a week or a month comes in; what it was like, beside the one before, goes out, as JSON or
as Markdown to read."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Bad_Parameter, Not_There
from sa_stream.rollups.periods import DAILY, HALF_HOUR, MONTHLY, cache_key, end_of, iso, start_of, utc
from sa_stream.services.report_markdown import markdown_of
from sa_stream.services.report_merging import merged_entry
from sa_stream.services.Series_Reader import Series_Reader
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.traffic_answers import about_series
from sa_stream.services.traffic_metrics import SUMMED
from sa_stream.services.traffic_slots import MISSING, gaps_of
from sa_stream.services.traffic_summary import comparison, numbers
from sa_stream.services.traffic_times import parse_time
from sa_stream.timing import DAY_MS

DAY, WEEK, MONTH = "day", "week", "month"
FORMATS = ("json", "md")
ROWS = 10  # of each list
SLOW_REQUESTS_MIN = 10  # of a path that is called slow
_EXAMPLES = {DAY: "2026-02-16", WEEK: "2026-W08", MONTH: "2026-02"}
_WEEK = re.compile(r"(\d{4})-W(\d\d)")

type Words = Mapping[str, str]
type Entry = Mapping[str, Any]

# fmt: off


class Service__SA__Report(Type_Safe):
    """From entries alone, as everything that is read. A week is the sum of its days: a list of it holds what the lists
    of its days have, and what cannot be added up is null."""

    cache : Service__SA__Cache

    # fmt: on

    def report(self, words: Words, now_ms: int) -> dict[str, Any] | str:
        """`day`, `week` or `month` (yesterday, if none), `format`. Raises Bad_Parameter, Not_There,
        Store_Unavailable."""
        form = words.get("format", "json")
        if form not in FORMATS:
            raise Bad_Parameter("format", "format is neither json nor md")
        what, start_ms, end_ms, before_ms = _asked(words, now_ms)
        reader = Series_Reader(self.cache, now_ms)
        entry = merged_entry(self._entries(reader, what, start_ms, end_ms))
        if entry is None:
            raise Not_There("There is no entry of this time: it had no request, or is not published yet", what)
        before = merged_entry(self._entries(reader, what, before_ms, before_ms + (end_ms - start_ms)))
        slots_of = DAILY if what == MONTH else HALF_HOUR
        slots = reader.slots(slots_of, start_ms, end_ms, SUMMED)
        before_end_ms = start_ms if what != DAY else before_ms + DAY_MS
        slots_before = reader.slots(slots_of, before_ms, before_end_ms, SUMMED)
        begun = [slot for slot in slots if slot.start_ms <= now_ms or slot.state != MISSING]
        found = {
            **about_series(slots, [entry], reader.status),
            "title": _title(what, start_ms),
            "period": what,
            "from": iso(start_ms),
            "to": iso(end_ms),
            "compared_with": _title(what, before_ms),
            **numbers(entry),
            **comparison(entry, slots, before or {}, slots_before),
            **_lists(entry),
            "gaps": gaps_of(begun),
        }
        return markdown_of(found) if form == "md" else found

    def _entries(self, reader: Series_Reader, what: str, start_ms: int, end_ms: int) -> list[Entry]:
        period = MONTHLY if what == MONTH else DAILY
        keys, at_ms = list[str](), start_of(period, start_ms)
        while at_ms < end_ms and (what != MONTH or not keys):
            keys.append(cache_key(period, at_ms))
            at_ms = end_of(period, at_ms)
        found = reader.entries(keys)
        return [entry for key in keys if (entry := found[key]) is not None]


def _asked(words: Words, now_ms: int) -> tuple[str, int, int, int]:
    """What is asked for, where it begins and ends, and where the one begins that it is compared with."""
    given = [name for name in (DAY, WEEK, MONTH) if name in words]
    if len(given) > 1:
        raise Bad_Parameter(given[1], f"{given[0]} and {given[1]} are two reports: ask for one of them")
    if given == [WEEK]:
        start_ms = _week_ms(words[WEEK])
        return WEEK, start_ms, start_ms + 7 * DAY_MS, start_ms - 7 * DAY_MS
    if given == [MONTH]:
        start_ms = start_of(MONTHLY, _named_ms(words[MONTH], MONTH))
        return MONTH, start_ms, end_of(MONTHLY, start_ms), start_of(MONTHLY, start_ms - 1)
    yesterday_ms = start_of(DAILY, now_ms) - DAY_MS
    start_ms = _named_ms(words[DAY], DAY) if given else yesterday_ms
    return DAY, start_ms, start_ms + DAY_MS, start_ms - 7 * DAY_MS


def _named_ms(text: str, what: str) -> int:
    """When a day or a month begins, by its name."""
    if len(text) == len(_EXAMPLES[what]):
        with suppress(Bad_Parameter):
            return parse_time(text, what)
    raise _unlike(what)


def _unlike(what: str) -> Bad_Parameter:
    return Bad_Parameter(what, f"expected a {what} such as {_EXAMPLES[what]}")


def _week_ms(text: str) -> int:
    match = _WEEK.fullmatch(text) if text.isascii() else None
    try:
        if match is None:
            raise ValueError
        monday = date.fromisocalendar(int(match[1]), int(match[2]), 1)
    except ValueError:
        raise _unlike(WEEK) from None
    return parse_time(monday.isoformat(), WEEK)


def _title(what: str, start_ms: int) -> str:
    day = utc(start_ms).date()
    if what == DAY:
        return f"{day:%A}, {day}"
    if what == WEEK:
        year, week, _ = day.isocalendar()
        return f"week {year}-W{week:02d} ({day} to {day + timedelta(days=6)})"
    return f"{day:%B %Y}"


def _lists(entry: Entry) -> dict[str, Any]:
    """What is worth a look, 10 rows each; null where an entry does not have it."""
    errors, paths = entry.get("top_error_paths"), entry.get("top_paths")
    slow = [row for row in paths or () if row.get("avg_time_taken") and row["count"] >= SLOW_REQUESTS_MIN]
    slow.sort(key=lambda row: (-row["avg_time_taken"], row["path"]))
    referrers = entry.get("referrers")
    return {
        "top_paths": None if paths is None else paths[:ROWS],
        "errors": None if errors is None else {name: rows[:ROWS] for name, rows in errors.items()},
        "slow_paths": None if paths is None else slow[:ROWS],
        "missed_paths": None if entry.get("top_missed_paths") is None else entry["top_missed_paths"][:ROWS],
        "bots": None if entry.get("bots") is None else entry["bots"][:ROWS],
        "referrers": None if referrers is None else dict(list(referrers.items())[:ROWS]),
    }
