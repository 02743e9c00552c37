"""The same payloads with and without the kernel, and memory that nobody may touch beside a buffer."""

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sa_stream import native
from sa_stream.native import rows
from sa_stream.records import decoder
from sa_stream.records.columns import CODED_COLUMNS, Columns
from sa_stream.records.fields import Field_Lists
from sa_stream.records.micros import DURATIONS
from sa_stream.records.parser import Parser
from sa_stream.records.request_ids import REQUEST_ID

SEED = 0x9E3779B97F4A7C15
LENGTHS = (0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 239, 240, 241, 1 << 20)

needs_kernel = pytest.mark.skipif(not native.AVAILABLE, reason=f"no kernel: {native.REASON}")


def seen(columns: Columns) -> list[Any]:
    """All that columns say; a path up to its query."""
    texts, lost = columns.as_texts, columns.dropped
    paths = [path if path.startswith("-?") else path.partition("?")[0] for path in columns.texts_of("cs-uri-stem")]
    hashes, present = texts.request_ids.hashed(SEED)
    return [
        columns.payload.tolist(),
        columns.line.tolist(),
        columns.event_ms.tolist(),
        columns.arrival_ms.tolist(),
        columns.field_count.tolist(),
        texts.status.tolist(),
        texts.sizes.tolist(),
        [paths if name == "cs-uri-stem" else columns.texts_of(name) for name in CODED_COLUMNS],
        [columns.micros_of(name) for name in DURATIONS],
        ["" if text == "-" else text for text in columns.texts_of(REQUEST_ID)],
        hashes.tolist(),
        present.tolist(),
        sorted(columns.huge.items()),
        sorted(zip(*(part.tolist() for part in (lost.reason, lost.payload, lost.line, lost.field_count)), strict=True)),
        sorted(lost.misfits.items()),
        columns.payload_arrivals_ms.tolist(),
    ]


def read(payloads: Sequence[bytes], lists: Field_Lists, arrivals_ms: Sequence[int], with_kernel: bool) -> list[Any]:
    """`seen` of payloads, as columns however few they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "FEW_ROWS", -1)
        patch.setattr(native, "AVAILABLE", with_kernel)
        return seen(Parser(lists).parse(payloads, np.array(arrivals_ms, np.int64)))


def assert_the_same(payloads: Sequence[bytes], lists: Field_Lists, arrivals_ms: Sequence[int]) -> None:
    kernel, judge = (read(payloads, lists, arrivals_ms, with_kernel) for with_kernel in (True, False))
    for one, other in zip(kernel, judge, strict=True):
        assert one == other


# ---------------------------------------------------------------------- guarded memory

_libc = ctypes.CDLL(None, use_errno=True)
_held: list[mmap.mmap] = []  # nothing is unmapped: arrays point into it


def guarded(size: int, at_end: bool) -> npt.NDArray[np.uint8]:
    """So many bytes with a page behind (or before) them that ends the process if it is touched."""
    page = mmap.PAGESIZE
    pages = -(-max(size, 1) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    _held.append(memory)
    whole = np.frombuffer(memory, np.uint8)
    for guard in (whole.ctypes.data, whole.ctypes.data + (pages + 1) * page):
        if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    begin = (pages + 1) * page - size if at_end else page
    return whole[begin : begin + size]


def forget_rows() -> None:
    """The next rows are made anew."""
    rows._free.clear()
