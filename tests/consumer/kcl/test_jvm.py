"""The daemon's process and its supervisor: with programs in Java's place that end and speak as a test needs it, and
once with the real KCL, which finds nothing at its endpoints."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.kcl.java import class_path, find_java
from consumer.kcl.jvm import Multi_Lang_Daemon, Supervisor
from consumer.kcl.properties import kcl_properties, write_properties
from sa_stream.config import SA__Config
from tests.real.processes import clean_env, free_port, until

PROJECT = Path(__file__).parents[3]
INITIALIZED = "printf '@kcl\\tINFO\\tScheduler\\t\\tInitialization complete. Starting worker loop. |\\n'"
LIVE = f"{INITIALIZED}; exec sleep 600"


class Folder:
    """Where a test's stand-in for Java lies; ends what it started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.daemons: list[Multi_Lang_Daemon] = []

    def java(self, script: str) -> Path:
        java = self.path / "java"
        java.write_text(f"#!/bin/sh\n{script}\n")
        java.chmod(0o755)
        return java

    def daemon(self, script: str, **env: str) -> Multi_Lang_Daemon:
        whole = clean_env(**env)
        self.daemons.append(Multi_Lang_Daemon(self.java(script), "jars/*", Path("p"), "socket", whole, "info"))
        return self.daemons[-1]

    def supervisor(self, script: str) -> Supervisor:
        return Supervisor(lambda: self.daemon(script))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    for daemon in folder.daemons:
        daemon.kill()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[logging.LogRecord]]:
    """The lines of an event."""
    caplog.set_level(logging.DEBUG, "sa-stream.kcl")
    return lambda event: [record for record in caplog.records if getattr(record, "event", "") == event]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ended(daemon: Multi_Lang_Daemon) -> int:
    until("the daemon to end", lambda: daemon.exit_code() is not None, 20)
    code = daemon.exit_code()
    assert code is not None
    return code


def test_its_log_becomes_ours_line_by_line_with_level_and_shard(folder: Folder, logged: Callable) -> None:
    script = (
        "printf '@kcl\\tWARN\\tShardConsumer\\tshardId-1\\tslow\\tindeed |\\n'; "
        "printf '@kcl\\tERROR\\tScheduler\\t\\tno table | java.lang.X | at y |\\n'; "
        "printf '@kcl\\tINFO\\tScheduler\\t\\tSleeping |\\n'; "
        "echo '# A fatal error has been detected' >&2; echo; exit 3"
    )
    assert ended(folder.daemon(script)) == 3
    (warning,) = logged("kcl.ShardConsumer")
    assert (warning.levelname, warning.getMessage()) == ("WARNING", "slow\tindeed")
    assert warning.fields == {"shard": "shardId-1"}
    error, info = logged("kcl.Scheduler")
    assert (error.levelname, error.getMessage()) == ("ERROR", "no table | java.lang.X | at y")
    assert error.fields == {}
    assert info.levelname == "DEBUG"
    (other,) = logged("kcl.output")
    assert (other.levelname, other.getMessage()) == ("WARNING", "# A fatal error has been detected")


