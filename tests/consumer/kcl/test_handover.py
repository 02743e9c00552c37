"""What becomes of a child for whose pipes there is no room."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from consumer.kcl.handover import Handed_Over, Handover
from consumer.worker.engine import Engine
from sa_stream.health.notebook import Health
from sa_stream.timing import moment


@contextlib.contextmanager
def files_left(count: int) -> Iterator[None]:
    """So many more files may be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 8, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(held[0]))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def child_of(path: str) -> socket.socket:
    child = socket.socket(socket.AF_UNIX)
    child.connect(path)
    socket.send_fds(child, [b"F"], [child.fileno(), child.fileno()])
    return child


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_child_for_which_no_file_may_be_opened_any_more_is_let_go_and_the_log_says_why(
    left: int, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[Handed_Over] = []
    engine = Engine(Health(moment()))
    handover = Handover(engine, taken.append)
    child = child_of(handover.path)
    with files_left(left):
        for _ in range(3):
            engine.poll(0.02)
        began_s = time.monotonic()
        engine.poll(0.02)
        assert time.monotonic() - began_s >= 0.01, "nobody wakes it up any more"
    child.settimeout(5)
    with contextlib.suppress(ConnectionResetError):  # closed with its pipes unread
        assert child.recv(1) == b""
    said = [entry.getMessage() for entry in caplog.records if getattr(entry, "event", "") == "handover_failed"]
    assert len(said) == 1
    assert "raise its limit (ulimit -n)" in said[0]
    assert taken == []
    later = child_of(handover.path)
    for _ in range(3):
        engine.poll(0.02)
    assert len(taken) == 1, "another one is taken when there is room again"
    taken[0].close()
    for each in (child, later):
        each.close()
    handover.close()
    engine.shutdown()
