"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.timing import wall_clock_ms
from tests.emulated_aws import point_at


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory_Kinesis]:
    """One with a stream `logs` of one shard, at which AWS's variables point."""
    kinesis = Memory_Kinesis(wall_clock_ms)
    kinesis.create_stream("logs", shards=1)
    server = kinesis_server.start(kinesis)
    point_at(monkeypatch, "KINESIS", server.url)
    yield kinesis
    server.stop()
