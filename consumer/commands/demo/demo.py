"""`sa-stream demo`: a stream, a cache service, traffic and the consumer in one go, and a view of what they do."""

import contextlib
import os
import secrets
import signal
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config
from rich.console import Console
from rich.live import Live

from consumer.commands.demo.check import compare
from consumer.commands.demo.source_process import Source_Process
from consumer.commands.demo.story import Story
from consumer.commands.demo.view import View
from consumer.commands.run import versions
from consumer.commands.screen import say
from consumer.local.runner import Local_Runner
from consumer.process.log_setup import log_lines_dropped, setup_logging
from consumer.process.memory import resident_bytes
from consumer.process.signals import STOPPING
from consumer.worker.application import Application
from sa_stream.api.http_server import Health_Server, listen
from sa_stream.api.metrics_collector import Process
from sa_stream.api.mounting import mount_api
from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error, SA_Stream_Error
from sa_stream.health.notebook import Health
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.periods import cache_key
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import WINDOW_MS, moment, wall_clock_ms

RECORDS = 200_000
COMMIT_INTERVAL_S = 5
REFRESH_MS = 1_000  # of partial entries: a demo shows more often than a daemon publishes
CLOSES_WITHIN_MS = 70_000  # a window closes this long after its end: out-of-orderness, idle margin, a read
_PERIODS = ("30min", "hourly", "daily", "monthly")


def demo(
    *,
    records: int | None,
    seed: int,
    hours: float,
    port: int,
    exit_when_final: bool,
    keep: Path | None,
    open_dashboard: bool = False,
) -> None:
    """Run until Ctrl-C, or until all past windows are final. Raises SA_Stream_Error; exit 1 if the check finds a
    difference."""
    console = Console()
    # It takes no settings from the environment, so what cannot work is said of the option that it came from.
    _check_port(port)
    if keep:
        _check_folder(keep)
    config = _config(port, keep)
    setup_logging(config)
    story = Story()
    health = Health(moment(), COMMIT_INTERVAL_S * 1000, versions())
    cache, state = cache_client__in_process(config.cache_mode, config.cache_path), State_Store(config.state_url)
    server = Health_Server(
        health,
        config.http_host,
        config.http_port,
        process=Process(log_lines_dropped, resident_bytes),
        mount=lambda app: mount_api(app, config, cache, state),
    )
    say(console, f"sa-stream demo: {hours:g} h of traffic, then {server.url}/health shows this consumer")
    # What follows a # is sent to nobody; the page takes it out of the address at once.
    dashboard = f"{server.url}/#key={config.api_key}"
    say(console, f"dashboard: {dashboard}")
    source = Source_Process(config.stream, records or RECORDS, seed, hours)
    try:
        if open_dashboard:
            webbrowser.open(dashboard)
        filled = source.hear("filled")
        story.filled_s, story.stream_records = story.since_start_s(), filled["records"]
        story.until_ms = filled["until_ms"]
        application = Application(
            config,
            health,
            source=_reader(config.stream, filled["url"]),
            state=state,
            cache=cache,
        )
        runner = Local_Runner(
            application,
            publish_interval_s=0.3,
            settings=Reconciler_Settings(refresh_ms=dict.fromkeys(_PERIODS, REFRESH_MS)),
            on_pass=lambda result: story.note(cache, result),
        )
        finished = _watch(console, story, health, runner, source if exit_when_final else None, hours)
        if finished:
            wrong = _last_words(console, story, source, cache)
        else:
            say(console, "stopped: everything that was read is committed")
            wrong = False
    finally:
        source.stop()
        server.stop()
    if wrong:
        raise SA_Stream_Error("The entries are not what was generated")


def _config(port: int, keep: Path | None) -> SA__Config:
    settings = {
        "STREAM": f"demo-{wall_clock_ms()}",
        "APPLICATION": "demo",
        "RUNNER": "local",
        "FIELDS": "auto",
        "CACHE_MODE": "local_disk" if keep else "memory",
        "STATE_URL": f"file://{keep.resolve() / 'state'}" if keep else "memory://",
        "COMMIT_INTERVAL_S": str(COMMIT_INTERVAL_S),
        "HTTP_PORT": str(port),
        "API_KEY": secrets.token_urlsafe(16),
        "LOG_LEVEL": "warning",
    }
    if keep:
        settings["CACHE_PATH"] = str(keep.resolve() / "cache")
    return SA__Config.from_env({f"SGRAPH_SEND__SA_{name}": value for name, value in settings.items()})


