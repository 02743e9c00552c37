"""One partition from batches to commits: joins what was read, loads what it needs, folds, and commits in time.

It holds no thread and no clock. Whoever drives it says what time it is (the time of day by the source's clock) and
makes the calls that its steps yield; while a step waits, the partition waits, which is all there is to backpressure.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from sa_stream.commits.operations import Steps, call
from sa_stream.commits.poison import Set_Aside
from sa_stream.commits.protocol import Checkpoint, commit_steps, is_overtaken_steps, load_steps, window_is_old
from sa_stream.commits.remains import Remains
from sa_stream.commits.segment import Segment
from sa_stream.commits.shared import Shared
from sa_stream.errors import Superseded
from sa_stream.native.packed import Packed_Payloads
from sa_stream.partitions import Batch
from sa_stream.records.columns import REASONS, Bools, Columns, Dropped, Int64s
from sa_stream.records.dead_letters import PER_MINUTE, Dead_Letter, Dead_Letters
from sa_stream.records.decoder import line_of, unpacked
from sa_stream.records.hashing import hash_of
from sa_stream.records.parser import Parser
from sa_stream.timing import BEGINNING_MS, WINDOW_MS, Moment, Now, end_of_month, month_of
from sa_stream.windows.fold import FOLD_ROWS
from sa_stream.windows.partition_state import Partition_State, Shrunk

FOLD_BYTES = 24_000_000  # payloads are joined up to about FOLD_ROWS or this
ON_TIME = (0, 0)
JOIN_MS = 1_000  # records wait as long for others to join them, unless whoever drives this has many partitions


class Partition_Consumer:
    """Feeds one Partition_State and commits it.

    checkpoint  checkpoint(number): raises Lease_Lost when somebody else owns the partition
    careful     fold and commit each batch by itself, after a failure; may be changed at any time
    folding     first and last number of the records that are being folded or committed. After a failure: those on which
                it happened; None if it happened on no record
    misfits     column -> how many records it did not fit, of those that cannot be of their list, since somebody asked
    """

    def __init__(self, shared: Shared, state: Partition_State, checkpoint: Checkpoint, now: Now) -> None:
        self.state = state
        self.careful = shared.poison.careful(state.partition)
        self.folding: tuple[str, str] | None = None
        self.last_commit = now
        self.misfits: Counter[str] = Counter()
        self._next_commit = now.moment + _first_interval_ms(state)
        self._shared = shared
        self._store = shared.store
        self._checkpoint = checkpoint
        self._intake = intake = shared.intake
        self._parser = Parser(intake.lists, state.timing.future_ms)
        self._secrets = shared.secrets
        self._new_lineage = shared.new_lineage
        state.read_with(intake.settings(state.timing), shared.new_lineage)
        self._remains = Remains.of(state)
        self._set_aside = shared.poison.set_aside(state.partition)
        self._dead_letters = Dead_Letters(keep_text=intake.keep_text)
        self._segments: list[Segment] = []
        self._last_received = int(state.number)
        self._last_delivered = 0  # on this connection; behind the former while known records are delivered again
        self._position_ms = state.position_ms  # of what was received, folded or not
        self._source_ms = BEGINNING_MS  # the source's clock was here or later
        self._read_late = ON_TIME  # since the last commit, farthest behind: the source's clock, and where reading stood
        self._committed_edge = self._edge()
        self._first_uncommitted = ""  # number of the first record folded since the last commit
        self._working = False  # while steps are under way

    # ------------------------------------------------------------------ in

    def receive(self, batch: Batch, now: Now) -> None:
        """Take in one read, in order; nothing is parsed before `work_steps`. Records that the state has seen (a
        redelivery) are skipped."""
        first = self._seen(batch.sequence_numbers)
        if first < len(batch.payloads) and (self.state.first_start is not None or self.state.first_vouched):
            self.state.first_records(batch.arrivals_ms[first])
            self._position_ms = self.state.position_ms
        # by the source's clock, where a record tells it: ours may be behind
        if batch.payloads:
            self._source_ms = max(self._source_ms, batch.arrivals_ms[-1] + (batch.millis_behind_latest or 0))
        self._source_ms = max(self._source_ms, now.wall_ms)
        if self._position_ms > BEGINNING_MS and self.state.may_have_lost_records(self._source_ms, self._position_ms):
            self._segments.append(Segment(now.moment, lost_at_ms=self._source_ms))
            self._position_ms = max(self._position_ms, self.state.timing.vouch_from_ms(self._source_ms))
        self._remember_lag()
        if batch.sequence_numbers:
            self._last_delivered = int(batch.sequence_numbers[-1])
        if first < len(batch.payloads):
            for begin, end, aside in self._pieces(batch.sequence_numbers, first):
                payloads = batch.payloads[begin:end]
                if aside is not None or not self._reads_as_they_come:
                    payloads = list(payloads)
                numbers = batch.sequence_numbers[begin:end]
                self.folding = numbers[0], numbers[-1]  # as some are read here
                self._open_segment(now, aside, payloads).add(payloads, batch.arrivals_ms[begin:end], numbers)
                self.folding = None
            self._last_received = int(batch.sequence_numbers[-1])
            self._position_ms = max(self._position_ms, batch.arrivals_ms[-1])
        elif not batch.payloads and batch.millis_behind_latest == 0:
            if not self._segments:
                self._segments.append(Segment(now.moment))
            self._segments[-1].tip = batch  # which says all that one before it did
            self._position_ms = max(self._position_ms, batch.not_fetched_before_ms)

    def _remember_lag(self) -> None:
        """The stream may have trimmed what came next, if its retention was shortened since we asked for it. It never
        takes what is younger than the shortest retention that there is."""
        if BEGINNING_MS < self._position_ms < self.state.timing.surely_kept_from_ms(self._source_ms):
            self._read_late = max(
                self._read_late, (self._source_ms, self._position_ms), key=lambda late: late[0] - late[1]
            )

    @property
    def _reads_as_they_come(self) -> bool:
        """Whether nobody asks for the text of records afterwards."""
        return not self.careful and not self._intake.keep_text

    def _open_segment(self, now: Now, aside: Set_Aside | None, payloads: Sequence[bytes]) -> Segment:
        """The last one if these may join it, else a new one."""
        reading = self._parser.reading() if isinstance(payloads, Packed_Payloads) else None
        if self._segments:
            last = self._segments[-1]
            settled = not self.state.first_vouched and self.state.first_start is None
            if last.tip is None or settled:  # what comes after a tip says as much
                if not last.records:
                    last.aside, last.reading, last.tip = aside, reading, None
                    return last
                joins = last.takes(payloads) or (last.reading is None and reading is None)
                if last.aside is aside and not self.careful and joins:
                    last.tip = None
                    return last
        self._segments.append(Segment(now.moment, aside=aside, reading=reading))
        return self._segments[-1]

    def _pieces(self, numbers: Sequence[str], first: int) -> Iterator[tuple[int, int, Set_Aside | None]]:
        """(begin, end, set aside?) of consecutive records that go together, from a place on."""
        for aside in self._set_aside:
            begin = bisect_left(numbers, aside.first, first, key=int)
            end = bisect_right(numbers, aside.last, begin, key=int)
            if begin < end:
                if first < begin:
                    yield first, begin, None
                yield begin, end, aside
                first = end
        if first < len(numbers):
            yield first, len(numbers), None

    def _seen(self, numbers: Sequence[str]) -> int:
        """How many of these ascending numbers were received before."""
        if not numbers or int(numbers[0]) > self._last_received:
            return 0
        return bisect_right(numbers, self._last_received, key=int)

    @property
    def received_to_ms(self) -> int:
        """Up to this arrival time, all was received, folded or not."""
        return self._position_ms

    # ------------------------------------------------------------------ work

    def due(self, now: Now, join_ms: int = JOIN_MS) -> bool:
        """Whether `work_steps` has something to do: enough rows, rows that waited so long for others, a tip, or a
        commit. More than JOIN_MS is only waited for what closes no window."""
        return self.commit_due(now) or any(
            (self.careful and segment.records)
            or segment.records >= FOLD_ROWS
            or segment.size_bytes >= FOLD_BYTES
            or now.moment - segment.since >= self._waits_ms(segment, join_ms)
            for segment in self._segments
        )

    def _waits_ms(self, segment: Segment, join_ms: int) -> int:
        """How long a segment may wait for more; a tip waits for nothing but others' turns."""
        if join_ms <= JOIN_MS or self._may_close(segment):
            return JOIN_MS if segment.tip is None else 0
        return join_ms

    def _may_close(self, segment: Segment) -> bool:
        """Whether it may bring the watermark past the end of the window in which that is."""
        timing, watermark_ms = self.state.timing, segment.last_arrival_ms
        if segment.tip is not None:
            watermark_ms = max(watermark_ms, segment.tip.not_fetched_before_ms - timing.idle_margin_ms)
        return watermark_ms - timing.out_of_orderness_ms >= (self._edge() + 1) * WINDOW_MS

    @property
    def waiting_bytes(self) -> int:
        """Of payloads that were received and not yet folded, about."""
        return sum(segment.size_bytes for segment in self._segments)

    def due_at(self, join_ms: int = JOIN_MS) -> Moment:
        """When `due` turns true by time alone."""
        commit_at = self._next_commit
        if not self._segments:
            return commit_at
        return min([commit_at, *(segment.since + self._waits_ms(segment, join_ms) for segment in self._segments)])

    def commit_due(self, now: Now) -> bool:
        """Every commit interval, and whenever a window has closed."""
        return now.moment >= self._next_commit or self._edge() != self._committed_edge

    def work_steps(self, now: Now) -> Steps[None]:
        """Fold what was received, and commit if it is time. Raises Superseded, Lease_Lost: this worker no longer owns
        the partition."""
        self._working = True
        yield from self._fold_steps(now)
        if self.commit_due(now):
            yield from self._commit_steps(now, ended=False)
        self._working = False

    def flush_steps(self, now: Now) -> Steps[None]:
        """Fold what was received and commit it: at a shutdown or before the partition goes to somebody else."""
        self._working = True
        yield from self._fold_steps(now)
        yield from self._commit_steps(now, ended=False)
        self._working = False

    def end_steps(self, now: Now, gone: bool = False) -> Steps[None]:
        """The shard has ended: everything was received that the stream still had. `gone`: the stream does not know it
        any more, so there may have been more."""
        self._working = True
        yield from self._fold_steps(now)
        self._source_ms = source_ms = max(self._source_ms, now.wall_ms)
        if gone:
            self.state.is_gone(source_ms, self._new_lineage())
        elif self.state.may_have_lost_records(source_ms, self.state.position_ms):
            self.state.lose(source_ms, self._new_lineage())
        else:
            self._remember_lag()
        yield from self._commit_steps(now, ended=True)
        self._working = False

    def _fold_steps(self, now: Now) -> Steps[None]:
        while self._segments:
            segment = self._segments.pop(0)
            if segment.lost_at_ms is not None:
                self.state.lose(segment.lost_at_ms, self._new_lineage())
            if segment.records:
                self.folding = segment.ends
                self._first_uncommitted = self._first_uncommitted or segment.ends[0]
                if segment.aside is not None:
                    yield from self._set_aside_steps(segment, segment.aside)
                else:
                    for columns in segment.portions(self._parser):
                        yield from self._take_steps(segment, columns, now)
                self.folding = None
            if segment.tip is not None:
                self.state.tip_was_empty(segment.tip.not_fetched_before_ms)
            if segment.records and self.careful:
                yield from self._commit_steps(now, ended=False)

    def _ask_steps(self) -> Steps[None]:
        """Ask how long the stream keeps its records by now, before what was read far behind its tip counts as all that
        there was."""
        (source_ms, position_ms), self._read_late = self._read_late, ON_TIME
        stream = self.state.timing.stream
        if source_ms > position_ms and stream is not None:
            yield call(stream.ask)
            if self.state.may_have_lost_records(source_ms, position_ms):
                self.state.lose(self._source_ms, self._new_lineage())

    def _set_aside_steps(self, segment: Segment, aside: Set_Aside) -> Steps[None]:
        """One letter for all of them, written before the commit that passes over them."""
        letter = self._dead_letters.set_aside(
            self.state.partition,
            segment.numbers,
            segment.arrivals_ms,
            aside.error,
            segment.payloads,
            self._intake.lists,
        )
        yield call(self._store.put, letter.key(), letter.to_json())
        self.state.set_aside(segment.numbers, segment.arrivals_ms, self._new_lineage())

    def _take_steps(self, segment: Segment, columns: Columns, now: Now) -> Steps[None]:
        placed = self.state.placed(columns)
        starts = self.state.starts(placed)
        months = sorted({month_of(start) for start in starts})
        yield from self._secrets.load_steps(months)
        for month in months:
            if month in self._secrets.destroyed:
                yield from self._close_steps(month)
                starts = self.state.starts(placed)
            elif not self.state.knows_secret(month, tag := self._secrets.tag(month)):
                self.state.lose_secret(month, tag, now.wall_ms, self._new_lineage())
        for start in (yield from load_steps(self._store, self.state, starts)):
            # a wrong number must never become final: vouch only for what comes now
            self.state.lose_window(start, now.wall_ms, self._new_lineage())
        dropped = self.state.take(placed, segment.numbers, self._secrets.seeds, self._intake)
        self.misfits += dropped.misfits
        yield from self._bury_steps(segment, columns, dropped)

    def _close_steps(self, month: str) -> Steps[None]:
        """A month whose secret was destroyed takes no more records: every partition had passed it for good. So if this
        one has not, somebody else has gone past us; or had, and could not go on, so that we know less than he did."""
        end_ms = end_of_month(month)
        if end_ms > self.state.amendable_from_ms and (yield from is_overtaken_steps(self._store, self.state)):
            raise Superseded(
                f"the secret of {month} is destroyed, and {self.state.partition} still has records of it: another "
                "worker has moved past this one"
            )
        self.state.close_until(end_ms, self._new_lineage())

    def _bury_steps(self, segment: Segment, columns: Columns, dropped: Dropped) -> Steps[None]:
        """Dead letters are written before the commit that passes over their records."""
        kept = _first_of_each(dropped.payload, PER_MINUTE)  # one payload may have millions

        @lru_cache(maxsize=1)  # the lines of one payload follow each other
        def content_of(payload: int) -> bytes:
            return unpacked(segment.payloads[payload])

        for payload, line, reason, field_count in zip(
            dropped.payload[kept].tolist(),
            dropped.line[kept].tolist(),
            dropped.reason[kept].tolist(),
            dropped.field_count[kept].tolist(),
            strict=True,
        ):
            arrival_ms = int(columns.payload_arrivals_ms[payload])
            number = segment.numbers[payload]
            self._dead_letters.add(
                Dead_Letter(self.state.partition, number, line, REASONS[reason], field_count, arrival_ms),
                line_of(content_of(payload), line) if self._intake.keep_text else b"",
                self._intake.lists.by_count.get(field_count),
            )
        for letter in self._dead_letters.take():
            yield call(self._store.put, letter.key(), letter.to_json())

    def _commit_steps(self, now: Now, ended: bool) -> Steps[None]:
        yield from self._ask_steps()
        if self._first_uncommitted:
            self.folding = self._first_uncommitted, self.state.number
        prunable = []
        for start, name in list(self.state.partials.items()):
            old = window_is_old(self.state, start) and start not in self.state.touched
            if old and (yield call(self._shared.published, self.state.partition, start, name)):
                prunable.append(start)
        redelivered = self._last_delivered >= int(self.state.number)
        yield from commit_steps(self.state, self._store, self._checkpoint, self._remains, ended, prunable, redelivered)
        self.last_commit = now
        if now.moment >= self._next_commit:  # a window's end brings all partitions together, and they part again
            self._next_commit = now.moment + self.state.timing.commit_interval_ms
        self._committed_edge = self._edge()
        self._first_uncommitted, self.folding = "", None

    # ------------------------------------------------------------------ memory

    def largest_window(self) -> tuple[int, int] | None:
        """(bytes, start in ms) of the largest window for which `shrink` may gain something; None if there is none, or
        while steps are under way."""
        if self._working:
            return None
        return max(
            (
                (window.size_bytes, start)
                for start, window in self.state.windows.items()
                if start not in self.state.touched or window.shrinkable
            ),
            default=None,
        )

    def shrink(self, start_ms: int) -> Shrunk | None:
        """Take less memory for a window (Partition_State.shrink); None if nothing was gained, or while steps are under
        way."""
        return None if self._working else self.state.shrink(start_ms, self._new_lineage())

    def evict(self) -> int:
        """Drop the windows whose partials are up to date from memory, after a commit all of them; how many. Nothing
        while steps are under way."""
        return 0 if self._working else self.state.evict()

    def _edge(self) -> int:
        return self.state.published_watermark_ms // WINDOW_MS


def _first_interval_ms(state: Partition_State) -> int:
    """Until a partition's first commit: another part of the interval for each, so that those which start together do
    not go on committing together."""
    interval_ms = state.timing.commit_interval_ms
    return interval_ms - hash_of(state.partition, 0) % max(1, interval_ms // 2)


def _first_of_each(values: Int64s, number: int) -> Bools:
    """Which elements are among the first so many of their value."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    places = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    kept = np.empty(len(values), np.bool_)
    kept[order] = places < number
    return kept
