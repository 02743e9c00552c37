"""Memory for the kernel, and calls of it: whole lines come in, arrays go out. What they mean is the parser's.

Here stand the structures of kernel.c, name for name. All sizes are passed with the memory, and every array stays
reachable as long as a call may use it.
"""

import ctypes
import mmap
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from sa_stream import native

type Int64s = npt.NDArray[np.int64]
type UInt64s = npt.NDArray[np.uint64]
type Bytes = npt.NDArray[np.uint8]

COLUMNS_MAX = 32  # as in kernel.c, like the three below
FIELDS_MAX = 128
TIMES_MAX = 4
BYTES_MAX = 1 << 30  # of a buffer

ROWS_MAX = 3 << 15
TEXTS_MAX = 1 << 16  # distinct texts of all columns together
TEXT_BYTES_MAX = 16 << 20  # a line of the longest kind fits, whatever it has in its fields
ID_BYTES_MAX = 8 << 20
ODD_MAX = 1 << 14
MAPPED_BYTES_MIN = 64 << 10
SLOTS_MIN = 1 << 12  # of the table that texts are found by; it grows
_KEPT = 2  # sets of rows that wait to be used again: their memory is warm

_TEXT = np.dtype(
    [("hash", "u8"), ("at", "u4"), ("length", "u4"), ("column", "u4"), ("code", "u4"), ("row", "u4"), ("unused", "u4")]
)
_I64, _POINTER = ctypes.c_int64, ctypes.c_void_p
_NUMBERS = (
    *("rows_n", "rows_max", "texts_n", "texts_max", "bytes_n", "bytes_max"),
    *("ids_n", "ids_max", "odd_n", "odd_max", "slots", "slots_max"),
)
_ARRAYS = (
    *("event_ms", "size", "id_end", "payload", "line", "micros", "status", "codes"),
    *("odd", "slot", "text", "bytes", "ids"),
)


def memory(shape: int | tuple[int, ...], kind: Any) -> Any:
    """An array that the kernel may write to. A large one takes no more of the machine's memory than is written to it,
    page by page: numpy would ask for pages of 2 MB."""
    size_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size_bytes < MAPPED_BYTES_MIN:
        return np.empty(shape, kind)
    held = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(held, kind).reshape(shape)


class _Rows(ctypes.Structure):
    _fields_ = [
        *((name, _I64) for name in _NUMBERS),
        ("columns_n", _I64 * COLUMNS_MAX),
        ("seed", ctypes.c_uint64),
        *((name, _POINTER) for name in _ARRAYS),
    ]


class _Layout(ctypes.Structure):
    _fields_ = [
        *((name, _I64) for name in ("fields", "time", "status", "size", "id", "n", "path", "times")),
        ("place", _I64 * COLUMNS_MAX),
        ("taken", _I64 * TIMES_MAX),
    ]


class Line_Layout(Struct, frozen=True):
    """Where in a line of so many `fields` (from 0; None: nowhere) is what. `columns`: of each coded column; `path`: the
    one of these that ends at its query. `times`: of each column of how long something took."""

    fields: int
    time: int
    status: int | None
    size: int | None
    request_id: int | None
    columns: Sequence[int | None]
    path: int | None
    times: Sequence[int | None]

    def as_structure(self) -> _Layout:
        def place(index: int | None) -> int:
            return -1 if index is None else index

        layout = _Layout(self.fields, self.time, *map(place, (self.status, self.size, self.request_id)))
        assert self.fields <= FIELDS_MAX
        assert len(self.columns) <= COLUMNS_MAX
        assert len(self.times) <= TIMES_MAX
        layout.n, layout.path, layout.times = len(self.columns), place(self.path), len(self.times)
        layout.taken[: len(self.times)] = [place(index) for index in self.times]
        layout.place[: len(self.columns)] = [place(index) for index in self.columns]
        return layout


