"""Health: what makes a consumer ready, to the millisecond, and how it is told over HTTP."""

import errno
import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from consumer.worker.readiness_log import Readiness_Log
from sa_stream.api.http_server import Health_Server
from sa_stream.errors import Config_Error, In_Use
from sa_stream.health.notebook import SILENT_MS, Health
from sa_stream.health.readiness import detail, notes, readiness
from sa_stream.timing import Moment, Now

START_MS = 1_771_252_200_000
START = Moment(5_000_000)  # the same time, on the clock that cannot step
COMMIT = 60_000


def working() -> Health:
    """A consumer that has read, committed and published at START."""
    health = Health(START, COMMIT, {"sa-stream": "0.1.0"})
    health.shard("shard-0").read(START, 0, "1")
    health.shard("shard-0").committed(START)
    health.published(START)
    return health


def reasons(health: Health, after_ms: int) -> list[str]:
    return readiness(health.view(), START + after_ms)


def test_a_consumer_that_reads_commits_and_publishes_is_ready() -> None:
    assert reasons(working(), 0) == []


def test_a_consumer_is_not_ready_before_its_first_read_and_says_that_it_starts() -> None:
    assert reasons(Health(START), 1000) == ["starting: waiting for first read"]
    health = Health(START)
    health.shard("shard-0")
    assert reasons(health, 1000) == ["shard shard-0 is waiting for its first read"]


def test_a_consumer_that_never_reads_says_so_after_a_minute() -> None:
    assert reasons(Health(START), SILENT_MS) == ["no shard has been read in the 60 s since the start"]
    health = Health(START)
    health.shard("shard-0")
    assert reasons(health, SILENT_MS) == ["shard shard-0 has not been read for 60 s"]


def test_a_shard_that_comes_later_gets_its_own_minute() -> None:
    health = working()
    health.shard("shard-0").read(START + 90_000, 0, "1")
    health.published(START + 90_000)
    health.shard("shard-1", now=START + 90_000)
    assert reasons(health, 91_000) == ["shard shard-1 is waiting for its first read"]


def test_a_shard_that_is_not_read_for_60_s_makes_it_not_ready() -> None:
    health = working()
    assert reasons(health, SILENT_MS - 1) == []
    assert reasons(health, SILENT_MS) == ["shard shard-0 has not been read for 60 s"]


def test_an_empty_read_of_an_idle_shard_is_a_read_and_needs_no_commit() -> None:
    health = working()
    for after_ms in range(0, 3_600_000, 1000):
        health.shard("shard-0").read(START + after_ms, 0, "1")
    health.published(START + 3_600_000)
    assert reasons(health, 3_600_000) == []


def test_records_that_wait_for_a_commit_for_its_interval_and_60_s_make_it_not_ready() -> None:
    health = working()
    health.shard("shard-0").read(START + 1000, 0, "2")
    health.shard("shard-0").read(START + COMMIT + SILENT_MS, 0, "3")
    health.published(START + COMMIT + SILENT_MS)
    assert reasons(health, COMMIT + SILENT_MS + 999) == []
    (reason,) = reasons(health, COMMIT + SILENT_MS + 1000)
    assert reason == "shard shard-0 has records that have waited for a commit for 120 s"
    health.shard("shard-0").committed(START + COMMIT + SILENT_MS + 1000)
    assert reasons(health, COMMIT + SILENT_MS + 1000) == []


def test_a_store_that_fails_for_more_than_5_s_is_named_with_its_reason_until_it_works() -> None:
    health = working()
    store = health.store("cache service")
    store.ok(START)
    store.failed(START + 1000, "connection refused")
    store.failed(START + 5000, "connection refused")
    assert reasons(health, 6000) == []
    assert reasons(health, 6001) == ["cache service has been failing for 5 s: connection refused"]
    store.ok(START + 7000)
    assert reasons(health, 7000) == []


def test_a_blocked_shard_is_not_ready_until_it_goes_on() -> None:
    health = working()
    health.shard("shard-0").blocked("the state store does not answer")
    assert reasons(health, 0) == ["shard shard-0 is blocked: the state store does not answer"]
    health.shard("shard-0").blocked(None)
    assert reasons(health, 0) == []


def test_a_consumer_that_publishes_nothing_is_not_ready() -> None:
    health = working()
    health.shard("shard-0").read(START + COMMIT + SILENT_MS, 0, "1")
    assert reasons(health, COMMIT + SILENT_MS) == ["nothing has been published for 120 s"]


def test_an_ended_or_forgotten_shard_is_not_waited_for() -> None:
    health = working()
    health.shard("shard-0").ended()
    health.shard("shard-1")
    health.forget("shard-1")
    assert reasons(health, SILENT_MS) == []


