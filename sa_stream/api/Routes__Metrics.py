"""`/metrics`, to be put into any application, and the time that its answers take."""

import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Receive, Scope, Send

from sa_stream.api.metrics_collector import Process, registry_of
from sa_stream.health.metrics import HTTP_DURATION
from sa_stream.health.notebook import Health
from sa_stream.timing import Now, right_now

NO_ROUTE = "none"


def metrics_routes(health: Health, clock: Callable[[], Now] = right_now, process: Process | None = None) -> APIRouter:
    """Text for Prometheus, or OpenMetrics where that is asked for. Changes nothing."""
    registry = registry_of(health, clock, process or Process())
    routes = APIRouter()

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        encode, content_type = _encoder(request.headers.get("accept", ""))
        headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(encode(registry), headers=headers)

    return routes


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # it compares a version that is no number, such as `abc`: then in the form that anybody reads
        return choose_encoder("")


def timed(app: ASGIApp, health: Health) -> ASGIApp:
    """The same application; health hears how long each request took, by the template of its route and never by its
    path, which strangers choose."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.monotonic()
        try:
            await app(scope, receive, send)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            health.counts.took(HTTP_DURATION, round((time.monotonic() - began_s) * 1000), (route,))

    return answer
