"""Wires the steps for a host, as the seed's factory does: a cache client and a bucket come in, a pipeline goes out."""

import os
from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.config import SA__Config
from sa_stream.errors import SA_Stream_Error
from sa_stream.log import PIPELINE, PIPELINE_OFF, Log
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.host_cache import cache_of
from sa_stream.services.Service__SA__Archive import Service__SA__Archive
from sa_stream.services.Service__SA__Consolidation import Service__SA__Consolidation
from sa_stream.services.Service__SA__Log__Ingestion import Service__SA__Log__Ingestion
from sa_stream.services.Service__SA__Temporal__Aggregation import Service__SA__Temporal__Aggregation
from sa_stream.timing import wall_clock_ms

BUCKET_SETTING = "SGRAPH_SEND__SA_LOGS_BUCKET"
STATE_SETTING = "SGRAPH_SEND__SA_STATE_URL"
ENABLED_SETTING = "SGRAPH_SEND__SA_ENABLED"

log = Log("pipeline")

# fmt: off


class SA__Pipeline__Setup(Type_Safe):
    """The four steps on one cache and one archive. Each can be run alone, again, and in any order."""

    send_cache_client : Any                                  # any object with a `cache_client`
    logs_collector    : CloudFront__Logs__Collector
    state_url         : str                                  # of the state store; empty: there is only the cache
    state             : Any                                  # ... or the store itself, where it is open already

    # fmt: on

    @property
    def ingestion(self) -> Service__SA__Log__Ingestion:
        return Service__SA__Log__Ingestion(**self._wiring())

    @property
    def consolidation(self) -> Service__SA__Consolidation:
        return Service__SA__Consolidation(**self._wiring(), **self._kept())

    @property
    def aggregation(self) -> Service__SA__Temporal__Aggregation:
        return Service__SA__Temporal__Aggregation(**self._wiring(), **self._kept())

    @property
    def archive(self) -> Service__SA__Archive:
        return Service__SA__Archive(**self._wiring())

    def _wiring(self) -> dict[str, Any]:
        return {"send_cache_client": self.send_cache_client, "logs_collector": self.logs_collector}

    def _kept(self) -> dict[str, Any]:
        return {"state_url": self.state_url, "state": self.state}


def create_sa_pipeline(
    send_cache_client: Any, logs_bucket: str = "", region: str = "eu-west-2"
) -> SA__Pipeline__Setup | None:
    """The pipeline of a bucket (empty: of SGRAPH_SEND__SA_LOGS_BUCKET); None, and a line in the log that says which
    variable is missing or cannot work, if it is not configured. Nothing is read yet."""
    try:
        config = SA__Config.from_env(os.environ)
        bucket = logs_bucket or config.logs_bucket
        missing = "" if bucket else f"{BUCKET_SETTING} is not set"
        if not config.enabled:
            missing = f"{ENABLED_SETTING} is false"
        if missing:
            log.tell(PIPELINE_OFF, f"[sa] no pipeline: {missing}")
            return None
        cache_of(send_cache_client)
        collector = CloudFront__Logs__Collector(logs_bucket=bucket, logs_prefix=config.logs_prefix, region=region)
        collector.setup()
    except SA_Stream_Error as error:  # a host goes on without its statistics
        log.tell(PIPELINE_OFF, f"[sa] no pipeline: {error}")
        return None
    log.tell(PIPELINE, f"[sa] pipeline of s3://{bucket}/{config.logs_prefix} in {region}")
    state_url = config.state_url if os.environ.get(STATE_SETTING) else ""  # its default is a worker's own folder
    return SA__Pipeline__Setup(send_cache_client=send_cache_client, logs_collector=collector, state_url=state_url)


def create_sa_pipeline_with_stub(send_cache_client: Any, now_ms: int | None = None) -> SA__Pipeline__Setup:
    """The same on made-up traffic of the last 24 hours, in memory: for development and tests, without AWS."""
    from sa_stream.embedded.stub_archive import STUB_PREFIX, stub_archive  # loads polars
    from sa_stream.services.log_archive import Log_Archive

    now_ms = wall_clock_ms() if now_ms is None else now_ms
    config = SA__Config(source="s3", logs_bucket="stub", logs_prefix=STUB_PREFIX)
    collector = CloudFront__Logs__Collector(logs_bucket="stub", logs_prefix=STUB_PREFIX)
    collector.use(Log_Archive(stub_archive(now_ms), config))
    log.tell(PIPELINE, "[sa] pipeline of STUB data: no AWS calls")
    return SA__Pipeline__Setup(send_cache_client=send_cache_client, logs_collector=collector)
