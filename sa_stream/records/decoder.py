"""Payload bytes in, text columns out: one row a line that has the number of fields of a configured list, and a table of
the lines that have not. What the texts mean is the parser's. This is the place for a faster decoder.

Nothing here makes a Python object for a row, but where there are few. A buffer of whole lines is read by polars' CSV
reader as text columns. The reader fills short lines and cuts long ones in silence, so the number of fields must be
proved: the last column is there in every row, and the buffer has exactly as many tabs as that takes. When the proof
fails, lines are judged one by one, still as arrays.

What the reader does that must be undone (polars 2.1, each with a test): it strips one `\\r` from the end of every field
and one byte order mark from the start of the buffer, it unpacks a buffer that begins with the magic bytes of gzip, zlib
or zstd (or fails on it), and one broken byte fails the whole buffer.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from sa_stream.records.columns import FEW_ROWS, FIELDS, TOO_LONG, Bools, Dropped, Int64s
from sa_stream.records.fields import RESULT_TYPE, TEXT_COLUMNS, Field_List, Field_Lists

LINE_BYTES_MAX = 1 << 20
UNPACKED_BYTES_MAX = 64 << 20  # of one gzip'd payload: a stranger's gzip must not fill the memory
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Decoded:
    """Rows of one field list.

    layout         the list; `frame`: its text columns, all of TEXT_COLUMNS among them (null or "-" is missing)
    payload, line  which line of which payload of the call
    """

    layout: "Layout"
    frame: pl.DataFrame
    payload: Int64s
    line: Int64s


class Line(NamedTuple):
    """One line of few.

    payload, line  which line of which payload of the call
    field_count    number of fields that it has
    layout         of the list with as many; None if there is none
    too_long       whether it is longer than LINE_BYTES_MAX; then it is not read
    texts          values of TEXT_COLUMNS in their order (None or "-" is missing); empty without a layout
    """

    payload: int
    line: int
    field_count: int
    layout: "Layout | None"
    too_long: bool
    texts: list[str | None]


class Decoder:
    """Reads lines by the configured field lists. Holds no state between calls."""

    def __init__(self, lists: Field_Lists) -> None:
        self._layouts = {listed.count: Layout(listed) for listed in lists.lists}

    def decode(self, payloads: Sequence[bytes]) -> tuple[list[Decoded], list[Dropped]]:
        """Rows of one or several batches' payloads, by list, and what is no record."""
        buffer = b"".join(payloads)
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        if not _whole_lines(buffer, lengths):
            payloads = [_prepared(payload) for payload in payloads]
            lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
            buffer = b"".join(payloads)
        for layout in self._layouts.values():
            frame = layout.read_proved(buffer) if buffer else None
            if frame is not None:
                return [Decoded(layout, frame, *_places(buffer, lengths, frame.height))], []
        return self._decode_lines(buffer, lengths)

    def decode_few(self, payloads: Sequence[bytes]) -> list[Line] | None:
        """The lines of payloads, one by one; None if that is no way for them: they are many, or packed."""
        lines = 0
        for payload in payloads:
            lines += payload.count(b"\n") + 1
            if lines > FEW_ROWS or payload[:2] == _GZIP_MAGIC:
                return None
        return [
            self._line(line, place, number)
            for place, payload in enumerate(payloads)
            for number, raw in enumerate(payload.split(b"\n"))
            if (line := raw.removesuffix(b"\r")) and line[0] != ord("#")
        ]

    def _line(self, line: bytes, payload: int, number: int) -> Line:
        count = line.count(b"\t") + 1
        too_long = len(line) > LINE_BYTES_MAX
        layout = self._layouts.get(count)
        texts = layout.texts(line) if layout is not None and not too_long else []
        return Line(payload, number, count, layout, too_long, texts)

    def decode_buffer(self, buffer: bytes) -> tuple[list[Decoded], list[Dropped]]:
        """Rows of whole lines from a file, which are one payload."""
        if not buffer:
            return [], []
        if buffer[-1] != 10:
            buffer += b"\n"
        for layout in self._layouts.values():
            frame = layout.read_proved(buffer)
            if frame is not None:
                zeros = np.zeros(frame.height, np.int64)
                return [Decoded(layout, frame, zeros, np.arange(frame.height, dtype=np.int64))], []
        return self._decode_lines(buffer, np.array([len(buffer)]))

    def _decode_lines(self, buffer: bytes, lengths: Int64s) -> tuple[list[Decoded], list[Dropped]]:
        """Line by line, as arrays."""
        if not buffer:
            return [], []
        lines = _Lines(buffer)
        payload_of, line_of = _places(buffer, lengths, len(lines.starts), lines.starts)
        fields = lines.tabs + 1
        is_record = (lines.lengths > 0) & (lines.first_bytes != ord("#"))
        too_long = is_record & (lines.lengths > LINE_BYTES_MAX)
        known = np.isin(fields, list(self._layouts))
        unknown = is_record & ~too_long & ~known
        dropped = [
            Dropped.of(payload_of[mask], line_of[mask], reason, fields[mask])
            for reason, mask in ((TOO_LONG, too_long), (FIELDS, unknown))
            if mask.any()
        ]
        decoded = []
        for count, layout in self._layouts.items():
            mask = is_record & ~too_long & (fields == count)
            if mask.any():
                frame = layout.read(lines.take(mask))
                decoded.append(Decoded(layout, frame, payload_of[mask], line_of[mask]))
        return decoded, dropped


