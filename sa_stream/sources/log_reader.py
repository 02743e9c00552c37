"""One log, whatever it is and wherever it lies: its bytes come in, pieces of whole lines or of columns go out, in
memory that does not grow with the log or its lines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from tempfile import NamedTemporaryFile

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.frames import pl
from sa_stream.log_file import Log_File, Log_Form, Log_Lines, Log_Table
from sa_stream.sources.ahead import ahead
from sa_stream.sources.log_forms import BYTE_ORDER_MARK, decoded, form_of, utf_16_of
from sa_stream.sources.log_part import Log_Part
from sa_stream.sources.unpacking import plain_blocks

BUFFER_BYTES = 1 << 20  # about 2,000 lines: they are still in the processor's cache when they are read
LINE_BYTES_MAX = 1 << 20  # a longer line is malformed anyway; its rest is not kept
TABLE_ROWS = 20_000


def read_log(
    part: Log_Part,
    file: Log_File,
    buffer_bytes: int = BUFFER_BYTES,
    on_read: Callable[[int], None] = lambda read_bytes: None,
    ahead_of_us: bool = False,
) -> Iterator[Log_Lines | Log_Table]:
    """The pieces of one log: lines in buffers of about `buffer_bytes`, or one table.

    file         takes down the form, and what was odd
    on_read      hears how many bytes were read, as they are stored
    ahead_of_us  whether a thread reads and unpacks the next lines while some are used

    Raises Source_Error for what cannot be read (its message names the log), Store_Unavailable if its store does not
    answer. If it breaks off, the lines before the break are handed over, then the error; the line in which it breaks is
    not: nobody could tell it from a whole one.
    """
    try:
        source = part.open()
    except OSError as error:
        raise unreadable(part.name, error) from error

    def blocks() -> Iterator[bytes]:
        while block := source.read(buffer_bytes):
            on_read(len(block))
            yield block

    try:
        if part.form is not None:
            file.form = part.form
            yield from (Log_Lines(file, lines) for lines in _lines(blocks(), buffer_bytes))
            return
        head, plain = plain_blocks(blocks(), file)
        encoding = utf_16_of(head)
        if encoding is not None:
            head, plain = plain_blocks(decoded(plain, encoding, part.name), file)
        file.form = form_of(head, part.name)
        if file.form == Log_Form.PARQUET:
            with NamedTemporaryFile(suffix=".parquet") as copy:  # its end says where its columns are
                copy.writelines(plain)
                copy.flush()
                yield _table(file, copy.name)
        else:
            skipped = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
            found = _lines(_after(skipped, plain), buffer_bytes)
            with closing(ahead(found) if ahead_of_us else found) as lines:
                yield from (Log_Lines(file, each) for each in lines)
    except OSError as error:
        raise unreadable(part.name, error) from error
    finally:
        source.close()


def _lines(blocks: Iterator[bytes], buffer_bytes: int) -> Generator[bytes, None, None]:
    """Whole lines, joined to at least a buffer's size; what came before an error is handed over before it."""
    cutter = _Line_Cutter()
    try:
        for block in blocks:
            cutter.push(block)
            if cutter.whole_bytes >= buffer_bytes:
                yield cutter.taken()
    except (Source_Error, Store_Unavailable, OSError):
        if cutter.whole_bytes:
            yield cutter.taken()
        raise
    cutter.finish()
    if cutter.whole_bytes:
        yield cutter.taken()


def _after(skipped_bytes: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        yield block[skipped_bytes:]
        skipped_bytes = max(0, skipped_bytes - len(block))


def _table(file: Log_File, path: str) -> Log_Table:
    def frames(names: Sequence[str]) -> Iterator[pl.DataFrame]:
        chosen = pl.scan_parquet(path).select(pl.col(list(names)))
        try:
            yield from chosen.collect_batches(chunk_size=TABLE_ROWS, lazy=True)
        except pl.exceptions.PolarsError as error:
            raise _damaged(file, error) from error

    try:
        return Log_Table(file, tuple(pl.read_parquet_schema(path)), frames)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Log_File, error: Exception) -> Source_Error:
    return Source_Error(f"{file.name} is not a whole Parquet file: {str(error).splitlines()[0]}")


class _Line_Cutter:
    """Gathers whole lines, and the beginning of the next one, of a line that is too long only its first 1 MiB + 2: what
    is kept is too long even if it ends in a carriage return, which ends a line. A block is copied once, if at all."""

    def __init__(self) -> None:
        self.whole_bytes = 0
        self._whole: list[bytes | memoryview] = []
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def push(self, block: bytes) -> None:
        cut = block.rfind(b"\n") + 1
        if not cut:
            self._keep(block)
            return
        begin = 0
        if self._rest:
            begin = block.find(b"\n")
            self._keep(block[:begin])
            self._end_line()
        self._whole.append(memoryview(block)[begin:cut] if cut - begin < len(block) else block)
        self.whole_bytes += cut - begin
        self._keep(block[cut:])

    def finish(self) -> None:
        """The last line is whole, too, if it has no newline."""
        if self._rest:
            self._end_line()
            self._whole.append(b"\n")

    def taken(self) -> bytes:
        """The whole lines that are there now."""
        lines, self._whole, self.whole_bytes = b"".join(self._whole), [], 0
        return lines

    def _keep(self, piece: bytes) -> None:
        piece = piece[: max(0, LINE_BYTES_MAX + 2 - self._rest_bytes)]
        if piece:
            self._rest.append(piece)
            self._rest_bytes += len(piece)

    def _end_line(self) -> None:
        self._whole += self._rest
        self.whole_bytes += self._rest_bytes
        self._rest, self._rest_bytes = [], 0


def unreadable(name: str, error: OSError) -> Source_Error:
    """An error of the file system as ours."""
    return Source_Error(f"{name} cannot be read: {error.strerror or error}")
