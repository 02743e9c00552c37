"""Runs what is measured: every measurement is a process of its own on one core, with polars on one thread."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

ROOT = Path(__file__).parent.parent
CORE = max(os.sched_getaffinity(0))  # the others are for what feeds the measured process
TWO_CORES = sorted(os.sched_getaffinity(0))[-2:]  # for what is measured by the clock on two; one if there are no more
# PyYAML is of the set for development; where it is there, ua-parser loads it.
_PROGRAM = "import sys; sys.modules['yaml'] = None; from consumer.cli import program; program()"
REPLAY = ("-c", _PROGRAM, "replay")
ENVIRONMENT = {"POLARS_MAX_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}

type Process = subprocess.Popen[bytes]


class Ran(Struct, frozen=True):
    """What a process printed, and what it took: seconds by the clock, seconds of CPU (all threads, with the system's
    share), and the most memory."""

    output: str
    seconds: float
    cpu_s: float
    peak_bytes: int


def run(command: Sequence[str], cores: Collection[int] = (CORE,), **environment: str) -> Ran:
    """Run a program to its end. Raises RuntimeError, with what it said, when it fails."""
    started_s = time.perf_counter()
    with tempfile.TemporaryFile() as errors:  # a pipe that nobody reads would fill up, and stop the process
        process = start(command, errors, cores, **environment)
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode()[-2_000:]
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return Ran(output, time.perf_counter() - started_s, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def start(
    command: Sequence[str],
    stderr: int | IO[bytes] = subprocess.PIPE,
    cores: Collection[int] = (CORE,),
    **environment: str,
) -> Process:
    """A Python program (`-m module` and arguments) on the measuring core, or on others."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def call(
    function: Callable[..., Any], *arguments: Any, cores: Collection[int] = (CORE,), **environment: str
) -> tuple[Any, Ran]:
    """What a function of this package returns when it is called in a process of its own, and what the process took.
    Arguments and result are what JSON can say; paths become text and are made paths again."""
    plain = [{"path": str(value)} if isinstance(value, Path) else value for value in arguments]
    command = ["-m", "benchmarks.measure", function.__module__, function.__name__, json.dumps(plain)]
    ran = run(command, cores, **environment)
    return json.loads(ran.output.splitlines()[-1]), ran


def _main() -> None:
    module, name, arguments = sys.argv[1:]
    given = [Path(value["path"]) if isinstance(value, dict) else value for value in json.loads(arguments)]
    print(json.dumps(getattr(importlib.import_module(module), name)(*given)))


if __name__ == "__main__":
    _main()
