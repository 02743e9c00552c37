"""What a partition vouches for after something is gone or has changed: retention, partials, snapshots, settings."""

import pytest

from sa_stream.commits.keys import RETENTIONS_PREFIX, destroyed_secret_key, snapshot_key
from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.commits.retention import observe_steps
from sa_stream.commits.shared import Start
from sa_stream.errors import Superseded
from sa_stream.partitions import END
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Stream_Retention, Timing, month_of
from tests.commits.test_protocol import NOON_MS, latest_progress, working
from tests.windows.partition_feed import (
    LINE_A,
    LINE_B,
    PARTITION,
    Dict_Store,
    Record,
    Worker,
    batch_of,
    empty_tip,
    now_at,
    record,
    snapshot_keys,
)

WEEK = Timing(retention_ms=7 * DAY_MS)
MARGIN_MS = WEEK.coverage_margin_ms


def anew(worker: Worker, now_ms: int, timing: Timing, lineage: str = "line-b") -> Worker:
    """The same partition after a restart."""
    return Worker(worker.store, worker.checkpoint, now_ms, timing, lineage=lineage)


# ---------------------------------------------------------------------- retention, now and before


def test_each_retention_that_was_seen_held_until_the_next_one_was() -> None:
    store = Dict_Store()

    def seen(retention_ms: int, now_ms: int) -> tuple[tuple[int, int], ...]:
        return drive(observe_steps(store, retention_ms, now_ms))

    assert seen(DAY_MS, NOON_MS) == ()
    assert seen(DAY_MS, NOON_MS + HOUR_MS) == ()
    assert seen(7 * DAY_MS, NOON_MS + 2 * HOUR_MS) == ((NOON_MS + 2 * HOUR_MS, DAY_MS),)
    assert seen(DAY_MS, NOON_MS) == ((NOON_MS + 2 * HOUR_MS, DAY_MS), (NOON_MS + 2 * HOUR_MS + 1, 7 * DAY_MS))
    assert len(store.keys(RETENTIONS_PREFIX)) == 3


def test_what_a_shorter_retention_has_taken_stays_gone_when_it_is_raised() -> None:
    raised = Timing(retention_ms=7 * DAY_MS, past_retentions=((NOON_MS, DAY_MS), (NOON_MS + DAY_MS, 3 * DAY_MS)))
    assert raised.kept_from_ms(NOON_MS + DAY_MS) == NOON_MS - DAY_MS
    assert raised.kept_from_ms(NOON_MS + 6 * DAY_MS) == NOON_MS - DAY_MS
    assert raised.kept_from_ms(NOON_MS + 8 * DAY_MS) == NOON_MS + DAY_MS
    assert Timing().kept_from_ms(NOON_MS) == NOON_MS - DAY_MS


def test_a_retention_that_was_raised_during_an_outage_does_not_bring_back_what_it_took() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    now_ms = NOON_MS + 30 * HOUR_MS
    raised = Timing(retention_ms=7 * DAY_MS, past_retentions=((now_ms, DAY_MS),))
    again = anew(worker, now_ms, raised)
    again.read([record(500, now_ms - 20 * HOUR_MS, now_ms - 20 * HOUR_MS)], now_ms)
    again.flush(now_ms)
    assert again.state.since_ms == now_ms - DAY_MS + MARGIN_MS
    assert again.state.lineage == "line-b-1"


def test_who_goes_on_where_the_stream_trims_gives_no_key_two_contents() -> None:
    """What is older than the retention may be there for one, and gone for who begins at the same commit later."""
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    now_ms = NOON_MS + 30 * HOUR_MS
    late = anew(worker, now_ms, Timing())
    older, old = (record(number, NOON_MS, NOON_MS) for number in (3, 4))
    late.read([record(2, NOON_MS, NOON_MS)], now_ms)
    late.flush(now_ms)
    keys = set(late.store.objects)
    found = []
    for lineage, records in (("line-c", [older, old]), ("line-d", [old])):
        again = Worker(Dict_Store(dict(late.store.objects)), late.checkpoint, now_ms, Timing(), lineage=lineage)
        again.read(records, now_ms)
        again.flush(now_ms)
        found.append({key: again.store.objects[key] for key in set(again.store.objects) - keys})
    one, other = found
    assert any(key.startswith("partials/") for key in one)
    assert all(one[key] == other[key] for key in one.keys() & other.keys())


