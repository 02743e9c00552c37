"""What asks for an end, and what is a second wish, with real processes."""

import signal
import sys
import time
from pathlib import Path

import pytest

from consumer.process.signals import SAME_S
from tests.real.processes import Process, clean_env, until

PROGRAM = """
import sys, threading, time
from consumer.process.signals import stop_on_signals
asked = threading.Event()
stop_on_signals(lambda number: (open("asked", "a").write(number.name), asked.set()))
open("ready", "w").close()
{body}
"""
WAITS = "asked.wait()\ntime.sleep(30)"
# It waits for itself in C, where no handler of Python's runs.
HANGS = """
import ctypes
lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(256)
lock(mutex), lock(mutex)
"""


@pytest.fixture
def started(tmp_path: Path):
    processes = []

    def start(body: str) -> Process:
        env = clean_env(PYTHONPATH=str(Path(__file__).parents[3]))
        processes.append(Process("signals", ["-c", PROGRAM.format(body=body)], env, tmp_path, cwd=tmp_path))
        until("its handlers", (tmp_path / "ready").exists, 30)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_that_signals_a_whole_group_asks_once(started, tmp_path: Path, number: signal.Signals) -> None:
    process = started(WAITS)
    for _ in range(2):  # from the supervisor, and from the guard
        process.signal(number)
        time.sleep(SAME_S / 10)
    until("the wish to be heard", (tmp_path / "asked").exists, 10)
    time.sleep(SAME_S)
    assert process.running()
    assert (tmp_path / "asked").read_text() == number.name
    process.signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="a call of Linux's library hangs")
def test_a_second_one_ends_a_process_whose_main_thread_hangs(started, tmp_path: Path) -> None:
    process = started(HANGS)
    process.signal(signal.SIGTERM)
    until("the wish to be heard", (tmp_path / "asked").exists, 10)
    time.sleep(SAME_S)
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
