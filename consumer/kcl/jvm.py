"""The MultiLangDaemon as a process of ours: started, its log read into ours, ended; and the supervisor that starts it
anew with back-off. Java, class path and properties come in; the state that health shows goes out."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from consumer.process import tied
from sa_stream.config import PREFIX
from sa_stream.log import (
    DEBUG,
    ERROR,
    KCL_ENDED,
    KCL_JAVA,
    KCL_OUTPUT,
    KCL_RESTARTS,
    KCL_STARTED,
    KCL_STOPPED,
    WARNING,
    Log,
    of_the_kcl,
)
from sa_stream.timing import Backoff

log = Log("kcl")

# Left out where JAVA_TOOL_OPTIONS has a word of the same kind: it counts for less than the command line.
_DEFAULT_OPTIONS = (
    ("-Xmx256m", ("-Xmx", "MaxRAM", "MaxHeapSize")),
    ("-XX:+UseSerialGC", ("GC",)),
    ("-XX:TieredStopAtLevel=1", ("Tiered",)),
)
_OPTIONS = (
    "-XX:+ExitOnOutOfMemoryError",  # half a JVM is worse than a restart
    "-XX:+ErrorFileToStderr",  # the report of a crash goes where it is read
    "-XX:-UsePerfData",  # leaves a file behind
)
_MAIN_CLASS = "software.amazon.kinesis.multilang.MultiLangDaemon"
_LOGBACK = Path(__file__).with_name("logback.xml")
_MARK = "@kcl"  # what logback.xml begins a line with
_INITIALIZED = "Initialization complete"  # its Scheduler, once leases can be taken
_LINE_BYTES_MAX = 32 << 10  # of a line of output; more is another line
_KILL_S = 5.0  # SIGKILL takes effect at once, unless the kernel holds on to the process
_LAST_WORDS_S = 2.0

BACKOFF_MS_MIN, BACKOFF_MS_MAX = 1_000, 60_000
HEALTHY_MS = 60_000  # who lived for so long starts with the shortest back-off again


class Multi_Lang_Daemon:
    """Runs from construction on, in a process group of its own with its children. To be made in the main thread: the
    JVM is killed when the thread ends that started it. Raises OSError if it cannot be started.

    socket_path  where its children hand over their pipes
    env          its environment; our own settings, secrets among them, are kept from it
    log_level    of our own: at `debug`, the KCL tells more as well
    """

    def __init__(
        self, java: Path, class_path: str, properties: Path, socket_path: str, env: Mapping[str, str], log_level: str
    ) -> None:
        self.initialized = False
        level = "INFO" if log_level == "debug" else "WARN"
        given = env.get("JAVA_TOOL_OPTIONS", "")
        defaults = [option for option, kinds in _DEFAULT_OPTIONS if not any(kind in given for kind in kinds)]
        scratch = [f"-Djava.io.tmpdir={env['TMPDIR']}"] if env.get("TMPDIR") else []
        defined = [f"-Dlogback.configurationFile={_LOGBACK}", f"-Dsa.kcl.level={level}", *scratch]
        command = [str(java), *defaults, *_OPTIONS, *defined, "-cp", class_path, _MAIN_CLASS]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *command]
        self._process = subprocess.Popen(
            [*command, "--properties-file", str(properties)],
            env={
                **{name: value for name, value in env.items() if not name.startswith(PREFIX)},
                "SA_STREAM_PYTHON": sys.executable,
                "SA_STREAM_SHARD_CHILD": str(Path(__file__).with_name("shard_child.py")),
                "SA_STREAM_ENGINE_SOCKET": socket_path,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="kcl-log", daemon=True)
        self._reader.start()

    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that killed it. Its children end with it."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._kill_group()
            self._reader.join(_LAST_WORDS_S)  # its last words come before what is said about its end
        return self._process.returncode

    def terminate(self) -> None:
        """SIGTERM to the JVM alone: its children are needed for the last commits."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the JVM and its children."""
        if self._process.returncode is None:
            self._kill_group()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_S)
                self._reader.join(_LAST_WORDS_S)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it (macOS says the second)
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(_LINE_BYTES_MAX):
                self._say(line.decode(errors="replace").rstrip("\r\n "))

    def _say(self, line: str) -> None:
        mark, *rest = line.split("\t", 4)
        if mark != _MARK or len(rest) != 4:
            if line.startswith("Picked up "):  # the JVM, of JAVA_TOOL_OPTIONS
                log.tell(KCL_JAVA, line)
            elif line:
                log.tell(KCL_OUTPUT, line)
            return
        level, logger, shard, message = rest
        if logger == "Scheduler" and message.startswith(_INITIALIZED):
            self.initialized = True
        event = of_the_kcl(logger, {"ERROR": ERROR, "WARN": WARNING}.get(level, DEBUG))
        fields: dict[str, Any] = {"shard": shard} if shard else {}
        log.tell(event, message.removesuffix(" |"), **fields)


