"""One half hour of one partition (or of several, merged): what a partial holds and an entry is made of."""

import sys
from collections.abc import Sequence
from typing import Any, Self

from sa_stream.format import pack, raw, unpack, unraw
from sa_stream.timing import MINUTE_MS, WINDOW_MS
from sa_stream.windows.paths import Path_Table
from sa_stream.windows.summaries import Distinct, Durations, big, merged_counts, unbig

KIND = "window"
COUNTED = ("status", "methods", "protocols", "hosts", "edges", "results")  # kinds of `counts`
MINUTES = WINDOW_MS // MINUTE_MS
_NAME_BYTES = 100  # of a name in a dict, beside its text
_FIXED_BYTES = 10_000
PER_MINUTE = ("requests", "status_4xx", "status_5xx", "bytes", "hits")


class Window:
    """Mergeable aggregate of the records of one window.

    fields     bit mask of the used fields that some configured list had (records.fields)
    counts     kind -> value -> records; missing values are left out
    minutes    a list of MINUTES numbers for each of PER_MINUTE; None while empty and in roll-ups
    """

    __slots__ = (
        "counts",
        "duplicate_records",
        "fields",
        "invalid_records",
        "late_records",
        "minutes",
        "paths",
        "start_ms",
        "time_taken",
        "total_bytes",
        "total_requests",
        "ttfb",
        "unique_agents",
        "unique_edges",
        "unique_paths",
    )

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.fields = 0
        self.total_requests = 0
        self.total_bytes = 0  # a Python int, as no sum of bytes may overflow
        self.duplicate_records = 0
        self.late_records = 0
        self.invalid_records = 0
        self.counts: dict[str, dict[str, int]] = {kind: {} for kind in COUNTED}
        self.unique_paths = Distinct()
        self.unique_agents = Distinct()
        self.unique_edges = Distinct()
        self.time_taken = Durations()
        self.ttfb = Durations()
        self.paths = Path_Table()
        self.minutes: list[list[int]] | None = None

    def top_paths(self, limit: int) -> list[tuple[str, int, int]]:
        return self.paths.top(limit)

    @property
    def top_paths_error(self) -> int:
        """A path's count lacks at most this many requests; 0 where exact."""
        return self.paths.error

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory: mostly its paths, then names and sketches."""
        names = sum(sys.getsizeof(name) + _NAME_BYTES for counts in self.counts.values() for name in counts)
        hashes = self.unique_paths.hashes.nbytes + self.unique_agents.hashes.nbytes + self.unique_edges.hashes.nbytes
        buckets = sum(times.buckets.nbytes for times in (self.time_taken, self.ttfb) if times.buckets is not None)
        return _FIXED_BYTES + self.paths.size_bytes + names + hashes + buckets

    @property
    def shrinkable(self) -> bool:
        """Whether `shrink` may find something to cut."""
        return self.paths.shrinkable

    def shrink(self) -> bool:
        """Take the bounded form: only the most frequent paths, with what they lack in `top_paths_error`; all other
        numbers stay what they are. False if nothing was cut."""
        return self.paths.shrink()

    def per_minute(self) -> dict[str, list[int]]:
        minutes = self.minutes or [[0] * MINUTES for _ in PER_MINUTE]
        return {name: list(row) for name, row in zip(PER_MINUTE, minutes, strict=True)}

    def add_minutes(self, rows: list[list[int]]) -> None:
        """Add numbers of the shape of `minutes`; Python ints, as no sum of bytes may overflow."""
        if self.minutes is None:
            self.minutes = [list(row) for row in rows]
        else:
            self.minutes = [
                [a + b for a, b in zip(*pair, strict=True)] for pair in zip(self.minutes, rows, strict=True)
            ]

    @classmethod
    def merged(cls, windows: Sequence[Self]) -> Self:
        """Sum of at least one window; their order does not matter. Windows of different times (a roll-up) keep no
        per-minute numbers."""
        result = cls(min(window.start_ms for window in windows))
        same_time = len({window.start_ms for window in windows}) == 1
        for window in windows:
            result.fields |= window.fields
            result.total_requests += window.total_requests
            result.total_bytes += window.total_bytes
            result.duplicate_records += window.duplicate_records
            result.late_records += window.late_records
            result.invalid_records += window.invalid_records
            result.time_taken.merge(window.time_taken)
            result.ttfb.merge(window.ttfb)
            if same_time and window.minutes is not None:
                result.add_minutes(window.minutes)
        result.counts = {kind: merged_counts([window.counts[kind] for window in windows]) for kind in COUNTED}
        result.unique_paths = Distinct.merged([window.unique_paths for window in windows])
        result.unique_agents = Distinct.merged([window.unique_agents for window in windows])
        result.unique_edges = Distinct.merged([window.unique_edges for window in windows])
        result.paths = Path_Table.merged([window.paths for window in windows])
        return result

    def to_bytes(self) -> bytes:
        """Equal windows give equal bytes."""
        return pack(
            KIND,
            [
                self.start_ms,
                self.fields,
                self.total_requests,
                big(self.total_bytes),
                self.duplicate_records,
                self.late_records,
                self.invalid_records,
                [sorted(self.counts[kind].items()) for kind in COUNTED],
                [raw(distinct.hashes) for distinct in (self.unique_paths, self.unique_agents, self.unique_edges)],
                self.time_taken.content(),
                self.ttfb.content(),
                self.paths.content(),
                None if self.minutes is None else [[big(n) for n in row] for row in self.minutes],
            ],
        )

    @classmethod
    def from_bytes(cls, data: bytes, key: str = "") -> Self:
        """Raises Corrupt_State, Unknown_Version."""
        content: list[Any] = unpack(KIND, data, key)
        window = cls(content[0])
        window.fields, window.total_requests = content[1], content[2]
        window.total_bytes = unbig(content[3])
        window.duplicate_records, window.late_records, window.invalid_records = content[4:7]
        window.counts = {kind: dict(pairs) for kind, pairs in zip(COUNTED, content[7], strict=True)}
        window.unique_paths, window.unique_agents, window.unique_edges = (Distinct(unraw(h)) for h in content[8])
        window.time_taken = Durations.from_content(content[9])
        window.ttfb = Durations.from_content(content[10])
        window.paths = Path_Table.from_content(content[11])
        window.minutes = None if content[12] is None else [[unbig(n) for n in row] for row in content[12]]
        return window
