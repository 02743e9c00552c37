import threading
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from consumer.local.runner import Local_Runner
from consumer.worker.application import Application
from consumer.worker.publisher import PUBLISH_S, Publisher, last_window, pause_s
from sa_stream.commits.decisions import claim_cache
from sa_stream.commits.keys import APPLICATION_KEY
from sa_stream.config import SA__Config
from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Config_Error, Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.rollups.passes import Worker
from sa_stream.rollups.periods import HALF_HOUR, STATUS_KEY, cache_key
from sa_stream.rollups.readable import readable
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import WINDOW_MS, Timing, moment, wall_clock_ms
from tests.api.test_damaged_entries import GONE, changed, places
from tests.rollups.rollup_stream import Stream

NAMES = ("application", "stream", "SGRAPH_SEND__SA_CACHE_URL", "SGRAPH_SEND__SA_CACHE_PATH")


def wait_until(true, seconds: float = 15.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.02)


# ---------------------------------------------------------------------- whose the cache is


@pytest.mark.parametrize("cache", [Memory_Cache(), cache_client__in_process("memory")])
def test_a_cache_is_claimed_by_one_application_with_one_stream(cache: Memory_Cache | Send__Cache__Client) -> None:
    claim_cache(cache, "sa", "one")
    claim_cache(cache, "sa", "one")
    for application, stream in (("sa", "two"), ("other", "one")):
        with pytest.raises(Config_Error) as refused:
            claim_cache(cache, application, stream)
        for name in ("'sa'", "'one'", repr(application), repr(stream), *NAMES):
            assert name in str(refused.value)
        assert "SGRAPH_SEND__SA_APPLICATION" in str(refused.value)
    claim_cache(cache, "sa", "one")


def publisher(claim) -> Publisher:
    state = State_Store("memory://")
    reconciler = Reconciler(state, Memory_Cache(), list, Timing())
    return Publisher(reconciler, state, Health(moment()), (0.02, 0.02), claim=claim)


def test_nothing_is_published_before_the_cache_is_ours_and_a_dead_one_is_asked_again() -> None:
    answers = iter([Store_Unavailable("the cache does not answer")] * 2)
    claimed = threading.Event()

    def claim() -> None:
        for answer in answers:
            raise answer
        claimed.set()

    found = publisher(claim)
    passes: list[bool] = []
    found._on_pass = lambda result: passes.append(claimed.is_set())
    found.start()
    wait_until(lambda: passes)
    found.stop(last_pass=True)
    assert all(passes)
    assert found.failure is None


def test_a_status_that_is_damaged_is_written_anew() -> None:
    found = publisher(lambda: None)
    reconciler = found._reconciler
    reconciler.settings = replace(reconciler.settings, worker=Worker("w", "1"))
    reconciler.cache.store_entry(NS_SA_AGGREGATE, STATUS_KEY, {"schema_version": 1, "workers": 5})
    found.start()
    wait_until(lambda: "computed_at" in (reconciler.cache.retrieve_entry(NS_SA_AGGREGATE, STATUS_KEY) or {}))
    found.stop(last_pass=False)


def test_of_whatever_publishing_goes_on_from_the_metrics_say_what_they_can() -> None:
    stream, window_ms = Stream("a"), 1_771_252_200_000
    stream.commit("a", 1, window_ms + WINDOW_MS, {window_ms: 3})
    stream.run(window_ms + WINDOW_MS)
    key = cache_key(HALF_HOUR, window_ms)
    entry = stream.entries[key]
    assert last_window(window_ms, entry).requests == 3
    odd = [changed(entry, path, value) for path in places(entry) for value in (GONE, None, {}, 7)]
    odd += [{"provenance": "files"}, {**entry, "provenance": "files", "total_requests": None}]
    for shown in filter(None, (readable(key, body) for body in odd)):
        last_window(window_ms, shown)


def test_a_cache_of_another_stream_ends_publishing_also_when_it_turns_out_later(monkeypatch) -> None:
    monkeypatch.setattr("consumer.worker.publisher.CLAIM_S", 0.05)
    cache = Memory_Cache()
    found = publisher(lambda: claim_cache(cache, "sa", "one"))
    found.start()
    wait_until(lambda: cache.retrieve_entry(NS_SA_AGGREGATE, APPLICATION_KEY))
    cache.store_entry(
        NS_SA_AGGREGATE, APPLICATION_KEY, {"application": "sa", "stream": "two"}
    )  # at the same moment as we
    wait_until(lambda: found.failure)
    assert isinstance(found.failure, Config_Error)
    found.stop(last_pass=True)
    assert not found._thread.is_alive()


# ---------------------------------------------------------------------- when the next pass comes


def test_a_pass_comes_when_windows_close_and_soon_again_until_they_are_final() -> None:
    timing, ended_ms = Timing(out_of_orderness_ms=60_000), 20_000 * WINDOW_MS

    def pause(after_end_s: float, waiting: bool) -> float:
        return pause_s((10, 30), waiting, ended_ms + int(after_end_s * 1000), timing)

    assert pause(-600, waiting=False) == 30  # an open window has news now and then
    assert pause(20, waiting=True) == 10
    assert pause(53, waiting=True) == pause(53, waiting=False) == 7  # until it may close
    assert [pause(after_end_s, waiting=True) for after_end_s in (60, 68, 80, 100, 900)] == [PUBLISH_S, 2, 5, 10, 10]
    assert pause(61, waiting=False) == 30  # it is final
    assert pause_s((0.3, 0.3), True, ended_ms + 61_000, timing) == 0.3


# ---------------------------------------------------------------------- the program


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory_Kinesis]:
    streams = Memory_Kinesis(wall_clock_ms)
    streams.create_stream("one", 1)
    streams.create_stream("two", 1)
    server = kinesis_server.start(streams)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    yield streams
    server.stop()


def config(stream: str) -> SA__Config:
    return SA__Config.from_env({"SGRAPH_SEND__SA_STREAM": stream, "SGRAPH_SEND__SA_FIELDS": "canonical"})


def test_a_run_with_another_streams_cache_ends_with_a_sentence(kinesis: Memory_Kinesis) -> None:
    cache = cache_client__in_process("memory")
    claim_cache(cache, "sa-stream", "two")
    application = Application(config("one"), Health(moment()), state=State_Store("memory://"), cache=cache)
    runner = Local_Runner(application, publish_interval_s=0.05)
    with pytest.raises(Config_Error, match="'two'"):
        runner.run()


def test_a_start_with_a_dead_cache_goes_on(kinesis: Memory_Kinesis) -> None:
    from sa_stream.storage.cache_clients import cache_client__remote

    dead = cache_client__remote("http://127.0.0.1:9", "x-api-key", "key")
    application = Application(config("one"), Health(moment()), state=State_Store("memory://"), cache=dead)
    info = application.describe(threading.Event())
    assert info is not None
    application.open(info, (0.05, 0.05))
    application.publisher.start()
    time.sleep(0.2)
    application.publisher.stop(last_pass=False)
    assert application.publisher.failure is None
