"""Bounded input, such as log files: order does not matter, nothing is late, and everything is final at the end."""

from collections import Counter

import numpy as np

from sa_stream.records.columns import REASONS, Columns
from sa_stream.records.intake import Intake
from sa_stream.timing import WINDOW_MS, month_of
from sa_stream.windows.fold import Part, fold, hash_columns, parted
from sa_stream.windows.ids import Recent_Ids
from sa_stream.windows.summaries import distinct
from sa_stream.windows.window import Window

_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)  # odd: multiplying by it gives every window other bits


class Bounded_Windows:
    """All windows of a bounded input. A duplicate is the same request id in the same window.

    Nothing that is hashed here is stored, so hashes need no secret.
    """

    def __init__(self, intake: Intake) -> None:
        self.windows: dict[int, Window] = {}
        self.records = 0
        self.aggregated = 0
        self.duplicates = 0
        self.invalid: Counter[str] = Counter()
        self._intake = intake
        self._ids = Recent_Ids(horizon_minutes=0)

    def take(self, columns: Columns) -> None:
        self.records += len(columns) + len(columns.dropped)
        for reason, number in zip(*np.unique(columns.dropped.reason, return_counts=True), strict=True):
            self.invalid[REASONS[reason]] += int(number)
        if not len(columns):
            return
        starts = columns.event_ms // WINDOW_MS * WINDOW_MS
        seeds = dict.fromkeys({month_of(start) for start in distinct(starts)}, 0)
        hashed = hash_columns(columns, starts, np.ones(len(columns), np.bool_), seeds)
        known = hashed.has_request_id
        ids = (hashed.request_ids ^ ((starts // WINDOW_MS).astype(np.uint64) * _SPREAD))[known]
        found = self._ids.see(ids, np.zeros(len(ids), np.int32))
        duplicate = np.zeros(len(columns), np.bool_)
        if found is not None:
            duplicate[known] = found
        parts = []
        for start, rows in parted(starts, np.ones(len(columns), np.bool_)):
            window = self.windows.get(start)
            if window is None:
                window = self.windows[start] = Window(start)
            window.fields |= self._intake.lists.mask
            duplicates = int(np.count_nonzero(duplicate[rows]))
            window.duplicate_records += duplicates
            self.duplicates += duplicates
            self.aggregated += len(rows) - duplicates
            parts.append(Part(window, rows[~duplicate[rows]], 0))
        fold(parts, columns, hashed, self._intake)