def first_read(first_ms: int, born_ms: int, now_ms: int = NOON_MS, timing: Timing = WEEK) -> int:
    """What a partition vouches for that finds its first record with this arrival time."""
    worker = Worker(None, None, now_ms, timing, start=Start(BEGINNING_MS, born_ms))
    worker.read([record(1, first_ms, first_ms)], now_ms)
    worker.flush(now_ms)
    assert latest_progress(worker.store).since_ms == worker.state.since_ms
    return worker.state.since_ms


def test_an_old_stream_vouches_from_the_first_record_that_it_still_has() -> None:
    """Its retention may have been raised yesterday: what the old one has trimmed would be taken for nothing."""
    first_ms = NOON_MS - 2 * DAY_MS
    assert first_read(first_ms, NOON_MS - 90 * DAY_MS) == first_ms
    assert first_read(first_ms, NOON_MS - 5 * DAY_MS) == first_ms  # younger than the retention, and than the old one
    assert first_read(NOON_MS - 8 * DAY_MS, NOON_MS - 90 * DAY_MS) == NOON_MS - 7 * DAY_MS + MARGIN_MS


def test_a_day_is_kept_whatever_the_retention_was() -> None:
    sure_ms = NOON_MS - DAY_MS + MARGIN_MS
    assert first_read(NOON_MS - HOUR_MS, NOON_MS - 90 * DAY_MS) == sure_ms  # a quiet night
    worker = Worker(None, None, NOON_MS, WEEK, start=Start(BEGINNING_MS, NOON_MS - 90 * DAY_MS))
    worker.tip(NOON_MS)
    worker.flush(NOON_MS)
    assert latest_progress(worker.store).since_ms == sure_ms


def test_a_stream_that_has_lost_nothing_is_covered_from_its_beginning() -> None:
    assert first_read(NOON_MS - HOUR_MS, NOON_MS - 20 * HOUR_MS) == BEGINNING_MS
    born_ms = NOON_MS - 6 * DAY_MS
    assert first_read(born_ms + MARGIN_MS, born_ms) == BEGINNING_MS  # the first record came with the stream itself
    assert first_read(born_ms + MARGIN_MS + 1, born_ms) == born_ms + MARGIN_MS + 1


def test_a_position_in_the_unknown_past_vouches_from_the_first_record_too() -> None:
    from_ms, first_ms = NOON_MS - 3 * DAY_MS, NOON_MS - 2 * DAY_MS
    worker = Worker(None, None, NOON_MS, WEEK, start=Start(from_ms, NOON_MS - 90 * DAY_MS))
    worker.read([record(1, first_ms, first_ms)], NOON_MS)
    assert worker.state.since_ms == first_ms
    recent_ms = NOON_MS - HOUR_MS
    assert Worker(None, None, NOON_MS, WEEK, start=Start(recent_ms, 0)).state.since_ms == recent_ms


def test_a_loss_after_the_first_read_is_noticed_from_where_reading_stands() -> None:
    """And not from what was vouched for before the first record told how old the backlog is."""
    first_ms = NOON_MS - 6 * DAY_MS
    worker = Worker(None, None, NOON_MS, WEEK, start=Start(BEGINNING_MS, NOON_MS - 90 * DAY_MS))
    worker.read([record(1, first_ms, first_ms)], NOON_MS)
    worker.flush(NOON_MS)
    later_ms = NOON_MS + 2 * DAY_MS
    again = anew(worker, later_ms, WEEK)
    again.read([record(2, later_ms, later_ms)], later_ms)
    again.flush(later_ms)
    assert again.state.since_ms == later_ms - 7 * DAY_MS + MARGIN_MS


