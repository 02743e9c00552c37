"""The seed's third step: entries of half hours, and of the hours, days and months that are made of them."""

from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.rollups.periods import HALF_HOUR
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.periods_on_demand import publish

# fmt: off


class Service__SA__Temporal__Aggregation(Type_Safe):
    """Entries go to `sa-cloudfront-aggregate`. An entry is final when all that it is made of is: a half hour when its
    files had time to land and all of them were read."""

    send_cache_client : Any                                  # any object with a `cache_client`
    logs_collector    : CloudFront__Logs__Collector
    state_url         : str                                  # empty: there is only the cache
    state             : Any                                  # ... or the store itself, where it is open already

    # fmt: on

    def execute(
        self, period: str = HALF_HOUR, time_key: str = "", now_ms: int | None = None
    ) -> Schema__SA__Aggregate__Window:
        """Publish a period, and before it what it is made of, where the cache says something else.

        period    `30min`, `hourly`, `daily`, `monthly`: all of its files are read, each once
        time_key  `2026-02-16-1430`, `2026-02-16-14`, `2026-02-16`, `2026-02`; empty: the period of the newest half hour
                  whose files had time to land

        Raises as Service__SA__Consolidation does.
        """
        entry = publish(self, period, time_key, now_ms)
        return Schema__SA__Aggregate__Window(**entry)
