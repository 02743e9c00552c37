"""`sa-stream run`: the daemon, until it is told to stop. What is heavy is loaded in the process that does the work: its
guard, which stays behind, is as small as this file."""

import os
import platform
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error
from sa_stream.log import STARTED, STOPPED, STOPPING, Log

if TYPE_CHECKING:
    from consumer.kcl.runner import Kcl_Runner
    from consumer.local.runner import Local_Runner

log = Log("run")


def run(config: SA__Config) -> None:
    """Read, aggregate and publish until SIGTERM, SIGINT or SIGHUP; then commit everything and return.

    Behind the KCL, it goes on in a child process that is started anew when it hangs or crashes, and this one exits with
    its code. Raises the error that no later try can mend.
    """
    if not config.enabled:
        print("sa-stream is switched off (SGRAPH_SEND__SA_ENABLED is false): nothing to do.", file=sys.stderr)
        return
    config.require_input()
    if config.source == "s3":
        raise Config_Error(
            "SGRAPH_SEND__SA_SOURCE=s3 is not part of this version: reading from S3 comes with a later one. "
            "Set SGRAPH_SEND__SA_STREAM to read from Kinesis."
        )
    beat = _guarded(config)
    from consumer.process.log_setup import setup_logging

    setup_logging(config)
    _work(config, beat)


def _guarded(config: SA__Config) -> Callable[[], None]:
    """A sign of life, to be given by whoever goes on. (What reads without the KCL has nothing to start anew with:
    whoever runs it sees that it has ended.)"""
    if config.runner != "kcl":
        return lambda: None
    from consumer.process.guard import guard

    outcome = guard(config.hang_timeout_s)
    if isinstance(outcome, int):
        sys.exit(outcome)
    return outcome


def versions() -> dict[str, str]:
    import polars

    from sa_stream import __version__

    return {"sa-stream": __version__, "python": platform.python_version(), "polars": polars.__version__}


def _work(config: SA__Config, beat: Callable[[], None]) -> None:
    from consumer.kcl.runner import Kcl_Runner
    from consumer.local.runner import Local_Runner
    from consumer.process.log_setup import drain_log, log_lines_dropped
    from consumer.process.memory import share_arenas
    from consumer.process.open_files import allow_most, shards_allowed
    from consumer.process.signals import stop_on_signals
    from consumer.worker.application import Application
    from sa_stream.api.http_server import Health_Server
    from sa_stream.health.notebook import Health
    from sa_stream.timing import moment

    share_arenas()
    health = Health(moment(), config.commit_interval_s * 1000, versions())
    application = Application(config, health)
    runner = Kcl_Runner(application, os.environ, beat) if config.runner == "kcl" else Local_Runner(application)
    server = Health_Server(health, config.http_host, config.http_port, log_lines_dropped=log_lines_dropped)
    try:
        open_files = allow_most()
        log.tell(
            STARTED,
            f"reading {config.stream}; health on {server.url}/health",
            stream=config.stream,
            open_files=open_files,
            shards_max=shards_allowed(open_files),
        )
        stop_on_signals(lambda number: _stop(runner, number))
        runner.run()
        log.tell(STOPPED, "stopped as asked")
    finally:
        server.stop()
    if runner.engine.busy:  # a store that hangs would hold up the interpreter's end
        drain_log()
        os._exit(0)


def _stop(runner: "Local_Runner | Kcl_Runner", number: signal.Signals) -> None:
    log.tell(STOPPING, f"{number.name}: commits what was read; a second one ends it at once")
    runner.stop()
