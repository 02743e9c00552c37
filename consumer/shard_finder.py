"""Finds the shards that this process may read: the stream's list and the checkpoints come in, shards to open go out.

It has a thread of its own, since a source or a store that hangs must not hold up what is being read already. Before the
first shard is handed out, its first records tell how records are to be read.
"""

import queue
import threading
import time
from collections.abc import Callable

from consumer.field_choice import Field_Choice
from consumer.health import Health
from consumer.logging import Log
from sa_stream.commits.progress import END, Shard_Info
from sa_stream.errors import Field_List_Error, Store_Unavailable
from sa_stream.records.fields import DETECT_LINES
from sa_stream.records.parser import unpacked
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader
from sa_stream.timing import wall_clock_ms

log = Log("shards")

LIST_S = 5.0  # how often shards are listed
LOOK_S = 0.2  # how often the first records are looked for
DOUBT_S = 10.0  # how long a few odd first records may be followed by better ones


class Shard_Finder:
    """`found` gets (shard, its checkpoint) of every shard that has not ended, and whose parents have; each once, until
    `again` says that it is to be opened anew.

    checkpoint    the committed number of a partition, None before the first; may raise Store_Unavailable
    first_read    where the reading of a shard without checkpoint begins
    every_round   called every few seconds, in this thread
    failure       what ended the thread, if something did
    """

    def __init__(
        self,
        reader: Kinesis_Reader,
        fields: Field_Choice,
        health: Health,
        checkpoint: Callable[[str], str | None],
        first_read: str,
        every_round: Callable[[], None],
    ) -> None:
        self.found: queue.SimpleQueue[tuple[Shard_Info, str | None]] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self._reader = reader
        self._fields = fields
        self._health = health
        self._kinesis_health = health.store("Kinesis")
        self._checkpoint = checkpoint
        self._first_read = first_read
        self._every_round = every_round
        self._handed_out: set[str] = set()
        self._ended: set[str] = set()  # read and committed to the end, which they stay for ever
        self._scouts: dict[str, Shard_Reader] = {}
        self._first_lines: list[bytes] = []
        self._first_lines_s = 0.0
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
                self._wake.wait(LIST_S if self._fields.checked else LOOK_S)
                self._wake.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it
            self.failure = error

    def _round(self) -> None:
        try:
            if not self._fields.checked:
                self._look_at_first_records()
            if self._fields.checked:
                self._hand_out()
            self._every_round()
        except Store_Unavailable as error:  # health has it from the call itself
            log.warning("discovery_waits", f"shards wait to be opened: {error}")

    def _hand_out(self) -> None:
        listed = self._list_shards()
        known = {shard.shard_id for shard in listed}
        for info in listed:
            if info.shard_id in self._handed_out or self._has_ended(info.shard_id):
                continue
            if all(self._has_ended(parent) for parent in info.parents if parent in known):
                self.found.put((info, self._checkpoint(info.shard_id)))
                self._handed_out.add(info.shard_id)

    def _list_shards(self) -> list[Shard_Info]:
        try:
            listed = self._reader.list_shards()
        except Store_Unavailable as error:
            self._kinesis_health.failed(wall_clock_ms(), str(error))
            raise
        self._kinesis_health.ok(wall_clock_ms())
        return listed

    def _has_ended(self, partition: str) -> bool:
        if partition not in self._ended and self._checkpoint(partition) == END:
            self._ended.add(partition)
        return partition in self._ended

    # ------------------------------------------------------------------ the first records

    def _look_at_first_records(self) -> None:
        """Let the first records decide, or contradict, the field list. A few odd ones may come first: they are doubted
        until there are enough, or nothing better has come for a while."""
        if len(self._first_lines) < DETECT_LINES:
            self._read_first_lines()
        if not self._first_lines:
            return
        self._first_lines_s = self._first_lines_s or time.monotonic()
        try:
            self._fields.decide(self._first_lines)
        except Field_List_Error:
            if len(self._first_lines) >= DETECT_LINES or time.monotonic() - self._first_lines_s > DOUBT_S:
                raise
            return
        for shard_id in self._scouts:
            self._health.forget(shard_id)  # those that wait for their parents are nobody's business yet
        self._scouts.clear()
        self._first_lines.clear()

    def _read_first_lines(self) -> None:
        """One read of every shard. A stream may answer often before it comes to a shard's first record, so each read
        goes on where the last one stopped."""
        if not self._scouts:
            for info in self._list_shards():
                self._scouts[info.shard_id] = Shard_Reader(self._reader, info.shard_id, self._first_read)
        for shard_id, scout in self._scouts.items():
            now_ms = wall_clock_ms()
            if now_ms < scout.ready_at_ms:
                continue
            try:
                batch = scout.read(now_ms)
            except Store_Unavailable as error:
                self._kinesis_health.failed(now_ms, str(error))
                raise
            if batch is not None:
                shard = self._health.shard(shard_id, now_ms)
                if not batch.payloads:  # an empty stream is ready; one with records is, once they are really read
                    shard.read(now_ms, batch.millis_behind_latest, None)
                self._kinesis_health.ok(now_ms)
                for payload in batch.payloads[:DETECT_LINES]:
                    self._first_lines += unpacked(payload).split(b"\n", DETECT_LINES)[:DETECT_LINES]
