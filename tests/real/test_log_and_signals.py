"""The daemon and what surrounds it: a log that nobody reads, signals of terminals and supervisors, its last line."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.process.signals import SAME_S
from sa_stream.commits.keys import APPLICATION_KEY
from sa_stream.format import HEADER_BYTES
from tests.later_version import in_version
from tests.real.processes import PREFIX, SA_STREAM, Daemon, World, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Unread:
    """A daemon with a pipe as its log, which nobody reads until `read_on`."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._pipe, write_end = os.pipe()
        self.popen = subprocess.Popen(
            [sys.executable, SA_STREAM, "run"], env=env, cwd=folder, stderr=write_end, start_new_session=True
        )
        os.close(write_end)
        self.text = ""

    def read_on(self) -> None:
        def read() -> None:
            while data := os.read(self._pipe, 1 << 16):
                self.text += data.decode()

        threading.Thread(target=read, daemon=True).start()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines(True) if line.endswith("\n")]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def unread(world: World) -> Iterator[Any]:
    started: list[Unread] = []

    def start(env: dict[str, str]) -> Unread:
        started.append(Unread(env, world.folder))
        return started[-1]

    yield start
    for each in started:
        each.popen.kill()
        each.popen.wait()


class Asker(Daemon):
    """The health of a daemon that is not a `Process`."""

    def __init__(self, env: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{env[f'{PREFIX}HTTP_PORT']}"


def test_a_log_that_nobody_reads_stops_neither_reading_nor_an_orderly_end(world: World, unread: Any) -> None:
    stream = world.stream(records=2_000, seed=5, hours=1, live_per_s=200)
    env = world.settings(stream, CACHE_MODE="memory")
    daemon, asker = unread(env), Asker(env)
    until("health", lambda: asker.reasons() == [], 30)
    fill_pipe(daemon.popen.pid)
    time.sleep(3)  # for lines that do not fit: entries are written every few seconds
    shards = asker.get("/health")[1]["shards"]

    def read_on() -> bool:
        now = asker.get("/health")[1]["shards"]
        return all(
            now[shard]["sequence_number"] != was["sequence_number"] and now[shard]["last_commit"] != was["last_commit"]
            for shard, was in shards.items()
        )

    until("every shard to be read and committed", read_on, 20)
    assert asker.reasons() == []
    began_s = time.monotonic()
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.popen.wait(30) == 0
    assert time.monotonic() - began_s < 15


def test_a_log_that_is_read_again_has_its_last_lines(world: World, unread: Any) -> None:
    stream = world.stream(records=500, seed=6, hours=1, live_per_s=50)
    env = world.settings(stream, CACHE_MODE="memory")
    daemon, asker = unread(env), Asker(env)
    until("health", lambda: asker.reasons() == [], 30)
    fill_pipe(daemon.popen.pid)
    time.sleep(2)
    daemon.read_on()
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.popen.wait(30) == 0
    until("the last line", lambda: daemon.events("stopped"), 10)


def fill_pipe(pid: int) -> None:
    """Write into the process's own stderr until it takes no more."""
    descriptor = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(descriptor, b'{"event": "filler"}\n' * 200)  # less than a page: whole or not at all
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def test_a_hang_up_is_an_orderly_end_and_sigusr1_is_nothing(world: World) -> None:
    stream = world.stream(records=500, seed=7, hours=1)
    daemon = world.run(world.settings(stream, CACHE_MODE="memory"))
    daemon.wait_ready()
    daemon.process.signal(signal.SIGUSR1)
    time.sleep(0.5)
    assert daemon.reasons() == []
    daemon.process.signal(signal.SIGHUP)
    assert daemon.process.wait(30) == 0
    assert daemon.process.events("stopped")
    (line,) = daemon.process.events("stopping")
    assert line["message"].startswith("SIGHUP")


def test_the_second_signal_ends_it_at_once(world: World) -> None:
    stream = world.stream(records=500, seed=8, hours=1)
    daemon = world.run(world.settings(stream, CACHE_MODE="memory"))
    daemon.wait_ready()
    stream.process.signal(signal.SIGSTOP)
    daemon.process.signal(signal.SIGTERM)
    until("the first to be heard", lambda: daemon.process.events("stopping"), 10)
    time.sleep(SAME_S)
    daemon.process.signal(signal.SIGINT)
    assert daemon.process.wait(5) in (0, -signal.SIGINT, 128 + signal.SIGINT)


def test_every_reason_that_ends_the_daemon_is_one_critical_line(world: World) -> None:
    stream = world.stream(records=100, seed=9, hours=1)
    newer = world.folder / "newer" / APPLICATION_KEY
    newer.parent.mkdir(parents=True)
    newer.write_bytes(in_version(999, bytes(HEADER_BYTES)))
    for code, words, settings in (
        (1, "There is no Kinesis stream nowhere", {"STREAM": "nowhere"}),
        (2, "COMMIT_INTERVAL_S: expected a whole number", {"COMMIT_INTERVAL_S": "soon"}),
        (1, "has format version 999", {"STATE_URL": f"file://{world.folder / 'newer'}"}),
        (2, "its directory cannot be made", {"STATE_URL": "file:///proc/nowhere/state"}),
    ):
        done = world.command(world.settings(stream, CACHE_MODE="memory", **settings), "run")
        assert done.code == code, done.err
        last_line_is_fatal(done.err, words)


def test_a_permission_that_is_missing_ends_it_with_a_critical_line(world: World) -> None:
    stream = world.stream(records=1, hours=1)

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = b'{"__type": "AccessDeniedException", "message": "User is not authorized"}'
            self.send_response(400)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    env = world.settings(stream, CACHE_MODE="memory")
    env["AWS_ENDPOINT_URL_KINESIS"] = f"http://127.0.0.1:{server.server_address[1]}"
    done = world.command(env, "run")
    server.shutdown()
    server.server_close()
    assert done.code == 1
    last_line_is_fatal(done.err, "AccessDeniedException")


def last_line_is_fatal(text: str, words: str) -> None:
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["level"] for line in lines if line["event"] == "fatal"] == ["critical"], text
    assert lines[-1]["event"] == "fatal"
    assert words in lines[-1]["message"], lines[-1]
