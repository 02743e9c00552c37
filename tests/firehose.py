"""What Firehose delivers of log lines that tell no arrival, small files in every packing: lines come in, objects go
out."""

import gzip
import random
from collections.abc import Callable, Iterable
from contextlib import suppress

from backports import zstd

from sa_stream.archive.layout import Places
from sa_stream.embedded import firehose
from sa_stream.embedded.firehose import Buffering

FILE_BYTES_MAX = 200_000  # about 400 lines
PACKINGS: tuple[Callable[[bytes], bytes], ...] = (
    gzip.compress,
    lambda content: content,
    lambda content: gzip.compress(gzip.compress(content)),
    zstd.compress,
)


def arrivals(lines: Iterable[bytes], rng: random.Random, delay_ms_max: int) -> list[tuple[int, bytes]]:
    """(arrival in ms, line) in the order of arrival: at most so long after the time in the line."""
    last_ms = 0
    found = []
    for line in lines:
        text = line.partition(b"\t")[0].decode("utf-8", "replace")
        with suppress(ValueError):  # dirt comes with what came before it
            last_ms = int(float(text) * 1000) + rng.randrange(1, delay_ms_max)
        found.append((last_ms, line))
    return sorted(found)


def delivered(
    content: bytes,
    places: Places,
    seed: int = 0,
    delay_ms_max: int = 60_000,
    buffering_ms: int = 300_000,
    named: bool = True,
    twice: float = 0.0,
) -> dict[str, bytes]:
    """Key -> content of every object. twice: the share of records that are in two objects."""
    rng = random.Random(seed)
    lines = [(at_ms, line + b"\n") for at_ms, line in arrivals(content.splitlines(), rng, delay_ms_max)]
    buffering = Buffering(buffering_ms, buffering_ms, FILE_BYTES_MAX)
    return {
        key if named else _unnamed(key): rng.choice(PACKINGS)(file)  # a name says nothing of how it is packed
        for key, file in firehose.delivered(lines, places, seed, buffering, twice)
    }


def plain(content: bytes) -> bytes:
    """Of an object, whatever it is packed with."""
    while content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return zstd.decompress(content) if content.startswith(b"\x28\xb5\x2f\xfd") else content


def _unnamed(key: str) -> str:
    """With the id alone for a name, which is as long for all."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/{name[-len('00000000-0000-4000-8000-000000000000.gz') :]}"
