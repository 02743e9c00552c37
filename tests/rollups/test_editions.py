"""Writers that stand still between their last look at an entry and their write: what they wrote over comes back."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sa_stream.commits.keys import edition_key
from sa_stream.commits.operations import Call, drive
from sa_stream.partitions import Partial_Name, Shard_Info
from sa_stream.rollups.editions import create_edition, editions_steps
from sa_stream.rollups.memory import Memory
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Moment
from tests.rollups.rollup_stream import Stream

W = int(datetime(2026, 2, 16, 14, tzinfo=UTC).timestamp() * 1000)
NEXT = W + WINDOW_MS
LATER = W + 3 * HOUR_MS
GRACE = Reconciler_Settings().grace_ms
HALF, HOUR, DAY = "30min/2026-02-16-1400", "hourly/2026-02-16-14", "daily/2026-02-16"


def status(stream: Stream, key: str = HALF) -> tuple[str, int, int]:
    entry = stream.entries[key]
    return entry["status"], entry["revision"], entry["total_requests"]


class Slow_Cache:
    """A worker's way to the cache, on which it stands still once: just before it writes `key`, `then` happens."""

    def __init__(self, stream: Stream, then: Callable[[], None], key: str = HALF) -> None:
        self._cache, self._then, self._key = stream.cache, then, key

    def retrieve_entry(self, namespace: str, key: str) -> dict[str, Any] | None:
        return self._cache.retrieve_entry(namespace, key)

    def store_entry(self, namespace: str, key: str, body: dict[str, Any]) -> None:
        if (namespace, key) == (NS_SA_AGGREGATE, self._key):
            then, self._then = self._then, lambda: None
            then()
        self._cache.store_entry(namespace, key, body)


def slow(stream: Stream, then: Callable[[], None], key: str = HALF) -> Reconciler:
    worker = stream.fresh()
    worker.cache = Slow_Cache(stream, then, key)
    return worker


class Crash(BaseException):
    pass


def crash() -> None:
    raise Crash


def edition_numbers(stream: Stream, key: str = HALF) -> list[int]:
    return [int(item.key[-6:]) for item in stream.store.list(f"editions/{key}/")]


# ---------------------------------------------------------------------- what a map may forget


def test_a_late_record_of_a_final_window_is_kept_while_something_keeps_windows_from_passing():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 100})
    stream.settle(LATER)
    stream.commit("ghost", 1, W - DAY_MS)  # holds everything up
    stream.commit("a", 2, LATER, {W: 130})
    for passes in range(4):
        assert W not in stream.run(LATER + passes * GRACE).settled
    for item in stream.store.list("progress/ghost/"):
        stream.store.delete(item.key)
    stream.settle(LATER + 5 * GRACE)
    assert status(stream) == ("final", 1, 130)
    assert stream.run(LATER + 7 * GRACE).settled[W] == (("a", Partial_Name("l", "2")),)


def test_a_map_may_forget_a_window_after_two_reads_that_are_long_enough_apart_and_show_its_partial():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    assert W not in stream.run(LATER).settled  # it was written, and not read yet
    assert W not in stream.run(LATER + 1).settled  # read once
    assert W not in stream.run(LATER + 1 + GRACE - 1).settled
    assert W in stream.run(LATER + 2 * GRACE).settled
    assert W in stream.run(LATER + 2 * GRACE + 1).settled  # believed
    stream.commit("a", 2, NEXT, {W: 6})
    stream.settle(LATER + 2 * GRACE + 2)
    assert W not in stream.run(LATER + 2 * GRACE + 2).settled


def test_a_map_may_not_forget_a_window_that_is_not_rolled_up_yet():
    """Its summary is lost before its hour was made of it: without the map, the hour would count as empty in its day."""
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})

    def without_summaries(operation: Call) -> Any:
        lost = operation.name.endswith(".get") and operation.arguments[0].startswith("summaries/30min/")
        return None if lost else operation()

    for passes in range(4):
        assert W not in stream.run(LATER + passes * GRACE, perform=without_summaries).settled
    assert set(stream.entries) == {HALF}
    stream.settle(LATER + 5 * GRACE)
    assert W in stream.run(LATER + 7 * GRACE).settled


