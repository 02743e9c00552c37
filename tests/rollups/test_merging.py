"""What is replaced while an entry is made of it: the newest serves, and the merge goes on."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sa_stream.commits.keys import PARTIALS_PREFIX, PROGRESS_PREFIX, SUMMARIES_PREFIX
from sa_stream.commits.operations import Call
from sa_stream.rollups.merging import MERGED_AT_ONCE
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.timing import HOUR_MS, WINDOW_MS
from tests.rollups.rollup_stream import Stream

W = int(datetime(2026, 2, 16, 14, tzinfo=UTC).timestamp() * 1000)
NEXT, LATER = W + WINDOW_MS, W + 3 * HOUR_MS
HALF = "30min/2026-02-16-1400"


def once_before(stream: Stream, prefix: str, happens: Callable[[], None]) -> Callable[[Call], Any]:
    """A driver's `perform` in which something happens just before the first object below this prefix is read."""
    waiting = [happens]

    def perform(operation: Call) -> Any:
        if operation.name.endswith(".get") and operation.arguments[0].startswith(prefix) and waiting:
            waiting.pop()()
        return stream.perform(operation)

    return perform


def test_a_partial_that_is_replaced_while_it_is_read_is_looked_up_again_and_the_merge_goes_on() -> None:
    stream = Stream("a", "b")
    stream.commit("a", 1, W + 1, {W: 5})
    stream.commit("b", 1, W + 1, {W: 7})
    replaced = once_before(stream, PARTIALS_PREFIX, lambda: stream.commit("a", 2, W + 2, {W: 50}))
    result = stream.run(W + 60_000, perform=replaced)
    assert (result.skipped, stream.entries[HALF]["total_requests"]) == ({}, 57)
    assert [source["number"] for source in stream.entries[HALF]["sources"]] == ["2", "1"]
    assert stream.settle(W + 60_000) == 0  # it says already what the next pass would


def test_a_newer_partial_that_covers_less_is_not_taken_into_what_is_about_to_be_final() -> None:
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, NEXT, {W: 7})

    def loses() -> None:
        stream.commit("a", 2, NEXT, {W: 1}, since_ms=NEXT, lineage="m")
        for item in stream.store.list("partials"):
            if "/a/l/" in item.key:
                stream.store.delete(item.key)

    result = stream.run(LATER, perform=once_before(stream, PARTIALS_PREFIX, loses))
    assert result.skipped["partial-gone"] == 1
    assert HALF not in stream.entries
    stream.settle(LATER)
    assert stream.entries[HALF]["status"] == "partial"


def test_a_partial_that_keeps_moving_leaves_the_entry_to_a_later_pass() -> None:
    stream = Stream("a")
    stream.commit("a", 1, W + 1, {W: 5})
    number = 1

    def moving(operation: Call) -> Any:
        nonlocal number
        if operation.name.endswith(".get") and operation.arguments[0].startswith(PARTIALS_PREFIX):
            number += 1
            stream.commit("a", number, W + number, {W: number})
        return stream.perform(operation)

    assert stream.run(W + 60_000, perform=moving).skipped["partial-gone"] == 1
    stream.settle(W + 60_000)
    assert stream.entries[HALF]["total_requests"] == number


def test_a_progress_record_that_is_replaced_while_it_is_read_is_looked_up_again_by_itself() -> None:
    stream = Stream(*"abc")
    for partition in "abc":
        stream.commit(partition, 1, W + 1, {W: 5})
    moved = once_before(stream, PROGRESS_PREFIX, lambda: stream.commit("b", 2, W + 2, {W: 6}))
    result = stream.run(W + 60_000, perform=moved)
    assert {name: own.number for name, own in result.progress.items()} == {"a": "1", "b": "2", "c": "1"}
    assert stream.calls["list"] <= 2 + 3 + 4  # all, then those of b; summaries; the rest are of entries
    assert stream.entries[HALF]["total_requests"] == 16


def test_who_wrote_an_open_entry_last_goes_on_and_another_takes_over_when_he_is_gone() -> None:
    stream = Stream("a", refresh_ms={"30min": 10_000})
    first, second = stream.fresh(), stream.fresh()
    number, now_ms = 0, W + 60_000
    wrote: list[list[bool]] = []

    def passes(*reconcilers: Reconciler) -> list[bool]:
        nonlocal number, now_ms
        number, now_ms = number + 1, now_ms + 12_000
        stream.commit("a", number, W + number, {W: number})
        return [HALF in [one.cache_key for one in stream.run(now_ms, who).written] for who in reconcilers]

    for _ in range(10):
        wrote.append(passes(first, second))
    assert wrote == [[True, False]] * 10
    alone = [passes(second)[0] for _ in range(6)]  # the first is gone
    assert alone == [False, False, True, True, True, True]
    assert passes(first, second) == [False, True]  # it is back, and watches


def test_a_final_entry_is_left_to_him_who_wrote_it_last_for_some_seconds_and_no_longer() -> None:
    stream = Stream("a", refresh_ms={"30min": 10_000})
    first, second = stream.fresh(), stream.fresh()
    stream.commit("a", 1, W + 1, {W: 5})
    now_ms = NEXT - 2_000
    stream.run(now_ms, first)
    stream.run(now_ms, second)
    stream.commit("a", 2, NEXT, {W: 6})
    waited_ms = []
    for step_ms in range(5_000, 60_000, 5_000):
        if HALF in [one.cache_key for one in stream.run(now_ms + step_ms, second).written]:
            waited_ms.append(step_ms)
    assert stream.entries[HALF]["status"] == "final"
    assert waited_ms == [20_000]
    assert stream.run(now_ms + 60_000, first).written == [] or stream.entries[HALF]["revision"] == 0


def test_more_parts_than_are_read_at_a_time_add_up_to_the_same() -> None:
    names = [f"shard-{i:03d}" for i in range(2 * MERGED_AT_ONCE + 3)]
    stream = Stream(*names)
    for i, name in enumerate(names):
        stream.commit(name, 1, NEXT, {W: 10 + i}, salt=20 * i)
    stream.settle(LATER)
    expected = sum(10 + i for i in range(len(names)))
    assert (stream.entries[HALF]["total_requests"], stream.entries[HALF]["source_count"]) == (expected, len(names))
    assert stream.entries["monthly/2026-02"]["total_requests"] == expected


def test_a_day_all_of_whose_summaries_are_gone_is_made_anew_in_a_few_passes() -> None:
    stream = Stream("a")
    windows = dict.fromkeys(range(W, W + 12 * WINDOW_MS, WINDOW_MS), 5)
    stream.commit("a", 1, W + 12 * WINDOW_MS, windows)
    stream.settle(W + 12 * WINDOW_MS)
    for item in stream.store.list(SUMMARIES_PREFIX):
        stream.store.delete(item.key)
    stream.commit("a", 2, W + 12 * WINDOW_MS, windows | {W: 6})
    worker = stream.fresh()
    for _ in range(5):
        stream.run(W + 7 * HOUR_MS, worker)
    assert stream.entries["daily/2026-02-16"]["total_requests"] == 61
