"""Every process that a test starts ends with the test, however that ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.processes import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.end()
