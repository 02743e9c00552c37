"""The traffic generator: repeatable, shaped like CloudFront's lines, as dirty as asked and not more."""

import gzip
import time
from collections import Counter

import boto3
import numpy as np
import pytest

from sa_stream.embedded import kinesis_server, visitors
from sa_stream.embedded.destinations import fill, lines_per_shard, put_lines, write_lines
from sa_stream.embedded.generator import DIRT, Traffic
from sa_stream.embedded.memory_kinesis import THROTTLED, Memory_Kinesis
from sa_stream.errors import Config_Error, Field_List_Error, Store_Unavailable
from sa_stream.records.agents import classify
from sa_stream.records.fields import CANONICAL, FORBIDDEN_FIELDS, SEED
from sa_stream.records.referrers import host_of_referrer
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS

START_MS = 1_771_200_000_000  # 2026-02-16 00:00 UTC
MESSY = {"dirt_rate": 0.1, "duplicate_rate": 0.05, "late_rate": 0.05}


def rows(data: bytes) -> list[list[bytes]]:
    return [line.split(b"\t") for line in data.removesuffix(b"\n").split(b"\n")]


def made(traffic: Traffic, count: int, end_ms: int = START_MS + HOUR_MS, **more) -> bytes:
    return b"".join(chunk.data for chunk in traffic.lines(START_MS, end_ms, count, **more))


def column(data: bytes, name: str) -> list[str]:
    at = CANONICAL.index(name)
    return [row[at].decode() for row in rows(data)]


@pytest.fixture(scope="module")
def clean() -> bytes:
    return made(Traffic(7), 40_000, START_MS + DAY_MS)


@pytest.fixture(scope="module")
def kinesis() -> Memory_Kinesis:
    return Memory_Kinesis(lambda: START_MS + HOUR_MS)


def records(kinesis: Memory_Kinesis, name: str) -> dict[str, list[bytes]]:
    found = {}
    for shard in kinesis.list_shards(name).shards:
        iterator = kinesis.shard_iterator(name, shard.shard_id, "TRIM_HORIZON")
        found[shard.shard_id] = kinesis.get_records(iterator).payloads
    return found


@pytest.mark.parametrize("rates", [{}, MESSY])
def test_the_same_seed_gives_the_same_bytes_however_they_are_cut(rates):
    whole = made(Traffic(3, **rates), 20_000)
    assert made(Traffic(3, **rates), 20_000) == whole
    assert made(Traffic(3, **rates), 20_000, chunk_lines=777) == whole
    assert made(Traffic(4, **rates), 20_000) != whole


@pytest.mark.parametrize("rates", [{}, MESSY])
def test_a_chunk_s_times_and_places_belong_to_its_lines(rates):
    last_ms = START_MS
    for chunk in Traffic(3, **rates).lines(START_MS, START_MS + HOUR_MS, 20_000, chunk_lines=3000):
        assert len(chunk) <= 3000
        lines = chunk.lines()
        assert b"".join(lines) == chunk.data
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
        assert (np.diff(chunk.arrival_ms) >= 0).all()
        assert chunk.arrival_ms[0] >= last_ms
        last_ms = chunk.arrival_ms[-1]
        for line, event_ms in zip(lines, chunk.event_ms.tolist(), strict=True):
            stamp = line.split(b"\t")[0].decode("latin1")
            if stamp.startswith("17") and "." in stamp:
                assert round(float(stamp) * 1000) == event_ms
    assert last_ms < START_MS + HOUR_MS


def test_events_stay_in_their_span_and_reach_back_only_as_far_as_asked():
    for oldest_ms in (START_MS, START_MS - 3 * HOUR_MS):
        chunks = Traffic(1, late_rate=0.5).lines(START_MS, START_MS + HOUR_MS, 10_000, oldest_ms=oldest_ms)
        event_ms, arrival_ms = map(np.concatenate, zip(*((c.event_ms, c.arrival_ms) for c in chunks), strict=True))
        assert oldest_ms <= event_ms.min() < oldest_ms + HOUR_MS
        assert event_ms.max() < START_MS + HOUR_MS
        assert (event_ms <= arrival_ms).all()


def test_lines_are_shaped_like_cloudfront_s(clean):
    found = rows(clean)
    assert len(found) == 40_000
    assert {len(row) for row in found} == {27}
    assert 400 < len(clean) / len(found) < 550
    ids = Counter(column(clean, "x-edge-request-id"))
    missing = ids.pop("-", 0)
    assert missing < 40
    assert len(ids) == 40_000 - missing
    assert {len(request_id) for request_id in ids} == {56}


