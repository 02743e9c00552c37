"""Bounded input, such as log files: order does not matter, nothing is late, and everything is final at the end."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sa_stream import native
from sa_stream.native.ids import Id_Set
from sa_stream.records.columns import REASONS, Bools, Columns, Int64s
from sa_stream.records.hashing import hash_of
from sa_stream.records.intake import Intake
from sa_stream.records.ordinary import PATH
from sa_stream.timing import WINDOW_MS, month_of
from sa_stream.windows.fold import Hashed, Part, fold, hash_columns, parted
from sa_stream.windows.ids import Recent_Ids
from sa_stream.windows.summaries import UInt64s, distinct
from sa_stream.windows.window import Window

type Keys = Sequence[tuple[int, UInt64s]]  # window (start in ms), and a number for each of some records of it
type Judge = Callable[[Keys], Sequence[Bools | None]]  # for each window: which came before; None: none of them

_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)  # odd: multiplying by it gives every time other bits


class _Ids:
    """An Id_Set without the kernel."""

    def __init__(self) -> None:
        self._recent = Recent_Ids(horizon_minutes=0)

    def see(self, ids: UInt64s) -> Bools | None:
        return self._recent.see(ids, np.zeros(len(ids), np.int32))


class Seen:
    """What came before, window by window. Any thread may ask."""

    def __init__(self) -> None:
        self._ids: dict[int, Id_Set | _Ids] = {}
        self._lock = threading.Lock()

    def judge(self, found: Keys) -> list[Bools | None]:
        """Which of the keys came before, in this call or an earlier one; takes them in."""
        with self._lock:
            return [self._of(start).see(keys) for start, keys in found]

    def _of(self, start_ms: int) -> "Id_Set | _Ids":
        ids = self._ids.get(start_ms)
        if ids is None:
            ids = self._ids[start_ms] = Id_Set() if native.AVAILABLE else _Ids()
        return ids

    def forget_before(self, start_ms: int) -> None:
        """Let go of windows that begin before this time, to which nothing comes any more."""
        with self._lock:
            self._ids = {start: ids for start, ids in self._ids.items() if start >= start_ms}


class Bounded_Windows:
    """All windows of a bounded input. A duplicate is the same request id in the same window.

    seeds  month -> the secret that hashes are made with, where they are stored; else they need none
    judge  who is asked for duplicates where others count records of the same windows, in any order: of the same id and
           the same content, so that it does not matter which of them counts. Where contents differ, an id is counted
           twice: `counted_ids` shows it
    """

    def __init__(self, seeds: Mapping[str, int] | None = None, judge: Judge | None = None) -> None:
        self.windows: dict[int, Window] = {}
        self.records = 0
        self.invalid: Counter[str] = Counter()
        self.misfits: Counter[str] = Counter()  # column -> records that it does not fit
        self.counted_ids: dict[int, list[UInt64s]] = {}  # window -> ids of counted records; empty without a judge
        self._seeds = seeds
        self._seen = Seen()
        self._judge = judge

    def taken_out(self, starts: Sequence[int], whole: bool = True) -> list[Window]:
        """Windows, ascending, that nothing will be added to, nor to those before the last of them; the memory of their
        request ids is let go. whole: nobody else has counted some of their records."""
        if starts:
            self._seen.forget_before(starts[-1] + 1)
        windows = [self.windows.pop(start_ms) if start_ms in self.windows else Window(start_ms) for start_ms in starts]
        for window in windows if whole else ():
            window.finish()
        return windows

    def take(self, columns: Columns, intake: Intake) -> None:
        """Count records, which were read with the lists of `intake`. What does not count is not in the columns any
        more then."""
        self.records += len(columns) + len(columns.dropped)
        for reason, number in zip(*np.unique(columns.dropped.reason, return_counts=True), strict=True):
            self.invalid[REASONS[reason]] += int(number)
        self.misfits += columns.dropped.misfits
        if not len(columns):
            return
        starts = columns.event_ms // WINDOW_MS * WINDOW_MS
        months = {month_of(start) for start in distinct(starts)}
        seeds = dict.fromkeys(months, 0) if self._seeds is None else self._seeds
        hashed = hash_columns(columns, starts, np.ones(len(columns), np.bool_), seeds)
        judged = parted(starts, np.ones(len(columns), np.bool_))
        duplicates = self._duplicates(columns, hashed, judged)
        parts, kept, begin = [], [], 0
        for (start, rows), duplicate in zip(judged, duplicates, strict=True):
            window = self.windows.get(start)
            if window is None:
                window = self.windows[start] = Window(start)
            window.fields |= intake.lists.mask
            window.duplicate_records += int(np.count_nonzero(duplicate))
            kept.append(rows[~duplicate])
            end = begin + len(kept[-1])
            parts.append(Part(window, np.arange(begin, end), seeds[month_of(start)]))
            begin = end
        columns.keep(np.concatenate(kept))
        fold(parts, columns, intake, bounded=True)

    def _duplicates(self, columns: Columns, hashed: Hashed, parts: Sequence[tuple[int, Int64s]]) -> list[Bools]:
        """Which rows of each window are duplicates."""
        known = [hashed.has_request_id[rows] for _, rows in parts]
        keys = hashed.request_ids if self._judge is None else _contents(columns)
        judge = self._judge or self._seen.judge
        found = judge([(start, keys[rows[has]]) for (start, rows), has in zip(parts, known, strict=True)])
        result = []
        for (start, rows), has, before in zip(parts, known, found, strict=True):
            duplicate = np.zeros(len(rows), np.bool_)
            if before is not None:
                duplicate[has] = before
            if self._judge is not None:
                self.counted_ids.setdefault(start, []).append(hashed.request_ids[rows[has & ~duplicate]])
            result.append(duplicate)
        return result


def _without_query(path: str) -> str:
    """`-?` begins a path, and `-` is none."""
    return path if path.startswith("-?") else path.partition("?")[0]


def _contents(columns: Columns) -> UInt64s:
    """A hash of all that a record says, the same in every process of a run; not to be stored."""
    texts = columns.as_texts
    hashes: UInt64s = texts.request_ids.hashed(0)[0] ^ (columns.event_ms.astype(np.uint64) * _SPREAD)
    for name, column in texts.coded.items():
        if name == PATH and column.lying is None:  # nobody reads further than its query, and the kernel has not
            column = column.with_values([_without_query(path) for path in column.values])
        hashes = hashes * _SPREAD + column.hashed(0)[column.codes]
    for numbers in (texts.status, texts.sizes, *(column.values for column in texts.micros.values())):
        hashes = hashes * _SPREAD + numbers.astype(np.uint64)
    for large in (columns.huge, *(column.long for column in texts.micros.values())):
        hashes *= _SPREAD
        for row, number in large.items():
            hashes[row] ^= np.uint64(hash_of(str(number), 0))
    return hashes
