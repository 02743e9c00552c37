"""Pieces of logs in, columns out: each log is read by its own names if it brings them, the others by the configured
lists. What became of the records is noted at their file."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

import numpy as np

from sa_stream.errors import Source_Error
from sa_stream.log_file import W3C_HEADER, Log_File, Log_Form, Log_Lines, Log_Table
from sa_stream.records.columns import REASONS, Columns
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import CANONICAL, Field_List, Field_Lists
from sa_stream.records.parser import Parser
from sa_stream.records.standard_logs import (
    Named_Fields,
    fields_of_columns,
    fields_of_header,
    json_names,
    lines_of_frame,
    lines_of_json,
)

type Read = tuple[Field_Lists, Columns]

MARKS_MAX = 100  # bytes that begin a header, and are none, before a header as a whole is looked for


class Log_Reading:
    """Iterate over it for (lists, columns): what was read, and with which lists.

    never_parsed  names of columns that standard logs have and that were not looked into
    """

    def __init__(
        self,
        pieces: Iterable[Log_Lines | Log_Table],
        lists: Field_Lists,
        now_ms: int,
        future_ms: int,
        on_fields: Callable[[Field_List], None] = lambda fields: None,
    ) -> None:
        self.never_parsed: dict[str, None] = {}
        self._pieces = pieces
        self._lists = lists
        self._now_ms = now_ms
        self._future_ms = future_ms
        self._on_fields = on_fields
        self._parsers: dict[int, tuple[Field_Lists, Parser]] = {}
        self._held: list[Log_Lines] = []  # lines that are read once the list is found, or checked
        self._first: First_Records | None = First_Records()  # None: it is
        self._header: tuple[Log_File, Named_Fields] | None = None  # the last one, and whose it is

    def __iter__(self) -> Iterator[Read]:
        for piece in self._pieces:
            if piece.file.error is not None:
                continue  # it was given up
            try:
                yield from self._lines(piece) if isinstance(piece, Log_Lines) else self._table(piece)
            except Source_Error as error:
                piece.file.error = _named(piece.file, error)
        yield from self._decided()

    def _lines(self, piece: Log_Lines) -> Iterator[Read]:
        if piece.file.form == Log_Form.JSON_LINES:
            names = json_names(piece.content)
            if names:
                fields = self._seen(fields_of_columns(names, self._lists.dropped))
                yield from self._parsed(piece.file, fields.lists, lines_of_json(piece.content, fields.columns))
            return
        for header, content in _sections(piece.content):
            if header:
                self._begin_section(piece.file, header, content)
            if self._header is not None and self._header[0] is piece.file:
                yield from self._parsed(piece.file, self._header[1].lists, content)
            else:
                yield from self._real_time(Log_Lines(piece.file, content))

    def _begin_section(self, file: Log_File, header: bytes, lines: bytes) -> None:
        try:
            fields = fields_of_header(header, self._lists.dropped)
        except Source_Error:
            if file.form == Log_Form.W3C:
                raise
            return  # among real-time lines it is a comment like any other
        _refuse_other_separator(fields, lines)
        self._header = file, self._seen(fields)
        file.form = Log_Form.W3C

    def _table(self, piece: Log_Table) -> Iterator[Read]:
        fields = self._seen(fields_of_columns(piece.names, self._lists.dropped))
        for frame in piece.frames(fields.columns):
            yield from self._parsed(piece.file, fields.lists, lines_of_frame(frame, fields.columns))

    def _real_time(self, piece: Log_Lines) -> Iterator[Read]:
        if self._first is None:
            yield from self._parsed(piece.file, self._lists, piece.content)
            return
        self._held.append(piece)
        self._first.add(piece.content)
        if self._first.enough:
            yield from self._decided()

    def _decided(self) -> Iterator[Read]:
        """What was held until the list was found, or checked."""
        if self._first is None or not self._held:
            return
        found = self._lists.auto
        if self._first.rows or self._first.enough:
            self._lists = decide(self._lists, self._first)
            if found:
                self._on_fields(self._lists.lists[0])
        else:  # nothing to read, so any list will do
            self._lists = Field_Lists.of(Field_List(CANONICAL, self._lists.dropped))
        held, self._held, self._first = self._held, [], None
        for piece in held:
            yield from self._parsed(piece.file, self._lists, piece.content)

    def _seen(self, fields: Named_Fields) -> Named_Fields:
        self.never_parsed |= dict.fromkeys(fields.never_parsed)
        return fields

    def _parsed(self, file: Log_File, lists: Field_Lists, content: bytes) -> Iterator[Read]:
        _, parser = self._parsers.setdefault(id(lists), (lists, Parser(lists, self._future_ms)))
        for columns in parser.buffer_portions(content, self._now_ms):
            file.records += len(columns) + len(columns.dropped)
            for reason, number in zip(*np.unique(columns.dropped.reason, return_counts=True), strict=True):
                file.invalid[REASONS[reason]] += int(number)
            yield lists, columns


def _sections(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(header, lines) of what is below each header, and before the first one (no header). Files may have been
    joined."""
    begin = 0
    header = b""
    while (place := _header_at(content, begin)) >= 0:
        if place > begin:
            yield header, content[begin:place]
        begin = content.find(b"\n", place) + 1
        header = content[place:begin].strip()
    if begin < len(content) or header:
        yield header, content[begin:]


def _header_at(content: bytes, begin: int) -> int:
    """Where the next line that is a header begins; -1 if there is none. One byte is found much faster than several, so
    that is what is looked for, unless it is frequent."""
    for sought in chain(repeat(W3C_HEADER[:1], MARKS_MAX), repeat(W3C_HEADER)):
        place = content.find(sought, begin)
        if place < 0 or (content.startswith(W3C_HEADER, place) and (place == 0 or content[place - 1] == 10)):
            return place
        begin = place + 1
    return -1


def _refuse_other_separator(fields: Named_Fields, lines: bytes) -> None:
    first = next((line for line in lines[: 1 << 20].split(b"\n") if line.strip() and not line.startswith(b"#")), b"")
    if first and b"\t" not in first and len(fields.columns) > 1:
        raise Source_Error(
            f"its header names {len(fields.columns)} fields, and its first record has no tab: set the field delimiter "
            "of the delivery to a tab"
        )


def _named(file: Log_File, error: Source_Error) -> str:
    return str(error) if str(error).startswith(file.name) else f"{file.name} cannot be read: {error}"
