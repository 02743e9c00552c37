"""Real servers for the storage tests, each on a free port of 127.0.0.1 and stopped by the test run that started it."""

from collections.abc import Callable, Iterator

import pytest

from tests.storage.cache_process import Cache_Server


@pytest.fixture(scope="session")
def cache_server() -> Iterator[Cache_Server]:
    server = Cache_Server("--port", "0")
    yield server
    server.kill()


@pytest.fixture
def start_cache_server() -> Iterator[Callable[..., Cache_Server]]:
    started: list[Cache_Server] = []

    def start(*arguments: str) -> Cache_Server:
        started.append(Cache_Server(*arguments))
        return started[-1]

    yield start
    for server in started:
        server.kill()
