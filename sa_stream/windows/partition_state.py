"""What one partition knows after record n: its clocks, the ids that came lately, its open windows, its counters.

Everything but the published watermark and the coverage is a function of the partition's records up to n. It depends
neither on batches nor on anybody's clock, so whoever computes it again gets the same bytes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Self

import numpy as np
from msgspec import Struct, field

from sa_stream.format import pack, unpack
from sa_stream.partitions import NOTHING_READ, Partial_Name
from sa_stream.records.columns import REASONS, TOO_LATE, Bools, Columns, Dropped, Int64s
from sa_stream.records.hashing import hash_of
from sa_stream.records.intake import Intake
from sa_stream.timing import BEGINNING_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Timing, month_of
from sa_stream.windows.coverage import ASIDE, MONTH, PARTIAL, RETENTION, SECRET, First_Start, Loss
from sa_stream.windows.fold import Hashed, Part, fold, hash_columns, parted
from sa_stream.windows.ids import Recent_Ids
from sa_stream.windows.summaries import distinct
from sa_stream.windows.traffic import Traffic, traffic_of
from sa_stream.windows.window import Window

KIND = "partition"
CONTENT_FIELDS = 12  # of version 1; what came later has defaults
RETENTION_GAPS = "retention_gaps"  # counter: how often records may have been lost
GONE = "gone"  # counter: the stream had forgotten the shard before it was read to its end
SET_ASIDE_RECORDS = "set_aside_records"  # counter: records that were passed over unread
ID_MONTHS = 2  # the newest, of which ids within the horizon of duplicates may be though no window is left
SECRETS_DIFFER = -1  # a tag that no secret has


class Placed(Struct, frozen=True):
    """Records, and what follows from their times.

    starts  the window of each (start in ms); `moves`: how far each moves the watermark (ms)
    """

    columns: Columns
    starts: Int64s
    moves: Int64s


class Verdicts(Struct, frozen=True):
    """What becomes of each record.

    starts     the window it belongs to (start in ms)
    in_time    it counts; `late`: its window had ended before it came; `duplicate`: its id was seen (None: of none)
    """

    starts: Int64s
    in_time: Bools
    late: Bools
    duplicate: Bools | None


class Shrunk(Enum):
    """What became of a window that was to take less memory, in a sentence's end."""

    DROPPED = "leaves memory"
    BOUNDED = "keeps its top paths"


