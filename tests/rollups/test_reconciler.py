import random
from datetime import UTC, datetime

import pytest

from sa_stream.commits.codec import encode_progress
from sa_stream.commits.keys import edition_key, partial_key, progress_key
from sa_stream.commits.operations import Call, drive
from sa_stream.commits.progress import Progress
from sa_stream.errors import Store_Unavailable
from sa_stream.partitions import END, Partial_Name, Shard_Info
from sa_stream.rollups import publication as module
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.schemas.namespaces import NS_SA_CONSOLIDATED
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Timing
from sa_stream.windows.window import Window
from tests.rollups.rollup_stream import Cut, Stream, cut_after, now_at, window_of


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


W = at(2026, 2, 16, 14)
HALF, HALF2, HOUR, DAY, MONTH = (
    "30min/2026-02-16-1400",
    "30min/2026-02-16-1430",
    "hourly/2026-02-16-14",
    "daily/2026-02-16",
    "monthly/2026-02",
)
NEXT = W + WINDOW_MS
LATER = W + 3 * HOUR_MS
GRACE = Reconciler_Settings().grace_ms


def status(stream: Stream, key: str) -> tuple[str, int, int]:
    entry = stream.entries[key]
    return entry["status"], entry["revision"], entry["total_requests"]


# ---------------------------------------------------------------------- one window


def test_an_open_window_is_published_as_partial_with_its_missing_sources_named():
    stream = Stream("a", "b")
    stream.commit("a", 1, W + MINUTE_MS, {W: 5})
    stream.run(W + 2 * MINUTE_MS)
    assert status(stream, HALF) == ("partial", 0, 5)
    assert stream.entries[HALF]["missing_sources"] == [
        {"partition": "a", "reason": "open"},
        {"partition": "b", "reason": "not-started"},
    ]
    assert status(stream, HOUR) == ("partial", 0, 5)
    assert {"time_key": "2026-02-16-1400", "reason": "partial"} in stream.entries[HOUR]["missing_sources"]


def test_a_window_becomes_final_at_revision_zero_when_its_last_shard_has_passed():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, W, {W: 3})
    stream.run(NEXT)
    assert status(stream, HALF) == ("partial", 0, 8)
    stream.commit("b", 2, NEXT)
    stream.settle(NEXT + 1)
    assert status(stream, HALF) == ("final", 0, 8)
    assert stream.entries[HALF]["missing_sources"] == []
    assert stream.entries[HALF]["source_count"] == 2


def test_a_late_record_makes_a_new_revision_of_everything_above_it():
    stream = Stream("a")
    stream.commit("a", 1, at(2026, 3, 1), {W: 5})
    stream.settle(at(2026, 3, 1))
    assert [status(stream, key) for key in (HALF, HOUR, DAY, MONTH)] == [("final", 0, 5)] * 4
    stream.commit("a", 2, at(2026, 3, 1), {W: 6})
    stream.settle(at(2026, 3, 1) + 1)
    assert [status(stream, key) for key in (HALF, HOUR, DAY, MONTH)] == [("final", 1, 6)] * 4


def test_the_same_content_under_another_name_is_no_revision():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    stream.commit("a", 2, NEXT, {W: 5}, lineage="m")
    stream.settle(LATER)
    assert status(stream, HALF) == ("final", 0, 5)
    assert stream.entries[HALF]["sources"] == [{"partition": "a", "lineage": "m", "number": "2"}]


def test_a_partial_that_cannot_be_read_is_never_taken_for_zero():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, NEXT, {W: 3})
    gone = partial_key(W, "b", stream.maps["b"][W])
    data = stream.store.get(gone)
    stream.store.delete(gone)
    result = stream.run(LATER)
    assert result.skipped["partial-gone"] == 1
    assert stream.entries == {}
    stream.store.put(gone, data[:-1])
    assert stream.run(LATER).skipped["unreadable"] == 1
    assert stream.entries == {}
    stream.store.put(gone, data)
    stream.settle(LATER)
    assert status(stream, HALF) == ("final", 0, 8)


