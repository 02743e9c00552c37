"""A local file that is read some time after it was found: meanwhile it may have grown, but it must be no other one, and
hold what it held. Else lines are missing of which nobody would hear."""

import os
from io import FileIO
from typing import NamedTuple

NEAR_BYTES = 1 << 12  # a line that ends no further on is read to its end
ADVICE = "start again when nothing changes it any more"


class Found(NamedTuple):
    """size_bytes  None: unknown, as of a pipe
    identity    device and inode; None: it is opened once, and may be any file
    """

    size_bytes: int | None = None
    identity: tuple[int, int] | None = None


class Local_File(FileIO):
    """Raises OSError where it is not as it was found."""

    def __init__(self, path: str, found: Found) -> None:
        super().__init__(path)
        self._found = found
        if found.identity not in (None, identity_of(self._now())):
            self.close()
            raise OSError(f"another file has taken its place while it was read: {ADVICE}")

    def read(self, amount: int | None = -1, /) -> bytes:
        """About that many bytes: to the end of a line where one is near, so that nobody has to put lines together."""
        if amount is not None and amount > 0 and self._found.size_bytes is not None:
            amount += os.pread(self.fileno(), NEAR_BYTES, self.tell() + amount).find(b"\n") + 1
        block = super().read(amount)
        if not block and (self._found.size_bytes or 0) > self._now().st_size:
            raise OSError(f"it was cut while it was read, and had {self._found.size_bytes:,} bytes before: {ADVICE}")
        return block or b""

    def _now(self) -> os.stat_result:
        return os.fstat(self.fileno())


def name_of(path: str | os.PathLike[str]) -> str:
    """What a path is called. It may be bytes that no text has; its name can be printed, and put into JSON."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def identity_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
