"""`sa-stream generate`: options come in, synthetic log lines go into a file, standard output, a stream or S3."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from consumer.commands.screen import say
from sa_stream.embedded.generator import Chunk, Traffic, put_lines, write_lines
from sa_stream.errors import Config_Error, Source_Error
from sa_stream.timing import HOUR_MS, wall_clock_ms

START_MS = 1_771_200_000_000  # 2026-02-16T00:00:00Z: a default that gives the same bytes on every day


@dataclass(slots=True, frozen=True)
class Wanted:
    """What traffic to make.

    records                 lines, which arrive within `hours` after start_ms
    start_ms                None: a fixed day; for a stream, so that the traffic ends now
    fields                  `canonical`, `seed`, or names with commas between
    dirt, duplicates, late  shares of the lines, from 0 to 1
    """

    records: int
    seed: int
    start_ms: int | None
    hours: float
    fields: str
    dirt: float
    duplicates: float
    late: float


def generate(out: str, wanted: Wanted) -> int:
    """Make lines and put them into `out`; returns how many.

    out  a file (gzip if it ends in .gz), `-`, `kinesis:STREAM` or `s3://bucket/prefix`
    Raises Config_Error for an `out` that is none of these, Source_Error when it cannot be written to.
    """
    length_ms = round(wanted.hours * HOUR_MS)
    start_ms = wanted.start_ms
    if start_ms is None:
        start_ms = wall_clock_ms() - length_ms if out.startswith("kinesis:") else START_MS
    fields = wanted.fields
    names = fields if fields in ("canonical", "seed") else [name.strip() for name in fields.split(",")]
    traffic = Traffic(
        wanted.seed, names, dirt_rate=wanted.dirt, duplicate_rate=wanted.duplicates, late_rate=wanted.late
    )
    chunks = traffic.lines(start_ms, start_ms + length_ms, wanted.records)
    console = Console(stderr=True)
    with _progress(console) as progress:
        task = progress.add_task("lines", total=wanted.records)
        count = _put(out, _counted(chunks, progress, task))
    if out != "-":
        say(console, f"{count} lines in {out}")
    return count


def _progress(console: Console) -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, disable=not console.is_terminal
    )


def _counted(chunks: Iterable[Chunk], progress: Progress, task: Any) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        progress.advance(task, len(chunk))


def _put(out: str, chunks: Iterable[Chunk]) -> int:
    scheme, _, rest = out.partition(":")
    if scheme == "kinesis":
        return _put_kinesis(rest, chunks)
    if scheme == "s3":
        return _put_s3(rest, chunks)
    try:
        return write_lines(out, chunks)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Source_Error(f"Cannot write to {out}: {error.strerror or error}.") from error


def _put_kinesis(stream: str, chunks: Iterable[Chunk]) -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    from sa_stream.sources.kinesis_reader import Kinesis_Reader

    if not stream:
        raise Config_Error("--out kinesis:STREAM needs the name or ARN of a stream after the colon.")
    reader = Kinesis_Reader(stream)
    reader.describe()  # its errors say which setting to change
    try:
        return put_lines(reader.client, stream, chunks)
    except (BotoCoreError, ClientError) as error:
        raise Source_Error(f"The Kinesis stream {stream} does not take records: {error}") from error


def _put_s3(place: str, chunks: Iterable[Chunk]) -> int:
    """One gzip object for every hour of arrival and chunk, under folders YYYY/MM/DD/HH/, as Firehose lays them out."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = place.removeprefix("//").partition("/")
    if not place.startswith("//") or not bucket:
        raise Config_Error("--out s3://bucket/prefix needs the name of a bucket.")
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    count = 0
    try:
        client = boto3.client("s3")
        for number, chunk in enumerate(chunks):
            lines = zip(chunk.arrival_ms.tolist(), chunk.lines(), strict=True)
            for hour_ms, group in groupby(lines, key=lambda line: line[0] // HOUR_MS * HOUR_MS):
                hour = datetime.fromtimestamp(hour_ms // 1000, UTC)
                body = gzip.compress(b"".join(line for _, line in group), 6, mtime=0)
                key = f"{folder}{hour:%Y/%m/%d/%H}/sa-stream-{hour:%Y-%m-%d-%H}-{number:06d}.gz"
                client.put_object(Bucket=bucket, Key=key, Body=body)
            count += len(chunk)
    except (BotoCoreError, ClientError) as error:
        raise Source_Error(f"Cannot write to s3:{place}: {error}") from error
    return count
