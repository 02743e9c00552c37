"""One shard's conversation with the KCL: its messages come in, batches go to the engine, and answers go back.

The KCL sends one message and waits for its status. A status is only given when the message was dealt with, and after a
failure on our side never: the connection ends instead, and the KCL delivers again from the last checkpoint.
"""

import contextlib
import os
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from consumer.kcl.handover import Handed_Over
from consumer.kcl.properties import Fetch_Ahead
from consumer.worker.engine import Engine
from consumer.worker.lane import Lane
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.errors import Lease_Lost, Source_Error, Store_Unavailable, Superseded
from sa_stream.log import (
    CUT_OFF,
    FIRST_RECORDS,
    LEASE_LOST,
    PROTOCOL,
    SHARD_CLOSED,
    SHARD_LOST,
    SHARD_OPENED,
    SHARD_REOPENED,
    Log,
)
from sa_stream.partitions import END, NOTHING_READ
from sa_stream.sources.kcl_messages import (
    SHARD_END,
    Buffers,
    Checkpointed,
    Initialize,
    Lease_Was_Lost,
    Line_Pipe,
    Message,
    Process_Records,
    Shard_Ended,
    Shutdown_Requested,
    action_of,
    checkpoint_line,
    decode_message,
    status_line,
)

log = Log("shard")

DRAIN_S = 30.0  # so long a shard that we lost may go on sending before the connection is ended
INVALID_MAX = 5  # answers of InvalidStateException in a row: the lease table may be in the making, or gone

_LOST = {"ShutdownException"}
_LATER = {"ThrottlingException", "KinesisClientLibDependencyException", "InvalidStateException"}


class Links(Protocol):
    """What a link needs of whoever holds all links."""

    engine: Engine
    buffers: Buffers

    def source_ms(self) -> int | None: ...
    def may_read(self, link: "Shard_Link") -> bool: ...
    def has_read(self, link: "Shard_Link") -> None: ...
    def open(self, link: "Shard_Link", checkpoint: str | None) -> Lane: ...
    def failed(self, link: "Shard_Link", error: BaseException) -> None: ...
    def committed(self, link: "Shard_Link", number: str) -> None: ...
    def gone(self, link: "Shard_Link") -> None: ...