class Layout:
    """How the CSV reader must be called for one field list."""

    def __init__(self, listed: Field_List) -> None:
        self.count = listed.count
        self.has_status = listed.index("sc-status") is not None
        self.has_bytes = listed.index("sc-bytes") is not None
        last = listed.count - 1
        used = {listed.names.index(name): RESULT_TYPE if name == listed.result_field else name for name in listed.used}
        self.proof = used.get(last, "_last") if listed.names[last] not in listed.dropped else None
        names = [used.get(index, f"_{index}") for index in range(listed.count)]
        if self.proof is not None:
            names[last] = self.proof
        self.schema = dict.fromkeys(names, pl.String)
        place = {name: index for index, name in used.items()}
        self.places = [place.get(name) for name in TEXT_COLUMNS]
        self.wanted = sorted({*used, last} if self.proof else used)
        self.absent = [pl.lit(None, pl.String).alias(name) for name in TEXT_COLUMNS if name not in used.values()]

    def texts(self, line: bytes) -> list[str | None]:
        """Values of TEXT_COLUMNS, in their order, of a line that has the right number of fields."""
        values = line.decode("utf-8", "replace").split("\t")
        return [None if place is None else values[place] or None for place in self.places]

    def read(self, buffer: bytes) -> pl.DataFrame:
        """Rows of a buffer in which every line has the right number of fields."""
        frame = self._read(buffer)
        if "_last" in frame.columns:
            frame = frame.drop("_last")
        return frame.with_columns(self.absent) if self.absent else frame

    def read_proved(self, buffer: bytes) -> pl.DataFrame | None:
        """Rows of a buffer; None unless every line is shown to be a record of the right number of fields and length."""
        if self.proof is None or buffer[0] in b"\n\r#" or _may_hold_long_line(buffer):
            return None
        if b"#" in buffer and b"\n#" in buffer:  # one byte is found much faster than two
            return None
        try:
            frame = self._read(buffer)
        except (pl.exceptions.SchemaError, pl.exceptions.ComputeError):
            return None  # the first line has another number of fields: the reader takes the schema from it
        if frame[self.proof].null_count() or count_bytes(buffer, 9) != (self.count - 1) * frame.height:
            return None
        if "_last" in frame.columns:
            frame = frame.drop("_last")
        return frame.with_columns(self.absent) if self.absent else frame

    def _read(self, buffer: bytes) -> pl.DataFrame:
        # The reader swallows one mark, and without one would unpack what begins like gzip, zlib or zstd.
        if not buffer[:1].isdigit():
            buffer = _BYTE_ORDER_MARK + buffer
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\t", b"\r\r\t")  # the reader strips one from the end of every field
        try:
            return self._read_csv(buffer)
        except pl.exceptions.ComputeError:
            return self._read_csv(buffer.decode("utf-8", "replace").encode())

    def _read_csv(self, buffer: bytes) -> pl.DataFrame:
        return pl.read_csv(
            buffer,
            separator="\t",
            has_header=False,
            quote_char=None,
            schema=self.schema,
            columns=self.wanted,
            truncate_ragged_lines=True,
        )


