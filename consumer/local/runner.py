"""Reads all shards of a stream with boto3 in this process: the same engine and commits as behind the KCL, with the
checkpoints in the state store. For the demo, emulators and tests; one at a time on one state store.
"""

import queue
import threading
import time
from collections.abc import Callable

from msgspec import Struct, field

from consumer.local.lock_keeper import Lock_Keeper
from consumer.local.read_ahead import Read_Ahead
from consumer.local.shard_finder import Shard_Finder
from consumer.worker.application import Application
from consumer.worker.course import LAST_PASS_S, SHUTDOWN_S, Course
from consumer.worker.engine import Engine
from consumer.worker.lane import Lane
from consumer.worker.publisher import PUBLISH_S
from sa_stream.commits.decisions import claim_runner
from sa_stream.commits.keys import CHECKPOINTS_PREFIX, PROGRESS_PREFIX, checkpoint_key, parse_progress_key
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.errors import Lease_Lost, Shard_Gone, Store_Unavailable, Superseded
from sa_stream.health.notebook import Shard_Health
from sa_stream.health.readiness import STORE_GRACE_MS
from sa_stream.log import (
    CHECKPOINT_TORN,
    COMMITTED,
    SHARD_CLOSED,
    SHARD_ENDED,
    SHARD_READABLE,
    SHARD_RESTARTS,
    SHARD_UNREADABLE,
    UNFINISHED,
    Log,
)
from sa_stream.partitions import END, NOTHING_READ, RETIRED, Batch, Shard_Info
from sa_stream.rollups.passes import Pass_Result, Reconciler_Settings
from sa_stream.sources.kinesis_reader import Shard_Reader
from sa_stream.storage.state_lock import hold_lock
from sa_stream.timing import Moment, moment, right_now

log = Log("runner")

BATCHES_AHEAD = 3  # batches of a shard that may be read and not yet taken
READ_AHEAD_RATE = 0.2  # of the memory that there is, for what is read and not yet taken
READ_AHEAD_BYTES_MAX = 64 << 20  # however much there is: more makes nothing faster


class _Shard(Struct, eq=False):
    info: Shard_Info
    lane: Lane | None = None
    gone: bool = False  # the stream no longer has it
    stop: threading.Event = field(default_factory=threading.Event)


class _Trouble:
    """What keeps one shard from being read, told to health at once, and to the log if it lasts. It is told of the shard
    and not of Kinesis: one that is throttled must not hide behind those that are read."""

    def __init__(self, partition: str, pen: Shard_Health) -> None:
        self._partition = partition
        self._pen = pen
        self._since: Moment | None = None
        self._told = False

    def failed(self, now: Moment, reason: str) -> None:
        self._pen.unreadable(now, reason)
        self._since = self._since or now
        if not self._told and now - self._since > STORE_GRACE_MS:
            self._told = True
            message = f"{self._partition} cannot be read, and is tried again: {reason}"
            log.tell(SHARD_UNREADABLE, message, partition=self._partition)

    def ok(self, now: Moment) -> None:
        if self._since is None:
            return
        self._pen.unreadable(now, None)
        if self._told:
            lasted_s = (now - self._since) // 1000
            message = f"{self._partition} is read again, after {lasted_s} s"
            log.tell(SHARD_READABLE, message, partition=self._partition, lasted_s=lasted_s)
        self._since, self._told = None, False


