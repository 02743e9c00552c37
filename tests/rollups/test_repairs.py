"""Windows that were computed from the archive: which counts, when one is needed, and what becomes of its entry."""

import random

import pytest

from sa_stream.commits.keys import destroyed_secret_key, repair_key
from sa_stream.commits.operations import Call, drive
from sa_stream.errors import Store_Unavailable
from sa_stream.partitions import Shard_Info
from sa_stream.rollups.periods import from_iso
from sa_stream.rollups.pruning import in_use_steps
from sa_stream.rollups.repairs import (
    IMPOSSIBLE_FOR_MS,
    LEFT_OUT_MAX,
    Repair_Settings,
    put_repair_steps,
    repair_of,
    repairs_steps,
)
from sa_stream.rollups.retirement import forget_repairs_steps
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Timing
from tests.rollups.rollup_stream import Stream, window_of
from tests.rollups.test_reconciler import DAY, HALF, HALF2, HOUR, NEXT, W, status

AFTER = Repair_Settings().after_ms
LOST_MS = W + 10 * MINUTE_MS  # nothing before it is vouched for


def repaired(*shards: Shard_Info | str, only: bool = False) -> Stream:
    return Stream(*shards, archive=Repair_Settings(only_from_ms=W - DAY_MS if only else None))


def put(stream: Stream, window_ms: int, files: int, requests: int, broken: dict[str, str] | None = None) -> None:
    repair = repair_of(files, not broken, f"files{files}")
    drive(put_repair_steps(stream.store, window_ms, repair, window_of(window_ms, requests).to_bytes(), broken or {}))


def lossy(stream: Stream, *, window_ms: int = W) -> int:
    """A shard that has lost part of a window and has passed it; returns when a repair is due."""
    stream.commit(
        "a", 1, NEXT + HOUR_MS, {window_ms: 5}, since_ms=window_ms + 10 * MINUTE_MS, counters={"retention_gaps": 1}
    )
    return window_ms + WINDOW_MS + AFTER


def test_a_window_that_the_stream_lost_is_to_be_repaired_a_while_after_its_end():
    stream = repaired("a")
    due_ms = lossy(stream)
    assert W not in stream.run(due_ms - 1).to_repair
    assert stream.run(due_ms).to_repair[W] is None
    assert NEXT not in stream.run(due_ms + WINDOW_MS).to_repair


def test_a_repair_is_the_window_and_nothing_of_the_stream_is_added_to_it():
    stream = repaired("a")
    due_ms = lossy(stream)
    stream.settle(due_ms)
    assert status(stream, HALF) == ("partial", 0, 5)
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms + MINUTE_MS)
    assert status(stream, HALF) == ("final", 0, 8)
    entry = stream.entries[HALF]
    assert (entry["provenance"], entry["missing_sources"]) == ("s3", [])
    assert [(source["partition"], source["number"]) for source in entry["sources"]] == [("s3", "3")]
    assert stream.entries[HOUR]["provenance"] == "s3"


def test_the_repaired_window_stays_when_the_stream_comes_back():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms)
    stream.commit("a", 2, NEXT + HOUR_MS, {W: 9, NEXT: 4}, since_ms=W - HOUR_MS)
    stream.settle(due_ms + HOUR_MS)
    assert status(stream, HALF) == ("final", 0, 8)
    assert status(stream, HALF2) == ("final", 0, 4)
    assert stream.entries[HOUR]["provenance"] == "mixed"
    assert stream.entries[HOUR]["total_requests"] == 12


def test_how_many_records_were_invalid_is_not_known_of_what_comes_from_the_archive():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=8)
    stream.commit("a", 2, NEXT + HOUR_MS, {NEXT: 4}, since_ms=LOST_MS)
    stream.settle(due_ms + HOUR_MS)
    assert stream.entries[HALF]["invalid_records"] is None
    assert stream.entries[HOUR]["invalid_records"] is None
    assert stream.entries[HALF2]["invalid_records"] == 0