def test_a_loss_is_noticed_by_our_clock_where_the_newest_record_is_old() -> None:
    """A stream that has been quiet for a day: what came before its last records was trimmed all the same."""
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    now_ms = NOON_MS + 40 * HOUR_MS
    again = anew(worker, now_ms, Timing())
    again.read([record(9, NOON_MS + 17 * HOUR_MS, NOON_MS + 17 * HOUR_MS)], now_ms)
    again.flush(now_ms)
    assert again.state.since_ms == now_ms - DAY_MS + MARGIN_MS


def test_a_loss_is_noticed_by_the_records_where_our_clock_is_days_behind() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    wrong_ms = NOON_MS - 5 * DAY_MS
    again = anew(worker, wrong_ms, Timing())
    first_ms = NOON_MS + 30 * HOUR_MS
    batch = batch_of([record(9, first_ms, first_ms)], millis_behind_latest=HOUR_MS)
    again.consumer.receive(batch, now_at(wrong_ms))
    again.flush(wrong_ms)
    assert again.state.since_ms == first_ms + HOUR_MS - DAY_MS + MARGIN_MS


def test_what_a_retention_trims_that_is_shortened_while_a_backlog_is_read_is_missed_at_the_next_read() -> None:
    """The stream's retention is asked for again while it is read: 72 h that became 24 h take what is still unread."""
    now_ms = NOON_MS + 40 * HOUR_MS
    retention = Stream_Retention((3 * DAY_MS, ()), lambda: None)
    timing = Timing(stream=retention)
    first = Timing(retention_ms=3 * DAY_MS)
    worker = anew(working(record(1, NOON_MS, NOON_MS), timing=first), now_ms, timing)

    def read(number: int, arrival_ms: int, now_ms: int) -> None:
        batch = batch_of([record(number, arrival_ms, arrival_ms)], millis_behind_latest=now_ms - arrival_ms)
        worker.consumer.receive(batch, now_at(now_ms))
        worker.flush(now_ms)

    read(2, NOON_MS + HOUR_MS, now_ms)
    assert (worker.state.lineage, worker.state.since_ms) == (LINE_A, BEGINNING_MS)
    retention.now = (DAY_MS, ((now_ms, 3 * DAY_MS),))
    now_ms += MINUTE_MS
    kept_ms = now_ms - DAY_MS
    read(900, kept_ms, now_ms)
    assert (worker.state.lineage, worker.state.since_ms) == ("line-b-1", kept_ms + MARGIN_MS)
    assert latest_progress(worker.store).since_ms == kept_ms + MARGIN_MS
    assert worker.state.counters["retention_gaps"] == 1
    read(901, kept_ms + HOUR_MS, now_ms)
    now_ms += MINUTE_MS
    read(902, kept_ms + 2 * HOUR_MS, now_ms)  # once is enough, as reading is ahead of what is trimmed
    assert worker.state.counters["retention_gaps"] == 1


@pytest.mark.parametrize("shortened", [True, False])
@pytest.mark.parametrize("gap_ms", [MINUTE_MS, 15 * HOUR_MS])
def test_what_is_read_far_behind_the_tip_counts_only_after_the_stream_was_asked_for_its_retention(
    gap_ms: int, shortened: bool
) -> None:
    """It was shortened since anybody looked: the next read jumps over what it took, and looks like a quiet moment."""
    now_ms, kept_ms = NOON_MS + 40 * HOUR_MS, NOON_MS + 16 * HOUR_MS
    retention = Stream_Retention((3 * DAY_MS, ()), lambda: None)
    asked: list[int] = []
    first = Timing(retention_ms=3 * DAY_MS)
    before_ms = kept_ms + MINUTE_MS - gap_ms
    worker = anew(working(record(1, NOON_MS, NOON_MS), timing=first), now_ms, Timing(stream=retention))
    worker.read([record(2, before_ms, before_ms)], now_ms)
    worker.flush(now_ms)
    assert worker.state.since_ms == BEGINNING_MS

    def ask() -> None:
        asked.append(1)
        retention.now = (DAY_MS if shortened else 3 * DAY_MS, ())

    retention.ask = ask
    worker.read([record(900, kept_ms + MINUTE_MS, kept_ms + MINUTE_MS)], now_ms)
    worker.read([record(901, now_ms - HOUR_MS, now_ms - HOUR_MS)], now_ms)
    worker.flush(now_ms)
    assert len(asked) == 1
    own = latest_progress(worker.store)
    assert (own.lineage, own.since_ms) == (("line-b-1", kept_ms + MARGIN_MS) if shortened else (LINE_A, BEGINNING_MS))
    worker.tip(now_ms)  # what is younger than a day is there whatever happened
    worker.flush(now_ms)
    assert len(asked) == 1


