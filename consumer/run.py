"""`sa-stream run`: the daemon, until it is told to stop."""

import platform
import signal
import threading
from types import FrameType

import polars

from consumer.config import SA__Config
from consumer.health import Health, Health_Server
from consumer.local_runner import Local_Runner
from consumer.logging import Log
from sa_stream import __version__
from sa_stream.errors import Config_Error
from sa_stream.timing import wall_clock_ms

log = Log("run")


def versions() -> dict[str, str]:
    return {"sa-stream": __version__, "python": platform.python_version(), "polars": polars.__version__}


def run(config: SA__Config) -> None:
    """Read, aggregate and publish until SIGTERM or SIGINT; then commit everything and return.

    Raises the error that no later try can mend.
    """
    if config.runner != "local":
        raise Config_Error(
            "SGRAPH_SEND__SA_RUNNER is kcl, which this version does not have yet: set it to local, or give "
            "--runner local"
        )
    health = Health(wall_clock_ms(), config.commit_interval_s * 1000, versions())
    server = Health_Server(health, config.http_host, config.http_port)
    try:
        log.info("started", f"reading {config.stream}; health on {server.url}/health", stream=config.stream)
        runner = Local_Runner(config, health)
        _stop_on_signals(runner)
        runner.run()
        log.info("stopped", "stopped as asked")
    finally:
        server.stop()


def _stop_on_signals(runner: Local_Runner) -> None:
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