def test_final_is_never_replaced_by_partial():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    stream.maps.clear()
    stream.commit("a", 2, NEXT, {W: 1}, since_ms=LATER, lineage="m")  # its snapshot was lost
    for reconciler in (stream.reconciler, stream.fresh()):
        assert W not in stream.run(LATER, reconciler).settled
        result = stream.run(LATER + GRACE, reconciler)
        assert result.settled[W] == (("a", Partial_Name("m", "2")),)  # nobody vouches for that time any more
        assert status(stream, HALF) == ("final", 0, 5)


@pytest.mark.parametrize("lineage", ["l", "m"])  # a shrunk window goes on in another one
def test_older_partials_never_replace_newer_ones(lineage: str):
    stream = Stream("a")
    stream.commit("a", 9, NEXT, {W: 5}, lineage=lineage)
    stream.settle(LATER)
    stream.commit("a", 8, NEXT, {W: 4})  # what a worker with an old list of progress records sees
    assert stream.run(LATER, stream.fresh()).skipped["overtaken"] == 1
    assert status(stream, HALF) == ("final", 0, 5)


def test_shards_are_listed_after_their_progress_was_read_so_no_child_of_an_ended_one_is_overlooked():
    stream = Stream("a")
    stream.commit("a", 1, W, {W: 5})

    def list_and_stand_still():
        listed = list(stream.shards)  # what follows happens after the answer was made, and before it is used
        stream.shards = [Shard_Info("a", (), True), Shard_Info("b", ("a",), False), Shard_Info("c", ("a",), False)]
        stream.commit("a", 2, W, ended=True)
        stream.commit("b", 1, NEXT, parents=("a",))  # c has records of the window, and nobody has begun with it
        return listed

    slow = Reconciler(stream.store, stream.cache, list_and_stand_still, stream.timing, stream.settings)
    stream.run(LATER, slow)
    assert status(stream, HALF) == ("partial", 0, 5)
    stream.run(LATER)
    assert status(stream, HALF) == ("partial", 0, 5)
    stream.commit("c", 1, NEXT, {W: 2}, parents=("a",))
    stream.settle(LATER)
    assert status(stream, HALF) == ("final", 0, 7)


def test_every_window_has_a_consolidation_result():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    result = stream.cache.retrieve_entry(NS_SA_CONSOLIDATED, "2026-02-16/14-00/summary")
    assert result is not None
    assert result["total_requests"] == 5


# ---------------------------------------------------------------------- roll-ups


def test_an_hour_is_final_when_its_two_halves_are():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5, NEXT: 2})
    stream.settle(LATER)
    assert status(stream, HOUR) == ("partial", 0, 7)
    assert stream.entries[HOUR]["missing_sources"] == [{"time_key": "2026-02-16-1430", "reason": "partial"}]
    stream.commit("a", 2, NEXT + WINDOW_MS)
    stream.settle(LATER)
    assert status(stream, HOUR) == ("final", 0, 7)
    assert [(s["time_key"], s["revision"]) for s in stream.entries[HOUR]["sources"]] == [
        ("2026-02-16-1400", 0),
        ("2026-02-16-1430", 0),
    ]


def test_an_empty_half_that_was_passed_and_covered_counts_as_final_and_has_no_entry():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    assert stream.entries[HOUR]["missing_sources"] == [{"time_key": "2026-02-16-1430", "reason": "lagging"}]
    stream.commit("a", 1, NEXT + WINDOW_MS)
    stream.settle(LATER)
    assert status(stream, HOUR) == ("final", 0, 5)
    assert HALF2 not in stream.entries


def test_an_empty_half_before_the_start_is_missing_for_good():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + WINDOW_MS, {NEXT: 5}, since_ms=NEXT - 5 * MINUTE_MS)
    stream.settle(LATER)
    assert status(stream, HALF2) == ("final", 0, 5)
    assert status(stream, HOUR)[0] == "partial"
    assert stream.entries[HOUR]["missing_sources"] == [{"time_key": "2026-02-16-1400", "reason": "before-start"}]