@pytest.mark.parametrize("step_ms", [-DAY_MS, DAY_MS])
def test_a_clock_that_steps_makes_the_wait_neither_shorter_nor_longer(step_ms: int):
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5}, position_ms=NEXT)
    stream.settle(LATER)
    stream.run(LATER)
    assert W not in stream.run(LATER + 1, ahead_ms=step_ms).settled
    assert W not in stream.run(LATER + GRACE - 1, ahead_ms=step_ms).settled
    assert W in stream.run(LATER + GRACE, ahead_ms=step_ms).settled


@pytest.mark.parametrize(("since_ms", "settled"), [(LATER, True), (NEVER_MS, False)])
def test_a_final_entry_is_not_waited_for_if_nobody_vouches_for_its_time_unless_that_is_not_known_yet(
    since_ms: int, settled: bool
):
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    stream.commit("a", 2, LATER, {W: 6}, since_ms=since_ms, lineage="m")
    stream.run(LATER)
    assert (W in stream.run(LATER + GRACE).settled) == settled
    assert status(stream) == ("final", 0, 5)


def test_an_uncovered_window_is_settled_while_it_is_partial_if_its_entry_lists_it():
    stream = Stream("a", "b")
    stream.commit("a", 1, LATER, {W: 5}, since_ms=LATER)
    stream.commit("b", 1, LATER)
    stream.settle(LATER)
    stream.run(LATER + 1)
    assert W in stream.run(LATER + 2 * GRACE).settled
    assert status(stream) == ("partial", 0, 5)


# ---------------------------------------------------------------------- writers that stand still


def test_final_does_not_go_back_to_partial_for_longer_than_a_pass():
    stream = Stream("a")
    stream.commit("a", 1, W + MINUTE_MS, {W: 100})

    def meanwhile() -> None:
        stream.commit("a", 2, W + HOUR_MS, {W: 250})
        stream.settle(W + HOUR_MS)
        stream.commit("a", 3, W + HOUR_MS, {W: 260})
        stream.settle(W + HOUR_MS + 2 * GRACE)
        assert status(stream) == ("final", 1, 260)

    late = slow(stream, meanwhile)
    stream.run(W + 2 * MINUTE_MS, late)
    assert status(stream) == ("partial", 0, 100)
    stream.run(W + HOUR_MS + 3 * GRACE, late)
    assert status(stream) == ("final", 1, 260)
    stream.settle(W + HOUR_MS + 3 * GRACE)
    assert [status(stream, key)[1:] for key in (HALF, HOUR)] == [(1, 260)] * 2


def test_a_final_version_that_was_overwritten_comes_back_though_nobody_names_the_window_any_more():
    stream = Stream("a")
    stream.commit("a", 1, W + MINUTE_MS, {W: 100})

    def meanwhile() -> None:
        stream.commit("a", 2, LATER, {W: 250})
        stream.settle(LATER)
        stream.commit("a", 3, LATER + 3 * DAY_MS, forget=(W,))
        stream.settle(LATER + 3 * DAY_MS)

    late = slow(stream, meanwhile)
    stream.run(W + 2 * MINUTE_MS, late)
    stream.run(LATER + 3 * DAY_MS, late)
    assert status(stream) == ("final", 0, 250)
    assert stream.summary(HALF).total_requests == 250


