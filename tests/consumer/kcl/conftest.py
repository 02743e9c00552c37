"""A worker whose KCL is the test, and a connection of a shard to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.consumer.kcl.fake_kcl import Fake_Kcl, Worker


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made: list[Worker] = []

    def make(**options: Any) -> Worker:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "")
        made.append(Worker(f"file://{tmp_path}/state", **options))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


@pytest.fixture
def kcl(worker: Worker) -> Iterator[Fake_Kcl]:
    connection = Fake_Kcl(worker.handover.path)
    yield connection
    connection.end()
