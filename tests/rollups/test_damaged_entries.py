"""What the cache has under the keys of entries is damaged, somebody else's, or of a later version: nothing else is held
up by it, what is ours comes back, and what is not ours stays."""

from copy import deepcopy
from random import Random
from typing import Any

import msgspec
import pytest

from sa_stream.commits.operations import drive
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.format import pack
from sa_stream.rollups.editions import KIND
from sa_stream.rollups.entry_form import checked
from sa_stream.rollups.periods import from_iso
from sa_stream.rollups.pruning import Pruning, Retention
from sa_stream.rollups.readable import readable
from sa_stream.rollups.repairs import Repair_Settings
from sa_stream.rollups.retirement import clean_up_steps
from sa_stream.rollups.slots import COLUMNS
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS
from sa_stream.windows.window import MINUTES, PER_MINUTE, Window
from tests.api.test_damaged_entries import GONE, WRONG, changed, places
from tests.rollups import rollup_stream
from tests.rollups.rollup_stream import Stream, window_of

START_MS = from_iso("2026-02-16T14:00:00Z")
HALF, OTHER_HALF = "30min/2026-02-16-1400", "30min/2026-02-16-1430"
HOUR, DAY, MONTH = "hourly/2026-02-16-14", "daily/2026-02-16", "monthly/2026-02"
KEYS = (HALF, HOUR, DAY, MONTH)
NEW = "30min/2026-02-16-1700"
CHANGES = 24  # of each key
BODIES: tuple[dict[str, Any], ...] = ({}, {"hello": "world"}, {"provenance": "stream"}, {"provenance": ["stream"]})


def published() -> tuple[Stream, int]:
    """Two half hours with their hour, which are final, and all above them, which is not."""
    stream = Stream("a")
    stream.commit("a", 1, START_MS + 4 * WINDOW_MS, {START_MS: 3, START_MS + WINDOW_MS: 4})
    now_ms = START_MS + 4 * WINDOW_MS + 5 * MINUTE_MS
    stream.settle(now_ms)
    return stream, now_ms


def go_on(stream: Stream, now_ms: int) -> None:
    """A later half hour has news, and a fresh worker publishes for an hour."""
    stream.commit("a", 2, START_MS + 7 * WINDOW_MS, {START_MS + 6 * WINDOW_MS: 5})
    worker = stream.fresh()
    for passes in range(6):
        stream.run(now_ms + 2 * HOUR_MS + passes * 11 * MINUTE_MS, worker)


def put(cache: Memory_Cache, key: str, body: dict[str, Any]) -> None:
    cache.store_entry(NS_SA_AGGREGATE, key, body)


def content(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "computed_at"}


UNDAMAGED, _ = published()
go_on(UNDAMAGED, START_MS + 4 * WINDOW_MS + 5 * MINUTE_MS)


def odd(key: str) -> list[dict[str, Any]]:
    """Damaged, or not so much that it counts as lost."""
    entry = published()[0].entries[key]
    every = [(path, value) for path in places(entry) for value in (*WRONG, 10**30, GONE)]
    found = [changed(entry, path, value) for path, value in Random(key).sample(every, CHANGES)]
    named = ("status", "revision", "summary", "sources", "missing_sources", "period", "cache_key", "computed_at")
    found += [changed(entry, (name,), value) for name in named for value in (None, "x", [], GONE)]
    columns = COLUMNS.get(key.partition("/")[0], "")
    found += [changed(entry, (columns, name), value) for name in entry.get(columns) or () for value in ([], GONE)]
    return [body for body in (*found, *BODIES) if _is_json(body)]


def _is_json(body: dict[str, Any]) -> bool:
    try:
        return msgspec.json.decode(msgspec.json.encode(body)) == body
    except ValueError:
        return False


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_entry_holds_up_nothing_and_is_written_again(key: str):
    lost = 0
    for body in odd(key):
        stream, now_ms = published()
        put(stream.cache, key, body)
        counts_as_lost = readable(key, deepcopy(body)) is None
        go_on(stream, now_ms)
        assert stream.entries[NEW]["total_requests"] == 5, body
        for each in UNDAMAGED.entries if counts_as_lost else ():
            assert content(stream.entries[each]) == content(UNDAMAGED.entries[each]), (each, body)
        lost += counts_as_lost
    assert lost > CHANGES // 2


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_that_cannot_be_of_its_key_counts_as_lost(key: str):
    entry = UNDAMAGED.entries[key]
    assert readable(key, entry) == entry
    found = [entry | {"time_key": "2026-02-17"}, entry | {"period": "x"}]
    if columns := COLUMNS.get(entry["period"]):
        found.append(entry | {columns: {name: each and each[:-1] for name, each in entry[columns].items()}})
    assert [readable(key, each) for each in found] == [None] * len(found)