class Rows:
    """Rows of ordinary lines, what tells their texts apart, and where the other lines are."""

    def __init__(self) -> None:
        slots_max = 1 << (2 * TEXTS_MAX - 1).bit_length()
        sizes = {"rows_max": ROWS_MAX, "texts_max": TEXTS_MAX, "bytes_max": TEXT_BYTES_MAX, "ids_max": ID_BYTES_MAX}
        self.arrays: dict[str, Any] = {name: memory(ROWS_MAX, np.int64) for name in ("event_ms", "size")}
        self.arrays |= {name: memory(ROWS_MAX, np.int32) for name in ("payload", "line")}
        self.arrays |= {
            "id_end": memory(ROWS_MAX, np.uint32),
            "micros": memory((TIMES_MAX, ROWS_MAX), np.int32),
            "status": memory(ROWS_MAX, np.int16),
            "codes": memory((COLUMNS_MAX, ROWS_MAX), np.uint16),
            "odd": memory((ODD_MAX, 4), np.int64),
            "slot": memory(slots_max, np.uint32),
            "text": memory(TEXTS_MAX, _TEXT),
            "bytes": memory(TEXT_BYTES_MAX, np.uint8),
            "ids": memory(ID_BYTES_MAX, np.uint8),
        }
        self.arrays["slot"][:SLOTS_MIN] = 0
        pointers = {name: self.arrays[name].ctypes.data for name in _ARRAYS}
        self.numbers = _Rows(**sizes, **pointers, odd_max=ODD_MAX, seed=_SEED)
        self.numbers.slots, self.numbers.slots_max = min(SLOTS_MIN, slots_max), slots_max

    def scan(
        self, layout: _Layout, buffer: Bytes, begin: int, ends: Int64s, payload_0: int, first_line: int
    ) -> tuple[int, int]:
        """Read whole lines from `begin` on. ends: where in the buffer each payload ends.

        Returns where it stopped, at the end or at a line for which there is no room, and the number of that line in its
        payload.
        """
        assert native.LIBRARY is not None
        assert buffer.flags.c_contiguous
        assert ends.dtype == np.int64
        line = _I64(first_line)
        stopped = native.LIBRARY.scan(
            ctypes.byref(self.numbers),
            ctypes.byref(layout),
            buffer.ctypes.data_as(_POINTER),
            _I64(len(buffer)),
            _I64(begin),
            ends.ctypes.data_as(_POINTER),
            _I64(len(ends)),
            _I64(payload_0),
            ctypes.byref(line),
        )
        if stopped < begin:
            raise AssertionError(f"the kernel refuses {len(buffer)} bytes from {begin} on, in {len(ends)} payloads")
        return stopped, line.value

    def mark(self) -> "Mark":
        """How much is held."""
        return Mark(self.numbers.rows_n, self.numbers.texts_n, self.numbers.odd_n)

    def odd_since(self, mark: "Mark") -> Int64s:
        """Of each line since then that is not ordinary: begin and end in the buffer, payload, line."""
        odd: Int64s = self.arrays["odd"][mark.odd : self.numbers.odd_n]
        return odd

    def clear(self) -> None:
        numbers = self.numbers
        self.arrays["slot"][:SLOTS_MIN] = 0
        numbers.slots = min(SLOTS_MIN, numbers.slots_max)
        numbers.rows_n = numbers.texts_n = numbers.bytes_n = numbers.ids_n = numbers.odd_n = 0
        numbers.columns_n[:] = [0] * COLUMNS_MAX


class Mark(NamedTuple):
    rows: int
    texts: int
    odd: int


_SEED = secrets.randbits(64)
_free: list[Rows] = []


def take_rows() -> Rows:
    """Rows that nobody uses, and that hold nothing."""
    try:
        return _free.pop()
    except IndexError:
        return Rows()


def give_back(rows: Rows) -> None:
    if len(_free) < _KEPT:
        rows.clear()
        _free.append(rows)


def hash_texts(content: Bytes, begin: Int64s, end: Int64s, seed: int) -> tuple[UInt64s, bool]:
    """xxh3-64 of each text of a buffer, and whether some are longer than the kernel hashes, which are 0 then."""
    assert native.LIBRARY is not None
    hashes: UInt64s = memory(len(begin), np.uint64)
    longer = native.LIBRARY.hash_texts(
        content.ctypes.data_as(_POINTER),
        _I64(len(content)),
        begin.ctypes.data_as(_POINTER),
        end.ctypes.data_as(_POINTER),
        _I64(len(begin)),
        ctypes.c_uint64(seed),
        hashes.ctypes.data_as(_POINTER),
    )
    if longer < 0:
        raise AssertionError("a text to be hashed lies outside of its buffer")
    return hashes, longer > 0
