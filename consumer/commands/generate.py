"""`sa-stream generate`: options come in, synthetic log lines go into a file, standard output, a stream or S3."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from sa_stream.embedded.destinations import put_into
from sa_stream.embedded.generator import Chunk, Traffic
from sa_stream.timing import HOUR_MS

START_MS = 1_771_200_000_000  # 2026-02-16T00:00:00Z: a default that gives the same bytes on every day


def generate(
    out: str,
    records: int,
    seed: int,
    start_ms: int | None,
    hours: float,
    fields: str,
    rates: Mapping[str, float],
) -> int:
    """Make `records` lines that arrive within `hours` after start_ms, and put them into `out`; returns how many.

    out       a file (gzip if it ends in .gz), `-`, `kinesis:STREAM` or `s3://bucket/prefix`
    rates     how much of it is odd, as Traffic takes them
    start_ms  None: a fixed day; for a stream, so that the traffic ends now
    Raises Config_Error for an `out` that is none of these, Source_Error when it cannot be written to.
    """
    length_ms = round(hours * HOUR_MS)
    if start_ms is None:
        start_ms = time.time_ns() // 1_000_000 - length_ms if out.startswith("kinesis:") else START_MS
    names = fields if fields in ("canonical", "seed") else [name.strip() for name in fields.split(",")]
    traffic = Traffic(seed, names, **rates)
    chunks = traffic.lines(start_ms, start_ms + length_ms, records)
    console = Console(stderr=True)
    with _progress(console) as progress:
        task = progress.add_task("lines", total=records)
        count = put_into(out, _counted(chunks, progress, task))
    if out != "-":
        console.print(f"{count} lines in {out}", markup=False, highlight=False, soft_wrap=True)
    return count


def _progress(console: Console) -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, disable=not console.is_terminal
    )


def _counted(chunks: Iterable[Chunk], progress: Progress, task: Any) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        progress.advance(task, len(chunk))
