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

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from sa_stream.frames import pl
from sa_stream.records.columns import FEW_ROWS, FIELDS, TOO_LONG, Bools, Dropped, Int64s
from sa_stream.records.fields import RESULT_TYPE, TEXT_COLUMNS, Field_List, Field_Lists, Time_Form
from sa_stream.records.shapes import witnesses

LINE_BYTES_MAX = 1 << 20
UNPACKED_BYTES_MAX = 64 << 20  # of one gzip'd payload: a stranger's gzip must not fill the memory
PORTION_BYTES_MAX = 16 << 20  # of what was unpacked and is read, and folded, at once,
PORTION_LINES_MAX = 1 << 18  # and of its lines: what is known of a line takes more memory than a short one itself
GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Decoded(Struct):
    """Rows of one field list.

    layout         the list; `frame`: its text columns, all of TEXT_COLUMNS among them (null or "-" is missing)
    payload, line  which line of which payload of the call
    text           the lines themselves, one a row
    """

    layout: Layout
    frame: pl.DataFrame
    payload: Int64s
    line: Int64s
    text: bytes

    def lines(self, rows: Bools) -> bytes:
        """The lines of the chosen rows."""
        return _Lines(self.text).take(rows)


class Line(NamedTuple):
    """One line of few.

    payload, line  which line of which payload of the call
    field_count    number of fields that it has
    layout         of the list with as many; None if there is none
    too_long       whether it is longer than LINE_BYTES_MAX; then it is not read
    values         of all its fields; `texts`: those of TEXT_COLUMNS in their order (None or "-" is missing). Both
                   are empty where it is not read
    """

    payload: int
    line: int
    field_count: int
    layout: Layout | None
    too_long: bool
    values: list[str]
    texts: list[str | None]


class Decoder:
    """Reads lines by the configured field lists. Holds no state between calls."""

    def __init__(self, lists: Field_Lists) -> None:
        self.layouts = {listed.count: Layout(listed) for listed in lists.lists}

    def decode(self, payloads: Sequence[bytes]) -> Iterator[tuple[list[Decoded], list[Dropped]]]:
        """Rows of one or several batches' payloads, by list, and what is no record: in one piece, unless that would
        take too much memory (see `portions`)."""
        buffer = b"".join(payloads)
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        decoded = self._proved(buffer, lengths) if whole_lines(buffer, lengths) else None
        if decoded is not None:
            yield [decoded], []
            return
        del buffer
        for portion in portions(payloads):
            yield self.decode_portion(portion)

    def decode_buffer(self, buffer: bytes) -> Iterator[tuple[list[Decoded], list[Dropped]]]:
        """Rows of whole lines from a file, which are one payload; in pieces like those of `decode`."""
        if buffer and buffer[-1] != 10:
            buffer += b"\n"
        lengths = np.array([len(buffer)])
        decoded = self._proved(buffer, lengths)
        if decoded is not None:
            yield [decoded], []
            return
        for portion in portions_of([buffer]):
            yield self.decode_portion(portion)

    def _proved(self, buffer: bytes, lengths: Int64s) -> Decoded | None:
        for layout in self.layouts.values():
            frame = layout.read_proved(buffer) if buffer else None
            if frame is not None:
                return Decoded(layout, frame, *_places(buffer, lengths, frame.height), buffer)
        return None

    def decode_portion(self, portion: Portion) -> tuple[list[Decoded], list[Dropped]]:
        """The same of one portion."""
        buffer = b"".join(portion.payloads)
        lengths = np.fromiter(map(len, portion.payloads), np.int64, len(portion.payloads))
        proved = self._proved(buffer, lengths)
        decoded, dropped = ([proved], []) if proved else self._decode_lines(buffer, lengths)
        parts: list[Decoded | Dropped] = [*decoded, *dropped]
        for part in parts:
            if portion.first_line:
                part.line = np.where(part.payload == 0, part.line + portion.first_line, part.line)
            part.payload = part.payload + portion.first_payload
        return decoded, dropped

    def decode_few(self, payloads: Sequence[bytes]) -> list[Line] | None:
        """The lines of payloads, one by one; None if that is no way for them: they are many, or packed, or their time
        has another form than a real-time log's."""
        lines = 0
        if any(layout.time_form != Time_Form.SECONDS for layout in self.layouts.values()):
            return None
        for payload in payloads:
            lines += payload.count(b"\n") + 1
            if lines > FEW_ROWS or payload[:2] == GZIP_MAGIC:
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
        layout = self.layouts.get(count)
        if layout is None or too_long:
            return Line(payload, number, count, layout, too_long, [], [])
        values = line.decode("utf-8", "replace").split("\t")
        return Line(payload, number, count, layout, too_long, values, layout.texts(values))

    def _decode_lines(self, buffer: bytes, lengths: Int64s) -> tuple[list[Decoded], list[Dropped]]:
        """Line by line, as arrays."""
        if not buffer:
            return [], []
        lines = _Lines(buffer)
        payload_of, line_of = _places(buffer, lengths, len(lines.starts), lines.starts)
        fields = lines.tabs + 1
        is_record = (lines.lengths > 0) & (lines.first_bytes != ord("#"))
        too_long = is_record & (lines.lengths > LINE_BYTES_MAX)
        known = np.isin(fields, list(self.layouts))
        unknown = is_record & ~too_long & ~known
        dropped = [
            Dropped.of(payload_of[mask], line_of[mask], reason, fields[mask])
            for reason, mask in ((TOO_LONG, too_long), (FIELDS, unknown))
            if mask.any()
        ]
        decoded = []
        for count, layout in self.layouts.items():
            mask = is_record & ~too_long & (fields == count)
            if mask.any():
                text = lines.take(mask)
                decoded.append(Decoded(layout, layout.read(text), payload_of[mask], line_of[mask], text))
        return decoded, dropped


