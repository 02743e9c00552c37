"""Objects of a store come in, their contents go out in the order asked, fetched ahead in parallel within a memory
limit."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from sa_stream.archive.files import Stored
from sa_stream.errors import Source_Error

AHEAD_BYTES_MAX = 64 << 20
THREADS = 32  # S3 gives a small object in 20 to 50 ms, so these are about a thousand a second
RANGE_BYTES = 8 << 20  # a larger object is fetched in ranges of this size
_CALL_BYTES = 4 << 10  # what a call takes in memory beside its answer


class Range_Store(Protocol):
    def read(self, stored: Stored, begin: int, length: int, /) -> bytes: ...


class Read_Ahead:
    """Contents of `objects`. They are opened in their order, one at a time; some may be left out.

    bytes_max  of answers that were asked for and not yet read; what is being read comes on top, a range at most
    """

    def __init__(
        self, store: Range_Store, objects: Sequence[Stored], bytes_max: int = AHEAD_BYTES_MAX, threads: int = THREADS
    ) -> None:
        self._store = store
        self._objects = objects
        self._free_bytes = bytes_max
        self._range_bytes = max(1, min(RANGE_BYTES, bytes_max // 4))
        self._to_ask = self._ranges()
        self._next: tuple[int, int, int] | None = next(self._to_ask, None)
        self._asked: deque[tuple[int, int, Future[bytes]]] = deque()  # index of the object, bytes, answer
        self._pool = ThreadPoolExecutor(threads, "read-ahead")

    def open(self, index: int) -> "Content":
        """The content of one object, which ends those before it."""
        self._drop_before(index)
        self.ask()
        return Content(self, index)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, index: int) -> bytes:
        """The next range of an object; empty at its end. Raises what the store does, and Source_Error for an object
        that is shorter than it was."""
        self.ask()
        if not self._asked or self._asked[0][0] != index:
            return b""
        _, length, answer = self._asked.popleft()
        try:
            content = answer.result()
        finally:
            self._free_bytes += length + _CALL_BYTES
            self.ask()
        if len(content) != length:
            raise Source_Error(f"{self._objects[index].key} has changed since it was listed")
        return content

    def end(self, index: int) -> None:
        """Let go of what is left of an object."""
        self._drop_before(index + 1)
        self.ask()
        if index == len(self._objects) - 1:
            self.close()

    def _ranges(self) -> Iterator[tuple[int, int, int]]:
        for index, stored in enumerate(self._objects):
            for begin in range(0, stored.size_bytes, self._range_bytes):
                yield index, begin, min(self._range_bytes, stored.size_bytes - begin)

    def ask(self) -> None:
        """Ask for what comes next, as far as there is room for it."""
        while self._next is not None:
            index, begin, length = self._next
            if length + _CALL_BYTES > self._free_bytes and self._asked:
                return
            answer = self._pool.submit(self._store.read, self._objects[index], begin, length)
            self._asked.append((index, length, answer))
            self._free_bytes -= length + _CALL_BYTES
            self._next = next(self._to_ask, None)

    def _drop_before(self, index: int) -> None:
        while self._asked and self._asked[0][0] < index:
            _, length, answer = self._asked.popleft()
            answer.cancel()
            self._free_bytes += length + _CALL_BYTES
        while self._next is not None and self._next[0] < index:
            self._next = next(self._to_ask, None)


class Content:
    """One object's bytes, as a file that is read once."""

    def __init__(self, ahead: Read_Ahead, index: int) -> None:
        self._ahead = ahead
        self._index = index
        self._held = b""

    def read(self, amount: int, /) -> bytes:
        """At most that many bytes; none at the end. Raises Source_Error, Store_Unavailable."""
        if not self._held:
            self._held = self._ahead.take(self._index)
        given, self._held = self._held[:amount], self._held[amount:]
        return given

    def close(self) -> None:
        self._held = b""
        self._ahead.end(self._index)
