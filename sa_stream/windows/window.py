"""One half hour of one partition (or of several, merged): what a partial holds and an entry is made of."""

import sys
from collections.abc import Sequence
from copy import copy
from typing import Any, Self

import numpy as np

from sa_stream.format import pack, raw, unpack, unraw
from sa_stream.records.fields import RESULT_FIELDS, from_mask
from sa_stream.timing import MINUTE_MS, WINDOW_MS
from sa_stream.windows.names import Names
from sa_stream.windows.paths import Path_Table
from sa_stream.windows.summaries import (
    DISTINCT_EXACT,
    Distinct,
    Durations,
    UInt64s,
    big,
    merged_counts,
    sorted_distinct,
    unbig,
)

KIND = "window"
COUNTED_AT_FIRST = ("status", "methods", "protocols", "hosts", "edges", "results")  # up to version 3
COUNTED = (  # kinds of `counts`
    *COUNTED_AT_FIRST,
    "agent_classes",
    "browsers",
    "systems",
    "devices",
    "content_types",
    "kinds",
    "http_versions",
    "tls_versions",
    "countries",
)
FIELDS_AT_FIRST = 13  # of the content, up to version 3
MINUTES = WINDOW_MS // MINUTE_MS
_NAME_BYTES = 100  # of a name in a dict, beside its text
_FIXED_BYTES = 10_000
SLOT = ("requests", "human", "bytes", "hits", "status_4xx", "status_5xx", "p95")  # p95 of time-taken, in microseconds
SLOT_FIELDS = {  # number of a slot -> fields, of which records need one to tell it
    "human": ("cs-user-agent",),
    "bytes": ("sc-bytes",),
    "hits": RESULT_FIELDS,
    "status_4xx": ("sc-status",),
    "status_5xx": ("sc-status",),
}
PER_MINUTE = ("requests", "status_4xx", "status_5xx", "bytes", "hits")

type Slot = tuple[int | None, ...]  # None: nothing is known of it