@pytest.mark.parametrize("damage", [{"hosts": 5}, {"top_paths": [5]}, {"sources": None}])
@pytest.mark.parametrize("key", [HALF, HOUR])
def test_an_edition_of_a_damaged_entry_holds_up_nothing_and_gets_a_successor(key: str, damage: dict[str, Any]):
    """A version before made it, and ended with an error when it went on."""
    stream, now_ms = published()
    body = stream.entries[key] | damage
    for item in stream.store.list(f"editions/{key}"):
        stream.store.put(item.key, pack(KIND, body))
    put(stream.cache, key, body)
    go_on(stream, now_ms)
    assert stream.entries[NEW]["total_requests"] == 5
    for each in UNDAMAGED.entries:
        assert content(stream.entries[each]) == content(UNDAMAGED.entries[each]), each
    worker = stream.fresh()
    written = [stream.run(now_ms + 4 * HOUR_MS + passes * 11 * MINUTE_MS, worker).written for passes in range(3)]
    assert written[-1] == [], "nobody writes it again and again"


@pytest.mark.parametrize("key", [DAY, MONTH])
def test_an_entry_that_says_it_is_made_of_what_is_not_below_it_holds_up_nothing(key: str):
    stream, now_ms = published()
    sources = stream.entries[key]["sources"]
    put(stream.cache, key, stream.entries[key] | {"sources": [{**sources[0], "time_key": ""}, *sources[1:]]})
    go_on(stream, now_ms)
    for each in UNDAMAGED.entries:
        assert content(stream.entries[each]) == content(UNDAMAGED.entries[each]), each


def test_a_damaged_entry_is_told(caplog: pytest.LogCaptureFixture):
    stream, now_ms = published()
    put(stream.cache, HOUR, stream.entries[HOUR] | {"sources": None})
    go_on(stream, now_ms)
    assert f"{HOUR} in the cache is no entry, and counts as lost" in caplog.text


@pytest.mark.parametrize(
    "body", [{"provenance": "files"}, {"status": "final", "provenance": "files", "total_requests": 9}]
)
def test_an_entry_of_others_stays_and_holds_up_what_is_above_it_alone(body: dict[str, Any]):
    stream, now_ms = published()
    put(stream.cache, HALF, body)
    go_on(stream, now_ms)
    assert stream.entries[HALF] == body
    assert content(stream.entries[HOUR]) == content(UNDAMAGED.entries[HOUR]), "its last version is not taken back"
    assert stream.entries[NEW]["total_requests"] == 5
    assert stream.entries["hourly/2026-02-16-17"]["total_requests"] == 5


def test_what_an_entry_names_as_its_summary_is_not_deleted_unless_it_is_one_of_its_own():
    """An entry that stops naming a summary has it deleted."""
    stream, now_ms = published()
    others = [stream.entries[OTHER_HALF]["summary"], *(item.key for item in stream.store.list("progress"))]
    for name in others:
        put(stream.cache, MONTH, stream.entries[MONTH] | {"summary": name})
        go_on(stream, now_ms)
        assert stream.holds(stream.entries[OTHER_HALF]["summary"])
        assert stream.run(now_ms + 4 * HOUR_MS).progress["a"].number == "2"


def test_an_entry_with_more_than_this_version_knows_is_gone_on_from():
    """Workers of two versions publish at the same time while one takes the place of the other."""
    stream, now_ms = published()
    later = {"schema_version": 3, "new": {"a": 1}}
    for key in (HOUR, DAY, MONTH):
        put(stream.cache, key, stream.entries[key] | later)
    waiting = stream.entries[DAY]["missing_sources"]
    stream.run(now_ms + 3 * HOUR_MS, stream.fresh())
    assert stream.entries[DAY]["missing_sources"] != waiting
    assert stream.entries[DAY].items() >= later.items()
    go_on(stream, now_ms + 3 * HOUR_MS)
    assert stream.entries[DAY]["total_requests"] == 12
    assert stream.entries[HOUR]["new"] == {"a": 1}


