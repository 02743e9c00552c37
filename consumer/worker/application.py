"""What every way of reading the stream has in common: the stores and the stream that the settings name, what was
decided once for the application, the reconciler, and how a partition's consumer is made.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from consumer.worker.publisher import PUBLISH_S, Publisher
from consumer.worker.repairer import Repairer
from consumer.worker.stores import Watched_Cache, Watched_Store, open_cache, open_state, told_to
from sa_stream import __version__
from sa_stream.commits.decisions import (
    Field_Choice,
    Stream_Identity,
    claim_application,
    claim_cache,
    claim_stream,
    first_position_ms,
    known_stream,
    other_stream,
    took_over_ms,
)
from sa_stream.commits.operations import Steps, drive
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.poison import Poison
from sa_stream.commits.progress import Progress
from sa_stream.commits.protocol import Checkpoint, recover_steps
from sa_stream.commits.retention import last_retention_steps, observe_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.config import LATEST, SA__Config
from sa_stream.errors import Config_Error, SA_Stream_Error, Source_Error, Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.log import RETENTION_CHANGED, SHARD_GONE, SOURCE_WAITS, STREAM_REPLACED, Log
from sa_stream.partitions import NOTHING_READ, Batch, Shard_Info
from sa_stream.rollups.passes import Pass_Result, Reconciler_Settings, Worker
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.repairs import Repair_Settings
from sa_stream.services.archive_windows import Archive_Windows, open_archive
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader, Stream_Info
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, Backoff, Moment, Now, Stream_Retention, iso, right_now

log = Log("runner")

WAIT_MS_MIN, WAIT_MS_MAX = 500, 10_000  # for a stream that does not answer at the start
PATIENCE_S = 20.0  # ... before windows are repaired without it
REPAIRER_STOP_S = 2.0
DESCRIBE_S = 60.0  # how often the stream is asked whether it is still the same one


class Stream_Source(Protocol):
    """What records come from: a stream, or an archive that stands for one. service: what people call it.

    clock, shards_changed  as of a Kinesis_Reader
    """

    service: str
    clock: Source_Clock

    @property
    def shards_changed(self) -> bool: ...

    def describe(self) -> Stream_Info:
        """Raises Source_Error, Store_Unavailable."""
        ...

    def list_shards(self) -> list[Shard_Info]:
        """Raises Source_Error, Store_Unavailable."""
        ...


class Application:
    """Made first; `describe` and then `open` it before anything else. Raises Config_Error, Source_Error.

    source        Kinesis, unless another is given
    state, cache  opened as the settings say unless given; store  the state store, watched by health
    failure       the error that ends the run, once the stream is another one than at the start
    repairer      None: there is no archive

    All that health says of the source as a whole is said here.
    """

    def __init__(
        self,
        config: SA__Config,
        health: Health,
        *,
        source: Stream_Source | None = None,
        state: State_Store | None = None,
        cache: Send__Cache__Client | None = None,
    ) -> None:
        self.config = config
        self.health = health
        self.source: Stream_Source = source or Kinesis_Reader(config.stream)
        self.state = state or open_state(config)
        self.cache = cache or open_cache(config)
        self.store = Watched_Store(self.state, health.store("state store"))
        self.poison = Poison()
        self.failure: Config_Error | None = None
        self._described_s = time.monotonic()
        self.repairer: Repairer | None = None
        self._source_health = health.store(self.source.service)
        self._retention = Stream_Retention((0, ()), lambda: self._check_stream(at_once=True))

    @property
    def reader(self) -> Kinesis_Reader:
        """The stream, for those who read its shards."""
        assert isinstance(self.source, Kinesis_Reader)
        return self.source

    def describe(self, stop: threading.Event) -> Stream_Info | None:
        """Ask for the stream until there is an answer: a source that does not answer yet may do so soon. Where there is
        an archive to repair from, what is known of the stream from before is enough after a while. None when stopped
        before. Raises Source_Error."""
        backoff = Backoff(WAIT_MS_MIN, WAIT_MS_MAX)
        patient_until_s = time.monotonic() + PATIENCE_S
        while not stop.is_set():
            try:
                with told_to(self._source_health):
                    return self.source.describe()
            except Store_Unavailable as error:
                log.tell(SOURCE_WAITS, str(error))
                if self.config.logs_bucket and time.monotonic() >= patient_until_s:
                    with suppress(Store_Unavailable):  # of the state store
                        if (known := self._known_stream()) is not None:
                            return known
                stop.wait(backoff.failed() / 1000)
        return None

    def _known_stream(self) -> Stream_Info | None:
        """The stream of the settings as the state store knows it."""
        stream, retention_ms = known_stream(self.state), drive(last_retention_steps(self.state))
        if stream is None or retention_ms is None:
            return None
        name = stream.arn.rpartition("/")[2]
        if name != self.config.stream.rpartition("/")[2]:
            return None
        log.tell(SOURCE_WAITS, f"{name} does not answer: windows are repaired from the archive meanwhile")
        return Stream_Info(name, stream.arn, stream.created_ms, retention_ms, 0)

    def open(
        self,
        info: Stream_Info,
        publish_s: tuple[float, float] = (PUBLISH_S, PUBLISH_S),
        settings: Reconciler_Settings | None = None,
        on_pass: Callable[[Pass_Result], None] = lambda result: None,
        looked: Callable[[Moment, str | None], None] = lambda now, why: None,
    ) -> None:
        """Claim the state store for this stream, and find out what was decided by the first worker. The cache is
        claimed by the publisher. Raises In_Use, Config_Error, Store_Unavailable.

        looked  see Repairer
        """
        config = self.config
        claim_application(self.state, config.application, info.name)
        self.stream = Stream_Identity(info.arn, info.created_ms)
        claim_stream(self.state, self.stream)
        self._observe_retention(info.retention_ms)
        self.timing = replace(config.timing(info.retention_ms), stream=self._retention)
        now_ms, position = self.now().wall_ms, config.initial_position
        position_ms = now_ms if position == LATEST else config.initial_position_ms()
        if position_ms is None and config.source == "s3":  # where it begins nobody knows: a backfill goes there
            position_ms = now_ms - self.timing.allowed_lateness_ms
        from_ms, adopted_ms = first_position_ms(self.state, position, position_ms, now_ms), took_over_ms(self.state)
        if adopted_ms is None:
            self.start = Start(from_ms, info.created_ms)
        else:
            self.start = Start(max(from_ms, adopted_ms), info.created_ms, adopted_ms)
        self.fields = Field_Choice(config.fields, config.drop_fields, config.allow_fields, self.store)
        self._secrets = Secrets(self.store, lambda: secrets.token_bytes(8))
        cache = Watched_Cache(self.cache, self.health.store("cache service"))
        settings = settings or Reconciler_Settings(
            sampling_percent=config.sampling_percent, dead_letter_ms=config.dead_letter_days * DAY_MS
        )
        worker = Worker(secrets.token_hex(4), __version__)
        settings = replace(settings, archive=self._repair_settings(), worker=worker)
        if settings.archive is not None:
            self.repairer = self._new_repairer(looked)
        self.reconciler = Reconciler(self.store, cache, self.list_shards, self.timing, settings)
        self.publisher = Publisher(
            self.reconciler,
            self.store,
            self.health,
            publish_s,
            lambda result: self._passed(result, on_pass),
            lambda: claim_cache(cache, config.application, info.name),  # by it, as we start without a cache too
            self.now,
        )

    def _repair_settings(self) -> Repair_Settings | None:
        config = self.config
        if config.source == "s3":
            return Repair_Settings(config.s3_settle_s * 1000, self.start.from_ms)
        return Repair_Settings(config.repair_after_s * 1000) if config.logs_bucket else None

    def _new_repairer(self, looked: Callable[[Moment, str | None], None]) -> Repairer:
        """With secrets of its own, as it is in a thread of its own."""
        clock = self.source.clock if self.config.source == "s3" else None
        files = Archive_Windows(
            self.config,
            self.timing,
            self.fields,
            self.store,
            lambda: open_archive(self.config, clock),
            self.now,
            lambda: repairer.alive(),
        )
        own_secrets = Secrets(self.store, lambda: secrets.token_bytes(8))
        repairer = Repairer(self.state, self.store, own_secrets, files, self.health, self.now, looked)
        return repairer

    def _passed(self, result: Pass_Result, on_pass: Callable[[Pass_Result], None]) -> None:
        if self.repairer is not None and result.stream is not None:
            self.repairer.wanted(result.to_repair)
        on_pass(result)

    def start_publishing(self) -> None:
        """And repairing, where there is an archive."""
        self.publisher.start()
        if self.repairer is not None:
            self.repairer.start()

    def stop_publishing(self, last_pass: bool, timeout_s: float = 10.0) -> None:
        """See Publisher.stop. A window that is being computed is given up."""
        if self.repairer is not None:
            self.repairer.stop(min(timeout_s, REPAIRER_STOP_S))
        self.publisher.stop(last_pass, timeout_s)

    def _observe_retention(self, retention_ms: int) -> None:
        """Everything that asks how long the stream keeps its records hears of a new value at once."""
        self.health.retention(retention_ms)
        before_ms = self._retention.now[0]
        self._retention.now = retention_ms, drive(observe_steps(self.state, retention_ms, self.now().wall_ms))
        if before_ms not in (0, retention_ms):
            log.tell(
                RETENTION_CHANGED,
                f"the stream keeps its records for {retention_ms // HOUR_MS} h now, and did for "
                f"{before_ms // HOUR_MS} h: what a shorter time took before it was read counts as lost",
            )

    def now(self) -> Now:
        """What time it is for the source, which stamps the records and trims them, as its answers have told; by our own
        clock as long as they have not."""
        now = right_now()
        return Now(self.source.clock.at(now.moment) or now.wall_ms, now.moment)

    def list_shards(self) -> list[Shard_Info]:
        """The stream's list; health hears how it went. Raises Store_Unavailable, Source_Error, and Config_Error when
        another stream has taken the name."""
        if self.failure is not None:
            raise self.failure
        with told_to(self._source_health):
            listed = self.source.list_shards()
            self._check_stream()
        return listed

    def look_at(self, reader: Shard_Reader, now: Moment) -> Batch | None:
        """Read of a shard that nobody has opened yet; health hears of an answer, and of none. (Of one that is open, the
        shard's own health tells.) Raises Store_Unavailable, Source_Error, Shard_Gone."""
        try:
            batch = reader.read(now)
        except Store_Unavailable as error:
            self._source_health.failed(now, str(error))
            raise
        if batch is not None:
            self._source_health.ok(now)
        return batch

    def progress(self, partition: str) -> Progress | None:
        """The highest progress record of a partition; waits for the state store. Raises Store_Unavailable."""
        return drive(Progress_Reader(self.store).one_steps(partition))

    def explained(self, failure: BaseException) -> BaseException:
        """What ends the run, or the reason behind it: a stream that was made anew may show first as a shard or a
        position that Kinesis does not know."""
        if isinstance(failure, Source_Error):
            try:
                self._check_stream(at_once=True)
            except Config_Error as error:
                return error
            except SA_Stream_Error:
                pass  # no more to be known: the failure speaks for itself
        return failure

    def _check_stream(self, at_once: bool = False) -> None:
        """After a list was fetched and before it is believed: whether it is the stream of the start that made it. Every
        minute, and whenever the list itself looks like another stream's."""
        if not (at_once or self.source.shards_changed or time.monotonic() - self._described_s >= DESCRIBE_S):
            return
        info = self.source.describe()
        self._described_s = time.monotonic()
        self._observe_retention(info.retention_ms)
        found = Stream_Identity(info.arn, info.created_ms)
        if found != self.stream:
            self.failure = other_stream("this worker has read until now", self.stream, found)
            log.tell(STREAM_REPLACED, str(self.failure))
            raise self.failure

    def position(self, number: str) -> str:
        """Where reading goes on after a number, as a Shard_Reader takes it."""
        if number != NOTHING_READ:
            return number
        from_ms = self.start.from_ms
        return "TRIM_HORIZON" if from_ms == BEGINNING_MS else f"AT_TIMESTAMP:{from_ms}"

    def consumer_steps(
        self, shard: Shard_Info, checkpoint: str | None, commit: Checkpoint
    ) -> Steps[Partition_Consumer]:
        """The consumer of a shard, in the state in which it goes on after its checkpoint (None: it never had one).
        `commit` takes a checkpoint at a number."""
        now = self.now()
        partition = shard.shard_id
        if checkpoint is not None:
            self.poison.committed(partition, checkpoint)
        shared = self.shared()
        state = yield from recover_steps(shared, shard, checkpoint, now.wall_ms)
        return Partition_Consumer(shared, state, commit, now)

    def shared(self) -> Shared:
        """What every partition of this worker has in common, as of now: `auto` may have been decided."""
        return Shared(
            self.store,
            self.timing,
            self.start,
            self.config.intake(self.fields.lists),
            self._secrets,
            new_lineage,
            self.poison,
            self.publisher.published,
        )

    def end_steps(self, consumer: Partition_Consumer, gone: bool) -> Steps[None]:
        """Commit a shard at its end. `gone`: the stream no longer has it, and it was not seen to be read to its end."""
        now = self.now()
        if not gone:
            yield from consumer.end_steps(now)
            return
        partition, read_to_ms = consumer.state.partition, consumer.received_to_ms
        yield from consumer.end_steps(now, gone=True)
        self.health.gone(partition, read_to_ms)
        log.tell(
            SHARD_GONE,
            f"{partition} was closed, and the retention of the stream took it before it was read to its end: what came "
            f"after {iso(read_to_ms) or 'its beginning'} is in no number, and the windows of that time stay partial",
            partition=partition,
            read_to=iso(read_to_ms),
        )


def new_lineage() -> str:
    return secrets.token_hex(8)
