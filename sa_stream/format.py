"""The one binary format of everything in the state store: magic, version, checksum, and msgpack of a kind, plain values
and raw arrays. Equal content gives equal bytes, so a key can promise one content.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from sa_stream.errors import Corrupt_State, Unknown_Version

MAGIC = b"SAS\x1a"
VERSION = 4
READABLE = (1, 2, 3, VERSION)  # older objects lack the last fields of some kinds; whoever unpacks them fills these in
OF_BODY_ALONE = (1, 2, 3, 4)  # versions whose checksum is; of any other it is of the version and the body
HEADER_BYTES = len(MAGIC) + 2 + 16

_WHOLE_NUMBER = 1  # the one extension of msgpack here: a whole number that does not fit its 64 bits, as digits

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=lambda code, data: int(bytes(data))).decode


def pack(kind: str, content: Any) -> bytes:
    """Bytes of `content` (plain values, lists, string-keyed dicts, bytes) as an object of this kind.

    Dicts keep the order they are given in: callers sort what has no order of its own.
    """
    try:
        body = _encode([kind, content])
    except OverflowError:  # one record may say that it had so many bytes
        body = _encode([kind, _with_any_numbers(content)])
    version = VERSION.to_bytes(2, "big")
    return b"".join((MAGIC, version, checksum(version, body), body))


def _with_any_numbers(content: Any) -> Any:
    """The same, with whole numbers as msgpack takes them."""
    if isinstance(content, dict):
        return {name: _with_any_numbers(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_any_numbers(value) for value in content]
    if isinstance(content, int) and not -(1 << 63) <= content < 1 << 64:
        return msgspec.msgpack.Ext(_WHOLE_NUMBER, str(content).encode())
    return content


def checksum(version: bytes, body: bytes | memoryview) -> bytes:
    """Of an object in whatever version of the format: so one that is torn is told from a newer program's."""
    if int.from_bytes(version, "big") in OF_BODY_ALONE:
        return xxhash.xxh3_128_digest(body)
    whole = xxhash.xxh3_128(version)
    whole.update(body)
    return whole.digest()


def unpack(kind: str, data: bytes, key: str = "") -> Any:
    """Content of an object of this kind. `key` names it in errors.

    Raises Unknown_Version for another version of the format, Corrupt_State for anything else that is not what `pack`
    wrote: a store without fsync can leave half a file behind.
    """
    name = f"{kind} {key}".strip()
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise Corrupt_State(f"{name} is not an object of sa-stream: it does not begin with its magic bytes")
    body = memoryview(data)[HEADER_BYTES:]
    if checksum(data[4:6], body) != data[6:HEADER_BYTES]:
        raise Corrupt_State(f"{name} has a wrong checksum: its bytes are not the ones that were written")
    version = int.from_bytes(data[4:6], "big")
    if version not in READABLE:
        raise Unknown_Version(
            f"{name} has format version {version}; this program knows versions up to {VERSION}. Use the program that "
            "wrote it, or point SGRAPH_SEND__SA_STATE_URL at another place"
        )
    found, content = _decode(body)
    if found != kind:
        raise Corrupt_State(f"{name} is a {found!r}, expected a {kind!r}")
    return content


def raw(array: npt.NDArray[Any]) -> list[Any]:
    """A one-dimensional array as [dtype, little-endian bytes]."""
    array = np.ascontiguousarray(array)
    return [array.dtype.newbyteorder("<").str, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()]


def narrow(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers from 0 on in the smallest type that takes the greatest of them: most are small."""
    return array.astype(np.min_scalar_type(array.max(initial=0)), copy=False)


def unraw(value: list[Any]) -> npt.NDArray[Any]:
    """A fresh, writable array from what `raw` made."""
    return np.frombuffer(value[1], np.dtype(value[0])).copy()