class _Lines:
    """Where the lines of a buffer are: starts, lengths without line ends, tabs and first bytes, as arrays."""

    def __init__(self, buffer: bytes) -> None:
        self._bytes = np.frombuffer(buffer, np.uint8)
        self._buffer = buffer
        newlines = np.flatnonzero(self._bytes == 10)
        self.starts = np.concatenate(([0], newlines[:-1] + 1))
        self._ends = newlines + 1
        carriage = (newlines > self.starts) & (self._bytes[np.maximum(newlines - 1, 0)] == 13)
        self.lengths = newlines - self.starts - carriage
        self.tabs = np.diff(np.searchsorted(np.flatnonzero(self._bytes == 9), newlines), prepend=0)
        self.first_bytes = self._bytes[self.starts]

    def take(self, mask: Bools) -> bytes:
        """The chosen lines, one after the other."""
        if mask.all():
            return self._buffer
        flips = np.flatnonzero(np.diff(mask, prepend=False, append=False))  # runs of chosen lines: [from, to)
        runs = zip(flips[::2], flips[1::2], strict=True)
        view = memoryview(self._buffer)
        return b"".join([view[self.starts[first] : self._ends[last - 1]] for first, last in runs])


def _prepared(payload: bytes) -> bytes:
    payload = unpacked(payload)
    return payload if not payload or payload[-1] == 10 else payload + b"\n"


def unpacked(payload: bytes) -> bytes:
    """The content of a gzip payload (also of several members). What is not gzip from end to end, or unpacks to more
    than UNPACKED_BYTES_MAX, stays as it is and is malformed by its fields: half a payload would end in half a line."""
    if payload[:2] != _GZIP_MAGIC:
        return payload
    parts: list[bytes] = []
    rest, left = payload, UNPACKED_BYTES_MAX
    while rest[:2] == _GZIP_MAGIC:
        unpacker = zlib.decompressobj(31)
        try:
            part = unpacker.decompress(rest, left + 1)
        except zlib.error:
            return payload
        left -= len(part)
        if left < 0 or not unpacker.eof:
            return payload
        parts.append(part)
        rest = unpacker.unused_data
    return payload if rest.strip(b"\0") else b"".join(parts)  # zeros may follow: padding


def _whole_lines(buffer: bytes, lengths: Int64s) -> bool:
    """Whether each payload ends in a newline and is not gzip. Looks at the joined buffer, not at each payload."""
    if not len(lengths) or lengths.min() < 2:
        return False
    array = np.frombuffer(buffer, np.uint8)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    packed = (array[starts] == _GZIP_MAGIC[0]) & (array[starts + 1] == _GZIP_MAGIC[1])
    return bool((array[ends - 1] == 10).all() and not packed.any())


def _places(buffer: bytes, lengths: Int64s, lines: int, starts: Int64s | None = None) -> tuple[Int64s, Int64s]:
    """Which payload each line came in, and which of its lines it is. Every payload ends in a newline (or is empty)."""
    if lines == len(lengths) and lengths.all():  # each has at least one line, so each has just one
        return np.arange(lines, dtype=np.int64), np.zeros(lines, np.int64)
    if starts is None:
        newlines = np.flatnonzero(np.frombuffer(buffer, np.uint8) == 10)
        starts = np.concatenate(([0], newlines[:-1] + 1))
    ends = np.cumsum(lengths)
    payload_of = np.searchsorted(ends, starts, side="right")
    first_of = np.searchsorted(starts, np.concatenate(([0], ends[:-1])))
    return payload_of, np.arange(len(starts)) - first_of[payload_of]


def count_bytes(buffer: bytes, value: int) -> int:
    """How often a byte occurs. In blocks that stay in the processor's cache: 20 times as fast as bytes.count here."""
    array, block = np.frombuffer(buffer, np.uint8), 1 << 18
    return sum(int(np.count_nonzero(array[i : i + block] == value)) for i in range(0, len(array), block))


def _may_hold_long_line(buffer: bytes) -> bool:
    """A line longer than LINE_BYTES_MAX covers a whole block of half that size."""
    half = LINE_BYTES_MAX // 2
    return any(buffer.find(b"\n", i, i + half) < 0 for i in range(0, len(buffer) - half + 1, half))
