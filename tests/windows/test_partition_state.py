"""What a partition holds after record n is a function of its records up to n, whoever read them, when, and how."""

import random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Timing, month_of
from sa_stream.windows import paths
from sa_stream.windows.partition_state import Partition_State, Shrunk
from sa_stream.windows.window import Window
from tests.windows.partition_feed import (
    LISTS,
    MONTH_END_MS,
    TIMING,
    Dict_Store,
    Record,
    Worker,
    after,
    batch_of,
    hostile_records,
    known_from_records,
    now_at,
    partials_of,
    record,
)

# A seed decides everything, so there is nothing to make smaller.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z


pytestmark = pytest.mark.usefixtures("small_limits")


def fold_all(records: list[Record]) -> Worker:
    """All records in one batch, one fold, one commit, by one worker."""
    worker = Worker()
    worker.read(records, MONTH_END_MS)
    worker.flush(MONTH_END_MS)
    return worker


def eventful_life(records: list[Record], seed: int) -> Worker:
    """The same records in small batches, under a clock that jumps, at the tip at times, with commits in between, killed
    and started again, and read twice."""
    rng = random.Random(seed)
    eagerness = rng.random()
    worker = Worker()
    rest = list(records)
    while rest:
        size = rng.choice([1, 1, 2, 5, 17, 40])
        part, rest = rest[:size], rest[size:]
        now_ms = part[-1].arrival_ms + rng.choice([0, 100, 5_000, 40 * MINUTE_MS, 3 * HOUR_MS])
        worker.read(part, now_ms)
        if rng.random() < 0.2:
            worker.tip(now_ms - rng.choice([0, 60_000]))
        if rng.random() < eagerness:
            worker.work(now_ms)
        if rng.random() < 0.15:
            worker.flush(now_ms)
        if rng.random() < 0.15:
            worker.consumer.evict()
        if rng.random() < 0.1:
            committed = worker.checkpoint is not None
            worker = Worker(worker.store, worker.checkpoint, now_ms, lineage="never" if committed else "line-a")
            assert worker.state.lineage.startswith("line-a")
            rest = after(records, worker.checkpoint if rng.random() < 0.7 else None)
    worker.flush(records[-1].arrival_ms)
    return worker


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING)
@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_what_a_partition_holds_is_a_function_of_its_records(seed: int, life: int) -> None:
    records = hostile_records(seed)
    reference, other = fold_all(records), eventful_life(records, life)
    assert known_from_records(other.state) == known_from_records(reference.state)
    assert partials_of(other) == partials_of(reference)


def test_the_hostile_records_pass_every_limit() -> None:
    """What the property test above is worth."""
    worker = fold_all(hostile_records(1))
    windows = [Window.from_bytes(data) for _, data in partials_of(worker).values()]
    counters = worker.state.counters
    assert {"late", "too_late", "future", "duplicates", "timestamp", "status", "fields"} <= counters.keys()
    assert any(window.top_paths_error for window in windows)
    assert any("(other)" in window.counts["hosts"] for window in windows)
    assert any(not window.unique_paths.exact for window in windows)
    assert any(window.paths.huge_bytes for window in windows)
    assert len({month_of(window.start_ms) for window in windows}) == 2
    known = sum(window.total_requests for window in windows)
    assert known == counters["aggregated"]
    dropped = sum(
        counters.get(reason, 0) for reason in ("too_long", "fields", "timestamp", "status", "future", "too_late")
    )
    assert counters["records"] == known + counters["duplicates"] + dropped
    assert dropped == sum(window.invalid_records for window in windows)
    assert counters["duplicates"] == sum(window.duplicate_records for window in windows)
    assert counters["late"] == sum(window.late_records for window in windows)


