"""`/health`, `/health/ready` and `/health/live`, to be put into any application."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sa_stream.api.Key_Guard import Key_Guard
from sa_stream.health.notebook import Health
from sa_stream.health.readiness import detail, notes, readiness
from sa_stream.timing import Now, right_now


def health_routes(
    health: Health,
    clock: Callable[[], Now] = right_now,
    log_lines_dropped: Callable[[], int] = lambda: 0,
    guard: Key_Guard | None = None,
) -> APIRouter:
    """They answer JSON only and change nothing.

    guard  who sees more than the status, as reasons and details name shards and stores; None: everybody
    """
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    routes = APIRouter()

    def sees_all(request: Request) -> bool:
        return guard is None or guard.admits(request.scope["headers"])

    @routes.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "live"}, headers=headers)

    @routes.get("/health/ready")
    async def ready(request: Request) -> JSONResponse:
        view, now = health.view(), clock().moment
        reasons = readiness(view, now)
        answer: dict[str, Any] = {"status": "not ready" if reasons else "ready"}
        if sees_all(request):
            answer |= {"reasons": reasons, "notes": notes(view, now)}
        return JSONResponse(answer, status_code=503 if reasons else 200, headers=headers)

    @routes.get("/health")
    async def everything(request: Request) -> JSONResponse:
        if not sees_all(request):
            reasons = readiness(health.view(), clock().moment)
            return JSONResponse({"status": "not ready" if reasons else "ready"}, headers=headers)
        shown = detail(health.view(), clock()) | {"log_lines_dropped": log_lines_dropped()}
        return JSONResponse(shown, headers=headers)

    return routes
