"""What of the demo's options cannot work is said of the option: it takes no settings from the environment."""

import socket
from pathlib import Path

import pytest

from consumer.commands.demo.demo import demo
from sa_stream.config import PREFIX
from sa_stream.errors import Config_Error, In_Use


def start(port: int = 0, keep: Path | None = None) -> None:
    demo(records=1, seed=1, hours=1, port=port, exit_when_final=True, keep=keep)


def test_a_port_in_use_is_said_with_the_option_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(In_Use, match="set --port to") as refused:
        start(port=taken.getsockname()[1])
    assert PREFIX not in str(refused.value)


@pytest.mark.parametrize("name", ["file/kept", "file", "x" * 300])
def test_a_folder_that_cannot_be_made_is_said_with_the_option_to_change(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Config_Error, match=r"--keep .* cannot be used") as refused:
        start(keep=tmp_path / name)
    assert PREFIX not in str(refused.value)


def test_a_folder_that_is_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Config_Error, match="is not empty"):
        start(keep=tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