@settings(max_examples=15, deadline=None, phases=NO_SHRINKING)
@given(st.integers(0, 1 << 40))
def test_restore_of_a_snapshot_is_the_state(seed: int) -> None:
    state = fold_all(hostile_records(seed, 60)).state
    restored = Partition_State.from_bytes(state.to_bytes(), TIMING)
    assert restored.to_bytes() == state.to_bytes()
    assert restored.partials == state.partials
    assert (restored.partition, restored.lineage, restored.parents) == (state.partition, state.lineage, state.parents)
    assert (restored.published_watermark_ms, restored.since_ms) == (state.published_watermark_ms, state.since_ms)


@settings(max_examples=12, deadline=None, phases=NO_SHRINKING)
@given(st.integers(0, 1 << 40))
def test_restore_of_a_window_is_the_window_and_merges_do_not_mind_their_order(seed: int) -> None:
    rng = random.Random(seed)
    windows = []
    for part in range(3):
        for _, data in partials_of(fold_all(hostile_records(seed + part, 40))).values():
            window = Window.from_bytes(data)
            assert window.to_bytes() == data
            windows.append(window)
    merged = Window.merged(windows).to_bytes()
    rng.shuffle(windows)
    assert Window.merged(windows).to_bytes() == merged


# --------------------------------------------------------------------------------------------------------- single rules


def taken(state: Partition_State, *records: Record) -> Partition_State:
    batch = batch_of(records)
    placed = state.placed(Parser(LISTS).parse(batch.payloads, np.array(batch.arrivals_ms)))
    seeds = {month_of(start): 5 for start in state.starts(placed)}
    state.take(placed, batch.sequence_numbers, seeds, Intake(LISTS))
    return state


def fresh(**timing: int) -> Partition_State:
    return Partition_State("p", "line", Timing(**timing))


def test_the_start_belongs_to_a_window_and_the_end_to_the_next() -> None:
    state = taken(fresh(), record(1, NOON_MS), record(2, NOON_MS + WINDOW_MS - 1), record(3, NOON_MS + WINDOW_MS))
    assert {start: window.total_requests for start, window in state.windows.items()} == {
        NOON_MS: 2,
        NOON_MS + WINDOW_MS: 1,
    }


def test_the_record_watermark_is_the_running_maximum_of_the_lesser_time_and_never_goes_back() -> None:
    state = taken(fresh(), record(1, NOON_MS, NOON_MS + 9_000))
    assert state.record_watermark_ms == NOON_MS - 60_000
    taken(state, record(2, NOON_MS + 200_000, NOON_MS + 10_000))
    assert state.record_watermark_ms == NOON_MS + 10_000 - 60_000
    taken(state, record(3, NOON_MS - 500_000, NOON_MS + 11_000))
    assert state.record_watermark_ms == NOON_MS + 10_000 - 60_000
    assert state.published_watermark_ms == state.record_watermark_ms


@pytest.mark.parametrize(("watermark_ms", "late"), [(WINDOW_MS - 1, 0), (WINDOW_MS, 1)])
def test_a_record_is_late_when_the_watermark_had_passed_its_windows_end(watermark_ms: int, late: int) -> None:
    mover = record(1, NOON_MS + watermark_ms + 60_000, NOON_MS + 2 * WINDOW_MS)
    state = taken(fresh(), mover, record(2, NOON_MS, NOON_MS + 2 * WINDOW_MS))
    assert state.windows[NOON_MS].late_records == late
    assert state.windows[NOON_MS].total_requests == 1


