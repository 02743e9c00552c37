"""The morning report: its numbers are those of the entries, and what strangers wrote is text."""

import re
from typing import Any

import pytest

from sa_stream.errors import Bad_Parameter, Not_There
from sa_stream.rollups.periods import cache_key
from sa_stream.services.report_markdown import code
from sa_stream.services.report_merging import merged_entry
from sa_stream.services.Service__SA__Report import Service__SA__Report
from sa_stream.timing import DAY_MS
from tests.services.world import BEGIN_MS, NOW_MS, World, computed, expected, lines

HOSTILE = "/`|</td><script>\n# x\u202e[a](javascript:b)"


def report_of(world: World, **words: str) -> Any:
    return Service__SA__Report(cache=world.cache).report(words, NOW_MS)


def with_last_week(factor: int = 2) -> World:
    """The same days a week before, with a multiple of the requests."""
    world, back_ms = World(), 7 * DAY_MS
    for entry in computed(lines()).values():
        if entry["period"] == "daily":
            start_ms = BEGIN_MS + (int(entry["time_key"][-2:]) - 27) % 28 * DAY_MS
            now = world.retrieve_entry("sa-cloudfront-aggregate", entry["cache_key"])
            assert now is not None
            columns = now["per_half_hour"]
            columns["requests"] = [n and n * factor for n in columns["requests"]]
            columns["state"] = ["final"] * 48
            world.put(cache_key("daily", start_ms - back_ms), now | {"total_requests": now["total_requests"] * factor})
    return world


def test_a_day_is_compared_with_the_same_day_of_the_week_before():
    found = report_of(with_last_week(), day="2026-02-27")
    total = expected()["daily/2026-02-27"]["total_requests"]
    assert (found["title"], found["compared_with"]) == ("Friday, 2026-02-27", "Friday, 2026-02-20")
    assert found["totals"]["requests"] == found["elapsed"]["requests"] == total
    assert found["previous"]["requests"] == 2 * total
    assert "| requests | 1,915 | -50.0% |".replace("1,915", f"{total:,}") in report_of(
        with_last_week(), day="2026-02-27", format="md"
    )


def test_beside_a_rate_stands_how_the_rate_changed_and_not_what_became_of_its_count():
    """As many errors as before, and half of the requests: the rate has doubled."""
    text = report_of(with_last_week(), day="2026-02-27", format="md")
    entry = expected()["daily/2026-02-27"]
    rate = 100 * entry["status_breakdown"]["4xx"] / entry["total_requests"]
    assert f"| 4xx | {rate:.2f}% | {rate / 2:+.2f} points |" in text


def test_a_week_is_the_sum_of_its_days_and_a_month_its_entry():
    week = report_of(World(), week="2026-W09")
    days = [expected()[f"daily/{day}"] for day in ("2026-02-27", "2026-02-28", "2026-03-01")]
    assert week["totals"]["requests"] == sum(day["total_requests"] for day in days)
    assert week["rates"]["cache_hit_rate"] == pytest.approx(
        100 * sum(day["result_types"]["Hit"] for day in days) / week["totals"]["requests"], abs=0.006
    )
    assert week["percentiles"].get("time_taken") is None, "percentiles cannot be added up"
    month = report_of(World(), month="2026-02")
    assert month["totals"]["requests"] == expected()["monthly/2026-02"]["total_requests"]


def test_without_a_day_it_is_yesterday_with_its_gap():
    found = report_of(World())
    assert (found["title"], found["status"]) == ("Saturday, 2026-02-28", "partial")
    assert found["gaps"] == [{"from": "2026-02-28T12:00:00Z", "to": "2026-02-28T14:00:00Z", "reason": "not-covered"}]
    text = report_of(World(), format="md")
    assert "| 2026-02-28T12:00:00Z | 2026-02-28T14:00:00Z | `not-covered` |" in text
    assert "Not final yet" in text


def test_what_strangers_wrote_is_text_in_a_code_span():
    world = World()
    entry = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-02-27")
    assert entry is not None
    row = {"path": HOSTILE, "count": 12, "bytes": 1, "misses": 3, "avg_time_taken": 1.5}
    listed = {"status_4xx": [{"path": HOSTILE, "status_4xx": 7, "count": 12}], "status_5xx": []}
    hostile = {
        "top_paths": [row],
        "top_error_paths": listed,
        "top_missed_paths": [{"path": HOSTILE, "misses": 3, "count": 12}],
        "agent_classes": {"human": 10, "bot_known": 2},
        "bots": [{"name": HOSTILE, "count": 2, "bytes": 1, "ai": True}],
        "referrers": {HOSTILE: 3, "(direct)": 9},
    }
    world.put("daily/2026-02-27", entry | hostile)
    text = report_of(world, day="2026-02-27", format="md")
    assert text.count(code(HOSTILE)) == 5
    bare = text.replace(code(HOSTILE), "")
    assert "script" not in bare
    assert "\u202e" not in text
    assert "| Slow | avg_time_taken | requests |" in text
    assert re.search(r"known bots \d", text)


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ({"day": "yesterday"}, "day"),
        ({"day": "2026-02"}, "day"),
        ({"week": "2026-W54"}, "week"),
        ({"week": "2026-08"}, "week"),
        ({"month": "2026-02-16"}, "month"),
        ({"day": "2026-02-16", "week": "2026-W08"}, "week"),
        ({"format": "pdf"}, "format"),
    ],
)
def test_what_is_no_day_week_or_month_is_named(words: dict[str, str], parameter: str):
    with pytest.raises(Bad_Parameter) as refused:
        report_of(World(), **words)
    assert refused.value.parameter == parameter


def test_a_time_without_entries_has_no_report():
    with pytest.raises(Not_There):
        report_of(World(), day="2025-01-01")


def test_a_number_of_a_path_that_one_day_does_not_know_is_null_in_the_week():
    """The sizes came into the list on the second day: those of that day alone are not the week's."""
    bot = {"name": "GPTBot", "count": 3, "bytes": 30, "ai": True}
    known = computed(lines())["daily/2026-02-27"] | {"bots": [bot]}
    row = known["top_paths"][0]
    unknown = known | {"top_paths": [row | {"bytes": None}], "bots": [bot | {"bytes": None}]}
    for entries in ([known, unknown], [unknown, known], [known, unknown, known]):
        week = merged_entry(entries)
        assert week is not None
        for name, one in (("top_paths", row), ("bots", bot)):
            assert week[name][0] == one | {"bytes": None} | {
                number: len(entries) * one[number]
                for number in ("count", "hits", "misses", "status_4xx", "status_5xx")
                if number in one
            }
