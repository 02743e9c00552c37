"""The whole daemon with the local runner, on the in-memory Kinesis: its memory when it has nothing to do and when it
catches up, and how long its health takes to answer with many shards."""

import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import measure, shards
from sa_stream.api.http_server import Health_Server
from sa_stream.health.notebook import Health
from sa_stream.records.fields import CANONICAL
from sa_stream.timing import WINDOW_MS, moment
from tests.real.stream_server import STREAM

READY_S = 60
SETTLE_S = 3
CATCH_UP_S = 300


def idle(folder: Path) -> dict[str, int]:
    """Memory of a run that reads four shards without a record, a little while after it is ready."""
    with _kinesis(records=0, shards_=4) as url, _daemon(folder, url) as (process, _):
        time.sleep(SETTLE_S)
        return _memory(process)


def catching_up(folder: Path, records: int, shards_: int) -> dict[str, float]:
    """Memory of a run that finds so many records of three hours in its shards, until all are counted."""
    with _kinesis(records=records, shards_=shards_) as url:
        began_s = time.monotonic()
        with _daemon(folder, url) as (process, health_url):
            while (counted := _counted(health_url)) < records:
                if time.monotonic() - began_s > CATCH_UP_S:
                    raise RuntimeError(f"{counted} of {records} records were counted within {CATCH_UP_S} s")
                time.sleep(0.5)
            seconds = time.monotonic() - began_s
            time.sleep(SETTLE_S)  # what is published last
            return _memory(process) | {"seconds": seconds}


def health(shards_: int, requests: int, path: str = "/health/ready") -> dict[str, float]:
    """Milliseconds of an answer with so many shards, by the CPU of client and server and by the clock."""
    notebook = Health(moment())
    for number in range(shards_):
        shard = notebook.shard(f"shardId-{number:012d}", moment())
        shard.read(moment(), 0, str(10**55 + number))
        shard.committed(moment())
        shard.watermark(WINDOW_MS)
        shard.windows({window * WINDOW_MS: number for window in range(3)})
    notebook.store("state store").ok(moment())
    server = Health_Server(notebook, port=0)
    connection = http.client.HTTPConnection(server.host, server.port)
    taken: list[tuple[float, float]] = []
    for _ in range(requests):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        taken.append((time.process_time() - began_cpu_s, time.perf_counter() - began_s))
    server.stop()
    cpu_s, clock_s = (statistics.median(each) for each in zip(*taken, strict=True))
    return {"ms": cpu_s * 1000, "clock_ms": clock_s * 1000}


def _memory(process: measure.Process) -> dict[str, int]:
    return {"bytes": shards.resident_bytes(process.pid), "peak_bytes": shards.peak_bytes(process.pid)}


@contextmanager
def _kinesis(records: int, shards_: int) -> Iterator[str]:
    """Its URL, when all records are there. It runs on the other cores."""
    options = {"records": records, "shards": shards_, "clean": True}
    command = [sys.executable, "-m", "tests.real.stream_server", json.dumps(options)]
    process = subprocess.Popen(command, cwd=measure.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.communicate(timeout=30)  # it ends with its input


@contextmanager
def _daemon(folder: Path, kinesis_url: str) -> Iterator[tuple[measure.Process, str]]:
    """A run that is ready, and the URL of its health."""
    settings = {
        "STREAM": STREAM, "RUNNER": "local", "FIELDS": ",".join(CANONICAL), "STATE_URL": f"file://{folder}/state",
        "WORK_DIR": str(folder), "CACHE_MODE": "memory", "HTTP_PORT": "0", "LOG_FORMAT": "json",
    }  # fmt: skip
    with (folder / "log").open("wb") as said:
        process = measure.start(
            ["-m", "consumer"],
            said,
            **{f"SGRAPH_SEND__SA_{name}": value for name, value in settings.items()},
            AWS_ENDPOINT_URL_KINESIS=kinesis_url,
            AWS_REGION="eu-west-1",
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )
    try:
        yield process, _ready_url(process, folder / "log")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _ready_url(process: measure.Process, said: Path) -> str:
    """Waits until the health endpoint that the log names says so. Raises RuntimeError after a minute."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s and process.poll() is None:
        url = said.read_text().partition("health on ")[2].partition("/health")[0]
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(f"{url}/health/ready", timeout=5):
            return url
        time.sleep(0.2)
    raise RuntimeError(f"sa-stream run did not become ready: {said.read_text()[-2_000:]}")


def _counted(url: str) -> int:
    with urllib.request.urlopen(f"{url}/health", timeout=30) as answer:
        told: dict[str, Any] = json.load(answer)
    return sum(shard["counters"].get("aggregated", 0) for shard in told["shards"].values())
