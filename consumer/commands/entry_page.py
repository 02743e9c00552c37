"""One entry as a page for people: sections of numbers, with bars for shares. Whatever the entry's schema, what it lacks
is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import filesize
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumer.commands.screen import shown

type Entry = Mapping[str, Any]

ROWS_SHOWN = 8  # of a list of names
PATHS_SHOWN = 10
NOTES_SHOWN = 5  # of what is missing
BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"


def entry_page(entry: Entry) -> RenderableType:
    """Everything about one entry that fits on a page."""
    total = entry.get("total_requests") or 0
    sections = [
        _heading(entry),
        _numbers(entry),
        _course(entry),
        _side_by_side(
            _shares("status", entry.get("status_breakdown"), total),
            _shares("from the cache", entry.get("result_types"), total),
            _shares("people and bots", entry.get("agent_classes"), total),
            _shares("bots", _bots(entry), total),
            _shares("browsers", entry.get("browsers"), total),
            _shares("systems", entry.get("systems"), total),
            _shares("devices", entry.get("devices"), total),
            _shares("referrers", entry.get("referrers"), total),
            _shares("kinds", entry.get("kinds"), total),
            _shares("places", entry.get("cities") or entry.get("edge_distribution"), total),
            _shares("countries", entry.get("countries"), total),
            _shares("hosts", entry.get("hosts"), total),
        ),
        _paths("top paths", entry.get("top_paths"), entry.get("unique_paths"), total),
        _side_by_side(
            _short_paths("most 4xx", (entry.get("top_error_paths") or {}).get("status_4xx"), "status_4xx"),
            _short_paths("most 5xx", (entry.get("top_error_paths") or {}).get("status_5xx"), "status_5xx"),
            _short_paths("most misses", entry.get("top_missed_paths"), "misses"),
        ),
        _notes(entry),
    ]
    spaced: list[RenderableType] = []
    for section in sections:
        if section is not None:
            spaced += [section, Text()]
    return Group(*spaced[:-1])


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """A bar for a share from 0 to 1; what is more than nothing is seen."""
    eighths = max(round(min(max(share, 0.0), 1.0) * cells * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def sparkline(values: Sequence[float | None]) -> str:
    """A column a value; `·` where there is none."""
    most = max((value for value in values if value is not None), default=0)
    return "".join("·" if value is None else _LEVELS[round(value / most * 7) if most else 0] for value in values)


def status_of(entry: Entry) -> Text:
    return shown(entry.get("status"), "green" if entry.get("status") == "final" else "yellow")


def _heading(entry: Entry) -> RenderableType:
    line = Text.assemble(
        shown(f"{entry.get('period')}/{entry.get('time_key')}", "bold"),
        "  ",
        status_of(entry),
        shown(f"  revision {entry.get('revision', 0)}, from {entry.get('provenance', 'stream')}", "dim"),
    )
    when = f"{entry.get('window_start')} to {entry.get('window_end')}, computed at {entry.get('computed_at')}"
    return Group(line, shown(when, "dim"))


def _numbers(entry: Entry) -> RenderableType:
    """What people look at first."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    times = entry.get("percentiles") or {}
    rows: list[tuple[str, Any]] = [
        ("requests", entry.get("total_requests")),
        ("page views", entry.get("page_views")),
        ("bytes", _bytes(entry.get("total_bytes"))),
        ("hit rate", _percent(entry.get("cache_hit_rate"))),
        ("served from the cache", _percent(entry.get("served_from_cache_rate"))),
        ("unique paths", entry.get("unique_paths")),
        ("unique agents", entry.get("unique_agents")),
        ("time taken", _times(times.get("time_taken"))),
        ("time to first byte", _times(times.get("ttfb"))),
        ("origin", _times(entry.get("origin_latency"))),
    ]
    for name, value in rows:
        if value is not None:
            facts.add_row(shown(name, "dim"), shown(value))
    return facts


def _course(entry: Entry) -> RenderableType | None:
    """Requests over time: by minute of a half hour, by half hour of a day, by day of a month."""
    for name, of in (("per_minute", "minute"), ("per_half_hour", "half hour"), ("per_day", "day")):
        columns = entry.get(name)
        if columns and any(columns.get("requests") or ()):
            return Text.assemble(shown(f"requests a {of}  ", "dim"), sparkline(columns["requests"]))
    return None