@pytest.mark.parametrize(("behind_ms", "kept"), [(DAY_MS - 1, 1), (DAY_MS, 0)])
def test_a_record_later_than_the_allowed_lateness_is_dropped_and_counted(behind_ms: int, kept: int) -> None:
    arrival_ms = NOON_MS + WINDOW_MS + behind_ms + 60_000
    state = taken(fresh(), record(1, arrival_ms, arrival_ms), record(2, NOON_MS, arrival_ms))
    assert state.counters.get("too_late", 0) == 1 - kept
    assert state.counters["aggregated"] == 1 + kept
    assert (NOON_MS in state.windows) == bool(kept)
    assert state.windows[arrival_ms // WINDOW_MS * WINDOW_MS].invalid_records == 1 - kept


def test_the_future_moves_nothing() -> None:
    state = taken(fresh(), record(1, NOON_MS + 300_001, NOON_MS))
    assert (state.record_watermark_ms, state.newest_arrival_ms) == (BEGINNING_MS, BEGINNING_MS)
    assert state.counters == {"future": 1, "records": 1}
    assert (state.number, state.windows[NOON_MS].invalid_records) == ("1", 1)


@pytest.mark.parametrize(("minutes", "duplicates"), [(0, 1), (10, 1), (11, 0)])
def test_a_duplicate_comes_in_the_same_minute_of_arrival_or_the_ten_before(minutes: int, duplicates: int) -> None:
    first = record(1, NOON_MS, NOON_MS + 59_999, x_edge_request_id="same")
    again = record(2, NOON_MS, NOON_MS + minutes * MINUTE_MS + 59_999, x_edge_request_id="same")
    for state in (taken(fresh(), first, again), taken(taken(fresh(), first), again)):
        assert state.windows[NOON_MS].duplicate_records == duplicates
        assert state.windows[NOON_MS].total_requests == 2 - duplicates


def test_a_missing_id_is_never_a_duplicate() -> None:
    records = [record(i, NOON_MS, x_edge_request_id=text) for i, text in enumerate(["-", "-", "", ""], 1)]
    assert taken(fresh(), *records).windows[NOON_MS].total_requests == 4


def test_a_duplicate_in_another_month_than_arrival_is_found_by_its_events_secret() -> None:
    late = [record(i, MONTH_END_MS - 1, MONTH_END_MS + i, x_edge_request_id="same") for i in (1, 2)]
    assert taken(fresh(), *late).counters["duplicates"] == 1


def test_an_idle_tip_moves_only_the_published_watermark_and_nothing_where_its_time_is_unknown() -> None:
    state = taken(fresh(), record(1, NOON_MS))
    position_ms = state.position_ms
    state.tip_was_empty(0)
    assert state.published_watermark_ms == state.record_watermark_ms
    assert state.position_ms == position_ms
    state.tip_was_empty(NOON_MS + HOUR_MS)
    assert state.published_watermark_ms == NOON_MS + HOUR_MS - 65_000
    state.tip_was_empty(NOON_MS)
    assert state.published_watermark_ms == NOON_MS + HOUR_MS - 65_000
    taken(state, record(2, NOON_MS + 1))
    assert state.windows[NOON_MS].late_records == 0
    assert state.closed_windows() == [NOON_MS]


def test_a_child_knows_the_ids_of_all_its_parents_and_has_passed_what_all_have() -> None:
    left = taken(fresh(), record(1, NOON_MS, x_edge_request_id="left"))
    right = taken(fresh(), record(1, NOON_MS + 30_000, x_edge_request_id="right"))
    left.since_ms, right.since_ms = NOON_MS - 5, NOON_MS - 7
    child = Partition_State.child_of("c", [left, right], "new", Timing())
    assert (child.record_watermark_ms, child.since_ms) == (left.record_watermark_ms, NOON_MS - 5)
    assert child.parents == ("p", "p")
    again = [
        record(i, NOON_MS, NOON_MS + 60_000, x_edge_request_id=text) for i, text in enumerate(["left", "right", "new"])
    ]
    assert taken(child, *again).counters["duplicates"] == 2


def test_a_child_of_a_quiet_and_a_busy_parent_begins_where_the_busy_one_ended() -> None:
    """Or the busy one, if its last progress is lost, would count for windows whose records it alone had."""
    parents = taken(fresh(), record(1, NOON_MS)), taken(fresh(), record(1, NOON_MS + HOUR_MS))
    for order in (parents, parents[::-1]):
        child = Partition_State.child_of("c", order, "new", Timing())
        assert (child.position_ms, child.began_ms) == (parents[0].position_ms, parents[1].position_ms)


@pytest.mark.parametrize(
    ("left", "right", "knows"),
    [({"2026-02": 7}, {}, True), ({}, {"2026-02": 7}, True), ({"2026-02": 7}, {"2026-02": 8}, False)],
    ids=["left alone", "right alone", "two that differ"],
)
def test_a_child_knows_which_secrets_its_parents_ids_were_made_with(
    left: dict[str, int], right: dict[str, int], knows: bool
) -> None:
    """Or a duplicate would be counted where the secret was torn in between."""
    parents = fresh(), fresh()
    parents[0].secret_tags, parents[1].secret_tags = left, right
    child = Partition_State.child_of("c", parents, "new", Timing())
    kept = Partition_State.from_bytes(child.to_bytes(), Timing())
    for state in (child, kept):
        assert not state.knows_secret("2026-02", 8)  # asked first: an unknown tag is learnt
        assert state.knows_secret("2026-02", 7) is knows


def test_a_child_behind_one_parents_clock_finds_the_same_duplicates_in_any_batches() -> None:
    """Its first arrivals may lie before the newest of one parent: an id keeps its latest minute."""
    left = taken(fresh(), record(1, NOON_MS))
    right = taken(fresh(), record(1, NOON_MS + 20 * MINUTE_MS, x_edge_request_id="same"))
    minutes = [15, 31, 31]
    records = [record(i + 2, NOON_MS, NOON_MS + m * MINUTE_MS, x_edge_request_id="same") for i, m in enumerate(minutes)]
    together = taken(Partition_State.child_of("c", [left, right], "new", Timing()), *records)
    one_by_one = Partition_State.child_of("c", [left, right], "new", Timing())
    for one in records:
        taken(one_by_one, one)
        one_by_one = Partition_State.from_bytes(one_by_one.to_bytes(), Timing())
    assert together.counters["duplicates"] == one_by_one.counters["duplicates"] == 2


def test_a_loss_is_noticed_by_the_clock_and_never_takes_coverage_back() -> None:
    state = fresh()
    state.since_ms = BEGINNING_MS
    edge_ms = NOON_MS + DAY_MS - 300_000
    assert not state.may_have_lost_records(edge_ms, NOON_MS)
    assert state.may_have_lost_records(edge_ms + 1, NOON_MS)
    state.lose(NOON_MS, "later")
    assert (state.lineage, state.since_ms) == ("later", NOON_MS - DAY_MS + 300_000)
    state.lose(NOON_MS - HOUR_MS, "again")
    assert (state.lineage, state.since_ms) == ("again", NOON_MS - DAY_MS + 300_000)


def test_starts_names_every_window_that_take_touches() -> None:
    """A window that is not loaded before it is touched would begin anew and lose what its partial holds."""
    for seed in range(12):
        state = fresh()
        records = hostile_records(seed, 80)
        for place in range(0, 80, 20):
            batch = batch_of(records[place : place + 20])
            placed = state.placed(Parser(LISTS).parse(batch.payloads, np.array(batch.arrivals_ms)))
            named = set(state.starts(placed))
            state.touched.clear()
            state.take(placed, batch.sequence_numbers, dict.fromkeys(map(month_of, named), 1), Intake(LISTS))
            assert state.touched.keys() <= named
            numbers = dict(zip(batch.sequence_numbers, range(20), strict=True))
            assert all(number in numbers for number in state.touched.values())


def test_records_of_a_list_without_status_take_no_status_from_others() -> None:
    lists = resolve_field_lists("timestamp,sc-status;timestamp", "")
    seconds = NOON_MS // 1000
    payloads = [f"{seconds}\t404\n{seconds}\n{seconds}\t000\n{seconds}\t503\n".encode()]
    columns = Parser(lists).parse(payloads, np.array([NOON_MS]))
    state = fresh()
    state.take(state.placed(columns), ["1"], {month_of(NOON_MS): 1}, Intake(lists))
    window = state.windows[NOON_MS]
    assert window.counts["status"] == {"404": 1, "000": 1, "503": 1}
    assert window.total_requests == 4
    minutes = window.per_minute()
    assert [minutes[name][0] for name in ("requests", "status_4xx", "status_5xx")] == [4, 1, 1]


# --------------------------------------------------------------------------------------------------------------- memory


def started(store: Dict_Store | None = None) -> Worker:
    """A worker that has committed record 1, of the window at noon."""
    worker = Worker(store, now_ms=NOON_MS)
    worker.read([record(1, NOON_MS, cs_uri_stem="/1")], NOON_MS)
    worker.flush(NOON_MS)
    return worker


def folded(worker: Worker, *records: Record) -> Worker:
    worker.read(records, NOON_MS)
    worker.work(NOON_MS)
    assert worker.state.touched
    return worker


def test_a_window_says_about_how_much_it_takes() -> None:
    worker = folded(started(), record(2, NOON_MS))
    window = worker.state.windows[NOON_MS]
    small_bytes = window.size_bytes
    assert 5_000 < small_bytes < 100_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", 65_536)
        folded(worker, *[record(n, NOON_MS, cs_uri_stem=f"/{n}/".ljust(1_000, "x")) for n in range(3, 103)])
    assert 100_000 < window.size_bytes - small_bytes < 200_000
    assert worker.consumer.largest_window() is None  # nothing of it can be had


def test_windows_leave_memory_after_a_commit_and_come_back_with_their_next_record() -> None:
    worker = folded(started(), record(2, NOON_MS))
    assert worker.consumer.evict() == 0  # it was touched, and is nowhere else
    worker.flush(NOON_MS)
    assert worker.consumer.evict() == 1
    assert worker.state.windows == {}
    folded(worker, record(3, NOON_MS))
    assert worker.state.windows[NOON_MS].total_requests == 3


def test_memory_is_left_alone_while_steps_are_under_way() -> None:
    """A window that was loaded for a record must still be there when it is folded."""
    worker = started()
    consumer = worker.consumer
    assert consumer.largest_window() is not None
    worker.read([record(2, NOON_MS)], NOON_MS)
    steps = consumer.flush_steps(now_at(NOON_MS))
    next(steps)
    assert (consumer.largest_window(), consumer.shrink(NOON_MS), consumer.evict()) == (None, None, 0)


def test_a_shrunk_window_goes_on_in_a_new_lineage_under_keys_of_its_own() -> None:
    """The same records, shrunk and not shrunk, have different contents, so they must not have the same names."""
    records = [record(n, NOON_MS + n, cs_uri_stem=f"/{n}") for n in range(2, 32)]
    store = Dict_Store()
    exact, shrinking = started(store), started(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", 65_536)
        patch.setattr(paths, "SHRUNK_PATHS", 4)
        for place in range(0, 30, 10):
            for worker in (exact, shrinking):
                folded(worker, *records[place : place + 10])
            largest = shrinking.consumer.largest_window()
            assert largest == (shrinking.state.windows[NOON_MS].size_bytes, NOON_MS)
            assert shrinking.consumer.shrink(NOON_MS) is Shrunk.BOUNDED
            assert not shrinking.consumer.shrink(NOON_MS)
            assert shrinking.consumer.largest_window() is None
            for worker in (exact, shrinking):
                worker.flush(NOON_MS)
            shrinking.consumer.evict()
    assert all(len(contents) == 1 for contents in store.contents.values())
    assert shrinking.state.since_ms == exact.state.since_ms
    assert shrinking.checkpoint == "31"
    assert shrinking.state.counters["shrunk_windows"] == 3
    one, other = (Window.from_bytes(partials_of(worker)[NOON_MS][1]) for worker in (exact, shrinking))
    assert (one.top_paths_error, other.top_paths_error) == (0, 3)
    assert one.total_requests == other.total_requests == 31
    assert one.unique_paths.hashes.tolist() == other.unique_paths.hashes.tolist()


def test_an_untouched_window_is_dropped_rather_than_cut_and_nothing_else_changes() -> None:
    worker = started()
    lineage = worker.state.lineage
    assert worker.consumer.shrink(NOON_MS) is Shrunk.DROPPED
    assert (worker.state.windows, worker.state.lineage) == ({}, lineage)
    assert not worker.consumer.shrink(NOON_MS)
