"""The page of an entry: what a person looks for is there, what the entry lacks is not, and strangers' text is text."""

import io
from typing import Any

import pytest
from rich.console import Console

from consumer.commands.entry_page import bar, sparkline
from consumer.commands.show import print_entries
from sa_stream.bounded.replay import replay_logs
from sa_stream.log_file import Log_File, Log_Form, Log_Lines
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from tests.log_lines import NOW_MS, ordinary_lines


def entries() -> list[dict[str, Any]]:
    lines = ordinary_lines(1, 2_000, NOW_MS / 1000 - 7_200, 1)
    piece = Log_Lines(Log_File("a", Log_Form.TEXT), lines)
    found, _ = replay_logs([piece], Intake(resolve_field_lists("canonical", "")), NOW_MS)
    return list(found)


def page(entry: dict[str, Any], width: int = 130) -> str:
    out = io.StringIO()
    print_entries([entry], as_json=False, single=True, console=Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("period", ["30min", "hourly", "daily", "monthly"])
def test_a_page_has_what_people_ask_for(period: str) -> None:
    entry = next(each for each in entries() if each["period"] == period and each["total_requests"])
    text = page(entry)
    for heading in ("requests", "hit rate", "status", "people and bots", "browsers", "referrers", "kinds", "top paths"):
        assert heading in text
    assert f"{entry['total_requests']:,}" in text
    assert (f"{period}/{entry['time_key']}  final") in text
    assert "None" not in text


def test_an_entry_of_an_older_schema_has_a_shorter_page() -> None:
    entry = next(each for each in entries() if each["total_requests"])
    kept = ("period", "time_key", "status", "window_start", "window_end", "computed_at", "total_requests")
    old = {name: entry[name] for name in (*kept, "status_breakdown")}
    text = page(old)
    assert "people and bots" not in text
    assert "None" not in page(
        {**old, "browsers": None, "percentiles": None, "top_paths": None, "top_error_paths": None}
    )
    assert "2xx" in text


def test_what_strangers_write_reaches_a_terminal_as_text() -> None:
    entry = next(each for each in entries() if each["total_requests"])
    evil = "/[red]\x1b[31m\u202e/x"
    entry["top_paths"][0]["path"] = entry["top_missed_paths"][0]["path"] = evil
    entry["referrers"] = {evil: 5}
    text = page(entry)
    assert "[red]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_what_is_missing_is_said_with_its_reason() -> None:
    entry = next(each for each in entries() if each["total_requests"])
    entry["missing_sources"] = [{"partition": f"shard-{number}", "reason": "lagging"} for number in range(7)]
    entry["missing_fields"] = ["x-edge-location"]
    text = page(entry)
    assert "missing: shard-0, lagging" in text
    assert "missing: 2 more" in text
    assert "not in the field list: x-edge-location" in text


def test_bars_and_lines_show_even_little_and_nothing_for_nothing() -> None:
    assert (bar(0), bar(1, 4), bar(0.0001, 4), bar(0.5, 4)) == ("", "████", "▏", "██")
    assert sparkline([0, None, 5, 10]) == "▁·▅█"
    assert sparkline([]) == sparkline([0][:0]) == ""


def test_a_narrow_terminal_cuts_no_number_of_the_table() -> None:
    out = io.StringIO()
    listed = [{**entry, "total_requests": 123_456_789} for entry in entries() if entry["total_requests"]]
    print_entries(listed, as_json=False, single=False, console=Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(listed)
    assert all("123,456,789" in line and "…" not in line for line in lines[1:])
