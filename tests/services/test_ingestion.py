"""Ingestion: what came of each file is kept, and no file is read twice."""

from collections import Counter

import pytest

from sa_stream.errors import SA_Stream_Error, Source_Error, Store_Unavailable
from sa_stream.schemas.namespaces import NS_SA_RAW
from sa_stream.services.Service__SA__Log__Ingestion import Service__SA__Log__Ingestion
from sa_stream.timing import HOUR_MS, MINUTE_MS
from tests.firehose import plain
from tests.oracle import recount
from tests.services.place import BEGIN_MS, NOW_MS, Place
from tests.services.test_collector import KEY, record


def ingestion_of(place: Place, store_raw: bool = False) -> Service__SA__Log__Ingestion:
    ingestion = place.pipeline().ingestion
    ingestion.store_raw = store_raw
    return ingestion


def reads_of(place: Place) -> Counter[str]:
    reads: Counter[str] = Counter()

    def count(call: str, key: str) -> None:
        if call == "read":
            reads[key] += 1

    place.store.fault = count
    return reads


def test_records_are_counted_as_a_recount_does_and_what_is_none_is_named_with_its_reason():
    place = Place()
    result = ingestion_of(place).execute(now_ms=NOW_MS).json()
    expected = recount(list(map(plain, place.objects.values())), now_ms=NOW_MS)
    assert result["records_parsed"] == expected.records - sum(expected.invalid.values())
    assert {error["reason"]: error["records"] for error in result["errors"]} == expected.invalid
    assert (result["records_stored"], result["log_file_key"]) == (0, "cloudfront-realtime/")


def test_a_second_run_gives_the_same_and_reads_no_file_but_those_that_are_new():
    place = Place()
    first = ingestion_of(place).execute(now_ms=NOW_MS).json()
    place.put({KEY: record(0)})
    reads = reads_of(place)
    second = ingestion_of(place).execute(now_ms=NOW_MS).json()
    assert reads == {KEY: 1}
    assert second == first | {"records_parsed": first["records_parsed"] + 1}


def test_one_file_is_read_by_its_key_and_its_result_is_kept_under_its_half_hour():
    place = Place(b"")
    place.put({KEY: record(0) + b"short\n"})
    result = ingestion_of(place).execute(KEY, NOW_MS).json()
    assert result == {
        "log_file_key": KEY,
        "records_parsed": 1,
        "records_stored": 0,
        "cache_prefix": f"{NS_SA_RAW}/2026-02-16/13-00",
        "errors": [{"reason": "fields", "records": 1}],
    }
    assert ingestion_of(place).execute(KEY, NOW_MS).json() == result


@pytest.mark.parametrize("damage", [{"errors": None}, {"errors": [{}]}, {"records_parsed": "x"}, {"more": 1}, None])
def test_a_result_that_is_damaged_counts_as_none_and_its_file_is_read_again(damage: dict[str, object] | None):
    place = Place(b"")
    place.put({KEY: record(0) + b"short\n"})
    result = ingestion_of(place).execute(KEY, NOW_MS).json()
    (kept,) = place.cache.entries(NS_SA_RAW)
    place.cache.store_entry(NS_SA_RAW, kept, {} if damage is None else result | damage)
    reads = reads_of(place)
    assert ingestion_of(place).execute(KEY, NOW_MS).json() == result
    assert reads == {KEY: 1}


@pytest.mark.parametrize("key", ["cloudfront-realtime/2026/02/16/13/logs", "elsewhere/file"])
def test_a_file_that_is_not_there_is_an_error(key: str):
    place = Place(b"")
    place.put({KEY: record(0)})
    with pytest.raises(Source_Error, match=key):
        ingestion_of(place).execute(key, NOW_MS)


def test_records_are_stored_where_that_is_switched_on_without_ids_agents_and_queries():
    place = Place(b"", service=True)
    lines = record(0, cs_user_agent="agent-smith", cs_uri_stem="/a?token=secret"), record(1)
    place.put({KEY: b"".join(lines)})
    ingestion_of(place).execute(KEY, NOW_MS)
    for _ in range(2):
        result = ingestion_of(place, store_raw=True).execute(KEY, NOW_MS).json()
        assert (result["records_parsed"], result["records_stored"]) == (2, 2)
    (folder,) = [path for path in place.cache.list_files(NS_SA_RAW) if path.endswith("-0.json")][:1]
    key = folder.partition("key-based/")[2].rpartition("/")[0]
    stored = place.cache.retrieve_entry(NS_SA_RAW, key)
    assert stored is not None
    assert [event["cs-uri-stem"] for event in stored["records"]] == ["/a", "/"]
    assert not any(word in str(stored) for word in ("secret", "agent-smith", "id-0"))


def test_a_file_that_could_not_be_read_is_named_and_read_again():
    place = Place(b"")
    place.put({KEY: record(0)})
    errors: dict[str, SA_Stream_Error] = {"read": Store_Unavailable("S3 cannot give it now: SlowDown")}
    place.store.fault = lambda call, key: errors.get(call)
    result = ingestion_of(place).execute(now_ms=NOW_MS).json()
    assert result["errors"] == [{"file": f"memory://{KEY}", "error": "S3 cannot give it now: SlowDown"}]
    errors.clear()
    result = ingestion_of(place).execute(now_ms=NOW_MS).json()
    assert (result["records_parsed"], result["errors"]) == (1, [])


def test_files_of_a_time_that_is_over_are_judged_by_the_clock_and_not_by_the_end_of_that_time():
    place = Place(b"")
    place.put({KEY: record(0) + record(HOUR_MS // 1000)})  # opened before the hour was over, and written to after that
    until_ms = BEGIN_MS + HOUR_MS
    early = ingestion_of(place).execute(now_ms=until_ms - 10 * MINUTE_MS, until_ms=until_ms).json()
    assert (early["records_parsed"], early["errors"]) == (1, [{"reason": "future", "records": 1}])
    result = ingestion_of(place).execute(now_ms=NOW_MS, until_ms=until_ms).json()
    assert (result["records_parsed"], result["errors"]) == (2, []), "what was still to come has come by now"
    reads = reads_of(place)
    assert ingestion_of(place).execute(now_ms=NOW_MS, until_ms=until_ms).json() == result
    assert not reads
