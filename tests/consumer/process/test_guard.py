"""The guard, with real processes: what it starts anew, what it forwards, what it returns."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.processes import Process, clean_env, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes together")

# Notes each child's pid in the file `children`, then does what the test says, in the child.
PROGRAM = """
import os, signal, sys, time
from consumer.process.guard import guard
count = 0
outcome = guard({timeout})
if isinstance(outcome, int):
    sys.exit(outcome)
beat = outcome
with open("children", "a") as file:
    print(os.getpid(), file=file)
number = len(open("children").read().split())
def beat_on():
    while True:
        beat()
        time.sleep(0.02)
{body}
"""


class Guarded:
    def __init__(self, folder: Path, body: str, timeout: float = 60.0) -> None:
        self.folder = folder
        env = clean_env(PYTHONPATH=str(Path(__file__).parents[3]), SGRAPH_SEND__SA_LOG_FORMAT="json")
        program = PROGRAM.format(timeout=timeout, body=body)
        self.process = Process("guard", ["-c", program], env, folder, cwd=folder)

    def children(self) -> list[int]:
        """Pids, in the order of their starts."""
        path = self.folder / "children"
        return [int(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def child(self, count: int = 1) -> int:
        """The pid of the child of this number, once it runs."""
        return until(f"child {count}", lambda: len(self.children()) >= count and self.children()[count - 1], 30)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process.err().splitlines()]

    def wait_for(self, name: str) -> None:
        until(f"the file {name}", (self.folder / name).exists, 30)

    def end(self) -> None:
        self.process.end()
        for pid in self.children():
            assert not runs(pid) or until(f"process {pid} to end", lambda pid=pid: not runs(pid), 20)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Any]:
    started: list[Guarded] = []

    def start(body: str, timeout: float = 60.0) -> Guarded:
        started.append(Guarded(tmp_path, body, timeout))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_child_that_ends_by_itself_ends_it_all_with_its_code(guarded: Any, code: int) -> None:
    found = guarded(f"sys.exit({code})")
    assert found.process.wait(30) == code
    assert len(found.children()) == 1
    assert found.said() == []


def test_the_child_has_a_process_group_of_its_own(guarded: Any) -> None:
    found = guarded("beat_on()")
    child = found.child()
    assert os.getpgid(child) == child != os.getpgid(found.process.pid)


def test_every_signal_is_forwarded_so_that_the_second_one_ends_it_at_once(guarded: Any) -> None:
    body = """
def stop(number, frame):
    signal.signal(number, signal.SIG_DFL)
    open("stopping", "w").close()
signal.signal(signal.SIGTERM, stop)
open("ready", "w").close()
beat_on()
"""
    found = guarded(body)
    found.wait_for("ready")
    found.process.signal(signal.SIGTERM)
    found.wait_for("stopping")
    assert found.process.running()
    found.process.signal(signal.SIGTERM)
    assert found.process.wait(30) == 128 + signal.SIGTERM
    assert len(found.children()) == 1
    assert found.said() == []


def test_an_orderly_end_after_a_signal_is_exit_code_0(guarded: Any) -> None:
    body = "signal.signal(signal.SIGINT, lambda number, frame: sys.exit(0))\nopen('ready', 'w').close()\nbeat_on()"
    found = guarded(body)
    found.wait_for("ready")
    found.process.signal(signal.SIGINT)
    assert found.process.wait(30) == 0


def test_a_child_that_was_killed_is_followed_by_another(guarded: Any) -> None:
    found = guarded("beat_on()")
    os.kill(found.child(), signal.SIGKILL)
    second = found.child(2)
    (line,) = found.said()
    assert (line["level"], line["event"]) == ("error", "restarted")
    assert line["message"] == "the daemon was killed by SIGKILL; it starts again in 1 s"
    os.kill(second, signal.SIGSEGV)
    found.child(3)
    assert found.said()[1]["message"] == "the daemon was killed by SIGSEGV; it starts again in 2 s"


def test_a_signal_in_the_pause_before_a_restart_ends_it(guarded: Any) -> None:
    found = guarded("os.kill(os.getpid(), signal.SIGKILL)")
    until("the first crash", found.said, 30)
    found.process.signal(signal.SIGTERM)
    assert found.process.wait(30) == 128 + signal.SIGTERM
    assert len(found.children()) == 1


def test_a_child_that_hangs_is_killed_and_followed_by_another(guarded: Any) -> None:
    found = guarded("beat_on()", timeout=1)
    first = found.child()
    os.kill(first, signal.SIGSTOP)
    found.child(2)
    assert not runs(first)
    (line,) = found.said()
    assert line["message"] == "the daemon gave no sign of life for 1 s; it starts again in 1 s"


def test_before_its_first_sign_of_life_a_child_has_all_the_time_it_needs(guarded: Any) -> None:
    found = guarded("time.sleep(4 if number == 1 else 600)\nsys.exit(7)", timeout=1)
    assert found.process.wait(30) == 7
    assert len(found.children()) == 1


def test_one_that_hangs_while_it_stops_is_killed_and_not_started_again(guarded: Any) -> None:
    body = """
