"""A summary of any stretch of time, such as the last 24 hours: what was parsed comes in, the numbers of an entry go
out."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from sa_stream.bounded.log_reading import Read
from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.records.intake import Intake
from sa_stream.rollups.entry import FILES, About, Entry, build_entry, merge
from sa_stream.rollups.periods import DAILY
from sa_stream.rollups.slots import COLUMNS


class Summary(Struct, frozen=True):
    """entry  of the whole time, as if it were one day's; `first_ms`, `last_ms`: event times; None without records"""

    entry: Entry | None
    first_ms: int = 0
    last_ms: int = 0


def summarize(reads: Iterable[Read], from_ms: int, until_ms: int, intake: Intake) -> Summary:
    """Records with event times in [from_ms, until_ms)."""
    counted = Bounded_Windows()
    first_ms, last_ms = until_ms, from_ms
    for read in reads:
        columns = read.columns.chosen((read.columns.event_ms >= from_ms) & (read.columns.event_ms < until_ms))
        if len(columns):
            first_ms = min(first_ms, int(np.min(columns.event_ms)))
            last_ms = max(last_ms, int(np.max(columns.event_ms)))
        counted.take(columns, replace(intake, lists=read.lists))
    if not counted.windows:
        return Summary(None)
    window = merge(DAILY, from_ms, list(counted.windows.values()))
    about = About(True, 0, [], [], None, until_ms, FILES)
    entry = build_entry(DAILY, from_ms, window, about, bounded=True)
    entry[COLUMNS[DAILY]] = None  # it need not begin when a day does
    return Summary(entry, first_ms, last_ms)