def without_snapshot(now_ms: int) -> Worker:
    """Started again after its snapshot was lost, with a backlog to read."""
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    worker.store.delete(snapshot_keys(worker.store))
    return anew(worker, now_ms, Timing())


def test_what_is_trimmed_of_a_backlog_that_is_read_after_a_lost_snapshot_begins_a_new_lineage() -> None:
    """Else the one who read it in time and the one who did not would write two contents under one key."""
    began_ms = NOON_MS + 20 * HOUR_MS
    worker = without_snapshot(began_ms)
    worker.read([record(2, NOON_MS + HOUR_MS)], began_ms)
    worker.flush(began_ms)
    assert (worker.state.lineage, worker.state.since_ms) == (LINE_B, began_ms)
    now_ms = NOON_MS + 40 * HOUR_MS
    again = anew(worker, now_ms, Timing(), "line-c")
    again.read([record(9, now_ms - 20 * HOUR_MS)], now_ms)
    again.flush(now_ms)
    assert (again.state.lineage, again.state.since_ms) == ("line-c-1", began_ms)
    assert again.state.counters["retention_gaps"] == 1


def test_whoever_starts_where_nothing_was_read_since_a_loss_begins_a_new_lineage() -> None:
    """Another may have read on from there, and left no snapshot, before the stream trimmed what came next."""
    worker = without_snapshot(NOON_MS + 20 * HOUR_MS)
    worker.read([record(1, NOON_MS, NOON_MS)], NOON_MS + 20 * HOUR_MS)  # once more
    worker.flush(NOON_MS + 20 * HOUR_MS)
    assert anew(worker, NOON_MS + 30 * HOUR_MS, Timing(), "line-c").state.lineage == "line-c"


def test_a_child_vouches_for_nothing_before_its_first_record_if_its_parent_did_not() -> None:
    """Our clock may have been behind when the parent's snapshot was lost, and what the parent still had was nothing."""
    worker = without_snapshot(NOON_MS + HOUR_MS)
    worker.end(NOON_MS + HOUR_MS)
    first_ms = NOON_MS + 3 * HOUR_MS
    child = Worker(worker.store, None, first_ms, Timing(), "child", (PARTITION,), "line-c")
    child.read([record(5, first_ms, first_ms)], first_ms)
    assert child.state.since_ms == first_ms


# ---------------------------------------------------------------------- a tip whose time is unknown


def test_a_tip_whose_time_is_unknown_moves_neither_watermark_nor_position() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    state = worker.state
    before = (state.published_watermark_ms, state.position_ms, worker.consumer.received_to_ms)
    later_ms = NOON_MS + HOUR_MS
    worker.consumer.receive(empty_tip(0), now_at(later_ms))
    worker.flush(later_ms)
    assert (state.published_watermark_ms, state.position_ms, worker.consumer.received_to_ms) == before
    own = latest_progress(worker.store)
    assert (own.watermark_ms, own.position_ms) == before[:2]
    worker.tip(later_ms)
    worker.flush(later_ms)
    assert (state.position_ms, worker.consumer.received_to_ms) == (later_ms, later_ms)
    assert latest_progress(worker.store).watermark_ms == later_ms - 65_000


