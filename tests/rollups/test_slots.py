"""The half hours of a day and the days of a month in their entries: numbers of each, and a zero is told from a gap."""

from typing import Any

from sa_stream.records.fields import to_mask
from sa_stream.rollups.entry import About, build_entry, merge
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, cache_key
from sa_stream.rollups.slots import as_part
from sa_stream.services.traffic_metrics import SUMMED, values_of
from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS
from sa_stream.windows.window import Window
from tests.rollups.rollup_stream import Stream, window_of

DAY = 1_771_200_000_000  # 2026-02-16T00:00Z
MONTH = 1_769_904_000_000  # 2026-02-01T00:00Z
DAY_KEY, MONTH_KEY = cache_key(DAILY, DAY), cache_key(MONTHLY, MONTH)


def slots_of(stream: Stream, key: str = DAY_KEY) -> dict[str, Any]:
    return stream.entries[key]["per_half_hour" if key == DAY_KEY else "per_day"]


def told(stream: Stream, key: str = DAY_KEY) -> list[tuple[int | None, str, str | None]]:
    slots = slots_of(stream, key)
    return list(zip(slots["requests"], slots["state"], slots["reason"], strict=True))


def test_an_open_day_says_of_each_half_hour_whether_it_is_final_empty_or_still_to_come():
    stream = Stream("a")
    now_ms = DAY + 2 * HOUR_MS + 10_000
    stream.commit("a", 1, now_ms - HOUR_MS + WINDOW_MS, {DAY: 5, DAY + HOUR_MS: 7, DAY + HOUR_MS + WINDOW_MS: 2})
    stream.settle(now_ms)
    assert told(stream)[:6] == [
        (5, "final", None),
        (0, "zero", None),
        (7, "final", None),
        (2, "partial", None),
        (None, "missing", "open"),
        (None, "missing", "open"),
    ]
    assert len(told(stream)) == 48
    assert slots_of(stream)["bytes"][:5] == [50, 0, 70, 20, None]
    assert slots_of(stream)["human"][:5] == [0, 0, 0, 0, None]


def test_a_final_day_has_no_gaps_and_what_only_its_state_changes_is_written_too():
    stream = Stream("a")
    stream.commit("a", 1, DAY + HOUR_MS, {DAY: 5, DAY + HOUR_MS: 7})
    stream.settle(DAY + HOUR_MS + 10_000)
    assert told(stream)[1:3] == [(0, "zero", None), (7, "partial", None)]
    stream.commit("a", 2, DAY + HOUR_MS + WINDOW_MS)  # nothing but time
    stream.settle(DAY + HOUR_MS + WINDOW_MS + 60_000)
    assert told(stream)[2:4] == [(7, "final", None), (None, "missing", "open")]
    stream.commit("a", 3, DAY + 2 * DAY_MS)
    stream.settle(DAY + 2 * DAY_MS)
    assert {state for _, state, _ in told(stream)} == {"final", "zero"}
    assert told(stream)[3] == (0, "zero", None)


def test_what_is_missing_names_its_reason_and_a_month_has_its_days():
    stream = Stream("a", "b")
    now_ms = DAY + DAY_MS + HOUR_MS
    stream.commit("a", 1, now_ms, {DAY - DAY_MS: 4, DAY + HOUR_MS: 7})
    stream.commit("b", 1, DAY + HOUR_MS, {DAY: 3})
    stream.settle(now_ms)
    assert told(stream)[:5] == [
        (3, "final", None),
        (0, "zero", None),
        (7, "partial", None),
        (None, "missing", "lagging"),
        (None, "missing", "lagging"),
    ]
    days = told(stream, MONTH_KEY)
    assert len(days) == 28
    assert days[13:17] == [
        (0, "zero", None),
        (4, "final", None),
        (10, "partial", None),
        (None, "missing", "open"),
    ]
    assert stream.summary(MONTH_KEY).slots.keys() == {DAY - DAY_MS, DAY}


def test_an_entry_that_an_older_version_wrote_is_left_as_it_is():
    stream = Stream("a")
    stream.commit("a", 1, DAY + 2 * DAY_MS, {DAY: 5})
    stream.settle(DAY + 2 * DAY_MS)
    key = ("sa-cloudfront-aggregate", DAY_KEY)
    old = {name: value for name, value in stream.entries[DAY_KEY].items() if name != "per_half_hour"}
    stream.cache.store_entry(*key, old)
    assert stream.settle(DAY + 2 * DAY_MS + HOUR_MS, stream.fresh()) == 0
    assert stream.entries[DAY_KEY] == old


def test_half_hours_that_an_older_version_did_not_keep_are_missing_and_not_zero():
    old = window_of(DAY, 5)
    old.older = True
    day = merge(DAILY, DAY, [as_part(DAILY, old)])  # an hour's summary from before: no slots
    entry = entry_of(DAILY, day)
    assert set(entry["per_half_hour"]["state"]) == {"missing"}
    assert set(entry["per_half_hour"]["reason"]) == {"older-version"}
    assert (entry["agent_classes"], entry["page_views"], entry["referrers"]) == (None, None, None)
    assert (entry["total_requests"], entry["status_codes"]) == (5, {"200": 5})
    assert entry["errors"]["agent_classes"] is None


def test_a_slot_says_of_a_field_that_came_later_what_its_own_entry_says():
    """The list got agents, sizes, times and result types in the second half hour; in the first they are not known."""
    before, after = window_of(DAY, 5), window_of(DAY + WINDOW_MS, 7)
    before.fields = to_mask(["timestamp", "cs-uri-stem"])
    hour = merge(HOURLY, DAY, [as_part(HOURLY, each) for each in (before, after)])
    day = merge(DAILY, DAY, [as_part(DAILY, Window.from_bytes(hour.to_bytes()))])
    slots = entry_of(DAILY, day)["per_half_hour"]
    for place, half in enumerate((before, after)):
        own = values_of(entry_of(HALF_HOUR, half), SUMMED)
        assert {name: slots[name][place] for name in SUMMED} == own, place
    assert [slots[name][2] for name in SUMMED] == [0] * len(SUMMED)


def entry_of(period: str, window: Window) -> dict[str, Any]:
    return build_entry(period, DAY, window, About(True, 0, [], [], None, 0))
