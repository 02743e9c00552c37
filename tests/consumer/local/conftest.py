"""An in-memory Kinesis behind the server that boto3 talks to, on a clock that a test can set."""

from collections.abc import Iterator

import pytest

from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.timing import wall_clock_ms
from tests.real.stream_server import Slow_Kinesis


class Clock:
    """Stands where a test puts it, and otherwise goes with the wall clock."""

    def __init__(self) -> None:
        self.ms: int | None = None

    def __call__(self) -> int:
        return wall_clock_ms() if self.ms is None else self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kinesis(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory_Kinesis]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = Slow_Kinesis(clock)
    server = kinesis_server.start(made)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    yield made
    server.stop()