def test_every_result_type_status_class_and_protocol_occurs(clean):
    assert set(column(clean, "x-edge-result-type")) >= {
        "Hit", "RefreshHit", "OriginShieldHit", "Miss", "LimitExceeded", "CapacityExceeded", "Error", "Redirect",
        "FunctionGeneratedResponse", "FunctionExecutionError", "FunctionThrottledError", "-",
    }  # fmt: skip
    assert {status[0] for status in column(clean, "sc-status")} == set("02345")
    assert set(column(clean, "cs-protocol")) == {"https", "http", "wss", "ws"}
    assert {"-", "GET", "POST"} < set(column(clean, "cs-method"))


def test_paths_have_a_heavy_tail_queries_and_percent_encoding(clean):
    stems = column(clean, "cs-uri-stem")
    paths = Counter(stem.partition("?")[0] for stem in stems)
    assert paths.most_common(1)[0][1] > 1000
    assert len(paths) > 5000
    assert 0.1 < sum("?" in stem for stem in stems) / len(stems) < 0.3
    assert any("%C3%A9" in path for path in paths)
    assert "-" in paths


def test_a_fifth_of_the_requests_are_bots_by_name_of_ai_companies_too_and_a_few_say_nothing(clean):
    agents = [classify(agent.encode()) for agent in column(clean, "cs-user-agent")]
    kinds = Counter(agent.kind for agent in agents)
    assert 0.75 < kinds["human"] / len(agents) < 0.85
    assert min(kinds.values()) > 100
    assert len(kinds) == 4
    assert len({agent.bot for agent in agents if agent.ai}) > 5
    assert {agent.device for agent in agents} >= {"desktop", "mobile", "tablet"}
    assert {agent.browser for agent in agents} >= {"Chrome", "Safari", "Firefox", "Edge", "Android app", "iOS app"}


def test_people_come_from_own_pages_search_engines_social_media_and_nowhere(clean):
    referers = zip(column(clean, "cs-referer"), column(clean, "cs-host"), strict=True)
    hosts = Counter(host_of_referrer(referer.encode(), host.encode(), frozenset()) for referer, host in referers)
    assert min(hosts[name] for name in ("(direct)", "(internal)", "www.google.com", "www.facebook.com")) > 100
    assert {"(ip)", "(other)", "com.google.android.googlequicksearchbox"} < {*hosts}
    assert len(hosts) > 100


def test_types_are_those_of_what_is_there_and_of_what_went_wrong(clean):
    for stem, status, content_type in zip(
        column(clean, "cs-uri-stem"), column(clean, "sc-status"), column(clean, "sc-content-type"), strict=True
    ):
        path = stem.partition("?")[0]
        if status in ("000", "301", "302", "304"):
            assert content_type == "-"
        elif status[0] in "45":
            assert content_type == "text/html"
        elif path != "-":
            assert content_type == visitors.content_type(path)
    assert visitors.content_type("/api/users-1") == "application/json"


