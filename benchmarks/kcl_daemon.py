"""The whole daemon behind the real KCL, on the emulators of the tests: what engine and JVM take for the same records,
what idle shards take, and how soon a record is seen."""

import json
import os
import signal
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sa_stream.timing import WINDOW_MS
from tests.log_lines import line_of
from tests.real.kcl.scene import Kcl_Daemon, Scene, staged
from tests.real.processes import until

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LATENCY_GAP_S = 0.37  # between two records; no multiple of what anybody polls by


def cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads so far (not of its children)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes, and those of them that are nobody else's."""
    kilobytes = {
        name: int(rest.split()[0])
        for name, _, rest in (
            line.partition(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
    }
    return kilobytes["Rss"] << 10, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) << 10


def idle(shards: int, settle_s: float) -> dict[str, Any]:
    """Memory of a worker that has read so many shards without traffic for a while, and how long its SIGTERM takes."""
    _use_all_cores()
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(Path(folder), seed=1, records=500, closes_in_s=3_600, shards=shards) as scene,
    ):
        scene.put(50)  # the first records decide the field list
        daemon = scene.run(COMMIT_INTERVAL_S="60", KCL__idleTimeBetweenReadsInMillis="1000")
        daemon.wait_event("shard_opened", shards, within_s=240)
        _wait_read(daemon, shards)
        time.sleep(settle_s)
        tree = daemon.tree()
        engine, jvm = memory(tree["daemon"][0].pid), memory(tree["jvm"][0].pid)
        children = sorted(memory(child.pid) for child in tree["child"])
        assert len(children) == shards, len(children)
        child = children[len(children) // 2]
        began_s = time.monotonic()
        daemon.process.signal(signal.SIGTERM)
        assert daemon.process.wait(25) == 0
        return {
            "engine_bytes": engine[0],
            "jvm_bytes": jvm[0],
            "child_bytes": child[0],
            "child_own_bytes": child[1],
            "stop_s": time.monotonic() - began_s,
        }


def traffic(records: int, singles: int) -> dict[str, Any]:
    """CPU of engine and JVM from one moment to another, with `records` read in between; then seconds from the put of a
    single record to the moment when /health counts it, `singles` times."""
    _use_all_cores()
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(Path(folder), seed=1, records=2 * records, closes_in_s=3_600) as scene,
    ):
        scene.put(records)
        daemon = scene.run(COMMIT_INTERVAL_S="60", KCL__idleTimeBetweenReadsInMillis="500")
        scene.wait_caught_up(daemon, within_s=120)
        tree = daemon.tree()
        engine, jvm = tree["daemon"][0].pid, tree["jvm"][0].pid
        before = cpu_s(engine), cpu_s(jvm)
        scene.put(records)
        scene.wait_caught_up(daemon, within_s=120)
        after = cpu_s(engine), cpu_s(jvm)
        seen_s = sorted(_seen_after_s(scene, daemon, n) for n in range(singles))
        scene.stop(daemon)
        return {
            "engine_cpu_s": after[0] - before[0],
            "jvm_cpu_s": after[1] - before[1],
            "median_s": seen_s[len(seen_s) // 2],
            "p99_s": seen_s[min(len(seen_s) - 1, len(seen_s) * 99 // 100)],
        }


def _use_all_cores() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    os.environ.pop("POLARS_MAX_THREADS", None)


def _wait_read(daemon: Kcl_Daemon, shards: int) -> None:
    def all_read() -> bool:
        views = (daemon.get("/health")[1].get("shards") or {}).values()
        return len(views) == shards and all(view["last_read"] for view in views)

    until("every shard to be read", all_read, 60, show=daemon.tail)


def _seen_after_s(scene: Scene, daemon: Kcl_Daemon, number: int) -> float:
    """Put one record of now, and wait until the open window has one more."""
    before = _counted(daemon)
    line = line_of({"timestamp": f"{time.time():.3f}", "sc-status": "200", "x-edge-request-id": f"single-{number}"})
    began_s = time.monotonic()
    scene.emulators.kinesis.put_record(StreamName=scene.name, Data=line, PartitionKey=str(number))
    until("the record to be seen", lambda: _counted(daemon) > before, 30, every_s=0.02, show=daemon.tail)
    taken_s = time.monotonic() - began_s
    time.sleep(LATENCY_GAP_S)
    return taken_s


def _counted(daemon: Kcl_Daemon) -> int:
    """Requests in the window of now, of all shards."""
    with urllib.request.urlopen(f"{daemon.url}/health", timeout=5) as answer:
        shards = json.load(answer)["shards"].values()
    now = datetime.fromtimestamp(time.time_ns() // 1_000_000 // WINDOW_MS * WINDOW_MS / 1000, UTC)
    key = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return sum(shard["open_windows"].get(key, 0) for shard in shards)
