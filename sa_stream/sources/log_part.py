"""One log file, wherever it lies, before it is opened."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from sa_stream.log_file import Log_Form


class Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...

    def close(self) -> None: ...


class Log_Part(Struct, frozen=True):
    """One file to read, or a range of one.

    name        what errors call it
    size_bytes  as stored; None: unknown
    open        how to open it
    form        of its lines, which are not packed; None: nobody has looked into it
    path        where a local file is; None: it is none
    """

    name: str
    size_bytes: int | None
    open: Callable[[], Readable]
    form: Log_Form | None = None
    path: str | None = None