def test_the_jvm_is_small_unless_java_tool_options_say_otherwise(folder: Folder, logged: Callable) -> None:
    assert ended(folder.daemon('echo "$@"')) == 0
    (line,) = logged("kcl.output")
    for option in ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp jars/*", "--properties-file p"):
        assert option in line.getMessage()
    assert ended(folder.daemon('echo "$@"', JAVA_TOOL_OPTIONS="-XX:MaxRAMPercentage=50 -XX:+UseG1GC")) == 0
    _, line = logged("kcl.output")
    assert "-Xmx" not in line.getMessage()
    assert "GC" not in line.getMessage()
    assert "-XX:TieredStopAtLevel=1" in line.getMessage()


def test_our_settings_and_secrets_stay_with_us(folder: Folder, logged: Callable) -> None:
    env = {"SGRAPH_SEND__SA_API_KEY": "secret", "JAVA_HOME": "kept"}
    assert ended(folder.daemon("env | grep -E 'SA_|JAVA_HOME' | sort", **env)) == 0
    said = [line.getMessage() for line in logged("kcl.output")]
    assert [line.partition("=")[0] for line in said] == [
        "JAVA_HOME",
        "SA_STREAM_ENGINE_SOCKET",
        "SA_STREAM_PYTHON",
        "SA_STREAM_SHARD_CHILD",
    ]


def test_terminate_reaches_the_daemon_alone_and_its_children_end_with_it(folder: Folder) -> None:
    script = (
        "(trap 'touch told' TERM; while :; do sleep 0.05; done) & echo $! >child; "
        "trap 'exit 143' TERM; while :; do sleep 0.05; done"
    )
    daemon = folder.daemon(f"cd '{folder.path}'; {script}")
    until("the child to be there", lambda: (folder.path / "child").exists() and (folder.path / "child").read_text(), 20)
    child = int((folder.path / "child").read_text())
    assert os.getpgid(daemon.pid) == daemon.pid == os.getpgid(child)
    daemon.terminate()
    assert ended(daemon) == 143
    until("the child to end", lambda: not is_running(child), 20)
    assert not (folder.path / "told").exists()


STARTER = """
import os, sys
from pathlib import Path
from consumer.kcl.jvm import Multi_Lang_Daemon
print(Multi_Lang_Daemon(Path(sys.argv[1]), "", Path("p"), "s", os.environ, "info").pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes together")
def test_it_does_not_outlive_who_started_it(folder: Folder) -> None:
    command = [sys.executable, "-c", STARTER, str(folder.java("exec sleep 600"))]
    starter = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    try:
        path = Path(f"/proc/{pid}/cmdline")
        until("the daemon to run", lambda: path.read_bytes().startswith(b"sleep"), 20)
        starter.kill()
        until("the daemon to end", lambda: not is_running(pid), 20)
    finally:
        starter.kill()
        starter.communicate()
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- the supervisor


def ticked(supervisor: Supervisor, state: str, now_ms: int) -> None:
    """Tick at one moment until the state is this."""

    def look() -> bool:
        supervisor.tick(now_ms)
        return supervisor.state == state

    until(f"the state {state!r}", look, 20, every_s=0.01, show=lambda: supervisor.state)


def test_any_exit_is_a_failure_and_the_pauses_double(folder: Folder) -> None:
    supervisor = folder.supervisor("exit 0")
    now_ms = 0
    for pause_s in (1, 2, 4, 8, 16, 32, 60, 60):
        reason = "restarting: the KCL's process ended with exit code 0, next try in {} s"
        ticked(supervisor, reason.format(pause_s), now_ms)
        count = len(folder.daemons)
        supervisor.tick(now_ms + 500)
        assert supervisor.state == reason.format(pause_s)
        supervisor.tick(now_ms + pause_s * 1000 - 1)
        assert supervisor.state == reason.format(1)
        assert len(folder.daemons) == count
        assert not supervisor.alive
        now_ms += pause_s * 1000
    supervisor.tick(now_ms)
    assert len(folder.daemons) == 9


def test_who_lived_for_a_minute_is_started_again_after_a_second(folder: Folder) -> None:
    supervisor = folder.supervisor(LIVE)
    ticked(supervisor, "running", 0)
    os.kill(folder.daemons[-1].pid, signal.SIGKILL)
    ticked(supervisor, "restarting: the KCL's process was killed by SIGKILL, next try in 1 s", 0)
    ticked(supervisor, "running", 1_000)
    os.kill(folder.daemons[-1].pid, signal.SIGKILL)
    ticked(supervisor, "restarting: the KCL's process was killed by SIGKILL, next try in 2 s", 1_000)
    ticked(supervisor, "running", 3_000)
    os.kill(folder.daemons[-1].pid, signal.SIGKILL)
    ticked(supervisor, "restarting: the KCL's process was killed by SIGKILL, next try in 1 s", 63_000)


def test_it_says_starting_until_the_kcl_can_take_leases(folder: Folder) -> None:
    supervisor = folder.supervisor("exec sleep 600")
    assert supervisor.state == "starting"
    for now_ms in (0, 5_000, 30_000):
        supervisor.tick(now_ms)
        assert supervisor.state == "starting"
        assert supervisor.alive


def test_a_restart_kills_and_starts_again_and_says_why(folder: Folder, logged: Callable) -> None:
    supervisor = folder.supervisor(LIVE)
    ticked(supervisor, "running", 0)
    first = folder.daemons[-1]
    supervisor.restart("shard 7 is silent")
    assert supervisor.state == "restarting: shard 7 is silent"
    assert first.exit_code() == -signal.SIGKILL
    supervisor.tick(10)
    assert supervisor.state == "restarting: shard 7 is silent, next try in 1 s"
    supervisor.restart("asked again in the pause")
    ticked(supervisor, "running", 1_010)
    assert len(folder.daemons) == 2
    assert [record.getMessage() for record in logged("kcl_restarts")] == [
        "the KCL's process is started anew: shard 7 is silent"
    ]


def test_how_it_ended_by_itself_is_told_and_not_what_followed_from_that(folder: Folder, logged: Callable) -> None:
    """Its connections end with it, which is a reason to restart it only while it lives."""
    supervisor = folder.supervisor(LIVE)
    ticked(supervisor, "running", 0)
    os.kill(folder.daemons[-1].pid, signal.SIGKILL)
    ended(folder.daemons[-1])
    for _ in range(2):
        supervisor.restart("the connection of a shard has ended")
        supervisor.tick(0)
    assert supervisor.state == "restarting: the KCL's process was killed by SIGKILL, next try in 1 s"
    assert [record.getMessage() for record in logged("kcl_ended")] == [
        "the KCL's process was killed by SIGKILL; the next try is in 1 s"
    ]
    assert not logged("kcl_restarts")


def test_a_java_that_has_gone_is_tried_again(folder: Folder) -> None:
    def start() -> Multi_Lang_Daemon:
        raise FileNotFoundError("no java here")

    failures = []
    supervisor = Supervisor(start, failed=lambda: failures.append("one"))
    supervisor.tick(0)
    assert supervisor.state == "restarting: it could not be started: no java here, next try in 1 s"
    assert failures == ["one"]


def test_stop_lets_it_end_by_itself_and_starts_no_other(folder: Folder) -> None:
    supervisor = folder.supervisor(f"trap 'exit 143' TERM; {INITIALIZED}; while :; do sleep 0.05; done")
    ticked(supervisor, "running", 0)
    supervisor.stop()
    assert supervisor.state == "stopping"
    supervisor.restart("too late")
    ticked(supervisor, "stopped", 10)
    supervisor.tick(100_000)
    assert (supervisor.state, supervisor.alive, len(folder.daemons)) == ("stopped", False, 1)
    assert folder.daemons[0].exit_code() == 143


def test_one_that_hangs_at_the_stop_can_be_killed(folder: Folder) -> None:
    supervisor = folder.supervisor(f"trap '' TERM; {INITIALIZED}; while :; do sleep 0.05; done")
    ticked(supervisor, "running", 0)
    supervisor.stop()
    supervisor.tick(10)
    assert supervisor.alive
    supervisor.kill()
    assert (supervisor.state, supervisor.alive) == ("stopped", False)
    assert folder.daemons[0].exit_code() == -signal.SIGKILL


def test_a_stop_before_it_has_leases_takes_no_time(folder: Folder) -> None:
    supervisor = folder.supervisor("trap '' TERM; while :; do sleep 0.05; done")
    supervisor.tick(0)
    supervisor.stop()
    supervisor.tick(10)
    assert (supervisor.state, supervisor.alive) == ("stopped", False)
    never = folder.supervisor("exit 0")
    never.stop()
    never.tick(0)
    assert (never.state, len(folder.daemons)) == ("stopped", 1)


# ---------------------------------------------------------------- the real one


def test_the_kcl_reads_what_we_wrote_and_tells_its_trouble_in_one_line(tmp_path: Path, logged: Callable) -> None:
    odd = "a\\b = c:#! é\u20ac"
    env = clean_env(
        SGRAPH_SEND__SA_STREAM="logs",
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}",  # where nobody listens
        AWS_MAX_ATTEMPTS="1",
        SGRAPH_SEND__SA_KCL__workerMetricsTableName=odd,
    )
    settings = kcl_properties(SA__Config.from_env(env), env)
    path = write_properties(str(tmp_path / "a folder"), settings, "worker-1", 1_700_000_000_000)
    daemon = Multi_Lang_Daemon(find_java(env), class_path(), path, str(tmp_path / "s"), env, "debug")
    try:

        def said(event: str, part: str) -> str:
            found = (record.getMessage() for record in logged(event))
            return next((message for message in found if part in message), "")

        trouble = until(
            "the KCL to find no table",
            lambda: said("kcl.Scheduler", "Connection refused") or daemon.exit_code(),
            60,
            show=lambda: [record.getMessage()[:200] for record in logged("kcl.output")],
        )
        assert isinstance(trouble, str), f"it ended with exit code {trouble}"
        assert " | at software.amazon.kinesis" in trouble
        assert "\n" not in trouble
        for name, value in settings.items():
            assert said("kcl.KinesisClientLibConfigurator", f"(key={name}, value={value})"), name
        assert said("kcl.KinesisClientLibConfigurator", f"(key=workerMetricsTableName, value={odd})")
        assert said("kcl.Scheduler", "position=AT_TIMESTAMP, timestamp=Tue Nov 14 22:13:20 UTC 2023")
        assert logged("kcl.output") == []
    finally:
        daemon.kill()
    assert daemon.exit_code() == -signal.SIGKILL