class Supervisor:
    """Keeps a JVM running. Any end that was not asked for is a failure, exit code 0 too.

    start      makes a running JVM; called from `tick`, so in the thread that calls that
    may_start  asked at each tick before that, until it says yes
    failed     called for each failure
    """

    def __init__(
        self,
        start: Callable[[], Multi_Lang_Daemon],
        may_start: Callable[[], bool] = lambda: True,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._start = start
        self._may_start = may_start
        self._on_failure = failed
        self._jvm: Multi_Lang_Daemon | None = None
        self._started_ms = 0
        self._due_ms: int | None = None  # of the next try; None: at once
        self._backoff = Backoff(BACKOFF_MS_MIN, BACKOFF_MS_MAX)
        self._reason = ""
        self._stopping = False
        self.state = "starting"

    @property
    def alive(self) -> bool:
        """There is a JVM, and it has not ended."""
        return self._jvm is not None and self._jvm.exit_code() is None

    def tick(self, now_ms: int) -> None:
        """To be called every second or more often. now_ms: of any clock that does not go back."""
        if self._jvm is not None:
            self._look_after(self._jvm, now_ms)
        if self._stopping:
            self.state = "stopping" if self._jvm is not None else "stopped"
        elif self._jvm is None and (self._due_ms is None or now_ms >= self._due_ms):
            self._begin(now_ms)
        elif self._jvm is None:
            self.state = f"restarting: {self._reason}, next try in {-(-((self._due_ms or 0) - now_ms) // 1000)} s"

    def restart(self, reason: str) -> None:
        """Kill the JVM; it is started anew like one that ended by itself. One that has is left to `tick`, which tells
        how it ended."""
        if self._jvm is not None and self.alive and not self._stopping:
            log.tell(KCL_RESTARTS, f"the KCL's process is started anew: {reason}", reason=reason)
            self._reason = reason
            self.state = f"restarting: {reason}"
            self._jvm.kill()

    def stop(self) -> None:
        """SIGTERM, and no restart: the JVM has its shards commit and releases them."""
        self._stopping = True
        if self._jvm is not None and self._jvm.initialized:
            self._jvm.terminate()
        elif self._jvm is not None:  # it has no shards yet, and would only wait for its grace to be over
            self._jvm.kill()
        self.state = "stopping" if self._jvm is not None else "stopped"

    def kill(self) -> None:
        """End it at once, with its children, and start no other."""
        self._stopping = True
        if self._jvm is not None:
            self._jvm.kill()
        self.state = "stopped"

    def _begin(self, now_ms: int) -> None:
        if not self._may_start():
            self.state = "starting"
            return
        self._started_ms = now_ms
        try:
            self._jvm = self._start()
        except OSError as error:
            self._reason = f"it could not be started: {error}"
            self._failed(now_ms)
            return
        self._reason = ""
        log.tell(KCL_STARTED, "the KCL's process is starting", pid=self._jvm.pid)
        self.state = "starting"

    def _look_after(self, jvm: Multi_Lang_Daemon, now_ms: int) -> None:
        code = jvm.exit_code()
        if code is None:
            if jvm.initialized and not self._reason:
                self.state = "running"
            return
        self._jvm = None
        if self._stopping:
            log.tell(KCL_STOPPED, f"the KCL's process {ending(code)}", exit_code=code)
            return
        self._reason = self._reason or f"the KCL's process {ending(code)}"
        self._failed(now_ms, code)

    def _failed(self, now_ms: int, code: int | None = None) -> None:
        if now_ms - self._started_ms >= HEALTHY_MS:
            self._backoff.worked()
        wait_ms = self._backoff.failed()
        self._on_failure()
        self._due_ms = now_ms + wait_ms
        wait_s = wait_ms // 1000
        self.state = f"restarting: {self._reason}, next try in {wait_s} s"
        log.tell(KCL_ENDED, f"{self._reason}; the next try is in {wait_s} s", exit_code=code)


def ending(code: int) -> str:
    """How a process ended, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"
