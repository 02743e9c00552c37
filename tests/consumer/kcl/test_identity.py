"""Worker ids: kept over restarts, never shared."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.kcl.identity import Worker_Identity
from sa_stream.errors import Config_Error

HOLDER = """
import sys
from consumer.kcl.identity import Worker_Identity
print(Worker_Identity(sys.argv[1]).acquire(), flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that acquires an id and holds it until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )


def test_the_same_container_gets_the_same_id_again(tmp_path: Path) -> None:
    with Worker_Identity(str(tmp_path / "new")) as first:
        assert first.startswith(socket.gethostname())
        assert len(first) > len(socket.gethostname()) + 8
    with Worker_Identity(str(tmp_path / "new")) as second:
        assert second == first
    (file,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_folders_and_two_hosts_have_different_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Worker_Identity(str(tmp_path / "a")) as here, Worker_Identity(str(tmp_path / "b")) as there:
        assert here != there
    monkeypatch.setattr(socket, "gethostname", lambda: "another/host é")
    with Worker_Identity(str(tmp_path / "a")) as other:
        assert other.startswith("another-host---")
        assert other != here


def test_processes_that_share_a_folder_never_share_an_id_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    others = [holder(tmp_path) for _ in range(3)]
    try:
        ids = [other.stdout.readline().strip() for other in others if other.stdout is not None]
        assert len(set(ids)) == 3
        identity = Worker_Identity(str(tmp_path))
        assert identity.acquire() not in ids
        identity.release()
        identity.release()
        others[0].kill()
        others[0].wait()
        assert identity.acquire() == ids[0]
        identity.release()
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_a_file_that_was_cut_short_gets_a_new_id(tmp_path: Path) -> None:
    with Worker_Identity(str(tmp_path)) as first:
        pass
    (file,) = tmp_path.iterdir()
    file.write_text(first[:-3])
    with Worker_Identity(str(tmp_path)) as second:
        assert len(second) == len(first)
        assert second != first
    with Worker_Identity(str(tmp_path)) as third:
        assert third == second


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_WORK_DIR: expected a folder to write to"):
        Worker_Identity(str(tmp_path / "file")).acquire()
