"""Firehose as it delivers to S3: lines and their arrivals come in, files go out, each of the lines of some minutes, in
the folder and under the name of its oldest line's arrival. A pure function of lines and seed.

https://docs.aws.amazon.com/firehose/latest/dev/basic-deliver.html, .../s3-object-name.html, .../buffering-hints.html
"""

import random
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct, field

from sa_stream.archive.layout import Places

NAME_AND_VERSION = "logs-1"


class Buffering(Struct, frozen=True):
    """When a file is delivered: at whichever of the two comes first.

    least_ms, most_ms  how long it has taken in lines: drawn anew for each file, as what one sets is a hint
    bytes_max          of its lines
    """

    least_ms: int = 60_000
    most_ms: int = 300_000
    bytes_max: int = 5 << 20


BUFFERING = Buffering()
TWICE = 0.002  # share of lines that are in two files, as Firehose delivers at least once


def delivered(
    lines: Iterable[tuple[int, bytes]],
    places: Places,
    seed: int,
    buffering: Buffering = BUFFERING,
    twice: float = TWICE,
) -> Iterator[tuple[str, bytes]]:
    """Key and content (not packed yet) of every file, in the order of delivery.

    lines  (arrival in ms, line with its newline), ascending by arrival
    """
    rng = random.Random(seed)
    buffers = [_Buffer(), _Buffer()]  # two that deliver side by side, so that files overlap in time
    for arrival_ms, line in lines:
        own = rng.randrange(2)
        for which in (0, 1) if rng.random() < twice else (own,):
            buffer = buffers[which]
            if buffer.lines and (arrival_ms >= buffer.until_ms or buffer.size_bytes >= buffering.bytes_max):
                yield _file(buffer, places, rng)
                buffer = buffers[which] = _Buffer()
            if not buffer.lines:
                buffer.oldest_ms = arrival_ms
                buffer.until_ms = arrival_ms + rng.randint(buffering.least_ms, buffering.most_ms)
            buffer.lines.append(line)
            buffer.size_bytes += len(line)
    for buffer in sorted(buffers, key=lambda each: each.oldest_ms):
        if buffer.lines:
            yield _file(buffer, places, rng)


class _Buffer(Struct):
    oldest_ms: int = 0
    until_ms: int = 0
    size_bytes: int = 0
    lines: list[bytes] = field(default_factory=list)


def _file(buffer: _Buffer, places: Places, rng: random.Random) -> tuple[str, bytes]:
    local = datetime.fromtimestamp(buffer.oldest_ms // 1000, places.zone)
    file_id = uuid.UUID(int=rng.getrandbits(128), version=4)
    name = f"{NAME_AND_VERSION}-{local:%Y-%m-%d-%H-%M-%S}-{file_id}.gz"
    return f"{places.base}{local.strftime(places.layout.folder)}{name}", b"".join(buffer.lines)
