"""What these tests start and ask: processes on 127.0.0.1, their logs, their health, and waits that say what they wait
for. Nothing here knows what the numbers should be."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError

import boto3
from botocore.config import Config
from msgspec import Struct, field

from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.cache_clients import cache_client__remote
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from tests.real.stream_client import Stream_Client
from tests.real.stream_server import STREAM

PROJECT = Path(__file__).parents[2]
SA_STREAM = str(Path(sys.executable).parent / "sa-stream")  # the command that people type
CACHE_KEY = "a-key-for/tests+only="
PREFIX = "SGRAPH_SEND__SA_"
TRACEBACK = "Traceback (most recent call last)"
PORTS_FROM, PORTS_EACH = 20_000, 1_000
_ports = count(os.getpid())


def until[R](what: str, look: Callable[[], R], within_s: float, every_s: float = 0.05, show: object = None) -> R:
    """The first true answer of `look`; fails with `what` (and `show()`, if callable) when there is none in time."""
    give_up_s = time.monotonic() + within_s
    while not (answer := look()):
        if time.monotonic() > give_up_s:
            said = show() if callable(show) else show
            raise AssertionError(f"waited {within_s:g} s in vain for {what}" + (f"\n{said}" if said else ""))
        time.sleep(every_s)
    return answer


def free_port() -> int:
    """A port that nobody else gets: below those that the system gives out by itself (also to outgoing connections, so
    that one which a test has let go may be gone before its daemon comes), and of this test process alone."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = PORTS_FROM + PORTS_EACH * worker + next(_ports) % PORTS_EACH
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def clean_env(**more: str) -> dict[str, str]:
    """This environment without anything that could lead to a real service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", PREFIX, "FAST_API"))}
    for name in ("PYTEST_CURRENT_TEST", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    return kept | {
        "PYTHONPYCACHEPREFIX": str(PROJECT / ".pytest_cache" / "bytecode"),  # compiling takes half of a start
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class Process:
    """A child process whose output goes to files. It never outlives the test that started it (see conftest)."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], folder: Path, **options: Any) -> None:
        self.name = name
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        with self.out_path.open("ab") as out, self.err_path.open("ab") as err:
            self.popen = subprocess.Popen(
                [sys.executable, *command],
                env=dict(env),
                cwd=options.pop("cwd", PROJECT),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                start_new_session=True,
                **options,
            )
        self.pid = self.popen.pid

    def out(self) -> str:
        return self.out_path.read_text(errors="replace")

    def err(self) -> str:
        return self.err_path.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of this event (logs are JSON lines)."""
        lines = [line for line in self.err().splitlines() if line.startswith("{") and line.endswith("}")]
        return [entry for line in lines if (entry := json.loads(line)).get("event") == name]

    def running(self) -> bool:
        return self.popen.poll() is None

    def first_line(self, within_s: float = 30) -> str:
        def look() -> str:
            if not self.running():
                raise AssertionError(f"{self.name} has ended with {self.popen.returncode}: {self.err()}")
            line, end, _ = self.out().partition("\n")
            return line if end else ""

        return until(f"the first line of {self.name}", look, within_s, show=self.err)

    def tell(self, word: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(word.encode() + b"\n")
        self.popen.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """kill -9, and gone."""
        if self.running():
            self.popen.kill()
        self.popen.wait()

    def wait(self, within_s: float) -> int:
        """The exit code."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {within_s:g} s\n{self.err()[-4000:]}") from None

    def end(self) -> None:
        """Whatever state it is in."""
        if self.running():
            self.popen.send_signal(signal.SIGCONT)
        self.kill()
        if self.popen.stdin is not None:
            self.popen.stdin.close()


