"""What the KCL's JVM says to a record processor, and what it is told: lines of JSON come out of a pipe, messages and
batches go out; answers are made here too.

A message of 10,000 records is a line of several megabytes. It is read into one buffer that is used again for the next,
and decoded where it lies: the base64 of each record becomes bytes in the JSON decoder, and nothing else is copied.
The protocol is that of the MultiLangDaemon of KCL 3.1 (package software.amazon.kinesis.multilang.messages).
"""

import contextlib
import fcntl
import io

import msgspec

from sa_stream import native
from sa_stream.errors import Source_Error
from sa_stream.native.messages import HEAD, Taken, taken_of
from sa_stream.partitions import Batch

READ_BYTES = 512 << 10  # a larger read leaves the processor's cache before it is looked at
BUFFER_BYTES = 4 << 20  # at first; doubled for a message that does not fit
HELD_BYTES_MAX = 64 << 10  # less than this is held without a buffer, so that all pipes share one, which stays warm
PIPE_BYTES = 1 << 20  # the most that Linux gives without privileges: fewer wake-ups
PACKED_BYTES_MIN = 16 << 10  # of a message that is worth a call of the kernel
MESSAGE_BYTES_MAX = 256 << 20  # GetRecords answers at most 10 MiB; aggregated records add their envelopes to it

SHARD_END = "SHARD_END"  # where the KCL says that a shard is read, once it was checkpointed to its end

_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ, which not every platform has


class Initialize(msgspec.Struct, tag_field="action", tag="initialize"):
    """A shard is ours now. sequence_number: its checkpoint, or the name of the position where it begins."""

    shard_id: str = msgspec.field(name="shardId")
    sequence_number: str | None = msgspec.field(name="sequenceNumber", default=None)

    @property
    def checkpoint(self) -> str | None:
        """The committed number; None before the first."""
        number = self.sequence_number or ""
        return number if number.isdecimal() else None


class Record(msgspec.Struct, gc=False):
    data: bytes
    sequence_number: str = msgspec.field(name="sequenceNumber")
    arrival_ms: int = msgspec.field(name="approximateArrivalTimestamp")


class Process_Records(msgspec.Struct, tag_field="action", tag="processRecords", gc=False):
    records: list[Record]
    millis_behind_latest: int | None = msgspec.field(name="millisBehindLatest", default=None)

    def batch(self, not_fetched_before_ms: int = 0) -> Batch:
        records = self.records
        return Batch(
            [record.data for record in records],
            [record.arrival_ms for record in records],
            [record.sequence_number for record in records],
            1 if self.millis_behind_latest is None else self.millis_behind_latest,  # unknown is not 'at the tip'
            not_fetched_before_ms,
        )


class Packed_Records(Process_Records, tag_field="action", tag="processRecords", gc=False):
    """The same as the kernel reads it, in few arrays."""

    packed: Batch | None = None

    def batch(self, not_fetched_before_ms: int = 0) -> Batch:
        assert self.packed is not None
        self.packed.not_fetched_before_ms = not_fetched_before_ms
        return self.packed


class Checkpointed(msgspec.Struct, tag_field="action", tag="checkpoint"):
    """Answer to our `checkpoint`. error: simple name of a Java exception, None if it is done."""

    sequence_number: str | None = msgspec.field(name="sequenceNumber", default=None)
    error: str | None = None


class Lease_Was_Lost(msgspec.Struct, tag_field="action", tag="leaseLost"):
    """Another worker has the shard, or this one gives it up: no checkpoint is possible any more."""


class Shard_Ended(msgspec.Struct, tag_field="action", tag="shardEnded"):
    """The shard is closed and everything of it was delivered: it has to be checkpointed at its end."""


class Shutdown_Requested(msgspec.Struct, tag_field="action", tag="shutdownRequested"):
    """The worker stops, or hands this shard over: the last moment for a checkpoint."""


type Message = Initialize | Process_Records | Checkpointed | Lease_Was_Lost | Shard_Ended | Shutdown_Requested

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(
    Initialize | Process_Records | Checkpointed | Lease_Was_Lost | Shard_Ended | Shutdown_Requested
)


