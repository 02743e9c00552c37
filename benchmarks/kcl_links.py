"""The engine behind the KCL without the KCL: 64 children at full speed over the real socket, pipes and protocol."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks.data import Data
from consumer.kcl.handover import Handover
from consumer.kcl.links import Shard_Links
from consumer.kcl.properties import Fetch_Ahead
from consumer.process.garbage import collect_rarely
from consumer.worker.application import Application
from consumer.worker.engine import Engine
from sa_stream.config import SA__Config
from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.health.notebook import Health
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import Now, moment

STREAM = "bench"
DEADLINE_S = 120.0
YEARS_MS = 10 * 366 * 86_400_000  # the clock is the data's, so nothing is ever lost to retention


def many_children(folder: str, count: int, records_each: int, shards: int) -> dict[str, Any]:
    """From the hand-over of the pipes, one a shard, to every shard committed and released; one thread."""
    data = Data(Path(folder), count)
    kinesis = Memory_Kinesis(lambda: data.start_ms)
    names = [shard.shard_id for shard in kinesis.create_stream(STREAM, shards, YEARS_MS).shards]
    server = kinesis_server.start(kinesis)
    os.environ |= {"AWS_ENDPOINT_URL_KINESIS": server.url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    config = SA__Config.from_env(
        {
            "SGRAPH_SEND__SA_STREAM": STREAM,
            "SGRAPH_SEND__SA_FIELDS": "canonical",
            "SGRAPH_SEND__SA_STATE_URL": "memory://",
        }
    )
    health = Health(moment())
    application = Application(
        config, health, state=State_Store("memory://"), cache=cache_client__in_process("memory", "")
    )
    found = application.describe(threading.Event())
    assert found is not None
    application.open(found)
    application.timing = replace(application.timing, retention_ms=YEARS_MS)
    application.list_shards()
    collect_rarely()  # as the program does
    began_s = time.perf_counter()
    engine = Engine(health, lambda: Now(data.end_ms + int((time.perf_counter() - began_s) * 1000), moment()))
    links = Shard_Links(engine, application, Fetch_Ahead(3))
    with Handover(engine, links.connect) as path:
        command = [sys.executable, "-I", "-S", str(Path(__file__).parent / "kcl_feeder.py")]
        feeder = subprocess.Popen([*command, path, str(data.messages(records_each)), *names])
        _poll_until(engine, links, lambda: len(links.held) == shards)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        _poll_until(engine, links, lambda: not links.by_shard)
        seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        assert feeder.wait(10) == 0
    assert not links.uncommitted
    engine.shutdown()
    server.stop()
    return {"records": engine.records, "aggregated": engine.records, "seconds": seconds, "cpu_s": cpu_s}


def _poll_until(engine: Engine, links: Shard_Links, done: Callable[[], bool]) -> None:
    """Raises RuntimeError, with what the shards wait for, when that takes too long to be work."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not done():
        engine.poll()
        if time.monotonic() > deadline_s:
            waits = {name: str(lane.call) for name, lane in engine.lanes.items()}
            raise RuntimeError(
                f"after {DEADLINE_S:.0f} s {len(links.held)} shards are held, {len(links.by_shard)} are connected, "
                f"{sorted(links.uncommitted)} ended uncommitted; failure: {links.failure!r}; under way: {waits}"
            )
