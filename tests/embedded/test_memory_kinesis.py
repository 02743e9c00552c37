"""The in-memory Kinesis against what the Kinesis API reference says of shards, iterators and retention."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.embedded.memory_kinesis import (
    HASH_KEYS,
    THROTTLED,
    Kinesis_Error,
    Memory_Kinesis,
    Shard_Filter,
    hash_key,
)
from sa_stream.timing import DAY_MS, HOUR_MS


class Clock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kinesis(clock: Clock) -> Memory_Kinesis:
    kinesis = Memory_Kinesis(clock)
    kinesis.create_stream("logs", 1)
    return kinesis


SHARD = "shardId-000000000000"


def ids(page) -> list[str]:
    return [shard.shard_id for shard in page.shards]


def read_all(kinesis: Memory_Kinesis, shard_id: str = SHARD, **at) -> tuple[list[bytes], bool]:
    """Everything from here to the tip, and whether the shard ended there."""
    iterator = kinesis.shard_iterator("logs", shard_id, **(at or {"type": "TRIM_HORIZON"}))
    found: list[bytes] = []
    while True:
        page = kinesis.get_records(iterator)
        found += page.payloads
        if page.next_iterator is None:
            return found, True
        if not page.payloads:
            return found, False
        iterator = page.next_iterator


def test_a_record_comes_out_as_it_went_in(kinesis, clock):
    shard_id, number = kinesis.put("logs", b"one\n", "key")
    page = kinesis.get_records(kinesis.shard_iterator("logs", shard_id, "TRIM_HORIZON"))
    assert (page.payloads, page.arrivals_ms, page.sequence_numbers) == ([b"one\n"], [clock.ms], [number])
    assert page.partition_keys == ["key"]
    assert page.millis_behind_latest == 0


def test_sequence_numbers_have_56_digits_ascend_with_gaps_and_a_child_s_are_above_its_parent_s(kinesis):
    numbers = [int(kinesis.put("logs", b"x", "k")[1]) for _ in range(1000)]
    assert numbers == sorted(set(numbers))
    assert all(len(str(number)) == 56 for number in numbers)
    assert numbers[1] - numbers[0] > 1
    child = kinesis.split("logs", SHARD)[0]
    assert child.first_number > kinesis.stream("logs").shards[0].last_number > numbers[-1]


def test_the_five_iterators_start_where_they_say(kinesis, clock):
    numbers = []
    for i in range(10):
        numbers.append(kinesis.put("logs", b"%d" % i, "k")[1])
        clock.ms += 1000
    begin = clock.ms - 10_000

    def first(**at):
        return read_all(kinesis, **at)[0][:1]

    assert first(type="TRIM_HORIZON") == [b"0"]
    assert first(type="LATEST") == []
    assert first(type="AT_SEQUENCE_NUMBER", sequence_number=numbers[4]) == [b"4"]
    assert first(type="AFTER_SEQUENCE_NUMBER", sequence_number=numbers[4]) == [b"5"]
    assert first(type="AFTER_SEQUENCE_NUMBER", sequence_number=numbers[9]) == []
    assert first(type="AT_TIMESTAMP", timestamp_ms=begin + 4000) == [b"4"]
    assert first(type="AT_TIMESTAMP", timestamp_ms=begin + 4001) == [b"5"]
    assert first(type="AT_TIMESTAMP", timestamp_ms=begin - DAY_MS) == [b"0"]


@pytest.mark.parametrize("number", ["1", "", "-5", "x", "9" * 56])
def test_a_sequence_number_of_another_stream_is_refused(kinesis, number):
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.shard_iterator("logs", SHARD, "AT_SEQUENCE_NUMBER", number)
    assert caught.value.code == "InvalidArgumentException"


def test_an_iterator_expires_after_300_seconds(kinesis, clock):
    iterator = kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON")
    clock.ms += 300_000
    kinesis.get_records(iterator)
    clock.ms += 1
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.get_records(iterator)
    assert caught.value.code == "ExpiredIteratorException"


@pytest.mark.parametrize("iterator", ["", "nonsense", "bm8="])
def test_an_iterator_that_nobody_gave_is_refused(kinesis, iterator):
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.get_records(iterator)
    assert caught.value.code == "InvalidArgumentException"


def test_a_read_is_limited_to_10_000_records_and_10_mebibytes(kinesis):
    kinesis.put_many("logs", [b"x"] * 10_001, ["k"] * 10_001)
    page = kinesis.get_records(kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON"), 20_000)
    assert len(page.payloads) == 10_000
    assert page.millis_behind_latest > 0
    assert len(kinesis.get_records(page.next_iterator).payloads) == 1
    kinesis.put_many("logs", [b"x" * (4 << 20)] * 3, ["k"] * 3)
    page = kinesis.get_records(page.next_iterator)
    assert len(page.payloads) == 3  # the single small record and two big ones
    assert len(kinesis.get_records(page.next_iterator).payloads) == 1


def test_records_past_the_retention_are_skipped_without_a_word(kinesis, clock):
    old = [kinesis.put("logs", b"old", "k")[1] for _ in range(10)]
    clock.ms += HOUR_MS
    kinesis.put_many("logs", [b"new"] * 100, ["k"] * 100)
    clock.ms += DAY_MS - HOUR_MS + 1
    assert read_all(kinesis)[0] == [b"new"] * 100
    assert read_all(kinesis, type="AFTER_SEQUENCE_NUMBER", sequence_number=old[2])[0] == [b"new"] * 100
    clock.ms += HOUR_MS
    assert read_all(kinesis) == ([], False)
    number = kinesis.put("logs", b"next", "k")[1]
    assert int(number) > int(old[-1])
    assert read_all(kinesis, type="AT_SEQUENCE_NUMBER", sequence_number=number)[0] == [b"next"]


def test_a_split_closes_the_parent_and_records_go_to_the_children(kinesis):
    kinesis.put("logs", b"before", "k")
    left, right = kinesis.split("logs", SHARD)
    assert (left.low, right.high, left.high + 1) == (0, HASH_KEYS - 1, right.low)
    assert left.parents == right.parents == (SHARD,)
    for key in map(str, range(50)):
        shard_id = kinesis.put("logs", b"after", key)[0]
        assert shard_id == (left if hash_key(key) <= left.high else right).shard_id
    page = kinesis.get_records(kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON"))
    assert page.payloads == [b"before"]
    assert page.next_iterator is None
    assert page.children == [left, right]
    with pytest.raises(Kinesis_Error):
        kinesis.put_to_shard("logs", SHARD, b"too late")


def test_a_merge_has_two_parents_and_takes_both_ranges(kinesis):
    left, right = kinesis.split("logs", SHARD)
    child = kinesis.merge("logs", right.shard_id, left.shard_id)
    assert child.parents == (right.shard_id, left.shard_id)
    assert (child.low, child.high) == (0, HASH_KEYS - 1)
    assert read_all(kinesis, left.shard_id) == ([], True)
    with pytest.raises(Kinesis_Error):
        kinesis.merge("logs", left.shard_id, right.shard_id)


def test_an_iterator_at_the_tip_sees_the_end_when_its_shard_is_closed(kinesis):
    page = kinesis.get_records(kinesis.shard_iterator("logs", SHARD, "LATEST"))
    kinesis.split("logs", SHARD)
    page = kinesis.get_records(page.next_iterator)
    assert (page.payloads, page.next_iterator, len(page.children)) == ([], None, 2)


def test_shard_filters(kinesis, clock):
    start = clock.ms
    clock.ms += HOUR_MS
    left, right = kinesis.split("logs", SHARD)
    every, children = [SHARD, left.shard_id, right.shard_id], [left.shard_id, right.shard_id]

    def listed(type, **more):
        return ids(kinesis.list_shards("logs", Shard_Filter(type, **more)))

    clock.ms += HOUR_MS
    assert listed("FROM_TRIM_HORIZON") == every
    assert listed("AT_TRIM_HORIZON") == [SHARD]
    assert listed("AT_LATEST") == children
    assert listed("AFTER_SHARD_ID", shard_id=SHARD) == children
    assert listed("AT_TIMESTAMP", timestamp_ms=start + 1) == [SHARD]
    assert listed("AT_TIMESTAMP", timestamp_ms=start + HOUR_MS + 1) == children
    assert listed("FROM_TIMESTAMP", timestamp_ms=start + 1) == every
    assert listed("FROM_TIMESTAMP", timestamp_ms=start + HOUR_MS + 1) == children
    clock.ms += DAY_MS
    assert listed("FROM_TRIM_HORIZON") == listed("AT_TRIM_HORIZON") == children
    assert left.parents == (SHARD,)  # the parent is still named when it is gone
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON")
    assert caught.value.code == "ResourceNotFoundException"


def test_list_shards_pages_bring_every_shard_once(clock):
    kinesis = Memory_Kinesis(clock)
    kinesis.create_stream("logs", 7)
    page = kinesis.list_shards("logs", Shard_Filter("AT_LATEST"), max_results=3)
    found = ids(page)
    while page.next_token:
        page = kinesis.list_shards(next_token=page.next_token, max_results=3)
        found += ids(page)
    assert found == [f"shardId-{i:012d}" for i in range(7)]
    token = kinesis.list_shards("logs", max_results=3).next_token
    clock.ms += 300_001
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.list_shards(next_token=token)
    assert caught.value.code == "ExpiredNextTokenException"


def test_a_given_arrival_time_is_kept_and_never_goes_back_within_a_shard(kinesis, clock):
    for arrival_ms in (1000, 3000, 2000):
        kinesis.put("logs", b"x", "k", arrival_ms=clock.ms - 10_000 + arrival_ms)
    page = kinesis.get_records(kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON"), 1)
    assert page.arrivals_ms == [clock.ms - 9000]
    assert page.millis_behind_latest == 7000
    assert kinesis.get_records(page.next_iterator).arrivals_ms == [clock.ms - 7000, clock.ms - 7000]


def test_faults_are_answered_on_demand(kinesis):
    kinesis.fault = lambda operation, stream, shard: THROTTLED if operation == "GetRecords" else None
    iterator = kinesis.shard_iterator("logs", SHARD, "TRIM_HORIZON")
    with pytest.raises(Kinesis_Error) as caught:
        kinesis.get_records(iterator)
    assert caught.value.code == THROTTLED
    kinesis.fault = None
    assert kinesis.get_records(iterator).payloads == []


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.text(max_size=3)),
        st.tuples(st.just("split"), st.integers(0, 20)),
        st.tuples(st.just("merge"), st.integers(0, 20)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_through_any_resharding_every_record_is_read_once_and_open_shards_cover_every_hash_key(steps):
    kinesis = Memory_Kinesis(Clock())
    kinesis.create_stream("logs", 2)
    for count, (action, value) in enumerate(steps):
        shards = kinesis.stream("logs").open_shards()
        if action == "put":
            kinesis.put("logs", b"%d" % count, value)
        elif action == "split":
            kinesis.split("logs", shards[value % len(shards)].shard_id)
        elif len(shards) > 1:
            at = value % (len(shards) - 1)
            kinesis.merge("logs", shards[at].shard_id, shards[at + 1].shard_id)
    shards = kinesis.stream("logs").open_shards()
    assert shards[0].low == 0
    assert shards[-1].high == HASH_KEYS - 1
    assert all(left.high + 1 == right.low for left, right in pairwise(shards))
    found = [payload for shard_id in ids(kinesis.list_shards("logs")) for payload in read_all(kinesis, shard_id)[0]]
    assert sorted(found) == sorted(b"%d" % i for i, step in enumerate(steps) if step[0] == "put")