class Partition_State(Struct):
    """State of one partition.

    number             of the last record; `partials` names the partial of every window that has one; `windows` holds
                       those in memory; `touched` the number of the last record that touched each since the last commit
    position_ms        up to this arrival time, all has been read
    began_ms           at its very beginning: what arrived later was its own to read, and no ancestor's
    amendable_from_ms  windows that start before it are too late, for ever: what a partition forgot, no setting makes
                       it begin anew
    followed           parents from whose last snapshots it began
    settings           what decides the content of a window, besides records: another value needs another lineage
    secret_tags        month -> a few bits that tell its hash secret from another
    first_start        until the first record is read, if that settles what is vouched for
    first_vouched      vouch for nothing before the first record that is read now: what was read before is lost
    losses, traffic    what was lost, and what was counted, and nobody was told yet; not stored
    """

    partition: str
    lineage: str
    timing: Timing
    parents: tuple[str, ...] = ()
    number: str = NOTHING_READ
    record_watermark_ms: int = BEGINNING_MS
    newest_arrival_ms: int = BEGINNING_MS
    published_watermark_ms: int = BEGINNING_MS
    since_ms: int = NEVER_MS
    position_ms: int = BEGINNING_MS
    began_ms: int = BEGINNING_MS
    amendable_from_ms: int = BEGINNING_MS
    followed: tuple[str, ...] = ()
    settings: str = ""
    secret_tags: dict[str, int] = field(default_factory=dict)
    first_start: First_Start | None = None
    first_vouched: bool = False
    losses: list[Loss] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Counter)
    ids: Recent_Ids = field(default_factory=lambda: Recent_Ids(horizon_minutes=0))
    counters: dict[str, int] = field(default_factory=dict)
    partials: dict[int, Partial_Name] = field(default_factory=dict)
    windows: dict[int, Window] = field(default_factory=dict)
    touched: dict[int, str] = field(default_factory=dict)
    committed_number: str = ""  # of the last commit in this process or its snapshot; empty before the first
    committed_lineage: str = ""

    def __post_init__(self) -> None:
        self.ids.horizon = self.timing.dedupe_horizon_minutes

    # ------------------------------------------------------------------ records

    def placed(self, columns: Columns) -> Placed:
        moves = np.minimum(columns.event_ms, columns.arrival_ms) - self.timing.out_of_orderness_ms
        return Placed(columns, columns.event_ms // WINDOW_MS * WINDOW_MS, moves)

    def starts(self, placed: Placed) -> list[int]:
        """Starts of all windows that these records may touch, ascending."""
        columns, starts = placed.columns, placed.starts
        newest = max(self.record_watermark_ms, int(placed.moves.max(initial=BEGINNING_MS)))
        closed = starts < self.amendable_from_ms
        lateness = WINDOW_MS + self.timing.allowed_lateness_ms
        arrived = [
            columns.arrival_ms[(starts + lateness <= newest) | closed],  # may be too late
            columns.payload_arrivals_ms[columns.dropped.payload],
        ]
        counted = (
            start for each in arrived for start in distinct(each // WINDOW_MS * WINDOW_MS) if start >= self._closed_ms
        )
        return sorted({*distinct(starts[(starts + lateness > self.record_watermark_ms) & ~closed]), *counted})

    @property
    def _closed_ms(self) -> int:
        """What starts before it is another stream's, or of a month that is closed: not even what is dropped is counted
        there, as a partial with nothing else in it would take the place of the one that an entry lists. Of what the
        records' own clock has closed this says nothing: none arrives there, and where batches end must not count."""
        by_records_ms = self.record_watermark_ms - WINDOW_MS - self.timing.allowed_lateness_ms + 1
        return self.amendable_from_ms if self.amendable_from_ms > by_records_ms else BEGINNING_MS

    def take(self, placed: Placed, numbers: Sequence[str], seeds: Mapping[str, int], intake: Intake) -> Dropped:
        """Take in records in their order, and return those that are in no aggregate.

        numbers  sequence number of each payload; seeds  hash secret of each month of the windows that `starts` gave
        """
        columns, starts, closed_ms = placed.columns, placed.starts, self._closed_ms
        running = np.maximum.accumulate(np.concatenate(([self.record_watermark_ms], placed.moves)))
        before, self.record_watermark_ms = running[:-1], int(running[-1])
        arrived = np.maximum.accumulate(np.concatenate(([self.newest_arrival_ms], columns.arrival_ms)))
        self.newest_arrival_ms = int(arrived[-1])
        lateness_ms = WINDOW_MS + self.timing.allowed_lateness_ms
        too_late = (starts + lateness_ms <= before) | (starts < self.amendable_from_ms)
        self.amendable_from_ms = max(self.amendable_from_ms, self.record_watermark_ms - lateness_ms + 1)
        in_time = ~too_late
        hashed = hash_columns(columns, starts, in_time, seeds)
        duplicate = self._duplicates(hashed, arrived[1:] // MINUTE_MS)

        dropped = columns.dropped
        if too_late.any():
            lost = Dropped.of(
                columns.payload[too_late], columns.line[too_late], TOO_LATE, columns.field_count[too_late]
            )
            dropped = Dropped.joined([dropped, lost])
        self._count_dropped(columns, dropped, numbers, intake.lists.mask, closed_ms)
        verdicts = Verdicts(starts, in_time, starts + WINDOW_MS <= before, duplicate)
        self._fold(columns, verdicts, numbers, seeds, intake)
        self.number = numbers[-1]
        self.position_ms = max(self.position_ms, int(columns.payload_arrivals_ms[-1]))
        self.published_watermark_ms = max(self.published_watermark_ms, self.record_watermark_ms)
        self._count("records", len(columns) + len(columns.dropped))
        return dropped

    def _duplicates(self, hashed: Hashed, minutes: Int64s) -> Bools | None:
        ids, known = hashed.request_ids, hashed.has_request_id
        if known.all():
            return self.ids.see(ids, minutes.astype(np.int32))
        found = self.ids.see(ids[known], minutes[known].astype(np.int32))
        if found is None:
            return None
        duplicate = np.zeros(len(ids), np.bool_)
        duplicate[known] = found
        return duplicate

    def _fold(
        self,
        columns: Columns,
        verdicts: Verdicts,
        numbers: Sequence[str],
        seeds: Mapping[str, int],
        intake: Intake,
    ) -> None:
        parts = []
        for start, rows in parted(verdicts.starts, verdicts.in_time):
            window = self._touch(start, numbers[int(columns.payload[rows[-1]])], intake.lists.mask)
            if verdicts.duplicate is not None:
                duplicate = verdicts.duplicate[rows]
                duplicates = int(np.count_nonzero(duplicate))
                window.duplicate_records += duplicates
                self._count("duplicates", duplicates)
                rows = rows[~duplicate]
            late_records = int(np.count_nonzero(verdicts.late[rows]))
            window.late_records += late_records
            self._count("late", late_records)
            self._count("aggregated", len(rows))
            parts.append(Part(window, rows, seeds[month_of(start)]))
        self.traffic.subtract(traffic_of(part.window for part in parts))
        fold(parts, columns, intake)
        self.traffic.update(traffic_of(part.window for part in parts))

    def _count_dropped(
        self, columns: Columns, dropped: Dropped, numbers: Sequence[str], fields: int, closed_ms: int
    ) -> None:
        """Dropped records are counted, and belong to the window in which they arrived, unless that is closed."""
        if not len(dropped):
            return
        for reason, number in zip(*np.unique(dropped.reason, return_counts=True), strict=True):
            self._count(REASONS[reason], int(number))
        arrival_starts = columns.payload_arrivals_ms[dropped.payload] // WINDOW_MS * WINDOW_MS
        for start in distinct(arrival_starts[arrival_starts >= closed_ms]):
            rows = np.flatnonzero(arrival_starts == start)
            window = self._touch(start, numbers[int(dropped.payload[rows].max())], fields)
            window.invalid_records += len(rows)

    def _touch(self, start: int, number: str, fields: int) -> Window:
        window = self.windows.get(start)
        if window is None:
            window = self.windows[start] = Window(start)
        window.fields |= fields
        if start not in self.touched or int(number) > int(self.touched[start]):
            self.touched[start] = number
        return window

    def _count(self, name: str, number: int) -> None:
        if number:
            self.counters[name] = self.counters.get(name, 0) + number

    # ------------------------------------------------------------------ time

    def tip_was_empty(self, not_fetched_before_ms: int) -> None:
        """An empty answer at the tip of the stream: nothing arrived before this time, by the source's clock, that has
        not been read. So what was vouched for at the start was right."""
        if not not_fetched_before_ms:
            return
        self.first_vouched = False
        self.position_ms = max(self.position_ms, not_fetched_before_ms)
        watermark_ms = not_fetched_before_ms - self.timing.out_of_orderness_ms - self.timing.idle_margin_ms
        self.published_watermark_ms = max(self.published_watermark_ms, watermark_ms)

    def first_records(self, arrival_ms: int) -> None:
        """The first record since the start, before it is taken in, settles what is vouched for."""
        if self.first_start is not None:
            self.since_ms = self.first_start.since_first_ms(arrival_ms, self.timing.coverage_margin_ms)
        if self.first_vouched:  # whatever our clock said at the start
            self.since_ms = max(self.since_ms, arrival_ms)
        if self.first_start is not None or self.first_vouched:  # a backlog that is older than where the start stood
            self.position_ms = min(self.position_ms, arrival_ms)
        self.first_start, self.first_vouched = None, False

    def may_have_lost_records(self, now_ms: int, position_ms: int) -> bool:
        """Whether records that arrived after `position_ms` may be gone from the stream by now."""
        return position_ms < self.timing.vouch_from_ms(now_ms)

    def lose(self, now_ms: int, lineage: str) -> None:
        """Records are gone, or may be: vouch only for what the stream still had, in a new lineage."""
        oldest_kept_ms = self.timing.vouch_from_ms(now_ms)
        self.start_anew(oldest_kept_ms, lineage, RETENTION)
        self.position_ms = max(self.position_ms, oldest_kept_ms)

    def is_gone(self, now_ms: int, lineage: str) -> None:
        """The stream does not know the shard any more: whatever was left of it is lost, however far back that was. It
        was closed before what the stream still keeps, so none of its records is younger than that."""
        self.lose(now_ms, lineage)
        self.counters[GONE] = 1
        self.position_ms = min(self.position_ms, self.timing.kept_from_ms(now_ms))

    def start_anew(self, since_ms: int, lineage: str, kind: str) -> None:
        """Vouch only for what comes after a time, in a new lineage."""
        self._vouch_from(since_ms, lineage, kind)
        self._count(RETENTION_GAPS, 1)

    def lose_window(self, start: int, now_ms: int, lineage: str) -> None:
        """What was known of a window is gone: vouch for nothing of what was read so far. The records say when that was,
        as our clock may be wrong."""
        self.partials.pop(start, None)
        self.start_anew(max(now_ms, self.newest_arrival_ms + 1, start + 1), lineage, PARTIAL)

    def _vouch_from(self, since_ms: int, lineage: str, kind: str) -> None:
        self.since_ms = max(since_ms, BEGINNING_MS if self.since_ms == NEVER_MS else self.since_ms)
        self.lineage = lineage
        self.first_start = None
        self.losses.append(Loss(kind, self.since_ms))

    def read_with(self, settings: str, new_lineage: Callable[[], str]) -> None:
        """What decides the content of windows, besides their records. If it is not what it was, the partition goes on
        in a new lineage, as a key must name one content; what it covers stays as it is. So it does before records that
        the stream may trim at any moment: whoever goes on from here later gets fewer of them."""
        if (self.settings and settings != self.settings) or self._before_leftovers:
            self.lineage = new_lineage()
        self.settings = settings

    @property
    def _before_leftovers(self) -> bool:
        """Whether what comes next may be older than what the stream has to keep: `lose` has moved on our position, and
        no record has come to it."""
        return RETENTION_GAPS in self.counters and self.newest_arrival_ms < self.position_ms <= self.since_ms

    def close_until(self, end_ms: int, lineage: str) -> None:
        """Take no more records of windows that start before this time, and do not vouch for these. Where that is news,
        it is no function of the records alone: in a new lineage."""
        if end_ms > self.amendable_from_ms:
            self.amendable_from_ms, self.lineage = end_ms, lineage
            since_ms = end_ms - self.timing.coverage_margin_ms
            if self.since_ms < since_ms:
                self.since_ms = since_ms
                self.losses.append(Loss(MONTH, since_ms))
            self.first_start = None

    def knows_secret(self, month: str, tag: int) -> bool:
        """Whether a month's hashes here are made with this secret, as far as is known.

        A secret decides the content of windows, besides their records, so each has its own lineage: two that begin the
        same month with two secrets (the first was lost in between) do not put two contents under one key. Its name
        follows from all secrets that were met, in whatever order, so that who meets the same goes on in the same one.
        """
        if month not in self.secret_tags:
            self.secret_tags[month] = tag
            begun, _, met = self.lineage.partition(".")
            met_now = int(met or "0", 16) + hash_of(f"{month} {tag}", 0)
            self.lineage = f"{begun}.{met_now & 0xFFFFFFFF:08x}"
        return self.secret_tags[month] == tag

    def lose_secret(self, month: str, tag: int, now_ms: int, lineage: str) -> None:
        """Hashes of this month are made with another secret from now on: what came before cannot be told apart."""
        self.secret_tags[month] = tag
        self.start_anew(max(now_ms, self.newest_arrival_ms + 1), lineage, SECRET)

    def set_aside(self, numbers: Sequence[str], arrivals_ms: Sequence[int], lineage: str) -> None:
        """Pass over records unread: they may belong to any window up to the time at which they came, so vouch only for
        what comes after it, in a new lineage."""
        self._vouch_from(max(arrivals_ms) + 1, lineage, ASIDE)
        self.number = numbers[-1]
        self.position_ms = max(self.position_ms, arrivals_ms[-1])
        self._count(SET_ASIDE_RECORDS, len(numbers))

    # ------------------------------------------------------------------ memory

    def evict(self) -> int:
        """Drop every window that no record has touched since its partial was put; how many. `load_steps` brings back
        what a record touches. Not between loading and `take`."""
        clean = [start for start in self.windows if start not in self.touched]
        for start in clean:
            del self.windows[start]
        return len(clean)

    def shrink(self, start: int, lineage: str) -> Shrunk | None:
        """Take less memory for a window; None if nothing was gained. Not between loading and `take`, nor in a commit.

        An untouched one is dropped, as its partial has it all. A touched one takes its bounded form, and is then no
        function of the records alone any more: the partition goes on in a new lineage, so that no key gets two
        contents. What it covers stays as it is. Its number has grown since the last commit (a record touched the
        window), so the next commit is an ordinary one, with a checkpoint that is fenced.
        """
        if start in self.windows and start not in self.touched:
            del self.windows[start]
            return Shrunk.DROPPED
        if start not in self.windows or not self.windows[start].shrink():
            return None
        self.lineage = lineage
        self._count("shrunk_windows", 1)
        return Shrunk.BOUNDED

    def closed_windows(self) -> list[int]:
        """Windows in memory that have ended here: they may leave memory once their partials are committed."""
        return [start for start in self.windows if start + WINDOW_MS <= self.published_watermark_ms]

    # ------------------------------------------------------------------ storage

    def to_bytes(self) -> bytes:
        """Everything but the windows, which have partials of their own. Equal states give equal bytes."""
        # those of the ids too: a child has ids of its parents before it has a window
        months = {month_of(start) for start in self.partials}.union(sorted(self.secret_tags)[-ID_MONTHS:])
        return pack(
            KIND,
            [
                self.partition,
                self.lineage,
                list(self.parents),
                self.number,
                self.record_watermark_ms,
                self.newest_arrival_ms,
                self.published_watermark_ms,
                self.since_ms,
                self.position_ms,
                self.ids.content(self.newest_arrival_ms // MINUTE_MS),
                sorted(self.counters.items()),
                [[start, name.lineage, name.number] for start, name in sorted(self.partials.items())],
                self.began_ms,
                self.amendable_from_ms,
                list(self.followed),
                self.settings,
                sorted((month, tag) for month, tag in self.secret_tags.items() if month in months),
                self.first_vouched,
            ],
        )

    @classmethod
    def from_bytes(cls, data: bytes, timing: Timing, key: str = "") -> Self:
        """Raises Corrupt_State, Unknown_Version."""
        content: list[Any] = unpack(KIND, data, key)
        began_ms, amendable_from_ms, followed, settings, tags, first_vouched = content[CONTENT_FIELDS:] or (
            *(BEGINNING_MS, BEGINNING_MS, (), "", (), False),
        )
        return cls(
            partition=content[0],
            lineage=content[1],
            timing=timing,
            parents=tuple(content[2]),
            number=content[3],
            record_watermark_ms=content[4],
            newest_arrival_ms=content[5],
            published_watermark_ms=content[6],
            since_ms=content[7],
            position_ms=content[8],
            ids=Recent_Ids.from_content(timing.dedupe_horizon_minutes, [content[9]]),
            counters=dict(content[10]),
            partials={start: Partial_Name(lineage, number) for start, lineage, number in content[11]},
            began_ms=began_ms,
            amendable_from_ms=amendable_from_ms,
            followed=tuple(followed),
            settings=settings,
            secret_tags=dict(tags),
            first_vouched=first_vouched,
        )

    @classmethod
    def child_of(cls, partition: str, parents: Sequence[Self], lineage: str, timing: Timing) -> Self:
        """The state in which a child shard starts: what all its parents passed, covered and read, and all their ids."""
        position_ms = min(parent.position_ms for parent in parents)
        names = tuple(parent.partition for parent in parents)
        return cls(
            partition=partition,
            lineage=lineage,
            timing=timing,
            parents=names,
            followed=names,
            began_ms=max(parent.position_ms for parent in parents),  # one of them may have been read further
            amendable_from_ms=min(parent.amendable_from_ms for parent in parents),
            secret_tags=_tags_of(parents),
            record_watermark_ms=min(parent.record_watermark_ms for parent in parents),
            newest_arrival_ms=min(parent.newest_arrival_ms for parent in parents),
            published_watermark_ms=min(parent.published_watermark_ms for parent in parents),
            since_ms=max(parent.since_ms for parent in parents),
            first_vouched=any(parent.first_vouched for parent in parents),
            position_ms=position_ms,
            ids=Recent_Ids.from_content(
                timing.dedupe_horizon_minutes,
                [parent.ids.content(parent.newest_arrival_ms // MINUTE_MS) for parent in parents],
            ),
        )


def _tags_of(parents: Sequence[Partition_State]) -> dict[str, int]:
    """The tags of the secrets that the parents' ids were made with. Where they differ one that no secret has, so that
    the first record of that month tells the loss: some of the ids will not be found again."""
    tags: dict[str, int] = {}
    for parent in parents:
        for month, tag in parent.secret_tags.items():
            tags[month] = tag if tags.get(month, tag) == tag else SECRETS_DIFFER
    return tags
