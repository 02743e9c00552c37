"""What people hear of one partition: how its consumer stands comes in after every step, what health shows and the lines
of the log go out. Records that are in no number, and losses, are told once and not by chance."""

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Self

from msgspec import Struct

from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.errors import SA_Stream_Error, Store_Unavailable
from sa_stream.health.counts import NO_LABELS
from sa_stream.health.metrics import BYTES, CACHE_RESULTS, COMMIT_DURATION, INVALID_RECORDS, RECORDS, REQUESTS
from sa_stream.health.notebook import Health, Shard_Health
from sa_stream.log import DEAD_LETTERS, DUPLICATES, LOSS, MALFORMED, PARTITION_FAILED, WAITING, Log
from sa_stream.partitions import NOTHING_READ, Batch
from sa_stream.records.columns import REASONS
from sa_stream.timing import BEGINNING_MS, Moment, iso
from sa_stream.windows import traffic

log = Log("engine")

LOSS_TOLD_MS = 60_000  # of one kind and shard, not more often
MALFORMED_OF = 100  # so many records at least are judged together: is the configured field list theirs?
DUPLICATES_OF = 1_000  # and so many, to see whether most come again
# Counters; records from the future are another matter.
_MALFORMED = ("too_long", "fields", "timestamp", "status", "columns")
_DEAD_LETTERS = (*REASONS, "set_aside_records")
_INVALID = (*_MALFORMED, "future")


class _Latest(Struct):
    """How many of the latest records are odd in one way, from a partition's counters.

    records, odd  as of the last verdict
    """

    least: ClassVar[int]  # so many records are judged together
    counted: ClassVar[tuple[str, ...]]  # counters of odd ones

    records: int
    odd: int

    @classmethod
    def of(cls, counters: dict[str, int]) -> Self:
        return cls(counters.get("records", 0), sum(counters.get(name, 0) for name in cls.counted))

    def _since_last(self, counters: dict[str, int]) -> tuple[int, int] | None:
        """(records, odd ones) since the last verdict, 0 for the latter if they are half or less; None while there are
        few."""
        now = self.of(counters)
        records, odd = now.records - self.records, now.odd - self.odd
        if records < self.least:
            return None
        self.records, self.odd = now.records, now.odd
        return records, odd if odd * 2 > records else 0


class Quality(_Latest):
    """How many are malformed."""

    least, counted = MALFORMED_OF, _MALFORMED

    def verdict(self, counters: dict[str, int], misfits: Mapping[str, int] | None = None) -> str | None:
        """What is wrong with the records since the last verdict ('': nothing); None while they are few.

        misfits  column -> how many of these records it does not fit, of those that cannot be of their list
        """
        latest = self._since_last(counters)
        if latest is None:
            return None
        records, malformed = latest
        if not malformed:
            return ""
        columns = f" (the columns that do not fit: {', '.join(sorted(misfits))})" if misfits else ""
        return (
            f"has {malformed} malformed ones among its last {records} records{columns}: set SGRAPH_SEND__SA_FIELDS to "
            "the fields of the real-time log configuration, in the order in which they come"
        )


class Repetition(_Latest):
    """How many are duplicates."""

    least, counted = DUPLICATES_OF, ("duplicates",)

    def verdict(self, counters: dict[str, int]) -> str | None:
        """What is odd about the records since the last verdict ('': nothing); None while they are few."""
        latest = self._since_last(counters)
        if latest is None:
            return None
        records, duplicates = latest
        if not duplicates:
            return ""
        return (
            f"has {duplicates} duplicates among its last {records} records: does x-edge-request-id stand where "
            "SGRAPH_SEND__SA_FIELDS has it, or is everything sent twice?"
        )