def test_a_partial_version_that_was_overwritten_and_forgotten_comes_back_from_the_partials():
    """Catching up: days of the records' own clock pass in minutes, while a slow writer stands still for longer."""
    stream = Stream("a", "b")
    stream.commit("a", 1, W + MINUTE_MS, {W: 100})
    stream.commit("b", 1, W + MINUTE_MS)
    now_ms = W + 3 * DAY_MS

    def meanwhile() -> None:
        stream.commit("a", 2, NEXT, {W: 250})
        stream.settle(now_ms)
        stream.run(now_ms + 1)
        result = stream.run(now_ms + 2 * GRACE)
        assert result.settled[W] == (("a", Partial_Name("l", "2")),)
        stream.commit("a", 3, now_ms, forget=(W,))

    late = slow(stream, meanwhile)
    stream.run(now_ms, late)
    stream.commit("b", 2, now_ms)
    stream.settle(now_ms + 3 * GRACE, late)
    stream.settle(now_ms + 5 * GRACE, late)
    assert status(stream)[::2] == ("final", 250)
    assert stream.entries[HALF]["sources"] == [{"partition": "a", "lineage": "l", "number": "2"}]


def test_a_rollup_that_was_overwritten_comes_back_too():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})

    def meanwhile() -> None:
        stream.commit("a", 2, W + DAY_MS, {W: 6})
        stream.settle(LATER)
        stream.commit("a", 3, LATER + 3 * DAY_MS, forget=(W,))

    late = slow(stream, meanwhile, HOUR)
    stream.run(LATER - HOUR_MS, late)
    assert status(stream, HOUR)[0] == "partial"
    stream.run(LATER + 3 * DAY_MS, late)
    assert status(stream, HOUR)[::2] == ("final", 6)
    assert status(stream, DAY)[::2] == ("final", 6)


def test_two_final_versions_never_share_a_revision_and_the_one_that_came_second_waits():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    entry = None

    def create(operation: Call) -> Any:
        nonlocal entry
        if operation.name.endswith(".publish") and entry is None:  # somebody else was faster, and died before it wrote
            entry = {**operation.arguments[3], "total_requests": 4, "summary": f"summaries/{HALF}/other"}
            assert create_edition(stream.store, HALF, 0, entry) is not None
        return operation()

    assert stream.run(LATER, perform=create).skipped["overtaken"] >= 1
    assert HALF not in stream.entries
    stream.run(LATER)
    assert status(stream) == ("final", 0, 4)  # completed, as it may have been read


def test_who_crashed_between_its_edition_and_the_cache_is_completed_by_the_next_who_looks():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    with pytest.raises(Crash):
        stream.run(LATER, slow(stream, crash))
    assert stream.entries == {}
    stream.commit("a", 2, NEXT, {W: 6})
    stream.settle(LATER, stream.fresh())
    assert status(stream) == ("final", 1, 6)
    assert edition_numbers(stream) == [1]


def test_a_half_hour_is_not_partial_below_a_rollup_that_is_about_to_be_final():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + WINDOW_MS, {W: 5})
    with pytest.raises(Crash):
        stream.run(LATER, slow(stream, crash, HOUR))
    stream.commit("a", 2, LATER, {NEXT: 1}, since_ms=LATER, lineage="m", counters={"retention_gaps": 1})
    stream.settle(LATER, stream.fresh())
    assert status(stream, "30min/2026-02-16-1430") == ("final", 0, 1)
    assert status(stream, HOUR)[::2] == ("final", 6)


def test_an_entry_that_the_cache_lost_comes_back_when_a_rollup_misses_it():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5, NEXT: 2})
    stream.settle(LATER)
    stream.commit("a", 2, LATER, {NEXT: 3}, forget=(W,))
    del stream.cache.bodies[NS_SA_AGGREGATE, HALF]
    worker = stream.fresh()
    assert stream.run(LATER, worker).skipped["child-gone"] == 1
    stream.settle(LATER, worker)
    assert status(stream) == ("final", 0, 5)
    assert status(stream, HOUR) == ("final", 1, 8)


