"""Reading the archive: how many list requests find a window's files, and how long thousands of small objects take."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from benchmarks.data import WINDOW_END_MS
from benchmarks.measure import CORE, ROOT, call
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.bounded.files import Counting, window_of_files
from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.sources.archive import Archive, open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.timing import DAY_MS, WINDOW_MS, Timing, month_of, wall_clock_ms

BUCKET = "bench-archive"
LINES_A_FILE = 4  # about 2 KB
SETTLE_MS = 900_000
PUTS_AT_A_TIME = 4
DELAY_MS = 30
AWS = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


CASES = (*(f"archive-list-{layout}" for layout in LAYOUTS), "archive-small-files")


def measured(objects: int, files: int, rounds: int) -> Iterator[tuple[str, float, str, float, str]]:
    """(case, value, unit, most, detail) of each of CASES."""
    for layout in LAYOUTS:
        ran, _ = call(list_requests, layout, objects)
        detail = f"at most, of {ran['windows']:,} windows among {objects:,} objects; {ran['mean']:.2f} on average"
        yield f"archive-list-{layout}", ran["most"], "list requests", 4, detail
    with filled_s3(files, DELAY_MS) as url:
        rans = [call(small_files, url, files)[0] for _ in range(rounds)]
    seconds, cpu_s = (median(ran[key] for ran in rans) for key in ("seconds", "cpu_s"))
    detail = f"{files:,} files of 2 KB, {DELAY_MS} ms added to each answer; {cpu_s:.1f} s of CPU"
    yield "archive-small-files", seconds, "s", 10, detail


def list_requests(layout: str, objects: int) -> dict[str, Any]:
    """Most and mean list requests of a window among so many objects of a month, named by Firehose."""
    archive = Archive(Memory_Archive(), places(layout), SETTLE_MS)
    start_ms = WINDOW_END_MS
    end_ms = start_ms + 28 * DAY_MS
    for number in range(objects):
        archive.store.put(key_of(archive.places, start_ms + number * (end_ms - start_ms) // objects), b"x")
    windows = range(start_ms, end_ms, WINDOW_MS)
    started_s = time.process_time()
    found = [archive.files_of_window(window_ms).list_requests for window_ms in windows]
    cpu_ms = 1000 * (time.process_time() - started_s) / len(windows)
    return {"most": max(found), "mean": sum(found) / len(found), "windows": len(windows), "cpu_ms": cpu_ms}


def small_files(url: str, count: int) -> dict[str, Any]:
    """Seconds from the first list request until the window of so many files is there."""
    os.environ.update(AWS, AWS_ENDPOINT_URL=url)
    start_ms = WINDOW_END_MS - WINDOW_MS
    lists = resolve_field_lists("canonical", "")
    counting = Counting(Intake(lists), Timing(), {month_of(start_ms): 1}, wall_clock_ms(), SETTLE_MS)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    archive = Archive(open_store(BUCKET), places("hours"), SETTLE_MS)
    found = archive.files_of_window(start_ms)
    read = window_of_files(Archive_Reader(archive.store).logs(found.files), start_ms, counting)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    if read.failed or not len(read.files) == count or read.window.total_requests != count * LINES_A_FILE:
        raise RuntimeError(f"{count} files went in, {len(read.files)} came, with {read.window.total_requests} records")
    size_bytes = sum(file.size_bytes for file in found.files)
    return {"seconds": seconds, "cpu_s": cpu_s, "list_requests": found.list_requests, "bytes": size_bytes}


@contextmanager
def filled_s3(count: int, delay_ms: int) -> Iterator[str]:
    """The URL of an S3 with so many small files of one window; it runs on the other cores."""
    others = set(range(os.cpu_count() or 1)) & os.sched_getaffinity(0) - {CORE} or {CORE}
    command = [sys.executable, "-m", "benchmarks.s3_server", str(delay_ms)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, others),
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        _fill(url, count)
        yield url
    finally:
        process.communicate(timeout=30)  # closes its standard input, which ends it


def _fill(url: str, count: int) -> None:
    import boto3

    session = boto3.session.Session(AWS["AWS_ACCESS_KEY_ID"], AWS["AWS_SECRET_ACCESS_KEY"])
    client = session.client("s3", endpoint_url=url, region_name=AWS["AWS_DEFAULT_REGION"])
    client.create_bucket(Bucket=BUCKET)
    start_ms = WINDOW_END_MS - WINDOW_MS
    chunks = Traffic().lines(start_ms, WINDOW_END_MS, count * LINES_A_FILE)
    lines = [line for chunk in chunks for line in chunk.lines()]
    files = [b"".join(lines[begin : begin + LINES_A_FILE]) for begin in range(0, len(lines), LINES_A_FILE)]

    def put(number: int) -> None:
        key = f"{key_of(places('hours'), start_ms + number * WINDOW_MS // count)}-{number}"
        client.put_object(Bucket=BUCKET, Key=key, Body=files[number])

    with ThreadPoolExecutor(PUTS_AT_A_TIME) as pool:
        list(pool.map(put, range(count)))


def places(layout: str) -> Places:
    return Places("cloudfront-realtime/", LAYOUTS[layout], ZoneInfo("UTC"))


def key_of(places: Places, oldest_ms: int) -> str:
    time_ = datetime.fromtimestamp(oldest_ms / 1000, UTC)
    return f"{places.base}{time_.strftime(places.layout.folder)}logs-1-{time_:%Y-%m-%d-%H-%M-%S}-0a1b2c3d.gz"
