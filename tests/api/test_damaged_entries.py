"""Entries of the cache that are not what was written, one value at a time: whoever asks is answered, in our form."""

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from consumer.commands.entry_page import entry_page
from consumer.commands.screen import wide_console
from consumer.commands.show import entry_table
from sa_stream.errors import Damaged_Entry
from sa_stream.rollups.entry_form import checked
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from tests.api.daemon_api import SENT, daemon_client
from tests.services.world import World

KEYS = ("30min/2026-03-01-1800", "hourly/2026-03-01-17", "daily/2026-02-27", "monthly/2026-02", "status/stream")
WRONG = (None, True, -1, 1.5, "x", "12", [], {}, [None], {"x": "y"}, 10**400, 1e300, "2026-99-99T00:00:00Z", "\ud800")
GONE = object()
CHANGES = 30  # of each key
TABLES = ("summary", "top-paths", "top-paths?sort=status_4xx", "edge-locations", "status-codes", "breakdown/bots")
LINES = (
    *("timeseries", "timeseries?period=hourly&metrics=p95,unique_paths,hits", "live?minutes=120"),
    *("report?week=2026-W09", "report?day=2026-02-27&format=md", "report?month=2026-02"),
)


def addresses(key: str) -> list[str]:
    """One of every kind that reads this key."""
    period, _, time_key = key.partition("/")
    found = [f"traffic/{asked}" for asked in LINES]
    found += [f"cache/entry/{key}", "cache/browse/daily", "cloudfront/status"]
    if period == "status":
        return [*found, "traffic/timeseries?from=2026-02-27&to=2026-03-02&period=daily"]
    found += [f"traffic/timeseries?from=2026-02-27&to=2026-03-02&period={period}&metrics=requests,human,p95,ttfb_p50"]
    return found + [f"traffic/{each}{'&' if '?' in each else '?'}period={period}&at={time_key}" for each in TABLES]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value; of a list the first and the last."""
    if path:
        yield path
    names = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1}) if isinstance(value, list) else []
    for name in names if value else ():
        yield from places(value[name], (*path, name))


def changed(entry: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = deepcopy(entry)
    at: Any = found
    for name in path[:-1]:
        at = at[name]
    if value is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return found


def damaged(key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    entry = World().retrieve_entry(NS_SA_AGGREGATE, key)
    assert entry is not None
    every = [(path, value) for path in places(entry) for value in (*WRONG, GONE)]
    for path, value in Random(key).sample(every, CHANGES):
        yield f"{key} {path} {value!r:.40}", changed(entry, path, value)


class Damaged_World(World):
    """Has an object under a key as it is."""

    def __init__(self, key: str, entry: dict[str, Any]) -> None:
        super().__init__()
        self._damaged = key, entry

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        key, entry = self._damaged
        return entry if cache_key == key else super().retrieve_entry(namespace, cache_key)


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_entry_is_answered_in_our_form_wherever_it_is_read(key: str):
    refused = 0
    for what, entry in damaged(key):
        client = daemon_client(Damaged_World(key, entry))
        for address in Random(what).sample(addresses(key), 4):
            answer = client.get(f"/api/sa/{address}", headers=SENT)
            assert answer.status_code in (200, 404, 503), (what, address, answer.text)
            if answer.status_code == 503:
                refused += 1
                assert set(answer.json()) == {"detail", "code", "parameter"}
                assert key in answer.json()["detail"]
    assert refused


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("status")])
def test_a_damaged_entry_is_shown_or_said_in_a_sentence(key: str):
    console, refused = wide_console(), 0
    for _, entry in damaged(key):
        try:
            sound = checked(key, entry)
        except Damaged_Entry:
            refused += 1
        else:
            with console.capture():
                console.print(entry_page(sound))
                console.print(entry_table([sound]))
    assert 0 < refused < CHANGES
    with pytest.raises(Damaged_Entry, match=key):
        checked(key, {})


def test_a_wrong_type_is_refused_with_the_key_and_the_log_says_where(caplog: pytest.LogCaptureFixture):
    world = World()
    entry = world.retrieve_entry(NS_SA_AGGREGATE, "daily/2026-02-27")
    assert entry is not None
    world.put("daily/2026-02-27", entry | {"hosts": {"a.example": "7"}})
    answer = daemon_client(world).get("/api/sa/traffic/breakdown/hosts?at=2026-02-27", headers=SENT)
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("What the cache has of daily/2026-02-27 is no entry")
    assert caplog.text.count("$.hosts") == 1
