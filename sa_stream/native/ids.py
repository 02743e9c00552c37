"""Ids by the kernel. Runs of them: two ascending ones come in, one goes out; or one, and the ids of each minute go out.
And sets, which tell which of some ids they have.
"""

import ctypes
import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from sa_stream import native
from sa_stream.native.rows import memory

type UInt64s = npt.NDArray[np.uint64]
type Minutes = npt.NDArray[np.int32]
type Bools = npt.NDArray[np.bool_]

SLOTS_MIN = 1 << 10
MOVED_TOGETHER = 1 << 16  # slots of a set that grows

_I64, _POINTER = ctypes.c_int64, ctypes.c_void_p


def merged(one: tuple[UInt64s, Minutes], other: tuple[UInt64s, Minutes], oldest_minute: int) -> tuple[UInt64s, Minutes]:
    """Of two runs of ascending distinct ids with their minutes: an id of both has the later one, and those before the
    oldest are left out. Quickest where the other is the shorter one."""
    assert native.LIBRARY is not None
    arguments: list[ctypes.c_void_p | ctypes.c_int64] = []
    held: list[npt.NDArray[Any]] = []  # as long as the kernel reads it
    for ids, minutes in (one, other):
        assert len(ids) == len(minutes)
        held += [np.ascontiguousarray(ids, np.uint64), np.ascontiguousarray(minutes, np.int32)]
        arguments += [*(_POINTER(array.ctypes.data) for array in held[-2:]), _I64(len(ids))]
    room = len(one[0]) + len(other[0])
    ids, minutes = np.empty(room, np.uint64), np.empty(room, np.int32)
    count = native.LIBRARY.merge_ids(
        *arguments, _I64(oldest_minute), _POINTER(ids.ctypes.data), _POINTER(minutes.ctypes.data)
    )
    if 8 * count >= 7 * room:  # a little memory for nothing, instead of writing all of it once more
        return ids[:count], minutes[:count]
    return ids[:count].copy(), minutes[:count].copy()


def parted(ids: UInt64s, minutes: Minutes, first: int, count: int) -> tuple[UInt64s, npt.NDArray[np.int64]]:
    """Ids by their minutes, of which there are `count` from `first` on, and in the order in which they come; and where
    those of each minute end."""
    assert native.LIBRARY is not None
    assert len(ids) == len(minutes)
    ids, minutes = np.ascontiguousarray(ids, np.uint64), np.ascontiguousarray(minutes, np.int32)
    grouped, ends = np.empty(len(ids), np.uint64), np.empty(count, np.int64)
    failed = native.LIBRARY.part_ids(
        *(_POINTER(array.ctypes.data) for array in (ids, minutes)),
        *(_I64(len(ids)), ctypes.c_int32(first), _I64(count)),
        *(_POINTER(array.ctypes.data) for array in (ends, grouped)),
    )
    assert not failed
    return grouped, ends


class Id_Set:
    """Ids that came. It takes 11 to 24 bytes for each, and while it grows a half more; at least SLOTS_MIN slots."""

    def __init__(self) -> None:
        self._slots = np.zeros(SLOTS_MIN, np.uint64)
        self._used = 0

    def see(self, ids: UInt64s) -> Bools:
        """Which of them came before, in this call or an earlier one; takes all of them in."""
        if 4 * (self._used + len(ids)) > 3 * len(self._slots):
            self._grow(self._used + len(ids))
        return self._put(ids)

    def _grow(self, count: int) -> None:
        before = self._slots
        self._slots, self._used = np.zeros(3 * count, np.uint64), 0
        for begin in range(0, len(before), MOVED_TOGETHER):
            held = before[begin : begin + MOVED_TOGETHER]
            self._put(held[held != 0])

    def _put(self, ids: UInt64s) -> Bools:
        assert native.LIBRARY is not None
        ids = np.ascontiguousarray(ids, np.uint64)
        seen: Bools = memory(len(ids), np.bool_)
        fresh = native.LIBRARY.see_ids(
            _POINTER(ids.ctypes.data),
            _I64(len(ids)),
            ctypes.c_uint64(_SEED),
            _POINTER(self._slots.ctypes.data),
            *(_I64(len(self._slots)), _I64(self._used)),
            _POINTER(seen.ctypes.data),
        )
        assert fresh >= 0
        self._used += fresh
        return seen


_SEED = secrets.randbits(64)
