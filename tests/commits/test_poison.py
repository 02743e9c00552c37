"""Batches on which the engine fails: found one by one, set aside as a whole, and nothing of it in silence."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sa_stream.commits.codec import decode_progress
from sa_stream.commits.poison import FAILURES_MAX, SAME_WAY_MAX, Poison, Set_Aside
from sa_stream.partitions import END, Shard_Info
from sa_stream.records.columns import Columns
from sa_stream.records.parser import Parser
from sa_stream.rollups.finality import SET_ASIDE, Missing, view
from sa_stream.timing import BEGINNING_MS, MINUTE_MS, WINDOW_MS
from sa_stream.windows.window import Window
from tests.windows.partition_feed import (
    PARTITION,
    TIMING,
    Dict_Store,
    Record,
    Worker,
    after,
    now_at,
    partials_of,
    record,
)

NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z
NEXT_MS = NOON_MS + WINDOW_MS
POISON = b"poison"
BROKEN = "Broken: cannot read row 7"


class Broken(Exception):
    pass


@pytest.fixture(autouse=True)
def fragile_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that fails on one kind of payload, as nothing known does."""
    original = Parser.portions

    def portions(self: Parser, payloads: Sequence[bytes], arrivals_ms: Any) -> Iterator[Columns]:
        for row, payload in enumerate(payloads):
            if payload.startswith(POISON):
                raise Broken(f"cannot read row {row}")
        return original(self, payloads, arrivals_ms)

    monkeypatch.setattr(Parser, "portions", portions)


def poison(number: int, arrival_ms: int = NOON_MS) -> Record:
    return Record(str(number), arrival_ms, POISON + b" of 10.0.0.1\n")


def hopeless(first: int, last: int) -> Poison:
    """What is known after the engine has failed on these records again and again."""
    memory = Poison()
    for _ in range(SAME_WAY_MAX):
        memory.failed(PARTITION, (str(first), str(last)), BROKEN)
    return memory


def letters_of(store: Dict_Store) -> list[dict[str, Any]]:
    return [json.loads(store.objects[key]) for key in store.keys("dead-letters/")]


# ------------------------------------------------------------------------------------------------------ what is known


def test_the_first_failure_asks_for_care_and_the_third_of_a_kind_sets_aside() -> None:
    memory = Poison()
    assert not memory.careful("a")
    memory.failed("a", ("10", "90"), BROKEN)
    assert (memory.careful("a"), memory.careful("b"), memory.set_aside("a")) == (True, False, ())
    for _ in range(FAILURES_MAX):  # batches that were joined: nobody knows in which one it is
        memory.failed("a", ("10", "90"), BROKEN, careful=False)
    assert memory.set_aside("a") == ()
    memory.failed("a", ("10", "30"), "Broken: cannot read row 12")  # the same way: only numbers differ
    memory.failed("a", ("10", "20"), "Other: no")
    assert memory.set_aside("a") == ()
    memory.failed("a", ("10", "40"), BROKEN)
    assert memory.set_aside("a") == (Set_Aside(10, 20, BROKEN),)  # the shortest batch that failed
    assert memory.set_aside("b") == ()


def test_an_error_that_says_something_else_each_time_does_not_go_on_for_ever() -> None:
    memory = Poison()
    for failure in range(FAILURES_MAX):
        assert memory.set_aside("a") == ()
        memory.failed("a", ("10", "20"), "Broken: " + "x" * failure)
    assert [(aside.first, aside.last) for aside in memory.set_aside("a")] == [(10, 20)]


