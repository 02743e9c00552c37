"""`sa-stream show`: entries of the cache service come in; a table that people can read, or JSON, goes out."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich import filesize
from rich.console import Console
from rich.table import Table

from consumer.commands.entry_page import entry_page, status_of
from consumer.commands.screen import print_whole, say, shown, wide_console
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error
from sa_stream.rollups.periods import cache_key, end_of, start_of
from sa_stream.secrecy import without_secrets

if TYPE_CHECKING:
    from sa_stream.storage.Send__Cache__Client import Send__Cache__Client

KEYS_MAX = 20_000  # more than a year of half hours

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
        say(Console(stderr=True), f"No entry {what} in the cache.")
    return found


def entries_of(config: SA__Config) -> Callable[[str], dict[str, Any] | None]:
    """How to get an entry by its key, from the cache service that the settings name."""
    from sa_stream.rollups.entry_form import checked
    from sa_stream.schemas.namespaces import NS_SA_AGGREGATE

    cache = cache_to_read(config)

    def entry_of(key: str) -> dict[str, Any] | None:
        entry = cache.retrieve_entry(NS_SA_AGGREGATE, key)
        return None if entry is None else checked(key, entry)

    return entry_of


def cache_to_read(config: SA__Config) -> "Send__Cache__Client":
    """The cache service that the settings name, if another process can have written into it. Raises Config_Error."""
    if not config.cache_url and config.cache_mode == "memory":
        raise Config_Error(
            f"{PREFIX}CACHE_MODE is memory: such entries live and end with the process that made them. Set "
            f"{PREFIX}CACHE_URL to a cache service, or {PREFIX}CACHE_MODE to local_disk, for the daemon and for show."
        )
    from consumer.worker.stores import open_cache

    return open_cache(config)


def print_entries(entries: Iterable[Entry], as_json: bool, single: bool, console: Console | None = None) -> bool:
    """Print entries as JSON lines, as one detailed page, or as a table with a line each; returns whether any came."""
    console = console or wide_console()
    if as_json:
        found = False
        for entry in entries:
            found = True
            print(without_secrets(json.dumps(entry)))
        return found
    listed = list(entries)
    if listed and single:
        console.print(entry_page(listed[0]))
    elif listed:
        print_whole(console, entry_table(listed))
    return bool(listed)


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
            shown(f"{entry.get('period')}/{entry.get('time_key')}"),
            status_of(entry),
            *map(
                shown,
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