def test_tips_whose_time_is_unknown_do_not_prove_that_nothing_was_lost() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    for hours in (20, 40):
        worker.consumer.receive(empty_tip(0), now_at(NOON_MS + hours * HOUR_MS))
        worker.flush(NOON_MS + hours * HOUR_MS)
    assert worker.state.lineage == "line-a-1"
    assert worker.state.since_ms == NOON_MS + 16 * HOUR_MS + MARGIN_MS


# ---------------------------------------------------------------------- the end of a shard


def end_of(worker: Worker) -> Progress:
    own = latest_progress(worker.store)
    assert own.number == END
    return own


def test_a_loss_is_asked_for_before_the_end_too() -> None:
    """Else one key would get two contents: what an owner who was in time had at the end, and what is left of it."""
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    now_ms = NOON_MS + 30 * HOUR_MS
    again = anew(worker, now_ms, Timing())
    again.end(now_ms)
    own = end_of(again)
    assert (own.lineage, own.since_ms) == ("line-b-1", now_ms - DAY_MS + MARGIN_MS)


def test_a_shard_that_the_stream_forgot_ends_and_vouches_for_nothing_that_it_did_not_read() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    again = anew(worker, NOON_MS + HOUR_MS, Timing())
    again.run(again.consumer.end_steps(now_at(NOON_MS + HOUR_MS), gone=True))
    own = end_of(again)
    assert (own.lineage, own.since_ms) == ("line-b-1", NOON_MS + HOUR_MS - DAY_MS + MARGIN_MS)


def test_a_shard_that_was_read_in_time_ends_as_it_is() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    worker.end(NOON_MS + HOUR_MS)
    assert (end_of(worker).lineage, end_of(worker).since_ms) == (LINE_A, BEGINNING_MS)


def test_a_child_says_what_it_was_started_from() -> None:
    worker = working(record(1, NOON_MS, NOON_MS), timing=Timing())
    worker.end(NOON_MS + 1_000)
    child = Worker(worker.store, None, NOON_MS + 2_000, Timing(), "child", (PARTITION,), "line-c")
    child.read([record(5, NOON_MS + 3_000)], NOON_MS + 5_000)
    child.flush(NOON_MS + 5_000)
    again = Worker(worker.store, child.checkpoint, NOON_MS + 9_000, Timing(), "child", (PARTITION,), "line-d")
    for state in (child.state, again.state):
        assert (state.followed, state.began_ms) == ((PARTITION,), NOON_MS)
    assert latest_progress(worker.store, "child").followed == (PARTITION,)
    alone = Worker(Dict_Store(), None, NOON_MS, Timing(), "child", (PARTITION,))
    assert alone.state.followed == ()


# ---------------------------------------------------------------------- partials that are gone


def test_a_missing_partial_is_taken_for_corrupt_where_nobody_has_moved_past() -> None:
    worker = working(record(1, NOON_MS))
    worker.store.delete(worker.store.keys("partials/"))
    now_ms = NOON_MS + MINUTE_MS
    again = anew(worker, now_ms, worker.state.timing)
    again.read([record(2, NOON_MS, now_ms)], now_ms)
    again.flush(now_ms)
    assert again.state.lineage == "line-b-1"
    assert again.state.since_ms == now_ms
    assert again.state.windows[NOON_MS].total_requests == 1


def test_a_torn_snapshot_above_is_nobody_who_has_moved_past() -> None:
    """Else the partition would be opened anew for ever."""
    worker = working(record(1, NOON_MS))
    worker.store.delete(worker.store.keys("partials/"))
    worker.store.put(snapshot_key(PARTITION, "9", "line-t"), b"torn")
    again = anew(worker, NOON_MS, worker.state.timing)
    again.read([record(2, NOON_MS)], NOON_MS)
    again.flush(NOON_MS)
    assert again.checkpoint == "2"


