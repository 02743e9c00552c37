"""Full shards in one process: how much memory they hold, what a commit of one costs, and how long it takes to bring
them back from their snapshots.
"""

import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.data import WINDOW_END_MS
from benchmarks.engine import Shard, now_at
from consumer.process.memory import release_memory
from sa_stream.commits.operations import drive
from sa_stream.commits.protocol import commit_steps, load_steps, recover_steps
from sa_stream.commits.remains import Remains
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.partitions import Batch, Shard_Info
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, WINDOW_MS, Now, Timing
from sa_stream.windows.partition_state import Partition_State

START_MS = WINDOW_END_MS - WINDOW_MS
READ_BYTES = 500_000
ARRIVES_AFTER_MS = 400
COMMIT_EVERY_MS = 60_000
COMMITS_MEASURED = 5
NEVER_BY_ITSELF = Timing(commit_interval_ms=1 << 50)  # commits are asked for here, to measure them alone
RECOVERED = 8


class Weighed_Store(State_Store):
    """Knows how many bytes were put."""

    put_bytes = 0

    def put(self, key: str, data: bytes) -> None:
        self.put_bytes += len(data)
        super().put(key, data)


def batches(count: int, paths: int, step_ms: float) -> Iterator[Batch]:
    """Lines of one window from a process that makes them, as one read after the other hands them over."""
    numbers = [str(value) for value in (count, paths, START_MS, step_ms)]
    maker = subprocess.Popen([sys.executable, "-m", "benchmarks.lines", *numbers], stdout=subprocess.PIPE)
    assert maker.stdout is not None
    row = 0
    while lines := maker.stdout.readlines(READ_BYTES):
        arrivals_ms = [START_MS + int((row + i) * step_ms) + ARRIVES_AFTER_MS for i in range(len(lines))]
        yield Batch(lines, arrivals_ms, [str(10**55 + row + i) for i in range(len(lines))])
        row += len(lines)
    if maker.wait():
        raise RuntimeError(f"benchmarks.lines ended with {maker.returncode}")


def full(shards: int, per_shard: int, folder: Path) -> dict[str, Any]:
    """Hold the open window of so many full shards, committed each minute to files. Every shard gets the same records,
    in memory of its own. With one shard, its state is left in the folder for `recovered`."""
    store = Weighed_Store(f"file://{folder}")
    held = _Held(store, shards)
    before_bytes = resident_bytes()
    commit_ms: list[float] = []
    commit_bytes: list[int] = []
    next_commit_ms = START_MS + COMMIT_EVERY_MS
    step_ms = WINDOW_MS / per_shard
    for batch in batches(per_shard, 20_000, step_ms):
        now = now_at(batch.arrivals_ms[-1])
        for shard in held.shards:
            payloads = [bytes(bytearray(payload)) for payload in batch.payloads] if shards > 1 else batch.payloads
            held.receive(shard, Batch(payloads, batch.arrivals_ms, batch.sequence_numbers), now)
        if now.wall_ms >= next_commit_ms:
            next_commit_ms += COMMIT_EVERY_MS
            release_memory()  # as the engine does, more often
            for shard in held.shards:
                drive(shard.consumer.work_steps(now))
                store.put_bytes, cpu_s = 0, time.process_time()
                drive(shard.consumer.flush_steps(now))
                commit_ms.append((time.process_time() - cpu_s) * 1000)
                commit_bytes.append(store.put_bytes)
    last = COMMITS_MEASURED * shards
    release_memory()
    result = {
        "records": sum(shard.consumer.state.counters["aggregated"] for shard in held.shards),
        "before_bytes": before_bytes,
        "resident_bytes": resident_bytes(),
        "peak_bytes": peak_bytes(),
        "commit_ms": statistics.median(commit_ms[-last:]),
        "commit_bytes": max(commit_bytes[-last:]),
    }
    if shards == 1:
        _leave_copies(held.shards[0].consumer.state, store)
    return result


def hostile(count: int, folder: Path) -> dict[str, Any]:
    """Hold one window in which every record has a new path."""
    held = _Held(State_Store(f"file://{folder}"), 1)
    (shard,) = held.shards
    before_bytes = 0
    next_commit_ms = START_MS + COMMIT_EVERY_MS
    for batch in batches(count, 0, WINDOW_MS / count):
        now = now_at(batch.arrivals_ms[-1])
        held.receive(shard, batch, now)
        if now.wall_ms >= next_commit_ms:
            next_commit_ms += COMMIT_EVERY_MS
            drive(shard.consumer.flush_steps(now))
            release_memory()  # as the engine does, more often
        if not before_bytes and shard.consumer.state.windows:
            before_bytes = resident_bytes()
    release_memory()
    (window,) = [w for w in shard.consumer.state.windows.values() if w.start_ms == START_MS]
    return {
        "records": shard.consumer.state.counters["aggregated"],
        "distinct": window.unique_paths.estimate(),
        "ids": len(shard.consumer.state.ids),
        "before_bytes": before_bytes,
        "resident_bytes": resident_bytes(),
        "peak_bytes": peak_bytes(),
    }


def recovered(folder: Path) -> dict[str, Any]:
    """Bring the shards that `full` left back, with their open windows."""
    store = State_Store(f"file://{folder}")
    started_s, cpu_s = time.perf_counter(), time.process_time()
    requests = 0
    intake = Intake(resolve_field_lists("canonical", ""))
    months = Secrets(store, lambda: secrets.token_bytes(8))
    shared = Shared(store, Timing(), Start(BEGINNING_MS, START_MS), intake, months, lambda: "new")
    for i in range(RECOVERED):
        state = drive(recover_steps(shared, Shard_Info(_name(i), (), closed=False), None, WINDOW_END_MS))
        drive(load_steps(store, state, sorted(state.partials)))
        requests += state.windows[START_MS].total_requests
    return {"requests": requests, "seconds": time.perf_counter() - started_s, "cpu_s": time.process_time() - cpu_s}


class _Held:
    def __init__(self, store: State_Store, shards: int) -> None:
        months = Secrets(store, lambda: secrets.token_bytes(8))
        self.shards = [Shard(f"held-{i}", store, months, START_MS, NEVER_BY_ITSELF) for i in range(shards)]

    def receive(self, shard: Shard, batch: Batch, now: Now) -> None:
        shard.consumer.receive(batch, now)
        if shard.consumer.due(now):
            drive(shard.consumer.work_steps(now))


def _leave_copies(state: Partition_State, store: State_Store) -> None:
    """The same state under other names."""
    for i in range(RECOVERED):
        copy = Partition_State.from_bytes(state.to_bytes(), Timing())
        copy.partition = _name(i)
        copy.windows = dict(state.windows)
        copy.touched = dict.fromkeys(state.windows, state.number)
        drive(commit_steps(copy, store, lambda number: None, Remains()))


def _name(i: int) -> str:
    return f"shardId-{i:012d}"


def resident_bytes(process_id: int | str = "self") -> int:
    return _status(process_id, "VmRSS")


def peak_bytes(process_id: int | str = "self") -> int:
    return _status(process_id, "VmHWM")


def _status(process_id: int | str, name: str) -> int:
    with open(f"/proc/{process_id}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))