def _check_port(port: int) -> None:
    listen(SA__Config().http_host, port, "--port").close()


def _check_folder(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        used = any(keep.iterdir())
        if not used:
            tempfile.TemporaryFile(dir=keep).close()
    except OSError as error:
        raise Config_Error(
            f"--keep {keep} cannot be used ({error.strerror}): give it a folder that you may write to"
        ) from error
    if used:
        raise Config_Error(
            f"--keep {keep} is not empty: every demo has a stream of its own, so give it a folder that is empty or not "
            "there yet"
        )


def _reader(stream: str, url: str) -> Kinesis_Reader:
    """A client of the embedded Kinesis, whatever the environment says of the real one, of profiles, or of a proxy."""
    bare = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    client = boto3.session.Session(
        aws_access_key_id="demo",
        aws_secret_access_key="demo",
        region_name="us-east-1",
        botocore_session=botocore.session.Session(session_vars=bare),
    ).client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}, proxies={}))
    return Kinesis_Reader(stream, client)


def _watch(
    console: Console,
    story: Story,
    health: Health,
    runner: Local_Runner,
    until_final: Source_Process | None,
    hours: float,
) -> bool:
    """Run the consumer under the view: until all past windows are final and this source's stream is read to its end, or
    until Ctrl-C. True for the former."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            runner.run()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)

    worker = threading.Thread(target=work, name="engine")
    interrupted: list[int] = []  # an event has a lock, which no handler may take
    before = {number: signal.signal(number, lambda number, _: interrupted.append(number)) for number in STOPPING}
    first_ms = story.until_ms - int(hours * 3_600_000)
    expected = [
        cache_key("30min", start)
        for start in range(
            first_ms // WINDOW_MS * WINDOW_MS, story.until_ms - CLOSES_WITHIN_MS - WINDOW_MS + 1, WINDOW_MS
        )
    ]
    paused = 0
    worker.start()
    try:
        with _shown(console, View(story, health, lambda: runner.engine.records)):
            while worker.is_alive() and not interrupted:
                time.sleep(0.2)
                if not story.all_final_s and all(key in story.final for key in expected):
                    story.all_final_s = story.since_start_s()
                if until_final is not None and story.all_final_s and not paused:
                    until_final.tell("pause")
                    paused = int(until_final.hear("paused")["records"])
                if paused and runner.engine.records >= paused:
                    break
    finally:
        runner.stop()
        worker.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    if failures:
        raise failures[0]
    return not interrupted


@contextlib.contextmanager
def _shown(console: Console, view: View) -> Iterator[None]:
    """The live view on a terminal, plain lines elsewhere."""
    stop = threading.Event()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, get_renderable=lambda: view.panel(console.width)):
            yield
        return

    def print_lines() -> None:
        stopped = False
        while not stopped:  # once more at the end: what became final in the last second is news too
            stopped = stop.wait(1.0)
            for line in view.plain_lines():
                print(line, flush=True)

    printer = threading.Thread(target=print_lines, daemon=True)
    printer.start()
    try:
        yield
    finally:
        stop.set()
        printer.join()


def _last_words(console: Console, story: Story, source: Source_Process, cache: Send__Cache__Client) -> bool:
    """Where the time went, and whether the entries are what a naive recount finds. True if they differ."""
    say(
        console,
        f"time: {story.filled_s:.1f} s to start and to fill the stream with {story.stream_records:,} records, "
        f"first final window after {story.first_final_s:.1f} s, all {len(story.final)} final after "
        f"{story.all_final_s:.1f} s, stopped after {story.since_start_s():.1f} s",
    )
    source.tell("recount")
    compared, differences = compare(story, source.hear("recount")["windows"], cache)
    for line in differences:
        say(console, line)
    verdict = f"{len(differences)} differences" if differences else "equal"
    say(console, f"check: {compared} final entries compared with a naive recount of what was generated: {verdict}")
    return bool(differences) or not compared