def test_a_leftover_below_the_checkpoint_is_nobody_who_has_moved_past() -> None:
    """The snapshot at the checkpoint was torn by a power cut, and the one before it is still there; what comes first is
    a record of a month whose secret is destroyed."""
    worker = working(record(100, NOON_MS))
    leftover = {key: worker.store.objects[key] for key in snapshot_keys(worker.store)}
    worker.read([record(200, NOON_MS + 1)], NOON_MS + 1_000)
    worker.flush(NOON_MS + 1_000)
    for key in snapshot_keys(worker.store):
        worker.store.put(key, b"torn")
    worker.store.objects.update(leftover)
    month = month_of(NOON_MS)
    worker.store.delete(worker.store.keys("secrets/"))
    worker.store.put(destroyed_secret_key(month), b"")
    later_ms = NOON_MS + 40 * DAY_MS
    again = anew(worker, later_ms, worker.state.timing)
    again.read([record(300, NOON_MS + 2, later_ms)], later_ms)
    again.flush(later_ms)
    assert (again.checkpoint, again.state.counters["too_late"]) == ("300", 1)


def test_a_missing_partial_says_that_somebody_has_moved_past_where_somebody_has() -> None:
    worker = working(record(1, NOON_MS))
    slow = anew(worker, NOON_MS, worker.state.timing)
    for number in (2, 3):
        worker.read([record(number, NOON_MS)], NOON_MS + 1_000)
        worker.flush(NOON_MS + 1_000)
    slow.read([record(2, NOON_MS)], NOON_MS + 2_000)
    with pytest.raises(Superseded):
        slow.flush(NOON_MS + 2_000)


# ---------------------------------------------------------------------- settings


def too_late_after(worker: Worker, first: Record, timing: Timing) -> Worker:
    again = anew(worker, first.arrival_ms, timing)
    again.read([first], first.arrival_ms)
    again.flush(first.arrival_ms)
    return again


def test_a_window_that_was_too_late_stays_so_when_the_lateness_is_raised() -> None:
    """Its partial may be forgotten: begun anew, it would replace what the entry has of this partition."""
    day = Timing(retention_ms=300 * DAY_MS)
    worker = working(record(1, NOON_MS), record(2, NOON_MS + 60 * HOUR_MS), timing=day)
    now_ms = NOON_MS + 60 * HOUR_MS + MINUTE_MS
    week = Timing(retention_ms=300 * DAY_MS, allowed_lateness_ms=7 * DAY_MS)
    again = too_late_after(worker, record(3, NOON_MS + 1_000, now_ms), week)
    assert again.state.counters["too_late"] == 1
    # what the old setting could still have amended, the new one may
    late_ms = NOON_MS + 40 * HOUR_MS
    again = too_late_after(again, record(4, late_ms, now_ms + 1_000), week)
    assert again.state.partials[late_ms // WINDOW_MS * WINDOW_MS].number == "4"


def test_the_first_window_that_is_not_too_late_is_the_same_by_the_setting_and_by_the_state() -> None:
    timing = Timing(retention_ms=300 * DAY_MS)
    worker = working(record(1, NOON_MS), timing=timing)
    edge_ms = worker.state.record_watermark_ms - timing.allowed_lateness_ms - WINDOW_MS
    assert worker.state.amendable_from_ms == edge_ms + 1
    assert latest_progress(worker.store).amendable_from_ms == edge_ms + 1


def test_another_setting_that_decides_content_begins_a_new_lineage_and_covers_the_same() -> None:
    worker = working(record(1, NOON_MS), timing=WEEK)
    for number, timing in enumerate(
        (
            WEEK,
            Timing(retention_ms=7 * DAY_MS, allowed_lateness_ms=HOUR_MS),
            Timing(retention_ms=7 * DAY_MS, out_of_orderness_ms=1_000),
            Timing(retention_ms=7 * DAY_MS, dedupe_horizon_minutes=1),
        )
    ):
        again = anew(worker, NOON_MS, timing)
        assert again.state.lineage == (LINE_A if number == 0 else "line-b-1")
        assert again.state.since_ms == BEGINNING_MS
