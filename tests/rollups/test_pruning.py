"""Entries past their retention go, nothing above them changes, and no reconciler brings them back."""

from collections import Counter

import pytest
from msgspec.structs import replace

from sa_stream.commits.keys import closed_editions_key, partial_key, repair_key
from sa_stream.commits.operations import Call, drive
from sa_stream.format import unpack
from sa_stream.partitions import Partial_Name
from sa_stream.rollups.editions import CLOSED_KIND, create_edition, editions_steps
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, cache_key, consolidated_key, parse_cache_key
from sa_stream.rollups.pruning import CONSOLIDATED, IN_USE, NOT_FINAL_ABOVE, RAW, Pruned, Pruning, Retention
from sa_stream.rollups.repairs import Repair_Settings, put_repair_steps, repair_of
from sa_stream.rollups.retirement import forget_repairs_steps, forget_summaries_steps
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED, NS_SA_RAW
from sa_stream.timing import DAY_MS, HOUR_MS, NEVER_MS, WINDOW_MS, start_of_month
from tests.rollups.rollup_stream import Stream, one_by_one, window_of
from tests.rollups.test_retirement import days_of_traffic, forget

FIRST_MS = start_of_month("2026-03")
NONE_KEPT = Retention(1, 1, 1, 1, 1)
KEY = cache_key(HALF_HOUR, FIRST_MS + 9 * HOUR_MS)


def past_days(days: int = 2, later_days: int = 10) -> tuple[Stream, int]:
    """Days of traffic, long over; and when that is."""
    stream = Stream("a")
    now_ms = days_of_traffic(stream, days) + later_days * DAY_MS
    forgotten(stream, now_ms)
    return stream, now_ms


def forgotten(stream: Stream, now_ms: int) -> None:
    """The partition names none of its windows any more, and the clean-up has passed."""
    stream.maps["a"].clear()
    forget(stream, now_ms, now_ms)
    stream.settle(now_ms)


def prune(stream: Stream, now_ms: int, retention: Retention = NONE_KEPT, last_call: int = -1) -> Pruned:
    """`last_call`: after which it is killed."""
    view = stream.run(now_ms, stream.fresh()).stream
    assert view is not None
    calls = 0

    def perform(operation: Call) -> object:
        nonlocal calls
        if calls == last_call:
            raise InterruptedError
        calls += 1
        return operation()

    return drive(Pruning(stream.store, stream.cache, view, retention).steps(), one_by_one(perform))


def periods(stream: Stream) -> Counter[str]:
    return Counter(key.partition("/")[0] for key in stream.entries)


def run_on(stream: Stream, now_ms: int, hours: int = 5) -> int:
    """Passes of the reconciler that has run all the time, and of one that has just been started, far enough apart for
    every look that is due; how often they wrote."""
    fresh = stream.fresh()
    written = 0
    for number in range(4 * hours):
        at_ms = now_ms + number * HOUR_MS // 4
        written += len(stream.run(at_ms).written) + len(stream.run(at_ms, fresh).written)
    return written


def test_what_is_past_its_retention_goes_and_nothing_above_it_changes() -> None:
    stream, now_ms = past_days()
    before = stream.entries
    pruned = prune(stream, now_ms, replace(NONE_KEPT, hourly_days=20))
    assert pruned.gone == {HALF_HOUR: 96, CONSOLIDATED: 96, "orphans": 0}
    assert periods(stream) == {HOURLY: 48, DAILY: 2, MONTHLY: 1}
    assert run_on(stream, now_ms) == 0
    assert stream.entries == {key: entry for key, entry in before.items() if not key.startswith(HALF_HOUR)}


def test_a_running_reconciler_brings_nothing_back_although_it_misses_it() -> None:
    stream, now_ms = past_days()
    prune(stream, now_ms)
    left = stream.entries
    for key in (KEY, cache_key(HOURLY, FIRST_MS + 9 * HOUR_MS), cache_key(DAILY, FIRST_MS)):
        stream.reconciler.memory.look_again(key)
    assert run_on(stream, now_ms) == 0
    assert stream.entries == left
    assert periods(stream) == {DAILY: 2, MONTHLY: 1}  # their month is not final yet


def test_a_running_reconciler_leaves_a_day_that_is_pruned_in_part_as_it_is() -> None:
    """As between two deletions, or when the command was killed there."""
    stream, now_ms = past_days(1)
    with pytest.raises(InterruptedError):
        prune(stream, now_ms, last_call=40)
    before = stream.entries
    assert 0 < periods(stream)[HALF_HOUR] < 48
    stream.reconciler.memory.look_again(cache_key(DAILY, FIRST_MS))
    stream.reconciler.memory.look_again(KEY)
    assert run_on(stream, now_ms) == 0
    assert stream.entries == before


def test_days_go_with_their_month_and_months_stay() -> None:
    stream = Stream("a")
    days_of_traffic(stream, 31)
    now_ms = start_of_month("2026-04") + 10 * DAY_MS
    forgotten(stream, now_ms)
    assert prune(stream, now_ms).gone[DAILY] == 31
    assert periods(stream) == {MONTHLY: 1}
    assert run_on(stream, now_ms, 2) == 0
    assert periods(stream) == {MONTHLY: 1}


def test_the_age_counts_from_the_end_of_the_day_and_zero_keeps_for_ever() -> None:
    stream, now_ms = past_days(1)
    over_ms = now_ms - (FIRST_MS + DAY_MS)
    days = over_ms // DAY_MS
    assert prune(stream, now_ms, Retention(0, 0, days + 1, 0, 0)).gone == {"orphans": 0}
    assert prune(stream, now_ms, Retention(0, 0, days, 0, 0)).gone[HALF_HOUR] == 48
    assert prune(stream, now_ms, Retention(0, 0, 0, 0, 0)).gone == {"orphans": 0}


