"""Pieces of logs in, columns out: each log is read by its own names if it brings them, the others by the configured
lists. What became of the records is noted at their file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np

from sa_stream.errors import Source_Error
from sa_stream.log_file import W3C_HEADER, Log_File, Log_Form, Log_Lines, Log_Table
from sa_stream.records.columns import REASONS, Columns, Int64s
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import CANONICAL, FIELDS_SETTING, SEED, Field_List, Field_Lists
from sa_stream.records.parser import Parser, Pieces
from sa_stream.records.standard_logs import (
    Named_Fields,
    fields_of_columns,
    fields_of_header,
    lines_of_frame,
    lines_of_json,
)

MARKS_MAX = 100  # bytes that begin a header, and are none, before a header as a whole is looked for
PIECES_MAX = 1_000  # that are read as one: each costs a little with all that comes of them
KEPT_BYTES = 9 << 20  # of lines that are kept with what was read of them
_NO_RECORDS = Field_Lists.of(Field_List(CANONICAL))  # what lines are read with of which none is a record


class Read(NamedTuple):
    """What was read, and with which lists; the payloads of the columns are these files.

    lines  of each payload, as they came; empty unless they were to be kept
    """

    lists: Field_Lists
    columns: Columns
    files: list[Log_File]
    lines: Sequence[bytes] = ()


class Log_Reading:
    """Iterate over it for what was read, or hand over piece by piece. What is read with one list is read as one, of
    however many pieces and files it is.

    checked       the lists are known to be right: the first lines are not held against them
    keep_lines    lines are handed over too, with all fields that a record can be shown with
    never_parsed  names of columns that standard logs have and that were not looked into
    named         whether logs brought their names, here or, as whoever reads only the others says, elsewhere
    """

    def __init__(
        self,
        pieces: Iterable[Log_Lines | Log_Table],
        lists: Field_Lists,
        now_ms: int,
        future_ms: int,
        on_fields: Callable[[Field_List], None] = lambda fields: None,
        checked: bool = False,
        keep_lines: bool = False,
    ) -> None:
        self.never_parsed: dict[str, None] = {}
        self.named = False
        self._pieces = pieces
        self._lists = lists
        self._now_ms = now_ms
        self._future_ms = future_ms
        self._on_fields = on_fields
        self._keep_lines = keep_lines
        self._parsers: dict[int, tuple[Field_Lists, Parser]] = {}
        self._held: list[Log_Lines] = []  # lines that are read once the list is found, or checked
        self._first = None if checked else First_Records()  # None: it is
        self._of_no_log: First_Records | None = None  # of files that were given up, as none of theirs has a time
        self._own: tuple[Log_File, Named_Fields] | None = None  # of the last log that brought names
        self._open: tuple[Field_Lists, Pieces] | None = None  # what reads pieces now, with which lists
        self._files: list[Log_File] = []  # of each piece of it
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def __iter__(self) -> Iterator[Read]:
        for piece in self._pieces:
            yield from self.take(piece)
        yield from self.rest()

    @property
    def decided(self) -> Field_Lists | None:
        """The lists that lines without names are read with; None while that is not known."""
        return self._lists if self._first is None else None

    def take(self, piece: Log_Lines | Log_Table) -> Iterator[Read]:
        """What is parsed now that this piece is there. Raises Field_List_Error."""
        if piece.file.error is not None:
            return  # it was given up
        try:
            yield from self._lines(piece) if isinstance(piece, Log_Lines) else self._table(piece)
        except Source_Error as error:
            piece.file.error = _named(piece.file, error)

    def rest(self) -> Iterator[Read]:
        """What was held back, to be joined with more or until the list was decided. Raises Field_List_Error."""
        yield from self._decided(at_end=True)
        yield from self._ended()

    def _lines(self, piece: Log_Lines) -> Iterator[Read]:
        if piece.file.form == Log_Form.JSON_LINES:
            yield from self._json(piece)
            return
        for header, content in _sections(piece.content):
            if header:
                self._begin_section(piece.file, header, content)
            if self._own is not None and self._own[0] is piece.file:
                yield from self._join(piece.file, self._own[1].lists, content)
            else:
                yield from self._real_time(Log_Lines(piece.file, content))

    def _json(self, piece: Log_Lines) -> Iterator[Read]:
        last = self._own[1] if self._own is not None and self._own[0] is piece.file else None
        for fields, content in lines_of_json(piece.content, self._fields_of, last):
            if fields is not None:
                self._own = piece.file, fields
            yield from self._join(piece.file, _NO_RECORDS if fields is None else fields.lists, content)

    def _begin_section(self, file: Log_File, header: bytes, lines: bytes) -> None:
        try:
            fields = fields_of_header(header, self._lists.dropped, self._lists.allowed)
        except Source_Error:
            if file.form == Log_Form.W3C:
                raise
            return  # among real-time lines it is a comment like any other
        _refuse_other_separator(fields, lines)
        self._own = file, self._seen(fields)
        file.form = Log_Form.W3C

    def _table(self, piece: Log_Table) -> Iterator[Read]:
        fields = self._fields_of(piece.names)
        self._own = piece.file, fields
        for frame in piece.frames(fields.columns):
            yield from self._join(piece.file, fields.lists, lines_of_frame(frame, fields.columns))

    def _real_time(self, piece: Log_Lines) -> Iterator[Read]:
        if self._first is None:
            yield from self._join(piece.file, self._lists, piece.content)
            return
        if not _may_have_records(piece.content):  # such as what a standard log has above its header
            return
        self._held.append(piece)
        self._first.add(piece.content)
        if self._first.enough:
            yield from self._decided()

    def _decided(self, at_end: bool = False) -> Iterator[Read]:
        """What was held until the list was found, or checked. Where all of it is lines without a time, such as a note
        beside logs, that is no reason to refuse what comes behind it, nor logs that bring their names."""
        first = self._first
        if first is None:
            return
        found = self._lists.auto
        if found and (first.are_of_no_log or (self.named and first.rows and not first.timed)):
            for piece in self._held:
                piece.file.error = _no_log(piece.file)
            self._held, self._of_no_log = [], self._of_no_log or first
            first = self._first = First_Records()
        if at_end and not self._held and self._of_no_log is not None and not self.named:
            first = self._of_no_log  # where there is nothing but such files, no list is found
        elif not self._held:
            return
        if first.rows or first.enough:
            self._lists = decide(self._lists, first)
            if found:
                self._on_fields(self._lists.lists[0])
        else:  # lines that are too long to tell anything: any list will do
            self._lists = Field_Lists.of(Field_List(CANONICAL, self._lists.dropped))
        held, self._held, self._first = self._held, [], None
        for piece in held:
            yield from self._join(piece.file, self._lists, piece.content)

    def _fields_of(self, names: tuple[str, ...]) -> Named_Fields:
        shown = SEED if self._keep_lines else ()
        return self._seen(fields_of_columns(names, self._lists.dropped, self._lists.allowed, shown))

    def _seen(self, fields: Named_Fields) -> Named_Fields:
        self.never_parsed |= dict.fromkeys(fields.never_parsed)
        self.named = True
        return fields

    def _join(self, file: Log_File, lists: Field_Lists, content: bytes) -> Iterator[Read]:
        full = len(self._files) >= PIECES_MAX or self._kept_bytes >= KEPT_BYTES
        if self._open is None or self._open[0] is not lists or full:
            yield from self._ended()
            _, parser = self._parsers.setdefault(id(lists), (lists, Parser(lists, self._future_ms)))
            self._open = lists, parser.pieces(self._now_ms)
        self._files.append(file)
        if self._keep_lines:
            self._kept.append(content)
            self._kept_bytes += len(content)
        _, pieces = self._open
        yield from self._noted(lists, pieces.add_lines(content, len(self._files) - 1))

    def _ended(self) -> Iterator[Read]:
        """What was held back of pieces that were to be read as one."""
        if self._open is not None:
            lists, pieces = self._open
            yield from self._noted(lists, pieces.ended())
        self._open, self._files, self._kept, self._kept_bytes = None, [], [], 0

    def _noted(self, lists: Field_Lists, found: Iterable[Columns]) -> Iterator[Read]:
        files = self._files
        for columns in found:
            for place, number in enumerate(np.bincount(columns.payload, minlength=len(files)).tolist()):
                files[place].records += number
            for place, reason, number in counted_pairs(columns.dropped.payload, columns.dropped.reason):
                files[place].records += number
                files[place].invalid[REASONS[reason]] += number
            yield Read(lists, columns, files, self._kept)


def counted_pairs(places: Int64s, values: Int64s) -> Iterator[tuple[int, int, int]]:
    """(place, value, how often) of each pair that occurs."""
    if not len(places):
        return
    least = int(values.min())
    span = int(values.max()) - least + 1
    pairs, numbers = np.unique(places * span + (values - least), return_counts=True)
    for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
        yield pair // span, pair % span + least, number


def _may_have_records(content: bytes) -> bool:
    """Whether there is anything but empty lines and comments."""
    begin = 0
    while begin < len(content):
        if content[begin] not in b"#\n" and not content.startswith(b"\r\n", begin):
            return True
        begin = content.find(b"\n", begin) + 1 or len(content)
    return False


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


def _no_log(file: Log_File) -> str:
    return (
        f"{file.name} looks like no log, which is not read: it names no fields, and none of its first lines begins "
        f"with a time in epoch seconds. Leave it out, or set {FIELDS_SETTING} if these are real-time lines"
    )


def _named(file: Log_File, error: Source_Error) -> str:
    return str(error) if str(error).startswith(file.name) else f"{file.name} cannot be read: {error}"