class Window:
    """Mergeable aggregate of the records of one window.

    fields     bit mask of the used fields that some configured list had (records.fields)
    counts     kind -> value -> records; missing values are left out
    minutes    a list of MINUTES numbers for each of PER_MINUTE; None while empty and in roll-ups
    older      a part of it was stored by a version that did not count what has come since: that is not known here
    rules      versions of the rules by which agents were classified
    bots       known crawler -> [requests, bytes, whether of an AI company]
    classified    hashes of the agents that are classified, once there are more agents than that; else those of
                  unique_agents are, and this is None. Not in a merged window, to which no record is added
    unclassified  records of agents beyond those
    origins, unnamed  hashes of the referers' origins that are named, and records of others. Windows of input that ends
                  have neither: all are
    slots      in roll-ups: start (ms) of a half hour (month: of a day) -> its numbers, in the order of SLOT
    """

    __slots__ = (
        "bots",
        "classified",
        "counts",
        "duplicate_records",
        "fields",
        "invalid_records",
        "late_records",
        "minutes",
        "older",
        "origin",
        "origins",
        "page_views",
        "path_groups",
        "paths",
        "referrers",
        "rules",
        "slots",
        "start_ms",
        "time_taken",
        "total_bytes",
        "total_requests",
        "ttfb",
        "unclassified",
        "unique_agents",
        "unique_edges",
        "unique_paths",
        "unnamed",
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
        self.older = False
        self.rules: frozenset[str] = frozenset()
        self.bots: dict[str, list[int]] = {}
        self.classified: UInt64s | None = None
        self.unclassified = 0
        self.origins: UInt64s = np.empty(0, np.uint64)
        self.unnamed = 0
        self.page_views = 0
        self.origin = Durations()
        self.referrers = Names()
        self.path_groups = Names()
        self.slots: dict[int, Slot] = {}

    def add_bot(self, name: str, requests: int, size: int, ai: bool) -> None:
        known = self.bots.get(name)
        if known is None:
            self.bots[name] = [requests, size, int(ai)]
        else:
            self.bots[name] = [known[0] + requests, known[1] + size, known[2] | ai]

    def as_slot(self) -> Self:
        """The same, to be merged as one slot of a roll-up: what a half hour is in its hour and day, and a day in its
        month. What its requests had no field for is not known of it, whatever other slots know."""
        slot = copy(self)
        statuses, offered = self.counts["status"], from_mask(self.fields)
        told = (
            self.total_requests,
            None if self.older else self.counts["agent_classes"].get("human", 0),
            self.total_bytes,
            self.counts["results"].get("Hit", 0),
            *(sum(n for code, n in statuses.items() if code[0] == first) for first in "45"),
            self.time_taken.percentile_us(95) if self.time_taken.count else None,
        )
        unknown = {name for name, fields in SLOT_FIELDS.items() if self.total_requests and offered.isdisjoint(fields)}
        numbers = zip(SLOT, told, strict=True)
        slot.slots = {self.start_ms: tuple(None if name in unknown else number for name, number in numbers)}
        return slot

    @property
    def top_paths_error(self) -> int:
        """A path's count lacks at most this many requests; 0 where exact."""
        return self.paths.error

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory: mostly its paths, then names and sketches."""
        names = sum(sys.getsizeof(name) + _NAME_BYTES for counts in self.counts.values() for name in counts)
        hashes = self.unique_paths.hashes.nbytes + self.unique_agents.hashes.nbytes + self.unique_edges.hashes.nbytes
        hashes += self.origins.nbytes + (0 if self.classified is None else self.classified.nbytes)
        names += sum(sys.getsizeof(n) + _NAME_BYTES for t in (self.referrers, self.path_groups) for n in t.counts)
        buckets = sum(times.buckets.nbytes for times in (self.time_taken, self.ttfb, self.origin))
        return _FIXED_BYTES + self.paths.size_bytes + names + hashes + buckets

    @property
    def shrinkable(self) -> bool:
        """Whether `shrink` may find something to cut."""
        return self.paths.shrinkable

    def shrink(self) -> bool:
        """Take the bounded form: only the most frequent paths, with what they lack in `paths.error`; all other
        numbers stay what they are. False if nothing was cut."""
        return self.paths.shrink()

    def finish(self) -> None:
        """Nothing is added any more to a window of input that ends, which may hold more names until then."""
        self.counts = {kind: merged_counts([counts]) for kind, counts in self.counts.items()}
        self.referrers.finish()
        self.path_groups.finish()

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
            result.origin.merge(window.origin)
            result.older |= window.older
            result.rules |= window.rules
            result.unclassified += window.unclassified
            result.unnamed += window.unnamed
            result.page_views += window.page_views
            result.slots.update(window.slots)
            for name, (requests, size, ai) in window.bots.items():
                result.add_bot(name, requests, size, bool(ai))
            if same_time and window.minutes is not None:
                result.add_minutes(window.minutes)
        result.counts = {kind: merged_counts([window.counts[kind] for window in windows]) for kind in COUNTED}
        result.unique_paths = Distinct.merged([window.unique_paths for window in windows])
        result.unique_agents = Distinct.merged([window.unique_agents for window in windows])
        result.unique_edges = Distinct.merged([window.unique_edges for window in windows])
        result.paths = Path_Table.merged([window.paths for window in windows])
        origins = sorted_distinct(np.concatenate([window.origins for window in windows]))
        result.origins = origins[:DISTINCT_EXACT]
        result.referrers = Names.merged([window.referrers for window in windows])
        result.path_groups = Names.merged([window.path_groups for window in windows])
        return result

    def to_bytes(self, in_order: bool = True) -> bytes:
        """Equal windows give equal bytes. in_order: else the paths come as they lie, for who takes them in at once."""
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
                self.paths.content(in_order),
                None if self.minutes is None else [[big(n) for n in row] for row in self.minutes],
                self.older,
                sorted(self.rules),
                [[name, requests, big(size), ai] for name, (requests, size, ai) in sorted(self.bots.items())],
                None if self.classified is None else raw(self.classified),
                self.unclassified,
                raw(self.origins),
                self.unnamed,
                self.page_views,
                self.origin.content(),
                self.referrers.content(),
                self.path_groups.content(),
                [[start_ms, *(n and big(n) for n in slot)] for start_ms, slot in sorted(self.slots.items())],
            ],
        )

    @classmethod
    def from_bytes(cls, data: bytes, key: str = "", in_order: bool = True) -> Self:
        """in_order: as in `to_bytes`. Raises Corrupt_State, Unknown_Version."""
        content: list[Any] = unpack(KIND, data, key)
        window = cls(content[0])
        window.fields, window.total_requests = content[1], content[2]
        window.total_bytes = unbig(content[3])
        window.duplicate_records, window.late_records, window.invalid_records = content[4:7]
        window.counts |= {kind: dict(pairs) for kind, pairs in zip(COUNTED, content[7], strict=False)}
        window.unique_paths, window.unique_agents, window.unique_edges = (Distinct(unraw(h)) for h in content[8])
        window.time_taken = Durations.from_content(content[9])
        window.ttfb = Durations.from_content(content[10])
        window.paths = Path_Table.from_content(content[11], in_order)
        window.minutes = None if content[12] is None else [[unbig(n) for n in row] for row in content[12]]
        window.older = len(content) == FIELDS_AT_FIRST
        if not window.older:
            window._restore_later(content[FIELDS_AT_FIRST:])
        return window

    def _restore_later(self, content: list[Any]) -> None:
        self.older, rules, bots, classified, self.unclassified, origins, self.unnamed, *rest = content
        self.page_views, origin, *names, slots = rest
        self.origins = unraw(origins)
        self.rules = frozenset(rules)
        self.bots = {name: [requests, unbig(size), ai] for name, requests, size, ai in bots}
        self.classified = None if classified is None else unraw(classified)
        self.origin = Durations.from_content(origin)
        self.referrers, self.path_groups = map(Names.from_content, names)
        self.slots = {start_ms: tuple(n if n is None else unbig(n) for n in slot) for start_ms, *slot in slots}
