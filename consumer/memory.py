"""How glibc deals with large arrays: a daemon gives memory back, a short program keeps it at hand."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def release_memory() -> None:
    """Give back what large arrays have left behind, which looks like growth from outside. Takes some milliseconds;
    worth it when windows have left memory."""
    with contextlib.suppress(AttributeError, OSError):  # another C library, which has no such call
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory() -> None:
    """Keep freed memory for the next buffer, instead of asking the system for new pages each time: a tenth of the time
    of a program that reads a file and ends."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        library.mallopt(_M_TOP_PAD, 16 << 20)