class Local_Runner:
    """`run` reads until `stop` is called or something fails that no later try can mend (it raises that).

    Raises Source_Error, Config_Error, Field_List_Error, In_Use, Unknown_Version.
    """

    def __init__(
        self,
        application: Application,
        *,
        publish_interval_s: float = PUBLISH_S,
        settings: Reconciler_Settings | None = None,
        on_pass: Callable[[Pass_Result], None] = lambda result: None,
    ) -> None:
        config, self._health = application.config, application.health
        self.engine = Engine(self._health, application.now, memory_limit_mb=config.memory_limit_mb)
        self._application = application
        self._shards: dict[str, _Shard] = {}
        ahead_bytes = min(READ_AHEAD_BYTES_MAX, int(self.engine.memory.limit_bytes * READ_AHEAD_RATE))
        self._read_ahead = Read_Ahead(BATCHES_AHEAD, ahead_bytes)
        self._publish_interval_s = publish_interval_s
        self._settings = settings
        self._on_pass = on_pass
        self._course = Course(application)
        self._torn: set[str] = set()  # partitions whose checkpoint was said to be torn

    def stop(self) -> None:
        """Commit everything, publish once more, and return from `run`. From any thread or signal handler."""
        self._course.stop.set()

    def run(self) -> None:
        application, course = self._application, self._course
        info = application.describe(course.stop)
        if info is None:
            return
        application.state.check()
        with hold_lock(application.state) as lock, Lock_Keeper(lock) as keeper:
            application.open(info, (self._publish_interval_s, self._publish_interval_s), self._settings, self._on_pass)
            claim_runner(application.state, "local")
            self.engine.memory.check(info.open_shards, READ_AHEAD_RATE)
            application.start_publishing()
            self._finder = Shard_Finder(application, self._checkpoint, self._begun)
            self._finder.start()
            with course.under_way(self._shut_down):
                while course.goes_on:
                    self._open_found()
                    self.engine.poll()
                    course.look(right_now(), self._finder.failure, keeper.failure)
        course.raise_failure()

    # ------------------------------------------------------------------ shards

    def _open_found(self) -> None:
        while True:
            try:
                info, checkpoint = self._finder.found.get_nowait()
            except queue.Empty:
                break
            self._open(info, checkpoint)

    def _checkpoint(self, partition: str) -> str | None:
        """The committed number. A torn one (a power cut) is no reason to stop: the snapshots know how far it was."""
        data = self._application.store.get(checkpoint_key(partition))
        if data is None or data == END.encode() or data.isdigit():
            return None if data is None else data.decode()
        if partition not in self._torn:
            self._torn.add(partition)
            log.tell(
                CHECKPOINT_TORN,
                f"{checkpoint_key(partition)} is torn ({data[:40]!r} is neither a sequence number nor {END}): the "
                "partition goes on from its last snapshot, and its next commit puts the checkpoint again",
                partition=partition,
            )
        return NOTHING_READ

    def _begun(self) -> set[str]:
        """Partitions that have a checkpoint, or progress alone, as one of which no record has come: it would hold up
        every window for ever if nobody ended it."""
        store = self._application.store
        begun = {item.key.removeprefix(CHECKPOINTS_PREFIX) for item in store.list(CHECKPOINTS_PREFIX)}
        progress = [parse_progress_key(item.key)[:2] for item in store.list(PROGRESS_PREFIX)]
        over = {partition for partition, number in progress if number in (END, RETIRED)}
        return begun | {partition for partition, _ in progress} - over

    def _open(self, info: Shard_Info, checkpoint: str | None) -> None:
        shard = self._shards[info.shard_id] = _Shard(info)
        self._health.shard(info.shard_id, moment())
        key, store = checkpoint_key(info.shard_id), self._application.store
        shard.lane = self.engine.open(
            info.shard_id,
            self._application.consumer_steps(info, checkpoint, lambda number: store.put(key, number.encode())),
            lambda consumer: self._start_reading(shard, consumer),
            lambda: self._read_ahead.taken(shard),
            self._closed,
            lambda consumer, now: self._application.end_steps(consumer, shard.gone),
        )

    def _closed(self, partition: str, error: BaseException | None) -> None:
        """A shard has left the engine: it ended, or failed. A failure of the whole kind ends the run; anything else is
        read again from the last commit."""
        shard = self._shards.pop(partition)
        shard.stop.set()
        self._read_ahead.forget(shard)
        if error is None:
            ended = shard.lane is not None and shard.lane.ending
            if ended:
                self._finder.ended(partition)
            log.tell(
                SHARD_ENDED if ended else SHARD_CLOSED,
                f"{partition} was read to its end" if ended else f"{partition} is committed",
                partition=partition,
            )
        elif isinstance(error, (Lease_Lost, Superseded)):
            log.tell(SHARD_RESTARTS, f"{partition} starts again from its last commit: {error}", partition=partition)
            self._health.forget(partition)
            self._finder.again(partition)
        else:
            self._course.failure = error

    # ------------------------------------------------------------------ reading

    def _start_reading(self, shard: _Shard, consumer: Partition_Consumer) -> None:
        reader = Shard_Reader(
            self._application.reader, shard.info.shard_id, self._application.position(consumer.state.number)
        )
        threading.Thread(
            target=self._read, args=(shard, reader), name=f"read-{shard.info.shard_id}", daemon=True
        ).start()

    def _read(self, shard: _Shard, reader: Shard_Reader) -> None:
        """One shard's thread: never far ahead of the engine, which is all there is to backpressure."""
        assert shard.lane is not None
        partition, ahead = shard.info.shard_id, self._read_ahead
        trouble = _Trouble(partition, self._health.shard(partition))
        while not shard.stop.wait(reader.wait_ms(moment()) / 1000):
            if not ahead.begin(shard, timeout_s=0.5):
                continue
            if shard.stop.is_set():  # perhaps it was forgotten before this began
                ahead.give_up(shard)
                return
            batch: Batch | None = None
            try:
                batch = reader.read(moment())
            except Store_Unavailable as error:
                ahead.give_up(shard)
                trouble.failed(moment(), str(error))
                continue
            except Shard_Gone:  # what was left of it can no longer be read
                shard.gone = True
            except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it
                self._course.failure = error
                return
            trouble.ok(moment())
            if batch is None:
                ahead.give_up(shard)
            else:
                ahead.read(shard, batch)
            self.engine.submit(shard.lane, batch)
            if batch is None:
                return

    def _shut_down(self) -> None:
        """Commit what every shard has, within the time that a container gets."""
        deadline_s = time.monotonic() + SHUTDOWN_S
        self._finder.stop()
        for shard in list(self._shards.values()):
            shard.stop.set()
        for lane in list(self.engine.lanes.values()):
            if self._course.failure is None:
                self.engine.close(lane)
        while self._course.failure is None and self.engine.lanes and time.monotonic() < deadline_s - LAST_PASS_S:
            self.engine.poll()
        finished = self._course.failure is None and not self.engine.lanes
        if finished:
            log.tell(COMMITTED, "everything that was read is committed")
        elif self._course.failure is None:
            left = ", ".join(sorted(self.engine.lanes))
            log.tell(UNFINISHED, f"stopped without the last commit of {left}: its records are read again")
        self.engine.shutdown()
        self._application.stop_publishing(last_pass=finished, timeout_s=deadline_s - time.monotonic())
