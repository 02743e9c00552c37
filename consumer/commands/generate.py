"""`sa-stream generate`: options come in, synthetic log lines go into a file, standard output, a stream, or an
archive as Firehose writes it to S3."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from consumer.commands.screen import say
from sa_stream.embedded.destinations import put_into
from sa_stream.embedded.generator import Chunk, Traffic
from sa_stream.errors import Config_Error
from sa_stream.timing import HOUR_MS, TIMES_UNTIL_MS, iso, wall_clock_ms

RECORDS_FROM_MS = 1_000_000_000_000
START_MS = 1_771_200_000_000  # 2026-02-16T00:00:00Z: a default that gives the same bytes on every day


class Wanted(Struct, frozen=True):
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


def generate(outs: Sequence[str], wanted: Wanted) -> None:
    """Make lines and put them into each of `outs` (see put_into), the same into all.

    Raises Config_Error for one that is none of these, Source_Error when it cannot be written to.
    """
    length_ms = round(wanted.hours * HOUR_MS)
    start_ms = wanted.start_ms
    if start_ms is None:
        into_stream = any(out.lower().startswith("kinesis:") for out in outs)
        start_ms = wall_clock_ms() - length_ms if into_stream else START_MS
    if start_ms < RECORDS_FROM_MS or start_ms + length_ms > TIMES_UNTIL_MS:
        raise Config_Error(
            f"--start and --hours: expected traffic from {iso(RECORDS_FROM_MS)}, as a record's time has ten digits, to "
            f"{iso(TIMES_UNTIL_MS)}, found {wanted.hours:g} hours from {iso(start_ms)}"
        )
    fields = wanted.fields
    names = fields if fields in ("canonical", "seed") else [name.strip() for name in fields.split(",")]
    traffic = Traffic(
        wanted.seed, names, dirt_rate=wanted.dirt, duplicate_rate=wanted.duplicates, late_rate=wanted.late
    )
    console = Console(stderr=True)
    with _progress(console) as progress:
        for out in outs:
            task = progress.add_task("lines", total=wanted.records)
            chunks = traffic.lines(start_ms, start_ms + length_ms, wanted.records)
            count = put_into(out, _counted(chunks, progress, task), wanted.seed)
            if out != "-":
                say(console, f"{count} lines in {out}")


def _progress(console: Console) -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, disable=not console.is_terminal
    )


def _counted(chunks: Iterable[Chunk], progress: Progress, task: Any) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        progress.advance(task, len(chunk))
