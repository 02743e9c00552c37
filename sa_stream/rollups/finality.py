"""When a half hour is final: shards and progress records come in; which partials make up a window, whether anything is
still to come, and who is missing, goes out. Pure; the rules are in docs/architecture.md.

Every rule says how far one shard is (a watermark) and from when on it lacks nothing (a coverage), so all rules are
worked out once for a set of progress records, and asking about a window then costs two comparisons.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from sa_stream.commits.progress import Progress
from sa_stream.partitions import NOTHING_READ, Partial_Name, Shard_Info
from sa_stream.timing import BEGINNING_MS, NEVER_MS, WINDOW_MS, Timing
from sa_stream.windows.partition_state import GONE, RETENTION_GAPS, SET_ASIDE_RECORDS

OPEN = "open"  # the window has not ended yet
LAGGING = "lagging"  # this partition has not passed the window's end
NOT_STARTED = "not-started"  # no worker has begun with this shard, and its parents have not passed the window
WAITING_FOR_CHILDREN = "waiting-for-children"  # the shard ended, and ListShards does not name its children yet
BEFORE_START = "before-start"  # the window lies before the first record that this partition could read
SET_ASIDE = "set-aside"  # records that may belong to it are in the dead letters, unread
NOT_COVERED = "not-covered"  # records of it may be lost: retention was shorter than a standstill
NO_FILES_YET = "no-files-yet"  # the archive is the source, and its files have not had time to land
UNREACHABLE = "unreachable"  # the stream does not answer
OLD_LIST = "old-list"  # ListShards answers from before this shard was made, so there may be others that it lacks

type Sources = tuple[tuple[str, Partial_Name], ...]


class Missing(Struct, frozen=True):
    """A partition without which a window is not final, and why."""

    partition: str
    reason: str


class Window_View(Struct, frozen=True):
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


class Stream_View:
    """All windows at one moment: every shard that ListShards or a progress record knows, and how far each is.

    progress  partition -> the highest of its progress records, or its tombstone
    now_ms    by the source's clock: tells windows that are still open from those that a shard is late for
    answers   whether the stream's list is of now; if not, nothing has passed by it
    archive_from_ms  there is no stream: the files of the archive are the source, from then on; None: there is one
    """

    def __init__(
        self,
        shards: Iterable[Shard_Info],
        progress: Mapping[str, Progress],
        timing: Timing,
        now_ms: int,
        *,
        answers: bool = True,
        archive_from_ms: int | None = None,
    ) -> None:
        self.retired = {partition: own for partition, own in progress.items() if own.retired}
        living = {partition: own for partition, own in progress.items() if not own.retired}
        self._lost = self._lost_parents(living)
        self.progress = {partition: own for partition, own in living.items() if partition not in self._lost}
        self.timing = timing
        self.now_ms = now_ms
        self.archive_from_ms = archive_from_ms
        self.any_listed = False
        self._listed: dict[str, Shard_Info] = {}
        for shard in shards:
            self.any_listed = True
            if shard.shard_id not in self.retired:  # the stream may list it for a while yet
                self._listed[shard.shard_id] = shard
        self.merge_set = sorted(self._listed.keys() | self.progress.keys())
        self.named = {window_ms for own in self.progress.values() for window_ms in own.partials}  # by some partition
        self._parents = {partition: self._parents_of(partition) for partition in self.merge_set}
        self._children: dict[str, list[str]] = {partition: [] for partition in self.merge_set}
        for partition, parents in self._parents.items():
            for parent in parents:
                self._children[parent].append(partition)
        self._newest_position_ms = max((own.position_ms for own in self.progress.values()), default=BEGINNING_MS)
        self._watermarks: dict[str, int] = {}
        self._passes: dict[str, int] = {}
        self._sinces: dict[str, int] = {}
        self._consumed_below: dict[str, bool] = {}
        self._unlisted = [partition for partition in self.merge_set if self._proves_the_list_old(partition)]
        self.passed_ms = min((self._passes_ms(partition) for partition in self.merge_set), default=BEGINNING_MS)
        # Whatever else goes wrong: nothing has passed that is still to come, by the source's clock.
        self._clock_ms = max(now_ms, self._newest_position_ms)
        self.passed_ms = min(self.passed_ms, self._clock_ms)
        self.answers, self.archive = answers, archive_from_ms is not None
        if self._unlisted or not answers:
            self.passed_ms = BEGINNING_MS
        if archive_from_ms is not None:  # what is older is computed from its files no more, but by a backfill
            self.passed_ms = max(now_ms - timing.allowed_lateness_ms - WINDOW_MS, archive_from_ms)
        sinces = [self._since_ms(partition) for partition in self.merge_set] or [NEVER_MS]
        self.since_ms = max([*sinces, *(own.since_ms for own in self.retired.values()), *self._lost.values()])

    def _parents_of(self, partition: str) -> list[str]:
        """Parents that are in the merge set. A trimmed parent whose records were all published is in neither list."""
        return [name for name in self._named_parents(partition) if name in self._listed or name in self.progress]

    def _named_parents(self, partition: str) -> list[str]:
        named: set[str] = set()
        if partition in self._listed:
            named.update(self._listed[partition].parents)
        if partition in self.progress:
            named.update(self.progress[partition].parents)
        return sorted(named)

    def _knows_parents(self, partition: str) -> bool:
        """Whether something is known of all parents of a shard that has not started. One of which nothing is may still
        be there, unread, and only this list lacks it."""
        return all(
            parent in self._listed or parent in self.progress or parent in self.retired or parent in self._lost
            for parent in self._named_parents(partition)
        )

    def children(self, partition: str) -> list[str]:
        return self._children[partition]

    def parents(self, partition: str) -> list[str]:
        return self._parents[partition]

    def listed(self, partition: str) -> bool:
        return partition in self._listed

    def skipped(self, partition: str) -> bool:
        """A closed shard that nobody consumed, while descendants of it are (the application started at LATEST)."""
        return (
            partition not in self.progress
            and partition in self._listed
            and self._listed[partition].closed
            and partition not in self._lost
            and self._is_consumed_below(partition)
        )

    @property
    def lost(self) -> list[str]:
        """Shards that have ended, and whose last progress record is gone or unreadable."""
        unreadable = [partition for partition, own in self.progress.items() if own.since_ms == NEVER_MS]
        return sorted([*self._lost, *(partition for partition in unreadable if self._is_over(partition))])

    def coverage_ms(self, partition: str) -> int:
        """From when on this partition, and what only it knows of others, vouches."""
        lost = [since_ms for parent, since_ms in self._lost.items() if parent in self.progress[partition].followed]
        return max([self._since_ms(partition), *lost])

    @property
    def settled_until_ms(self) -> int:
        """Nothing that a partition has not passed may be forgotten, whatever our clock says."""
        return min(self.now_ms, self.passed_ms)

    @property
    def amendable_from_ms(self) -> int:
        """No partition takes records of windows that start before this any more. One that never read a record has none
        to amend."""
        return min(
            (own.amendable_from_ms for own in self.progress.values() if not own.ended and own.number != NOTHING_READ),
            default=NEVER_MS,
        )

    def _is_consumed_below(self, partition: str) -> bool:
        if partition not in self._consumed_below:
            self._consumed_below[partition] = any(
                child in self.progress or self._is_consumed_below(child) for child in self._children[partition]
            )
        return self._consumed_below[partition]

    def _lost_parents(self, living: Mapping[str, Progress]) -> dict[str, int]:
        """Shards whose last progress record is gone or unreadable, since a child has begun from their end -> from when
        on that lacks nothing: all that arrived later was the child's to read."""
        lost: dict[str, int] = {}
        for own in living.values():
            for parent in own.followed:
                if parent not in self.retired and (parent not in living or not living[parent].ended):
                    lost[parent] = max(lost.get(parent, BEGINNING_MS), _vouches_from_ms(own))
        return lost

    def _is_over(self, partition: str) -> bool:
        """Whether others go on with its records: it has ended; or the stream has forgotten it before it was read to its
        end, as a child that somebody reads shows."""
        own = self.progress.get(partition)
        return own is not None and (own.ended or (partition not in self._listed and bool(self._consumed(partition))))

    def _consumed(self, partition: str) -> list[str]:
        return [child for child in self._children[partition] if child in self.progress]

    def _is_trimmed(self, partition: str) -> bool:
        """Whether the stream has trimmed an ended shard that is not listed, and by now what came after it too: it has
        said so, or the shard is that old. Not by our clock alone, which may be ahead."""
        if self.progress[partition].counters.get(GONE):
            return True
        clock_ms = min(self.now_ms, self._newest_position_ms)
        return self.progress[partition].position_ms + self.timing.retention_longest_ms < clock_ms

    def _proves_the_list_old(self, partition: str) -> bool:
        """Somebody reads this shard, or has, and the list does not know it, nor its children, which it would if it were
        trimmed: then it may lack others as well."""
        own = self.progress.get(partition)
        if own is None or partition in self._listed or self._children[partition]:
            return False
        return not own.ended or not self._is_trimmed(partition)

    def _watermark_ms(self, partition: str) -> int:
        """Own published watermark; of a shard that has not started, its parents', with which it will start."""
        if partition in self.progress:
            return self.progress[partition].watermark_ms
        if partition not in self._watermarks:
            parents = self._parents[partition] if self._knows_parents(partition) else []
            self._watermarks[partition] = min(map(self._watermark_ms, parents), default=BEGINNING_MS)
        return self._watermarks[partition]

    def _passes_ms(self, partition: str) -> int:
        """Windows that end at or before this are passed by the shard *and* by who goes on with its records: one that is
        over or skipped is as far as its children are. One that ended without a known child has passed nothing (a child
        may appear in ListShards only later, and may bring records of any window) but where it is long trimmed: then so
        were its children."""
        if partition not in self._passes:
            if self._is_over(partition) or self.skipped(partition) or partition in self._lost:
                alone_ms = BEGINNING_MS
                if partition in self.progress and partition not in self._listed and self._is_trimmed(partition):
                    alone_ms = NEVER_MS
                passes = min(map(self._passes_ms, self._children[partition]), default=alone_ms)
            else:
                passes = self._watermark_ms(partition)
            self._passes[partition] = passes
        return self._passes[partition]

    def _since_ms(self, partition: str) -> int:
        """Own coverage; of a skipped shard what its children cover (which must have a beginning: a child that lacks
        nothing of its own says nothing of a parent that was never read); of one that has not started its parents'."""
        if partition in self.progress:
            own = self.progress[partition]
            if own.ended or not self._is_over(partition):
                return own.since_ms
            # an unreadable record knows nothing; who went on knows from when on it did
            own_ms = BEGINNING_MS if own.since_ms == NEVER_MS else own.since_ms
            return max([own_ms, *(_vouches_from_ms(self.progress[child]) for child in self._consumed(partition))])
        if partition in self._lost:
            return self._lost[partition]
        if partition not in self._sinces:
            if self.skipped(partition):
                sinces = [self._since_below_ms(child) for child in self._children[partition]]
            else:
                sinces = [self._since_ms(parent) for parent in self._parents[partition]]
            self._sinces[partition] = max(sinces, default=NEVER_MS)
        return self._sinces[partition]

    def _since_below_ms(self, child: str) -> int:
        """What a child of a skipped shard covers of it."""
        known = child in self.progress or self.skipped(child)
        since_ms = self._since_ms(child) if known else NEVER_MS
        return NEVER_MS if since_ms == BEGINNING_MS else since_ms

    def _covers(self, since_ms: int, start_ms: int) -> bool:
        return since_ms == BEGINNING_MS or start_ms >= since_ms + self.timing.coverage_margin_ms

    def covers(self, window_ms: int) -> bool:
        """Whether nobody lacks records of a window that begins then."""
        return self._covers(self.since_ms, window_ms)

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
        elsewhere = {partition: own.since_ms for partition, own in self.retired.items()} | {
            partition: since_ms for partition, since_ms in self._lost.items() if partition not in self._listed
        }
        found += [
            Missing(partition, NOT_COVERED)
            for partition, since_ms in sorted(elsewhere.items())
            if not self._covers(since_ms, window_ms)
        ]
        return tuple(found) or (Missing("", self._why_nobody(window_ms)),)

    def _why_nobody(self, window_ms: int) -> str:
        """Why a window is not final for which no shard can be named."""
        if self.archive:
            return BEFORE_START if window_ms + WINDOW_MS <= self.passed_ms else NO_FILES_YET
        return NOT_STARTED if self.answers else UNREACHABLE

    def _why(self, partition: str, window_ms: int) -> str:
        own = self.progress.get(partition)
        if not self._covers(self._since_ms(partition), window_ms):
            if own is None:
                if partition in self._lost:
                    return NOT_COVERED
                return BEFORE_START if self.skipped(partition) else NOT_STARTED
            if own.counters.get(SET_ASIDE_RECORDS):
                return SET_ASIDE
            return NOT_COVERED if own.counters.get(RETENTION_GAPS) else BEFORE_START
        if partition in self._unlisted:
            return OLD_LIST
        end_ms = window_ms + WINDOW_MS
        if end_ms <= min(self._passes_ms(partition), self._clock_ms):
            return ""
        if self._children[partition] and (self._is_over(partition) or self.skipped(partition)):
            return ""
        if end_ms + self.timing.out_of_orderness_ms > self.now_ms:
            return OPEN
        if own is None:
            return NOT_STARTED
        return WAITING_FOR_CHILDREN if own.ended else LAGGING


def _vouches_from_ms(child: Progress) -> int:
    """From when on a child has all records of its parents' time: what arrived when it began was still theirs."""
    return child.began_ms if child.began_ms == BEGINNING_MS else child.began_ms + 1


def view(
    shards: Iterable[Shard_Info], progress: Mapping[str, Progress], window_ms: int, timing: Timing, now_ms: int
) -> Window_View:
    """What these shards and progress records say about one window."""
    return Stream_View(shards, progress, timing, now_ms).window(window_ms)
