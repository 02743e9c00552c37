"""All shards that this worker reads: pipes handed over by children come in, each becomes a Shard_Link of the engine."""

import time
from collections import deque

from consumer.kcl.handover import Handed_Over
from consumer.kcl.properties import Fetch_Ahead
from consumer.kcl.shard_link import Shard_Link
from consumer.worker.application import Application
from consumer.worker.engine import Engine
from consumer.worker.lane import Answered_Later, Lane
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.errors import Config_Error, SA_Stream_Error, Source_Error, Store_Unavailable, Unknown_Version
from sa_stream.log import DRAINED, Log
from sa_stream.partitions import Shard_Info
from sa_stream.sources.kcl_messages import Buffers
from sa_stream.timing import Now, moment

log = Log("links")

MESSAGES_MAX = 4  # that are read at the same time; each may take some ten megabytes
LIST_OLD_S = 30.0  # so long a list of shards may be behind what the KCL says of a shard's end
STUCK_S = 180.0  # nothing from a shard that is ours for so long: the KCL sits still
BROKEN_S = 10.0  # after a connection broke, the other shards have so long to commit


class Shard_Links:
    """Lives in the engine's thread.

    fetch_ahead  how old an answer of the KCL may be
    by_shard     the link that counts, of every shard
    failure      an error of the kind that no later try can mend
    uncommitted  shards whose connection ended before they were released
    stopping     no shard is opened any more; `refused`: and the KCL has tried to. (While it waits for its last shards,
                 KCL 3.1.3 takes back the leases that it has just let go; after a split it waits in vain.)
    """

    def __init__(self, engine: Engine, application: Application, fetch_ahead: Fetch_Ahead) -> None:
        self.engine = engine
        self.buffers = Buffers()
        self.by_shard: dict[str, Shard_Link] = {}
        self.failure: BaseException | None = None
        self.uncommitted: set[str] = set()
        self.stopping = False
        self.refused = False
        self._application = application
        self._health = application.health
        self._fetch_ahead = fetch_ahead
        self._connections: set[Shard_Link] = set()
        self._reading: set[Shard_Link] = set()  # in the middle of a message
        self._parked: deque[Shard_Link] = deque()
        self._listed: dict[str, Shard_Info] = {}
        self._broken_s: float | None = None

    def connect(self, pipes: Handed_Over) -> None:
        """A child has handed over its pipes."""
        if self.stopping:
            self.refused = True
            pipes.close()
            return
        self._connections.add(Shard_Link(self, pipes, self._fetch_ahead))

    @property
    def held(self) -> list[str]:
        """Shards that are read here."""
        return [shard_id for shard_id, link in self.by_shard.items() if link.lane is not None]

    def trouble(self, now_s: float) -> str | None:
        """Why the KCL's process has to be started anew; None if it has not. now_s: monotonic."""
        for link in list(self._connections):
            if link.drained(now_s):
                log.tell(DRAINED, f"{link.shard_id} was given up here, but the KCL goes on", shard=link.shard_id)
                link.hang_up()
            elif link.lane is not None and link.waits_for_kcl and now_s - link.last_word_s > STUCK_S:
                return f"{link.shard_id} is ours, and nothing has come from it for {STUCK_S:.0f} s"
        if self._broken_s is not None and (not self.held or now_s - self._broken_s > BROKEN_S):
            return "the connection of a shard has ended"
        return None

    def started_anew(self) -> None:
        """The KCL's process is a new one: what connections there are belong to the old one, and will end."""
        self._broken_s = None

    def hang_up(self) -> None:
        for link in list(self._connections):
            link.hang_up()

    # ------------------------------------------------------------------ what links need

    def source_ms(self) -> int | None:
        """A time that the source's clock certainly shows now; None if that is not known."""
        return self._application.reader.clock.at(moment())

    def may_read(self, link: Shard_Link) -> bool:
        """Only a few large messages are read at the same time; other links are parked until one of them is whole."""
        if link in self._reading or len(self._reading) < MESSAGES_MAX:
            return True
        link.park()
        self._parked.append(link)
        return False

    def has_read(self, link: Shard_Link) -> None:
        if link.message_is_cut and not link.dead:
            self._reading.add(link)
            return
        self._reading.discard(link)
        # As many as there is room for: each has something to read, and looks here again once it has.
        for _ in range(min(len(self._parked), MESSAGES_MAX - len(self._reading))):
            self._parked.popleft().unpark()

    def open(self, link: Shard_Link, checkpoint: str | None) -> Lane:
        shard_id = link.shard_id
        before = self.by_shard.get(shard_id)
        if before is not None:
            before.overtaken()
        self.by_shard[shard_id] = link
        self._health.forget(shard_id)
        self._health.shard(shard_id, moment())
        return self.engine.open(
            shard_id,
            self._recover_steps(shard_id, checkpoint, Answered_Later(link.checkpoint)),
            link.opened,
            link.answer,
            lambda partition, error: link.closed(error),
            self._end_steps,
        )

    def failed(self, link: Shard_Link, error: BaseException) -> None:
        """The engine could not go on with a shard."""
        if isinstance(error, Unknown_Version | Config_Error):
            self.failure = error
        elif not isinstance(error, SA_Stream_Error):
            consumer, why = link.consumer, f"{type(error).__name__}: {error}"
            folding, careful = (None, False) if consumer is None else (consumer.folding, consumer.careful)
            self._application.poison.failed(link.shard_id, folding, why, careful)

    def committed(self, link: Shard_Link, number: str) -> None:
        """A checkpoint was confirmed: what broke the engine before it is over."""
        poison = self._application.poison
        poison.committed(link.shard_id, number)
        if link.consumer is not None:
            link.consumer.careful = poison.careful(link.shard_id)

    def gone(self, link: Shard_Link) -> None:
        self._connections.discard(link)
        if link in self._parked:
            self._parked.remove(link)
        self.has_read(link)
        if self.by_shard.get(link.shard_id) is link:
            del self.by_shard[link.shard_id]
            self._health.forget(link.shard_id)
            if not link.released:
                self.uncommitted.add(link.shard_id)
                self._broken_s = self._broken_s or time.monotonic()

    def _recover_steps(
        self, shard_id: str, checkpoint: str | None, commit: Answered_Later
    ) -> Steps[Partition_Consumer]:
        shard = yield call(self._shard_info, shard_id, checkpoint)
        return (yield from self._application.consumer_steps(shard, checkpoint, commit))

    def _shard_info(self, shard_id: str, checkpoint: str | None) -> Shard_Info:
        """What is known of a shard: by the stream, or, if that no longer lists it, by us, who have read it. Raises
        Store_Unavailable: ask again. So it is for one that nobody has begun with, as a list may be older than a child
        that the KCL has just heard of; where it knows younger shards, this one was trimmed unread."""
        if shard_id not in self._listed:
            self._listed = {shard.shard_id: shard for shard in self._application.list_shards()}
        if shard_id in self._listed:
            return self._listed[shard_id]
        progress = self._application.progress(shard_id)
        older = shard_id < max(self._listed, default="")  # shards are made in the order of their ids
        if progress is None and checkpoint is None and not older:
            raise Store_Unavailable(f"the stream does not list {shard_id}, which the KCL reads")
        return Shard_Info(shard_id, () if progress is None else progress.parents, closed=True)

    def _end_steps(self, consumer: Partition_Consumer, now: Now) -> Steps[None]:
        """The KCL says that a shard has ended; what becomes of that is decided by the stream, asked anew."""
        gone = yield call(self._is_gone, consumer, time.monotonic())
        yield from self._application.end_steps(consumer, gone)

    def _is_gone(self, consumer: Partition_Consumer, since_s: float) -> bool:
        """False: it was read to its end, as the stream lists it as closed. True: the stream no longer has it, though it
        has younger ones (shards are made in the order of their ids). The KCL says the same of both, and of an open
        shard of a stream that was deleted and made anew.

        Raises Store_Unavailable (ask again) while the list may be old, then Source_Error.
        """
        shard_id = consumer.state.partition
        listed = {shard.shard_id: shard for shard in self._application.list_shards()}
        if shard_id in listed and listed[shard_id].closed:
            return False
        if shard_id not in listed and shard_id < max(listed, default=""):
            return True
        how = "lists it as open" if shard_id in listed else "lists neither it nor any younger one"
        what = f"the KCL says that {shard_id} has ended, but the stream {how}"
        if time.monotonic() - since_s < LIST_OLD_S:
            raise Store_Unavailable(f"{what}: waiting for a newer list")
        raise Source_Error(f"{what}: it is read again from its last checkpoint")