class World(Struct):
    """Where one test's processes live."""

    folder: Path
    processes: list[Process] = field(default_factory=list)

    def start(self, name: str, command: list[str], env: Mapping[str, str], **options: Any) -> Process:
        process = Process(name, command, env, self.folder, **options)
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            process.end()

    # ---- what there is to start

    def stream(self, **options: Any) -> "Stream":
        return Stream(self, options)

    def cache(self) -> "Cache":
        return Cache(self)

    def settings(self, stream: "Stream", cache: "Cache | None" = None, **more: str) -> dict[str, str]:
        """An environment for `sa-stream`; names of settings come without their prefix."""
        settings = {
            "STREAM": STREAM,
            "RUNNER": "local",
            "STATE_URL": f"file://{self.folder / 'state'}",
            "HTTP_PORT": str(free_port()),
            "COMMIT_INTERVAL_S": "1",
            "CACHE_PATH": str(self.folder / "cache"),
            "LOG_FORMAT": "json",
        }
        if cache is not None:
            settings |= {"CACHE_URL": cache.url, "CACHE_API_KEY_VALUE": CACHE_KEY}
        settings |= more
        aws = {"AWS_ENDPOINT_URL_KINESIS": stream.url}
        return clean_env(**aws, **{PREFIX + name: value for name, value in settings.items()})

    def run(self, env: Mapping[str, str], name: str = "run") -> "Daemon":
        """`sa-stream run`."""
        return Daemon(self.start(name, [SA_STREAM, "run"], env), int(env[f"{PREFIX}HTTP_PORT"]))

    def command(self, env: Mapping[str, str], *arguments: str, within_s: float = 60) -> "Done":
        """Any `sa-stream` command, to its end."""
        name = f"{arguments[0]}-{len(self.processes)}"
        process = self.start(name, [SA_STREAM, *arguments], env)
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        process.popen.stdin = None
        return Done(process.wait(within_s), process.out(), process.err())


class Done(Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str


class Stream(Stream_Client):
    """The embedded Kinesis with a history."""

    def __init__(self, world: World, options: dict[str, Any]) -> None:
        self.process = world.start("stream", ["-m", "tests.real.stream_server", json.dumps(options)], clean_env())
        said = json.loads(self.process.first_line(60))
        self.url: str = said["url"]
        self.until_ms: int = said["until_ms"]
        session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        super().__init__(session.client("kinesis", endpoint_url=self.url, config=Config(proxies={})), STREAM)

    def pause(self) -> None:
        """No more live records; what is there can be read in large pages."""
        self.process.tell("pause")
        until("the stream to pause", lambda: '"paused"' in self.process.out(), 20)


class Cache:
    """The cache service as a process that can be stopped and started again in the same place."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        self.client: Send__Cache__Client = cache_client__remote(self.url, "x-api-key", CACHE_KEY)

    def start(self) -> None:
        key = {"FAST_API__AUTH__API_KEY__NAME": "x-api-key", "FAST_API__AUTH__API_KEY__VALUE": CACHE_KEY}
        path = str(self._world.folder / "cache")
        command = ["-m", "sa_stream.embedded.cache_server", "--port", str(self.port), "--mode", "local_disk"]
        self.process = self._world.start(
            f"cache-{len(self._world.processes)}", [*command, "--path", path], clean_env(**key)
        )
        self.process.first_line(60)

    def stop(self) -> None:
        self.process.end()

    def entry(self, key: str) -> dict[str, Any] | None:
        return self.client.retrieve_entry(NS_SA_AGGREGATE, key)


class Daemon:
    """A running `sa-stream run`."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """(status, body); status 0 while nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url + path, timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def reasons(self) -> list[str] | None:
        """Why it is not ready; None while nobody answers."""
        status, body = self.get("/health/ready")
        assert (status == 200) == (status != 0 and not body["reasons"]), (status, body)
        return None if status == 0 else body["reasons"]

    def wait_answer(self, within_s: float = 30) -> None:
        until("the consumer to answer", lambda: self.reasons() is not None, within_s, show=self.process.err)

    def wait_ready(self, within_s: float = 30) -> None:
        until("the consumer to be ready", lambda: self.reasons() == [], within_s, show=self.process.err)

    def wait_reason(self, pattern: str, within_s: float) -> str:
        """The first reason for not being ready that fits the pattern."""

        def look() -> str:
            return next((reason for reason in self.reasons() or [] if re.search(pattern, reason)), "")

        return until(f"a reason like {pattern!r}", look, within_s, show=lambda: self.get("/health"))

    def position(self, shard_id: str) -> int:
        """Number of the last record that it has read of a shard; 0: none."""
        shards = self.get("/health")[1].get("shards") or {}
        return int((shards.get(shard_id) or {}).get("sequence_number") or 0)

    def terminate(self, within_s: float = 30) -> int:
        self.process.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()
