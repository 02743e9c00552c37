"""Payload bytes in, columns out: one row a well-formed record, and a table of what was not one.

Nothing here makes a Python object for a row. A buffer of whole lines is read by polars' CSV reader as text columns. The
reader fills short lines and cuts long ones in silence, so the number of fields must be proved: the last column is there
in every row, and the buffer has exactly as many tabs as that takes. When the proof fails, lines are judged one by one,
still as arrays.

What the reader does that must be undone (polars 2.1, each with a test): it strips one `\\r` from the end of every field
and one byte order mark from the start of the buffer, it unpacks a buffer that begins with the magic bytes of gzip, zlib
or zstd (or fails on it), and one broken byte fails the whole buffer.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sa_stream.records.fields import USED_FIELDS, Field_List, Field_Lists

type Int64s = npt.NDArray[np.int64]
type Bools = npt.NDArray[np.bool_]

LINE_BYTES_MAX = 1 << 20
UNPACKED_BYTES_MAX = 64 << 20  # of one gzip'd payload: a stranger's gzip must not fill the memory
YEAR_2100_S = 4_102_444_800
HUGE_BYTES = 1 << 40  # sums of smaller numbers of bytes stay within 64 bits; the rest is added as Python integers
NO_STATUS = -1  # of a list without sc-status
ORDINARY_TIMESTAMP = r"^[0-9]{10}(\.[0-9]{1,6})?$"  # a double holds it to a quarter of a microsecond
ORDINARY_STATUS = r"^[0-9]{3}$"
ORDINARY_BYTES = r"^[0-9]{1,12}$"
NUMBER = r"^[0-9]+(\.[0-9]+)?$"
NUMBER_DIGITS_MAX = 30  # a number with more digits counts as missing

REASONS = ("too_long", "fields", "timestamp", "status", "future", "too_late")
TOO_LONG, FIELDS, TIMESTAMP, STATUS, FUTURE, TOO_LATE = range(len(REASONS))

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_ROWS = np.empty(0, np.int64)


@dataclass(slots=True)
class Dropped:
    """Records that are in no aggregate, one element each.

    payload, line   which line (from 0) of which payload of the call
    reason          index into REASONS
    field_count     number of fields that the line has
    """

    payload: Int64s
    line: Int64s
    reason: Int64s
    field_count: Int64s

    @classmethod
    def of(cls, payload: Int64s, line: Int64s, reason: int, field_count: Int64s | int) -> "Dropped":
        counts = np.full(len(payload), field_count, np.int64) if isinstance(field_count, int) else field_count
        return cls(payload, line, np.full(len(payload), reason, np.int64), counts)

    @classmethod
    def joined(cls, parts: Sequence["Dropped"]) -> "Dropped":
        if not parts:
            return cls(_NO_ROWS, _NO_ROWS, _NO_ROWS, _NO_ROWS)
        return cls(
            np.concatenate([part.payload for part in parts]),
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.reason for part in parts]),
            np.concatenate([part.field_count for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.payload)


@dataclass(slots=True)
class Columns:
    """Well-formed records in their order, one row each.

    frame          text columns named as the fields (null or "-" is missing; all of USED_FIELDS are there), `status`
                   (Int16, NO_STATUS where no list has it), `bytes` (Int64): 0 where missing or HUGE_BYTES and more
    event_ms       event times
    arrival_ms     arrival times
    payload, line  which line of which payload of the call
    field_count    fields of the list that read the row
    huge           row -> number of bytes, for the rows with HUGE_BYTES or more
    dropped        what was not well-formed
    payload_arrivals_ms  arrival time of each payload of the call
    """

    frame: pl.DataFrame
    event_ms: Int64s
    arrival_ms: Int64s
    payload: Int64s
    line: Int64s
    field_count: Int64s
    huge: dict[int, int]
    dropped: Dropped
    payload_arrivals_ms: Int64s

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Several calls' columns one after the other; payload numbers go on counting."""
        if len(parts) == 1:
            return parts[0]
        payloads = [0, *np.cumsum([len(part.payload_arrivals_ms) for part in parts]).tolist()]
        for part, before in zip(parts, payloads, strict=False):
            part.payload = part.payload + before
            part.dropped.payload = part.dropped.payload + before
        return _concatenated(parts, np.concatenate([part.payload_arrivals_ms for part in parts]))