def test_a_repair_takes_the_place_of_nothing_that_the_stream_made_final():
    stream = repaired("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(NEXT)
    put(stream, W, files=3, requests=8)
    stream.settle(NEXT + AFTER)
    assert status(stream, HALF) == ("final", 0, 5)
    assert stream.entries[HALF]["provenance"] == "stream"


def test_what_was_counted_as_empty_in_something_final_is_not_repaired():
    stream = repaired("a")
    stream.commit("a", 1, NEXT + HOUR_MS, {NEXT: 5})
    now_ms = NEXT + HOUR_MS + AFTER
    stream.settle(now_ms)
    assert status(stream, HOUR) == ("final", 0, 5)
    stream.commit("a", 2, NEXT + HOUR_MS + 1, {NEXT: 5}, since_ms=NEXT, counters={"retention_gaps": 1})
    assert W not in stream.run(now_ms + MINUTE_MS).to_repair


def test_a_broken_repair_takes_the_place_of_nothing_that_was_counted_as_empty_in_something_final():
    stream = repaired("a")
    stream.commit("a", 1, NEXT + HOUR_MS, {NEXT: 5})
    now_ms = NEXT + HOUR_MS + AFTER
    stream.settle(now_ms)
    stream.commit("a", 2, NEXT + HOUR_MS + 1, {NEXT: 5}, since_ms=NEXT, counters={"retention_gaps": 1})
    put(stream, W, files=3, requests=0, broken={"file": "no gzip"})
    for worker in (stream.reconciler, stream.fresh()):
        stream.settle(now_ms + 2 * HOUR_MS, worker)
        assert HALF not in stream.entries
        assert stream.calls["publish"] == 0
        assert status(stream, HOUR) == ("final", 0, 5)


def test_a_broken_repair_is_not_made_final_by_an_hour_that_became_so_while_it_was_merged():
    stream, before, now_ms = repaired("a"), repaired("a"), NEXT + HOUR_MS + AFTER
    stream.commit("a", 1, NEXT + HOUR_MS, {NEXT: 5}, since_ms=NEXT, counters={"retention_gaps": 1})
    before.commit("a", 1, NEXT + HOUR_MS, {NEXT: 5})
    before.settle(now_ms)
    assert status(before, HOUR) == ("final", 0, 5)
    put(stream, W, files=3, requests=0, broken={"file": "no gzip"})

    def meanwhile(operation: Call):
        if operation.name.endswith("publish"):
            stream.cache.store_entry(NS_SA_AGGREGATE, HOUR, before.entries[HOUR])
        return operation()

    stream.run(now_ms, perform=meanwhile)
    assert HALF not in stream.entries


def test_a_repair_reaches_a_day_that_has_counted_its_whole_hour_as_empty():
    stream, day_ms = repaired("a"), W // DAY_MS * DAY_MS
    now_ms = day_ms + DAY_MS + HOUR_MS
    counted = {start_ms: 1 for start_ms in range(day_ms, day_ms + DAY_MS, WINDOW_MS) if start_ms not in (W, NEXT)}
    stream.commit("a", 1, now_ms, counted)
    stream.settle(now_ms)
    assert status(stream, DAY) == ("final", 0, 46)
    stream.maps["a"].clear()
    stream.commit("a", 2, now_ms, lineage="m", since_ms=now_ms, counters={"retention_gaps": 1})
    put(stream, W, files=3, requests=7)
    stream.settle(now_ms + HOUR_MS, stream.fresh())
    assert [status(stream, key) for key in (HALF, HOUR, DAY)] == [("final", 0, 7), ("final", 0, 7), ("final", 1, 53)]


@pytest.mark.parametrize("requests", [0, 2])
def test_a_broken_repair_gives_way_to_a_stream_that_knows_that_there_was_nothing(requests: int):
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=requests, broken={"file": "denied"})
    stream.settle(due_ms)
    assert status(stream, HALF) == ("partial", 0, requests)
    stream.maps["a"].clear()
    stream.commit("a", 2, NEXT + HOUR_MS, {NEXT: 4}, lineage="m")  # it begins again from a state that covers all
    for worker in (stream.reconciler, stream.fresh()):
        stream.settle(due_ms + HOUR_MS, worker)
        assert status(stream, HALF) == ("final", 0, 0)
        entry = stream.entries[HALF]
        assert (entry["provenance"], status(stream, HOUR)) == ("stream", ("final", 0, 4))
        assert (entry["total_bytes"], entry["status_breakdown"], entry["missing_fields"]) == (0, {}, [])


