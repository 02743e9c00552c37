"""Gives memory back to the system: glibc keeps what large arrays leave behind, which looks like growth from outside."""

import ctypes
from collections.abc import Callable


def _find_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # another C library, which has no such call


_trim = _find_trim()


def release_memory() -> None:
    """Takes some milliseconds; worth it after a commit, when windows have left memory."""
    if _trim is not None:
        _trim(0)
