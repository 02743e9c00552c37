"""`sa-stream run`: the daemon, until it is told to stop."""

import logging
import os
import platform
import signal
import threading
from collections.abc import Callable
from types import FrameType

import polars

from consumer.config import SA__Config
from consumer.health import Health, Health_Server
from consumer.kcl_runner import Kcl_Runner
from consumer.local_runner import Local_Runner
from consumer.logging import Log
from sa_stream import __version__
from sa_stream.timing import moment

log = Log("run")


def versions() -> dict[str, str]:
    return {"sa-stream": __version__, "python": platform.python_version(), "polars": polars.__version__}


def run(config: SA__Config, beat: Callable[[], None]) -> None:
    """Read, aggregate and publish until SIGTERM or SIGINT; then commit everything and return. `beat` is called as a
    sign of life where somebody watches over it.

    Raises the error that no later try can mend.
    """
    health = Health(moment(), config.commit_interval_s * 1000, versions())
    runner = Kcl_Runner(config, health, os.environ, beat) if config.runner == "kcl" else Local_Runner(config, health)
    server = Health_Server(health, config.http_host, config.http_port)
    try:
        log.info("started", f"reading {config.stream}; health on {server.url}/health", stream=config.stream)
        _stop_on_signals(runner)
        runner.run()
        log.info("stopped", "stopped as asked")
    finally:
        server.stop()
    if runner.engine.busy:  # a store that hangs would hold up the interpreter's end
        logging.shutdown()
        os._exit(0)


def _stop_on_signals(runner: Local_Runner | Kcl_Runner) -> None:
    """The first SIGTERM or SIGINT asks for an orderly end, the second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        log.info("stopping", f"{signal.Signals(number).name}: commits what was read; a second one ends it at once")
        runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
