"""What the engine cases measure, each in a process of its own: messages out of pipes to committed windows, and the
ceiling, which decodes and queries the same messages with nothing around it.
"""

import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.data import Data
from consumer.process.garbage import collect_rarely
from sa_stream.commits.operations import drive
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.native.messages import Taken
from sa_stream.native.packed import Packed_Payloads
from sa_stream.partitions import Shard_Info
from sa_stream.records.fields import CANONICAL, resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.sources.kcl_messages import Buffers, Line_Pipe, Process_Records, decode_message
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, Moment, Now, Timing


def now_at(time_ms: int) -> Now:
    """Both clocks, going on alike."""
    return Now(time_ms, Moment(time_ms))


class Shard:
    """One shard of the measured process: the product's consumer on a store in memory."""

    def __init__(
        self, name: str, store: State_Store, months: Secrets, now_ms: int, timing: Timing | None = None
    ) -> None:
        self.checkpoint = ""
        intake = Intake(resolve_field_lists("canonical", ""))
        shared = Shared(
            store, timing or Timing(), Start(BEGINNING_MS, now_ms), intake, months, lambda: secrets.token_hex(8)
        )
        state = drive(recover_steps(shared, Shard_Info(name, (), closed=False), None, now_ms))
        self.consumer = Partition_Consumer(shared, state, self._checkpoint, now_at(now_ms))

    def _checkpoint(self, number: str) -> None:
        self.checkpoint = number

    def take(self, line: memoryview | Taken, now: Now) -> int:
        message = decode_message(line)
        assert isinstance(message, Process_Records)
        batch = message.batch()
        self.consumer.receive(batch, now)
        if self.consumer.due(now):
            drive(self.consumer.work_steps(now))
        return len(batch.payloads)


def engine(folder: str, count: int, records_each: int, shards: int) -> dict[str, Any]:
    """From pipes, one a shard, to everything committed; one thread."""
    data = Data(Path(folder), count)
    store = State_Store("memory://")
    months = Secrets(store, lambda: secrets.token_bytes(8))
    consumers = [Shard(f"shardId-{i:012d}", store, months, data.end_ms) for i in range(shards)]
    message_s: list[float] = []
    message_cpu_s: list[float] = []
    received = 0
    pipes = feed(data.messages(records_each), shards)
    collect_rarely()  # as the daemon does
    with selectors.DefaultSelector() as selector:
        for pipe, shard in zip(pipes, consumers, strict=True):
            selector.register(pipe, selectors.EVENT_READ, shard)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        while selector.get_map():
            for key, _ in selector.select():
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                lines = key.fileobj.read()  # type: ignore[union-attr]
                if lines is None:
                    selector.unregister(key.fileobj)
                    continue
                for line in lines:
                    received += key.data.take(line, now_at(data.end_ms + int((began_s - started_s) * 1000)))
                if lines:
                    message_s.append(time.perf_counter() - began_s)
                    message_cpu_s.append(time.process_time() - began_cpu_s)
        for shard in consumers:
            now = now_at(data.end_ms + int((time.perf_counter() - started_s) * 1000))
            drive(shard.consumer.flush_steps(now))
        seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    counters = [shard.consumer.state.counters for shard in consumers]
    assert all(shard.checkpoint == shard.consumer.state.number for shard in consumers)
    return {
        "records": received,
        "aggregated": sum(counter.get("aggregated", 0) for counter in counters),
        "seconds": seconds,
        "cpu_s": cpu_s,
        "message_p99_ms": float(np.percentile(message_cpu_s, 99)) * 1000,
        "message_p99_clock_ms": float(np.percentile(message_s, 99)) * 1000,
    }


def query(folder: str, count: int, records_each: int) -> dict[str, Any]:
    """The same pipe and decoder, and one bare polars query a message for the numbers that an entry is made of; nothing
    is checked, cleaned, remembered, merged or stored."""
    return _each_message(folder, count, records_each, _numbers)


def bare_read(folder: str, count: int, records_each: int) -> dict[str, Any]:
    """The same pipe and decoder, and requests and bytes per path."""
    return _each_message(folder, count, records_each, _paths)


def _paths(frame: pl.DataFrame) -> int:
    paths = frame.group_by("cs-uri-stem").agg(pl.len(), pl.col("sc-bytes").cast(pl.Int64, strict=False).sum())
    return int(paths["len"].sum())


def _numbers(frame: pl.DataFrame) -> int:
    seconds = pl.col("timestamp").cast(pl.Float64, strict=False)
    rows = (
        frame.lazy()
        .with_columns(
            (seconds // 1800).alias("window"),
            (seconds % 1800 // 60).alias("minute"),
            pl.col("sc-bytes").cast(pl.Int64, strict=False).alias("bytes"),
            pl.col("time-taken", "time-to-first-byte").cast(pl.Float64, strict=False),
        )
        .filter(pl.col("x-edge-request-id").is_first_distinct() | (pl.col("x-edge-request-id") == "-"))
    )
    counted = ["sc-status", "cs-method", "cs-protocol", "cs-host", "x-edge-location", "x-edge-result-type", "minute"]
    numbers = [
        rows.group_by("window").agg(
            pl.len(),
            pl.col("bytes").sum(),
            pl.col("cs-uri-stem", "cs-user-agent").n_unique(),
            *(
                pl.col(name).quantile(q).alias(f"{name}-{q}")
                for name in ("time-taken", "time-to-first-byte")
                for q in (0.5, 0.9, 0.95, 0.99)
            ),
            pl.col("time-taken", "time-to-first-byte").mean(),
        ),
        rows.group_by("window", "cs-uri-stem").agg(pl.len(), pl.col("bytes").sum()),
        *(rows.group_by("window", name).agg(pl.len(), pl.col("bytes").sum()) for name in counted),
    ]
    return int(pl.collect_all(numbers)[0]["len"].sum())


def _each_message(folder: str, count: int, records_each: int, ask: Callable[[pl.DataFrame], int]) -> dict[str, Any]:
    data = Data(Path(folder), count)
    schema = dict.fromkeys(CANONICAL, pl.String)
    used = resolve_field_lists("canonical", "").offered
    columns = [place for place, name in enumerate(CANONICAL) if name in used or name == CANONICAL[-1]]
    (pipe,) = feed(data.messages(records_each), 1)
    received = found = 0
    started_s, cpu_s = time.perf_counter(), time.process_time()
    while (lines := pipe.read()) is not None:
        for line in lines:
            message = decode_message(line)
            assert isinstance(message, Process_Records)
            batch = message.batch()
            payloads = batch.payloads
            frame = pl.read_csv(
                payloads.content.tobytes() if isinstance(payloads, Packed_Payloads) else b"".join(payloads),
                separator="\t",
                has_header=False,
                quote_char=None,
                schema=schema,
                columns=columns,
                truncate_ragged_lines=True,
            )
            received += len(batch.payloads)
            found += ask(frame)
    seconds = time.perf_counter() - started_s
    return {"records": received, "aggregated": found, "seconds": seconds, "cpu_s": time.process_time() - cpu_s}


def feed(messages: Path, shards: int) -> list[Line_Pipe]:
    """Pipes that another process, on another core if there is one, fills with the messages in turn."""
    ends = [os.pipe() for _ in range(shards)]
    writers = [writer for _, writer in ends]
    command = [sys.executable, "-I", "-S", str(Path(__file__).parent / "feeder.py"), str(messages)]
    subprocess.Popen([*command, *map(str, writers)], pass_fds=writers)
    for writer in writers:
        os.close(writer)
    buffers = Buffers()
    return [Line_Pipe(reader, buffers) for reader, _ in ends]