def test_a_rollup_is_not_made_of_a_child_that_went_back():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5})
    stream.settle(LATER)
    old = stream.entries[HALF]
    stream.commit("a", 2, LATER, {W: 6})
    stream.settle(LATER)
    stream.commit("a", 3, LATER, {NEXT: 1}, forget=(W,))
    stream.cache.store_entry(NS_SA_AGGREGATE, HALF, old)
    worker = stream.fresh()
    assert stream.run(LATER, worker).skipped["child-gone"] >= 1
    stream.settle(LATER, worker)
    assert [status(stream, key) for key in (HALF, HOUR)] == [("final", 1, 6), ("final", 2, 7)]


def test_a_consolidation_result_that_two_writers_wrote_in_turns_is_put_right():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.run(LATER)
    where = NS_SA_CONSOLIDATED, "2026-02-16/14-00/summary"
    told = stream.cache.bodies[where]
    stream.cache.store_entry(*where, {"total_requests": 4})
    stream.run(LATER)
    assert stream.cache.bodies[where] == told


# ---------------------------------------------------------------------- editions themselves


def test_the_highest_edition_is_kept_and_older_ones_go():
    stream = Stream("a")
    for number in range(1, 5):
        stream.commit("a", number, LATER, {W: number})
        stream.settle(LATER)
    assert status(stream) == ("final", 3, 4)
    assert edition_numbers(stream) == [3]


def test_an_edition_that_a_late_creator_makes_below_the_highest_counts_for_nothing():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 1})
    stream.settle(LATER)
    old = stream.entries[HALF]
    for number in (2, 3):
        stream.commit("a", number, LATER, {W: number})
        stream.settle(LATER)
    assert create_edition(stream.store, HALF, 1, old) is not None  # its number was free again
    stream.commit("a", 4, LATER, {W: 4})
    stream.settle(LATER)
    assert status(stream) == ("final", 3, 4)
    assert edition_numbers(stream) == [3]


def test_another_source_of_the_same_content_is_an_edition_and_no_revision():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5})
    stream.settle(LATER)
    stream.commit("a", 2, LATER, {W: 5}, lineage="m")
    stream.settle(LATER)
    assert status(stream) == ("final", 0, 5)
    assert edition_numbers(stream) == [1]


def test_a_torn_edition_is_passed_over_and_its_number_is_not_used_again():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 1})
    stream.settle(LATER)
    store, entry = State_Store("memory://"), stream.entries[HALF]
    assert create_edition(store, HALF, 0, entry) == entry
    store.put(edition_key(HALF, 1), b"SAS\x1a torn")
    editions = drive(editions_steps(store, HALF, BEGINNING_MS))
    assert (editions.entry, editions.next_number) == (entry, 2)
    assert create_edition(store, HALF, 1, entry) is None
    assert create_edition(store, HALF, 0, entry) == entry  # the answer to the first attempt was lost
    assert create_edition(store, HALF, 0, {**entry, "revision": 1}) is None


def test_the_summary_of_the_highest_edition_is_never_deleted():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5})
    stream.settle(LATER)
    old = stream.entries[HALF]
    stream.commit("a", 2, LATER, {W: 6})
    stream.settle(LATER)
    named = stream.entries[HALF]["summary"]
    stream.reconciler._superseded[named] = (HALF, Moment(LATER))
    stream.cache.store_entry(NS_SA_AGGREGATE, HALF, old)
    drive(stream.reconciler._publication.delete_superseded_steps(Moment(LATER + 2 * GRACE), GRACE))
    assert stream.holds(named)


# ---------------------------------------------------------------------- cost and bounds


