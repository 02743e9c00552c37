"""Ordinary lines by the native kernel, and all others as without it: payloads come in, columns go out. Which lines are
ordinary changes nothing in what any of them says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sa_stream import native
from sa_stream.native.packed import Packed_Payloads
from sa_stream.native.rows import BYTES_MAX, FIELDS_MAX, ROWS_MAX, Bytes, Line_Layout, Rows, give_back, take_rows
from sa_stream.records.coded import Coded
from sa_stream.records.columns import CODED_COLUMNS, FUTURE, Columns, Dropped, Int64s, Texts
from sa_stream.records.decoder import GZIP_MAGIC, Decoded, Decoder, Layout, portions, portions_of, whole_lines
from sa_stream.records.fields import Time_Form
from sa_stream.records.hashing import Texts_In
from sa_stream.records.micros import DURATIONS, Micros
from sa_stream.records.request_ids import REQUEST_ID, Request_Ids
from sa_stream.records.shapes import cannot_be

PATH = "cs-uri-stem"
RECORD_BYTES = 120  # about, of a record beside its texts and id, while it waits for others; with its number
TEXT_BYTES = 32  # beside what it says
WHOLE_RECORD_BYTES = 400  # as columns
OTHERS_BYTES_MAX = 16 << 20  # of lines that are not ordinary, until all are folded

type As_Columns = Callable[[list[Decoded], list[Dropped], Int64s], Columns]
type Judged = Callable[[Sequence[bytes], Int64s], Columns]


class _Lines(NamedTuple):
    """Payloads in one buffer, each of whole lines or empty: where each ends, and which is the first, of which so many
    lines came before."""

    buffer: Bytes
    ends: Int64s
    first_payload: int = 0
    first_line: int = 0


class _Other(NamedTuple):
    """A line that is not ordinary, with its newline; where it came."""

    text: bytes
    payload: int
    line: int


class Ordinary_Lines:
    """Reads payloads by the lists of a decoder.

    as_columns  makes columns of what was decoded without the kernel; `judged`: of single lines
    """

    def __init__(self, decoder: Decoder, future_ms: int, as_columns: As_Columns, judged: Judged) -> None:
        self.decoder = decoder
        self.future_ms = future_ms
        self.as_columns = as_columns
        self.judged = judged
        made = {count: Ordinary.of(layout) for count, layout in decoder.layouts.items()}
        self.lists = {count: ordinary for count, ordinary in made.items() if ordinary is not None}

    @property
    def possible(self) -> bool:
        """Whether there is a kernel, and it knows one of the lists."""
        return native.AVAILABLE and bool(self.lists)

    def portions(self, payloads: Sequence[bytes], arrivals_ms: Int64s) -> Iterator[Columns]:
        """Columns of payloads, to be folded one after the other: at least one."""
        return self._portions(_lines_of(payloads), arrivals_ms)

    def _portions(self, parts: Iterable[_Lines], arrivals_ms: Int64s) -> Iterator[Columns]:
        reading = Reading(self, arrivals_ms)
        for part in parts:
            yield from reading.lines(part)
            yield from reading.ended()
        if not reading.found:  # payloads without a line: read, all the same
            yield self.as_columns([], [], arrivals_ms)

    def list_of(self, buffer: Bytes) -> "Ordinary":
        """The list that the first line is of; any, if it is of none."""
        begin = buffer[: 1 << 16].tobytes()
        fields = begin.count(b"\t", 0, begin.find(b"\n") + 1) + 1
        return self.lists.get(fields) or next(iter(self.lists.values()))


class Reading:
    """What is read of lines until they are folded. Payloads may be read as they come, which takes less memory than to
    hold them: then `add` them, and fold `portions`, once.

    found  whether there was anything to read
    """

    def __init__(self, known: Ordinary_Lines, arrivals_ms: Int64s | None = None) -> None:
        """arrivals_ms: of each payload, where all are known."""
        self.found = False
        self._known = known
        self._arrivals_ms = [] if arrivals_ms is None else [arrivals_ms]
        self._payloads = 0
        self._whole: list[Columns] = []
        self._list: Ordinary | None = None
        self._rows: Rows | None = None
        self._others: list[_Other] = []
        self._others_bytes = 0

    def add(self, payloads: Packed_Payloads, arrivals_ms: Int64s) -> None:
        """Read payloads, each of which came at a time. They are not needed any more."""
        part = _Lines(payloads.content, payloads.ends, self._payloads)
        self._arrivals_ms.append(arrivals_ms)
        self._payloads += len(payloads)
        self._whole += self.lines(part)

    def add_lines(self, content: bytes, payload: int) -> Iterator[Columns]:
        """Read whole lines from a file, as the payload of this number. Gives columns of these and those before when
        there is no more room for them. The content is not needed any more."""
        whole = content if not content or content[-1] == 10 else content + b"\n"
        part = _Lines(np.frombuffer(whole, np.uint8), np.array([len(whole)]), payload)
        if self._list is not None and self._known.list_of(part.buffer) is not self._list:
            yield from self.ended()  # lines of another list would not be ordinary among these
        yield from self.lines(part)

    def portions(self) -> Iterator[Columns]:
        """Columns of all that was added, to be folded one after the other: at least one."""
        whole, self._whole = [*self._whole, *self.ended()], []
        if len(whole) > 1 and sum(map(len, whole)) <= ROWS_MAX:  # what was judged apart is folded with the others
            whole = [Columns.concatenated(whole, self.arrivals_ms)]
            whole[0].dropped = whole[0].dropped.in_order()
        for columns in whole or [self._known.as_columns([], [], self.arrivals_ms)]:
            columns.payload_arrivals_ms = self.arrivals_ms
            yield columns

    @property
    def arrivals_ms(self) -> Int64s:
        """Of each payload, as far as they have come."""
        if len(self._arrivals_ms) > 1:
            self._arrivals_ms = [np.concatenate(self._arrivals_ms)]
        return self._arrivals_ms[0]

    def lines(self, part: _Lines) -> Iterator[Columns]:
        """Read lines. Gives columns of as many as there is no more room for."""
        begin, line = 0, part.first_line
        if len(part.buffer) > BYTES_MAX:
            yield from self._judged(part, 0, len(part.buffer), line)
            return
        while begin < len(part.buffer):
            if self._list is None or self._rows is None:
                self._list, self._rows = self._known.list_of(part.buffer[begin:]), take_rows()
            before = self._rows.mark()
            structure, first = self._list.structure, part.first_payload
            stopped, next_line = self._rows.scan(structure, part.buffer, begin, part.ends, first, line)
            odd = self._rows.odd_since(before)
            others = [_Other(part.buffer[a:b].tobytes(), payload, at) for a, b, payload, at in odd.tolist()]
            # What only looks packed is a payload's beginning to the decoder.
            if (
                len(odd) > self._rows.numbers.rows_n - before.rows
                or any(other.text.startswith(GZIP_MAGIC) for other in others)
                or self._list.doubts(self._rows, before.texts)
            ):
                yield from self.ended(before.rows)
                yield from self._judged(part, begin, stopped, line)
            else:
                self._others += others
                self._others_bytes += sum(len(other.text) for other in others)
                if stopped < len(part.buffer) or self._others_bytes > OTHERS_BYTES_MAX:
                    yield from self.ended()
            begin, line = stopped, next_line

    def ended(self, rows_max: int | None = None) -> Iterator[Columns]:
        """Columns of what was read and not given, if there is something; of no more than so many ordinary lines."""
        listed, rows, others = self._list, self._rows, self._others
        self._list, self._rows, self._others, self._others_bytes = None, None, [], 0
        if listed is None or rows is None:
            return
        try:
            columns = listed.columns(rows, self.arrivals_ms)
        finally:
            give_back(rows)
        if rows_max is not None:
            columns = columns.chosen(np.arange(rows_max))
        if len(columns) or others:
            self.found = True
            yield self._with_others(columns, others)

    @property
    def size_bytes(self) -> int:
        """About what it holds of memory."""
        whole = sum(map(len, self._whole)) * WHOLE_RECORD_BYTES + self._others_bytes
        if self._rows is None:
            return whole
        numbers = self._rows.numbers
        texts = TEXT_BYTES * numbers.texts_n + numbers.bytes_n + 4 * numbers.slots
        return int(whole + RECORD_BYTES * numbers.rows_n + numbers.ids_n + texts)

    def _with_others(self, columns: Columns, others: Sequence[_Other]) -> Columns:
        """The ordinary lines and what becomes of the others, in their order."""
        future = columns.event_ms > columns.arrival_ms + self._known.future_ms
        if future.any():
            lost = Dropped.of(columns.payload[future], columns.line[future], FUTURE, columns.field_count[future])
            columns = columns.chosen(~future)
            columns.dropped = lost
        if not others:
            return columns
        payload, line = (np.array([other[k] for other in others], np.int64) for k in (1, 2))
        arrivals_ms = self.arrivals_ms[payload] if len(self.arrivals_ms) > 1 else self.arrivals_ms.repeat(len(others))
        judged = self._known.judged([other.text for other in others], arrivals_ms)
        judged.payload, judged.line = payload[judged.payload], line[judged.payload]
        lost = judged.dropped
        lost.payload, lost.line = payload[lost.payload], line[lost.payload]
        lost = Dropped.joined([lost, columns.dropped]).in_order()
        if len(judged):
            columns = Columns.concatenated([columns, judged], self.arrivals_ms).in_order()
        columns.dropped = lost
        return columns

    def _judged(self, part: _Lines, begin: int, end: int, line: int) -> Iterator[Columns]:
        """Lines without the kernel. line: number in its payload of the first one."""
        first = int(np.searchsorted(part.ends, begin, side="right"))
        cuts = [begin, *part.ends[first : np.searchsorted(part.ends, end)].tolist(), end]
        for portion in portions_of(part.buffer[one:other].tobytes() for one, other in pairwise(cuts)):
            if portion.first_payload == 0:
                portion.first_line += line
            portion.first_payload += part.first_payload + first
            self.found = True
            yield self._known.as_columns(*self._known.decoder.decode_portion(portion), self.arrivals_ms)


def packed(payloads: Sequence[bytes]) -> Packed_Payloads | None:
    """Payloads in one buffer, each of whole lines or empty; None if one is packed by itself."""
    if isinstance(payloads, Packed_Payloads):
        return payloads
    if any(payload.startswith(GZIP_MAGIC) for payload in payloads):
        return None
    buffer, lengths = _joined([p if p.endswith(b"\n") or not p else p + b"\n" for p in payloads])
    return Packed_Payloads(np.frombuffer(buffer, np.uint8), np.cumsum(lengths))


def _lines_of(payloads: Sequence[bytes]) -> Iterator[_Lines]:
    """All payloads in one, or unpacked and in portions."""
    buffer, lengths = _joined(payloads)
    if whole_lines(buffer, lengths):
        yield _Lines(np.frombuffer(buffer, np.uint8), np.cumsum(lengths))
        return
    del buffer
    for portion in portions(payloads):
        buffer, lengths = _joined(portion.payloads)
        yield _Lines(np.frombuffer(buffer, np.uint8), np.cumsum(lengths), portion.first_payload, portion.first_line)


def _joined(payloads: Sequence[bytes]) -> tuple[bytes, Int64s]:
    return b"".join(payloads), np.fromiter(map(len, payloads), np.int64, len(payloads))


class Ordinary:
    """The lines of one list, as the kernel reads them."""

    def __init__(self, layout: Layout) -> None:
        listed = layout.listed
        self._count = listed.count
        self._witnesses = layout.columns_of_witnesses
        # What the kernel understands as a time is one, and any list's field of it is content with that.
        texts = {field: column for field, column in self._witnesses.items() if column not in DURATIONS}
        self._names = [*CODED_COLUMNS, *(name for name in texts.values() if name not in CODED_COLUMNS)]
        self._witness_of = {self._names.index(column): field for field, column in texts.items()}
        self._is_witness = np.array([number in self._witness_of for number in range(len(self._names))], np.bool_)
        self._line = Line_Layout(
            listed.count,
            listed.names.index("timestamp"),
            listed.index("sc-status"),
            listed.index("sc-bytes"),
            listed.index(REQUEST_ID),
            [layout.place_of(name) for name in self._names],
            self._names.index(PATH),
            [layout.place_of(name) for name in DURATIONS],
        )
        self.structure = self._line.as_structure()

    @classmethod
    def of(cls, layout: Layout) -> "Ordinary | None":
        """None where lines of the list are not for the kernel."""
        few = layout.count <= FIELDS_MAX
        return cls(layout) if few and layout.time_form == Time_Form.SECONDS else None

    def doubts(self, rows: Rows, texts_before: int) -> bool:
        """Whether a witness does not fit one of the texts that came after so many others."""
        found = rows.arrays["text"][texts_before : rows.numbers.texts_n]
        of_witnesses = found[self._is_witness[found["column"]]]
        for column, begin, length in zip(*(of_witnesses[name].tolist() for name in _TEXT_PLACE), strict=True):
            value = rows.arrays["bytes"][begin : begin + length].tobytes().decode()
            if cannot_be(self._witness_of[column], value):
                return True
        return False

    def columns(self, rows: Rows, arrivals_ms: Int64s) -> Columns:
        """Of all rows."""
        count = rows.numbers.rows_n
        coded = self._coded(rows)
        taken = {name: rows.arrays[name][:count].astype(np.int64) for name in _COPIED}
        end = taken["id_end"]
        lying = Texts_In(rows.arrays["ids"][: rows.numbers.ids_n].tobytes(), np.concatenate(([0], end))[:-1], end)
        micros = {
            name: Micros(rows.arrays["micros"][number, :count].astype(np.int64))
            for number, name in enumerate(DURATIONS)
        }
        ids, coded_columns = Request_Ids.lying(lying), {name: coded[name] for name in CODED_COLUMNS}
        texts = Texts(coded_columns, micros, ids, taken["status"], taken["size"])
        payload = taken["payload"]
        arrival_ms = arrivals_ms[payload] if len(arrivals_ms) > 1 else np.broadcast_to(arrivals_ms[0], count)
        fields, nothing = np.broadcast_to(np.int64(self._count), count), Dropped.joined([])
        return Columns(texts, taken["event_ms"], arrival_ms, payload, taken["line"], fields, {}, nothing, arrivals_ms)

    def _coded(self, rows: Rows) -> Mapping[str, Coded]:
        numbers, count = rows.numbers, rows.numbers.rows_n
        found = rows.arrays["text"][: numbers.texts_n]
        data = rows.arrays["bytes"][: numbers.bytes_n].tobytes()
        of_columns = found[np.argsort(found["column"].astype(np.uint8), kind="stable")]
        first, begin = of_columns["row"].astype(np.int64), of_columns["at"].astype(np.int64)
        end = begin + of_columns["length"]
        columns, until = {}, 0
        for number, name in enumerate(self._names):
            since, until = until, until + numbers.columns_n[number]
            codes = rows.arrays["codes"][number, :count].astype(np.int64)
            columns[name] = Coded(codes, first[since:until], Texts_In(data, begin[since:until], end[since:until]))
        return columns


_TEXT_PLACE = ("column", "at", "length")
_COPIED = ("event_ms", "size", "status", "payload", "line", "id_end")
