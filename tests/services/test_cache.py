"""What is remembered of the cache service: for how long, how much, and how few reads many who ask cost."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sa_stream.errors import Store_Unavailable
from sa_stream.services import Service__SA__Cache as module
from sa_stream.services.Service__SA__Cache import READS_MAX, Service__SA__Cache
from sa_stream.timing import Moment

BODY = {"window_start": "2026-02-16T00:00:00Z", "computed_at": "2026-02-17T00:00:00Z", "total_requests": 1}


class Store:
    """Entries by key; counts its reads and how many go on at once."""

    def __init__(self, answer: Callable[[str], Any], read_s: float = 0) -> None:
        self.answer, self.read_s = answer, read_s
        self.reads: list[str] = []
        self.at_once = self.most = 0
        self.lock = threading.Lock()

    def retrieve_entry(self, namespace: str, cache_key: str) -> Any:
        with self.lock:
            self.reads.append(cache_key)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self.read_s)
        with self.lock:
            self.at_once -= 1
        entry = self.answer(cache_key)
        return None if entry is None else {**BODY, **entry, "cache_key": cache_key}


class Clock:
    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> Moment:
        return Moment(self.ms)


def test_what_is_final_is_believed_for_a_minute_and_what_is_partial_for_seconds():
    store = Store(lambda key: {"status": key} if key != "none" else None)
    cache, clock = Service__SA__Cache(send_cache_client=store), Clock()
    for at_s, reads in ((0, 3), (4, 3), (6, 5), (59, 7), (61, 8)):
        clock.ms = at_s * 1000
        cache.get_many(["final", "partial", "none"], clock=clock)
        assert len(store.reads) == reads, at_s
    assert store.reads.count("final") == 2
    cache.get("final", force_refresh=True, clock=clock)
    assert store.reads.count("final") == 3


def test_a_stampede_is_one_read_and_no_more_than_eight_go_on_at_once():
    store = Store(lambda key: {"status": "final"}, read_s=0.02)
    cache = Service__SA__Cache(send_cache_client=store)
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda number: cache.get_many([f"{n}" for n in range(20)]), range(50)))
    assert all(len(each) == 20 for each in found)
    assert sorted(store.reads) == sorted(f"{n}" for n in range(20))
    assert store.most <= READS_MAX


def test_a_failure_reaches_all_who_wait_and_is_not_remembered():
    errors: list[Exception] = [Store_Unavailable("no")]

    def answer(key: str) -> Any:
        if errors:
            raise errors.pop()
        return {"status": "final"}

    cache = Service__SA__Cache(send_cache_client=Store(answer))
    with pytest.raises(Store_Unavailable, match="no"):
        cache.get("a")
    assert cache.get("a") == {**BODY, "status": "final", "cache_key": "a"}


def test_memory_is_bounded_by_what_was_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "REMEMBERED_CHARACTERS_MAX", 10_000)
    store = Store(lambda key: {"status": "final", "text": "x" * 1_000})
    cache = Service__SA__Cache(send_cache_client=store)
    keys = [f"{number}" for number in range(30)]
    for key in keys:
        cache.get(key)
    store.reads.clear()
    for key in reversed(keys):
        cache.get(key)
    assert 20 <= len(store.reads) < 25, "the last nine or so are remembered"


def test_a_read_that_takes_too_long_is_given_up_and_what_waits_behind_it_is_not_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "DEADLINE_MS", 100)
    store = Store(lambda key: {}, read_s=0.3)
    cache = Service__SA__Cache(send_cache_client=store)
    with pytest.raises(Store_Unavailable, match="too long"):
        cache.get_many(f"{number}" for number in range(100))
    time.sleep(0.7)
    assert len(store.reads) == READS_MAX
    assert cache._reading == {}
