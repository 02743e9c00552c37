"""`sa-stream run`: the daemon, until it is told to stop. What is heavy is loaded in the process that does the work: its
guard, which stays behind, is as small as this file."""

import os
import platform
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from sa_stream.config import SA__Config
from sa_stream.log import STARTED, STOPPED, STOPPING, Log

if TYPE_CHECKING:
    from consumer.archive.runner import Archive_Runner
    from consumer.kcl.runner import Kcl_Runner
    from consumer.local.runner import Local_Runner
    from consumer.worker.application import Application
    from sa_stream.health.notebook import Health


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
    beat = _guarded(config)
    from consumer.process.log_setup import setup_logging

    setup_logging(config)
    _work(config, beat)


def _guarded(config: SA__Config) -> Callable[[], None]:
    """A sign of life, to be given by whoever goes on. (What reads without the KCL has nothing to start anew with:
    whoever runs it sees that it has ended.)"""
    if config.source == "s3" or config.runner != "kcl":
        return lambda: None
    from consumer.process.guard import guard

    outcome = guard(config.hang_timeout_s)
    if isinstance(outcome, int):
        sys.exit(outcome)
    return outcome


def versions() -> dict[str, str]:
    import polars

    from sa_stream import __version__, native

    kernel = native.LEVEL or f"none: {native.REASON}"
    own = {"sa-stream": __version__, "native": kernel}
    return own | {"python": platform.python_version(), "polars": polars.__version__}


def _work(config: SA__Config, beat: Callable[[], None]) -> None:
    from consumer.process.garbage import collect_rarely
    from consumer.process.log_setup import log_lines_dropped
    from consumer.process.memory import resident_bytes, share_arenas
    from consumer.process.open_files import allow_most, shards_allowed
    from consumer.process.signals import stop_on_signals
    from sa_stream.api.http_server import Health_Server
    from sa_stream.api.Key_Guard import Key_Guard
    from sa_stream.api.metrics_collector import Process
    from sa_stream.api.mounting import is_loopback, mount_api
    from sa_stream.health.notebook import Health
    from sa_stream.timing import moment

    share_arenas()
    health = Health(moment(), config.commit_interval_s * 1000, versions())
    runner, what, application = _runner(config, health, beat)
    server = Health_Server(
        health,
        config.http_host,
        config.http_port,
        process=Process(log_lines_dropped, resident_bytes),
        guard=None if is_loopback(config.http_host) else Key_Guard(config.api_key),
        mount=lambda app: mount_api(app, config, application.cache, application.state),
    )
    try:
        open_files = allow_most()
        log.tell(
            STARTED,
            f"reading {what}; health on {server.url}/health",
            stream=what,
            open_files=open_files,
            shards_max=shards_allowed(open_files),
        )
        stop_on_signals(lambda number: _stop(runner, number))
        collect_rarely()  # everything is loaded
        runner.run()
        log.tell(STOPPED, "stopped as asked")
    finally:
        server.stop()


def _runner(
    config: SA__Config, health: "Health", beat: Callable[[], None]
) -> "tuple[Archive_Runner | Kcl_Runner | Local_Runner, str, Application]":
    """Who reads, and what, in words; and the application that they are of."""
    from consumer.worker.application import Application

    if config.source == "s3":
        from consumer.archive.runner import Archive_Runner
        from consumer.archive.stream import Archive_Stream

        application = Application(config, health, source=Archive_Stream(config))
        what = f"the archive {config.logs_bucket}, {config.logs_prefix}"
        return Archive_Runner(application), what, application
    application = Application(config, health)
    if config.runner == "kcl":
        from consumer.kcl.runner import Kcl_Runner

        return Kcl_Runner(application, os.environ, beat), config.stream, application
    from consumer.local.runner import Local_Runner

    return Local_Runner(application), config.stream, application


def _stop(runner: "Archive_Runner | Kcl_Runner | Local_Runner", number: signal.Signals) -> None:
    log.tell(STOPPING, f"{number.name}: commits what was read; a second one ends it at once")
    runner.stop()