@pytest.mark.parametrize(("offset_ms", "words"), [(9000, "9 s behind"), (-9000, "9 s ahead of")])
def test_a_clock_that_is_off_by_more_than_5_s_makes_it_not_ready(offset_ms: int, words: str) -> None:
    health = working()
    health.clock(5000)
    assert reasons(health, 0) == []
    health.clock(offset_ms)
    assert words in reasons(health, 0)[0]


def test_the_detail_names_every_shard_store_and_version() -> None:
    health = working()
    health.shard("shard-0").watermark(START_MS)
    health.shard("shard-0").windows({START_MS: 42})
    health.store("state store").ok(START)
    shown = json.loads(json.dumps(detail(health.view(), Now(START_MS + 5000, START + 5000))))
    assert shown["ready"] is True
    assert shown["uptime_s"] == 5
    assert shown["versions"] == {"sa-stream": "0.1.0"}
    assert shown["stores"]["state store"]["ok"] is True
    shard = shown["shards"]["shard-0"]
    assert shard["sequence_number"] == "1"
    assert shard["lag_ms"] == 0
    assert shard["watermark"] == shard["last_commit"] == "2026-02-16T14:30:00Z"
    assert shard["open_windows"] == {"2026-02-16T14:30:00Z": 42}


def get(url: str) -> tuple[int, dict, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def behind_the_kcl(state: str = "running", leases: int = 1) -> Health:
    health = working()
    health.kcl(state, leases, START)
    return health


def test_behind_the_kcl_a_worker_without_leases_is_ready_and_says_that_it_waits() -> None:
    health = Health(START, COMMIT)
    health.published(START)
    health.kcl("running", 0, START)
    assert readiness(health.view(), START + 35_000) == []
    assert notes(health.view(), START + 35_000)[0].startswith("waiting for leases for 35 s")
    health.kcl("running", 1, START + 40_000)
    assert notes(health.view(), START + 40_000) == []


@pytest.mark.parametrize("state", ["starting", "restarting: the KCL's process ended with exit code 1", "stopping"])
def test_a_worker_whose_kcl_does_not_run_is_not_ready_and_says_why(state: str) -> None:
    health = behind_the_kcl(state, leases=0)
    assert reasons(health, 0) == [f"the KCL is {state}"]
    assert notes(health.view(), START) == []
    health.kcl("running", 1, START + 5_000)
    assert reasons(health, 5_000) == []


def test_a_shard_that_no_worker_reads_makes_every_worker_not_ready() -> None:
    health = behind_the_kcl()
    health.unread({"shard-7": START + -300_000})
    assert reasons(health, 0) == ["shard shard-7 is read by no worker for 300 s"]
    health.unread({})
    assert reasons(health, 0) == []


def test_a_worker_that_is_short_of_memory_is_not_ready_and_says_which_setting_it_is() -> None:
    health = working()
    health.memory("memory is at 950 of 1000 MiB: reading pauses (SGRAPH_SEND__SA_MEMORY_LIMIT_MB)")
    assert reasons(health, 0) == ["memory is at 950 of 1000 MiB: reading pauses (SGRAPH_SEND__SA_MEMORY_LIMIT_MB)"]
    health.memory(None)
    assert reasons(health, 0) == []


def test_the_log_hears_when_readiness_turns_and_every_minute_while_it_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    health = working()
    readiness_log = Readiness_Log(health)

    def events(at_ms: int) -> list[str]:
        caplog.clear()
        readiness_log.tick(START + at_ms)
        return [record.event for record in caplog.records]  # type: ignore[attr-defined]

    assert events(0) == ["ready"]
    assert events(1_000) == []
    health.memory("memory is short")
    assert events(2_000) == ["not_ready"]
    assert caplog.records[0].fields == {"reasons": ["memory is short"]}  # type: ignore[attr-defined]
    assert [at_s for at_s in range(3, 130) if events(at_s * 1000)] == [62, 122]
    health.memory(None)
    health.shard("shard-0").read(START + 130_000, 0, "1")
    health.published(START + 130_000)
    assert events(130_000) == ["ready"]


def test_what_a_start_takes_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    readiness_log = Readiness_Log(Health(START))
    for at_s in range(10):
        readiness_log.tick(START + at_s * 1000)
    assert not caplog.records
    readiness_log.tick(START + 10_000)
    assert [record.event for record in caplog.records] == ["not_ready"]  # type: ignore[attr-defined]


def test_the_server_answers_live_ready_and_detail_and_503_with_the_reasons() -> None:
    health, after_ms = working(), [0]
    server = Health_Server(health, port=0, clock=lambda: Now(START_MS, START + after_ms[0]))
    try:
        assert get(f"{server.url}/health/live")[0] == 200
        status, body, headers = get(f"{server.url}/health/ready")
        assert (status, body) == (200, {"status": "ready", "reasons": [], "notes": []})
        assert headers["cache-control"] == "no-store"
        after_ms[0] += SILENT_MS
        status, body, _ = get(f"{server.url}/health/ready")
        assert status == 503
        assert body["reasons"] == ["shard shard-0 has not been read for 60 s"]
        status, body, _ = get(f"{server.url}/health")
        assert (status, body["ready"]) == (200, False)
        assert get(f"{server.url}/nothing")[0] == 404
    finally:
        server.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_a_port_in_use_is_said_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(In_Use, match=r"SGRAPH_SEND__SA_HTTP_PORT"):
        Health_Server(Health(START), port=taken.getsockname()[1])


def test_a_port_that_may_not_be_used_is_said_with_the_setting_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuses)  # who runs the tests may use any port
    with pytest.raises(Config_Error, match=r"SGRAPH_SEND__SA_HTTP_PORT to a port you may use"):
        Health_Server(Health(START), port=80)


