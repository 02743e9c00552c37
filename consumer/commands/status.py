"""`sa-stream status`: asks the daemon of this machine for its health; tables that people can read, or JSON, go out."""

import json
from collections.abc import Mapping
from typing import Any

import requests
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumer.commands.screen import shown, wide_console
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Source_Error
from sa_stream.secrecy import without_secrets
from sa_stream.storage.deadlines import Deadline_Adapter

HEALTH_S = 5.0  # for the daemon's answer


def show_status(config: SA__Config, as_json: bool) -> None:
    """Print what the daemon on this machine says at /health. Raises Source_Error if nobody answers."""
    health = fetch_health(config)
    if as_json:
        print(without_secrets(json.dumps(health)))
        return
    wide_console().print(status_page(health))


def fetch_health(config: SA__Config) -> dict[str, Any]:
    """The daemon's /health, from the address that the settings give to its HTTP server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http_host, config.http_host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{config.http_port}/health"
    direct = requests.Session()
    direct.trust_env = False  # a proxy would not find this machine
    direct.mount("http://", Deadline_Adapter(HEALTH_S, HEALTH_S))
    try:
        key = {"x-api-key": config.api_key} if config.api_key else {}
        answer = direct.get(url, headers=key, allow_redirects=False)
    except requests.RequestException as error:
        raise Source_Error(
            f"Nobody answers at {url}: is `sa-stream run` (or demo) running, with the same {PREFIX}HTTP_HOST and "
            f"{PREFIX}HTTP_PORT as this command?"
        ) from error
    if answer.status_code != 200:
        raise Source_Error(f"{url} answers {answer.status_code}: is it sa-stream's? Check {PREFIX}HTTP_PORT.")
    try:
        health = answer.json()
    except ValueError as error:
        raise Source_Error(f"{url} does not answer with JSON: is it sa-stream's? Check {PREFIX}HTTP_PORT.") from error
    if isinstance(health, dict) and list(health) == ["status"]:
        raise Source_Error(
            f"{url} says {health['status']} and no more: beyond this machine, details need {PREFIX}API_KEY, the same "
            "for it and for this command."
        )
    if not isinstance(health, dict) or "shards" not in health:
        raise Source_Error(f"{url} is not sa-stream's health: check {PREFIX}HTTP_PORT.")
    return health


def status_page(health: Mapping[str, Any]) -> RenderableType:
    """The daemon's health as tables."""
    ready = bool(health.get("ready"))
    head = Text("ready" if ready else "not ready", style="green" if ready else "red")
    kcl = f", the KCL {health['kcl']}" if health.get("kcl") else ""
    head.append_text(shown(f"  up {health.get('uptime_s')} s{kcl}", "dim"))
    reasons = [shown(f"  - {reason}", "red") for reason in health.get("reasons") or []]
    reasons += [shown(f"  {note}", "dim") for note in health.get("notes") or []]
    shards = Table(box=None, pad_edge=False)
    for name in ("shard", "lag s", "watermark", "last commit", "windows", "records", "state"):
        shards.add_column(name, justify="right" if name in ("lag s", "windows", "records") else "left")
    for partition, shard in (health.get("shards") or {}).items():
        windows = shard.get("open_windows") or {}
        lag_ms = shard.get("lag_ms")
        state = "ended" if shard.get("ended") else f"blocked: {shard['blocked']}" if shard.get("blocked") else "reading"
        shards.add_row(
            shown(partition),
            shown(None if lag_ms is None else round(lag_ms / 1000, 1)),
            _time(shard.get("watermark"), health.get("now")),
            _time(shard.get("last_commit"), health.get("now")),
            shown(len(windows)),
            shown(sum(windows.values())),
            shown(state),
        )
    stores = Table(box=None, pad_edge=False)
    for name in ("store", "state", "last success"):
        stores.add_column(name)
    for name, store in (health.get("stores") or {}).items():
        state = "works" if store.get("ok") else f"failing: {store.get('reason')}"
        stores.add_row(shown(name), shown(state), _time(store.get("last_ok"), health.get("now")))
    return Group(head, *reasons, Text(), shards, Text(), stores)


def _time(iso: str | None, now: str | None) -> Text:
    """An ISO time, without the day where that is today's."""
    return shown(iso[11:19] if iso and now and iso[:10] == now[:10] else iso)
