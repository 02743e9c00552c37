"""The KCL's end of a shard's connection, over real pipes and the real socket, one message at a time."""

import base64
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from consumer.kcl.handover import Handover
from consumer.kcl.links import Shard_Links
from consumer.kcl.properties import Fetch_Ahead
from consumer.worker.application import Application
from consumer.worker.engine import Engine
from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.config import SA__Config
from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis, Shard
from sa_stream.health.notebook import Health
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import moment, wall_clock_ms
from tests.log_lines import line_of

STREAM = "logs"
SHARD = "shardId-000000000000"
CREATED_MS = wall_clock_ms()  # the stream in memory is each worker's own, and stands for the same one


def until(what: str, holds: Callable[[], Any], within_s: float = 10.0) -> Any:
    """Wait for a condition. Raises AssertionError that names it."""
    deadline_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline_s, f"waited {within_s} s for {what}"
        time.sleep(0.005)
    return found


class Worker:
    """The engine and its links, driven by a thread, reading a stream in memory whose KCL is the test itself."""

    def __init__(self, state_url: str, shards: int = 1, commit_interval_s: int = 60) -> None:
        self.kinesis = Memory_Kinesis(wall_clock_ms)
        self.stream = self.kinesis.create_stream(STREAM, shards)
        self.stream.created_ms = CREATED_MS
        self.server = kinesis_server.start(self.kinesis)
        os.environ["AWS_ENDPOINT_URL_KINESIS"] = self.server.url  # the fixture that made us puts it back
        config = SA__Config.from_env(
            {
                "SGRAPH_SEND__SA_STREAM": STREAM,
                "SGRAPH_SEND__SA_FIELDS": "canonical",
                "SGRAPH_SEND__SA_STATE_URL": state_url,
                "SGRAPH_SEND__SA_COMMIT_INTERVAL_S": str(commit_interval_s),
            }
        )
        self.health = Health(moment())
        self.state = State_Store(state_url)
        self.application = Application(
            config, self.health, state=self.state, cache=cache_client__in_process("memory", "")
        )
        found = self.application.describe(threading.Event())
        assert found is not None
        self.application.open(found)
        self.application.fields.checked = True
        self.engine = Engine(self.health)
        self.links = Shard_Links(self.engine, self.application, Fetch_Ahead(3))
        self.handover = Handover(self.engine, self.links.connect)
        self.error: BaseException | None = None
        self.paused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.engine.poll(0.02)
                while self.paused.is_set() and not self._stop.is_set():
                    time.sleep(0.005)
        except BaseException as error:
            self.error = error
            raise

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.links.hang_up()
        self.handover.close()
        self.engine.shutdown()
        self.server.stop()
        assert self.error is None, self.error

    def records(self, shard_id: str) -> list[dict[str, Any]]:
        """What a shard of the stream holds, as the KCL writes it."""
        shard: Shard = next(shard for shard in self.stream.shards if shard.shard_id == shard_id)
        page = self.kinesis.get_records(self.kinesis.shard_iterator(STREAM, shard.shard_id, "TRIM_HORIZON"))
        return [
            record(bytes(payload), number, arrival_ms)
            for payload, number, arrival_ms in zip(page.payloads, page.sequence_numbers, page.arrivals_ms, strict=True)
        ]


def record(payload: bytes, number: str, arrival_ms: int) -> dict[str, Any]:
    return {
        "action": "record",
        "data": base64.b64encode(payload).decode(),
        "partitionKey": "k",
        "sequenceNumber": number,
        "approximateArrivalTimestamp": arrival_ms,
        "subSequenceNumber": 0,
    }


def line(request_id: str = "-", event_ms: int | None = None, **values: str) -> bytes:
    event_ms = wall_clock_ms() if event_ms is None else event_ms
    timestamp = f"{event_ms // 1000}.{event_ms % 1000:03d}"
    return line_of({"timestamp": timestamp, "x-edge-request-id": request_id, "sc-status": "200", **values}) + b"\n"


def lines(count: int, first: int = 1) -> list[dict[str, Any]]:
    """Records with the numbers first, first + 1, …"""
    return [record(line(f"request-{n}"), str(n), wall_clock_ms()) for n in range(first, first + count)]


def progress(worker: Worker) -> dict[str, Progress]:
    return drive(Progress_Reader(worker.state).steps())


def counted(worker: Worker, shard_id: str = SHARD) -> int:
    return progress(worker)[shard_id].counters.get("aggregated", 0)


class Fake_Kcl:
    """One child's connection, handed over as the child does it."""

    def __init__(self, socket_path: str) -> None:
        from_us, self._to_engine = os.pipe()
        self._from_engine, to_us = os.pipe()
        self.child = socket.socket(socket.AF_UNIX)
        self.child.connect(socket_path)
        socket.send_fds(self.child, [b"F"], [from_us, to_us])
        os.close(from_us)
        os.close(to_us)
        self._read = b""

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to_engine, data) :]

    def send(self, action: str, **more: Any) -> None:
        self.write(json.dumps({"action": action, **more}).encode() + b"\n")

    def hear(self, within_s: float = 10.0) -> dict[str, Any] | None:
        """What the engine says; None when it has hung up."""
        deadline_s = time.monotonic() + within_s
        while b"\n" not in self._read:
            left_s = max(0.0, deadline_s - time.monotonic())
            assert select.select([self._from_engine], [], [], left_s)[0], f"the engine said nothing for {within_s} s"
            more = os.read(self._from_engine, 65_536)
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def silent(self, for_s: float = 0.3) -> bool:
        """Whether the engine says nothing and does not hang up."""
        return not self._read and not select.select([self._from_engine], [], [], for_s)[0]

    def ask(self, action: str, **more: Any) -> list[str | None]:
        """Send a message, confirm every checkpoint that the engine asks for, and return their numbers once the status
        has come."""
        self.send(action, **more)
        return self.confirm(action)

    def confirm(self, action: str) -> list[str | None]:
        checkpoints = []
        while True:
            said = self.hear()
            assert said is not None, f"the engine hung up instead of answering {action}"
            if said["action"] == "status":
                assert said == {"action": "status", "responseFor": action}
                return checkpoints
            assert said["action"] == "checkpoint", said
            checkpoints.append(said["sequenceNumber"])
            self.send("checkpoint", sequenceNumber=said["sequenceNumber"], subSequenceNumber=0)

    def initialize(self, shard_id: str, number: str = "TRIM_HORIZON") -> list[str | None]:
        return self.ask("initialize", shardId=shard_id, sequenceNumber=number, subSequenceNumber=0)

    def process(self, records: list[dict[str, Any]], behind_ms: int = 0) -> list[str | None]:
        return self.ask("processRecords", records=records, millisBehindLatest=behind_ms)

    def end(self) -> None:
        """The KCL has no more to say."""
        for descriptor in (self._to_engine, self._from_engine):
            os.close(descriptor)
        self.child.close()
