"""The seed's second step: one half hour of the archive, consolidated."""

from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.rollups.periods import HALF_HOUR, from_iso
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.periods_on_demand import publish

# fmt: off


class Service__SA__Consolidation(Type_Safe):
    """The result goes to `sa-cloudfront-consolidated` under `2026-02-16/14-30/summary`, and with it the half hour's
    entry to `sa-cloudfront-aggregate`, which says the same and more."""

    send_cache_client : Any                                  # any object with a `cache_client`
    logs_collector    : CloudFront__Logs__Collector
    state_url         : str                                  # empty: there is only the cache
    state             : Any                                  # ... or the store itself, where it is open already

    # fmt: on

    def execute(self, time_key: str = "", now_ms: int | None = None) -> Schema__SA__Consolidation__Result:
        """time_key: such as `2026-02-16-1430`; empty: the newest half hour whose files had time to land.

        Raises Config_Error, Source_Error (the bucket is missing or forbidden), Store_Unavailable (S3 or the cache
        service does not answer; the same call may succeed later).
        """
        from sa_stream.rollups.entry import consolidation_result  # loads numpy

        entry = publish(self, HALF_HOUR, time_key, now_ms)
        return Schema__SA__Consolidation__Result(**consolidation_result(entry, from_iso(entry["window_start"])))