class Shard_Link:
    """Lives from the hand-over of the pipes until `hang_up` or until the KCL closes them.

    lane           the shard's place in the engine; None before it is ours, and after it was released
    released       the shard is no longer read here: committed and given up, lost, or at its end
    last_word_s    monotonic time of the last whole message or status, whoever said it
    """

    def __init__(self, links: Links, pipes: Handed_Over, fetch_ahead: Fetch_Ahead) -> None:
        self.shard_id = ""
        self.lane: Lane | None = None
        self.consumer: Partition_Consumer | None = None
        self.released = False
        self.dead = False
        self.last_word_s = time.monotonic()
        self._links = links
        self._pipes = pipes
        self._pipe = Line_Pipe(pipes.from_kcl, links.buffers)
        self._waiting: Message | None = None  # for its status
        self._asked: Future[None] | None = None  # a checkpoint under way
        self._asked_for = ""  # its number
        self._invalid = 0
        self._released_s = 0.0
        self._resumed_at = 0  # number after which records are new
        self._first = True
        # Of the messages before the current one, those whose successors the KCL may have fetched already. So the answer
        # in the current one was certainly not fetched before the oldest of these came.
        self._came_ms: deque[int] = deque(maxlen=fetch_ahead.answers + 2)
        self._standing_ms = fetch_ahead.standing_ms
        links.engine.watch(pipes.from_kcl, self._on_readable)
        links.engine.watch(pipes.child.fileno(), self._on_child_gone)

    @property
    def waits_for_kcl(self) -> bool:
        """Whether it is the KCL's turn to say something."""
        return not self.dead and self._waiting is None

    @property
    def message_is_cut(self) -> bool:
        return self._pipe.cut_off_bytes > 0

    # ------------------------------------------------------------------ pipes

    def _on_readable(self) -> None:
        if self.dead or not self._links.may_read(self):
            return
        try:
            lines = self._pipe.read()
            for line in lines or ():
                if len(line) > 1 and not self.dead:
                    self._take(decode_message(line, self.shard_id))
        except Source_Error as error:
            log.tell(PROTOCOL, str(error), shard=self.shard_id)
            self.hang_up()
            return
        if lines is None and not self.dead:
            if self._pipe.cut_off_bytes:
                log.tell(CUT_OFF, f"{self.shard_id}: the KCL ended in the middle of a message", shard=self.shard_id)
            self.hang_up()
        self._links.has_read(self)

    def _on_child_gone(self) -> None:
        """The child says nothing, so this is its end. The pipes would stay open for as long as we hold them."""
        if not self.dead:
            self.hang_up()

    def _send(self, line: bytes) -> None:
        try:
            os.write(self._pipes.to_kcl, line)
        except OSError:  # the KCL is gone: its end of our other pipe says so as well
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection: the child ends, and the KCL hears of nothing that was not committed."""
        if self.dead:
            return
        self.dead = True
        engine = self._links.engine
        for descriptor in (self._pipes.from_kcl, self._pipes.child.fileno()):
            with contextlib.suppress(KeyError):  # parked
                engine.unwatch(descriptor)
        self._pipe.close()
        os.close(self._pipes.to_kcl)
        self._pipes.child.close()
        if self._asked is not None:
            self._asked.set_exception(Lease_Lost(f"the connection to the KCL for {self.shard_id} has ended"))
            self._asked = None
        if self.lane is not None:
            engine.drop(self.lane)
            self.lane = None
        self._links.gone(self)

    def park(self) -> None:
        """Take no message for a while."""
        self._links.engine.unwatch(self._pipes.from_kcl)

    def unpark(self) -> None:
        if not self.dead:
            self._links.engine.watch(self._pipes.from_kcl, self._on_readable)

    # ------------------------------------------------------------------ messages

    def _take(self, message: Message) -> None:
        self.last_word_s = time.monotonic()
        if isinstance(message, Checkpointed):
            self._checkpointed(message)
            return
        if self._waiting is not None:
            raise Source_Error(
                f"The KCL sent {action_of(message)} for {self.shard_id} before {action_of(self._waiting)} was answered"
            )
        self._waiting = message
        match message:
            case Initialize():
                self._initialize(message)
            case Process_Records():
                self._process(message)
            case Lease_Was_Lost():
                if self.lane is not None:
                    log.tell(LEASE_LOST, f"{self.shard_id} belongs to another worker now", shard=self.shard_id)
                    self._links.engine.drop(self.lane)
                self._release()
            case Shard_Ended():
                self._submit_or_answer(lambda lane: self._links.engine.submit(lane, None))
            case Shutdown_Requested():
                self._submit_or_answer(self._links.engine.close)

    def _submit_or_answer(self, act: Callable[[Lane], None]) -> None:
        if self.lane is not None:
            act(self.lane)
        elif self.released:
            self.answer()
        else:
            raise Source_Error("The KCL sent something else before `initialize`")

    def _initialize(self, message: Initialize) -> None:
        if self.shard_id:
            raise Source_Error(f"The KCL initialized {message.shard_id} on the connection of {self.shard_id}")
        self.shard_id = self._pipe.whose = message.shard_id
        checkpoint = END if message.sequence_number == SHARD_END else message.checkpoint
        self.lane = self._links.open(self, checkpoint)

    def opened(self, consumer: Partition_Consumer) -> None:
        """The engine has recovered the shard's state."""
        self.consumer = consumer
        number = consumer.state.number
        self._resumed_at = int(number)
        number = "the beginning" if number == NOTHING_READ else number
        log.tell(SHARD_OPENED, f"{self.shard_id} goes on after {number}", shard=self.shard_id, number=number)
        self.answer()

    def _process(self, message: Process_Records) -> None:
        known = len(self._came_ms) == self._came_ms.maxlen
        not_before_ms = self._came_ms[0] - self._standing_ms if known and self._came_ms[0] else 0
        self._came_ms.append(self._links.source_ms() or 0)
        batch = message.batch(max(0, not_before_ms))
        if batch.sequence_numbers and self._first:
            self._first = False
            again = bisect_right(batch.sequence_numbers, self._resumed_at, key=int)
            log.tell(
                FIRST_RECORDS,
                f"{self.shard_id}: the KCL delivers, {again} of the first {len(batch.payloads)} records once more",
                shard=self.shard_id,
                redelivered=again,
                records=len(batch.payloads),
            )
        self._submit_or_answer(lambda lane: self._links.engine.take(lane, batch))

    def answer(self) -> None:
        """What the KCL sent last was dealt with."""
        message, self._waiting = self._waiting, None
        if message is not None and not self.dead:
            self.last_word_s = time.monotonic()
            self._send(status_line(message))

    # ------------------------------------------------------------------ the end of it

    def closed(self, error: BaseException | None) -> None:
        """The shard has left the engine."""
        self.lane = None
        if error is None:  # what was asked for is done
            what = "was read to its end" if isinstance(self._waiting, Shard_Ended) else "is committed and released"
            log.tell(SHARD_CLOSED, f"{self.shard_id} {what}", shard=self.shard_id)
            self._release()
        elif isinstance(error, Lease_Lost | Superseded):
            log.tell(SHARD_LOST, f"{self.shard_id} is no longer ours: {error}", shard=self.shard_id)
            self._release()
        else:
            self._links.failed(self, error)
            self.hang_up()

    def _release(self) -> None:
        self.lane = None
        self.released = True
        self._released_s = time.monotonic()
        self.answer()

    def overtaken(self) -> None:
        """The KCL opened the same shard on another connection: that one counts."""
        log.tell(SHARD_REOPENED, f"{self.shard_id} was opened anew by the KCL", shard=self.shard_id)
        if self.lane is not None:
            self._links.engine.drop(self.lane)
        self._release()

    def drained(self, now_s: float) -> bool:
        """Whether a shard that was released should have gone by now."""
        return self.released and not self.dead and now_s - self._released_s > DRAIN_S

    # ------------------------------------------------------------------ checkpoints

    def checkpoint(self, number: str) -> Future[None]:
        """Ask for a checkpoint at a number or END. The KCL takes the question while it waits for a status, so on an
        idle connection the answer comes with its next message. The future raises Lease_Lost, Store_Unavailable (ask
        again), or Source_Error (nothing helps)."""
        answer: Future[None] = Future()
        if self.dead or self.released:
            answer.set_exception(Lease_Lost(f"the connection to the KCL for {self.shard_id} has ended"))
            return answer
        self._asked, self._asked_for = answer, number
        self._send(checkpoint_line(None if number == END else number))
        return answer

    def _checkpointed(self, message: Checkpointed) -> None:
        asked, self._asked = self._asked, None
        if asked is None:
            if self.released:
                return  # nobody waits for it any more
            raise Source_Error(f"The KCL answered a checkpoint for {self.shard_id} that was not asked for")
        error = message.error
        if error is None:
            self._invalid = 0
            self._links.committed(self, self._asked_for)
            asked.set_result(None)
        elif error in _LOST:
            asked.set_exception(Lease_Lost(f"the KCL says {error}: another worker has {self.shard_id}"))
        elif error in _LATER and (error != "InvalidStateException" or self._invalid < INVALID_MAX):
            self._invalid += error == "InvalidStateException"
            asked.set_exception(Store_Unavailable(f"the KCL's lease table does not take a checkpoint now ({error})"))
        else:
            asked.set_exception(Source_Error(f"the KCL refuses the checkpoint of {self.shard_id}: {error}"))
