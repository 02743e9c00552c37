"""How far the readers of all shards may be ahead of the engine: so many batches each, and so many bytes together, as a
backlog of many shards would else fill the memory before anything of it is counted."""

import threading
from collections import deque
from collections.abc import Hashable

from sa_stream.partitions import Batch

BATCH_BYTES_MAX = 10 << 20  # what Kinesis answers at most
RECORD_BYTES = 200  # what a record takes beside its payload
ANSWER_RATE = 3  # an answer that is read and decoded takes so many times what its batch does


class Read_Ahead:
    """A reader asks with `begin`, and says with `read` or `give_up` what became of it; `taken` is the engine's word.
    From any thread.

    reader  of a shard, another one each time that it is opened: what an old one still brings counts nowhere
    """

    def __init__(self, batches_max: int, bytes_max: int) -> None:
        self._batches_max = batches_max
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._ahead: dict[Hashable, deque[int]] = {}  # bytes of the batches that the engine has not taken
        self._reserved: dict[Hashable, int] = {}  # bytes that a read under way may bring
        self._last: dict[Hashable, int] = {}  # bytes of the last batch: the next one is like it
        self._waiting: set[Hashable] = set()

    @property
    def size_bytes(self) -> int:
        return sum(map(sum, self._ahead.values())) + sum(self._reserved.values())

    def begin(self, reader: Hashable, timeout_s: float) -> bool:
        """Wait until the next batch of a shard may be read."""
        with self._changed:
            self._waiting.add(reader)
            may = self._changed.wait_for(lambda: self._may(reader), timeout_s)
            self._waiting.discard(reader)
            if may:
                self._reserved[reader] = self._expected(reader)
            self._changed.notify_all()
            return may

    def read(self, reader: Hashable, batch: Batch) -> None:
        size_bytes = sum(map(len, batch.payloads)) + RECORD_BYTES * len(batch.payloads)
        with self._changed:
            if self._reserved.pop(reader, None) is None:
                return  # it was forgotten meanwhile
            self._ahead.setdefault(reader, deque()).append(size_bytes)
            self._last[reader] = size_bytes
            self._changed.notify_all()

    def give_up(self, reader: Hashable) -> None:
        """Nothing was read."""
        with self._changed:
            self._reserved.pop(reader, None)
            self._changed.notify_all()

    def taken(self, reader: Hashable) -> None:
        """The engine has taken the oldest batch of a shard."""
        with self._changed:
            self._ahead[reader].popleft()
            self._changed.notify_all()

    def forget(self, reader: Hashable) -> None:
        """The shard has left the engine, with whatever it had not taken."""
        with self._changed:
            for known in (self._ahead, self._reserved, self._last):
                known.pop(reader, None)
            self._changed.notify_all()

    def _may(self, reader: Hashable) -> bool:
        """Those that are least ahead go first, and somebody always goes."""
        ahead = len(self._ahead.get(reader, ()))
        if ahead >= self._batches_max:
            return False
        if any(len(self._ahead.get(other, ())) < ahead for other in self._waiting):
            return False
        held_bytes = self.size_bytes
        return not held_bytes or held_bytes + self._expected(reader) <= self._bytes_max

    def _expected(self, reader: Hashable) -> int:
        return ANSWER_RATE * self._last.get(reader, BATCH_BYTES_MAX)