def test_a_month_becomes_final_at_its_end_though_no_map_names_its_windows_any_more():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(LATER)
    stream.commit("a", 1, at(2026, 2, 28), forget=(W,))
    stream.settle(at(2026, 2, 28))
    assert status(stream, DAY) == ("final", 0, 5)
    assert status(stream, MONTH) == ("partial", 0, 5)
    stream.commit("a", 1, at(2026, 3, 1))
    stream.settle(at(2026, 3, 1, 0, 2), stream.fresh())
    assert status(stream, MONTH) == ("final", 0, 5)


def test_rollups_count_a_path_once_however_often_it_occurs():
    stream = Stream("a", "b")
    stream.commit("a", 1, at(2026, 3, 1), {W: 5, NEXT: 7, W - DAY_MS: 3})
    stream.commit("b", 1, at(2026, 3, 1), {W: 5, W + HOUR_MS: 2}, salt=3)
    stream.settle(at(2026, 3, 1))
    assert stream.entries[HALF]["unique_paths"] == 8
    assert stream.entries[MONTH]["unique_paths"] == 8
    assert status(stream, MONTH) == ("final", 0, 22)
    assert stream.entries[MONTH]["source_count"] == 2
    everything = [window_of(W, n) for n in (5, 7, 3)] + [window_of(W, n, 3) for n in (5, 2)]
    merged = Window.merged(everything)
    merged.start_ms, merged.minutes = at(2026, 2, 1), None
    merged.slots = stream.summary(MONTH).slots
    assert [slot[0] for slot in merged.slots.values()] == [3, 19]  # of the two days
    assert stream.summary(MONTH).to_bytes() == merged.to_bytes()


def test_a_late_record_of_an_hour_that_counted_it_as_empty_makes_a_final_entry():
    """Even if the stream no longer vouches for that time: nothing is partial below something final."""
    stream = Stream("a")
    stream.commit("a", 1, NEXT + WINDOW_MS, {W: 5})
    stream.settle(LATER)
    assert status(stream, HOUR) == ("final", 0, 5)
    stream.commit("a", 2, LATER, {NEXT: 1}, since_ms=LATER, lineage="m", counters={"retention_gaps": 1})
    stream.settle(LATER)
    assert status(stream, HALF2) == ("final", 0, 1)
    assert status(stream, HOUR) == ("final", 1, 6)
    assert status(stream, DAY)[0] == "partial"


def test_a_rollup_keeps_what_it_has_when_the_cache_lost_an_entry_below_it():
    stream = Stream("a")
    stream.commit("a", 1, LATER, {W: 5, NEXT: 2})
    stream.settle(LATER)
    stream.commit("a", 2, LATER, {NEXT: 3}, forget=(W,))
    del stream.cache.bodies[module.NS_SA_AGGREGATE, HALF]
    assert stream.run(LATER, stream.fresh()).skipped["child-gone"] == 1
    assert status(stream, HOUR) == ("final", 0, 7)


# ---------------------------------------------------------------------- old windows


def test_a_window_that_its_partition_forgot_keeps_what_the_entry_lists():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, W, {NEXT: 1})
    stream.settle(LATER)
    assert status(stream, HALF) == ("partial", 0, 5)
    much_later = W + 3 * DAY_MS
    stream.commit("a", 2, much_later, forget=(W,))
    stream.commit("b", 2, NEXT, {W: 2})
    stream.settle(much_later, stream.fresh())
    assert status(stream, HALF) == ("final", 0, 7)
    assert len(stream.entries[HALF]["sources"]) == 2


def test_what_a_partition_forgot_lives_on_in_the_summary_when_its_partial_is_gone():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, NEXT, {NEXT: 1})
    stream.settle(LATER)
    forgotten = partial_key(W, "a", stream.maps["a"][W])
    stream.commit("a", 2, LATER, forget=(W,))
    stream.store.delete(forgotten)
    stream.commit("b", 2, NEXT, {W: 2}, salt=5)
    stream.settle(LATER, stream.fresh())
    assert status(stream, HALF) == ("final", 1, 7)
    assert stream.entries[HALF]["unique_paths"] == 7
    stream.commit("b", 3, NEXT, {W: 3}, salt=5)  # from here on only a's own partial could tell its part
    assert stream.run(LATER, stream.fresh()).skipped["partial-gone"] == 1
    assert status(stream, HALF) == ("final", 1, 7)


