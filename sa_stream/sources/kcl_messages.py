"""What the KCL's daemon says to a record processor: lines of JSON come out of a pipe, batches go out.

A message of 10,000 records is a line of several megabytes. It is read into one buffer that is used again for the next,
and decoded where it lies: the base64 of each record becomes bytes in the JSON decoder, and nothing else is copied.
"""

import contextlib
import fcntl
import io

import msgspec

from sa_stream.errors import Source_Error
from sa_stream.records.batch import Batch

READ_BYTES = 512 << 10  # a larger read leaves the processor's cache before it is looked at
BUFFER_BYTES = 4 << 20  # at first; doubled for a message that does not fit
PIPE_BYTES = 1 << 20  # the most that Linux gives without privileges: fewer wake-ups

_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ, which not every platform has


class _Record(msgspec.Struct, gc=False):
    data: bytes
    sequence_number: str = msgspec.field(name="sequenceNumber")
    arrival_ms: int = msgspec.field(name="approximateArrivalTimestamp")


class _Process_Records(msgspec.Struct, tag_field="action", tag="processRecords", gc=False):
    records: list[_Record]
    millis_behind_latest: int | None = msgspec.field(name="millisBehindLatest", default=None)


_decoder = msgspec.json.Decoder(_Process_Records)


def decode_process_records(line: bytes | memoryview) -> Batch:
    """The batch of one `processRecords` message. Raises Source_Error for anything else."""
    try:
        message = _decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise Source_Error(
            f"The KCL sent a line of {len(line)} bytes that is no processRecords message known here: {error}. "
            "Use the version of amazon-kclpy that the README names"
        ) from error
    records = message.records
    return Batch(
        [record.data for record in records],
        [record.arrival_ms for record in records],
        [record.sequence_number for record in records],
        message.millis_behind_latest or 0,
    )


class Line_Pipe:
    """Whole lines from a pipe, read into one buffer. Owns the file descriptor."""

    def __init__(self, descriptor: int, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._file = io.FileIO(descriptor)
        self._buffer = bytearray(max(buffer_bytes, 2 * READ_BYTES))
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # of what was read and not yet handed out
        self._longest = 0  # line so far
        with contextlib.suppress(OSError):  # not a pipe, or not Linux: works as well, with more reads
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self) -> list[memoryview] | None:
        """Read once, and return the lines that are whole now, each with its newline (perhaps none); None at the end.
        They are views of the buffer, valid until the next call."""
        self._make_room()
        count = self._file.readinto(self._view[self._end : self._end + READ_BYTES])
        if not count:
            return None if count == 0 else []
        lines = []
        newline = self._buffer.find(b"\n", self._end, self._end + count)
        self._end += count
        while newline >= 0:
            lines.append(self._view[self._start : newline + 1])
            self._longest = max(self._longest, newline + 1 - self._start)
            self._start = newline + 1
            newline = self._buffer.find(b"\n", self._start, self._end)
        return lines

    def _make_room(self) -> None:
        """Room for one read. What is held moves to the front early, while it is the small beginning of a line that
        would not fit behind it."""
        size, held = len(self._buffer), self._end - self._start
        full = size - self._end < READ_BYTES
        if self._start and (full or size - self._start < self._longest + READ_BYTES):
            self._buffer[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
        elif full:  # a line larger than the buffer; views of the old one stay valid
            larger = bytearray(2 * size)
            larger[:held] = self._view[self._start : self._end]
            self._buffer, self._view = larger, memoryview(larger)
            self._start, self._end = 0, held

    @property
    def cut_off_bytes(self) -> int:
        """Bytes of a line without an end: after the end of the pipe, a message that was cut off."""
        return self._end - self._start

    def close(self) -> None:
        self._file.close()
