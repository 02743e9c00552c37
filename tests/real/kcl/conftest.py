"""Emulators for each test worker, a scene for each test; nothing of either outlives it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.kcl.emulators import Emulators, emulators
from tests.real.kcl.scene import Scene
from tests.real.processes import World


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kcl: with the real KCL and emulators of Kinesis and DynamoDB")


@pytest.fixture(scope="session")
def shared_emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    with emulators(tmp_path_factory.mktemp("emulators")) as started:
        yield started


@pytest.fixture
def set_scene(tmp_path: Path, shared_emulators: Emulators) -> Iterator[Callable[..., Scene]]:
    """A function that makes the test's scene (arguments as of Scene)."""
    world = World(tmp_path)
    scenes: list[Scene] = []

    def make(**options: object) -> Scene:
        scenes.append(Scene(world, shared_emulators, **options))  # type: ignore[arg-type]
        return scenes[-1]

    try:
        yield make
    finally:
        world.end()
        for scene in scenes:
            scene.end()