def test_a_broken_repair_whose_summary_cannot_be_read_gives_way_all_the_same():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=0, broken={"file": "denied"})
    stream.settle(due_ms)
    stream.store.put(stream.entries[HALF]["summary"], b"torn")
    stream.maps["a"].clear()
    stream.commit("a", 2, NEXT + HOUR_MS, {NEXT: 4}, lineage="m")
    stream.settle(due_ms + HOUR_MS, stream.fresh())
    assert status(stream, HALF) == ("final", 0, 0)
    assert stream.entries[HALF]["total_bytes"] == 0


def test_the_lost_summary_of_an_empty_half_hour_that_has_an_entry_is_made_again():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=2, broken={"file": "denied"})
    stream.settle(due_ms)
    stream.maps["a"].clear()
    stream.commit("a", 2, NEXT + HOUR_MS, {NEXT: 4}, lineage="m")
    stream.settle(due_ms + HOUR_MS)
    summary = stream.entries[HALF]["summary"]
    for content in (None, b"torn"):
        if content is None:
            stream.store.delete(summary)
        else:
            stream.store.put(summary, content)
        requests = stream.entries[HOUR]["total_requests"] + 1
        stream.commit("a", 2 + requests, NEXT + HOUR_MS, {NEXT: requests}, lineage="m")
        stream.settle(due_ms + 2 * HOUR_MS, stream.fresh())
        assert status(stream, HALF) == ("final", 0, 0)
        assert stream.entries[HALF]["summary"] == summary
        assert stream.summary(HALF).total_requests == 0
        assert stream.entries[HOUR]["total_requests"] == requests


def test_a_repair_that_no_entry_shows_yet_is_not_forgotten():
    stream = repaired("a")
    lossy(stream)
    later_ms = W + 3 * DAY_MS
    stream.commit("a", 2, later_ms, {W + 26 * HOUR_MS: 5}, since_ms=W + HOUR_MS)
    put(stream, W, files=3, requests=5)
    stream.settle(later_ms)
    found = stream.run(later_ms).stream
    put(stream, W, files=4, requests=9)  # between a pass and its clean-up
    assert drive(forget_repairs_steps(stream.store, stream.cache, found)) == 0
    stream.settle(later_ms + HOUR_MS)
    assert status(stream, HALF) == ("final", 1, 9)
    assert drive(forget_repairs_steps(stream.store, stream.cache, stream.run(later_ms + HOUR_MS).stream)) == 2


def test_a_broken_repair_that_gave_way_to_the_stream_is_forgotten():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=2, broken={"file": "no gzip"})
    stream.settle(due_ms)
    later_ms = W + 30 * DAY_MS
    stream.commit("a", 2, later_ms, {W: 6})
    stream.settle(later_ms)
    assert status(stream, HALF) == ("final", 0, 6)
    assert drive(forget_repairs_steps(stream.store, stream.cache, stream.run(later_ms).stream)) == 1
    assert not [item.key for folder in ("repairs/", "repair-files/") for item in stream.store.list(folder)]


def test_what_the_stream_will_never_make_final_is_settled_by_a_broken_repair_too():
    """Else the shard would name it for ever, and never be retired."""
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=2, broken={"file": "no gzip"})
    stream.settle(due_ms)
    stream.run(due_ms + 2 * MINUTE_MS)
    assert W in stream.run(due_ms + DAY_MS).settled