def test_a_window_in_nobodys_map_still_becomes_final_when_the_last_shard_catches_up():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.commit("b", 1, W)
    stream.settle(LATER)
    much_later = W + 3 * DAY_MS
    stream.commit("a", 2, much_later, forget=(W,))
    stream.settle(much_later, stream.fresh())
    assert status(stream, HALF) == ("partial", 0, 5)
    stream.commit("b", 2, much_later)
    stream.settle(much_later, stream.fresh())
    assert [status(stream, key) for key in (HALF, HOUR, DAY)] == [("final", 0, 5)] * 3


# ---------------------------------------------------------------------- crashes, races, failures


def scenario() -> Stream:
    stream = Stream("a", "b")
    stream.commit("a", 1, LATER, {W: 5, NEXT: 2})
    stream.commit("b", 1, NEXT, {W: 3})
    stream.settle(LATER)
    stream.commit("a", 2, LATER, {W: 6})
    stream.commit("b", 2, LATER, {NEXT: 4}, salt=9)
    return stream


def told(stream: Stream) -> dict:
    """Entries without what may differ between two workers' ways to the same state."""
    return {key: {**entry, "computed_at": ""} for key, entry in stream.entries.items()}


def test_a_crash_between_any_two_calls_changes_nothing_in_the_end():
    whole = scenario()
    whole.settle(LATER)
    steps = 0

    class Crash(BaseException):
        pass

    while True:
        stream, left = scenario(), [steps]

        def crashing(operation: Call, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return operation()

        steps += 1
        try:
            stream.run(LATER, perform=crashing)
        except Crash:
            stream.settle(LATER, stream.fresh())
            assert told(stream) == told(whole)
            for entry in stream.entries.values():
                assert stream.holds(entry["summary"])
        else:
            break
    assert steps > 20


@pytest.mark.parametrize("who", ["a new worker", "the same one, whose call failed", "one that was there before"])
def test_what_a_pass_that_was_cut_short_has_written_becomes_final_though_no_map_names_it_any_more(who: str):
    """The partition starts again from a snapshot that covers more and knows nothing of the window."""

    steps, partial_ones, other = 0, 0, Stream()
    while True:
        stream, much_later = Stream("a"), LATER + 3 * DAY_MS
        other = stream.fresh()
        stream.run(W, other)
        stream.commit("a", 1, LATER, {W: 5}, since_ms=NEXT)
        perform = cut_after(steps)
        steps += 1
        try:
            stream.run(LATER, perform=perform)
        except Cut:
            partial_ones += HALF in stream.entries
            stream.maps["a"].clear()
            stream.commit("a", 2, much_later, lineage="m")
            worker = {"a": stream.fresh(), "t": stream.reconciler, "o": other}[who[0]]
            stream.settle(much_later, worker)
            statuses = {key: status(stream, key)[0] for key in stream.entries if not key.startswith("monthly")}
            assert not statuses or statuses == dict.fromkeys([HALF, HOUR, DAY], "final")
        else:
            break
    assert partial_ones > 5


@pytest.mark.parametrize("counted", ["hour", "day"])
@pytest.mark.parametrize("who", ["a new worker", "the same one, whose call failed", "one that was there before"])
def test_a_late_record_of_what_was_counted_as_empty_comes_into_all_above_though_its_pass_was_cut_short(
    counted: str, who: str
):
    late_ms = NEXT + WINDOW_MS if counted == "hour" else W + 14 * HOUR_MS
    steps = written = 0
    while True:
        stream = Stream("a")
        other = stream.fresh()
        stream.commit("a", 1, late_ms, {NEXT: 5} if counted == "hour" else {W + 5 * HOUR_MS: 5})
        stream.settle(late_ms)
        stream.run(late_ms, other)
        stream.commit("a", 2, late_ms, {W: 7})
        perform = cut_after(steps)
        steps += 1
        try:
            stream.run(late_ms + 1, perform=perform)
        except Cut:
            if HALF in stream.entries:
                written += 1
                stream.maps["a"].clear()
                stream.commit("a", 3, late_ms + DAY_MS, lineage="m")
                worker = {"a": stream.fresh(), "t": stream.reconciler, "o": other}[who[0]]
                for hours in range(6):
                    stream.run(late_ms + DAY_MS + hours * HOUR_MS, worker)
                assert [status(stream, key)[2] for key in (HOUR, DAY)] == [12 if counted == "hour" else 7, 12]
        else:
            break
    assert written > 10


def test_a_half_that_a_final_hour_has_counted_as_empty_stays_so_for_it_when_nobody_vouches_for_that_time_any_more():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + HOUR_MS, {W: 5})
    stream.settle(NEXT + HOUR_MS)

    def cut(operation: Call):
        result = operation()
        if operation.name.endswith("publish"):
            raise Cut
        return result

    stream.commit("a", 2, NEXT + HOUR_MS, {W: 7})
    with pytest.raises(Cut):
        stream.run(NEXT + HOUR_MS + 1, perform=cut)
    stream.commit("a", 3, NEXT + HOUR_MS + 2, since_ms=NEXT + HOUR_MS, lineage="m")  # it has lost what it knew
    stream.settle(NEXT + HOUR_MS + 3, stream.fresh())
    assert [status(stream, key) for key in (HALF, HOUR)] == [("final", 1, 7)] * 2


