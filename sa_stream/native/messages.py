"""Messages of the KCL by the kernel: pieces of a message come in as they leave the pipe, payloads and numbers go out,
packed in few arrays. What of a message is not as usual is left for the JSON decoder.

Here stands the structure of kernel.c, name for name.
"""

import ctypes
import re
import sys
import threading
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from sa_stream import native
from sa_stream.native.packed import Packed_Numbers, Packed_Payloads
from sa_stream.partitions import Batch

type Bytes = npt.NDArray[np.uint8]
type Int64s = npt.NDArray[np.int64]

HEAD = b'{"action":"processRecords","records":['  # of a message, in front of its first record
RECORD_BYTES_MIN = 100  # of what a message says of a record, beside its payload
CONTENT_BYTES_MIN = 1 << 20  # room for payloads at first, or as much as the last message had

_TAIL = re.compile(rb',"millisBehindLatest":(0|[1-9][0-9]{0,17})\}\n')
_I64, _POINTER = ctypes.c_int64, ctypes.c_void_p
_KEPT_BYTES = 32 << 20
_UNUSED = 2  # the list, and the argument of the question
_buffers: list[Bytes] = []
_room = {"numbers": 0, "places": 0}  # that messages have needed: what nobody writes to takes no memory
_choosing = threading.Lock()  # so that no two threads find the same one unused


class _Message(ctypes.Structure):
    _fields_ = [
        *((name, _I64) for name in ("records_n", "records_max", "content_n", "content_max", "numbers_n")),
        *((name, _I64) for name in ("numbers_max", "ended")),
        *((name, _POINTER) for name in ("content_end", "number_end", "arrival_ms", "content", "numbers")),
    ]


def memory(shape: int, kind: Any) -> npt.NDArray[Any]:
    """An array that the kernel may write to."""
    return np.empty(shape, kind)


class Taken:
    """The records of a message as far as they came, and were as usual.

    rest   what follows on them, once the message is whole
    ended  whether the last of them was the message's last
    """

    def __init__(self) -> None:
        self.rest: bytes | memoryview = b""
        self._message = _Message()
        self._texts = {"content": _buffer(CONTENT_BYTES_MIN), "numbers": memory(_room["numbers"], np.uint8)}
        self._places: dict[str, Int64s] = {
            name: memory(_room["places"], np.int64) for name in ("content_end", "number_end", "arrival_ms")
        }
        for name, place in (*self._texts.items(), *self._places.items()):
            setattr(self._message, name, place.ctypes.data)
        self._message.content_max, self._message.numbers_max = map(len, self._texts.values())
        self._message.records_max = min(map(len, self._places.values()))

    @property
    def ended(self) -> bool:
        return bool(self._message.ended)

    @property
    def size_bytes(self) -> int:
        return int(self._message.content_n + self._message.numbers_n)

    def __len__(self) -> int:
        return self.size_bytes + len(self.rest)

    def take(self, piece: memoryview) -> int:
        """Take the records that a piece begins with; how many bytes of it they were."""
        assert native.LIBRARY is not None
        self._make_room(len(piece))
        text = np.frombuffer(piece, np.uint8)
        taken: int = native.LIBRARY.unpack(
            ctypes.c_void_p(text.ctypes.data), _I64(len(piece)), ctypes.byref(self._message)
        )
        return taken

    def _make_room(self, piece_bytes: int) -> None:
        """For whatever a piece of so many bytes may have."""
        message, records = self._message, self._message.records_n + piece_bytes // RECORD_BYTES_MIN + 1
        if message.content_max < message.content_n + piece_bytes:
            self._grow(self._texts, "content", message.content_n, message.content_n + piece_bytes)
            message.content_max = len(self._texts["content"])
        if message.numbers_max < message.numbers_n + piece_bytes // 2:
            self._grow(self._texts, "numbers", message.numbers_n, message.numbers_n + piece_bytes // 2)
            message.numbers_max = _room["numbers"] = len(self._texts["numbers"])
        if message.records_max < records:
            for name in self._places:
                self._grow(self._places, name, message.records_n, records)
            message.records_max = _room["places"] = min(map(len, self._places.values()))

    def _grow(self, arrays: dict[str, npt.NDArray[Any]], name: str, used: int, wanted: int) -> None:
        """Room for half as much again as is wanted, with what is used of the one before."""
        larger = memory(wanted + wanted // 2, arrays[name].dtype)
        larger[:used] = arrays[name][:used]
        arrays[name] = _kept(larger, arrays[name]) if name == "content" else larger
        setattr(self._message, name, larger.ctypes.data)

    def batch(self) -> Batch | None:
        """All that the message delivers; None if its rest is not as usual."""
        tail = _TAIL.fullmatch(self.rest) if self.ended and len(self.rest) < RECORD_BYTES_MIN else None
        return None if tail is None else self.records(int(tail[1]))

    def records(self, millis_behind_latest: int) -> Batch:
        """What was taken. Numbers and places are kept for long, so they are copied out of arrays with room for more."""
        message, places = self._message, self._places
        count = message.records_n
        return Batch(
            Packed_Payloads(self._texts["content"][: message.content_n], places["content_end"][:count].copy()),
            array("q", places["arrival_ms"][:count].tobytes()),  # times, and true if there are any, like a list
            Packed_Numbers(self._texts["numbers"][: message.numbers_n].copy(), places["number_end"][:count].copy()),
            millis_behind_latest,
        )


def _buffer(size: int) -> Bytes:
    """Memory for payloads, at least so much: used before, if nobody holds a part of it any more. Such memory is warm,
    and the largest need not grow."""
    with _choosing:
        unused = [place for place in range(len(_buffers)) if sys.getrefcount(_buffers[place]) == _UNUSED]
        largest = max(unused, key=lambda place: len(_buffers[place]), default=None)
        if largest is not None and len(_buffers[largest]) >= size:
            return _buffers[largest]
    return _kept(memory(size, np.uint8))


def _kept(fresh: Bytes, outgrown: Bytes | None = None) -> Bytes:
    """Memory that may be used again: the last that was made, as long as all of it together is not much."""
    with _choosing:
        _buffers[:] = [fresh, *(held for held in _buffers if held is not outgrown)]
        while len(_buffers) > 1 and sum(map(len, _buffers)) > _KEPT_BYTES:
            _buffers.pop()
    return fresh


def taken_of(line: bytes | memoryview) -> Taken | None:
    """A whole message, as far as it is as usual; None if its beginning is not."""
    if not native.AVAILABLE or bytes(line[: len(HEAD)]) != HEAD:
        return None
    taken, view = Taken(), memoryview(line)
    taken.rest = view[len(HEAD) + taken.take(view[len(HEAD) :]) :]
    return taken
