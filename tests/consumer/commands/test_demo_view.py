"""What the demo shows on a terminal: all of a number, or nothing of it."""

import pytest
from rich.console import Console

from consumer.commands.demo.story import Story
from consumer.commands.demo.view import View
from sa_stream.health.notebook import Health
from sa_stream.timing import Moment

NEWEST = {
    "time_key": "2026-11-27-1730",
    "top_paths": [{"path": "/shop/media/videos/a-long-name-of-a-page.html", "count": 1_726}],
    "status_breakdown": {"2xx": 13_510, "3xx": 1_376, "4xx": 580, "5xx": 170},
    "unique_paths": 4_822,
    "unique_agents": 1_584,
    "cache_hit_rate": 75.17,
    "percentiles": {"time_taken": {"p95": 0.244}},
}


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("newest", [None, NEWEST])
def test_a_narrow_terminal_cuts_no_number_of_the_list(columns: int, newest: dict | None) -> None:
    health = Health(Moment(0))
    shard = health.shard("shardId-000000000000", Moment(0))
    shard.windows({1_795_800_600_000: 1_234_567})
    story = Story(final={"30min/2026-11-27-1730": 7_654_321}, newest=newest)
    console = Console(width=columns, height=20)
    with console.capture() as captured:
        console.print(View(story, health, lambda: 9_876_543).panel(columns))
    shown = captured.get()
    for number in ("1,234,567", "7,654,321", "9,876,543"):
        assert number in shown
    assert ("1,726" in shown) == (newest is not None and columns >= 120)
