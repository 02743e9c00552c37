"""Finds the shards that this process may read: the stream's list and what was begun before come in, shards to open go
out. A shard that was begun is opened although the list does not name it: it may be an old list, and if the stream has
really lost the shard, somebody has to end it.

It has a thread of its own, since a source or a store that hangs must not hold up what is being read already. Before the
first shard is handed out, its first records tell how records are to be read.
"""

import queue
import threading
from collections.abc import Callable, Iterable

from consumer.worker.application import Application
from consumer.worker.field_scout import LOOK_S, Field_Scout
from sa_stream.errors import Store_Unavailable
from sa_stream.log import DISCOVERY_WAITS, Log
from sa_stream.partitions import END, Shard_Info

log = Log("shards")

LIST_S = 5.0  # how often shards are listed


class Shard_Finder:
    """`found` gets (shard, its checkpoint) of every shard that has not ended, and whose parents have; each once, until
    `again` says that it is to be opened anew.

    checkpoint    the committed number of a partition, None before the first; may raise Store_Unavailable
    begun         every partition that was begun and has not ended; may raise Store_Unavailable
    failure       what ended the thread, if something did
    """

    def __init__(
        self,
        application: Application,
        checkpoint: Callable[[str], str | None],
        begun: Callable[[], Iterable[str]],
    ) -> None:
        self.found: queue.SimpleQueue[tuple[Shard_Info, str | None]] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self._application = application
        self._scout = Field_Scout(application)
        self._checkpoint = checkpoint
        self._begun = begun
        self._known: dict[str, Shard_Info] = {}
        self._remembered = False  # those that were begun before are known: after the start there are no new ones
        self._handed_out: set[str] = set()
        self._ended: set[str] = set()  # read and committed to the end, which they stay for ever
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="shards", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def again(self, partition: str) -> None:
        """Hand this shard out once more; from any thread."""
        self._handed_out.discard(partition)
        self._wake.set()

    def ended(self, partition: str) -> None:
        """The shard was committed to its end: its children may start. From any thread."""
        self._ended.add(partition)
        self._wake.set()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._round()
                self._wake.wait(LIST_S if self._application.fields.checked else LOOK_S)
                self._wake.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it
            self.failure = error

    def _round(self) -> None:
        try:
            if self._scout.decided():
                self._hand_out()
        except Store_Unavailable as error:  # health has it from the call itself
            log.tell(DISCOVERY_WAITS, f"shards wait to be opened: {error}")

    def _hand_out(self) -> None:
        """A shard is known once a list has named it, or was begun before: one list that lacks it, be it old
        or right, takes none of them away. Whether the stream still has it, only reading it tells."""
        if not self._remembered:
            for partition in self._begun():
                if not self._has_ended(partition):
                    progress = self._application.progress(partition)
                    parents = () if progress is None else progress.parents
                    self._known.setdefault(partition, Shard_Info(partition, parents, closed=True))
            self._remembered = True
        self._known.update((shard.shard_id, shard) for shard in self._application.list_shards())
        for info in list(self._known.values()):
            if info.shard_id in self._handed_out or self._has_ended(info.shard_id):
                continue
            if all(self._has_ended(parent) for parent in info.parents if parent in self._known):
                checkpoint = self._checkpoint(info.shard_id)
                self._handed_out.add(info.shard_id)  # first: `again` may come as soon as somebody has it
                self.found.put((info, checkpoint))

    def _has_ended(self, partition: str) -> bool:
        if partition not in self._ended and self._checkpoint(partition) == END:
            self._ended.add(partition)
        return partition in self._ended
