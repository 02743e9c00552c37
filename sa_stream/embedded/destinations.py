"""Where generated lines can go: a file, a stream, the in-memory Kinesis, or an archive in S3 or a folder."""

import gzip
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import xxhash

from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.embedded.firehose import delivered
from sa_stream.embedded.generator import Chunk
from sa_stream.embedded.memory_kinesis import HASH_KEYS, Memory_Kinesis, hash_key
from sa_stream.errors import Config_Error, Source_Error, Store_Unavailable
from sa_stream.log_file import place_of
from sa_stream.timing import Backoff


def put_into(out: str, chunks: Iterable[Chunk], seed: int) -> int:
    """Put lines into a file (gzip if it ends in .gz), `-`, `kinesis:STREAM`, or an archive of log files as Firehose
    writes it: `s3://bucket/prefix`, or a folder (`FOLDER/` or `file:///FOLDER`). Returns how many.

    seed  of what Firehose decides
    Raises Config_Error for an `out` that is none of these, Source_Error when it cannot be written to.
    """
    if out.lower().startswith("kinesis:"):
        return _put_kinesis(out.partition(":")[2], chunks)
    scheme, place = place_of(out)
    if scheme == "s3":
        return _put_s3(place, chunks, seed)
    try:
        if scheme == "file" or out.endswith("/"):
            return _put_folder(place, chunks, seed)
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


def _put_s3(place: str, chunks: Iterable[Chunk], seed: int) -> int:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = place.partition("/")
    base = f"{prefix.rstrip('/')}/" if prefix else ""
    try:
        client = boto3.client("s3")
        return _put_files(base, chunks, seed, lambda key, body: client.put_object(Bucket=bucket, Key=key, Body=body))
    except (BotoCoreError, ClientError) as error:
        raise Source_Error(f"Cannot write to s3://{place}: {error}") from error


def _put_folder(folder: str, chunks: Iterable[Chunk], seed: int) -> int:
    def put(key: str, body: bytes) -> None:
        path = Path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}")  # whoever follows the archive reads no name that begins so
        unfinished.write_bytes(body)
        unfinished.replace(path)

    return _put_files("", chunks, seed, put)


def _put_files(base: str, chunks: Iterable[Chunk], seed: int, put: Callable[[str, bytes], Any]) -> int:
    """As Firehose lays them out by default; returns how many lines came, each once."""
    count = 0

    def arrived() -> Iterator[tuple[int, bytes]]:
        nonlocal count
        for chunk in chunks:
            yield from zip(chunk.arrival_ms.tolist(), chunk.lines(), strict=True)
            count += len(chunk)

    for key, content in delivered(arrived(), Places(base, LAYOUTS["hours"], ZoneInfo("UTC")), seed):
        put(key, gzip.compress(content, 6, mtime=0))
    return count


def partition_key(line: bytes) -> str:
    """The key that decides on a line's shard. A line that is sent again gets the same one, so a duplicate meets its
    original in the same partition."""
    return xxhash.xxh3_64_hexdigest(line)


def lines_per_shard(chunk: Chunk, shards: int) -> list[tuple[list[bytes], list[int]]]:
    """Lines and arrival times (ms) of a chunk for each of this many equal shards, as `fill` would route them."""
    parts: list[tuple[list[bytes], list[int]]] = [([], []) for _ in range(shards)]
    lows = [HASH_KEYS * i // shards for i in range(shards)]
    for line, arrival_ms in zip(chunk.lines(), chunk.arrival_ms.tolist(), strict=True):
        lines, arrivals_ms = parts[bisect_right(lows, hash_key(partition_key(line))) - 1]
        lines.append(line)
        arrivals_ms.append(arrival_ms)
    return parts


def fill(kinesis: Memory_Kinesis, stream: str, chunks: Iterable[Chunk]) -> int:
    """Put lines straight into the in-memory Kinesis, one a record, with their own arrival times; returns how many."""
    count = 0
    for chunk in chunks:
        lines = chunk.lines()
        kinesis.put_many(stream, lines, [partition_key(line) for line in lines], chunk.arrival_ms.tolist())
        count += len(lines)
    return count


def put_lines(
    client: Any,
    stream: str,
    chunks: Iterable[Chunk],
    sleep_s: Callable[[float], None] = time.sleep,
    attempts_max: int = 10,
) -> int:
    """Put lines into a stream with a boto3 Kinesis client, one a record, 500 a call; returns how many. Records that are
    refused (throttling) are sent again, after a growing wait, so that lines of a shard may change their order. Raises
    Store_Unavailable when some are still refused after `attempts_max` calls. A client with
    Config(parameter_validation=False) is a third faster."""
    which = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
    count = 0
    for chunk in chunks:
        lines = chunk.lines()
        for begin in range(0, len(lines), 500):
            records = [{"Data": line, "PartitionKey": partition_key(line)} for line in lines[begin : begin + 500]]
            count += len(records)
            backoff = Backoff(100, 5_000)
            for _ in range(attempts_max):
                answers = client.put_records(Records=records, **which)["Records"]
                pairs = zip(records, answers, strict=True)
                records = [record for record, answer in pairs if answer.get("ErrorCode")]
                if not records:
                    break
                sleep_s(backoff.failed() / 1000)
            else:
                raise Store_Unavailable(
                    f"Kinesis refused {len(records)} records of {stream} {attempts_max} times: the stream has too few "
                    "shards for this rate, generate more slowly"
                )
    return count


def write_lines(target: str | Path, chunks: Iterable[Chunk]) -> int:
    """Write lines to a file (gzip if its name ends in .gz; the same lines give the same file) or `-` for standard
    output; returns how many. Raises OSError as `open` does."""
    count = 0
    with ExitStack() as stack:
        plain: IO[bytes] = sys.stdout.buffer if str(target) == "-" else stack.enter_context(Path(target).open("wb"))
        packed = str(target).endswith(".gz")
        out = stack.enter_context(gzip.GzipFile("", "wb", 6, plain, mtime=0)) if packed else plain
        for chunk in chunks:
            out.write(chunk.data)
            count += len(chunk)
        out.flush()
    return count