def test_a_summary_that_was_lost_is_made_again_though_no_map_names_its_window():
    stream = Stream("a", "b")
    stream.commit("a", 1, LATER, {NEXT: 5})
    stream.commit("b", 1, LATER, {W: 3})
    stream.settle(LATER)
    stream.settle(LATER + 2 * GRACE)
    much_later = LATER + 60 * HOUR_MS
    stream.commit("a", 2, much_later, forget=(NEXT,))
    stream.store.delete(stream.entries[HALF2]["summary"])
    stream.commit("b", 2, much_later, {W: 4})
    for hours in range(1, 5):
        stream.run(much_later + hours * HOUR_MS)
    assert status(stream, HOUR) == ("final", 1, 9)
    assert stream.holds(stream.entries[HALF2]["summary"])


@pytest.mark.parametrize("seed", range(30))
def test_workers_that_interleave_at_every_call_end_with_the_same_entries(seed: int):
    chance = random.Random(seed)
    whole = scenario()
    whole.settle(LATER)
    stream = scenario()
    before = {key: (entry["status"], entry["revision"]) for key, entry in stream.entries.items()}
    workers = [stream.fresh() for _ in range(3)]
    running: list = [None] * 3
    for _ in range(400):
        which = chance.randrange(3)
        try:
            if running[which] is None:
                running[which] = [workers[which].pass_steps(now_at(LATER)), None]
            steps, answer = running[which]
            running[which][1] = steps.send(answer)()
        except StopIteration:
            running[which] = None
        for key, entry in stream.entries.items():
            old_status, old_revision = before.get(key, ("partial", 0))
            assert not (old_status == "final" and entry["status"] == "partial")
            assert entry["revision"] >= old_revision
            before[key] = (entry["status"], entry["revision"])
    stream.settle(LATER)
    assert told(stream) == told(whole)


