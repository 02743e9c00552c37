"""Counting the archive's files in one process and in two: the work of backfill and verify."""

import gzip
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

from isal import isal_zlib
from msgspec import Struct

from benchmarks import rivals
from benchmarks.archive import AWS, BUCKET, SETTLE_MS, filled_s3, key_of, places
from benchmarks.data import WINDOW_END_MS
from benchmarks.measure import TWO_CORES, call
from consumer.commands.reading import started
from consumer.process.memory import keep_memory
from sa_stream.archive.files import Archive_File, Stored
from sa_stream.bounded.files import Counting
from sa_stream.bounded.pool import Open_Logs, Pool
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.embedded.generator import Traffic
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.services.archive_windows import Archive_Logs
from sa_stream.sources.archive import Archive, open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.timing import HOUR_MS, WINDOW_MS, Timing, month_of, wall_clock_ms

HOURS = 3
BEGIN_MS = WINDOW_END_MS - HOURS * HOUR_MS
FILE_BYTES = 4_800_000  # of lines: packed it is about 1 MB
MB = 1_000_000
CASES = (
    "backfill-of-ceiling",
    "backfill-two-cores",
    "backfill-to-duckdb",
    "backfill-s3-two-cores",
    "memory-backfill",
)


class Measured(Struct, frozen=True):
    """Rates against others of the same rounds, or (without these) a size in MB."""

    case: str
    values: Sequence[float]
    baselines: Sequence[float]
    target: float
    detail: str


def measured(folder: Path, records: int, memory_bytes: int, rounds: int) -> Iterator[Measured]:
    made = write(folder, records)
    one, two, ceilings, ducks = [], [], [], []
    for _ in range(rounds):
        one.append(_checked(call(counted, f"file://{folder}", 1)[0], records))
        ceilings.append(_checked(call(ceiling, folder)[0], records))
        two.append(_checked(call(counted, f"file://{folder}", 2, cores=TWO_CORES)[0], records))
        ducks.append(call(duck, folder, cores=TWO_CORES)[0])
    share = median(a / b for a, b in zip(_rates(one, "cpu_s"), _rates(ceilings, "own_cpu_s"), strict=True))
    detail = (
        f"{made['files']} files, {made['bytes'] / MB:.0f} MB packed; ceiling: zlib over each file at once, and the "
        f"parser, from memory; of that with the unpacker that is used here it is {share:.2f}. {_clock(one)}"
    )
    yield Measured("backfill-of-ceiling", _rates(one, "cpu_s"), _rates(ceilings, "cpu_s"), 0.6, detail)
    start_s = median(ran["start_s"] for ran in two)
    detail = f"by the clock, without the {start_s:.1f} s in which the second process starts. {_clock(two)}"
    yield Measured("backfill-two-cores", _rates(two, "seconds"), _rates(one, "seconds"), 1.7, detail)
    detail = "by the clock, DuckDB with two threads over the same files"
    yield Measured(
        "backfill-to-duckdb", _rates(two, "seconds"), [records / ran["seconds"] for ran in ducks], 1.5, detail
    )
    with filled_s3(0, 0) as url:
        call(copied, folder, url)
        from_s3 = [
            [call(counted, BUCKET, jobs, url, cores=TWO_CORES[-jobs:])[0] for _ in range(rounds)] for jobs in (1, 2)
        ]
    detail = f"by the clock; the emulator is on the same {len(os.sched_getaffinity(0))} cores. {_clock(from_s3[1])}"
    yield Measured("backfill-s3-two-cores", _rates(from_s3[1], "seconds"), _rates(from_s3[0], "seconds"), 1.7, detail)
    ran = call(flat, memory_bytes, cores=TWO_CORES)[0]
    detail = f"over the start, the larger of two processes; {ran['records']:,} records in {memory_bytes / 1e9:g} GB"
    yield Measured("memory-backfill", [ran["more_bytes"] / MB], (), 150, detail)


def _rates(rans: Sequence[dict[str, Any]], seconds: str) -> list[float]:
    return [ran["records"] / ran[seconds] for ran in rans]


def _clock(rans: Sequence[dict[str, Any]]) -> str:
    return f"{median(_rates(rans, 'seconds')):,.0f} records/s by the clock"


def _checked(ran: dict[str, Any], records: int) -> dict[str, Any]:
    if ran["records"] != records:
        raise RuntimeError(f"{records} records went in, {ran['records']} were counted")
    return ran


# ---------------------------------------------------------------------- the files


def write(folder: Path, records: int) -> dict[str, int]:
    """Three hours of traffic as Firehose delivers it."""
    files = size_bytes = held_bytes = 0
    held: list[bytes] = []
    oldest_ms = BEGIN_MS

    def put() -> None:
        nonlocal files, size_bytes
        path = folder / key_of(places("hours"), oldest_ms)
        path.parent.mkdir(parents=True, exist_ok=True)
        size_bytes += path.write_bytes(gzip.compress(b"".join(held), 6))
        files += 1

    for chunk in Traffic().lines(BEGIN_MS, WINDOW_END_MS, records):
        for line, arrival_ms in zip(chunk.lines(), chunk.arrival_ms.tolist(), strict=True):
            oldest_ms = oldest_ms if held else arrival_ms
            held.append(line)
            held_bytes += len(line)
            if held_bytes >= FILE_BYTES:
                put()
                held, held_bytes = [], 0
    if held:
        put()
    return {"files": files, "bytes": size_bytes}


