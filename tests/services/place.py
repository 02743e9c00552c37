"""An archive with a few hours of traffic, a cache, and the steps on both."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.config import SA__Config
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.log_archive import Log_Archive
from sa_stream.services.SA__Pipeline__Setup import SA__Pipeline__Setup
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.timing import DAY_MS, HOUR_MS
from tests.archive.test_layout import ms
from tests.firehose import delivered, plain
from tests.log_lines import ordinary_lines
from tests.oracle import recount

PLACES = Places("cloudfront-realtime/", LAYOUTS["hours"], ZoneInfo("UTC"))
DAY = ms(2026, 2, 16)
BEGIN_MS = DAY + 13 * HOUR_MS
HOURS = 2
NOW_MS = DAY + DAY_MS + HOUR_MS  # the day is over, and its files have landed
DAY_KEY, HOUR_KEY, HALF_KEY = "2026-02-16", "2026-02-16-14", "2026-02-16-1430"


def traffic(seed: int = 1, count: int = 1_200) -> bytes:
    return ordinary_lines(seed, count, BEGIN_MS / 1000, HOURS, duplicate_rate=0.03, dirt_rate=0.01)


class Held(Memory_Cache, Send__Cache__Client):
    """A cache in memory, as the client that the steps ask for: the service takes 20 ms of CPU to store an entry."""

    def __init__(self) -> None:
        Send__Cache__Client.__init__(self)
        Memory_Cache.__init__(self)


class Place:
    """service  whether the cache is the service itself, in this process."""

    def __init__(self, content: bytes | None = None, state_url: str = "", service: bool = False) -> None:
        self.store = Memory_Archive()
        self.objects: dict[str, bytes] = {}
        self.put(delivered(traffic() if content is None else content, PLACES, twice=0.05))
        self.cache = cache_client__in_process("memory") if service else Held()
        self.state_url = state_url

    def put(self, objects: Mapping[str, bytes]) -> None:
        for key, content in objects.items():
            self.objects[key] = content
            self.store.put(key, content)

    def pipeline(self) -> SA__Pipeline__Setup:
        """As after a cold start: nothing is remembered."""
        config = SA__Config(source="s3", logs_bucket="memory", logs_prefix="cloudfront-realtime", fields="canonical")
        collector = CloudFront__Logs__Collector(logs_bucket="memory").use(Log_Archive(self.store, config))
        return SA__Pipeline__Setup(send_cache_client=self.cache, logs_collector=collector, state_url=self.state_url)

    def ingested(self, key: str) -> dict[str, Any]:
        """What ingestion has kept of a file; it is not read again."""
        return dict(self.pipeline().ingestion.execute(key, NOW_MS).json())

    def aggregate(self, period: str, time_key: str, now_ms: int = NOW_MS) -> dict[str, Any]:
        return dict(self.pipeline().aggregation.execute(period, time_key, now_ms).json())

    def shown(self, key: str) -> dict[str, Any] | None:
        return self.cache.retrieve_entry(NS_SA_AGGREGATE, key)

    def consolidated(self, key: str = "2026-02-16/14-30/summary") -> dict[str, Any] | None:
        return self.cache.retrieve_entry(NS_SA_CONSOLIDATED, key)

    def entries(self) -> list[dict[str, Any]]:
        """All that the cache shows of the keys that there may be."""
        return [entry for key in self.expected() if (entry := self.shown(key)) is not None]

    def expected(self) -> dict[str, dict[str, Any]]:
        """What a recount of all files says, up to the day."""
        entries = recount(list(map(plain, self.objects.values())), now_ms=NOW_MS).entries
        if self.state_url:  # there every half hour has an entry, also an empty one
            entries[f"daily/{DAY_KEY}"]["source_count"] = 24
        return {key: entry for key, entry in entries.items() if not key.startswith("monthly/")}
