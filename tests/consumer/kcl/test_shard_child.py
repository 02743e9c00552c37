"""The child that the KCL starts for a shard, started as the KCL starts it."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.kcl.properties import CHILD_COMMAND

SHARD_CHILD = Path(__file__).parents[3] / "consumer" / "kcl" / "shard_child.py"
WITHIN_S = 20
RESIDENT_KB_MAX = 10 << 10
OWN_KB_MAX = 5 << 10


class Child:
    """One child with its pipes, the KCL's ends of them, and the engine's socket; every path has a space in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        script, python, address = folder / "the child.py", folder / "my python", folder / "s"
        shutil.copy(SHARD_CHILD, script)
        python.symlink_to(Path(sys.executable).resolve())
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(WITHIN_S)
        self.listener.bind(str(address))
        self.listener.listen()
        self._handed_over: list[int] = []
        paths = {
            "SA_STREAM_PYTHON": str(python),
            "SA_STREAM_SHARD_CHILD": str(script),
            "SA_STREAM_ENGINE_SOCKET": str(address),
        }
        self.process = subprocess.Popen(
            CHILD_COMMAND.split(" "),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | paths,
        )

    def hand_over(self) -> tuple[socket.socket, int, int]:
        """What the engine gets: the connection, and the child's stdin and stdout."""
        connection, _ = self.listener.accept()
        connection.settimeout(WITHIN_S)
        _, self._handed_over, _, _ = socket.recv_fds(connection, 1, 2)
        reading, writing = self._handed_over
        return connection, reading, writing

    def close_pipes(self) -> None:
        """As the engine does it."""
        while self._handed_over:
            os.close(self._handed_over.pop())

    def end(self) -> None:
        self.process.kill()
        self.close_pipes()
        self.process.communicate()
        self.listener.close()

    def status(self, name: str, file: str = "status") -> int:
        text = Path(f"/proc/{self.process.pid}/{file}").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(tmp_path / "a folder")
    yield child
    child.end()


def test_the_engine_gets_the_pipes_and_the_child_ends_when_it_hangs_up(child: Child) -> None:
    connection, reading, writing = child.hand_over()
    kcl = child.process
    assert kcl.stdin is not None
    assert kcl.stdout is not None
    kcl.stdin.write(b"a message\n")
    kcl.stdin.flush()
    assert os.read(reading, 100) == b"a message\n"
    os.write(writing, b"an answer\n")
    assert kcl.stdout.readline() == b"an answer\n"
    assert kcl.poll() is None
    connection.close()
    assert kcl.wait(WITHIN_S) == 0
    os.write(writing, b"the pipes outlive it\n")
    assert kcl.stdout.readline() == b"the pipes outlive it\n"
    assert child.process.stderr is not None
    assert child.process.stderr.read() == b""


def test_the_kcl_sees_at_once_that_the_engine_has_closed_the_pipes(child: Child) -> None:
    connection, _, _ = child.hand_over()
    child.close_pipes()
    assert child.process.stdout is not None
    assert child.process.stdout.read() == b""
    assert child.process.stdin is not None
    with pytest.raises(BrokenPipeError):
        os.write(child.process.stdin.fileno(), b"x")
    connection.close()


def test_a_child_without_an_engine_says_so_and_ends(tmp_path: Path) -> None:
    paths = {
        "SA_STREAM_PYTHON": sys.executable,
        "SA_STREAM_SHARD_CHILD": str(SHARD_CHILD),
        "SA_STREAM_ENGINE_SOCKET": str(tmp_path / "nobody"),
    }
    ended = subprocess.run(
        CHILD_COMMAND.split(" "),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | paths,
        timeout=WITHIN_S,
    )
    assert ended.returncode == 1
    assert b"FileNotFoundError" in ended.stderr
    assert ended.stdout == b""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_child_is_small_and_keeps_no_shell(child: Child) -> None:
    connection, _, _ = child.hand_over()
    assert "python" in Path(f"/proc/{child.process.pid}/exe").resolve().name
    assert child.status("VmRSS") <= RESIDENT_KB_MAX
    assert child.status("Private_", "smaps_rollup") <= OWN_KB_MAX
    connection.close()