def copied(folder: Path, url: str) -> None:
    """The same files in the emulated S3."""
    import boto3

    session = boto3.session.Session(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"])
    client = session.client("s3", endpoint_url=url, region_name=AWS["AWS_DEFAULT_REGION"])
    for path in folder.rglob("*.gz"):
        client.put_object(Bucket=BUCKET, Key=str(path.relative_to(folder)), Body=path.read_bytes())


# ---------------------------------------------------------------------- what is measured


def counted(place: str, jobs: int, url: str = "") -> dict[str, Any]:
    """All windows of the files at a place."""
    if url:
        os.environ.update(AWS, AWS_ENDPOINT_URL=url)
    archive = Archive(open_store(place), places("hours"), SETTLE_MS)
    files = archive.files_between(BEGIN_MS, WINDOW_END_MS).files
    return _counted(Archive_Logs(place), files, range(BEGIN_MS, WINDOW_END_MS, WINDOW_MS), jobs)


def _counted(open_logs: Open_Logs, files: Sequence[Archive_File], starts: range, jobs: int) -> dict[str, Any]:
    seeds = {month_of(start_ms): 1 for start_ms in starts}
    intake = Intake(resolve_field_lists("canonical", ""))
    counting = Counting(intake, Timing(), seeds, wall_clock_ms(), SETTLE_MS, checked=True)
    began_s = time.perf_counter()
    with Pool(started(jobs)) as pool:
        list(Windows_Of_Files(open_logs, (), (), counting, pool))  # until all have started
        started_s, cpu_s = time.perf_counter(), time.process_time()
        windows = Windows_Of_Files(open_logs, files, starts, counting, pool)
        records = sum(read.window.total_requests for read in windows)
        seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return {"records": records, "seconds": seconds, "cpu_s": cpu_s, "start_s": started_s - began_s}


def ceiling(folder: Path) -> dict[str, Any]:
    """The least that anybody must do with these bytes: unpack them and make columns of them, all in memory. With zlib,
    and with the unpacker that the archive's reader uses."""
    keep_memory()
    contents = [path.read_bytes() for path in sorted(folder.rglob("*.gz"))]
    parser, now_ms = Parser(resolve_field_lists("canonical", ""), Timing().future_ms), wall_clock_ms()
    seconds, records = [], 0
    for unpack in (zlib.decompress, isal_zlib.decompress):
        started_s = time.process_time()
        pieces = parser.pieces(now_ms)
        records = sum(len(columns) for each in contents for columns in pieces.add_lines(unpack(each, 31), 0))
        records += sum(map(len, pieces.ended()))
        seconds.append(time.process_time() - started_s)
    return {"records": records, "cpu_s": seconds[0], "own_cpu_s": seconds[1]}


def duck(folder: Path) -> dict[str, Any]:
    started_s = time.perf_counter()
    found = rivals.duck(folder / "**" / "*.gz", threads=2)
    return {"windows": len(found), "seconds": time.perf_counter() - started_s}


# ---------------------------------------------------------------------- memory


LINES = 10_000  # of a file that is made on the fly
SPAN_MS = 60_000


class Made:
    """A store whose files are made when they are read: one's lines again and again, at other times and with other
    request ids."""

    def __init__(self) -> None:
        self._lines = []
        for chunk in Traffic().lines(BEGIN_MS, BEGIN_MS + SPAN_MS, LINES):
            for line in chunk.lines():
                moment, _, rest = line.partition(b"\t")
                fields = rest.split(b"\t")
                place = rivals.PLACE["x-edge-request-id"] - 1
                before, after = b"\t".join(fields[:place]), b"\t".join(fields[place + 1 :])
                self._lines.append((int(float(moment) * 1000), before, fields[place][8:], after))

    def content(self, number: int) -> bytes:
        shift_ms = number * SPAN_MS
        return b"".join(
            b"%d.%03d\t%s\t%08x%s\t%s" % (*divmod(at_ms + shift_ms, 1000), before, number, rest, after)
            for at_ms, before, rest, after in self._lines
        )

    def read(self, stored: Stored, begin: int, length: int) -> bytes:
        return self.content(int(stored.etag))[begin : begin + length]


def opened(made: Made, files: Sequence[Archive_File]) -> Any:
    return Archive_Reader(made, 16 << 20, 2).logs(files)


def flat(total_bytes: int) -> dict[str, Any]:
    """How much memory grows while so many bytes of files go through two processes."""
    made = Made()
    size_bytes = len(made.content(0))
    start_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = []
    for number in range(max(1, total_bytes // size_bytes)):
        key = key_of(places("hours"), BEGIN_MS + number * SPAN_MS)
        oldest = places("hours").oldest(key)
        assert oldest is not None
        files.append(
            Archive_File(key=key, size_bytes=size_bytes, etag=str(number), modified_ms=0, name=key, oldest=oldest)
        )
    until_ms = -(-(BEGIN_MS + len(files) * SPAN_MS) // WINDOW_MS) * WINDOW_MS
    ran = _counted(partial(opened, made), files, range(BEGIN_MS, until_ms, WINDOW_MS), 2)
    peaks = [getrusage(who).ru_maxrss << 10 for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return {"records": ran["records"], "more_bytes": max(peaks) - start_bytes, "seconds": ran["seconds"]}
