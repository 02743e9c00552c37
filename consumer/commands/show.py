"""`sa-stream show` and `status`: entries of the cache service, or the daemon's own health, come in; a table that people
can read, or JSON, goes out. Paths and hosts come from strangers: they reach a terminal only as `printable` text."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from rich import filesize
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumer.process.terminal import printable
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error, Source_Error
from sa_stream.rollups.periods import cache_key, end_of, start_of
from sa_stream.secrecy import without_secrets
from sa_stream.storage.deadlines import Deadline_Adapter

KEYS_MAX = 20_000  # more than a year of half hours
TOP_PATHS_SHOWN = 10
HEALTH_S = 5.0  # for the daemon's answer

type Entry = Mapping[str, Any]


def keys_between(period: str, from_ms: int, to_ms: int) -> list[str]:
    """Keys of the entries of a period from the one that holds `from_ms` to the last that begins before `to_ms`."""
    keys = []
    start_ms = start_of(period, from_ms)
    while start_ms < to_ms:
        keys.append(cache_key(period, start_ms))
        start_ms = end_of(period, start_ms)
        if len(keys) > KEYS_MAX:
            raise Config_Error(f"--from and --to are more than {KEYS_MAX} entries apart: ask for less, or for days.")
    return keys


def show_entries(config: SA__Config, keys: list[str], as_json: bool) -> bool:
    """Print the entries that exist; returns whether there was one. One missing key is said; gaps in a range are not, as
    empty windows have no entry."""
    retrieve = entries_of(config)
    entries = (entry for key in keys if (entry := retrieve(key)) is not None)
    found = print_entries(entries, as_json, single=len(keys) == 1)
    if not found:
        what = keys[0] if len(keys) == 1 else f"between {keys[0]} and {keys[-1]}"
        Console(stderr=True).print(f"No entry {what} in the cache.", markup=False, highlight=False, soft_wrap=True)
    return found


def entries_of(config: SA__Config) -> Callable[[str], dict[str, Any] | None]:
    """How to get an entry by its key, from the cache service that the settings name."""
    if not config.cache_url and config.cache_mode == "memory":
        raise Config_Error(
            f"{PREFIX}CACHE_MODE is memory: such entries live and end with the process that made them. Set "
            f"{PREFIX}CACHE_URL to a cache service, or {PREFIX}CACHE_MODE to local_disk, for the daemon and for show."
        )
    from consumer.worker.stores import open_cache
    from sa_stream.schemas.namespaces import NS_SA_AGGREGATE

    cache = open_cache(config)
    return lambda key: cache.retrieve_entry(NS_SA_AGGREGATE, key)


def print_entries(entries: Iterable[Entry], as_json: bool, single: bool, console: Console | None = None) -> bool:
    """Print entries as JSON lines, as one detailed page, or as a table with a line each; returns whether any came."""
    console = console or _console()
    if as_json:
        found = False
        for entry in entries:
            found = True
            print(without_secrets(json.dumps(entry)))
        return found
    listed = list(entries)
    if listed:
        console.print(entry_page(listed[0]) if single else entry_table(listed))
    return bool(listed)


def _console() -> Console:
    """Standard output; wide where it is no terminal, so that `… | grep` loses no digit."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def entry_table(entries: Iterable[Entry]) -> Table:
    """One line an entry."""
    table = Table(box=None, pad_edge=False)
    table.add_column("entry", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ("requests", "4xx", "5xx", "hit %", "bytes", "late", "dup"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        classes = entry.get("status_breakdown") or {}
        table.add_row(
            _text(f"{entry.get('period')}/{entry.get('time_key')}"),
            _status(entry),
            *map(
                _text,
                (
                    entry.get("total_requests"),
                    classes.get("4xx", 0),
                    classes.get("5xx", 0),
                    entry.get("cache_hit_rate"),
                    filesize.decimal(entry.get("total_bytes") or 0),
                    entry.get("late_records"),
                    entry.get("duplicate_records"),
                ),
            ),
        )
    return table


def entry_page(entry: Entry) -> RenderableType:
    """Everything about one entry that fits on a page."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row(_text(f"{entry.get('period')}/{entry.get('time_key')}", "bold"), _status(entry))
    skipped = ("period", "time_key", "status", "top_paths", "per_minute")
    for name, value in entry.items():
        if name not in skipped and value not in ({}, []):
            facts.add_row(_text(name, "dim"), _text(value))
    paths = Table(box=None, pad_edge=False)
    paths.add_column("top path", overflow="fold")
    paths.add_column("requests", justify="right")
    paths.add_column("bytes", justify="right")
    for row in (entry.get("top_paths") or [])[:TOP_PATHS_SHOWN]:
        paths.add_row(_text(row.get("path")), _text(row.get("count")), _text(row.get("bytes")))
    return Group(facts, Text(), paths)


def _text(value: Any, style: str = "") -> Text:
    """A value as it may be printed. `Text` knows no markup, so that `[red]` in a path stays what it is."""
    if value is None:
        shown = "-"
    elif isinstance(value, dict):
        parts = [f"{name} {_plain(part)}" for name, part in value.items()]
        shown = "  ".join(parts[:20]) + (f"  … ({len(parts)})" if len(parts) > 20 else "")
    elif isinstance(value, list):
        shown = f"{len(value)}: " + ", ".join(_plain(part) for part in value[:5]) + (", …" if len(value) > 5 else "")
    else:
        shown = _plain(value)
    return Text(printable(shown), style=style)


def _plain(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _status(entry: Entry) -> Text:
    return _text(entry.get("status"), "green" if entry.get("status") == "final" else "yellow")


# ---- status


def show_status(config: SA__Config, as_json: bool) -> None:
    """Print what the daemon on this machine says at /health. Raises Source_Error if nobody answers."""
    health = fetch_health(config)
    if as_json:
        print(without_secrets(json.dumps(health)))
        return
    _console().print(status_page(health))


def fetch_health(config: SA__Config) -> dict[str, Any]:
    """The daemon's /health, from the address that the settings give to its HTTP server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http_host, config.http_host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{config.http_port}/health"
    direct = requests.Session()
    direct.trust_env = False  # a proxy would not find this machine
    direct.mount("http://", Deadline_Adapter(HEALTH_S, HEALTH_S))
    try:
        answer = direct.get(url, allow_redirects=False)
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
    if not isinstance(health, dict) or "shards" not in health:
        raise Source_Error(f"{url} is not sa-stream's health: check {PREFIX}HTTP_PORT.")
    return health


def status_page(health: Mapping[str, Any]) -> RenderableType:
    """The daemon's health as tables."""
    ready = bool(health.get("ready"))
    head = Text("ready" if ready else "not ready", style="green" if ready else "red")
    kcl = f", the KCL {health['kcl']}" if health.get("kcl") else ""
    head.append_text(_text(f"  up {health.get('uptime_s')} s{kcl}", "dim"))
    reasons = [_text(f"  - {reason}", "red") for reason in health.get("reasons") or []]
    reasons += [_text(f"  {note}", "dim") for note in health.get("notes") or []]
    shards = Table(box=None, pad_edge=False)
    for name in ("shard", "lag s", "watermark", "last commit", "windows", "records", "state"):
        shards.add_column(name, justify="right" if name in ("lag s", "windows", "records") else "left")
    for partition, shard in (health.get("shards") or {}).items():
        windows = shard.get("open_windows") or {}
        lag_ms = shard.get("lag_ms")
        state = "ended" if shard.get("ended") else f"blocked: {shard['blocked']}" if shard.get("blocked") else "reading"
        shards.add_row(
            _text(partition),
            _text(None if lag_ms is None else round(lag_ms / 1000, 1)),
            _time(shard.get("watermark"), health.get("now")),
            _time(shard.get("last_commit"), health.get("now")),
            _text(len(windows)),
            _text(sum(windows.values())),
            _text(state),
        )
    stores = Table(box=None, pad_edge=False)
    for name in ("store", "state", "last success"):
        stores.add_column(name)
    for name, store in (health.get("stores") or {}).items():
        state = "works" if store.get("ok") else f"failing: {store.get('reason')}"
        stores.add_row(_text(name), _text(state), _time(store.get("last_ok"), health.get("now")))
    return Group(head, *reasons, Text(), shards, Text(), stores)


def _time(iso: str | None, now: str | None) -> Text:
    """An ISO time, without the day where that is today's."""
    return _text(iso[11:19] if iso and now and iso[:10] == now[:10] else iso)