def test_what_is_committed_is_forgotten_and_no_more() -> None:
    memory = Poison()
    memory.failed("a", ("10", "90"), BROKEN)
    memory.committed("a", "9")
    assert memory.careful("a")
    for _ in range(2):
        memory.failed("a", ("10", "20"), BROKEN)
    memory.committed("a", "15")  # the source cut the batch in two
    assert memory.set_aside("a") == (Set_Aside(10, 20, BROKEN),)
    memory.committed("a", "20")
    assert (memory.careful("a"), memory.set_aside("a")) == (True, ())
    memory.failed("a", ("50", "60"), BROKEN)
    memory.failed("a", ("50", "60"), BROKEN)
    memory.committed("a", "55")  # it went well after all
    memory.failed("a", ("50", "60"), BROKEN)
    assert memory.set_aside("a") == ()
    memory.committed("a", "90")
    assert not memory.careful("a")
    memory.failed("a", ("100", "200"), BROKEN)
    memory.committed("a", END)
    assert not memory.careful("a")


def test_a_failure_without_records_asks_for_care_until_the_next_commit() -> None:
    memory = Poison()
    for _ in range(20):
        memory.failed("a", None, BROKEN)
    assert (memory.careful("a"), memory.set_aside("a")) == (True, ())
    memory.committed("a", "1")
    assert not memory.careful("a")


# ------------------------------------------------------------------------------------------------------ the consumer


def test_a_careful_consumer_folds_and_commits_each_batch_by_itself() -> None:
    worker = Worker(now_ms=NOON_MS)
    worker.consumer.careful = True
    for number in (1, 3, 5):
        worker.read([record(number, NOON_MS), record(number + 1, NOON_MS)], NOON_MS)
    assert worker.consumer.due(now_at(NOON_MS))
    worker.work(NOON_MS)
    assert [key for name, key in worker.calls if name == "checkpoint"] == ["2", "4", "6"]
    worker.consumer.careful = False
    worker.read([record(7, NOON_MS)], NOON_MS)
    assert not worker.consumer.due(now_at(NOON_MS))
    worker.work(NOON_MS)
    assert worker.checkpoint == "6"


