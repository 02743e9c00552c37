"""Who the stream of a simulated world is: it may be deleted and made anew under its name, and workers are to notice.

What a worker decides is the product's code, or, where that needs a whole application, done as
consumer.worker.application does it (_check_stream, list_shards).
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace

from consumer.kcl.links import Shard_Links
from sa_stream.commits.decisions import Stream_Identity, claim_stream, other_stream
from sa_stream.commits.operations import Steps, call, drive
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.retention import observe_steps
from sa_stream.errors import Config_Error, Source_Error, Store_Unavailable
from sa_stream.partitions import Shard_Info
from sa_stream.timing import BEGINNING_MS, MINUTE_MS
from tests.simulation.at_rest import Violation
from tests.simulation.parts import SECOND_MS, STREAM, Answer, Lease, Link, Worker

NUMBERS_APART = 10**6  # records: so far the numbers of a stream are above those of the one before it
OTHER_SHARDS = 40  # so far the ids of its shards are, where they are others
DESCRIBE_MS = 60 * SECOND_MS
LIST_OLD_MS = 30 * SECOND_MS


class Identity:
    """The part of a world that knows which stream is whose."""

    @property
    def identity(self) -> Stream_Identity:
        stream = self.kinesis.stream(STREAM)
        return Stream_Identity(stream.arn, stream.created_ms)

    def replace_stream(self) -> None:
        """Delete the stream, and make another one of its name: with the same shard ids, or others."""
        retention_ms = self.kinesis.stream(STREAM).retention_ms
        if self.options["replaced"].startswith("stopped"):
            for worker in self.workers.values():
                if worker.alive:
                    self.crash(worker)
        self.kinesis.delete_stream(STREAM)
        self.replaced_ms = self.now_ms
        stream = self.kinesis.create_stream(STREAM, self.rng.choice([1, 2, 4]), retention_ms)
        for shard in stream.shards:
            shard.dropped = NUMBERS_APART
            if self.options["replaced"].endswith("other"):
                shard.number += OTHER_SHARDS
            if shard.shard_id not in self.ledger.partitions:
                self.ledger.start(shard.shard_id)
        self.listing = []
        self.recent.clear()
        for worker in self.workers.values():
            worker.replaced = worker.clock.moment(self.now_ms)
        self.say("replaced", self.options["replaced"], len(stream.shards), "shards")

    @property
    def over(self) -> bool:
        """Nobody works any more, nor ever will."""
        return self.replaced_ms > 0 and not any(worker.alive for worker in self.workers.values()) and self.refused > 0

    def is_foreign(self, shard_id: str, number: str) -> bool:
        """Whether a sequence number is not of this stream: Kinesis refuses it."""
        return self.replaced_ms > 0 and all(
            shard.shard_id != shard_id or int(number) < shard.number_at(NUMBERS_APART) for shard in self.shards()
        )

    def begin_foreign_leases(self) -> None:
        """The KCL finds hash keys that no lease covers."""
        for shard in self.shards():
            if self.replaced_ms and shard.shard_id not in self.leases and self.rng.random() < 0.2:
                self.leases[shard.shard_id] = Lease(from_ms=BEGINNING_MS)

    # ------------------------------------------------------------------ what workers do about it

    def claim(self) -> Stream_Identity | None:
        """At the start of a worker; None: refused."""
        try:
            claim_stream(self.store, self.identity)
        except Config_Error:
            self.refused += 1
            self.say("refused")
            return None
        return self.identity

    def check_stream(self, worker: Worker, at_once: bool = False) -> None:
        """Every minute, and when it is asked for. Raises Config_Error, Store_Unavailable."""
        moment = worker.clock.moment(self.now_ms)
        every_ms = self.options["described_minutes"] * MINUTE_MS or DESCRIBE_MS
        if not at_once and worker.described is not None and moment - worker.described < every_ms:
            return
        if self.faults and worker.described is not None and self.rng.random() < 0.02:
            raise Store_Unavailable("the stream is not described now")
        self.hear(worker)
        worker.described = moment
        self.ask_retention(worker)
        if self.identity != worker.stream:
            raise other_stream("this worker has read until now", worker.stream, self.identity)

    def ask_retention(self, worker: Worker) -> None:
        """A worker hears how long the stream keeps its records, and reads in the state store how long it did."""
        retention_ms = self.kinesis.stream(STREAM).retention_ms
        if not self.observed or self.observed[-1][1] != retention_ms:
            self.observed.append((self.now_ms, retention_ms))
        worker.timing.stream.now = (
            retention_ms,
            drive(observe_steps(self.store, retention_ms, self.now(worker).wall_ms)),
        )

    def list_anew(self, worker: Worker) -> Sequence[Shard_Info]:
        """The list, and whether it is the stream of the start that made it: asked at once when it looks otherwise."""
        self.answers()
        listed, made_ms = self._listed_now(), self.kinesis.stream(STREAM).created_ms
        self.hear(worker)
        self.check_stream(worker, at_once=made_ms != worker.listed_ms)
        worker.listed_ms = made_ms
        return listed

    def check_streams(self) -> None:
        """Every minute, by their own clocks, of the workers that are not paused."""
        for worker in list(self.workers.values()):
            if worker.alive and worker.paused_until_ms <= self.now_ms and self.rng.random() < 0.8:
                try:
                    self.check_stream(worker)
                except Store_Unavailable:
                    pass
                except Config_Error:
                    self.stop_for_good(worker)

    def stop_for_good(self, worker: Worker) -> None:
        self.refused += 1
        if worker.alive:
            self.crash(worker)

    # ------------------------------------------------------------------ the end of a shard

    def end_steps(self, link: Link, consumer: Partition_Consumer, answer: Answer) -> Steps[None]:
        """The KCL says that a shard has ended; what becomes of that, Shard_Links decides."""
        worker, since = link.worker, link.worker.clock.moment(self.now_ms)

        application = SimpleNamespace(
            list_shards=lambda: self.list_anew(worker), timing=worker.timing, now=lambda: self.now(worker)
        )
        links = SimpleNamespace(_application=application)

        def is_gone() -> bool:
            waited_ms = worker.clock.moment(self.now_ms) - since
            return Shard_Links._is_gone(links, consumer, -math.inf if waited_ms >= LIST_OLD_MS else math.inf)  # type: ignore[arg-type]

        try:
            gone = yield call(is_gone)
        except Source_Error as refused:
            self.say("no end", worker.name, link.shard_id[-2:], str(refused)[-60:])
            raise Refused_End from refused
        shard = next((shard for shard in self.shards() if shard.shard_id == link.shard_id), None)
        if shard is not None and shard.closed_ms is None:
            raise Violation("end", f"{link.shard_id} is taken for ended, and is open")
        self._judge_end(link, gone)
        yield from consumer.end_steps(self.now(worker), gone=gone)


class Refused_End(Exception):
    """The pipe ends without a status, and the shard is read again."""