def test_an_address_of_another_machine_is_said_with_the_setting_to_change() -> None:
    with pytest.raises(Config_Error, match=r"SGRAPH_SEND__SA_HTTP_HOST"):
        Health_Server(Health(START), host="192.0.2.1", port=0)


def test_lag_grows_while_a_shard_that_is_behind_is_not_read_and_once_a_tip_was_not_for_a_minute() -> None:
    health = working()
    assert health.view().shards["shard-0"].lag_ms_at(START + (SILENT_MS - 1)) == 0
    assert health.view().shards["shard-0"].lag_ms_at(START + SILENT_MS) == SILENT_MS
    health.shard("shard-0").read(START, 5_000, "2")
    assert health.view().shards["shard-0"].lag_ms_at(START + 7_000) == 12_000
    shown = detail(health.view(), Now(START_MS, START + 7_000))
    assert shown["shards"]["shard-0"]["lag_ms"] == 12_000
    health.shard("shard-0").ended()
    assert health.view().shards["shard-0"].lag_ms_at(START + 7_000) == 5_000


def test_a_shard_that_cannot_be_read_says_so_after_5_s_and_its_lag_grows_from_its_last_read() -> None:
    health = working()
    shard = health.shard("shard-0")
    shard.unreadable(START + 1_000, "throttled")
    shard.unreadable(START + 5_000, "throttled")
    assert reasons(health, 6_000) == []
    assert reasons(health, 6_001) == ["shard shard-0 cannot be read for 5 s: throttled"]
    assert health.view().shards["shard-0"].lag_ms_at(START + 6_000) == 6_000
    shard.unreadable(START + 7_000, None)
    assert reasons(health, 7_000) == []


def test_what_is_shown_of_times_is_counted_back_from_now_whatever_the_clock_showed_then() -> None:
    shown = detail(working().view(), Now(START_MS + 3_600_000, START + 1_000))  # the clock was stepped by an hour
    assert shown["shards"]["shard-0"]["last_read"] == "2026-02-16T15:29:59Z"
    assert shown["uptime_s"] == 1


def test_a_view_stays_as_it_was_while_everybody_writes_on() -> None:
    health = Health(START, 60_000)
    shard, store = health.shard("a", START), health.store("state store")
    shard.windows({START_MS: 1})
    shard.counters({"records": 1})
    store.ok(START)
    health.kcl("running", 0, START)
    before = health.view()
    shard.windows({START_MS: 2})
    shard.counters({"records": 2})
    shard.read(START + 1, 7, "9")
    store.failed(START + 1, "away")
    health.gone("b", 5)
    health.lost("b", "all")
    health.unread({"c": START})
    health.kcl("running", 1, START)
    assert (before.shards["a"].windows, before.shards["a"].counters) == ({START_MS: 1}, {"records": 1})
    assert (before.shards["a"].lag_ms, before.stores["state store"].reason) == (None, "")
    assert (before.gone, before.lost) == ({}, {})
    assert before.kcl is not None
    assert (before.kcl.idle_since, before.kcl.unread) == (START, {})


def test_a_thousand_shards_are_copied_in_a_few_milliseconds() -> None:
    health = Health(START, 60_000)
    for number in range(1_000):
        shard = health.shard(f"shardId-{number:012d}", START)
        shard.windows({START_MS + number: 1, START_MS: 2})
        shard.counters(dict.fromkeys(("records", "aggregated", "duplicates", "late"), number))
    took_s = []
    for _ in range(20):
        began_s = time.thread_time()
        health.view()
        took_s.append(time.thread_time() - began_s)
    assert min(took_s) < 0.010


def test_calls_of_a_store_are_counted_and_failed_ones_among_them() -> None:
    health = working()
    store = health.store("state store")
    store.ok(START)
    store.failed(START, "no answer")
    store.failed(START, "no answer")
    view = health.view().stores["state store"]
    assert (view.calls, view.failures) == (3, 2)