@pytest.mark.parametrize("seed", range(60))
def test_while_shards_go_on_nothing_final_becomes_partial_and_no_rollup_is_ahead_of_its_sources(seed: int):
    """Three workers interleave at every call with commits that bring late records, pass windows, or lose coverage."""
    chance = random.Random(seed)
    stream = Stream("a", "b")
    counts = {"a": 1, "b": 1}
    windows = {"a": {W: 1}, "b": {W: 1} if chance.random() < 0.5 else {}}
    reach = {"a": W, "b": W}
    since = BEGINNING_MS
    for partition in ("a", "b"):
        stream.commit(partition, 1, W, dict(windows[partition]))
    workers = [stream.fresh() for _ in range(3)]
    running: list = [None] * 3
    before: dict[str, tuple[str, int]] = {}
    for _ in range(600):
        if chance.random() < 0.03:
            partition = chance.choice("ab")
            counts[partition] += 1
            reach[partition] = max(reach[partition], chance.choice([W, NEXT, NEXT + WINDOW_MS]))
            start = chance.choice([W, NEXT])
            touched = {}
            if chance.random() < 0.6:
                windows[partition][start] = windows[partition].get(start, 0) + 1
                touched = {start: windows[partition][start]}
            stream.commit(partition, counts[partition], reach[partition], touched, since_ms=since)
        which = chance.randrange(3)
        try:
            if running[which] is None:
                running[which] = [workers[which].pass_steps(now_at(LATER)), None]
            steps, answer = running[which]
            running[which][1] = steps.send(answer)()
        except StopIteration:
            running[which] = None
        entries = stream.entries
        for key, entry in entries.items():
            old_status, old_revision = before.get(key, ("partial", 0))
            assert not (old_status == "final" and entry["status"] == "partial"), key
            assert entry["revision"] >= old_revision, key
            before[key] = (entry["status"], entry["revision"])
            assert stream.holds(entry["summary"])
        if entries.get(HOUR, {}).get("status") == "final":
            assert all(entries[half]["status"] == "final" for half in (HALF, HALF2) if half in entries)
    for partition in ("a", "b"):
        stream.commit(partition, counts[partition] + 1, LATER, since_ms=since)
    stream.settle(LATER)
    total = sum(sum(found.values()) for found in windows.values())
    assert status(stream, HOUR)[::2] == ("final", total)


def test_content_that_comes_back_keeps_its_summary():
    stream = Stream("a")
    for number, requests in ((1, 1), (2, 2), (3, 1)):
        stream.commit("a", number, NEXT, {W: requests})
        stream.run(LATER)
    stream.run(LATER + HOUR_MS)
    assert stream.holds(stream.entries[HALF]["summary"])
    assert len(stream.store.list(f"summaries/{HALF}/")) == 1


def test_a_rollup_is_written_from_what_its_sources_say_now_not_from_what_was_known_of_them():
    stream = Stream("a")
    other = stream.fresh()
    stream.commit("a", 1, W + 2 * HOUR_MS, {W: 5, W + HOUR_MS: 1})
    stream.settle(LATER)
    stream.settle(LATER, other)
    stream.commit("a", 2, W + 2 * HOUR_MS, {W: 6})
    stream.settle(LATER)
    stream.commit("a", 3, W + 2 * HOUR_MS, {W + HOUR_MS: 2}, forget=(W,))
    stream.settle(LATER, other)
    assert status(stream, DAY) == ("partial", 0, 8)


def test_an_hour_does_not_become_final_over_a_half_that_came_to_life_meanwhile():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + WINDOW_MS, {W: 5})
    stream.run(LATER)  # worker one writes the half; now worker two is about to write the final hour
    del stream.cache.bodies[module.NS_SA_AGGREGATE, HOUR]
    stream.store.delete(edition_key(HOUR, 0))
    steps = stream.fresh().pass_steps(now_at(LATER))
    answer = None
    while True:
        operation = steps.send(answer)
        if operation.name.endswith(".publish"):
            break
        answer = operation()
    half = {**stream.entries[HALF], "cache_key": HALF2, "time_key": HALF2.partition("/")[2], "status": "partial"}
    half["summary"] = half["summary"].replace(HALF, HALF2)
    stream.cache.store_entry(module.NS_SA_AGGREGATE, HALF2, half)
    assert operation() is None
    assert HOUR not in stream.entries


def test_a_write_that_took_effect_and_was_reported_as_failed_is_repeated_without_harm():
    stream, whole = scenario(), scenario()
    whole.settle(LATER)

    def twice(operation: Call):
        operation()
        return operation()

    assert stream.run(LATER, perform=twice).skipped == {}
    stream.settle(LATER)
    assert told(stream) == told(whole)


def test_a_store_that_does_not_answer_ends_the_pass_and_the_next_one_makes_up_for_it():
    stream = scenario()

    def failing(operation: Call):
        if operation.name.endswith("put"):
            raise Store_Unavailable("the state store does not answer")
        return operation()

    with pytest.raises(Store_Unavailable):
        stream.run(LATER, perform=failing)
    stream.settle(LATER)
    assert status(stream, HOUR) == ("final", 0, 15)


