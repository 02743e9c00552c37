"""Runs of ids by the kernel: two ascending ones come in, one goes out; or one, and the ids of each minute go out."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from sa_stream import native

type UInt64s = npt.NDArray[np.uint64]
type Minutes = npt.NDArray[np.int32]

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