def _concatenated(parts: Sequence[Columns], payload_arrivals_ms: Int64s) -> Columns:
    rows = [0, *np.cumsum([len(part) for part in parts]).tolist()]
    return Columns(
        pl.concat([part.frame for part in parts]),
        np.concatenate([part.event_ms for part in parts]),
        np.concatenate([part.arrival_ms for part in parts]),
        np.concatenate([part.payload for part in parts]),
        np.concatenate([part.line for part in parts]),
        np.concatenate([part.field_count for part in parts]),
        {row + start: n for part, start in zip(parts, rows, strict=False) for row, n in part.huge.items()},
        Dropped.joined([part.dropped for part in parts]),
        payload_arrivals_ms,
    )


class Parser:
    """Reads payloads by the configured field lists. Holds no state between calls."""

    def __init__(self, lists: Field_Lists, future_ms: int = 300_000) -> None:
        self.lists = lists
        self.future_ms = future_ms
        self._layouts = {listed.count: _Layout(listed) for listed in lists.lists}

    def parse(self, payloads: Sequence[bytes], arrivals_ms: Int64s) -> Columns:
        """Columns of one or several batches' payloads; `arrivals_ms` has one time a payload."""
        buffer = b"".join(payloads)
        lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
        if not _whole_lines(buffer, lengths):
            payloads = [_prepared(payload) for payload in payloads]
            lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
            buffer = b"".join(payloads)
        for layout in self._layouts.values():
            frame = layout.read_proved(buffer) if buffer else None
            if frame is not None:
                payload, line = _places(buffer, lengths, frame.height)
                return self._validated(layout, frame, arrivals_ms, payload, line)
        return self._parse_lines(buffer, lengths, arrivals_ms)

    def parse_buffer(self, buffer: bytes, now_ms: int) -> Columns:
        """Columns of whole lines from a file: everything 'arrived' now."""
        arrivals_ms = np.array([now_ms], np.int64)
        if not buffer:
            return self._empty([], arrivals_ms)
        if buffer[-1] != 10:
            buffer += b"\n"
        for layout in self._layouts.values():
            frame = layout.read_proved(buffer)
            if frame is not None:
                zeros = np.zeros(frame.height, np.int64)
                return self._validated(layout, frame, arrivals_ms, zeros, np.arange(frame.height, dtype=np.int64))
        return self._parse_lines(buffer, np.array([len(buffer)]), arrivals_ms)

    # ------------------------------------------------------------------ line by line, as arrays

    def _parse_lines(self, buffer: bytes, lengths: Int64s, arrivals_ms: Int64s) -> Columns:
        if not buffer:
            return self._empty([], arrivals_ms)
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
        parts = []
        for count, layout in self._layouts.items():
            mask = is_record & ~too_long & (fields == count)
            if mask.any():
                frame = layout.read(lines.take(mask))
                part = self._validated(layout, frame, arrivals_ms, payload_of[mask], line_of[mask])
                dropped.append(part.dropped)
                parts.append(part)
        if not parts:
            return self._empty(dropped, arrivals_ms)
        columns = parts[0] if len(parts) == 1 else _in_order(_concatenated(parts, arrivals_ms))
        columns.dropped = Dropped.joined(dropped)
        return columns

    def _empty(self, dropped: list[Dropped], arrivals_ms: Int64s) -> Columns:
        schema: dict[str, Any] = dict.fromkeys(USED_FIELDS, pl.String)
        frame = pl.DataFrame(schema=schema | {"status": pl.Int16, "bytes": pl.Int64})
        lost = Dropped.joined(dropped)
        return Columns(frame, _NO_ROWS, _NO_ROWS, _NO_ROWS, _NO_ROWS, _NO_ROWS, {}, lost, arrivals_ms)

    # ------------------------------------------------------------------ values

    def _validated(
        self, layout: "_Layout", frame: pl.DataFrame, arrivals_ms: Int64s, payload: Int64s, line: Int64s
    ) -> Columns:
        """Understand timestamps, statuses and sizes; drop rows whose timestamp, status or distance to the future is
        wrong. The first reason counts."""
        arrival_ms = arrivals_ms[payload] if len(arrivals_ms) > 1 else np.full(len(payload), arrivals_ms[0], np.int64)
        event_ms = _NO_ROWS
        dropped: list[Dropped] = []
        huge: dict[int, int] = {}

        def keep(mask: Bools, reason: int) -> None:
            nonlocal frame, payload, line, event_ms, arrival_ms
            dropped.append(Dropped.of(payload[~mask], line[~mask], reason, layout.count))
            frame, payload, line, event_ms = frame.filter(pl.Series(mask)), payload[mask], line[mask], event_ms[mask]
            arrival_ms = arrival_ms[mask]

        ordinary = layout.ordinary_values(frame)
        if ordinary is not None:
            frame, event_ms = ordinary
        else:
            event_ms, good = event_times_ms(frame["timestamp"])
            if good is not None:
                keep(good, TIMESTAMP)
            status = pl.lit(NO_STATUS, pl.Int16)
            if layout.has_status:
                wrong = [v for v in frame["sc-status"].unique().to_list() if not _is_status(v)]
                if wrong:
                    mask = frame["sc-status"].is_in([v for v in wrong if v is not None]).fill_null(True)
                    keep(~mask.to_numpy(), STATUS)
                status = pl.col("sc-status").cast(pl.Int16)
        if len(event_ms) and int((event_ms - arrival_ms).max()) > self.future_ms:
            keep(event_ms <= arrival_ms + self.future_ms, FUTURE)
        if ordinary is None:
            sizes, huge = whole_bytes(frame["sc-bytes"])
            frame = frame.select(*USED_FIELDS, status.alias("status"), sizes.alias("bytes"))
        return Columns(
            frame,
            event_ms,
            arrival_ms,
            payload,
            line,
            np.full(len(payload), layout.count, np.int64),
            huge,
            Dropped.joined(dropped),
            arrivals_ms,
        )