def test_what_was_repaired_and_forgotten_is_not_computed_again():
    stream = Stream("a", archive=Repair_Settings(), timing=Timing(retention_ms=7 * DAY_MS))
    now_ms = W + 100 * DAY_MS
    since_ms = now_ms - 30 * MINUTE_MS
    stream.commit("a", 1, now_ms, {now_ms - WINDOW_MS: 5}, since_ms=since_ms)
    computed = []
    for number in range(2, 8):
        wanted = [start_ms for start_ms, known in stream.run(now_ms).to_repair.items() if known is None]
        for start_ms in wanted:
            put(stream, start_ms, files=3, requests=2)
        computed.append(len(wanted))
        stream.settle(now_ms + 1)
        now_ms += 10 * MINUTE_MS
        stream.commit("a", number, now_ms, since_ms=since_ms)
        drive(forget_repairs_steps(stream.store, stream.cache, stream.run(now_ms).stream))
    assert computed[0] > 7 * 48
    assert sum(computed[1:]) <= 2  # of what ended meanwhile


def test_a_repair_that_cannot_be_read_is_none_and_is_computed_again():
    stream = repaired("a")
    due_ms = lossy(stream)
    torn = repair_of(3, True, "files3").key(W)
    stream.store.put(torn, b"torn")
    assert stream.run(due_ms).to_repair[W] is None
    assert stream.store.get(torn) is None
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms + MINUTE_MS)
    assert status(stream, HALF) == ("final", 0, 8)


def test_a_repair_that_cannot_be_read_keeps_nothing_back_that_the_stream_has():
    stream = repaired("a")
    stream.commit("a", 1, NEXT + HOUR_MS, {NEXT: 5})
    stream.store.put(repair_of(3, True, "files3").key(W), b"torn")
    stream.settle(NEXT + HOUR_MS)
    assert status(stream, HOUR) == ("final", 0, 5)


def test_a_repair_of_more_files_is_a_revision_and_one_of_fewer_is_nothing():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms)
    put(stream, W, files=2, requests=6)
    stream.settle(due_ms + MINUTE_MS)
    assert status(stream, HALF) == ("final", 0, 8)
    put(stream, W, files=11, requests=9)
    stream.settle(due_ms + 2 * MINUTE_MS)
    assert status(stream, HALF) == ("final", 1, 9)
    assert (stream.entries[HOUR]["revision"], stream.entries[HOUR]["total_requests"]) == (0, 9)  # it was never final
    assert drive(repairs_steps(stream.store))[W].files == 11


def test_a_worker_whose_list_lacks_the_newest_repair_writes_no_older_one():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=8)
    other = stream.fresh()
    stream.settle(due_ms, other)
    put(stream, W, files=4, requests=9)
    stream.settle(due_ms + MINUTE_MS)
    stream.store.delete(repair_key(W, 4, "files4-whole"))
    for reconciler in (other, stream.fresh()):
        stream.settle(due_ms + 20 * MINUTE_MS, reconciler)
    assert status(stream, HALF) == ("final", 1, 9)


def test_a_final_repair_stays_where_its_object_is_gone():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms)
    stream.store.delete(repair_key(W, 3, "files3-whole"))
    stream.commit("a", 2, NEXT + HOUR_MS, {W: 9}, since_ms=W - HOUR_MS)
    stream.settle(due_ms + MINUTE_MS, stream.fresh())
    assert status(stream, HALF) == ("final", 0, 8)


def test_a_file_that_cannot_be_read_keeps_its_window_partial_and_is_named():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=6, broken={"2026/02/16/14/a.gz": "access denied"})
    stream.settle(due_ms)
    assert status(stream, HALF) == ("partial", 0, 6)
    assert stream.entries[HALF]["missing_sources"] == [
        {"partition": "s3", "reason": "file-unreadable", "file": "2026/02/16/14/a.gz", "error": "access denied"}
    ]
    assert W in stream.run(due_ms + 1).to_repair
    put(stream, W, files=3, requests=8)
    stream.settle(due_ms + MINUTE_MS)
    assert status(stream, HALF) == ("final", 0, 8)