def test_nothing_goes_below_a_day_that_is_not_final() -> None:
    stream, now_ms = past_days(1)
    key = cache_key(DAILY, FIRST_MS)
    stream.cache.store_entry(NS_SA_AGGREGATE, key, stream.entries[key] | {"status": "partial"})
    view = stream.run(now_ms).stream
    stream.cache.store_entry(NS_SA_AGGREGATE, key, stream.entries[key] | {"status": "partial"})
    assert view is not None
    pruned = drive(Pruning(stream.store, stream.cache, view, NONE_KEPT).steps())
    assert pruned.left == {
        HALF_HOUR: {NOT_FINAL_ABOVE: 48},
        HOURLY: {NOT_FINAL_ABOVE: 24},
        CONSOLIDATED: {NOT_FINAL_ABOVE: 48},
    }
    assert not pruned.gone["30min"]


@pytest.mark.parametrize("what", ["a partial", "a repair"])
def test_nothing_goes_of_a_day_of_which_something_may_still_be_published(what: str) -> None:
    stream, now_ms = past_days(2)
    window_ms = FIRST_MS + 9 * HOUR_MS
    name = Partial_Name("l", "1")
    stream.store.put(
        partial_key(window_ms, "a", name) if what == "a partial" else repair_key(window_ms, 1, "x-whole"), b""
    )
    pruned = prune(stream, now_ms)
    assert pruned.left[HALF_HOUR] == {IN_USE: 48}
    assert KEY in stream.entries
    assert pruned.gone[HALF_HOUR] == 48  # the other day


def test_windows_of_the_archive_that_were_pruned_are_not_computed_again() -> None:
    stream = Stream(archive=Repair_Settings(only_from_ms=FIRST_MS))
    now_ms = FIRST_MS + 10 * DAY_MS
    for window_ms in range(FIRST_MS, now_ms - HOUR_MS, WINDOW_MS):
        repair = repair_of(1, True, "one")
        drive(put_repair_steps(stream.store, window_ms, repair, window_of(window_ms, 1).to_bytes(), {}))
    stream.settle(now_ms)
    view = stream.run(now_ms).stream
    assert view is not None
    drive(forget_repairs_steps(stream.store, stream.cache, view))
    drive(forget_summaries_steps(stream.store, stream.cache, view))
    assert prune(stream, now_ms).gone[HALF_HOUR] == 4 * 48
    pruned_ms = FIRST_MS + 4 * DAY_MS
    assert run_on(stream, now_ms, 2) == 0
    result = stream.run(now_ms + DAY_MS, stream.fresh())
    assert not [window_ms for window_ms in result.to_repair if window_ms < pruned_ms]
    assert KEY not in stream.entries


def test_nothing_goes_that_the_stream_has_not_passed_whatever_our_clock_says() -> None:
    stream, now_ms = past_days(1)
    stream.commit("a", 3, FIRST_MS + 2 * DAY_MS)
    assert prune(stream, now_ms + 400 * DAY_MS).gone == {"orphans": 0}


def test_nothing_goes_that_a_partition_may_still_amend() -> None:
    stream, now_ms = past_days(1)
    stream.amendable_ms["a"] = FIRST_MS
    stream.commit("a", 3, now_ms)
    assert prune(stream, now_ms).left[HALF_HOUR] == {IN_USE: 48}


def test_the_number_of_an_edition_stays_taken_when_its_entry_is_gone() -> None:
    stream, now_ms = past_days(1)
    entry = stream.entries[KEY]
    later = entry | {"revision": 1}
    assert create_edition(stream.store, KEY, 1, later) == later  # made after the day was closed
    prune(stream, now_ms)
    editions = drive(editions_steps(stream.store, KEY, NEVER_MS))
    assert (editions.entry, editions.next_number, editions.keys) == (None, 2, ())
    assert create_edition(stream.store, KEY, 0, entry) is None
    assert create_edition(stream.store, KEY, 1, entry) is None
    name = closed_editions_key(HALF_HOUR, "2026-03-01")
    kept = dict(unpack(CLOSED_KIND, stream.store.get(name) or b"", name))
    assert {each for _, each in kept.values()} == {None}


def test_killed_at_every_call_the_next_run_finishes_and_nothing_above_changes() -> None:
    stream, now_ms = past_days(1)
    whole = {key: entry for key, entry in stream.entries.items() if parse_cache_key(key)[0] in (DAILY, MONTHLY)}
    calls = 0
    while True:
        try:
            prune(stream, now_ms, last_call=calls)
            break
        except InterruptedError:
            calls = calls + 1 if calls < 12 else calls + 9
            assert {key: stream.entries[key] for key in whole} == whole
    assert stream.entries == whole
    assert stream.cache.keys(NS_SA_CONSOLIDATED) == []
    assert run_on(stream, now_ms, 2) == 0


def test_what_ingestion_wrote_down_goes_by_its_day() -> None:
    stream, now_ms = past_days(1)
    old, young = FIRST_MS, now_ms - DAY_MS
    for start_ms in (old, young):
        key = consolidated_key(start_ms).replace("summary", "0123")
        stream.cache.store_entry(NS_SA_RAW, key, {})
    stream.cache.store_entry(NS_SA_RAW, "something/else", {})
    assert prune(stream, now_ms, Retention(7, 0, 0, 0, 0)).gone[RAW] == 1
    assert stream.cache.keys(NS_SA_RAW) == [
        consolidated_key(young // WINDOW_MS * WINDOW_MS).replace("summary", "0123"),
        "something/else",
    ]
