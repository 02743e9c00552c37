"""Makes many log lines quickly, with as many distinct paths as wanted, on standard output: `python -m benchmarks.lines
COUNT PATHS START_MS STEP_MS` (0 paths: each line has one of its own). Line i is from START_MS + i * STEP_MS.
"""

import os
import sys
from functools import cache

import numpy as np
import polars as pl

from sa_stream.embedded.generator import Traffic
from sa_stream.records.fields import CANONICAL

BLOCK_LINES = 50_000
AGENTS = 2_000


def main() -> None:
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(0, others)
    count, paths, start_ms, step_ms = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    for first in range(0, count, BLOCK_LINES):
        sys.stdout.buffer.write(block(first, min(count, first + BLOCK_LINES), paths, start_ms, step_ms))


def block(first: int, last: int, paths: int, start_ms: int, step_ms: float) -> bytes:
    """Lines from `first` to `last`: the generator's, with other times, ids, paths and agents."""
    rng = np.random.default_rng(first)
    rows = np.arange(first, last)
    event_ms = start_ms + (rows * step_ms).astype(np.int64)
    path = rng.integers(0, paths, len(rows)) if paths else rows
    whole = {
        "timestamp": pl.Series(event_ms // 1000).cast(pl.String)
        + "."
        + pl.Series(event_ms % 1000).cast(pl.String).str.zfill(3),
        "cs-uri-stem": "/products/catalog/item-" + pl.Series(path).cast(pl.String) + "/index.html",
        "x-edge-request-id": pl.Series(rows).cast(pl.String).str.zfill(54) + "==",
        "cs-user-agent": "Mozilla/5.0%20(X11;%20Linux%20x86_64)%20AppleWebKit/537.36%20(KHTML,%20like%20Gecko)%20Agent/"
        + pl.Series(rng.integers(0, AGENTS, len(rows))).cast(pl.String),
    }
    chosen = pl.Series(rng.integers(0, _template().height, len(rows)))
    frame = _template().select(pl.all().gather(chosen)).with_columns(**whole)
    lines = frame.select(pl.concat_str(CANONICAL, separator="\t"))[:, 0]
    text: str = lines.str.join("\n").item()
    return text.encode() + b"\n"


@cache
def _template() -> pl.DataFrame:
    chunk = next(Traffic().lines(0, 1_000_000, 2_000))
    schema = dict.fromkeys(CANONICAL, pl.String)
    return pl.read_csv(chunk.data, separator="\t", has_header=False, quote_char=None, schema=schema)


if __name__ == "__main__":
    main()