def decode_message(line: bytes | memoryview | Taken, shard: str = "") -> Message:
    """One line of the KCL. Raises Source_Error, which names the shard, for anything that is no message known here."""
    taken = line if isinstance(line, Taken) else taken_of(line) if len(line) >= PACKED_BYTES_MIN else None
    if taken is not None and (batch := taken.batch()) is not None:
        return Packed_Records([], packed=batch)
    try:
        return _decoder.decode(line) if not isinstance(line, Taken) else _completed(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        whose = f" for {shard}" if shard else ""
        raise Source_Error(
            f"The KCL sent a line of {len(line)} bytes{whose} that is no message known here: {error}. Use the version "
            "of amazon-kclpy that docs/operations.md names"
        ) from error


def _completed(taken: Taken) -> Message:
    """A message of which the first records were taken. The decoder gets another one in their place, so that it sees
    what stands between them and the rest."""
    first = taken.records(0)
    if not first.payloads:
        return _decoder.decode(HEAD + taken.rest)
    message = _decoder.decode(b"".join((HEAD, _IN_PLACE, b"]" if taken.ended else b",", taken.rest)))
    assert isinstance(message, Process_Records)
    message.records[:1] = map(Record, first.payloads, first.sequence_numbers, first.arrivals_ms)
    return message


_IN_PLACE = b'{"data":"","sequenceNumber":"0","approximateArrivalTimestamp":0}'


def action_of(message: Message) -> str:
    return str(message.__struct_config__.tag)


def status_line(message: Message) -> bytes:
    """Says that a message was dealt with; the KCL sends nothing more before."""
    return b'{"action":"status","responseFor":"%s"}\n' % action_of(message).encode()


def checkpoint_line(sequence_number: str | None) -> bytes:
    """Asks for a checkpoint at this record; None: at the end of the shard."""
    return msgspec.json.encode({"action": "checkpoint", "sequenceNumber": sequence_number}) + b"\n"


class Buffers:
    """Buffers for lines that are being read, one a pipe with a part of a line in it; used again, the warmest first."""

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._size = max(buffer_bytes, 2 * READ_BYTES)
        self._free: list[bytearray] = []

    def get(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(self._size)

    def put(self, buffer: bytearray) -> None:
        if len(self._free) < 2 and len(buffer) <= 8 * self._size:  # the memory of a burst is not kept
            self._free.append(buffer)


class Line_Pipe:
    """Whole lines from a pipe. Owns the file descriptor; holds a buffer only while there is something in it.

    `whose` is named in errors. The lines that `read` returns are views of the buffer, valid until the next `read` of
    any pipe with the same buffers. Of a message with records the kernel takes these out of the buffer as they come:
    then only what is left of it is such a view.
    """

    def __init__(self, descriptor: int, buffers: Buffers | None = None, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self.whose = ""
        self._file = io.FileIO(descriptor)
        self._buffers = buffers or Buffers()
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # of what was read and not yet handed out
        self._held = b""  # the same, without a buffer
        self._longest = 0  # line so far
        self._taken: Taken | None = None  # of the line that begins at _start
        self._plain = False  # nothing is taken of it
        with contextlib.suppress(OSError):  # not a pipe, or not Linux: works as well, with more reads
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self) -> list[memoryview | Taken] | None:
        """Read once, and return the lines that are whole now, each with its newline (perhaps none); None at the end.

        Raises Source_Error for a line that is too long to be one of the KCL's.
        """
        self._make_room()
        count = self._file.readinto(self._view[self._end : self._end + READ_BYTES])
        if not count:
            self._hold_little()
            return None if count == 0 else []
        lines: list[memoryview | Taken] = []
        newline = self._buffer.find(b"\n", self._end, self._end + count)
        self._end += count
        self._take(newline + 1 or self._end)
        while newline >= 0:
            rest = self._view[self._start : newline + 1]
            if self._taken is not None:
                self._taken.rest = rest
            lines.append(rest if self._taken is None else self._taken)
            self._longest = max(self._longest, len(rest))
            self._start, self._taken, self._plain = newline + 1, None, False
            newline = self._buffer.find(b"\n", self._start, self._end)
            self._take(newline + 1 or self._end)
        if self.cut_off_bytes > self._bytes_max:
            raise Source_Error(
                f"The KCL sends a message of more than {self._bytes_max >> 20} MiB for {self.whose or 'a shard'}: set "
                "SGRAPH_SEND__SA_KCL__maxRecords to a smaller number"
            )
        self._hold_little()
        return lines

    def _hold_little(self) -> None:
        """Hold a small rest without a buffer, which others can use then."""
        if self._end - self._start < HELD_BYTES_MAX:
            self._held = bytes(self._view[self._start : self._end])
            self._give_back()

    def _take(self, end: int) -> None:
        """Take records out of the line that begins at _start and has come up to here."""
        if self._taken is None and not self._plain and end - self._start >= PACKED_BYTES_MIN:
            self._plain = not native.AVAILABLE or not self._buffer.startswith(HEAD, self._start)
            if not self._plain:
                self._taken = Taken()
                self._start += len(HEAD)
        if self._taken is not None and not self._taken.ended:
            self._start += self._taken.take(self._view[self._start : end])

    def _give_back(self) -> None:
        self._buffers.put(self._buffer)
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def _make_room(self) -> None:
        """Room for one read. What is held moves to the front early, while it is the small beginning of a line that
        would not fit behind it."""
        size, held = len(self._buffer), self._end - self._start
        if not size:
            self._buffer = self._buffers.get()
            self._view = memoryview(self._buffer)
            self._end = len(self._held)
            self._view[: self._end], self._held = self._held, b""
            return
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
        """Bytes of a line without an end so far: after the end of the pipe, a message that was cut off."""
        taken = 0 if self._taken is None else self._taken.size_bytes
        return self._end - self._start + len(self._held) + taken

    def close(self) -> None:
        self._file.close()
