"""The API as the daemon mounts it, on three days of traffic."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from sa_stream.api.mounting import mount_api
from sa_stream.config import SA__Config
from tests.services.world import NOW_MS, World

KEY = "the-key-of-the-api/+="
SENT = {"x-api-key": KEY.encode()}
CONFIRMED = {**SENT, "x-sa-confirm": b"yes"}


def daemon_app(world: World | None = None, key: str = KEY, shared_s: float = 0) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    mount_api(app, SA__Config(api_key=key), world or World(), now_ms=lambda: NOW_MS, shared_s=shared_s)  # type: ignore[arg-type]
    return app


def daemon_client(world: World | None = None, key: str = KEY) -> TestClient:
    """Sends no key by itself."""
    return TestClient(daemon_app(world, key), raise_server_exceptions=False)
