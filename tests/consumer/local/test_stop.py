"""How the local runner ends."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from consumer.local import runner as local_runner
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.storage.state_store import Listed, State_Store
from tests.consumer.local_run import STREAM, Local_Run
from tests.windows.partition_feed import record

SHARD = "shardId-000000000000"


class Hanging_Store(State_Store):
    """Answers while its gate is open."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gate = threading.Event()
        self.gate.set()

    def put(self, key: str, data: bytes) -> None:
        assert self.gate.wait(60)
        super().put(key, data)

    def list(self, prefix: str) -> Sequence[Listed]:
        assert self.gate.wait(60)
        return super().list(prefix)


def test_a_store_that_hangs_holds_up_neither_the_last_commits_nor_publishing_beyond_the_time_of_a_stop(
    kinesis: Memory_Kinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_runner, "SHUTDOWN_S", 0.6)
    monkeypatch.setattr(local_runner, "LAST_PASS_S", 0.3)
    kinesis.create_stream(STREAM)
    kinesis.put_to_shard(STREAM, SHARD, record(1, kinesis.now_ms()).payload)
    run = Local_Run(tmp_path)
    run.state = store = Hanging_Store(run.config.state_url)
    run.start()
    run.until("the record to be counted", lambda: run.counted() == 1)
    store.gate.clear()
    kinesis.put_to_shard(STREAM, SHARD, record(2, kinesis.now_ms()).payload)
    time.sleep(0.2)
    began_s = time.monotonic()
    run.stop()
    assert time.monotonic() - began_s < 5
    store.gate.set()
