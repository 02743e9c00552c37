"""The local runner and the lock of its state store."""

import time
from pathlib import Path

import pytest

from consumer.local import lock_keeper
from consumer.local.lock_keeper import Lock_Keeper
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import In_Use, Store_Unavailable
from sa_stream.partitions import Shard_Info
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.storage.state_lock import State_Lock
from tests.consumer.local_run import STREAM, Local_Run
from tests.windows.partition_feed import record

SHARD = "shardId-000000000000"


class Throttled_Lists(Kinesis_Reader):
    """Its lists come no more once `throttled`."""

    throttled = False

    def list_shards(self) -> list[Shard_Info]:
        if self.throttled:
            raise Store_Unavailable("Kinesis answered ListShards with LimitExceededException")
        return super().list_shards()


class Lock(State_Lock):
    """Counts, and fails with what a test gives it."""

    refreshed = 0
    error: Exception | None = None

    def refresh(self) -> None:
        if self.error is not None:
            raise self.error
        self.refreshed += 1


def grows(lock: Lock, by: int = 3, within_s: float = 5.0) -> bool:
    target, deadline_s = lock.refreshed + by, time.monotonic() + within_s
    while lock.refreshed < target and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return lock.refreshed >= target


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_keeper, "REFRESH_S", 0.02)
    monkeypatch.setattr(lock_keeper, "AGAIN_S", 0.02)


def test_the_lock_is_kept_while_shards_cannot_be_listed(
    kinesis: Memory_Kinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open is read and committed all the same: nobody else may begin."""
    lock, reader = Lock(), Throttled_Lists(STREAM, read_interval_ms=20, idle_interval_ms=100)
    monkeypatch.setattr("consumer.local.runner.hold_lock", lambda state: lock)
    kinesis.create_stream(STREAM)
    run = Local_Run(tmp_path, lambda: reader)
    kinesis.put_to_shard(STREAM, SHARD, record(1, kinesis.now_ms()).payload)
    run.start()
    run.until("the shard to be read", lambda: run.counted() == 1)
    reader.throttled = True
    kinesis.put_to_shard(STREAM, SHARD, record(2, kinesis.now_ms()).payload)
    run.until("the next record to be counted", lambda: run.counted() == 2)
    assert grows(lock)
    run.stop()


def test_a_store_that_does_not_answer_is_asked_again_and_another_holder_ends_it() -> None:
    lock = Lock()
    with Lock_Keeper(lock) as keeper:
        assert grows(lock)
        lock.error = Store_Unavailable("no answer")
        time.sleep(0.1)
        assert keeper.failure is None
        lock.error = None
        assert grows(lock)
        lock.error = In_Use("another process")
        keeper._thread.join(5)
        assert keeper.failure is lock.error