@pytest.mark.parametrize("torn", [b"", b'{"a.gz', bytes(20), b"[]"])
def test_what_names_the_files_that_could_not_be_read_keeps_nothing_from_being_published_when_it_is_torn(torn: bytes):
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=6, broken={"a.gz": "access denied"})
    (named,) = stream.store.list("repair-files")
    stream.store.put(named.key, torn)
    stream.settle(due_ms)
    assert status(stream, HALF) == ("partial", 0, 6)
    assert stream.entries[HALF]["missing_sources"] == [{"partition": "s3", "reason": "file-unreadable"}]


def test_what_the_stream_has_whole_takes_the_place_of_a_repair_that_lacks_a_file():
    stream = repaired("a")
    due_ms = lossy(stream)
    put(stream, W, files=2, requests=6, broken={"a.gz": "broken"})
    stream.settle(due_ms)
    stream.commit("a", 2, NEXT + HOUR_MS, {W: 9}, since_ms=W - HOUR_MS)
    stream.settle(due_ms + MINUTE_MS)
    assert status(stream, HALF) == ("final", 0, 9)
    assert stream.entries[HALF]["provenance"] == "stream"


def test_a_shard_that_lags_is_waited_for_as_long_as_it_makes_progress():
    stream = repaired("a", "b")
    stream.commit("a", 1, NEXT + HOUR_MS, {W: 5})
    stream.commit("b", 1, W, {W: 1})
    now_ms = NEXT + AFTER
    for minute in range(0, 40, 5):  # slow, and at work
        stream.commit("b", 2 + minute, W + minute, {W: 2 + minute})
        assert not stream.run(now_ms + minute * MINUTE_MS).to_repair
    standing_ms = now_ms + 35 * MINUTE_MS
    assert not stream.run(standing_ms + AFTER - 1).to_repair
    assert W in stream.run(standing_ms + AFTER).to_repair


