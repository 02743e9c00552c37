"""A large file of plain lines as several parts, so that several processes may read it: each has the lines that begin
in its range of bytes."""

import os
from collections.abc import Sequence
from functools import partial

from sa_stream.errors import Source_Error
from sa_stream.log_file import Log_Form
from sa_stream.sources.local_file import Found, Local_File, identity_of
from sa_stream.sources.log_forms import BYTE_ORDER_MARK, form_of, utf_16_of
from sa_stream.sources.log_part import Log_Part
from sa_stream.sources.unpacking import HEAD_BYTES, is_packed

RANGE_BYTES_MAX = 42 << 20  # of ordinary lines about as many as are folded at once
RANGE_BYTES_MIN = 1 << 20
RANGES_A_PROCESS = 4  # at least, so that all end at about the same time
_SKIP_BYTES = 1 << 16


def range_bytes_for(total_bytes: int, jobs: int) -> int:
    """How large ranges are, of which so many processes read so many bytes."""
    return max(RANGE_BYTES_MIN, min(RANGE_BYTES_MAX, total_bytes // (RANGES_A_PROCESS * jobs)))


def ranges_of(part: Log_Part, range_bytes: int) -> Sequence[Log_Part]:
    """A local file in ranges of about this size, and a smaller one first: until its lines have told the field list,
    other processes wait. The part itself if it is small, or anything else than plain lines that bring no names."""
    if part.path is None or part.size_bytes is None or part.size_bytes < 2 * range_bytes or not _is_plain(part):
        return [part]
    try:
        found = Found(part.size_bytes, identity_of(os.stat(part.path)))
    except OSError:  # its reader says so
        return [part]
    first_bytes = min(range_bytes, RANGE_BYTES_MIN)
    begins = (0, *range(first_bytes, part.size_bytes - range_bytes // 2, range_bytes))
    ends = [*begins[1:], None]  # what was added to the file meanwhile belongs to it, too
    size_bytes = part.size_bytes // len(begins)
    return [
        Log_Part(part.name, size_bytes, partial(Line_Range, part.path, begin, end, found), Log_Form.TEXT)
        for begin, end in zip(begins, ends, strict=True)
    ]


def _is_plain(part: Log_Part) -> bool:
    """Whether its first bytes are of lines without names; False if they cannot be read, which its reader will say."""
    try:
        source = part.open()
        try:
            head = source.read(HEAD_BYTES)
        finally:
            source.close()
        if is_packed(head) or utf_16_of(head) is not None or head.startswith(BYTE_ORDER_MARK):
            return False
        return form_of(head, part.name) == Log_Form.TEXT
    except (OSError, Source_Error):
        return False


class Line_Range:
    """The lines of a file that begin at or behind byte `begin`, and before byte `end` (None: that is its end)."""

    def __init__(self, path: str, begin: int, end: int | None, found: Found) -> None:
        self._file = Local_File(path, found)
        self._at = begin  # of the next byte that is given
        self._end = end
        self._held = b""
        self._begins_line = True  # at the next byte
        if begin:
            self._skip_line_before()

    def read(self, amount: int, /) -> bytes:
        """About that many bytes; none at the end. Raises OSError."""
        if self._end is not None and self._at >= self._end and self._begins_line:
            return b""
        if self._end is not None and self._at < self._end:
            amount = min(amount, self._end - self._at)
        block = self._held or self._file.read(amount)
        self._held = b""
        if self._end is not None and self._at + len(block) >= self._end:
            cut = block.find(b"\n", max(0, self._end - 1 - self._at)) + 1
            block = block[:cut] if cut else block
        self._at += len(block)
        self._begins_line = block.endswith(b"\n")
        return block

    def close(self) -> None:
        self._file.close()

    def _skip_line_before(self) -> None:
        """The line that the byte before the range is of, its end included."""
        self._at = self._file.seek(self._at - 1)
        while block := self._file.read(_SKIP_BYTES):
            cut = block.find(b"\n") + 1
            self._at += cut or len(block)
            if cut:
                self._held = block[cut:]
                return