class Layout:
    """How the CSV reader must be called for one field list: for some of its fields, or for those that are used and the
    witnesses of whether it is the line's."""

    def __init__(self, listed: Field_List, fields: Sequence[str] = ()) -> None:
        self.listed = listed
        self.count = listed.count
        self.witnesses = {name: listed.names.index(name) for name in witnesses(listed)}
        # The result type has one column, whichever field it is from; so has a witness that is that field.
        names = fields or (*(name for name in TEXT_COLUMNS if name != RESULT_TYPE), *self.witnesses)
        columns = dict(zip(names, names, strict=True))
        if not fields:
            columns[listed.result_field or RESULT_TYPE] = RESULT_TYPE
        self.has_status = listed.index("sc-status") is not None
        self.has_bytes = listed.index("sc-bytes") is not None
        last = listed.count - 1
        used = {index: column for name, column in columns.items() if (index := listed.index(name)) is not None}
        self.time_form = Time_Form.SECONDS if fields else listed.time_form
        if self.time_form == Time_Form.DATE_AND_TIME:
            used[listed.names.index("time")] = "time"
        self.proof = used.get(last, "_last") if listed.names[last] not in listed.dropped else None
        read_as = [used.get(index, f"_{index}") for index in range(listed.count)]
        if self.proof is not None:
            read_as[last] = self.proof
        self._read_as = read_as
        place = {name: index for index, name in used.items()}
        self.places = [place.get(name) for name in TEXT_COLUMNS]
        self._place_of = place
        self.columns = columns
        self.wanted = sorted({*used, last} if self.proof else used)
        self._absent = [name for name in columns.values() if name not in used.values()]

    @property
    def columns_of_witnesses(self) -> dict[str, str]:
        """Which column holds each witness."""
        return {name: self.columns[name] for name in self.witnesses}

    def place_of(self, column: str) -> int | None:
        """Which field of a line is in this column; None if none is."""
        return self._place_of.get(column)

    def texts(self, values: Sequence[str]) -> list[str | None]:
        """Values of TEXT_COLUMNS, in their order, of a line that has these fields."""
        return [None if place is None else values[place] or None for place in self.places]

    def read(self, buffer: bytes) -> pl.DataFrame:
        """Rows of a buffer in which every line has the right number of fields."""
        return self._named(self._read(buffer))

    def read_proved(self, buffer: bytes) -> pl.DataFrame | None:
        """Rows of a buffer; None unless every line is shown to be a record of the right number of fields and length."""
        if self.proof is None or buffer[0] in b"\n\r#" or _may_hold_long_line(buffer):
            return None
        if b"#" in buffer and b"\n#" in buffer:  # one byte is found much faster than two
            return None
        tabs = count_bytes(buffer, 9)
        rows = tabs // (self.count - 1) if self.count > 1 else buffer.count(b"\n")
        if not rows or tabs != rows * (self.count - 1):
            return None
        try:
            frame = self._read(buffer, rows + 1)  # millions of empty lines would be as many rows
        except (pl.exceptions.SchemaError, pl.exceptions.ComputeError):
            return None  # the first line has another number of fields: the reader takes the schema from it
        if frame.height != rows or frame[self.proof].null_count():
            return None
        return self._named(frame)

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """All of its columns, and no other; the timestamp in seconds."""
        if self.time_form != Time_Form.SECONDS:
            frame = frame.with_columns(seconds_of(self.time_form).alias("timestamp"))
        frame = frame.drop("_last", "time", strict=False)
        return frame.with_columns(pl.lit(None, pl.String).alias(name) for name in self._absent)

    def _read(self, buffer: bytes, rows_max: int | None = None) -> pl.DataFrame:
        # The reader swallows one mark, and without one would unpack what begins like gzip, zlib or zstd.
        if not buffer[:1].isdigit():
            buffer = _BYTE_ORDER_MARK + buffer
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\t", b"\r\r\t")  # the reader strips one from the end of every field
        try:
            return self._read_csv(buffer, rows_max)
        except pl.exceptions.ComputeError:
            return self._read_csv(buffer.decode("utf-8", "replace").encode(), rows_max)

    def _read_csv(self, buffer: bytes, rows_max: int | None) -> pl.DataFrame:
        return pl.read_csv(
            buffer,
            separator="\t",
            has_header=False,
            quote_char=None,
            schema=dict.fromkeys(self._read_as, pl.String),
            columns=self.wanted,
            truncate_ragged_lines=True,
            n_rows=rows_max,
        )


