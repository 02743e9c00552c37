"""`sa-stream run`: the daemon, until it is told to stop."""

import os
import platform
import signal
from collections.abc import Callable

import polars

from consumer.kcl.runner import Kcl_Runner
from consumer.local.runner import Local_Runner
from consumer.process.log_setup import drain_log, log_lines_dropped
from consumer.process.signals import stop_on_signals
from sa_stream import __version__
from sa_stream.api.http_server import Health_Server
from sa_stream.config import SA__Config
from sa_stream.health.notebook import Health
from sa_stream.log import STARTED, STOPPED, STOPPING, Log
from sa_stream.timing import moment

log = Log("run")


def versions() -> dict[str, str]:
    return {"sa-stream": __version__, "python": platform.python_version(), "polars": polars.__version__}


def run(config: SA__Config, beat: Callable[[], None]) -> None:
    """Read, aggregate and publish until SIGTERM, SIGINT or SIGHUP; then commit everything and return. `beat` is called
    as a sign of life where somebody watches over it.

    Raises the error that no later try can mend.
    """
    health = Health(moment(), config.commit_interval_s * 1000, versions())
    runner = Kcl_Runner(config, health, os.environ, beat) if config.runner == "kcl" else Local_Runner(config, health)
    server = Health_Server(health, config.http_host, config.http_port, log_lines_dropped=log_lines_dropped)
    try:
        log.tell(STARTED, f"reading {config.stream}; health on {server.url}/health", stream=config.stream)
        stop_on_signals(lambda number: _stop(runner, number))
        runner.run()
        log.tell(STOPPED, "stopped as asked")
    finally:
        server.stop()
    if runner.engine.busy:  # a store that hangs would hold up the interpreter's end
        drain_log()
        os._exit(0)


def _stop(runner: Local_Runner | Kcl_Runner, number: signal.Signals) -> None:
    log.tell(STOPPING, f"{number.name}: commits what was read; a second one ends it at once")
    runner.stop()