def test_a_stream_that_does_not_answer_keeps_no_repair_from_being_published():
    stream = repaired("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(NEXT)

    def unreachable() -> list[Shard_Info]:
        raise Store_Unavailable("no answer")

    stream.reconciler.list_shards = unreachable
    now_ms = NEXT + WINDOW_MS + AFTER
    stream.commit("a", 2, NEXT + MINUTE_MS, {NEXT: 1})
    assert not stream.run(now_ms).to_repair  # it may come back soon
    assert list(stream.run(now_ms + AFTER).to_repair) == [NEXT]
    put(stream, NEXT, files=1, requests=3)
    stream.settle(now_ms + AFTER)
    assert status(stream, HALF2) == ("final", 0, 3)
    assert status(stream, HALF) == ("final", 0, 5)


def test_where_the_archive_is_the_source_every_window_is_a_repair():
    stream = repaired(only=True)
    now_ms = W + 2 * HOUR_MS
    assert list(stream.run(now_ms).to_repair)[-1] == now_ms - AFTER - WINDOW_MS - (now_ms - AFTER) % WINDOW_MS
    for window_ms in stream.run(now_ms).to_repair:
        put(stream, window_ms, files=1 if window_ms == W else 0, requests=7 if window_ms == W else 0)
    stream.settle(now_ms)
    assert status(stream, HALF) == ("final", 0, 7)
    assert status(stream, HALF2) == ("final", 0, 0)
    assert status(stream, HOUR) == ("final", 0, 7)
    assert status(stream, DAY)[0] == "partial"
    reasons = {missing["time_key"]: missing["reason"] for missing in stream.entries[DAY]["missing_sources"]}
    assert reasons["2026-02-16-23"] == "open"
    assert list(stream.run(now_ms + MINUTE_MS).to_repair.values())  # another file may come


def test_what_a_partition_forgot_is_not_lost_when_a_broken_repair_gives_way_to_the_stream():
    stream = repaired("a", "b")
    stream.commit("a", 1, NEXT + HOUR_MS, {W: 5})
    stream.commit("b", 1, W, {W: 1})
    stream.settle(NEXT)
    assert status(stream, HALF) == ("partial", 0, 6)
    put(stream, W, files=2, requests=4, broken={"a.gz": "broken"})
    stream.settle(NEXT + HOUR_MS)
    assert status(stream, HALF) == ("partial", 0, 4)
    stream.commit("a", 2, NEXT + 9 * HOUR_MS, forget=(W,))  # it was published once, and old
    stream.commit("b", 2, NEXT + 9 * HOUR_MS, {W: 2})
    stream.settle(NEXT + 10 * HOUR_MS)
    assert status(stream, HALF) == ("final", 0, 7), "all that the stream has, and nothing of the files"


def test_whoever_comes_next_rolls_up_what_another_has_published_of_the_archive():
    stream = repaired(only=True)
    now_ms = W + 2 * HOUR_MS
    for window_ms in (W, NEXT):
        put(stream, window_ms, files=1, requests=7)
    stream.settle(now_ms)
    del stream.cache.bodies[NS_SA_AGGREGATE, HOUR]
    stream.settle(now_ms + MINUTE_MS, stream.fresh())
    assert status(stream, HOUR) == ("final", 0, 14)


def test_windows_that_ended_while_nothing_ran_are_computed_however_old_they_are():
    stream = repaired(only=True)
    for window_ms in stream.run(W + 2 * HOUR_MS).to_repair:
        if window_ms != NEXT:
            put(stream, window_ms, files=0, requests=0)
    later_ms = W + 5 * DAY_MS
    found = list(stream.run(later_ms).to_repair)
    assert found[:2] == [NEXT, NEXT + 2 * WINDOW_MS], "what was left out, and then what came while nothing ran"
    assert W not in found, "it was computed, and no late record may come any more"


def test_windows_of_a_month_whose_secret_is_destroyed_keep_no_others_from_their_turn():
    january, now_ms = W - 45 * DAY_MS, W + 9 * DAY_MS
    stream = Stream(archive=Repair_Settings(only_from_ms=january))
    stream.store.create(destroyed_secret_key("2026-01"), b"")
    impossible = set(range(january, from_iso("2026-02-01T00:00:00Z"), WINDOW_MS))
    assert len(impossible) > LEFT_OUT_MAX
    found = stream.run(now_ms).to_repair.keys()
    assert impossible & found, "whoever repairs says so"
    assert len(found - impossible) >= LEFT_OUT_MAX
    found = stream.run(now_ms + IMPOSSIBLE_FOR_MS).to_repair.keys()
    assert found.isdisjoint(impossible)
    assert len(found) >= LEFT_OUT_MAX


def test_a_secret_that_is_destroyed_meanwhile_is_noticed():
    january, now_ms = W - 17 * DAY_MS, W + DAY_MS
    stream = Stream(archive=Repair_Settings(only_from_ms=january))
    assert january in stream.run(now_ms).to_repair
    stream.store.create(destroyed_secret_key("2026-01"), b"")
    for minutes in range(0, 80, 5):
        found = stream.run(now_ms + minutes * MINUTE_MS).to_repair
    assert january not in found
    assert W in found


def test_what_a_backfill_computed_before_the_start_does_not_make_it_earlier():
    stream = repaired(only=True)
    now_ms = W + 5 * DAY_MS
    put(stream, NEXT, files=1, requests=7)  # of what came before, all is forgotten
    put(stream, W - 9 * DAY_MS, files=1, requests=7)
    assert min(stream.run(now_ms).to_repair) == NEXT + WINDOW_MS


def test_repairs_are_forgotten_once_they_are_final_and_old_and_from_the_oldest_on_without_a_stream():
    stream = repaired(only=True)
    now_ms = W + 2 * HOUR_MS
    windows = [window_ms for window_ms in stream.run(now_ms).to_repair if window_ms >= W - HOUR_MS]
    for window_ms in windows:
        put(stream, window_ms, files=2, requests=3, broken={"file": "denied"} if window_ms == NEXT else None)
    put(stream, W, files=1, requests=1)
    stream.settle(now_ms)
    kept_ms = 2 * DAY_MS + HOUR_MS

    def forget(at_ms: int) -> list[int]:
        view = stream.run(at_ms).stream
        assert view is not None
        drive(forget_repairs_steps(stream.store, stream.cache, view))
        return sorted(drive(repairs_steps(stream.store)))

    assert forget(now_ms + DAY_MS) == windows, "too young"
    assert forget(now_ms + DAY_MS + kept_ms) == [window_ms for window_ms in windows if window_ms >= NEXT]
    put(stream, NEXT, files=3, requests=3)
    stream.settle(now_ms + DAY_MS + kept_ms)
    assert forget(now_ms + DAY_MS + kept_ms) == windows[-1:], "the newest tells how far it was computed"


def test_a_window_of_which_a_file_is_never_read_keeps_others_until_its_secret_is_gone_and_says_what_it_said():
    end_ms = from_iso("2026-02-01T00:00:00Z")
    stream = Stream(archive=Repair_Settings(only_from_ms=end_ms - 2 * WINDOW_MS))
    windows = [end_ms + number * WINDOW_MS for number in range(-2, 4)]
    for window_ms in windows:
        put(stream, window_ms, files=2, requests=3, broken={"file": "denied"} if window_ms == windows[0] else None)
    now_ms = end_ms + 5 * DAY_MS
    stream.settle(now_ms)

    def forget() -> list[int]:
        view = stream.run(now_ms).stream
        assert view is not None
        drive(forget_repairs_steps(stream.store, stream.cache, view))
        return sorted(drive(repairs_steps(stream.store)))

    assert forget() == windows
    stream.store.create(destroyed_secret_key("2026-01"), b"")
    assert forget() == windows[-1:]
    worker = stream.fresh()
    for hours in range(2, 5):
        result = stream.run(now_ms + hours * HOUR_MS, worker)
        assert not [written for written in result.written if "2026-01" in written.cache_key]
        assert windows[0] not in result.to_repair or hours == 2
    assert status(stream, "30min/2026-01-31-2300") == ("partial", 0, 3)


def test_what_a_backfill_computed_before_the_start_keeps_nothing_from_being_forgotten_or_pruned():
    stream = repaired(only=True)
    before_ms, now_ms = W - 9 * DAY_MS, W + 9 * DAY_MS
    windows = list(range(W - DAY_MS, W - DAY_MS + 3 * WINDOW_MS, WINDOW_MS))
    for window_ms in (before_ms, *windows):
        put(stream, window_ms, files=2, requests=3)
    stream.settle(now_ms)
    view = stream.run(now_ms).stream
    assert view is not None
    in_use = drive(in_use_steps(stream.store, view))
    assert not in_use(before_ms + DAY_MS, before_ms + 2 * DAY_MS)
    drive(forget_repairs_steps(stream.store, stream.cache, view))
    assert sorted(drive(repairs_steps(stream.store))) == windows[-1:]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_of_repairs_and_commits_the_entry_is_one_of_them_whole(seed: int) -> None:
    rng = random.Random(seed)
    stream, written = repaired("a"), {}
    now_ms = lossy(stream)
    workers = [stream.fresh() for _ in range(2)]
    for number in range(2, 12):
        if rng.random() < 0.5:
            files, requests = rng.randint(1, 6), 100 * number
            if files not in written:
                written[files] = requests
                put(stream, W, files, requests)
        else:
            stream.commit("a", number, NEXT + HOUR_MS, {W: number}, since_ms=LOST_MS, counters={"retention_gaps": 1})
        now_ms += MINUTE_MS
        stream.run(now_ms, rng.choice(workers))
    stream.settle(now_ms + 20 * MINUTE_MS)
    if written:
        assert status(stream, HALF)[::2] == ("final", written[max(written)])


def test_what_is_not_final_stays_to_be_repaired_though_its_repair_is_gone():
    stream = repaired("a")
    later_ms = W + Timing().allowed_lateness_ms + HOUR_MS
    stream.commit("a", 1, later_ms, {NEXT: 5}, since_ms=LOST_MS, counters={"retention_gaps": 1})
    put(stream, W, files=3, requests=2, broken={"file": "denied"})
    stream.settle(later_ms)
    assert status(stream, HALF) == ("partial", 0, 2)
    stream.store.delete(repair_of(3, False, "files3").key(W))
    for minutes in range(3):
        assert W in stream.run(later_ms + minutes * MINUTE_MS).to_repair
