"""Entries of bounded input (a replay): all of it was read, so everything is final at once."""

from collections.abc import Iterator, Mapping

from sa_stream.rollups.entry import FILES, About, Entry, build_entry, merge
from sa_stream.rollups.periods import HALF_HOUR, ROLLUPS, child_period, start_of, time_key
from sa_stream.rollups.slots import as_part
from sa_stream.windows.window import Window


def bounded_entries(windows: Mapping[int, Window], now_ms: int, sampling_percent: float = 100) -> Iterator[Entry]:
    """Every entry of these windows (start in ms -> window): half hours, then hours, days, months, each by time."""
    level = {start_ms: windows[start_ms] for start_ms in sorted(windows)}
    labels: dict[int, list[str]] = {start_ms: ["bounded"] for start_ms in level}  # one input, read as one partition
    for period in (HALF_HOUR, *ROLLUPS):
        if period != HALF_HOUR:
            members: dict[int, list[int]] = {}
            for start_ms in level:
                members.setdefault(start_of(period, start_ms), []).append(start_ms)
            below = child_period(period)
            labels = {start_ms: [time_key(below, child) for child in found] for start_ms, found in members.items()}
            level = {
                start: merge(period, start, [as_part(period, level[child]) for child in found])
                for start, found in members.items()
            }
        name = "partition" if period == HALF_HOUR else "time_key"
        for start_ms, window in level.items():
            about = About(True, 0, [{name: label} for label in labels[start_ms]], [], None, now_ms, FILES)
            yield build_entry(period, start_ms, window, about, sampling_percent, bounded=True)
