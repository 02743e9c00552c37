"""What the demo shows: the state of things in, something to look at out."""

from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumer.commands.demo.story import Story
from consumer.process.terminal import printable
from sa_stream.health.notebook import Health, Health_View
from sa_stream.rollups.periods import iso

FINAL_SHOWN = 8
PATHS_SHOWN = 6
BESIDE_COLUMNS = 80  # a terminal that is narrower has no room for the newest entry beside the list


class _Rate:
    """Records a second, over the last second or so."""

    def __init__(self) -> None:
        self.at_s = self.per_s = 0.0
        self.records = 0

    def of(self, records: int, now_s: float) -> float:
        if now_s - self.at_s >= 1.0:
            self.per_s = (records - self.records) / (now_s - self.at_s)
            self.at_s, self.records = now_s, records
        return self.per_s


class View:
    """Both forms of it: `panel` for a terminal, `plain_lines` for a pipe or a file."""

    def __init__(self, story: Story, health: Health, records: Callable[[], int]) -> None:
        self._story = story
        self._health = health
        self._records = records  # how many were read so far
        self._rate = _Rate()

    def panel(self, columns: int) -> RenderableType:
        """For a terminal of so many columns."""
        story, health = self._story, self._health.view()
        facts = Table.grid(padding=(0, 3))
        shown = self._facts(health)
        facts.add_row(*(Text(name, style="dim") for name in shown))
        facts.add_row(*(Text(value, style="bold") for value in shown.values()))
        entries = Table(box=None, pad_edge=False, title="entries", title_justify="left", title_style="bold")
        entries.add_column("key", no_wrap=True, min_width=21)
        entries.add_column("status", no_wrap=True)
        entries.add_column("requests", justify="right", no_wrap=True)
        for start_ms, count in list(_open_windows(health).items())[-3:]:
            entries.add_row(f"open {iso(start_ms)[:16]}", Text("open", style="yellow"), f"{count:,}")
        for key, requests in list(reversed(story.final.items()))[:FINAL_SHOWN]:
            entries.add_row(key, Text("final", style="green"), f"{requests:,}")
        body = Table.grid(padding=(0, 4))
        body.add_column(no_wrap=True)  # of the two, the newest entry is the one that is cut
        newest = _newest(story.newest) if story.newest else Text("no final window yet", style="dim")
        body.add_row(entries, *([newest] if columns >= BESIDE_COLUMNS else []))
        return Panel(
            Group(facts, Text(), body), title="sa-stream", subtitle="Ctrl-C ends it", border_style="blue", expand=False
        )

    def plain_lines(self) -> list[str]:
        """News first, then a line on how things are."""
        story, health = self._story, self._health.view()
        news, story.news = story.news, []
        facts = ", ".join(f"{name} {value}" for name, value in self._facts(health).items())
        opened = ", ".join(f"{iso(start_ms)[11:16]}: {count:,}" for start_ms, count in _open_windows(health).items())
        return [*(line for line in news if " final" in line), f"{facts}; open {opened or '-'}"]

    def _facts(self, health: Health_View) -> dict[str, str]:
        story, records = self._story, self._records()
        lags = [shard.lag_ms for shard in health.shards.values() if shard.lag_ms is not None]
        marks = [shard.watermark_ms for shard in health.shards.values()]
        known = [mark for mark in marks if mark is not None]
        watermark = iso(min(known))[11:19] if known and len(known) == len(marks) else "-"
        return {
            "records/s": f"{self._rate.of(records, story.since_start_s()):,.0f}",
            "records": f"{records:,}",
            "lag": f"{max(lags) / 1000:,.1f} s" if lags else "-",
            "watermark": watermark,
            "final": str(len(story.final)),
        }


def _open_windows(health: Health_View) -> dict[int, int]:
    windows: dict[int, int] = {}
    for shard in health.shards.values():
        for start_ms, count in shard.windows.items():
            windows[start_ms] = windows.get(start_ms, 0) + count
    return dict(sorted(windows.items()))


def _newest(entry: dict[str, Any]) -> RenderableType:
    paths = Table(
        box=None, pad_edge=False, title_justify="left", title_style="bold", title=f"newest: {entry['time_key']}"
    )
    paths.add_column("top path", no_wrap=True, max_width=44, overflow="ellipsis")
    paths.add_column("requests", justify="right")
    for row in entry["top_paths"][:PATHS_SHOWN]:
        paths.add_row(Text(printable(row["path"])), f"{row['count']:,}")
    classes = "  ".join(f"{name} {count:,}" for name, count in sorted(entry["status_breakdown"].items()))
    numbers = (
        f"{entry['unique_paths']:,} paths, {entry['unique_agents']:,} agents, hit rate {entry['cache_hit_rate']} %, "
        f"p95 {(entry['percentiles']['time_taken'] or {}).get('p95') or 0:.3f} s"
    )
    return Group(paths, Text(classes), Text(numbers, style="dim"))
