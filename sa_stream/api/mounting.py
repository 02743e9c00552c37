"""Puts the API into the daemon's own application: behind its key, with jobs, and with documentation that loads nothing
from elsewhere."""

import ipaddress
import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from osbot_fast_api.api.Fast_API__Offline_Docs import FILE_PATH__STATIC__DOCS, URL__STATIC__DOCS, Fast_API__Offline_Docs

from sa_stream.api.Key_Guard import Key_Guard
from sa_stream.api.Routes__SA import Routes__SA
from sa_stream.config import SA__Config
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.privacy_facts import Privacy_Facts
from sa_stream.services.SA__Pipeline__Setup import SA__Pipeline__Setup
from sa_stream.services.Service__SA__Jobs import Service__SA__Jobs
from sa_stream.services.Service__SA__Steps import Service__SA__Steps
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client

if TYPE_CHECKING:
    from sa_stream.commits.ports import Store

SHARED_S = 1.0  # many who look at a dashboard take little from the engine, and see what is new as soon
DESCRIPTION = "Traffic statistics from CloudFront real-time logs: see docs/api.md. Every address needs the key."


def mount_api(
    app: FastAPI,
    config: SA__Config,
    cache: Send__Cache__Client,
    state: "Store | None" = None,
    now_ms: Any = None,
    shared_s: float = SHARED_S,
) -> None:
    """`/api/sa/…`, `/docs` and `/openapi.json`. state: the state store; now_ms: what time it is, for tests;
    shared_s: for how long those who ask the same about the traffic get the same answer."""
    app.title, app.description, app.openapi_url = "sa-stream", DESCRIPTION, "/openapi.json"
    app.setup()  # now that it may show its document
    Fast_API__Offline_Docs(app=app).setup()
    app.mount(URL__STATIC__DOCS, StaticFiles(directory=FILE_PATH__STATIC__DOCS), name="static-docs")
    jobs = Service__SA__Jobs(Service__SA__Steps(sa_pipeline=_pipeline(config, cache, state)))
    Routes__SA(
        app=app,
        send_cache_client=cache,
        guard=Key_Guard(config.api_key),
        jobs=jobs,
        now_ms=now_ms,
        privacy=Privacy_Facts(config, state),
        shared_s=float(shared_s),
    ).setup()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pipeline(config: SA__Config, cache: Send__Cache__Client, state: "Store | None") -> SA__Pipeline__Setup | None:
    """The steps on the archive of the settings; None if there is none."""
    if not config.logs_bucket:
        return None
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    collector = CloudFront__Logs__Collector(
        logs_bucket=config.logs_bucket, logs_prefix=config.logs_prefix, region=region
    )
    return SA__Pipeline__Setup(
        send_cache_client=cache, logs_collector=collector, state_url=config.state_url, state=state
    )
