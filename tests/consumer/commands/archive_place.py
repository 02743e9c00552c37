"""An archive, a state store and a cache in a folder, for commands that work over a time that is long gone."""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from consumer.worker.stores import open_cache
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.config import PREFIX, SA__Config
from sa_stream.rollups.periods import HALF_HOUR, HOURLY, cache_key
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS
from tests.archive.test_layout import key_of, ms
from tests.firehose import delivered, plain
from tests.log_lines import line_of, ordinary_lines
from tests.oracle import recount

PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
BEGIN_MS = ms(2026, 2, 16)


class Archive_Place:
    """`lines` records of `hours` from BEGIN_MS on, in files as Firehose makes them."""

    def __init__(self, folder: Path, hours: int = 4, lines: int = 2_000) -> None:
        self.root = folder / "archive"
        self.hours = hours
        self.objects: dict[str, bytes] = {}
        content = ordinary_lines(1, lines, BEGIN_MS / 1000, hours, duplicate_rate=0.02)
        self.put(delivered(content, PLACES, twice=0.05))
        env = {
            "SOURCE": "s3",
            "LOGS_BUCKET": f"file://{self.root}",
            "LOGS_PREFIX": "logs",
            "STATE_URL": f"file://{folder}/state",
            "CACHE_PATH": f"{folder}/cache",
        }
        self.config = SA__Config.from_env({PREFIX + name: value for name, value in env.items()})
        self.cache = open_cache(self.config)

    def put(self, objects: dict[str, bytes]) -> None:
        for key, content in objects.items():
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.objects |= objects

    @property
    def starts(self) -> list[int]:
        return list(range(BEGIN_MS, BEGIN_MS + self.hours * HOUR_MS, WINDOW_MS))

    @property
    def day(self) -> list[int]:
        return list(range(BEGIN_MS, BEGIN_MS + DAY_MS, WINDOW_MS))

    def entry(self, period: str, start_ms: int) -> dict[str, Any] | None:
        return self.cache.retrieve_entry(NS_SA_AGGREGATE, cache_key(period, start_ms))

    def store(self, entry: dict[str, Any]) -> None:
        self.cache.store_entry(NS_SA_AGGREGATE, entry["cache_key"], entry)

    def entries(self) -> list[dict[str, Any]]:
        """Half hours and hours that have requests."""
        keys = [(HALF_HOUR, each) for each in self.starts] + [(HOURLY, each) for each in self.starts[::2]]
        found = [self.entry(*key) for key in keys]
        return [entry for entry in found if entry is not None and entry["total_requests"]]

    def expected(self) -> dict[str, dict[str, Any]]:
        """The same as the recount of all files says."""
        counted = recount([plain(content) for content in self.objects.values()]).entries
        return {key: entry for key, entry in counted.items() if key.startswith((HALF_HOUR, HOURLY))}


def line(at_ms: int, request_id: str) -> bytes:
    return line_of({"timestamp": f"{at_ms / 1000:.3f}", "x-edge-request-id": request_id, "sc-status": "200"}) + b"\n"


def key(at_ms: int, stream: str = "more") -> str:
    """Of a file whose oldest record came then."""
    return key_of(PLACES, at_ms).replace("logs-3-", f"{stream}-3-")
