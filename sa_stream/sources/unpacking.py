"""Packed bytes in, plain bytes out, in blocks: gzip and zstd, told by their first bytes, of several members and one
within the other. Holds one block at a time, whatever it unpacks to."""

from collections.abc import Callable, Iterator
from itertools import chain

from backports import zstd
from isal import isal_zlib
from msgspec import Struct

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.log_file import Log_File

LAYERS_MAX = 2
BLOCK_BYTES_MAX = 1 << 20
_PIECE_BYTES = 1 << 16  # what follows a member is copied for each: small pieces keep thousands of them cheap
HEAD_BYTES = 1 << 16  # as many tell what a file is
_GZIP_ERROR: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]  # its stub takes the class for one


class _Packing(Struct, frozen=True):
    name: str
    magic: bytes
    unpacker: Callable[[], "_Gzip | _Zstd"]


class _Gzip:
    """One member of a gzip file."""

    def __init__(self) -> None:
        self._unpacker = isal_zlib.decompressobj(wbits=31)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield self._unpacker.decompress(piece, BLOCK_BYTES_MAX)
            piece = self._unpacker.unconsumed_tail

    @property
    def ended(self) -> bool:
        return self._unpacker.eof

    @property
    def rest(self) -> bytes:
        """What followed the end of the member."""
        return self._unpacker.unused_data


class _Zstd:
    """One frame of a zstd file."""

    def __init__(self) -> None:
        self._unpacker = zstd.ZstdDecompressor()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        yield self._unpacker.decompress(piece, BLOCK_BYTES_MAX)
        while not (self._unpacker.eof or self._unpacker.needs_input):
            yield self._unpacker.decompress(b"", BLOCK_BYTES_MAX)

    @property
    def ended(self) -> bool:
        return self._unpacker.eof

    @property
    def rest(self) -> bytes:
        """What followed the end of the frame."""
        return self._unpacker.unused_data


_PACKINGS = (_Packing("gzip", b"\x1f\x8b", _Gzip), _Packing("zstd", b"\x28\xb5\x2f\xfd", _Zstd))


def is_packed(head: bytes) -> bool:
    """Whether a file begins like this that is packed."""
    return _packing_of(head) is not None


def _packing_of(head: bytes) -> _Packing | None:
    return next((packing for packing in _PACKINGS if head.startswith(packing.magic)), None)


def plain_blocks(blocks: Iterator[bytes], file: Log_File) -> tuple[bytes, Iterator[bytes]]:
    """(the first bytes, all blocks) of a file's content without its packing.

    Bytes that follow the last member are passed over, with a warning. Iterating raises Source_Error for a file that
    breaks off or is damaged, after what can be read of it; at once for one that is packed more than twice.
    """
    for _ in range(LAYERS_MAX + 1):
        head, blocks = _peeked(blocks)
        packing = _packing_of(head)
        if packing is None:
            return head, blocks
        blocks = _unpacked(blocks, packing, file)
    raise Source_Error(f"{file.name} is packed more than {LAYERS_MAX} times: unpack it first")


def _peeked(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first HEAD_BYTES (fewer if there are no more, or an error comes before), and all blocks, these included."""
    held: list[bytes] = []
    held_bytes = 0
    try:
        while held_bytes < HEAD_BYTES and (block := next(blocks, None)) is not None:
            held.append(block)
            held_bytes += len(block)
    except (Source_Error, Store_Unavailable, OSError) as error:
        return b"".join(held)[:HEAD_BYTES], _broken_off(held, error)
    return b"".join(held)[:HEAD_BYTES], chain(held, blocks)


def _broken_off(held: list[bytes], error: Exception) -> Iterator[bytes]:
    yield from held
    raise error


def _unpacked(blocks: Iterator[bytes], packing: _Packing, file: Log_File) -> Iterator[bytes]:
    member = packing.unpacker()
    short = b""  # as another member begins, and too little to be one
    try:
        for piece in _pieces(blocks):
            piece, short = short + piece, b""
            # After a member the next one may follow: files may be joined, and padded with zeros.
            while piece := piece.lstrip(b"\0") if member.ended else piece:
                if member.ended:
                    if len(piece) < len(packing.magic) and packing.magic.startswith(piece):
                        short = piece
                        break
                    if not piece.startswith(packing.magic):
                        file.warning = _trailing(file, packing)
                        return
                    member = packing.unpacker()
                yield from member.feed(piece)
                piece = member.rest if member.ended else b""
    except (_GZIP_ERROR, zstd.ZstdError) as error:
        raise Source_Error(f"{file.name} is not a whole {packing.name} file: {error}") from error
    if short or not member.ended:
        raise Source_Error(
            f"{file.name} is a {packing.name} file that breaks off: its whole lines were read, its end is missing"
        )


def _trailing(file: Log_File, packing: _Packing) -> str:
    return f"{file.name} goes on behind its {packing.name} content: these bytes are passed over"


def _pieces(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for begin in range(0, len(block), _PIECE_BYTES):
            yield block[begin : begin + _PIECE_BYTES]
