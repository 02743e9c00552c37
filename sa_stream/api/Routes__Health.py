"""`/health`, `/health/ready` and `/health/live`, to be put into any application."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from sa_stream.health.notebook import Health
from sa_stream.health.readiness import detail, notes, readiness
from sa_stream.timing import Now, right_now


def health_routes(
    health: Health, clock: Callable[[], Now] = right_now, log_lines_dropped: Callable[[], int] = lambda: 0
) -> APIRouter:
    """They answer JSON only and change nothing."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    routes = APIRouter()

    @routes.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "live"}, headers=headers)

    @routes.get("/health/ready")
    async def ready() -> JSONResponse:
        view, now = health.view(), clock().moment
        reasons = readiness(view, now)
        answer = {"status": "not ready" if reasons else "ready", "reasons": reasons, "notes": notes(view, now)}
        return JSONResponse(answer, status_code=503 if reasons else 200, headers=headers)

    @routes.get("/health")
    async def everything() -> JSONResponse:
        shown = detail(health.view(), clock()) | {"log_lines_dropped": log_lines_dropped()}
        return JSONResponse(shown, headers=headers)

    return routes
