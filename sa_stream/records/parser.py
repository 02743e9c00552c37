"""Text columns in, records out: which lines are records, and what their timestamps, statuses and sizes are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from sa_stream.frames import pl
from sa_stream.records.columns import (
    CODED_COLUMNS,
    COLUMNS,
    FIELDS,
    FUTURE,
    HUGE_BYTES,
    LIST_COLUMNS,
    NO_ROWS,
    NO_STATUS,
    STATUS,
    TIMESTAMP,
    TOO_LONG,
    Bools,
    Columns,
    Dropped,
    Int64s,
    Lists,
    Texts,
)
from sa_stream.records.decoder import Decoded, Decoder, Layout, Line
from sa_stream.records.fields import TEXT_COLUMNS, Field_Lists
from sa_stream.records.micros import DURATIONS, NUMBER_DIGITS_MAX, micros_of
from sa_stream.records.misfits import misfit_rows, misfits_of
from sa_stream.records.ordinary import Ordinary_Lines, Reading
from sa_stream.records.request_ids import REQUEST_ID
from sa_stream.timing import TIMES_UNTIL_MS

YEAR_2100_S = TIMES_UNTIL_MS // 1000  # no record is of then or later
EPOCH_SECONDS = r"^[0-9]{10}(\.[0-9]+)?$"
SECONDS_CHARS_MAX = 17  # six decimals: what a double holds
ORDINARY_TIMESTAMP = r"^[0-9]{10}(\.[0-9]{1,6})?$"  # a double holds it to a quarter of a microsecond
ORDINARY_STATUS = r"^[0-9]{3}$"
ORDINARY_BYTES = r"^[0-9]{1,12}$"
JOINED_BYTES = 9 << 20  # of pieces that are read at once: about 20,000 lines
_EPOCH_SECONDS = re.compile(EPOCH_SECONDS, re.ASCII)


class Pieces(Protocol):
    """Whole lines of files come in, columns of many of them go out."""

    def add_lines(self, content: bytes, payload: int) -> Iterator[Columns]:
        """Read lines as the payload of this number, one more than the last; columns of what is not held back."""

    def ended(self) -> Iterator[Columns]:
        """Columns of what was held back."""


class Parser:
    """Reads payloads by the configured field lists. Holds no state between calls."""

    def __init__(self, lists: Field_Lists, future_ms: int = 300_000) -> None:
        self.lists = lists
        self.future_ms = future_ms
        self._decoder = Decoder(lists)
        self._ordinary = Ordinary_Lines(self._decoder, future_ms, self._columns, self.judged)

    def portions(self, payloads: Sequence[bytes], arrivals_ms: Int64s) -> Iterator[Columns]:
        """Columns of one or several batches' payloads, to be folded one after the other; `arrivals_ms` has one time a
        payload. At least one, and only one unless more would take too much memory."""
        few = self._decoder.decode_few(payloads)
        if few is not None:
            return iter((self._columns_of_few(few, arrivals_ms),))
        if self._ordinary.possible:
            return self._ordinary.portions(payloads, arrivals_ms)
        return self._parsed(self._decoder.decode(payloads), arrivals_ms)

    def pieces(self, now_ms: int) -> Pieces:
        """What reads pieces of files: everything 'arrived' now."""
        if self._ordinary.possible:
            return Reading(self._ordinary, np.array([now_ms], np.int64))
        return Held_Pieces(self, now_ms)

    def joined(self, contents: Sequence[bytes], now_ms: int) -> Iterator[Columns]:
        """Columns of pieces that were held."""
        if len(contents) == 1:
            return self._parsed(self._decoder.decode_buffer(contents[0]), np.array([now_ms], np.int64))
        return self.portions(contents, np.full(len(contents), now_ms, np.int64))

    def parse(self, payloads: Sequence[bytes], arrivals_ms: Int64s) -> Columns:
        """All portions in one, whatever memory that takes."""
        parts = list(self.portions(payloads, arrivals_ms))
        return parts[0] if len(parts) == 1 else Columns.concatenated(parts, arrivals_ms)

    def reading(self) -> Reading | None:
        """What reads payloads as they come; None without the kernel."""
        return Reading(self._ordinary) if self._ordinary.possible else None

    def judged(self, lines: Sequence[bytes], arrivals_ms: Int64s) -> Columns:
        """The same of single lines, each with its newline, without the kernel."""
        few = self._decoder.decode_few(lines)
        if few is not None:
            return self._columns_of_few(few, arrivals_ms)
        parts = list(self._parsed(self._decoder.decode(lines), arrivals_ms))
        return parts[0] if len(parts) == 1 else Columns.concatenated(parts, arrivals_ms)

    def _parsed(
        self, portions: Iterable[tuple[list[Decoded], list[Dropped]]], arrivals_ms: Int64s
    ) -> Iterator[Columns]:
        portion = None
        for portion in portions:
            yield self._columns(*portion, arrivals_ms)
        if portion is None:  # payloads without a line: read, all the same
            yield self._columns([], [], arrivals_ms)

    def _columns(self, decoded: list[Decoded], dropped: list[Dropped], arrivals_ms: Int64s) -> Columns:
        parts = [self._validated(part, arrivals_ms) for part in decoded]
        if not parts:
            lost = Dropped.joined(dropped)
            nothing: Lists = {name: [] for name in LIST_COLUMNS}
            return Columns(nothing, NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS, {}, lost, arrivals_ms)
        if len(parts) == 1 and not dropped:
            return parts[0]
        lost = Dropped.joined([*dropped, *(part.dropped for part in parts)])
        columns = parts[0] if len(parts) == 1 else Columns.concatenated(parts, arrivals_ms).in_order()
        columns.dropped = lost
        return columns

    def _validated(self, decoded: Decoded, arrivals_ms: Int64s) -> Columns:
        """Understand timestamps, statuses and sizes; drop rows whose timestamp, status, columns or distance to the
        future are wrong. The first reason counts."""
        layout, payload, line, frame = decoded.layout, decoded.payload, decoded.line, decoded.frame
        arrival_ms = arrivals_ms[payload] if len(arrivals_ms) > 1 else np.full(len(payload), arrivals_ms[0], np.int64)
        misfits = misfit_rows(decoded)
        ordinary = _ordinary_values(layout, frame)
        frame, event_ms, good = (*ordinary, None) if ordinary else (frame, *event_times_ms(frame["timestamp"]))
        wrong = [] if good is None else [(TIMESTAMP, ~good)]
        if ordinary is None and layout.has_status:
            wrong += [(STATUS, mask)] if (mask := _wrong_statuses(frame["sc-status"])) is not None else []
        if misfits:
            wrong.append((COLUMNS, misfits[0]))
        if len(event_ms) and int((event_ms - arrival_ms).max()) > self.future_ms:
            wrong.append((FUTURE, event_ms > arrival_ms + self.future_ms))
        kept, dropped = np.ones(len(payload), np.bool_), []
        for reason, mask in wrong:
            lost = mask & kept
            kept &= ~mask
            dropped.append(Dropped.of(payload[lost], line[lost], reason, layout.count))
            if misfits and reason == COLUMNS:
                found = {name: int(np.count_nonzero(strange & lost)) for name, strange in misfits[1].items()}
                dropped[-1].misfits = +Counter(found)
        if not kept.all():
            frame = frame.filter(pl.Series(kept))
            event_ms, arrival_ms, payload, line = event_ms[kept], arrival_ms[kept], payload[kept], line[kept]
        huge: dict[int, int] = {}
        if ordinary is None:
            status = pl.col("sc-status").cast(pl.Int16) if layout.has_status else pl.lit(NO_STATUS, pl.Int16)
            sizes, huge = whole_bytes(frame["sc-bytes"])
            frame = frame.with_columns(status.alias("status"), sizes.alias("bytes"))
        count = np.full(len(payload), layout.count, np.int64)
        table, lost_rows = Texts.of_frame(frame), Dropped.joined(dropped)
        return Columns(table, event_ms, arrival_ms, payload, line, count, huge, lost_rows, arrivals_ms)

    def _columns_of_few(self, lines: Sequence[Line], arrivals_ms: Int64s) -> Columns:
        """What `_columns` makes of many lines, line by line."""
        rows: list[list[Any]] = []
        places: list[tuple[Any, ...]] = []
        dropped: list[tuple[Any, ...]] = []
        huge: dict[int, int] = {}
        misfits: Counter[str] = Counter()
        arrivals = arrivals_ms.tolist()
        for line in lines:
            event_ms, arrival_ms = event_time_ms(line.texts[_TIMESTAMP]) if line.texts else None, arrivals[line.payload]
            reason = self._reason(line, event_ms, arrival_ms)
            if reason == COLUMNS and line.layout is not None:
                misfits.update(misfits_of(line.layout, line.values))
            if reason is not None:
                dropped.append((line.payload, line.line, reason, line.field_count))
                continue
            size = _whole(line.texts[_BYTES])
            if size >= HUGE_BYTES:
                huge[len(rows)], size = size, 0
            texts = [line.texts[place] for place in _LISTED]
            micros = [micros_of(line.texts[place]) for place in _DURATIONS]
            rows.append([*texts, *micros, NO_STATUS if (status := line.texts[_STATUS]) is None else int(status), size])
            places.append((event_ms, arrival_ms, line.payload, line.line, line.field_count))
        lists = map(list, zip(*rows, strict=True)) if rows else ([] for _ in LIST_COLUMNS)
        table: Lists = dict(zip(LIST_COLUMNS, lists, strict=True))
        dropped.sort(key=lambda drop: drop[2])  # by reason, as those of many lines are
        event, arrival, payload, number, count = _columns_of(places, 5)
        lost_payload, lost_line, reasons, counts = _columns_of(dropped, 4)
        lost = Dropped(lost_payload, lost_line, reasons, counts, misfits)
        return Columns(table, event, arrival, payload, number, count, huge, lost, arrivals_ms)

    def _reason(self, line: Line, event_ms: int | None, arrival_ms: int) -> int | None:
        """Why a line is no record; None if it is one."""
        if line.too_long:
            return TOO_LONG
        if line.layout is None:
            return FIELDS
        if event_ms is None:
            return TIMESTAMP
        if line.layout.has_status and not _is_status(line.texts[_STATUS]):
            return STATUS
        if misfits_of(line.layout, line.values):
            return COLUMNS
        return FUTURE if event_ms > arrival_ms + self.future_ms else None


class Held_Pieces:
    """Pieces that are read without the kernel: many lines at once, be they of one file or of thousands."""

    def __init__(self, parser: Parser, now_ms: int) -> None:
        self._parser = parser
        self._now_ms = now_ms
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._first = 0  # number of the first payload that is held

    def add_lines(self, content: bytes, payload: int) -> Iterator[Columns]:
        self._first = self._first if self._held else payload
        self._held.append(content)
        self._held_bytes += len(content)
        if self._held_bytes >= JOINED_BYTES:
            yield from self.ended()

    def ended(self) -> Iterator[Columns]:
        held, self._held, self._held_bytes = self._held, [], 0
        for columns in self._parser.joined(held, self._now_ms) if held else ():
            columns.payload, columns.dropped.payload = (
                payload + self._first for payload in (columns.payload, columns.dropped.payload)
            )
            yield columns


def _columns_of(rows: list[tuple[Any, ...]], width: int) -> list[Int64s]:
    return [np.array(column, np.int64) for column in zip(*rows, strict=True)] if rows else [NO_ROWS] * width


_TIMESTAMP, _STATUS, _BYTES = map(TEXT_COLUMNS.index, ("timestamp", "sc-status", "sc-bytes"))
_DURATIONS = list(map(TEXT_COLUMNS.index, DURATIONS))
_LISTED = [TEXT_COLUMNS.index(name) for name in (*CODED_COLUMNS, REQUEST_ID)]


def _ordinary_values(layout: Layout, frame: pl.DataFrame) -> tuple[pl.DataFrame, Int64s] | None:
    """The frame with `status` and `bytes`, and the event times; None unless every value has its ordinary form,
    which is shown by one expression a column."""
    shown = frame.select(
        pl.col("timestamp").str.contains(ORDINARY_TIMESTAMP).alias("timestamp_ok"),
        pl.col("timestamp").cast(pl.Float64, strict=False).alias("seconds"),
        *_ordinary("sc-status", ORDINARY_STATUS, "status", pl.Int16(), NO_STATUS, layout.has_status),
        *_ordinary("sc-bytes", ORDINARY_BYTES, "bytes", pl.Int64(), 0, layout.has_bytes),
    )
    if not all(shown[name].all(ignore_nulls=False) for name in ("timestamp_ok", "status_ok", "bytes_ok")):
        return None
    event_ms = np.rint(shown["seconds"].to_numpy() * 1e6).astype(np.int64) // 1000
    if len(event_ms) and event_ms.max() >= YEAR_2100_S * 1000:
        return None
    return frame.with_columns(shown["status"], shown["bytes"]), event_ms


def _ordinary(
    field: str, form: str, name: str, kind: pl.DataType, absent: int, offered: bool
) -> tuple[pl.Expr, pl.Expr]:
    """Whether each value has the form, and what it then is; `absent` where the list does not have the field."""
    if not offered:
        return pl.lit(True).alias(f"{name}_ok"), pl.lit(absent, kind).alias(name)
    return pl.col(field).str.contains(form).alias(f"{name}_ok"), pl.col(field).cast(kind, strict=False).alias(name)


def _wrong_statuses(column: pl.Series) -> Bools | None:
    """Where a column of statuses holds what is none; None if nowhere."""
    wrong = [value for value in column.unique().to_list() if not _is_status(value)]
    if not wrong:
        return None
    mask: Bools = column.is_in([value for value in wrong if value is not None]).fill_null(True).to_numpy()
    return mask


def _is_status(value: str | None) -> bool:
    return value is not None and len(value) == 3 and value.isascii() and value.isdigit()


def event_time_ms(text: str | None) -> int | None:
    """Whole milliseconds of one timestamp (cut, not rounded), None if it is not good: see `event_times_ms`."""
    if text is None or not _EPOCH_SECONDS.fullmatch(text):
        return None
    time_ms = round(float(text[:SECONDS_CHARS_MAX]) * 1e6) // 1000
    return time_ms if time_ms < YEAR_2100_S * 1000 else None


def event_times_ms(timestamps: pl.Series) -> tuple[Int64s, Bools | None]:
    """Whole milliseconds (cut, not rounded), and which are good; None if all are.

    Good is ten ASCII digits with an optional fraction, before 2100. A double holds such a time to a quarter of a
    microsecond, so six decimals survive; more decimals are cut first.
    """
    good = timestamps.str.contains(EPOCH_SECONDS).fill_null(False)
    every = bool(good.all())
    if not every:
        timestamps = pl.select(pl.when(good).then(timestamps)).to_series()
    if _integer(timestamps.str.len_bytes().max()) > SECONDS_CHARS_MAX:
        timestamps = timestamps.str.slice(0, SECONDS_CHARS_MAX)
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