class _Layout:
    """How the CSV reader must be called for one field list."""

    def __init__(self, listed: Field_List) -> None:
        self.count = listed.count
        self.has_status = listed.index("sc-status") is not None
        self.has_bytes = listed.index("sc-bytes") is not None
        last = listed.count - 1
        used = {index: name for name in USED_FIELDS if (index := listed.index(name)) is not None}
        self.proof = used.get(last, "_last") if listed.names[last] not in listed.dropped else None
        names = [used.get(index, f"_{index}") for index in range(listed.count)]
        if self.proof is not None:
            names[last] = self.proof
        self.schema = dict.fromkeys(names, pl.String)
        self.wanted = sorted({*used, last} if self.proof else used)
        self.absent = [pl.lit(None, pl.String).alias(name) for name in USED_FIELDS if name not in used.values()]

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

    def ordinary_values(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Int64s] | None:
        """The frame with `status` and `bytes`, and the event times; None unless every value has its ordinary form,
        which is shown by one expression a column."""
        shown = frame.select(
            pl.col("timestamp").str.contains(ORDINARY_TIMESTAMP).alias("timestamp_ok"),
            pl.col("timestamp").cast(pl.Float64, strict=False).alias("seconds"),
            *_ordinary("sc-status", ORDINARY_STATUS, "status", pl.Int16(), NO_STATUS, self.has_status),
            *_ordinary("sc-bytes", ORDINARY_BYTES, "bytes", pl.Int64(), 0, self.has_bytes),
        )
        if not all(shown[name].all(ignore_nulls=False) for name in ("timestamp_ok", "status_ok", "bytes_ok")):
            return None
        event_ms = np.rint(shown["seconds"].to_numpy() * 1e6).astype(np.int64) // 1000
        if len(event_ms) and event_ms.max() >= YEAR_2100_S * 1000:
            return None
        return frame.select(*USED_FIELDS, shown["status"], shown["bytes"]), event_ms

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


