"""`sa-stream demo`, as somebody meets it: by itself to the end, stopped in the middle, on a terminal, and kept."""

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.real.processes import PREFIX, SA_STREAM, TRACEBACK, Process, World, clean_env, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FIRST_FINAL_S = 20.0  # ten on a machine that does nothing else
CHECK = re.compile(r"check: (\d+) final entries compared with a naive recount of what was generated: equal")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def start(world: World, *options: str) -> Process:
    """With an environment that leads elsewhere, as many have: the demo needs nothing but this machine."""
    elsewhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-west-9", "AWS_PROFILE": "nobody"}
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    env = clean_env(**elsewhere, **proxies, **{f"{PREFIX}STREAM": "production"})
    return world.start("demo", [SA_STREAM, "demo", "--port", "0", *options], env)


def test_it_ends_by_itself_with_entries_equal_to_the_recount(world: World) -> None:
    kept = world.folder / "kept"
    demo = start(world, "--exit-when-final", "--records", "20000", "--keep", str(kept))
    assert demo.wait(120) == 0, demo.err()
    assert demo.err() == ""
    check = CHECK.search(demo.out())
    assert check, demo.out()
    assert int(check[1]) >= 10
    times = re.search(r"first final window after ([\d.]+) s, all (\d+) final after ([\d.]+) s", demo.out())
    assert times, demo.out()
    assert 0 < float(times[1]) < FIRST_FINAL_S
    assert not [line for line in demo.out().splitlines() if "\x1b" in line], "a pipe gets plain lines"

    key = re.findall(r"^(\w+/\S+) final", demo.out(), re.M)[-1]
    shown = world.command(clean_env(**{f"{PREFIX}CACHE_PATH": str(kept / "cache")}), "show", key)
    assert shown.code == 0, shown.err
    assert key in shown.out
    assert "final" in shown.out

    again = world.command(clean_env(), "demo", "--port", "0", "--keep", str(kept))
    assert (again.code, again.out) == (2, "")
    assert f"--keep {kept} is not empty" in again.err
    assert TRACEBACK not in again.err


def test_stopped_in_the_middle_it_leaves_nothing_behind(world: World) -> None:
    demo = start(world, "--records", "20000")
    until("the demo to work", lambda: "records/s" in demo.out(), 60, show=demo.err)
    children = children_of(demo.pid)
    assert children, "its stream is a process of its own"
    demo.signal(signal.SIGTERM)
    assert demo.wait(20) in (0, 130), demo.err()
    assert demo.err() == ""
    assert "stopped" in demo.out()
    until("its children to end", lambda: all(map(gone, children)), 5)


def test_stopped_while_it_starts_it_leaves_nothing_behind(world: World) -> None:
    demo = start(world, "--records", "100000")
    children = until("the demo's stream to start", lambda: children_of(demo.pid), 60, show=demo.err)
    demo.signal(signal.SIGINT)
    assert demo.wait(20) in (0, 130), demo.err()
    assert TRACEBACK not in demo.err()
    until("its children to end", lambda: all(map(gone, children)), 5)


def test_killed_it_takes_its_stream_along(world: World) -> None:
    demo = start(world, "--records", "1000")
    children = until("the demo's stream to start", lambda: children_of(demo.pid), 60, show=demo.err)
    demo.kill()
    until("its children to end", lambda: all(map(gone, children)), 10)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of the fork: its child does nothing but exec
def test_on_a_terminal_it_shows_a_live_view_that_ctrl_c_ends_and_leaves_nothing_behind() -> None:
    command = [sys.executable, SA_STREAM, "demo", "--port", "0", "--records", "20000"]
    env = clean_env(TERM="xterm-256color", COLUMNS="120", LINES="40")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, env)
    seen = b""

    def watch(pattern: bytes, within_s: float) -> None:
        nonlocal seen
        give_up_s = time.monotonic() + within_s
        while not re.search(pattern, seen, re.S):
            ready, _, _ = select.select([terminal], [], [], 0.5)
            try:
                seen += os.read(terminal, 65_536) if ready else b""
            except OSError:  # the other end is closed
                assert re.search(pattern, seen, re.S), f"ended without {pattern!r}: {seen[-3000:]!r}"
            assert time.monotonic() < give_up_s, f"waited {within_s} s for {pattern!r}: {seen[-3000:]!r}"

    try:
        for pattern in (rb"records/s", rb"watermark", rb"\bopen\b", rb"\bfinal\b", rb"top path", rb"2xx"):
            watch(pattern, 60)
        children = children_of(pid)
        assert children, "its stream is a process of its own"
        os.write(terminal, b"\x03")
        watch(rb"stopped", 20)
        code = until("the demo to end", lambda: os.waitpid(pid, os.WNOHANG)[0] and [True], 20)
        assert code
        until("its children to end", lambda: all(map(gone, children)), 5)
        assert TRACEBACK.encode() not in seen
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
