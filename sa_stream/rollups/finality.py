"""When a half hour is final: shards and progress records come in; which partials make up a window, whether anything is
still to come, and who is missing, goes out. Pure; the rules are in docs/architecture.md.

Every rule says how far one shard is (a watermark) and from when on it lacks nothing (a coverage), so all rules are
worked out once for a set of progress records, and asking about a window then costs two comparisons.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sa_stream.commits.progress import Partial_Name, Progress, Shard_Info
from sa_stream.timing import BEGINNING_MS, NEVER_MS, WINDOW_MS, Timing
from sa_stream.windows.partition import RETENTION_GAPS, SET_ASIDE_RECORDS

OPEN = "open"  # the window has not ended yet
LAGGING = "lagging"  # this partition has not passed the window's end
NOT_STARTED = "not-started"  # no worker has begun with this shard, and its parents have not passed the window
WAITING_FOR_CHILDREN = "waiting-for-children"  # the shard ended, and ListShards does not name its children yet
BEFORE_START = "before-start"  # the window lies before the first record that this partition could read
SET_ASIDE = "set-aside"  # records that may belong to it are in the dead letters, unread
NOT_COVERED = "not-covered"  # records of it may be lost: retention was shorter than a standstill

type Sources = tuple[tuple[str, Partial_Name], ...]


@dataclass(slots=True, frozen=True)
class Missing:
    """A partition without which a window is not final, and why."""

    partition: str
    reason: str


@dataclass(slots=True, frozen=True)
class Window_View:
    """What the progress records say about one window.

    sources  every partition that names a partial of it, sorted
    passed   every shard of the merge set has passed its end
    covered  none of them lacks records of it
    missing  why it is not final; empty exactly if it is
    """

    sources: Sources
    passed: bool
    covered: bool
    missing: tuple[Missing, ...]

    @property
    def final(self) -> bool:
        return self.passed and self.covered

    @property
    def final_zero(self) -> bool:
        """Nobody has a record of it and nobody will: it counts as final and has no entry."""
        return self.final and not self.sources


class Stream_View:
    """All windows at one moment: every shard that ListShards or a progress record knows, and how far each is.

    progress  partition -> the highest of its progress records
    now_ms    tells windows that are still open from those that a shard is late for; decides nothing else
    """

    def __init__(
        self, shards: Iterable[Shard_Info], progress: Mapping[str, Progress], timing: Timing, now_ms: int
    ) -> None:
        self.progress = progress
        self.timing = timing
        self.now_ms = now_ms
        self._listed = {shard.shard_id: shard for shard in shards}
        self.merge_set = sorted(self._listed.keys() | progress.keys())
        self.named = {window_ms for own in progress.values() for window_ms in own.partials}  # by some partition
        self._parents = {partition: self._parents_of(partition) for partition in self.merge_set}
        self._children: dict[str, list[str]] = {partition: [] for partition in self.merge_set}
        for partition, parents in self._parents.items():
            for parent in parents:
                self._children[parent].append(partition)
        self._watermarks: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._sinces: dict[str, int] = {}
        self.passed_ms = min((self._passes_ms(partition) for partition in self.merge_set), default=BEGINNING_MS)
        self.since_ms = max((self._since_ms(partition) for partition in self.merge_set), default=NEVER_MS)

    def _parents_of(self, partition: str) -> list[str]:
        """Parents that are in the merge set. A trimmed parent whose records were all published is in neither list."""
        named: set[str] = set()
        if partition in self._listed:
            named.update(self._listed[partition].parents)
        if partition in self.progress:
            named.update(self.progress[partition].parents)
        return sorted(name for name in named if name in self._listed or name in self.progress)

    def children(self, partition: str) -> list[str]:
        return self._children[partition]

    def parents(self, partition: str) -> list[str]:
        return self._parents[partition]

    @property
    def any_listed(self) -> bool:
        return bool(self._listed)

    def listed(self, partition: str) -> bool:
        return partition in self._listed

    def _skipped(self, partition: str) -> bool:
        """A closed shard that nobody consumed, while its children are (the application started at LATEST)."""
        return (
            partition not in self.progress
            and partition in self._listed
            and self._listed[partition].closed
            and any(child in self.progress for child in self._children[partition])
        )

    def _watermark_ms(self, partition: str) -> int:
        """Own published watermark; of a shard that has not started, its parents', with which it will start."""
        if partition in self.progress:
            return self.progress[partition].watermark_ms
        if partition not in self._watermarks:
            parents = self._parents[partition]
            self._watermarks[partition] = min(map(self._watermark_ms, parents), default=BEGINNING_MS)
        return self._watermarks[partition]

    def _passes_ms(self, partition: str) -> int:
        """Windows that end at or before this are passed by the shard *and* by who goes on with its records: an ended
        or skipped shard is as far as its children are. An ended one without a known child has passed nothing: a child
        may appear in ListShards only later, and may bring records of any window."""
        if partition not in self._passes:
            own = self.progress.get(partition)
            if (own is not None and own.ended) or self._skipped(partition):
                passes = min(map(self._passes_ms, self._children[partition]), default=BEGINNING_MS)
            else:
                passes = self._watermark_ms(partition)
            self._passes[partition] = passes
        return self._passes[partition]

    def _since_ms(self, partition: str) -> int:
        """Own coverage; of a skipped shard what its children cover (which must have a beginning: a child that lacks
        nothing of its own says nothing of a parent that was never read); of one that has not started its parents'."""
        if partition in self.progress:
            return self.progress[partition].since_ms
        if partition not in self._sinces:
            if self._skipped(partition):
                children = [self.progress.get(child) for child in self._children[partition]]
                sinces = [NEVER_MS if c is None or c.since_ms == BEGINNING_MS else c.since_ms for c in children]
            else:
                sinces = [self._since_ms(parent) for parent in self._parents[partition]]
            self._sinces[partition] = max(sinces, default=NEVER_MS)
        return self._sinces[partition]

    def _covers(self, since_ms: int, start_ms: int) -> bool:
        return since_ms == BEGINNING_MS or start_ms >= since_ms + self.timing.coverage_margin_ms

    def sources(self, window_ms: int) -> Sources:
        named = ((partition, self.progress[partition].partials.get(window_ms)) for partition in sorted(self.progress))
        return tuple((partition, name) for partition, name in named if name is not None)

    def window(self, window_ms: int) -> Window_View:
        end_ms = window_ms + WINDOW_MS
        passed = bool(self.merge_set) and end_ms <= self.passed_ms
        covered = bool(self.merge_set) and self._covers(self.since_ms, window_ms)
        missing = () if passed and covered else self._missing(window_ms)
        return Window_View(self.sources(window_ms), passed, covered, missing)

    def span_reason(self, start_ms: int, end_ms: int) -> str:
        """Why a stretch of time without any entry is not final yet; '' if it is (all of it passed and covered)."""
        if self.merge_set and end_ms <= self.passed_ms and self._covers(self.since_ms, start_ms):
            return ""
        if end_ms > self.now_ms:
            return OPEN
        return next(
            missing.reason
            for window_ms in range(start_ms, end_ms, WINDOW_MS)
            for missing in self.window(window_ms).missing
        )

    def _missing(self, window_ms: int) -> tuple[Missing, ...]:
        """Who stands in the way by itself: a shard that only waits for its children is not named, they are."""
        found = [
            Missing(partition, reason) for partition in self.merge_set if (reason := self._why(partition, window_ms))
        ]
        return tuple(found) or (Missing("", NOT_STARTED),)  # no shard is known at all

    def _why(self, partition: str, window_ms: int) -> str:
        own = self.progress.get(partition)
        if not self._covers(self._since_ms(partition), window_ms):
            if own is None and not self._skipped(partition):
                return NOT_STARTED
            counters = own.counters if own is not None else {}
            if counters.get(SET_ASIDE_RECORDS):
                return SET_ASIDE
            return NOT_COVERED if counters.get(RETENTION_GAPS) else BEFORE_START
        end_ms = window_ms + WINDOW_MS
        if end_ms <= self._passes_ms(partition):
            return ""
        if self._children[partition] and ((own is not None and own.ended) or self._skipped(partition)):
            return ""
        if end_ms + self.timing.out_of_orderness_ms > self.now_ms:
            return OPEN
        if own is None:
            return NOT_STARTED
        return WAITING_FOR_CHILDREN if own.ended else LAGGING


def view(
    shards: Iterable[Shard_Info], progress: Mapping[str, Progress], window_ms: int, timing: Timing, now_ms: int
) -> Window_View:
    """What these shards and progress records say about one window."""
    return Stream_View(shards, progress, timing, now_ms).window(window_ms)