def seconds_of(form: Time_Form) -> pl.Expr:
    """The time of a standard log as epoch seconds; null where it is none."""
    if form == Time_Form.MILLISECONDS:
        text = pl.col("timestamp")
        whole = pl.when(text.str.contains(r"^[0-9]{13}$")).then(text)
        return whole.str.slice(0, 10) + "." + whole.str.slice(10, 3)
    text = pl.col("timestamp") + "T" + pl.col("time")
    whole = pl.when(text.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$")).then(text)
    return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False).dt.epoch("s").cast(pl.String)


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


class Portion(Struct):
    """Lines of consecutive payloads that are read together.

    first_payload  the place of the first payload among all; `first_line`: how many of its lines came before
    payloads       their content, unpacked, each of whole lines
    """

    first_payload: int
    first_line: int
    payloads: list[bytes]


def portions(payloads: Sequence[bytes]) -> Iterator[Portion]:
    """Payloads as they can be read at a time: unpacked, together at most PORTION_BYTES_MAX and PORTION_LINES_MAX lines.
    A payload of more comes in several portions, empty stretches of it in none. Holds one payload and one portion."""
    return portions_of(_prepared(payload) for payload in payloads)


def portions_of(payloads: Iterable[bytes]) -> Iterator[Portion]:
    """The same of payloads that are unpacked, each of whole lines."""
    waiting = Portion(0, 0, [])
    size_bytes = lines = 0
    place = -1  # enumerate would hold on to a payload while the next one is unpacked
    for payload in payloads:
        place += 1
        count = _newlines(payload)
        if size_bytes + len(payload) > PORTION_BYTES_MAX or lines + count > PORTION_LINES_MAX:
            if waiting.payloads:
                yield waiting
            waiting, size_bytes, lines = Portion(place, 0, []), 0, 0
        if count > PORTION_LINES_MAX or len(payload) > PORTION_BYTES_MAX:
            for first_line, piece in _pieces(payload):
                yield Portion(place, first_line, [piece])
            waiting.first_payload, payload = place + 1, b""
            continue
        waiting.payloads.append(payload)
        size_bytes += len(payload)
        lines += count
    if waiting.payloads:
        yield waiting