# ---------------------------------------------------------------------- cost


def test_what_was_seen_equal_is_not_read_again_for_some_minutes_and_what_is_final_for_an_hour_but_not_all_at_once():
    stream, reads = Stream("a"), []
    stream.commit("a", 1, NEXT + WINDOW_MS * 20, {W + i * WINDOW_MS: 2 for i in range(20)})
    at_ms = LATER + 12 * HOUR_MS
    stream.settle(at_ms)
    assert stream.run(at_ms).written == []
    assert stream.calls["retrieve_entry"] == 0
    assert stream.calls["get"] == 0
    for minutes in range(100 + 120):
        stream.run(at_ms + minutes * MINUTE_MS)
        reads.append(stream.calls["retrieve_entry"])
    reads = reads[100:]  # by then nothing is new
    finals = 20 + 10  # half hours and hours; the day and the month are not over
    assert 2 * finals <= sum(reads) <= 4 * 120, reads
    assert max(reads) <= 20, reads


def test_what_a_progress_record_names_anew_is_looked_at_at_once():
    stream = Stream("a", "b")
    for name in "ab":
        stream.commit(name, 1, NEXT, {W: 5})
    stream.settle(LATER)
    stream.run(LATER + GRACE)
    stream.commit("a", 2, NEXT, {W: 6})
    assert [written.cache_key for written in stream.run(LATER + GRACE + 2_000).written][:2] == [HALF, HOUR]
    assert status(stream, HALF) == ("final", 1, 11)


def test_a_fresh_reconciler_finds_nothing_to_do():
    stream = scenario()
    stream.settle(LATER)
    before = dict(stream.cache.bodies)
    assert stream.run(LATER, stream.fresh()).written == []
    assert stream.cache.bodies == before


def test_what_somebody_else_wrote_over_is_found_and_put_right():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.run(LATER)
    entry = {**stream.entries[HALF], "status": "partial", "missing_sources": [{"partition": "a", "reason": "lagging"}]}
    stream.cache.store_entry(module.NS_SA_AGGREGATE, HALF, entry)  # a race that no read before could see
    stream.settle(LATER)
    assert status(stream, HALF)[0] == "final"


def test_a_partial_entry_is_not_refreshed_too_often_but_becomes_final_at_once():
    stream = Stream("a", refresh_ms={"30min": MINUTE_MS, "hourly": MINUTE_MS, "daily": HOUR_MS, "monthly": HOUR_MS})
    stream.commit("a", 1, W, {W: 5})
    stream.run(W + 1)
    stream.commit("a", 2, W, {W: 6})
    assert stream.run(W + 2).skipped["throttled"] > 0
    assert stream.calls["put"] == 0
    assert status(stream, HALF) == ("partial", 0, 5)
    stream.run(W + 1 + MINUTE_MS)
    assert status(stream, HALF) == ("partial", 0, 6)
    assert status(stream, DAY) == ("partial", 0, 5)
    stream.run(NEXT)
    stream.commit("a", 3, NEXT, {W: 7})
    assert stream.run(NEXT + 1).skipped["throttled"] > 0
    assert status(stream, HALF) == ("final", 0, 7)
    stream.settle(W + 2 * HOUR_MS)
    assert status(stream, DAY) == ("partial", 0, 7)


def test_superseded_summaries_are_deleted_after_a_while_and_never_the_named_one():
    stream = Stream("a")
    for number in range(1, 6):
        stream.commit("a", number, W + number, {W: number})
        stream.run(W + number)
    assert len(stream.store.list("summaries/30min/")) == 5
    stream.run(W + HOUR_MS)
    named = {entry["summary"] for entry in stream.entries.values()}
    assert {item.key for item in stream.store.list("summaries/")} == named


def test_a_crash_leaves_no_summary_behind_for_good():
    stream = Stream("a")
    stream.store.put(f"summaries/{HALF}/0123456789abcdef", b"")
    stream.commit("a", 1, NEXT, {W: 1})
    stream.settle(LATER)
    stream.run(LATER + HOUR_MS)
    assert len(stream.store.list(f"summaries/{HALF}/")) == 1