class Lane_Report:
    """Of one partition, while it is in the engine."""

    def __init__(self, partition: str, health: Health) -> None:
        self._partition = partition
        self._health = health
        self._quality = Quality(0, 0)
        self._repetition = Repetition(0, 0)
        self._repeats = False  # and somebody was told
        self._dead_letters = 0  # as of the last time that somebody was told
        self._losses_told: dict[str, Moment] = {}  # by kind, when somebody was told last
        self._counted: dict[str, int] = {}  # counters as they were when the metrics had them last
        self._committed_at: Moment | None = None

    @property
    def _pen(self) -> Shard_Health:
        return self._health.shard(self._partition)

    # ------------------------------------------------------------------ on its way

    def opened(self, consumer: Partition_Consumer) -> None:
        """Its state was recovered; what was dropped before is no news."""
        state = consumer.state
        self._quality = Quality.of(state.counters)
        self._repetition = Repetition.of(state.counters)
        self._dead_letters = _dead_letters(state.counters)
        self._counted, self._committed_at = dict(state.counters), consumer.last_commit.moment
        self._count(consumer)
        self._pen.resumed(None if state.number == NOTHING_READ else state.number)

    def read(self, batch: Batch, now: Moment) -> None:
        number = batch.sequence_numbers[-1] if batch.sequence_numbers else None
        self._pen.read(now, batch.millis_behind_latest, number)

    def waits(self, error: Store_Unavailable, first: bool) -> None:
        """A call failed, and is made again; the log hears of the first failure in a row."""
        if first:
            log.tell(WAITING, f"{self._partition} waits, and tries again: {error}", partition=self._partition)
        self._pen.blocked(str(error))

    def goes_on(self) -> None:
        self._pen.blocked(None)

    def worked(self, consumer: Partition_Consumer, now: Moment) -> None:
        """Its steps are done, and it stays."""
        pen, state = self._pen, consumer.state
        self._tell_metrics(consumer, now)
        if not state.touched:
            pen.committed(consumer.last_commit.moment)
            self._tell_dead_letters(state.counters)
        if state.published_watermark_ms > BEGINNING_MS:
            pen.watermark(state.published_watermark_ms)
        self._judge(consumer)
        self._tell_losses(consumer, now)
        pen.counters(state.counters)
        pen.windows({start: window.total_requests for start, window in state.windows.items()})

    def left(self, consumer: Partition_Consumer, ended: bool, now: Moment) -> None:
        """Its last steps are done: all that it had is committed. `ended`: and the shard has no more."""
        self._tell_metrics(consumer, now)
        self._tell_losses(consumer, now)
        if ended:
            self._pen.ended()

    def failed(self, failure: Exception) -> None:
        mistake = None if isinstance(failure, SA_Stream_Error) else failure  # of ours: where in the program tells more
        log.tell(PARTITION_FAILED, f"{self._partition} stops: {failure}", mistake, partition=self._partition)

    # ------------------------------------------------------------------ what rates are made of

    def _tell_metrics(self, consumer: Partition_Consumer, now: Moment) -> None:
        began = consumer.last_commit.moment
        if began != self._committed_at:
            self._committed_at = began
            self._health.counts.took(COMMIT_DURATION, now - began)
        self._count(consumer)

    def _count(self, consumer: Partition_Consumer) -> None:
        """What came since the last time; the first time 0 of everything."""
        state, counts = consumer.state, self._health.counts
        before, self._counted = self._counted, dict(state.counters)
        fresh = Counter({name: number - before.get(name, 0) for name, number in self._counted.items()})
        outcomes = {
            "counted": fresh["aggregated"] - fresh["late"],
            "late": fresh["late"],
            "duplicate": fresh["duplicates"],
            "too_late": fresh["too_late"],
            "set_aside": fresh["set_aside_records"],
        }
        counts.add(RECORDS, {(name,): number for name, number in outcomes.items()})
        counts.add(INVALID_RECORDS, {(reason,): fresh[reason] for reason in _INVALID})
        counted, state.traffic = state.traffic, Counter()
        counts.add(BYTES, {NO_LABELS: counted[traffic.BYTES, ""]})
        for metric, kind, least in (
            (REQUESTS, traffic.STATUS_CLASS, ("2xx", "5xx")),
            (CACHE_RESULTS, traffic.RESULT_TYPE, ("Hit",)),
        ):
            of_kind = {(value,): number for (each, value), number in counted.items() if each == kind}
            counts.add(metric, {(value,): 0 for value in least} | of_kind)

    # ------------------------------------------------------------------ what nobody may find out by chance

    def _judge(self, consumer: Partition_Consumer) -> None:
        """Say so when most records are malformed, or duplicates: a wrong field list must not look like a stream without
        traffic."""
        counters = consumer.state.counters
        verdict = self._quality.verdict(counters, consumer.misfits)
        if verdict is not None:
            consumer.misfits.clear()
            self._pen.malformed(verdict or None)
            if verdict:
                log.tell(MALFORMED, f"{self._partition} {verdict}", partition=self._partition)
        verdict = self._repetition.verdict(counters)
        if verdict is not None:
            self._pen.duplicates(verdict or None)
            if verdict and not self._repeats:
                log.tell(DUPLICATES, f"{self._partition} {verdict}", partition=self._partition)
            self._repeats = bool(verdict)

    def _tell_dead_letters(self, counters: dict[str, int]) -> None:
        """One line a commit that left records out, for alarms."""
        written = _dead_letters(counters)
        count, self._dead_letters = written - self._dead_letters, written
        if count > 0:
            message = f"{self._partition}: {count} records are in no number; the dead letters say why"
            log.tell(DEAD_LETTERS, message, partition=self._partition, count=count)

    def _tell_losses(self, consumer: Partition_Consumer, now: Moment) -> None:
        """Every loss is an event: what was lost is in no number."""
        losses, consumer.state.losses = consumer.state.losses, []
        for loss in losses:
            told = self._losses_told.get(loss.kind)
            if told is not None and now - told < LOSS_TOLD_MS:
                continue  # reading at the edge of the retention, which goes on taking
            self._losses_told[loss.kind] = now
            since = iso(loss.since_ms)
            log.tell(
                LOSS,
                f"{self._partition}: {loss.why}. It vouches for windows from {since} on; earlier ones stay as they are",
                partition=self._partition,
                kind=loss.kind,
                since=since,
            )
            self._health.lost(self._partition, f"{loss.why}, and it vouches for windows from {since} on")


def _dead_letters(counters: dict[str, int]) -> int:
    return sum(counters.get(reason, 0) for reason in _DEAD_LETTERS)
