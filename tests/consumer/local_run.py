"""Real runners in this process, their state in a folder: the local one, whose stream is in memory behind the server
that boto3 talks to, and the one that follows an archive."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from consumer.archive.runner import Archive_Runner
from consumer.archive.stream import Archive_Stream
from consumer.local.runner import Local_Runner
from consumer.worker.application import Application
from sa_stream.commits.keys import checkpoint_key
from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.config import PREFIX, SA__Config
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.health.notebook import Health
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import moment

STREAM = "logs"


class Local_Run:
    """One run after another on the same state and cache, each from `start` to `stop`. `reader` makes what reads;
    `settings` come on top of those here."""

    def __init__(self, folder: Path, reader: Callable[[], Kinesis_Reader] | None = None, **settings: str) -> None:
        of_all = {
            "FIELDS": "canonical",
            "STATE_URL": f"file://{folder}/state",
            "WORK_DIR": str(folder),
            "COMMIT_INTERVAL_S": "1",
        }
        settings = of_all | ({} if "SOURCE" in settings else {"STREAM": STREAM, "RUNNER": "local"}) | settings
        self.config = SA__Config.from_env({f"{PREFIX}{name}": value for name, value in settings.items()})
        self.state = State_Store(self.config.state_url)
        self.cache = Memory_Cache()
        self.error: BaseException | None = None
        self._reader = reader or (lambda: Kinesis_Reader(STREAM, read_interval_ms=20, idle_interval_ms=100))
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self.health = Health(moment(), 1_000)
        archive = self.config.source == "s3"
        application = Application(
            self.config,
            self.health,
            source=Archive_Stream(self.config) if archive else self._reader(),
            state=self.state,
            cache=self.cache,  # type: ignore[arg-type]
        )
        self.application = application
        self.runner = Archive_Runner(application) if archive else Local_Runner(application, publish_interval_s=0.3)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.runner.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def until(self, what: str, holds: Callable[[], Any], within_s: float = 60.0) -> None:
        """Wait for a condition. Raises AssertionError that names it, and what ended the run."""
        deadline_s = time.monotonic() + within_s
        while not holds():
            assert self.error is None, f"the run has ended: {self.error}"
            assert time.monotonic() < deadline_s, f"waited {within_s} s for {what}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._thread is not None:
            self.runner.stop()
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._thread = None
        assert self.error is None, self.error

    @property
    def progress(self) -> dict[str, Progress]:
        return drive(Progress_Reader(self.state).steps()) or {}

    def checkpoint(self, partition: str) -> str | None:
        data = self.state.get(checkpoint_key(partition))
        return None if data is None else data.decode()

    def counted(self) -> int:
        return sum(each.counters.get("aggregated", 0) for each in self.progress.values())

    def are_final(self, keys: Iterable[str]) -> bool:
        entries = self.entries
        return all(entries.get(key, {}).get("status") == "final" for key in keys)

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        found = self.cache.entries(NS_SA_AGGREGATE)
        return {key: entry for key, entry in found.items() if not key.startswith(("meta/", "status/"))}