def test_the_summaries_of_older_versions_go_together_after_one_look_at_what_is_named():
    stream = Stream("a")
    for number in range(5):
        stream.store.put(f"summaries/{HALF}/{number}", b"")
        stream.reconciler._superseded[f"summaries/{HALF}/{number}"] = (HALF, Moment(LATER + number * GRACE // 4))
    stream.commit("a", 1, W, {W: 1})
    stream.settle(W)
    for now_ms, lists, left in ((LATER + 2 * GRACE - 1, 0, 5), (LATER + 2 * GRACE, 1, 0)):
        stream.calls.clear()
        drive(stream.reconciler._publication.delete_superseded_steps(Moment(now_ms), GRACE), stream.perform)
        assert stream.calls["list"] == lists
        assert sum(stream.holds(f"summaries/{HALF}/{number}") for number in range(5)) == left


def test_a_pass_that_writes_nothing_lists_no_editions_once_its_writes_were_looked_at_twice():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5, NEXT: 2})
    written = len(stream.run(LATER).written)
    stream.run(LATER + 1)  # the first look at each, a LIST and a GET (of what is final)
    assert stream.calls["list"] == 1 + written
    stream.run(LATER + 2)
    assert (stream.calls["list"], stream.calls["retrieve_entry"]) == (1, 0)
    stream.run(LATER + 1 + GRACE)  # the second look; of half hours also what the store has
    assert stream.calls["list"] == 1 + written + 2
    stream.run(LATER + 2 + GRACE)
    assert stream.calls["list"] == 1


def test_what_is_remembered_is_bounded():
    memory = Memory(verify_ms=MINUTE_MS, verify_final_ms=HOUR_MS, grace_ms=GRACE, keys_max=10)
    memory.begin_pass(Moment(LATER))
    keys = [f"daily/2026-02-{day:02d}" for day in range(1, 29)]
    for key in keys:
        memory.read(key, None)
        memory.look_again(key)
    memory.begin_pass(Moment(LATER + 1))
    assert memory.due_keys() == keys[-10:]
    assert [key for key in keys if memory.young(key)] == keys[-10:]


# ---------------------------------------------------------------------- clocks


@pytest.mark.parametrize("off_ms", [-40 * DAY_MS, -3 * DAY_MS, 3 * DAY_MS, 40 * DAY_MS])
def test_a_worker_whose_clock_is_days_off_writes_what_the_others_write(off_ms: int):
    stream, whole = Stream("a"), Stream("a")
    for one in (stream, whole):
        one.commit("a", 1, W + 40 * DAY_MS, {W: 5, W - DAY_MS: 1, W + DAY_MS: 2}, position_ms=W + 40 * DAY_MS)
    whole.settle(W + 40 * DAY_MS)
    stream.settle(W + 40 * DAY_MS + off_ms)
    told = [{key: {**entry, "computed_at": ""} for key, entry in one.entries.items()} for one in (stream, whole)]
    assert told[0] == told[1]
    stream.commit("a", 2, W + 40 * DAY_MS, {W: 6}, position_ms=W + 40 * DAY_MS)
    stream.settle(W + 40 * DAY_MS + MINUTE_MS)  # the clock is right again
    assert [status(stream, key) for key in (HALF, HOUR, DAY)] == [("final", 1, 6)] * 3


@pytest.mark.parametrize("off_ms", [-40 * DAY_MS, 40 * DAY_MS])
def test_a_worker_whose_clock_is_days_off_finishes_what_nobody_names_any_more(off_ms: int):
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, W)
    stream.settle(LATER)
    stream.commit("a", 2, LATER + 3 * DAY_MS, forget=(W,), position_ms=LATER + 3 * DAY_MS)
    stream.commit("b", 2, LATER + 3 * DAY_MS, position_ms=LATER + 3 * DAY_MS)
    stream.settle(LATER + 3 * DAY_MS + off_ms, stream.fresh())
    assert [status(stream, key) for key in (HALF, HOUR, DAY)] == [("final", 0, 5)] * 3


def test_a_shard_that_has_not_started_keeps_nobody_from_passing_through_the_months():
    stream = Stream("a", Shard_Info("b", (), False))
    stream.commit("a", 1, LATER, {W: 5})
    result = stream.run(LATER)
    assert result.passed_ms == BEGINNING_MS
    assert status(stream) == ("partial", 0, 5)