def test_traffic_follows_the_day(clean):
    hours = Counter((int(float(stamp)) % 86_400) // 3600 for stamp in column(clean, "timestamp"))
    assert len(hours) == 24
    assert hours[19] > 3 * hours[3]


def test_websockets_last_minutes_and_others_do_not(clean):
    for protocol, taken in zip(column(clean, "cs-protocol"), column(clean, "time-taken"), strict=True):
        assert (float(taken) >= 60) == protocol.startswith("ws")


@pytest.mark.parametrize("fields", ["seed", ["cs-uri-stem", "timestamp"]])
def test_fields_come_in_the_order_that_was_asked_for(fields):
    names = SEED if fields == "seed" else fields
    one = rows(made(Traffic(5, fields), 100))
    other = rows(made(Traffic(5), 100))
    places = [CANONICAL.index(name) for name in names]
    assert one == [[row[place] for place in places] for row in other]


@pytest.mark.parametrize("fields", [["c-ip"], ["timestamp", "nonsense"], "unknown", []])
def test_fields_that_it_does_not_make_are_refused(fields):
    with pytest.raises(Field_List_Error, match="canonical"):
        Traffic(1, fields)
    assert not FORBIDDEN_FIELDS & set(Traffic().fields)


def test_a_rate_that_is_no_share_is_refused():
    with pytest.raises(Config_Error, match="dirt_rate"):
        Traffic(dirt_rate=5)


def test_dirt_is_as_frequent_as_asked_and_of_every_kind():
    data = made(Traffic(2, dirt_rate=0.2), 20_000)
    broken = made(Traffic(2), 20_000)
    spoilt = [line for line, whole in zip(data.split(b"\n"), broken.split(b"\n"), strict=True) if line != whole]
    assert 0.18 < len(spoilt) / 20_000 < 0.21
    found = [line.split(b"\t") for line in spoilt]
    expected = 4000 / len(DIRT)
    marks = {
        "missing_field": sum(len(row) == 26 for row in found),
        "extra_field": sum(len(row) == 28 for row in found),
        "broken_utf8": sum(b"\xff" in line for line in spoilt),
        "nul": sum(b"\0" in line for line in spoilt),
        "quotes": sum(b'"' in line for line in spoilt),
        "crlf": sum(line.endswith(b"\r") for line in spoilt),
        "address": sum(b"example.org" in line or b"203" in line.split(b"/ip/")[-1][:9] for line in spoilt),
        "bad_status": sum(len(row[2]) != 3 for row in found if len(row) == 27),
    }
    assert all(count > expected / 2 for count in marks.values()), marks


def test_a_duplicate_is_the_line_before_again_at_most_two_seconds_later():
    (chunk,) = Traffic(2, duplicate_rate=0.2).lines(START_MS, START_MS + 10 * HOUR_MS, 5000)
    lines = chunk.lines()
    copies = [i for i in range(1, 5000) if lines[i] == lines[i - 1]]
    assert 850 < len(copies) < 1150
    assert len(set(lines)) == 5000 - len(copies)
    assert all(chunk.arrival_ms[i] - chunk.arrival_ms[i - 1] <= 2000 for i in copies)


def test_late_records_are_as_frequent_as_asked():
    (chunk,) = Traffic(2, late_rate=0.1).lines(START_MS, START_MS + DAY_MS, 5000)
    late = (chunk.arrival_ms - chunk.event_ms) >= 2 * MINUTE_MS
    assert 0.08 < late.mean() < 0.12


def test_new_paths_are_never_asked_for_twice():
    stems = column(made(Traffic(2, new_path_rate=1.0), 5000), "cs-uri-stem")
    assert len({stem.partition("?")[0] for stem in stems}) > 4900


def test_200_000_lines_a_second_on_one_core():
    traffic = Traffic(1)
    best = 0.0
    for _ in range(5):  # the best of five, since the machine is shared
        began_s = time.process_time()
        count = sum(map(len, traffic.lines(START_MS, START_MS + HOUR_MS, 65_536)))
        best = max(best, count / (time.process_time() - began_s))
    assert best > 200_000


def test_filling_keeps_duplicates_in_their_shard_and_arrival_times(kinesis):
    kinesis.create_stream("filled", 4)
    traffic = Traffic(2, duplicate_rate=0.2)
    chunks = list(traffic.lines(START_MS, START_MS + HOUR_MS, 4000))
    assert fill(kinesis, "filled", chunks) == 4000
    shards = records(kinesis, "filled")
    lines = chunks[0].lines()
    assert sorted(line for part in shards.values() for line in part) == sorted(lines)
    assert all(800 < len(part) < 1200 for part in shards.values())
    where = {line: shard_id for shard_id, part in shards.items() for line in part}
    assert all(part.count(line) == lines.count(line) for line in lines[:50] for part in [shards[where[line]]])
    assert [part for part, _ in lines_per_shard(chunks[0], 4)] == list(shards.values())


def test_lines_are_put_through_boto3_and_refused_ones_again(kinesis, monkeypatch):
    kinesis.create_stream("put", 2)
    server = kinesis_server.start(kinesis)
    client = boto3.client(
        "kinesis", "us-east-1", endpoint_url=server.url, aws_access_key_id="x", aws_secret_access_key="x"
    )
    chunks = list(Traffic(3).lines(START_MS, START_MS + HOUR_MS, 1200))
    calls = iter(range(100_000))
    kinesis.fault = lambda *_: THROTTLED if next(calls) % 3 == 0 else None
    waits: list[float] = []
    assert put_lines(client, "put", chunks, waits.append) == 1200
    kinesis.fault = None
    assert sorted(line for part in records(kinesis, "put").values() for line in part) == sorted(chunks[0].lines())
    assert waits
    kinesis.fault = lambda *_: THROTTLED
    with pytest.raises(Store_Unavailable, match="too few shards"):
        put_lines(client, "put", chunks, waits.append)
    kinesis.fault = None
    server.stop()


def test_files_hold_the_lines_and_gzip_files_are_repeatable(tmp_path, capfdbinary):
    data = made(Traffic(3), 1000)
    for name in ("a.log", "a.gz", "b.gz"):
        assert write_lines(tmp_path / name, Traffic(3).lines(START_MS, START_MS + HOUR_MS, 1000)) == 1000
    assert (tmp_path / "a.log").read_bytes() == data
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == data
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    write_lines("-", Traffic(3).lines(START_MS, START_MS + HOUR_MS, 1000))
    assert capfdbinary.readouterr().out == data
