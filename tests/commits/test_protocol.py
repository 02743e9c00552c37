"""The numbered commit protocol and its recovery: the order of its calls, and the same partials whoever dies when."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.commits.codec import decode_progress, encode_progress
from sa_stream.commits.keys import (
    parse_progress_key,
    parse_snapshot_key,
    partial_key,
    progress_key,
    secret_key,
    snapshot_key,
)
from sa_stream.commits.progress import Progress
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Start
from sa_stream.errors import Lease_Lost, Store_Unavailable, Superseded, Unknown_Version
from sa_stream.format import VERSION
from sa_stream.partitions import END, Partial_Name, number_of, sortable
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Timing
from sa_stream.windows.coverage import RETENTION
from sa_stream.windows.window import Window
from tests.later_version import in_version
from tests.windows.partition_feed import (
    LINE_A,
    LINE_B,
    MONTH_END_MS,
    PARTITION,
    TIMING,
    Dict_Store,
    Died,
    Record,
    Worker,
    after,
    empty_tip,
    hostile_records,
    known_from_records,
    now_at,
    partials_of,
    record,
    snapshot_keys,
)

NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z
NEXT_MS = NOON_MS + WINDOW_MS
WRITES = ("put", "checkpoint", "delete")


def writes_of(worker: Worker) -> list[tuple[str, str]]:
    """The calls that change something since the last look; secrets left out, which are made once."""
    found = [(name, key) for name, key in worker.calls if name in WRITES]
    worker.calls.clear()
    return found


def working(*records: Record, **options: object) -> Worker:
    """A worker that has committed these records."""
    worker = Worker(now_ms=NOON_MS, **options)  # type: ignore[arg-type]
    worker.read(records, NOON_MS)
    worker.flush(NOON_MS)
    worker.calls.clear()
    return worker


def latest_progress(store: Dict_Store, partition: str = PARTITION) -> Progress:
    return decode_progress(store.objects[store.keys(f"progress/{partition}/")[-1]])


def damage(store: Dict_Store, key: str) -> None:
    data = bytearray(store.objects[key])
    data[30] ^= 1
    store.objects[key] = bytes(data)


# ----------------------------------------------------------------------------------------------------- numbers and keys


@given(st.integers(0, 10**60), st.integers(0, 10**60))
def test_numbers_sort_in_keys_as_they_do_as_integers_and_the_end_above_all(one: int, other: int) -> None:
    assert (sortable(str(one)) < sortable(str(other))) == (one < other)
    assert sortable(str(one)) < sortable(END)
    assert number_of(sortable(str(one))) == str(one)
    assert number_of(sortable(END)) == END


def test_keys_come_apart_again() -> None:
    assert parse_snapshot_key(snapshot_key("s", "12", "l")) == ("s", "00212", "l")
    assert parse_progress_key(progress_key("s", END, 5, "l")) == ("s", END, 5, "l")
    assert parse_progress_key(progress_key("s", "0", BEGINNING_MS, "l"))[2] == 0
    assert partial_key(NOON_MS, "s", Partial_Name("l", "7")) == "partials/2026-02-16T1200/s/l/0017"


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Progress,
        partition=st.text(),
        number=st.just(END) | st.integers(0, 10**56).map(str),
        lineage=st.text(),
        watermark_ms=st.sampled_from([BEGINNING_MS, 0, NOON_MS]),
        since_ms=st.sampled_from([BEGINNING_MS, NOON_MS, NEVER_MS]),
        ended=st.booleans(),
        position_ms=st.sampled_from([BEGINNING_MS, NOON_MS]),
        parents=st.lists(st.text(), max_size=2).map(tuple),
        partials=st.dictionaries(st.integers(0, 1 << 42), st.builds(Partial_Name, st.text(), st.text())),
        counters=st.dictionaries(st.text(), st.integers(0, 1 << 60)),
    )
)
def test_a_progress_record_comes_back_as_it_was(progress: Progress) -> None:
    assert decode_progress(encode_progress(progress)) == progress


# --------------------------------------------------------------------------------------------------- the order of calls


def test_a_commit_puts_partials_then_progress_then_checkpoints_then_deletes_what_the_last_one_replaced() -> None:
    worker = Worker(now_ms=NOON_MS)
    worker.read([record(5, NOON_MS), record(6, NEXT_MS)], NEXT_MS)
    worker.flush(NEXT_MS)
    first = [
        ("put", f"partials/2026-02-16T1200/shard-0/{LINE_A}/0015"),
        ("put", f"partials/2026-02-16T1230/shard-0/{LINE_A}/0016"),
        ("put", progress_key(PARTITION, "6", NEXT_MS - 60_000, LINE_A, with_snapshot=True)),
        ("checkpoint", "6"),
    ]
    assert writes_of(worker) == first

    worker.read([record(9, NEXT_MS), record(10, NEXT_MS)], NEXT_MS)
    worker.flush(NEXT_MS)
    second = [
        ("put", f"partials/2026-02-16T1230/shard-0/{LINE_A}/00210"),
        ("put", progress_key(PARTITION, "10", NEXT_MS - 60_000, LINE_A, with_snapshot=True)),
        ("checkpoint", "10"),
    ]
    assert writes_of(worker) == second
    named = {start: name.number for start, name in latest_progress(worker.store).partials.items()}
    assert named == {NOON_MS: "5", NEXT_MS: "10"}

    worker.read([record(11, NEXT_MS)], NEXT_MS)
    worker.flush(NEXT_MS)
    *_, (verb, deleted) = writes_of(worker)
    assert verb == "delete"
    assert sorted(deleted.split()) == sorted(key for _, key in (first[1], first[2]))


@pytest.mark.usefixtures("place")
def test_a_commit_lists_nothing_but_once_what_workers_before_have_left() -> None:
    worker = working(record(1, NOON_MS), record(2, NOON_MS))
    again = Worker(worker.store, "2", NOON_MS)
    again.calls.clear()
    for number, prefixes in (
        (3, ["snapshots/shard-0/", "progress/shard-0/", f"partials/2026-02-16T1200/shard-0/{LINE_A}/"]),
        (4, []),
    ):
        again.read([record(number, NOON_MS)], NOON_MS)
        again.flush(NOON_MS)
        assert [key for name, key in again.calls if name == "list"] == prefixes
        again.calls.clear()
    assert worker.store.keys("partials/") == [f"partials/2026-02-16T1200/shard-0/{LINE_A}/001{n}" for n in (3, 4)]
    for keys in (snapshot_keys(worker.store), worker.store.keys("progress/")):
        assert [key.split("/")[2] for key in keys] == ["0013", "0014"]


def test_nothing_is_deleted_when_the_checkpoint_is_refused() -> None:
    worker = working(record(1, NOON_MS))

    def refuse(number: str) -> None:
        raise Lease_Lost("somebody else owns it")

    worker.consumer._checkpoint = refuse
    worker.read([record(2, NOON_MS)], NOON_MS)
    before = set(worker.store.objects)
    with pytest.raises(Lease_Lost):
        worker.flush(NOON_MS)
    assert before <= set(worker.store.objects)
    assert worker.checkpoint == "1"


def test_an_idle_commit_writes_only_a_progress_and_an_unchanged_one_nothing() -> None:
    worker = working(record(1, NOON_MS))
    worker.tip(NOON_MS + 10 * MINUTE_MS)
    worker.flush(NOON_MS + 10 * MINUTE_MS)
    watermark_ms = NOON_MS + 10 * MINUTE_MS - 65_000
    writes = [call for call in writes_of(worker) if call[0] != "delete"]
    assert writes == [("put", progress_key(PARTITION, "1", watermark_ms, LINE_A))]
    worker.flush(NOON_MS + 10 * MINUTE_MS)
    assert writes_of(worker) == []
    assert latest_progress(worker.store).watermark_ms == watermark_ms


def test_the_watermark_of_an_idle_commit_survives_a_restart() -> None:
    worker = working(record(1, NOON_MS))
    for minutes in (10, 40):
        worker.tip(NOON_MS + minutes * MINUTE_MS)
        worker.flush(NOON_MS + minutes * MINUTE_MS)
    again = Worker(worker.store, "1", NOON_MS + HOUR_MS)
    assert again.state.published_watermark_ms == worker.state.published_watermark_ms
    assert again.state.position_ms == NOON_MS + 40 * MINUTE_MS
    assert again.state.record_watermark_ms == worker.state.record_watermark_ms


def test_a_commit_is_due_by_the_clock_and_when_a_window_has_closed() -> None:
    worker = working(record(1, NOON_MS))
    at_ms = worker.consumer.due_at().ms
    assert NOON_MS + 30_000 < at_ms <= NOON_MS + 60_000
    assert not worker.consumer.due(now_at(at_ms - 1))
    assert worker.consumer.due(now_at(at_ms))
    worker.consumer.receive(empty_tip(NEXT_MS + 65_000), now_at(NOON_MS + 1))
    assert worker.consumer.due(now_at(NOON_MS + 1))
    worker.work(NOON_MS + 1)
    assert [name for name, _ in writes_of(worker) if name != "delete"] == ["put"]
    assert latest_progress(worker.store).watermark_ms == NEXT_MS
    assert worker.state.windows == {}


def test_partitions_that_start_together_and_close_windows_together_commit_at_different_times() -> None:
    workers = [working(record(1, NOON_MS), partition=f"shard-{i}") for i in range(50)]

    def times_ms() -> set[int]:
        return {worker.consumer.due_at().ms for worker in workers}

    spread = times_ms()
    assert len(spread) > 45
    for worker in workers:
        worker.consumer.receive(empty_tip(NEXT_MS + 65_000), now_at(NOON_MS + 1))
        worker.work(NOON_MS + 1)  # a window closes for all
    assert times_ms() == spread
    for worker in workers:
        worker.work(worker.consumer.due_at().ms)
    assert times_ms() == {at_ms + 60_000 for at_ms in spread}


def test_few_rows_wait_longer_among_many_partitions_unless_they_may_close_a_window() -> None:
    worker = working(record(1, NOON_MS))
    worker.read([record(2, NOON_MS)], NOON_MS)
    for waited_ms, join_ms, due in (
        (999, 1_000, False),
        (1_000, 1_000, True),
        (1_000, 5_000, False),
        (5_000, 5_000, True),
    ):
        assert worker.consumer.due(now_at(NOON_MS + waited_ms), join_ms) == due
    worker.tip(NOON_MS + 1)
    assert not worker.consumer.due(now_at(NOON_MS + 1), 5_000)
    worker.read([record(3, NOON_MS)], NOON_MS + 2)  # joins what was there before the tip
    worker.read([record(4, NEXT_MS + 60_000)], NOON_MS + 3)
    assert worker.consumer.due(now_at(NOON_MS + 1_000), 5_000)
    folds = [key for name, key in worker.calls if name == "put"]
    worker.work(NOON_MS + 1_000)
    assert worker.state.counters["records"] == 4
    assert folds == []


def test_the_end_of_a_shard_is_committed_above_every_number() -> None:
    worker = working(record(10**55, NOON_MS))
    worker.read([record(10**55 + 1, NOON_MS)], NOON_MS)
    worker.end(NOON_MS)
    assert worker.checkpoint == END
    assert snapshot_keys(worker.store) == [f"snapshots/shard-0/END/{LINE_A}"]
    progress = latest_progress(worker.store)
    assert (progress.number, progress.ended) == (END, True)
    assert {name.number for name in progress.partials.values()} == {str(10**55 + 1)}
    again = Worker(worker.store, END, NOON_MS)
    again.end(NOON_MS)
    assert again.checkpoint == END
    assert partials_of(again) == partials_of(worker)


def test_an_ended_shard_is_known_by_its_snapshot_even_when_its_checkpoint_was_not_confirmed() -> None:
    worker = working(record(1, NOON_MS))
    worker.read([record(2, NOON_MS)], NOON_MS)

    def die(number: str) -> None:
        raise Died

    worker.consumer._checkpoint = die
    with pytest.raises(Died):
        worker.end(NOON_MS)
    again = Worker(worker.store, "1", NOON_MS)
    again.read([record(2, NOON_MS)], NOON_MS)
    again.end(NOON_MS)
    assert again.checkpoint == END
    assert again.state.counters["records"] == 2


# -------------------------------------------------------------------------------------------------------------- crashes


def live(worker: Worker, records: list[Record], end: bool) -> None:
    """Read in four batches with a commit after each, idle at the tip in between, then the shard's end."""
    step = max(1, len(records) // 4)
    for place in range(0, len(records), step):
        part = records[place : place + step]
        now_ms = part[-1].arrival_ms + 2_000
        worker.read(part, now_ms)
        worker.flush(now_ms)
        worker.tip(now_ms + 20 * MINUTE_MS)
        worker.flush(now_ms + 20 * MINUTE_MS)
    if end:
        worker.end(MONTH_END_MS + DAY_MS)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("end", [False, True])
def test_a_crash_before_any_call_and_a_recovery_give_the_same_partials(end: bool) -> None:
    records = hostile_records(seed=3, count=24)
    whole = Worker()
    live(whole, records, end)
    calls = 0
    while True:
        worker = Worker()
        worker.calls_left = calls
        try:
            live(worker, records, end)
        except Died:
            pass
        else:
            break
        again = Worker(worker.store, worker.checkpoint, MONTH_END_MS, lineage="line-a")
        rest = [] if worker.checkpoint == END else after(records, worker.checkpoint)
        live(again, rest, end) if rest else again.end(MONTH_END_MS) if end else again.flush(MONTH_END_MS)
        assert partials_of(again) == partials_of(whole), f"died before call {calls}"
        assert known_from_records(again.state) == known_from_records(whole.state), f"died before call {calls}"
        for key, contents in worker.store.contents.items():
            assert not key.startswith(("partials/", "dead-letters/", "secrets/")) or len(contents) == 1, key
        calls += 1
    assert calls > 40


def test_two_crashes_in_a_row_give_the_same_partials() -> None:
    records = hostile_records(seed=8, count=16)
    whole = Worker()
    live(whole, records, end=True)
    for calls in range(0, 70, 3):
        worker = Worker()
        for left in (calls, 1 + calls // 2):
            worker.calls_left = left
            try:
                live(worker, after(records, worker.checkpoint), end=True)
            except Died:
                worker = Worker(worker.store, worker.checkpoint, MONTH_END_MS, lineage="line-a")
            if worker.checkpoint == END:
                break
        worker.calls_left = None
        if worker.checkpoint != END:
            rest = after(records, worker.checkpoint)
            live(worker, rest, end=True) if rest else worker.end(MONTH_END_MS)
        assert partials_of(worker) == partials_of(whole)


def test_a_commit_whose_call_failed_is_finished_by_the_next() -> None:
    for failing in range(12):
        worker = working(record(1, NOON_MS), record(2, NEXT_MS))
        worker.read([record(3, NEXT_MS), record(4, NOON_MS, NEXT_MS)], NEXT_MS)
        worker.run(worker.consumer._fold_steps(NEXT_MS))
        worker.fails_after = failing
        with suppress(Store_Unavailable):
            worker.flush(NEXT_MS)
        worker.fails_after = None
        worker.flush(NEXT_MS)
        windows = {start: Window.from_bytes(data) for start, (_, data) in partials_of(worker).items()}
        assert {start: window.total_requests for start, window in windows.items()} == {NOON_MS: 2, NEXT_MS: 2}
        assert worker.checkpoint == "4"
        again = Worker(worker.store, "4", NEXT_MS)
        assert known_from_records(again.state) == known_from_records(worker.state)


def test_a_checkpoint_that_was_never_confirmed_moves_with_the_next_record() -> None:
    """The KCL refuses a checkpoint above what it has delivered, so a recovered number is not checkpointed by itself."""
    worker = working(record(1, NOON_MS))
    worker.read([record(2, NOON_MS)], NOON_MS)
    worker.consumer._checkpoint = lambda number: None  # the answer, and the effect, got lost
    worker.flush(NOON_MS)
    again = Worker(worker.store, "1", NOON_MS)
    assert again.state.number == "2"
    again.flush(NOON_MS)
    assert again.checkpoint == "1"
    again.read([record(2, NOON_MS), record(3, NOON_MS)], NOON_MS)
    again.flush(NOON_MS)
    assert (again.checkpoint, again.state.counters["records"]) == ("3", 3)


def test_records_that_a_snapshot_has_seen_are_skipped_when_they_come_again() -> None:
    worker = working(record(1, NOON_MS), record(2, NOON_MS), record(30, NOON_MS))
    again = Worker(worker.store, "1", NOON_MS)
    again.read([record(2, NOON_MS), record(30, NOON_MS), record(200, NOON_MS)], NOON_MS)
    again.read([record(30, NOON_MS)], NOON_MS)
    again.flush(NOON_MS)
    assert (again.state.number, again.state.counters["records"]) == ("200", 4)
    assert again.state.counters.get("duplicates", 0) == 0


def test_a_zombie_writes_what_is_true_and_what_the_owner_writes_as_well() -> None:
    records = hostile_records(seed=5, count=30)
    zombie = working(*records[:10])
    owner = Worker(zombie.store, zombie.checkpoint, MONTH_END_MS)
    for worker in (zombie, owner):
        worker.read(records[10:20], MONTH_END_MS)
        worker.run(worker.consumer._fold_steps(MONTH_END_MS))
    zombie.calls_left = 5
    with pytest.raises(Died):
        zombie.flush(MONTH_END_MS)
    owner.flush(MONTH_END_MS)
    owner.read(records[20:], MONTH_END_MS)
    owner.flush(MONTH_END_MS)
    contents = owner.store.contents
    assert all(len(contents[key]) == 1 for key in contents if key.startswith("partials/"))
    whole = Worker()
    whole.read(records, MONTH_END_MS)
    whole.flush(MONTH_END_MS)
    assert partials_of(owner) == partials_of(whole)


def test_a_worker_that_misses_a_partial_it_named_has_been_overtaken() -> None:
    worker = working(record(1, NOON_MS))
    zombie = Worker(worker.store, "1", NOON_MS)
    for number in (2, 3):  # what it names is deleted one commit later
        worker.read([record(number, NOON_MS)], NOON_MS)
        worker.flush(NOON_MS)
    zombie.read([record(2, NOON_MS)], NOON_MS)
    with pytest.raises(Superseded, match="another worker has moved past"):
        zombie.flush(NOON_MS)


def test_a_late_record_brings_its_partial_back_and_amends_it() -> None:
    worker = working(record(1, NOON_MS), record(2, NOON_MS + 2 * HOUR_MS))
    assert NOON_MS not in worker.state.windows
    worker.read([record(3, NOON_MS + 5, NOON_MS + 2 * HOUR_MS)], NOON_MS + 2 * HOUR_MS)
    worker.flush(NOON_MS + 2 * HOUR_MS)
    number, data = partials_of(worker)[NOON_MS]
    window = Window.from_bytes(data)
    assert (number, window.total_requests, window.late_records) == ("3", 2, 1)
    assert NOON_MS not in worker.state.windows


# ------------------------------------------------------------------------------------------------ recovery and lineages


def test_a_first_start_covers_what_the_stream_still_has() -> None:
    day = Timing()
    young = Worker(now_ms=NOON_MS, timing=day, start=Start(BEGINNING_MS, NOON_MS - HOUR_MS))
    old = Worker(now_ms=NOON_MS, timing=day, start=Start(BEGINNING_MS, NOON_MS - 9 * DAY_MS))
    latest = Worker(now_ms=NOON_MS, timing=day, start=Start(NOON_MS - 7, NOON_MS - 9 * DAY_MS))
    assert [w.state.since_ms for w in (young, old, latest)] == [BEGINNING_MS, NOON_MS - DAY_MS + 300_000, NOON_MS - 7]
    assert [w.state.number for w in (young, old, latest)] == ["0"] * 3


def test_before_the_first_record_there_is_progress_and_nothing_to_go_on_from() -> None:
    """Whoever starts then starts anew, in a lineage of its own: by then the stream may have trimmed some records, so
    two that began at different times do not hold the same."""
    worker = Worker(now_ms=NOON_MS)
    worker.tip(NOON_MS + HOUR_MS)
    worker.flush(NOON_MS + HOUR_MS)
    assert [name for name, _ in writes_of(worker)] == ["put"]
    assert latest_progress(worker.store).watermark_ms > NOON_MS
    again = Worker(worker.store, None, NOON_MS + 5, lineage="other")
    assert (again.state.lineage, again.state.number, again.state.since_ms) == ("other", "0", BEGINNING_MS)


def test_a_child_inherits_ids_watermarks_and_coverage_from_all_its_parents() -> None:
    store = Dict_Store()
    for parent, event_ms, since_ms in (("left", NOON_MS, NOON_MS - 9), ("right", NOON_MS + 9_000, NOON_MS - 5)):
        worker = Worker(store, None, NOON_MS, partition=parent, start=Start(since_ms, NOON_MS))
        worker.read([record(1, event_ms, x_edge_request_id=parent)], NOON_MS)
        worker.end(NOON_MS)
    child = Worker(store, None, NOON_MS, partition="child", parents=("left", "right"), lineage="of-child")
    assert (child.state.since_ms, child.state.record_watermark_ms) == (NOON_MS - 5, NOON_MS - 60_000)
    assert (child.state.parents, child.state.lineage, child.state.number) == (("left", "right"), "of-child", "0")
    again = [
        record(i, NOON_MS, NOON_MS + 20_000, x_edge_request_id=text) for i, text in enumerate(["left", "right"], 1)
    ]
    child.read(again, NOON_MS)
    child.flush(NOON_MS)
    assert child.state.counters["duplicates"] == 2
    assert latest_progress(store, "child").parents == ("left", "right")


def test_a_child_whose_parent_has_no_end_begins_as_a_first_start() -> None:
    store = Dict_Store()
    worker = Worker(store, None, NOON_MS, partition="left")
    worker.read([record(1, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    child = Worker(store, None, NOON_MS, partition="child", parents=("left",), start=Start(NOON_MS, NOON_MS))
    assert (child.state.since_ms, child.state.record_watermark_ms) == (NOON_MS, BEGINNING_MS)


def test_a_child_of_two_parents_of_which_one_is_unknown_covers_only_what_comes_now() -> None:
    """A list lacked it for a moment: its records may still be there."""
    parent = working(record(1, NOON_MS))
    parent.end(NOON_MS)
    child = Worker(parent.store, None, NOON_MS + MINUTE_MS, partition="child", parents=(PARTITION, "unheard-of"))
    assert child.state.since_ms == NOON_MS + MINUTE_MS
    assert child.state.first_vouched


@pytest.mark.usefixtures("place")
def test_a_lost_snapshot_begins_a_new_lineage_that_covers_only_what_comes_now() -> None:
    worker = working(record(1, NOON_MS))
    worker.store.delete(snapshot_keys(worker.store))
    now_ms = NOON_MS + 20 * MINUTE_MS
    again = Worker(worker.store, "1", now_ms, lineage="line-b")
    assert (again.state.lineage, again.state.since_ms, again.state.number) == ("line-b", now_ms, "1")
    again.read([record(1, NOON_MS), record(2, now_ms)], now_ms)
    again.flush(now_ms)
    assert again.state.partials == {NOON_MS: Partial_Name(LINE_B, "2")}
    progress = latest_progress(worker.store)
    first_ms = now_ms + 1_000  # when the first record came that it read: our clock may have been wrong
    assert (progress.lineage, progress.since_ms, progress.number) == (LINE_B, first_ms, "2")


@pytest.mark.usefixtures("place")
def test_a_snapshot_that_vanishes_while_it_is_looked_for_was_replaced_and_is_not_lost() -> None:
    """A worker that stands still in its recovery must not begin a lineage that lacks what others have read."""
    worker = working(record(1, NOON_MS))
    store = worker.store

    class Overtaken(Dict_Store):
        def get(self, key: str) -> bytes | None:
            if key in snapshot_keys(self) and worker.checkpoint == "1":
                for number in (2, 3):  # deletes the snapshot at 1
                    worker.read([record(number, NOON_MS)], NOON_MS)
                    worker.flush(NOON_MS)
            return super().get(key)

    late = Worker(Overtaken(store.objects), "1", NOON_MS, lineage="other")
    assert (late.state.number, late.state.lineage, late.state.since_ms) == ("3", worker.state.lineage, BEGINNING_MS)


@pytest.mark.usefixtures("place")
def test_a_recovery_that_is_overtaken_again_and_again_gives_up_for_now() -> None:
    class Racing(Dict_Store):
        def get(self, key: str) -> bytes | None:
            return None if key in snapshot_keys(self) else super().get(key)

    with pytest.raises(Superseded, match="snapshots of shard-0 are deleted faster"):
        Worker(Racing(working(record(1, NOON_MS)).store.objects), "1", NOON_MS)


def test_a_lower_snapshot_that_covers_more_serves_before_a_higher_one_that_left_something_out() -> None:
    """The owner has committed 2, and deleted the partial at 1. A worker that lost its lease had started from 1, set
    record 2 aside, and written on: its snapshot is higher, and names the partial that is gone."""
    owner = working(record(1, NOON_MS), record(2, NOON_MS))
    zombie = Worker(owner.store, "2", NOON_MS)
    zombie.state.start_anew(NOON_MS, "line-z", RETENTION)
    zombie.state.number = "3"
    zombie.state.partials[NOON_MS] = Partial_Name(LINE_A, "1")
    owner.store.put(snapshot_key(PARTITION, "3", "line-z"), zombie.state.to_bytes())
    again = Worker(owner.store, "2", NOON_MS)
    assert (again.state.number, again.state.lineage) == ("2", owner.state.lineage)
    again.read([record(3, NOON_MS)], NOON_MS)
    again.flush(NOON_MS)
    assert again.checkpoint == "3"


@pytest.mark.parametrize("lineage", ["line-0", "line-z"])
def test_of_two_that_cover_the_same_the_one_serves_whose_partials_are_there(lineage: str) -> None:
    """Both have set record 3 aside: the owner after it had committed 2, which deleted the partial at 1, and a worker
    that had lost its lease at 1 before. The owner could go on from neither number nor coverage."""
    owner = working(record(1, NOON_MS), record(2, NOON_MS))
    for name, last in (("line-b", "2"), (lineage, "1")):
        state = Worker(owner.store, "2", NOON_MS).state
        state.start_anew(NOON_MS, name, RETENTION)
        state.number = "3"
        state.partials[NOON_MS] = Partial_Name(LINE_A, last)
        owner.store.put(snapshot_key(PARTITION, "3", name), state.to_bytes())
    again = Worker(owner.store, "3", NOON_MS)
    assert again.state.lineage == "line-b"
    again.read([record(4, NOON_MS)], NOON_MS)
    again.flush(NOON_MS)
    assert again.checkpoint == "4"


@pytest.mark.usefixtures("place")
def test_a_corrupt_snapshot_counts_as_lost() -> None:
    worker = working(record(1, NOON_MS))
    damage(worker.store, snapshot_keys(worker.store)[0])
    again = Worker(worker.store, "1", NOON_MS + 5, lineage="line-b")
    assert (again.state.lineage, again.state.since_ms, again.state.number) == ("line-b", NOON_MS + 5, "1")


@pytest.mark.usefixtures("place")
def test_below_a_corrupt_snapshot_the_next_one_at_or_above_the_checkpoint_serves() -> None:
    worker = working(record(1, NOON_MS))

    def die(number: str) -> None:
        raise Died

    worker.consumer._checkpoint = die
    worker.read([record(2, NOON_MS)], NOON_MS)
    with pytest.raises(Died):
        worker.flush(NOON_MS)
    assert len(snapshot_keys(worker.store)) == 2
    damage(worker.store, snapshot_keys(worker.store)[-1])
    again = Worker(worker.store, "1", NOON_MS, lineage="line-b")
    assert (again.state.lineage, again.state.number) == (LINE_A, "1")


def test_an_unknown_version_of_a_snapshot_is_refused_by_name(place: str) -> None:
    worker = working(record(1, NOON_MS))
    kind, (key,) = "progress" if place == "inside" else "partition", snapshot_keys(worker.store)
    worker.store.put(key, in_version(VERSION + 1, worker.store.objects[key]))
    with pytest.raises(Unknown_Version, match=rf"{kind} {key} has format version {VERSION + 1}"):
        Worker(worker.store, "1", NOON_MS)


def test_a_corrupt_progress_costs_only_the_watermark_that_it_alone_knew() -> None:
    """A store that does not sync can leave half a file behind: the partition must start all the same."""
    worker = working(record(1, NOON_MS))
    worker.tip(NOON_MS + 10 * MINUTE_MS)
    worker.flush(NOON_MS + 10 * MINUTE_MS)
    damage(worker.store, worker.store.keys("progress/")[-1])
    again = Worker(worker.store, "1", NOON_MS + HOUR_MS)
    assert again.state.lineage == LINE_A
    assert again.state.published_watermark_ms == again.state.record_watermark_ms


def test_a_corrupt_partial_begins_a_new_lineage_and_is_never_taken_for_zero() -> None:
    worker = working(record(1, NOON_MS), record(2, NOON_MS + 2 * HOUR_MS))
    key = worker.store.keys("partials/2026-02-16T1200/")[0]
    damage(worker.store, key)
    now_ms = NOON_MS + 2 * HOUR_MS
    worker.read([record(3, NOON_MS, now_ms)], now_ms)
    worker.flush(now_ms)
    since_ms = now_ms + 1_001  # the newest record that was read came a second after our now
    assert (worker.state.lineage, worker.state.since_ms) == ("line-a-1", since_ms)
    assert latest_progress(worker.store).since_ms == since_ms
    assert worker.state.partials[NOON_MS] == Partial_Name("line-a-1", "3")


@pytest.mark.parametrize(("away_ms", "lost"), [(DAY_MS - 300_000, False), (DAY_MS - 299_999, True)])
def test_a_partition_that_was_away_longer_than_the_retention_begins_a_new_lineage(away_ms: int, lost: bool) -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    now_ms = NOON_MS + away_ms
    again = Worker(worker.store, "1", now_ms, timing=Timing())
    again.read([record(2, now_ms, now_ms)], now_ms)
    again.flush(now_ms)
    expected = ("line-a-1", now_ms - DAY_MS + 300_000) if lost else (LINE_A, BEGINNING_MS)
    assert (again.state.lineage, again.state.since_ms) == expected
    assert again.state.partials[NOON_MS].lineage == LINE_A
    assert again.state.partials[now_ms // WINDOW_MS * WINDOW_MS].lineage == expected[0]


def test_an_empty_answer_at_the_tip_proves_that_nothing_was_lost() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    for hours in (20, 40, 60):
        worker.tip(NOON_MS + hours * HOUR_MS)
    worker.flush(NOON_MS + 60 * HOUR_MS)
    assert worker.state.lineage == LINE_A


# ------------------------------------------------------------------------------------------------ pruning, dead letters


def test_a_window_is_named_until_it_is_old_and_published() -> None:
    published: set[int] = set()
    worker = working(record(1, NOON_MS), published=lambda partition, window_ms, name: window_ms in published)
    keep_ms = TIMING.keep_ms
    for number, later_ms, is_published, named in (
        (2, keep_ms - HOUR_MS, True, True),
        (3, keep_ms + WINDOW_MS + 59_999, True, True),
        (4, keep_ms + WINDOW_MS + 60_000, False, True),
        (5, keep_ms + WINDOW_MS + 60_001, True, False),
    ):
        published = {NOON_MS} if is_published else set()
        worker.read([record(number, NOON_MS + later_ms)], NOON_MS + later_ms)
        worker.flush(NOON_MS + later_ms)
        assert (NOON_MS in worker.state.partials) == named
        assert (NOON_MS in latest_progress(worker.store).partials) == named
        again = Worker(worker.store, worker.checkpoint, NOON_MS + later_ms)
        assert again.state.partials == worker.state.partials


def test_one_progress_key_never_gets_another_map() -> None:
    """Without a new record the key stays the same, so what is pruned waits for the next record."""
    published: set[int] = set()
    late_ms = NOON_MS + TIMING.keep_ms + HOUR_MS
    worker = working(
        record(1, NOON_MS), record(2, late_ms), published=lambda partition, window_ms, name: window_ms in published
    )
    published.add(NOON_MS)
    worker.flush(late_ms)
    maps: dict[str, set[tuple[int, ...]]] = {}
    for key, contents in worker.store.contents.items():
        if key.startswith("progress/"):
            maps[key] = {tuple(sorted(decode_progress(data).partials)) for data in contents}
    assert all(len(found) == 1 for found in maps.values())
    worker.read([record(3, late_ms)], late_ms)
    worker.flush(late_ms)
    assert NOON_MS not in worker.state.partials


def test_dead_letters_are_written_before_the_checkpoint_that_passes_over_them() -> None:
    worker = Worker(now_ms=NOON_MS)
    bad = Record("2", NOON_MS, b"one\ttwo\n\n#\nthree\n")
    worker.read([record(1, NOON_MS), bad], NOON_MS)
    worker.flush(NOON_MS)
    calls = writes_of(worker)
    letters = [place for place, (_, key) in enumerate(calls) if key.startswith("dead-letters/")]
    assert len(letters) == 2
    assert max(letters) < calls.index(("checkpoint", "2"))
    assert worker.state.counters["fields"] == 2
    before = {key: worker.store.objects[key] for key in worker.store.keys("dead-letters/")}
    assert [key.rsplit("/", 1)[1] for key in before] == ["000000", "000003"]
    assert b"one" not in b"".join(before.values())

    again = Worker(worker.store, None, NOON_MS, lineage="other")
    fresh = Worker(Dict_Store(), None, NOON_MS, lineage="other")
    for other in (again, fresh):  # a repetition is the same letter
        other.read([record(1, NOON_MS), bad], NOON_MS)
        other.flush(NOON_MS)
        assert {key: other.store.objects[key] for key in other.store.keys("dead-letters/")} == before


def test_dead_letters_have_their_text_if_it_is_asked_for() -> None:
    worker = working(Record("1", NOON_MS, b"-\t\t-\nsecret\tx\n"), Record("2", NOON_MS, b"a@b.cd"), keep_text=True)
    texts = [worker.store.objects[key] for key in worker.store.keys("dead-letters/")]
    assert len(texts) == 3
    assert all(b'"text":' in text for text in texts)
    assert not any(b"secret" in text or b"a@b.cd" in text for text in texts)


def test_a_late_record_beyond_the_limit_is_a_dead_letter_too() -> None:
    worker = working(record(1, NOON_MS), record(2, NOON_MS - 3 * DAY_MS, NOON_MS))
    assert len(worker.store.keys("dead-letters/")) == 1
    assert worker.state.counters["too_late"] == 1


def test_the_secret_of_a_month_is_made_once_by_whoever_comes_first() -> None:
    class Raced(Dict_Store):
        def create(self, key: str, data: bytes) -> bool:
            self.objects.setdefault(key, b"another!")  # somebody else was quicker
            return super().create(key, data)

    worker = Worker(Raced(), now_ms=MONTH_END_MS)
    worker.read([record(1, MONTH_END_MS - 1), record(2, MONTH_END_MS), record(3, MONTH_END_MS)], MONTH_END_MS)
    worker.flush(MONTH_END_MS)
    assert worker.store.keys("secrets/") == [secret_key("2026-02"), secret_key("2026-03")]
    assert set(worker.consumer._secrets.seeds.values()) == {int.from_bytes(b"another!", "big")}
    made = [key for name, key in worker.calls if name == "create"]
    assert made == worker.store.keys("secrets/")


def test_a_torn_secret_is_passed_over_by_everybody_alike() -> None:
    store = Dict_Store({secret_key("2026-02"): b"short"})
    worker = Worker(store, now_ms=NOON_MS)
    worker.read([record(1, NOON_MS)], NOON_MS)
    worker.flush(NOON_MS)
    assert store.keys("secrets/") == [secret_key("2026-02"), secret_key("2026-02", 1)]
    assert (worker.state.lineage, worker.state.since_ms) == (LINE_A, BEGINNING_MS)


def test_two_that_begin_a_month_with_two_secrets_put_nothing_under_one_key() -> None:
    """Neither knows the other's secret: the first one was lost, with what its owner had committed since."""
    before = working(record(1, NOON_MS))
    for secret in (b"a secret", b"another "):
        worker = Worker(before.store, "1", MONTH_END_MS)
        worker.consumer._secrets = Secrets(worker.store, lambda made=secret: made)
        worker.read([record(2, MONTH_END_MS)], MONTH_END_MS)
        worker.flush(MONTH_END_MS)
        lost = [key for key in snapshot_keys(worker.store) if f"/{sortable('2')}/" in key]
        worker.store.delete([secret_key("2026-03"), *lost])
    assert all(len(contents) == 1 for key, contents in before.store.contents.items() if not key.startswith("secrets/"))


def test_another_secret_than_the_one_that_was_used_begins_a_new_lineage_that_covers_what_comes_now() -> None:
    """Hashes of the two cannot be compared: duplicates would count again."""
    worker = working(record(1, NOON_MS))
    worker.store.objects[secret_key("2026-02")] = b""  # torn after a power cut
    now_ms = NOON_MS + MINUTE_MS
    again = Worker(worker.store, "1", now_ms, lineage="line-b")
    again.consumer._secrets = Secrets(worker.store, lambda: b"another ")
    again.read([record(2, NOON_MS, now_ms)], now_ms)
    again.flush(now_ms)
    assert (again.state.lineage, again.state.since_ms) == ("line-b-1", now_ms)
    once_more = Worker(worker.store, "2", now_ms + MINUTE_MS, lineage="line-c")
    once_more.read([record(3, NOON_MS, now_ms + MINUTE_MS)], now_ms + MINUTE_MS)
    once_more.flush(now_ms + MINUTE_MS)
    assert once_more.state.lineage == "line-b-1"


def test_a_torn_checkpoint_is_no_dead_end() -> None:
    worker = working(record(1, NOON_MS))
    again = Worker(worker.store, "", NOON_MS + MINUTE_MS, lineage="line-b")
    assert (again.state.lineage, again.state.number) == (LINE_A, "1")
    worker.store.delete(snapshot_keys(worker.store))
    anew = Worker(worker.store, "4\0", NOON_MS + MINUTE_MS, lineage="line-c")
    assert (anew.state.lineage, anew.state.number, anew.state.since_ms) == ("line-c", "0", NOON_MS + MINUTE_MS)