@pytest.mark.parametrize("size", [(1 << 64) - 1, 1 << 64, 10**30 - 1])
def test_a_record_of_as_many_bytes_as_a_log_can_say_holds_up_nothing(monkeypatch: pytest.MonkeyPatch, size: int):
    def large_window_of(start_ms: int, requests: int, salt: int = 0) -> Window:
        window = window_of(start_ms, requests, salt)
        window.total_bytes = size
        window.add_bot("a bot", requests, size, False)
        window.add_minutes([[0] * MINUTES if name != "bytes" else [size] + [0] * (MINUTES - 1) for name in PER_MINUTE])
        return window

    monkeypatch.setattr(rollup_stream, "window_of", large_window_of)
    stream, now_ms = published()
    go_on(stream, now_ms)
    found = {key: stream.cache.retrieve_entry(NS_SA_AGGREGATE, key) for key in (*KEYS, NEW)}
    assert {key: entry and checked(key, entry)["total_bytes"] for key, entry in found.items()} == {
        HALF: size,
        HOUR: 2 * size,
        DAY: 3 * size,
        MONTH: 3 * size,
        NEW: size,
    }
    assert found[HOUR] is not None
    assert found[HOUR]["status"] == "final"
    later = stream.run(now_ms + 4 * HOUR_MS, stream.fresh())
    assert not {HALF, HOUR} & {written.cache_key for written in later.written}, "they are as they were written"


def test_what_a_step_without_a_state_store_has_written_holds_up_nothing():
    """It leaves no summary; with an archive it is computed again, as one whose summary is lost."""
    stream, now_ms = published()
    stream.settings = type(stream.settings)(refresh_ms={}, archive=Repair_Settings())
    body = stream.entries[HALF] | {
        "provenance": "s3",
        "summary": None,
        "sources": [{"partition": "s3", "lineage": "0a-whole", "number": "3"}],
    }
    put(stream.cache, HALF, body)
    for item in stream.store.list("editions"):
        stream.store.delete(item.key)
    go_on(stream, now_ms)
    assert stream.entries[NEW]["total_requests"] == 5
    worker = stream.fresh()
    results = [stream.run(now_ms + 5 * HOUR_MS + passes * 11 * MINUTE_MS, worker) for passes in range(4)]
    assert START_MS in results[-1].to_repair


def test_what_comes_late_to_an_entry_that_names_no_summary_is_added_to_its_partials():
    stream = Stream("a", "b")
    watermark_ms = START_MS + 4 * WINDOW_MS
    now_ms = watermark_ms + 5 * MINUTE_MS
    stream.commit("a", 1, watermark_ms, {START_MS: 3})
    stream.commit("b", 1, watermark_ms)
    stream.settle(now_ms)
    put(stream.cache, HALF, stream.entries[HALF] | {"summary": None})
    for item in stream.store.list("editions"):
        stream.store.delete(item.key)
    stream.commit("a", 2, watermark_ms, forget=(START_MS,))
    stream.commit("b", 2, watermark_ms, {START_MS: 6})
    worker = stream.fresh()
    for passes in range(8):  # what it named before is deleted meanwhile
        stream.run(now_ms + HOUR_MS + passes * 11 * MINUTE_MS, worker)
    assert (stream.entries[HALF]["total_requests"], stream.entries[HALF]["status"]) == (9, "final")
    assert stream.holds(stream.entries[HALF]["summary"])


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_entry_stops_no_clean_up(key: str):
    stream, now_ms = published()
    later_ms = now_ms + 90 * DAY_MS
    stream.store.put("secrets/2026-02", b"8 bytes.")
    stream.commit("a", 2, later_ms, forget=(START_MS, START_MS + WINDOW_MS))
    result = stream.run(later_ms)
    assert result.stream is not None
    stream.store.put("secrets/2026-02", b"8 bytes.")
    put(stream.cache, key, {})
    drive(clean_up_steps(stream.store, stream.cache, result.stream, result.settled))
    pruning = Pruning(stream.store, stream.cache, result.stream, Retention(1, 1, 1, 1, 1))
    drive(pruning.steps())