def _shares(title: str, counts: Mapping[str, int] | None, total: int) -> Table | None:
    """Names with what they have of all requests, the most frequent first."""
    counted = {name: count for name, count in (counts or {}).items() if isinstance(count, int) and count}
    if not counted:
        return None
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column(title, overflow="ellipsis", max_width=24, no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", min_width=BAR_CELLS // 2, no_wrap=True)
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:ROWS_SHOWN]:
        share = count / total if total else 0.0
        table.add_row(shown(name), shown(count), shown(f"{100 * share:.1f} %", "dim"), bar(share, BAR_CELLS // 2))
    if len(ordered) > ROWS_SHOWN:
        rest = sum(count for _, count in ordered[ROWS_SHOWN:])
        table.add_row(shown(f"{len(ordered) - ROWS_SHOWN} more", "dim"), shown(rest, "dim"), "", "")
    return table


def _bots(entry: Entry) -> dict[str, int]:
    return {
        f"{bot.get('name')}{' (AI)' if bot.get('ai') else ''}": bot.get("count", 0) for bot in entry.get("bots") or ()
    }


def _paths(title: str, rows: Sequence[Mapping[str, Any]] | None, of: Any, total: int) -> Table | None:
    if not rows:
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{title} ({min(len(rows), PATHS_SHOWN)} of {_plain(of)})", overflow="fold", ratio=1)
    names = {"count": "requests", "bytes": "bytes", "hits": "hits", "status_4xx": "4xx", "status_5xx": "5xx"}
    there = {name: label for name, label in names.items() if rows[0].get(name) is not None}
    for label in there.values():
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("", min_width=BAR_CELLS // 2, no_wrap=True)
    for row in rows[:PATHS_SHOWN]:
        cells = (_bytes(row.get(name)) if name == "bytes" else row.get(name) for name in there)
        share = row["count"] / total if total else 0.0
        table.add_row(shown(row.get("path")), *map(shown, cells), bar(share, BAR_CELLS // 2))
    return table


def _short_paths(title: str, rows: Sequence[Mapping[str, Any]] | None, name: str) -> Table | None:
    listed = [row for row in rows or () if row.get(name)]
    if not listed:
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column(title, overflow="ellipsis", max_width=40, no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    for row in listed[:ROWS_SHOWN]:
        table.add_row(shown(row.get("path")), shown(row[name]))
    return table


def _notes(entry: Entry) -> RenderableType | None:
    """What is missing or was left out, and how exact it is."""
    notes = []
    missing = entry.get("missing_sources") or ()
    for source in missing[:NOTES_SHOWN]:
        who = source.get("partition") or source.get("time_key") or "the stream"
        notes.append(f"missing: {who}, {source.get('reason')}{': ' + source['file'] if source.get('file') else ''}")
    if len(missing) > NOTES_SHOWN:
        notes.append(f"missing: {len(missing) - NOTES_SHOWN} more")
    if lacks := entry.get("missing_fields"):
        notes.append(f"not in the field list: {', '.join(lacks)}")
    for name, what in (("late_records", "late"), ("duplicate_records", "duplicate"), ("invalid_records", "malformed")):
        if entry.get(name):
            notes.append(f"{_plain(entry[name])} {what} records")
    bounds = [f"{name} ±{_plain(value)}" for name, value in (entry.get("errors") or {}).items() if value]
    if bounds:
        notes.append(f"estimates: {', '.join(bounds)}")
    return Group(*(shown(note, "dim") for note in notes)) if notes else None


def _side_by_side(*tables: Table | None) -> RenderableType | None:
    found = [table for table in tables if table is not None]
    return Columns(found, padding=(0, 4, 1, 0)) if found else None


def _bytes(value: Any) -> str | None:
    return None if value is None else filesize.decimal(value)


def _percent(value: Any) -> str | None:
    return None if value is None else f"{value:.2f} %"


def _times(values: Mapping[str, Any] | None) -> str | None:
    known = {
        name: value for name, value in (values or {}).items() if isinstance(value, int | float) and name != "count"
    }
    return "  ".join(f"{name} {_seconds(value)}" for name, value in known.items()) or None


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