def test_a_consumer_that_failed_says_on_which_records() -> None:
    worker = Worker(now_ms=NOON_MS)
    assert worker.consumer.folding is None
    worker.read([record(1, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    assert worker.consumer.folding is None
    worker.read([record(2, NOON_MS), record(3, NOON_MS)], NOON_MS)
    worker.read([poison(4), record(5, NOON_MS)], NOON_MS)
    with pytest.raises(Broken):
        worker.work(NOON_MS)
    assert worker.consumer.folding == ("2", "5")


def test_a_commit_that_fails_is_put_down_to_all_records_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(now_ms=NOON_MS)
    worker.read([record(1, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    for number in (2, 3):
        worker.read([record(number, NOON_MS)], NOON_MS)
        worker.work(NOON_MS)

    def to_bytes(window: Window) -> bytes:
        raise Broken("too large")

    monkeypatch.setattr(Window, "to_bytes", to_bytes)
    with pytest.raises(Broken):
        worker.flush(NOON_MS)
    assert worker.consumer.folding == ("2", "3")


def test_records_that_are_set_aside_are_buried_unread_and_their_windows_stay_open_for_good() -> None:
    worker = Worker(now_ms=NOON_MS)
    records = [record(1, NOON_MS), poison(2), poison(3, NEXT_MS - 1_000), record(4, NEXT_MS - 1)]
    worker.read(records[:1], NOON_MS)
    worker.flush(NOON_MS)
    before = worker.state.lineage
    worker = Worker(worker.store, worker.checkpoint, NOON_MS, poison=hopeless(2, 3))
    worker.read(records[1:], NEXT_MS)
    worker.work(NEXT_MS)
    state = worker.state
    assert (worker.checkpoint, state.number) == ("4", "4")
    assert state.lineage != before
    assert state.since_ms == NEXT_MS - 1_000 + 1
    assert state.counters == {"records": 2, "aggregated": 2, "set_aside_records": 2}
    assert Window.from_bytes(partials_of(worker)[NOON_MS][1]).total_requests == 2
    assert letters_of(worker.store) == [
        {
            "partition": PARTITION,
            "number": "2",
            "last_number": "3",
            "reason": "set_aside",
            "records": 2,
            "error": BROKEN,
            "arrival_ms": NOON_MS,
        }
    ]
    calls = [(name, key) for name, key in worker.calls if name in ("put", "checkpoint")]
    assert calls[0][1].startswith("dead-letters/")  # before the commit that passes over them
    assert calls[-1] == ("checkpoint", "4")

    worker.tip(NEXT_MS + 3 * WINDOW_MS)
    worker.flush(NEXT_MS + 3 * WINDOW_MS)
    progress = decode_progress(worker.store.objects[worker.store.keys("progress/")[-1]])
    shards = [Shard_Info(PARTITION, (), False)]
    for start_ms, final in ((NOON_MS, False), (NEXT_MS, False), (NEXT_MS + WINDOW_MS, True)):
        seen = view(shards, {PARTITION: progress}, start_ms, TIMING, NEXT_MS + 9 * WINDOW_MS)
        assert (seen.passed, seen.final) == (True, final)
        assert seen.missing == (() if final else (Missing(PARTITION, SET_ASIDE),))


def test_the_text_of_what_is_set_aside_is_kept_if_it_is_asked_for() -> None:
    worker = Worker(now_ms=NOON_MS, keep_text=True, poison=hopeless(1, 2))
    worker.read([poison(1), poison(2)], NOON_MS)
    worker.flush(NOON_MS)
    (letter,) = letters_of(worker.store)
    assert len(letter["texts"]) == 2
    assert "10.0.0.1" not in str(letter)


@pytest.mark.parametrize("seed", range(12))
def test_a_shard_with_poison_in_it_is_read_to_its_end_however_its_batches_are_cut(seed: int) -> None:
    """Every record counts once, or lies in exactly one dead letter with the poison beside it."""
    rng = random.Random(seed)
    count = 60
    poisoned = set(rng.sample(range(1, count + 1), 3))
    records = [
        poison(n, NOON_MS + n * 1_000) if n in poisoned else record(n, NOON_MS + n * 1_000) for n in range(1, count + 1)
    ]
    memory, store, checkpoint, starts = Poison(), Dict_Store(), None, 0
    rest, worker = records, None
    while rest or worker is None:
        starts += 1
        assert starts < 60, "it goes on for ever"
        worker = Worker(store, checkpoint, NOON_MS, poison=memory)
        memory.committed(PARTITION, checkpoint or "0")
        rest = after(records, checkpoint)
        try:
            while rest:
                size = rng.randint(1, 9)
                worker.read(rest[:size], NOON_MS + MINUTE_MS)
                rest = rest[size:]
                if rng.random() < 0.5:
                    worker.work(NOON_MS + MINUTE_MS)
                    memory.committed(PARTITION, worker.state.committed_number or "0")
                    worker.consumer.careful = memory.careful(PARTITION)
            worker.flush(NOON_MS + MINUTE_MS)
            memory.committed(PARTITION, worker.state.committed_number)
        except Broken as error:
            memory.failed(PARTITION, worker.consumer.folding, f"Broken: {error}", worker.consumer.careful)
            rest = records  # again from the checkpoint
        checkpoint = worker.checkpoint
    assert checkpoint == str(count)
    assert not memory.careful(PARTITION)
    buried = [n for letter in letters_of(store) for n in range(int(letter["number"]), int(letter["last_number"]) + 1)]
    assert len(buried) == len(set(buried)) == sum(letter["records"] for letter in letters_of(store))
    assert poisoned <= set(buried)
    assert len(buried) <= 3 * 9
    assert worker.state.counters["set_aside_records"] == len(buried)
    assert worker.state.counters["aggregated"] == count - len(buried)
    ((_, data),) = partials_of(worker).values()
    assert Window.from_bytes(data).total_requests == count - len(buried)
    assert worker.state.since_ms > BEGINNING_MS
