"""Log files as a bounded input: files, folders, standard input or S3 objects, plain or gzip, come in; buffers of whole
lines go out, each line ended by a newline, in memory that does not grow with the files or their lines.
"""

import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.sources.log_part import Log_Part, Readable

BUFFER_BYTES = 9 << 20  # about 20,000 lines: as many as are folded at once
LINE_BYTES_MAX = 1 << 20  # a longer line is malformed anyway; its rest is not kept
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_PIECE_BYTES = 1 << 16  # what follows a member is copied for each: small pieces keep thousands of them cheap


class Log_Files:
    """Iterate over it for buffers of about 9 MiB.

    `paths`: files, folders (recursively, sorted, names that begin with a dot left out), `-` for standard input, or
    `s3://bucket/prefix`. They are looked up at once: Source_Error for one that is missing, forbidden or empty of files,
    Store_Unavailable if S3 does not answer.

    total_bytes  size of all files as stored (gzip files compressed), None with standard input among them
    done_bytes   how much of that was read so far
    """

    def __init__(self, paths: Sequence[str | Path], buffer_bytes: int = BUFFER_BYTES) -> None:
        self._parts = [part for path in paths for part in _parts(str(path))]
        self._buffer_bytes = buffer_bytes
        self.done_bytes = 0
        sizes = [part.size_bytes for part in self._parts]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from self._lines(part)

    def _lines(self, part: Log_Part) -> Iterator[bytes]:
        """Whole lines of one part. If it breaks off, the lines before the break are handed over, then the error; the
        line in which it breaks is not: nobody could tell it from a whole one."""
        cutter = _Line_Cutter()
        try:
            source = part.open()
        except OSError as error:
            raise _unreadable(part.name, error) from error
        try:
            for block in self._plain(part.name, source):
                lines = cutter.push(block)
                if lines:
                    yield lines
            rest = cutter.finish()
            if rest:
                yield rest
        except OSError as error:
            raise _unreadable(part.name, error) from error
        finally:
            source.close()

    def _plain(self, name: str, source: Readable) -> Iterator[bytes]:
        block = self._read(source)
        while len(block) < len(GZIP_MAGIC) and (more := self._read(source)):  # a network may hand over single bytes
            block += more
        if block.startswith(GZIP_MAGIC):
            yield from self._gathered(self._unzipped(name, block, source))
            return
        while block:
            yield block
            block = self._read(source)

    def _unzipped(self, name: str, block: bytes, source: Readable) -> Iterator[bytes]:
        unzip = zlib.decompressobj(wbits=31)
        while block:
            for begin in range(0, len(block), _GZIP_PIECE_BYTES):
                piece = block[begin : begin + _GZIP_PIECE_BYTES]
                # After a member the next one may follow: gzip files may be joined, and padded with zeros.
                while piece := piece.lstrip(b"\0") if unzip.eof else piece:
                    if unzip.eof:
                        unzip = zlib.decompressobj(wbits=31)
                    try:
                        yield unzip.decompress(piece, self._buffer_bytes)
                    except zlib.error as error:
                        raise Source_Error(f"{name} is not a whole gzip file: {error}") from error
                    piece = unzip.unconsumed_tail or unzip.unused_data
            block = self._read(source)
        yield unzip.flush()
        if not unzip.eof:
            raise Source_Error(f"{name} is a gzip file that breaks off: its whole lines were read, its end is missing")

    def _gathered(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pieces joined to at least a buffer's size; what came before an error is handed over before it."""
        held: list[bytes] = []
        held_bytes = 0
        try:
            for piece in pieces:
                held.append(piece)
                held_bytes += len(piece)
                if held_bytes >= self._buffer_bytes:
                    yield b"".join(held)
                    held, held_bytes = [], 0
        except (Source_Error, Store_Unavailable, OSError):
            yield b"".join(held)
            raise
        yield b"".join(held)

    def _read(self, source: Readable) -> bytes:
        block = source.read(self._buffer_bytes)
        self.done_bytes += len(block)
        return block


class _Line_Cutter:
    """Cuts blocks at their last newline and keeps the rest, of a line that is too long only its first 1 MiB + 1."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def push(self, block: bytes) -> bytes:
        """The whole lines that are there now."""
        cut = block.rfind(b"\n") + 1
        if not cut:
            self._keep(block)
            return b""
        first = block.find(b"\n")
        self._keep(block[:first])
        lines = b"".join((*self._rest, block[first:cut]))
        self._rest, self._rest_bytes = [], 0
        self._keep(block[cut:])
        return lines

    def finish(self) -> bytes:
        """The last line, if it had no newline."""
        return b"".join((*self._rest, b"\n")) if self._rest_bytes else b""

    def _keep(self, piece: bytes) -> None:
        piece = piece[: max(0, LINE_BYTES_MAX + 1 - self._rest_bytes)]
        self._rest.append(piece)
        self._rest_bytes += len(piece)


def _unreadable(name: str, error: OSError) -> Source_Error:
    return Source_Error(f"{name} cannot be read: {error.strerror or error}")


def _parts(path: str) -> list[Log_Part]:
    if path == "-":
        return [Log_Part("standard input", None, lambda: _Standard_Input(sys.stdin.buffer))]
    if path.startswith("s3://"):
        from sa_stream.sources.s3_log_files import s3_parts  # loads boto3, which takes longer than many a file

        return s3_parts(path)
    try:
        files = _files_below(Path(path)) if Path(path).is_dir() else [Path(path)]
        if not files:
            raise Source_Error(f"{path} is a folder without files")
        return [Log_Part(str(file), file.stat().st_size, lambda file=file: file.open("rb")) for file in files]  # type: ignore[misc]
    except OSError as error:
        raise _unreadable(path, error) from error


def _files_below(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:
        raise error

    return sorted(
        Path(root, name)
        for root, folders, names in os.walk(folder, onerror=stop)
        for name in names
        if not name.startswith(".") and not any(part.startswith(".") for part in Path(root).relative_to(folder).parts)
    )


class _Standard_Input:
    """Standard input that is not closed when it has been read: it belongs to the process."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.read = stream.read

    def close(self) -> None:
        pass
