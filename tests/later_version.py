"""What another version of the program would write into the state store."""

from sa_stream.format import HEADER_BYTES, MAGIC, checksum


def in_version(number: int, packed: bytes) -> bytes:
    """The same content with another version in its head."""
    version, body = number.to_bytes(2, "big"), packed[HEADER_BYTES:]
    return MAGIC + version + checksum(version, body) + body