def hang(number, frame):
    time.sleep(600)
signal.signal(signal.SIGTERM, hang)
beat()
open("ready", "w").close()
beat_on()
"""
    found = guarded(body, timeout=2)
    found.wait_for("ready")
    found.process.signal(signal.SIGTERM)
    assert found.process.wait(30) == 128 + signal.SIGKILL
    assert len(found.children()) == 1


def test_a_pause_of_the_guard_itself_is_no_hang_of_the_child(guarded: Any) -> None:
    found = guarded("beat_on()", timeout=4)
    child = found.child()
    for pid in (child, found.process.pid):  # as a laptop's sleep stops both
        os.kill(pid, signal.SIGSTOP)
    until("the guard to be stopped", lambda: state(found.process.pid) == "T", 20)
    resumes_s = time.monotonic() + 6
    until("six seconds of pause", lambda: time.monotonic() > resumes_s, 20)
    os.kill(found.process.pid, signal.SIGCONT)
    looks = wakeups(found.process.pid)
    until("the guard to look", lambda: wakeups(found.process.pid) > looks, 20)
    os.kill(child, signal.SIGCONT)
    beats_s = time.monotonic() + 4
    until("the child to be left alone", lambda: time.monotonic() > beats_s or not runs(child), 20)
    assert runs(child)
    assert found.children() == [child]


def test_a_child_does_not_outlive_its_guard(guarded: Any) -> None:
    found = guarded("beat_on()")
    child = found.child()
    found.process.kill()
    until("the child to end", lambda: not runs(child), 20)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def wakeups(pid: int) -> int:
    """How often it has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches")))


def test_a_hang_up_is_forwarded_and_sigusr1_is_ignored_by_both(guarded: Any) -> None:
    body = "signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(0))\nopen('ready', 'w').close()\nbeat_on()"
    found = guarded(body)
    found.wait_for("ready")
    child = found.child()
    found.process.signal(signal.SIGUSR1)
    os.kill(child, signal.SIGUSR1)
    time.sleep(0.5)
    assert found.process.running()
    assert runs(child)
    found.process.signal(signal.SIGHUP)
    assert found.process.wait(30) == 0
    assert found.said() == []


def test_a_hang_up_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` does it."""
    program = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM.format(
        timeout=60, body="open('ready', 'w').close()\nbeat_on()"
    )
    env = clean_env(PYTHONPATH=str(Path(__file__).parents[3]), SGRAPH_SEND__SA_LOG_FORMAT="json")
    process = Process("guard", ["-c", program], env, tmp_path, cwd=tmp_path)
    until("the child", (tmp_path / "ready").exists, 30)
    process.signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.running()
    process.end()


def test_a_guard_whose_log_is_not_read_starts_the_daemon_anew(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    env = clean_env(PYTHONPATH=str(Path(__file__).parents[3]), SGRAPH_SEND__SA_LOG_FORMAT="json")
    program = [sys.executable, "-c", PROGRAM.format(timeout=60, body="beat_on()")]
    guard = subprocess.Popen(program, env=env, cwd=tmp_path, stderr=write_end, start_new_session=True)
    try:

        def children() -> list[int]:
            path = tmp_path / "children"
            return [int(pid) for pid in path.read_text().split()] if path.exists() else []

        until("the child", children, 30)
        os.kill(children()[0], signal.SIGKILL)
        until("the second child", lambda: len(children()) == 2, 10)
    finally:
        guard.kill()
        guard.wait()
        os.close(read_end)
        os.close(write_end)
