"""One log file, wherever it lies, before it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(slots=True, frozen=True)
class Log_Part:
    """One file to read: what errors call it, its size as stored (None: unknown), and how to open it."""

    name: str
    size_bytes: int | None
    open: Callable[[], Readable]
