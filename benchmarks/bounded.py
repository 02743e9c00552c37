"""Replaying on two cores, by the clock, beside what a user would write with polars or DuckDB and as many threads."""

import gzip
from collections.abc import Iterator, Sequence
from itertools import batched
from pathlib import Path

from benchmarks import rivals
from benchmarks.backfill import Measured
from benchmarks.data import Data, write_lines
from benchmarks.measure import REPLAY, TWO_CORES, call, run

LINES_A_FILE = 15_000
CASES = ("replay-plain-to-polars", "replay-plain-to-duckdb", "replay-gzip-to-polars", "replay-gzip-to-duckdb")


def measured(folder: Path, plain_records: int, packed_records: int, rounds: int) -> Iterator[Measured]:
    plain = folder / "plain.tsv"
    with plain.open("wb") as file:
        write_lines(Data(folder, plain_records), file)
    packed = folder / "packed"
    files = _write_packed(plain, packed, packed_records)
    size = f"{plain_records:,} lines in one file"
    yield from _compared("plain", [plain], plain, plain_records, (2.2, 3), rounds, size)
    size = f"{packed_records:,} lines in {len(files)} files"
    yield from _compared("gzip", files, packed / "*.gz", packed_records, (1.1, 1.5), rounds, size)


def _compared(
    kind: str, files: Sequence[Path], pattern: Path, records: int, targets: tuple[float, float], rounds: int, size: str
) -> Iterator[Measured]:
    threads = len(TWO_CORES)
    replay = [*REPLAY, "--jobs", str(threads), *map(str, files)]
    ours: list[float] = []
    polars: list[float] = []
    duck: list[float] = []
    for _ in range(rounds):
        ours.append(records / run(replay, TWO_CORES).seconds)
        ran = call(rivals.bare_polars, pattern, cores=TWO_CORES, POLARS_MAX_THREADS=str(threads))[1]
        polars.append(records / ran.seconds)
        duck.append(records / call(rivals.duck, pattern, threads, cores=TWO_CORES)[1].seconds)
    detail = f"by the clock, starts included, each on {threads} cores; {size}"
    yield Measured(f"replay-{kind}-to-polars", ours, polars, targets[0], detail)
    yield Measured(f"replay-{kind}-to-duckdb", ours, duck, targets[1], detail)


def _write_packed(plain: Path, folder: Path, records: int) -> list[Path]:
    """The first lines of a file, packed, in files of LINES_A_FILE."""
    folder.mkdir()
    files = []
    with plain.open("rb") as file:
        for number, lines in enumerate(batched(file, LINES_A_FILE)):
            if number * LINES_A_FILE >= records:
                break
            files.append(folder / f"{number:03d}.gz")
            files[-1].write_bytes(gzip.compress(b"".join(lines), 6))
    return files