def _pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, piece) of whole lines: every piece that is not empty from end to end."""
    begin = first_line = 0
    while begin < len(content):
        end, lines = _piece_end(content, begin)
        piece = content[begin:end]
        if piece.strip(b"\r\n"):
            yield first_line, piece
        begin, first_line = end, first_line + lines


def _piece_end(content: bytes, begin: int) -> tuple[int, int]:
    """Where a piece that begins here ends, and how many lines it has. One line may be longer than a portion."""
    end, lines = begin, 0
    while end < len(content):
        block_end = content.find(b"\n", end + PORTION_LINES_MAX // 2 - 1) + 1 or len(content)
        more = _newlines(content[end:block_end])
        if lines + more > PORTION_LINES_MAX or (end > begin and block_end - begin > PORTION_BYTES_MAX):
            break
        end, lines = block_end, lines + more
    return end, lines


def _newlines(content: bytes) -> int:
    return content.count(b"\n") if len(content) < 1 << 14 else count_bytes(content, 10)


def line_of(content: bytes, number: int) -> bytes:
    """A line of an unpacked payload by its number (from 0), empty ones counted; in the memory of a portion."""
    for first_line, piece in _pieces(content):
        lines = piece.count(b"\n")
        if number < first_line + lines:
            return piece.split(b"\n", number - first_line + 1)[number - first_line]
    return b""


def _prepared(payload: bytes) -> bytes:
    payload = unpacked(payload)
    return payload if not payload or payload[-1] == 10 else payload + b"\n"


def unpacked(payload: bytes) -> bytes:
    """The content of a gzip payload (also of several members). What is not gzip from end to end, or unpacks to more
    than UNPACKED_BYTES_MAX, stays as it is and is malformed by its fields: half a payload would end in half a line."""
    if payload[:2] != GZIP_MAGIC:
        return payload
    parts: list[bytes] = []
    rest, left = payload, UNPACKED_BYTES_MAX
    while rest[:2] == GZIP_MAGIC:
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


def whole_lines(buffer: bytes, lengths: Int64s) -> bool:
    """Whether each payload ends in a newline and is not gzip. Looks at the joined buffer, not at each payload."""
    if not len(lengths) or lengths.min() < 2:
        return False
    array = np.frombuffer(buffer, np.uint8)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    packed = (array[starts] == GZIP_MAGIC[0]) & (array[starts + 1] == GZIP_MAGIC[1])
    return bool((array[ends - 1] == 10).all() and not packed.any())


def _places(buffer: bytes, lengths: Int64s, lines: int, starts: Int64s | None = None) -> tuple[Int64s, Int64s]:
    """Which payload each line came in, and which of its lines it is. Every payload ends in a newline (or is empty)."""
    if lines == len(lengths) and lengths.all():  # each has at least one line, so each has just one
        return np.arange(lines, dtype=np.int64), np.zeros(lines, np.int64)
    if starts is None and len(lengths) == 1:
        return np.zeros(lines, np.int64), np.arange(lines, dtype=np.int64)
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
