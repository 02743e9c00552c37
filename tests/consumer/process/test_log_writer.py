"""The log's writer: whoever logs never waits, and what is missing is counted and said."""

import json
import logging
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from consumer.process.log_writer import Log_Writer

LINES_MAX = 50


class Pipe:
    """A logger that writes into a pipe, and the reader that the pipe lacks at first."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.logger = logging.Logger("of a pipe")
        self.writer = Log_Writer(
            self.write_end, lambda dropped: self.logger.warning("%d were dropped", dropped), LINES_MAX
        )
        self.logger.addHandler(self.writer)

    def fill(self, seconds: float = 10) -> None:
        """Log long lines until some are dropped."""
        until_s = time.monotonic() + seconds
        while self.writer.dropped < 10 and time.monotonic() < until_s:
            self.logger.info("x" * 3_000)
        assert self.writer.dropped >= 10

    def read_all(self) -> list[str]:
        text = b""
        while select.select([self.read_end], [], [], 1.0)[0]:
            text += os.read(self.read_end, 1 << 16)
        return text.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.read_all()
    os.close(pipe.read_end)
    os.close(pipe.write_end)


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_that_nobody_takes_are_dropped_and_counted_and_a_line_says_so(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.write_end, blocking)
    pipe.fill()
    began_s = time.monotonic()
    for _ in range(1_000):
        pipe.logger.info("nobody waits")
    assert time.monotonic() - began_s < 1
    dropped = pipe.writer.dropped
    lines = pipe.read_all()
    assert lines[-1] == f"{dropped} were dropped"
    assert set(lines[:-1]) <= {"x" * 3_000, "nobody waits"}, "a line is torn"
    pipe.logger.info("all is well")
    assert pipe.read_all() == ["all is well"]
    assert pipe.writer.dropped == dropped


def test_the_end_waits_for_the_reader_but_not_for_ever(pipe: Pipe) -> None:
    pipe.logger.info("written")
    pipe.writer.drain()
    assert select.select([pipe.read_end], [], [], 0)[0]
    pipe.fill()
    began_s = time.monotonic()
    pipe.writer.drain(0.3)
    assert 0.2 < time.monotonic() - began_s < 2


def test_lines_of_many_threads_stay_whole_and_a_line_that_cannot_be_made_is_counted(pipe: Pipe) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [pipe.logger.info(json.dumps([n, i])) for i in range(10)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.logger.info("%d", "no number")
    lines = [json.loads(line) for line in pipe.read_all() if "dropped" not in line]
    assert sorted(lines) == [[n, i] for n in range(4) for i in range(10)]
    assert pipe.writer.dropped == 1


def test_a_reader_that_has_gone_for_good_ends_nothing() -> None:
    pipe = Pipe()
    os.close(pipe.read_end)
    pipe.logger.info("to nobody")
    pipe.writer.drain()
    assert pipe.writer.dropped == 1
    os.close(pipe.write_end)