def _ordinary(
    field: str, form: str, name: str, kind: pl.DataType, absent: int, offered: bool
) -> tuple[pl.Expr, pl.Expr]:
    """Whether each value has the form, and what it then is; `absent` where the list does not have the field."""
    if not offered:
        return pl.lit(True).alias(f"{name}_ok"), pl.lit(absent, kind).alias(name)
    return pl.col(field).str.contains(form).alias(f"{name}_ok"), pl.col(field).cast(kind, strict=False).alias(name)


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


def _is_status(value: str | None) -> bool:
    return value is not None and len(value) == 3 and value.isascii() and value.isdigit()


def event_times_ms(timestamps: pl.Series) -> tuple[Int64s, Bools | None]:
    """Whole milliseconds (cut, not rounded), and which are good; None if all are.

    Good is ten ASCII digits with an optional fraction, before 2100. A double holds such a time to a quarter of a
    microsecond, so six decimals survive; more decimals are cut first.
    """
    good = timestamps.str.contains(r"^[0-9]{10}(\.[0-9]+)?$").fill_null(False)
    every = bool(good.all())
    if not every:
        timestamps = pl.select(pl.when(good).then(timestamps)).to_series()
    if _integer(timestamps.str.len_bytes().max()) > 17:
        timestamps = timestamps.str.slice(0, 17)
    seconds = timestamps.cast(pl.Float64, strict=False).fill_null(0.0).to_numpy()
    times_ms = np.rint(seconds * 1e6).astype(np.int64) // 1000
    if len(times_ms) and times_ms.max() >= YEAR_2100_S * 1000:
        mask = good.to_numpy() & (times_ms < YEAR_2100_S * 1000)
        return times_ms, mask
    return times_ms, None if every else good.to_numpy()


def whole_bytes(column: pl.Series) -> tuple[pl.Series, dict[int, int]]:
    """sc-bytes as whole numbers (0 where missing or huge), and the huge ones by row."""
    if column.null_count() == len(column):
        return pl.repeat(0, len(column), dtype=pl.Int64, eager=True), {}
    sizes = column.cast(pl.Int64, strict=False)
    odd = column.str.starts_with("+") | sizes.is_null()  # the cast takes "+5", and lets no fraction pass
    if _integer(sizes.min()) < 0 or _integer(sizes.max()) >= HUGE_BYTES:
        odd |= (sizes < 0) | (sizes >= HUGE_BYTES)
    if _integer(column.str.len_bytes().max()) > NUMBER_DIGITS_MAX:  # and zeros without end in front
        odd |= column.str.len_bytes() > NUMBER_DIGITS_MAX
    if not odd.any():
        return sizes, {}
    rows = np.flatnonzero(odd.fill_null(True).to_numpy())
    numbers = {text: _whole(text) for text in column[rows].unique().to_list()}
    huge = {}
    fixed = sizes.fill_null(0).to_numpy(writable=True)
    for row, text in zip(rows.tolist(), column[rows].to_list(), strict=True):
        number = numbers[text]
        fixed[row] = number if number < HUGE_BYTES else 0
        if number >= HUGE_BYTES:
            huge[row] = number
    return pl.Series(fixed), huge


def _integer(value: Any) -> int:
    return int(value or 0)


def _whole(text: str | None) -> int:
    """Whole part of a plain decimal; 0 for what is not one."""
    whole, dot, fraction = (text or "").partition(".")
    if len(whole) + len(fraction) > NUMBER_DIGITS_MAX:
        return 0
    good = whole.isascii() and whole.isdigit() and (not dot or (fraction.isascii() and fraction.isdigit()))
    return int(whole) if good else 0


def _in_order(columns: Columns) -> Columns:
    """Rows back in the order of their payloads and lines (several lists were read one after the other)."""
    order = np.lexsort((columns.line, columns.payload))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Columns(
        columns.frame[order],
        columns.event_ms[order],
        columns.arrival_ms[order],
        columns.payload[order],
        columns.line[order],
        columns.field_count[order],
        {int(place[row]): number for row, number in columns.huge.items()},
        columns.dropped,
        columns.payload_arrivals_ms,
    )