def test_a_summary_that_was_lost_is_made_again():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5, NEXT: 1})
    stream.settle(LATER)
    for item in stream.store.list("summaries/"):
        stream.store.delete(item.key)
    stream.commit("a", 2, LATER, {NEXT: 2})
    first = stream.run(LATER)
    assert first.skipped["summary-gone"] >= 1
    stream.settle(LATER)
    stream.settle(LATER)
    assert status(stream, HOUR) == ("final", 0, 7)
    assert status(stream, MONTH) == ("partial", 0, 7)


# ---------------------------------------------------------------------- progress records


def record(number: str, watermark_ms: int, since_ms: int = BEGINNING_MS, lineage: str = "l") -> Progress:
    return Progress("a", number, lineage, watermark_ms, since_ms, number == END)


def present(*records: Progress, spoil: int = 0) -> Progress:
    store = State_Store("memory://")
    for progress in records:
        key = progress_key("a", progress.number, progress.watermark_ms, progress.lineage)
        data = encode_progress(progress)
        store.put(key, data[:-1] if spoil > 0 else data)
        spoil -= 1
    found = drive(Progress_Reader(store).steps())
    assert found is not None
    return found["a"]


def test_the_highest_number_is_a_partitions_present_then_the_highest_watermark():
    assert present(record("9", 5), record("10", 1), record("10", 3), record("2", 9)) == record("10", 3)
    assert present(record(END, 1), record("99999", 5)) == record(END, 1)


def test_at_a_tie_the_lineage_that_covers_more_counts():
    assert present(record("7", 1, 50, "a"), record("7", 1, 10, "b"), record("7", 1, 99, "c")).lineage == "b"
    assert present(record("0", BEGINNING_MS, 5, "a"), record("0", -7, 9, "b")).lineage == "b"


def test_an_unreadable_record_leaves_the_one_before_and_never_drops_its_partition():
    assert present(record("9", 5), record("8", 4), spoil=1) == record("8", 4)
    nothing = present(record("9", 5), spoil=1)
    assert (nothing.watermark_ms, nothing.since_ms) == (BEGINNING_MS, NEVER_MS)


def test_a_record_that_vanished_between_list_and_read_is_looked_up_in_a_fresh_list():
    class Moving(State_Store):
        def get(self, key: str) -> bytes | None:
            if "0019" in key:
                self.delete(key)
                self.put(progress_key("a", "12", 5, "l"), encode_progress(record("12", 5)))
            return super().get(key)

    store = Moving("memory://")
    store.put(progress_key("a", "9", 5, "l"), encode_progress(record("9", 5)))
    found = drive(Progress_Reader(store).steps())
    assert found is not None
    assert found["a"] == record("12", 5)


def test_a_reconciler_of_nothing_does_nothing():
    result = drive(Reconciler(State_Store("memory://"), Stream().cache, list, Timing()).pass_steps(now_at(W)))
    assert (result.written, result.passed_ms) == ([], BEGINNING_MS)


def test_what_the_real_cache_service_gives_back_is_equal_to_what_was_written():
    from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
    from sa_stream.storage.cache_clients import cache_client__in_process

    stream = Stream("a")
    stream.cache = cache_client__in_process("memory")
    stream.commit("a", 1, NEXT, {W: 5})
    worker = stream.fresh()
    assert len(stream.run(LATER, worker).written) == 4
    assert stream.run(LATER, worker).written == []
    stream.commit("a", 2, NEXT, {W: 6})
    stream.run(LATER, worker)
    entry = stream.cache.retrieve_entry(module.NS_SA_AGGREGATE, HALF)
    assert entry is not None
    assert (entry["revision"], entry["total_requests"]) == (1, 6)
    told = stream.cache.retrieve_entry(NS_SA_CONSOLIDATED, "2026-02-16/14-00/summary")
    assert told == module._consolidated(entry, W)
    assert set(Schema__SA__Aggregate__Window.from_json(entry).json()) == set(entry)
