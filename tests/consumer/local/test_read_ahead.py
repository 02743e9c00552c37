"""How far readers may be ahead of the engine, all shards together."""

import threading

from consumer.local.read_ahead import BATCH_BYTES_MAX, RECORD_BYTES, Read_Ahead
from sa_stream.partitions import Batch

KB = 1_000


def batch(size_bytes: int) -> Batch:
    return Batch([b"x" * (size_bytes - RECORD_BYTES)], [0], ["1"])


def ahead_of(batches_max: int = 3, bytes_max: int = 100 * KB) -> Read_Ahead:
    """Every shard has had a batch of 10 kB."""
    ahead = Read_Ahead(batches_max, bytes_max)
    for name in "abcdef":
        assert ahead.begin(name, 0)
        ahead.read(name, batch(10 * KB))
        ahead.taken(name)
    return ahead


def read(ahead: Read_Ahead, partition: str, size_bytes: int = 10 * KB) -> bool:
    if not ahead.begin(partition, 0):
        return False
    ahead.read(partition, batch(size_bytes))
    return True


def test_a_shard_is_no_more_than_so_many_batches_ahead() -> None:
    ahead = ahead_of()
    assert [read(ahead, "a") for _ in range(4)] == [True, True, True, False]
    ahead.taken("a")
    assert read(ahead, "a")


def test_all_shards_together_are_no_more_than_so_many_bytes_ahead() -> None:
    ahead = ahead_of(bytes_max=65 * KB)
    assert [read(ahead, name) for name in "abcdef"] == [True] * 4 + [False] * 2
    ahead.taken("b")
    assert read(ahead, "e")
    assert not read(ahead, "b")


def test_a_read_under_way_counts_as_three_of_the_last_one_and_the_first_as_three_of_the_largest() -> None:
    ahead = Read_Ahead(3, BATCH_BYTES_MAX)
    assert ahead.begin("a", 0)
    assert not ahead.begin("b", 0)
    ahead.read("a", batch(KB))
    assert not ahead.begin("b", 0), "it may be the largest"
    ahead.taken("a")
    assert read(ahead, "b", KB)
    assert ahead.begin("a", 0)


def test_few_answers_are_decoded_at_a_time() -> None:
    ahead = ahead_of(bytes_max=65 * KB)
    assert [ahead.begin(name, 0) for name in "abc"] == [True, True, False]
    ahead.read("a", batch(10 * KB))
    assert not ahead.begin("c", 0)
    ahead.read("b", batch(10 * KB))
    assert ahead.begin("c", 0)


def test_one_batch_may_always_be_read_however_large_it_is() -> None:
    ahead = Read_Ahead(3, 1)
    assert read(ahead, "a", 50 * KB)
    assert not read(ahead, "b")
    ahead.taken("a")
    assert read(ahead, "b")


def test_what_was_not_read_and_what_a_shard_leaves_behind_counts_no_more() -> None:
    ahead = Read_Ahead(3, BATCH_BYTES_MAX)
    assert ahead.begin("a", 0)
    ahead.give_up("a")
    assert read(ahead, "b", KB)
    ahead.forget("b")
    assert ahead.size_bytes == 0
    assert ahead.begin("c", 0)


def test_who_waits_goes_on_as_soon_as_there_is_room_and_those_that_are_least_ahead_go_first() -> None:
    ahead = ahead_of(bytes_max=40 * KB)
    assert read(ahead, "a")
    assert read(ahead, "a")
    went: list[str] = []

    def wait(name: str) -> None:
        if ahead.begin(name, 10):
            went.append(name)

    threads = [threading.Thread(target=wait, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    while ahead._waiting != {"a", "b"}:
        threads[0].join(0.01)
    ahead.taken("a")
    threads[1].join(10)
    assert went == ["b"]
    ahead.forget("b")
    threads[0].join(10)
    assert went == ["b", "a"]


def test_a_batch_that_is_read_after_its_shard_was_forgotten_counts_nowhere() -> None:
    """A shard starts again from its last commit while its old reader has a read under way: nobody will take that."""
    ahead = Read_Ahead(3, 1)
    assert ahead.begin("old", 0)
    ahead.forget("old")
    ahead.read("old", batch(10 * KB))
    assert ahead.size_bytes == 0
    assert read(ahead, "new"), "nobody else holds anything"
