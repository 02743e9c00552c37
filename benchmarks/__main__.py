"""`python -m benchmarks`: measures, prints a JSON line a case, and writes docs/benchmarks.md."""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import cases
from benchmarks.measure import ROOT
from benchmarks.sizes import FULL, QUICK

DOCUMENT = ROOT / "docs" / "benchmarks.md"
LIBRARIES = ("polars", "polars-hash", "numpy", "msgspec", "obstore", "duckdb")

HOW = """\
Written by `make bench`; do not edit.

Every measurement is a process of its own on one core (affinity set, polars on one thread); what feeds it runs on
another core. What is compared takes turns, round by round, so both meet the same noise; a value is the median of its
rounds, and a ratio the median of the rounds' ratios. Rates count seconds of CPU (all threads of the process, the
system's share included), which on an idle machine are the seconds of the clock; the clock's are given where they tell
more. The `replay` cases count the whole process, its start included. Memory is resident memory, 1 MB is 1,000,000
bytes.

- **engine-10k**: one shard's traffic (1,000 records/s of event time, 469 bytes a line) in the KCL's messages of 10,000
  records, from a pipe through decoding, parsing, duplicates, windows and commits to a store in memory; commits happen
  as a window closes on the way and at the end. The ceiling has the same pipe and decoder, and for each message one
  polars query for the numbers that an entry is made of, and nothing else. The detail of engine-10k has the least that
  one can do: the same decode, and requests and bytes by path.
- **engine-16-shards**: the same in messages of 1,000 records, over 16 pipes in turn, in one thread; compared with
  engine-10k. p99 is the CPU time that handling a message takes at the 99th percentile, commits included.
- **engine-…-native**: the two against the same with `NATIVE=off`, which reads as every state before the kernel did.
- **engine-64-children**: the same messages of 10,000 records, dealt out to 64 children that answer at once, over the
  product's own socket, pipes and protocol; compared with engine-10k. A child's whole conversation is in it.
- **replay-1M**: `sa-stream replay` of the same lines, against a polars script that only parses, dedupes and groups.
- **replay-to-…**: against DuckDB on one thread, a plain Python loop (both give the same numbers, which is checked), and
  making one of the seed's Type_Safe objects for a line.
- **replay-plain-…**, **replay-gzip-…**: `sa-stream replay --jobs 2` of one plain file, and of files of 15,000 lines
  packed with gzip, against the polars script and DuckDB with two threads, all on two cores and by the clock.
- **memory-start**: `sa-stream run --runner local`, four idle shards, the cache service in the same process.
- **memory-catch-up**: the same, with a million records of three hours in 16 shards, all there before it starts: the
  most memory until all are counted. **health-1000-shards**: one answer of `/health/ready`;
  **metrics-500-shards**: one of `/metrics`.
- **memory-full-shard**: a shard's open half hour at its end (1.8 million records, 20,000 paths, ids of ten minutes), as
  the difference between one and five of them. **commit-…**: one commit of it. **recovery-8-shards**: bringing eight of
  them back from their snapshots and partials.
- **memory-10M-paths**: one window in which each of 10 million records has a new path.
- **fold-…**: CPU of parsing and taking in records, one and 30,000 over many windows. **slow-shards**: the engine with
  many shards that get a record a second, on a clock that is set. **pass-…**, **merge-memory**: a reconciler's pass in
  which nothing is new, and publishing one window of many full shards. **close-…**, **open-refreshes**: a modelled run
  of the real reconciler on a clock that nobody waits for (benchmarks/closing.py). **s3-month**: the calls of an hour of
  steady traffic at list prices. **state-objects**: a life of 31 simulated days.
- **api-week**: seven days by half hours, in days of 60 KB, from a cache service in the same process that was not asked
  before, by CPU; **api-week-reads** of it; **api-week-remote**: from one that takes 30 ms for an answer, its work for
  it included, by the clock; **api-warm**: the same once more. **api-50-clients-…**: the API in the process of
  engine-10k, which goes on all the time, while 50 dashboards ask for summary and timeseries every ten seconds from
  another process, by the clock.
- **archive-list-…**: the list requests that find a window's files among a month's, for each layout, with Firehose's
  names. **archive-small-files**: one window from 2,000 files, from an emulated S3 (moto) on another core, which takes
  2 ms of that core for an answer: from the first list request until the window is there.
- **backfill-…**: counting the same traffic as windows from gzip files of 1 MB in a folder, in the layout of hours: the
  reading, unpacking, parsing, duplicates and folding of backfill and verify, without the state store. One core counts
  seconds of CPU; two cores the clock's, as two processes share the files. **memory-backfill**: files of lines that are
  made as they are read, in two processes.
- **kcl-…**: `python -m consumer` behind the real KCL, with emulators of Kinesis and DynamoDB, all on the same cores.
  Memory is that of idle shards after 15 s. CPU is that of the two processes from one moment to another, with
  4,000 records of four shards read in between. put-to-seen is the time from the put of a single record until `/health`
  counts it in its window; the KCL asks every 500 ms.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that all works, proves no target")
    parser.add_argument("--only", default="", metavar="CASE", help="a case, or how some begin, or several")
    parser.add_argument("--no-doc", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    known = [name for names in cases.GROUPS.values() for name in names]
    if not any(name.startswith(tuple(chosen.only.split(","))) for name in known):
        parser.error(f"no case begins with {chosen.only!r}; there are {', '.join(known)}")
    lines = []
    for line in cases.run(chosen.only, QUICK if chosen.quick else FULL):
        print(line.to_json(), flush=True)
        lines.append(line)
    if not (chosen.no_doc or chosen.quick or chosen.only):
        DOCUMENT.write_text(document(lines, datetime.now(UTC)))
        print(f"written: {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)
    return 0


def document(lines: list[cases.Line], now: datetime) -> str:
    rows = [
        f"| {line.case} | {_number(line.value)} {line.unit} | {_number(line.baseline)} | {_number(line.ratio)} "
        f"| {line.target} | {'yes' if line.met else '**no**'} | {line.detail} |"
        for line in lines
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    machine = f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()} {platform.release()}"
    return "\n".join(
        [
            "# Benchmarks",
            "",
            HOW,
            f"{now:%Y-%m-%d}, {machine}; Python {platform.python_version()}, {versions}.",
            "",
            "| case | value | baseline | ratio | target | met | detail |",
            "| --- | ---: | ---: | ---: | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    first = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(first.split()[1]) * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
