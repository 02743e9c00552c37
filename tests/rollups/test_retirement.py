"""The clean-up: nothing goes that the stream has not passed, or that is young by the store's own clock."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sa_stream.commits.codec import encode_progress
from sa_stream.commits.keys import (
    checkpoint_key,
    closed_editions_key,
    destroyed_secret_key,
    edition_key,
    partial_key,
    progress_key,
    snapshot_key,
    window_label,
)
from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.commits.shared import Start
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.errors import Lease_Lost, Superseded
from sa_stream.format import pack
from sa_stream.partitions import END, RETIRED, Partial_Name, Shard_Info
from sa_stream.rollups.editions import close_steps, create_edition, editions_steps
from sa_stream.rollups.entry import FINAL, About, build_entry
from sa_stream.rollups.finality import NOT_COVERED, Stream_View
from sa_stream.rollups.passes import Pass_Result
from sa_stream.rollups.periods import HALF_HOUR, cache_key, from_iso
from sa_stream.rollups.repairs import Repair_Settings, put_repair_steps, repair_of
from sa_stream.rollups.retirement import (
    clean_up_steps,
    forget_dead_letters_steps,
    forget_partials_steps,
    forget_secrets_steps,
    forget_summaries_steps,
    retirable,
    retire_steps,
)
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.state_store import Listed, State_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Timing, start_of_month
from tests.rollups.rollup_stream import Stream, window_of
from tests.rollups.test_reconciler import status
from tests.windows.partition_feed import Worker
from tests.windows.partition_feed import record as stream_record

W = int(datetime(2026, 2, 16, 14, tzinfo=UTC).timestamp() * 1000)
HALF = cache_key(HALF_HOUR, W)


class Aged_Store(State_Store):
    """A state store whose clock stands `ahead_ms` after that of what it holds: everything is as old as that, but for
    what is named `young`. The newest progress record says what time it is."""

    def __init__(self, ahead_ms: int = 400 * DAY_MS) -> None:
        super().__init__("memory://")
        self.ahead_ms = ahead_ms
        self.young: set[str] = set()

    def list(self, prefix: str) -> list[Listed]:
        return [
            Listed(item.key, item.size_bytes, self.ahead_ms if self._is_new(item.key) else 0)
            for item in super().list(prefix)
        ]

    def _is_new(self, key: str) -> bool:
        return key.startswith("progress/") or key in self.young


def record(number: str, watermark_ms: int, since_ms: int = BEGINNING_MS, lineage: str = "l") -> Progress:
    return Progress("a", number, lineage, watermark_ms, since_ms, number == END)


def put_progress(store: State_Store, *records: Progress) -> None:
    for own in records:
        store.put(progress_key(own.partition, own.number, own.watermark_ms, own.lineage), encode_progress(own))


def view_of(progress: Iterable[Progress], now_ms: int, shards: Iterable[Shard_Info] = ()) -> Stream_View:
    return Stream_View(shards, {own.partition: own for own in progress}, Timing(), now_ms)


def clean_up(stream: Stream, now_ms: int, passes: int = 3) -> Pass_Result:
    """Passes far enough apart for the map to forget by, then a clean-up as the publisher does it."""
    for number in range(passes):
        result = stream.run(now_ms + number * 700_000)
    assert result.stream is not None
    drive(clean_up_steps(stream.store, stream.cache, result.stream, result.settled))
    return result


def test_where_the_local_runner_stood_in_a_retired_shard_is_forgotten_with_it() -> None:
    gone, going = "shardId-000000000000", "shardId-000000000001"
    stream = Stream(going)
    stream.commit(going, 1, W, {W: 1})
    drive(retire_steps(stream.store, gone, BEGINNING_MS))
    for partition in (gone, going):
        stream.store.put(checkpoint_key(partition), b"{}")
    clean_up(stream, W + HOUR_MS)
    assert [item.key for item in stream.store.list("checkpoints")] == [checkpoint_key(going)]


# ---------------------------------------------------------------------- summaries


def periods_of(stream: Stream, prefix: str) -> Counter[str]:
    return Counter(item.key.split("/")[1] for item in stream.store.list(prefix))


def days_of_traffic(stream: Stream, days: int) -> int:
    """A request each half hour for so many days from the beginning of a month; returns when they are over."""
    first_ms = start_of_month("2026-03")
    end_ms = first_ms + days * DAY_MS
    windows = dict.fromkeys(range(first_ms, end_ms, WINDOW_MS), 1)
    stream.commit("a", 1, end_ms, windows, position_ms=end_ms)
    stream.settle(end_ms)
    return end_ms


def forget(stream: Stream, now_ms: int, watermark_ms: int, partials_too: bool = True) -> None:
    """What the clean-up does when the partition has come so far, and forgotten everything older."""
    stream.amendable_ms["a"] = watermark_ms - 2 * DAY_MS
    stream.commit("a", 2, watermark_ms, position_ms=watermark_ms)
    stream.settle(now_ms)
    result = stream.run(now_ms)
    assert result.stream is not None
    if partials_too:
        first_kept = window_label(watermark_ms - 4 * DAY_MS)
        old = [item.key for item in stream.store.list("partials") if item.key.split("/")[1] < first_kept]
        stream.store.delete(old)
    drive(forget_summaries_steps(stream.store, stream.cache, result.stream))


def test_summaries_of_half_hours_and_hours_go_when_their_day_is_final_and_old() -> None:
    stream = Stream("a")
    later_ms = days_of_traffic(stream, 6) + HOUR_MS
    forget(stream, later_ms, later_ms)
    found = periods_of(stream, "summaries")  # the first two days are closed
    assert (found["30min"], found["hourly"], found["daily"]) == (48 * 4, 24 * 4, 6)
    assert (periods_of(stream, "editions")["30min"], periods_of(stream, "editions-closed")) == (
        48 * 4,
        {"30min": 2, "hourly": 2},
    )
    assert stream.settle(later_ms) == 0  # nobody misses anything
    named = [key for key, entry in stream.entries.items() if not stream.holds(entry["summary"])]
    assert len(named) == 2 * (48 + 24)


def test_no_summary_goes_while_something_may_still_amend_its_day_or_make_it_again() -> None:
    stream = Stream("a", "b")
    stream.commit("b", 1, start_of_month("2026-03"))  # holds everything up
    end_ms = days_of_traffic(stream, 6)
    forget(stream, end_ms + 30 * DAY_MS, end_ms + 30 * DAY_MS)
    assert periods_of(stream, "summaries")["30min"] == 6 * 48

    stream = Stream("a")
    end_ms = days_of_traffic(stream, 6)
    forget(stream, end_ms + HOUR_MS, end_ms + HOUR_MS, partials_too=False)
    assert periods_of(stream, "summaries")["30min"] == 6 * 48


def in_a_folder(path: Path) -> tuple[Stream, int]:
    """Six days of traffic whose state is in a folder, and a time an hour behind them."""
    stream = Stream("a")
    stream.store = State_Store(f"file://{path}")
    stream.reconciler = stream.fresh()
    return stream, days_of_traffic(stream, 6) + HOUR_MS


def test_a_folder_without_a_partial_keeps_no_summary(tmp_path: Path) -> None:
    """Who was killed while it wrote a partial has left its folder."""
    stream, later_ms = in_a_folder(tmp_path)
    (tmp_path / partial_key(start_of_month("2026-03"), "gone", Partial_Name("line", "1"))).mkdir(parents=True)
    forget(stream, later_ms, later_ms)
    assert periods_of(stream, "summaries")["30min"] == 48 * 4


def test_what_others_lay_beside_it_keeps_no_summary_and_is_never_deleted(tmp_path: Path) -> None:
    stream, later_ms = in_a_folder(tmp_path)
    notes = [folder / "README" for folder in (tmp_path, *tmp_path.rglob("*")) if folder.is_dir()]
    for note in notes:
        note.write_text("of somebody else")
    forget(stream, later_ms, later_ms)
    assert periods_of(stream, "summaries")["30min"] == 48 * 4
    result = stream.run(later_ms)
    assert result.stream is not None
    drive(clean_up_steps(stream.store, stream.cache, result.stream, result.settled))
    assert all(note.exists() for note in notes)


def test_summaries_of_days_go_with_their_month_and_that_of_the_month_stays() -> None:
    stream = Stream("a")
    days_of_traffic(stream, 31)
    later_ms = start_of_month("2026-04") + 6 * DAY_MS
    forget(stream, later_ms, later_ms)
    assert periods_of(stream, "summaries") == {"monthly": 1}


# ---------------------------------------------------------------------- shards


def closed_day(stream: Stream) -> int:
    """Two days of traffic, of which the first is closed; when that is."""
    end_ms = days_of_traffic(stream, 2)
    forget(stream, end_ms + 6 * DAY_MS, end_ms + 6 * DAY_MS)
    return end_ms + 6 * DAY_MS


def test_editions_of_a_closed_day_are_kept_together() -> None:
    stream = Stream("a")
    closed_day(stream)
    assert periods_of(stream, "editions") == {"daily": 2}  # their month is not closed
    assert periods_of(stream, "editions-closed") == {HALF_HOUR: 2, "hourly": 2}
    for key, entry in stream.entries.items():
        assert drive(editions_steps(stream.store, key, NEVER_MS)).entry == (entry if entry["status"] == FINAL else None)


def test_a_version_that_comes_days_later_does_not_replace_that_of_a_closed_day() -> None:
    """Whoever slept since before that makes no edition of a number that has become free, unless he looked just before
    that; and if he writes over the entry, it comes back."""
    stream = Stream("a")
    now_ms = closed_day(stream)
    key = f"{HALF_HOUR}/2026-03-01-0930"
    entry = stream.entries[key]
    stale = entry | {"revision": 7, "total_requests": 99}
    assert create_edition(stream.store, key, 0, stale) is None
    assert stream.store.create(edition_key(key, 0), pack("edition", stale))
    stream.cache.store_entry(NS_SA_AGGREGATE, key, stale | {"status": "partial"})
    stream.reconciler.memory.look_again(key)
    stream.settle(now_ms)
    assert stream.entries[key] == entry


def test_an_entry_of_a_closed_day_gets_its_next_version_although_the_lateness_was_raised_since() -> None:
    stream = Stream("a")
    now_ms = closed_day(stream)
    stream.timing = Timing(allowed_lateness_ms=7 * DAY_MS)
    start_ms = start_of_month("2026-03") + 9 * HOUR_MS
    assert start_ms + DAY_MS > now_ms - stream.timing.keep_ms
    stream.commit("a", 3, now_ms, {start_ms: 5}, position_ms=now_ms)
    stream.settle(now_ms, stream.fresh())
    assert status(stream, cache_key(HALF_HOUR, start_ms)) == ("final", 1, 5)


def test_an_edition_after_those_of_a_closed_day_has_the_next_number_and_counts() -> None:
    stream = Stream("a")
    closed_day(stream)
    key = f"{HALF_HOUR}/2026-03-01-0930"
    entry = stream.entries[key] | {"revision": 1}
    editions = drive(editions_steps(stream.store, key, NEVER_MS))
    assert (editions.next_number, editions.keys) == (1, ())
    assert create_edition(stream.store, key, editions.next_number, entry) == entry
    assert drive(editions_steps(stream.store, key, NEVER_MS)).entry == entry


def test_closing_once_more_takes_nothing_that_was_not_kept() -> None:
    """Two workers close a day at the same time, or one that crashed in between does it again."""
    stream = Stream("a")
    first_ms = start_of_month("2026-03")
    days_of_traffic(stream, 1)
    listed = [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")]
    fewer, late = listed[1:], listed[0].replace("000000", "000001")
    drive(close_steps(stream.store, HALF_HOUR, first_ms, fewer))
    stream.store.put(late, stream.store.get(listed[0]) or b"")
    drive(close_steps(stream.store, HALF_HOUR, first_ms, [*listed, late]))
    assert [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")] == [listed[0], late]


def test_editions_that_are_too_large_to_be_kept_together_stay_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream("a")
    days_of_traffic(stream, 1)
    listed = [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")]
    large = listed[1]
    key, _, _ = large.removeprefix("editions/").rpartition("/")
    entry = {**stream.entries[key], "hosts": {f"{n}".ljust(250, "x"): 1 for n in range(200)}}
    stream.store.put(large, pack("edition", entry))
    monkeypatch.setattr("sa_stream.rollups.editions.CLOSED_BYTES_MAX", 45_000)
    for _ in range(2):
        drive(close_steps(stream.store, HALF_HOUR, start_of_month("2026-03"), listed))
        left = [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")]
        assert large in left
        assert len(left) < len(listed)
        closed = stream.store.get(closed_editions_key(HALF_HOUR, "2026-03-01"))
        assert closed is not None
        assert len(closed) < 46_000
        editions = drive(editions_steps(stream.store, key, NEVER_MS))
        assert (editions.entry, editions.next_number, editions.keys) == (entry, 1, (large,))


def test_editions_stay_if_what_they_were_to_be_kept_in_is_torn(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream("a")
    days_of_traffic(stream, 1)
    listed = [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")]
    name = closed_editions_key(HALF_HOUR, "2026-03-01")
    stream.store.put(name, b"SAS\x1a torn")
    drive(close_steps(stream.store, HALF_HOUR, start_of_month("2026-03"), listed))
    assert [item.key for item in stream.store.list(f"editions/{HALF_HOUR}")] == listed
    assert name in caplog.text


def test_an_ended_shard_is_forgotten_only_when_nobody_can_need_it():
    old, now = W, W + 10 * DAY_MS
    stream = Stream(Shard_Info("b", ("a",), False))
    stream.commit("a", 1, old, {old - WINDOW_MS: 5}, ended=True)
    stream.commit("b", 0, old, parents=("a",))
    settled = {old - WINDOW_MS: (("a", Partial_Name("l", "1")),)}

    def to_retire(now_ms: int = now, any_listed: bool = True) -> list[str]:
        shards = stream.shards if any_listed else []
        return retirable(Stream_View(shards, stream.run(now_ms).progress, stream.timing, now_ms), settled)

    stream.run(now)
    assert to_retire() == []  # the child has read nothing yet
    stream.commit("b", 3, now, parents=("a",))
    stream.settle(now)
    assert to_retire() == ["a"]
    assert to_retire(any_listed=False) == []
    assert to_retire(old + DAY_MS) == []
    drive(retire_steps(stream.store, "a", BEGINNING_MS))
    stream.settle(now)
    half = stream.entries["30min/2026-02-16-1330"]
    assert (half["status"], half["revision"], half["total_requests"]) == ("final", 0, 5)
    assert stream.run(now).stream.merge_set == ["b"]  # type: ignore[union-attr]


def test_a_shard_is_not_forgotten_while_another_lags_behind_its_windows():
    """However old it is by the clock: who lags may still amend what it is part of."""
    shards = [Shard_Info("b", ("a",), False), Shard_Info("slow", (), False)]
    progress = [
        Progress("a", END, "l", W, BEGINNING_MS, True),
        Progress("b", "5", "l", W + 9 * DAY_MS, BEGINNING_MS, False, parents=("a",)),
        Progress("slow", "5", "l", W, BEGINNING_MS, False),
    ]
    assert retirable(view_of(progress, W + 9 * DAY_MS, shards), {}) == []
    progress[2].watermark_ms = W + 9 * DAY_MS
    assert retirable(view_of(progress, W + 9 * DAY_MS, shards), {}) == ["a"]


def test_a_shard_is_forgotten_after_its_parents_as_one_without_a_known_child_passes_nothing():
    progress = {
        "a": Progress("a", END, "l", W, BEGINNING_MS, True),
        "b": Progress("b", END, "l", W, BEGINNING_MS, True, parents=("a",)),
        "c": Progress("c", "5", "l", W + 9 * DAY_MS, BEGINNING_MS, False, parents=("b",)),
    }
    shards = [Shard_Info("c", ("b",), False)]
    assert retirable(Stream_View(shards, progress, Timing(), W + 9 * DAY_MS), {}) == ["a"]
    assert retirable(Stream_View(shards, progress, Timing(), W + DAY_MS), {}) == []
    del progress["a"]
    assert retirable(Stream_View(shards, progress, Timing(), W + 9 * DAY_MS), {}) == ["b"]


def test_a_listed_shard_is_never_forgotten():
    shards = [Shard_Info("a", (), True), Shard_Info("b", ("a",), False)]
    progress = {"a": record(END, W), "b": record("5", W + 9 * DAY_MS)}
    assert retirable(Stream_View(shards, progress, Timing(), W + 9 * DAY_MS), {}) == []


def test_one_list_that_lacks_an_old_shard_does_not_retire_it_while_the_stream_keeps_it():
    progress = [
        Progress("p", END, "l", W + HOUR_MS, BEGINNING_MS, True, position_ms=W + HOUR_MS),
        Progress("a", "9", "l", W + 4 * DAY_MS, BEGINNING_MS, False, parents=("p",)),
    ]
    view = Stream_View(
        [Shard_Info("a", ("p",), False)],
        {own.partition: own for own in progress},
        Timing(retention_ms=7 * DAY_MS),
        W + 4 * DAY_MS,
    )
    assert retirable(view, {}) == []


def test_what_is_retired_stays_retired_although_the_stream_lists_it_again():
    stream = Stream(Shard_Info("p", (), True), Shard_Info("a", ("p",), False))
    stream.commit("a", 9, W + 9 * DAY_MS, {W: 5}, parents=("p",))
    drive(retire_steps(stream.store, "p", BEGINNING_MS))
    stream.settle(W + 9 * DAY_MS)
    assert stream.entries[HALF]["status"] == "final"


def test_what_somebody_writes_of_a_retired_shard_holds_up_nothing_and_is_deleted():
    """A worker that slept while its shard ended, was trimmed and retired, wakes up in the middle of a commit."""
    stream = Stream(Shard_Info("p", (), False))
    start = Start(BEGINNING_MS, W - HOUR_MS)
    zombie = Worker(stream.store, None, W, Timing(), "p", start=start)  # type: ignore[arg-type]
    zombie.read([stream_record(1, W)], W)
    zombie.flush(W)
    zombie.read([stream_record(2, W + 10_000)], W)  # received, not committed: here the machine is suspended
    drive(retire_steps(stream.store, "p", BEGINNING_MS))
    assert [item.key.split("/")[2] for item in stream.store.list("progress/p/")] == [RETIRED]
    stream.shards = [Shard_Info("a", ("p",), False)]
    stream.commit("a", 9, W + HOUR_MS, {W: 1}, parents=("p",))

    def lost(number: str) -> None:
        raise Lease_Lost("not yours any more")

    zombie.consumer._checkpoint = lost
    with pytest.raises(Lease_Lost):
        zombie.flush(W + HOUR_MS)
    assert len(list(stream.store.list("progress/p/"))) == 2
    clean_up(stream, W + HOUR_MS)
    assert stream.entries[HALF]["status"] == "final"
    assert [item.key.split("/")[2] for item in stream.store.list("progress/p/")] == [RETIRED]
    assert list(stream.store.list("snapshots/p/")) == []


def test_coverage_that_only_a_retired_shard_knew_outlives_it():
    stream = Stream(Shard_Info("c", ("p",), False))
    lacking = W + 10 * HOUR_MS
    stream.commit("p", 9, W + HOUR_MS, {W: 60}, since_ms=lacking, ended=True, counters={"retention_gaps": 1})
    stream.commit("c", 9, W + 6 * DAY_MS, {}, parents=("p",))
    clean_up(stream, W + 6 * DAY_MS)
    assert [item.key.split("/")[2] for item in stream.store.list("progress/p/")] == [RETIRED]
    stream.settle(W + 6 * DAY_MS + HOUR_MS, stream.fresh())
    entry = stream.entries[HALF]
    assert (entry["status"], entry["missing_sources"]) == ("partial", [{"partition": "p", "reason": NOT_COVERED}])


def test_the_last_progress_record_of_a_parent_is_put_again_from_its_last_snapshot():
    stream = Stream(Shard_Info("p", (), True), Shard_Info("a", ("p",), False))
    start = Start(BEGINNING_MS, W - HOUR_MS)
    parent = Worker(stream.store, None, W, Timing(), "p", start=start)  # type: ignore[arg-type]
    parent.read([stream_record(number, W + number * 1_000) for number in (1, 2, 3)], W + MINUTE_MS)
    parent.end(W + MINUTE_MS)
    before = {item.key: stream.store.get(item.key) for item in stream.store.list("progress/p/")}
    child = Worker(stream.store, None, W + MINUTE_MS, Timing(), "a", ("p",), "line-c", start)  # type: ignore[arg-type]
    child.read([stream_record(4, W + HOUR_MS)], W + HOUR_MS)
    child.flush(W + HOUR_MS)
    for key in before:
        stream.store.delete(key)
    stream.settle(W + HOUR_MS)
    assert HALF not in stream.entries  # its only source is lost: nothing is final, and nothing says zero
    clean_up(stream, W + HOUR_MS)
    assert {item.key: stream.store.get(item.key) for item in stream.store.list("progress/p/")} == before
    stream.settle(W + 2 * HOUR_MS)
    assert (stream.entries[HALF]["status"], stream.entries[HALF]["total_requests"]) == ("final", 3)


# ---------------------------------------------------------------------- partials


NAME = Partial_Name("l", "1")


def test_partials_of_forgotten_windows_go_when_no_lagging_partition_can_need_them():
    store = Aged_Store()
    old, named, young = W - 40 * DAY_MS, W - 41 * DAY_MS, W - 2 * DAY_MS
    for start in (old, named, young):
        store.put(partial_key(start, "a", NAME), b"")
    progress = record("5", W)
    progress.partials[named] = NAME
    progress.amendable_from_ms = W
    view = view_of([progress], W, [Shard_Info("a", (), False)])
    assert drive(forget_partials_steps(store, view, store.ahead_ms)) == 1
    kept = [item.key for item in store.list("partials/")]
    assert kept == [partial_key(start, "a", NAME) for start in (named, young)]


@pytest.mark.parametrize(
    ("watermark_ms", "amendable_ms", "store_age_ms"),
    [
        (W - 38 * DAY_MS, W, 400 * DAY_MS),  # a shard lags: by the clock the window is old, the stream is not past it
        (W, W - 39 * DAY_MS, 400 * DAY_MS),  # a shard may still amend it
        (W, W, HOUR_MS),  # record time runs faster than the store's: it was committed an hour ago
    ],
)
def test_no_partial_goes_that_somebody_may_still_need(watermark_ms: int, amendable_ms: int, store_age_ms: int):
    store = Aged_Store(store_age_ms)
    key = partial_key(W - 40 * DAY_MS, "a", NAME)
    store.put(key, b"")
    progress = record("5", watermark_ms)
    progress.amendable_from_ms = amendable_ms
    view = view_of([progress], W, [Shard_Info("a", (), False)])
    drive(forget_partials_steps(store, view, store.ahead_ms))
    assert store.get(key) is not None


def test_a_backlog_older_than_twice_the_time_that_partials_are_kept_loses_nothing_in_the_clean_up():
    """A pass reads the progress, a shard commits the next window meanwhile, and the clean-up comes last."""
    now, timing = W, Timing(retention_ms=7 * DAY_MS)
    window = (now - 6 * DAY_MS) // WINDOW_MS * WINDOW_MS
    stream = Stream("p", timing=timing)
    worker = Worker(stream.store, None, now, timing, "p", start=Start(BEGINNING_MS, now - 300 * DAY_MS))  # type: ignore[arg-type]
    for number, start in enumerate((window - WINDOW_MS, window), 1):
        result = stream.run(now)
        worker.read([stream_record(number, start)], now)
        worker.flush(now)
        assert result.stream is not None
        drive(clean_up_steps(stream.store, stream.cache, result.stream, result.settled))
    assert len(list(stream.store.list("partials/"))) == 2


def test_a_worker_whose_clock_is_days_ahead_deletes_nothing_of_others():
    stream = Stream("p")
    stream.commit("p", 1, W, {W - WINDOW_MS: 5})
    result = stream.run(W + 5 * DAY_MS)
    stream.commit("p", 2, W + MINUTE_MS, {W: 7})
    assert result.stream is not None
    drive(clean_up_steps(stream.store, stream.cache, result.stream, result.settled))
    assert len(list(stream.store.list("partials/"))) == 2


def test_a_window_of_a_shard_that_lags_for_days_becomes_final_with_what_the_quick_one_had():
    now = W + 10 * DAY_MS
    window, since = W + 4 * DAY_MS, W
    stream = Stream("quick", "slow", timing=Timing(retention_ms=14 * DAY_MS))
    stream.commit("quick", 1, window + WINDOW_MS, {window: 100}, since_ms=since)
    stream.commit("slow", 1, window - 3 * WINDOW_MS, {}, since_ms=since)
    stream.run(now)
    stream.commit("quick", 2, now, {}, since_ms=since, forget=(window,))
    clean_up(stream, now)
    for number, count in ((2, 5), (3, 9)):
        stream.commit("slow", number, window + number * MINUTE_MS, {window: count}, since_ms=since)
        clean_up(stream, now + number * HOUR_MS)
    stream.commit("slow", 4, now, {}, since_ms=since)
    stream.settle(now + 9 * HOUR_MS)
    entry = stream.entries[cache_key(HALF_HOUR, window)]
    assert (entry["status"], entry["total_requests"]) == ("final", 109)


# ---------------------------------------------------------------------- secrets

MONTH_END = from_iso("2026-02-01T00:00:00Z")
KEEP = Timing().keep_ms


class Timed_Store(State_Store):
    """A state store with a clock of its own."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.now_ms = 0
        self.put_ms: dict[str, int] = {}

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self.put_ms[key] = self.now_ms

    def create(self, key: str, data: bytes) -> bool:
        self.put_ms.setdefault(key, self.now_ms)
        return super().create(key, data)

    def list(self, prefix: str) -> list[Listed]:
        return [Listed(item.key, item.size_bytes, self.put_ms[item.key]) for item in super().list(prefix)]


def months_closed(
    now_ms: int,
    passed_ms: int,
    since_ms: int = BEGINNING_MS,
    status: str = "final",
    timing: Timing | None = None,
    age_ms: int = 400 * DAY_MS,
) -> list[str]:
    store, cache = Aged_Store(age_ms), Memory_Cache()
    for month in ("2026-01", "2026-02"):
        store.put(f"secrets/{month}", b"12345678")
    if status:
        about = About(status == "final", 0, [], [], None, now_ms)
        month = build_entry("monthly", start_of_month("2026-01"), window_of(start_of_month("2026-01"), 5), about)
        cache.store_entry(NS_SA_AGGREGATE, "monthly/2026-01", month)
    own = record("5", passed_ms, since_ms)
    put_progress(store, own)
    view = Stream_View([Shard_Info("a", (), False)], {"a": own}, timing or Timing(), now_ms)
    closed = drive(forget_secrets_steps(store, cache, view))
    left = [item.key.removeprefix("secrets/") for item in store.list("secrets/")]
    assert sorted(closed + left) == ["2026-01", "2026-02"]
    assert [item.key for item in store.list("secrets-destroyed/")] == [destroyed_secret_key(month) for month in closed]
    return closed


def test_the_secret_of_a_month_is_destroyed_once_the_month_is_final_and_too_old_to_amend():
    late = MONTH_END + KEEP + 1
    assert months_closed(late - 1, late) == []
    assert months_closed(late, late) == ["2026-01"]
    assert months_closed(late, late, status="partial") == []
    assert months_closed(late, late, status="") == []


def test_the_secret_of_a_month_stays_while_a_shard_lags_within_the_lateness_of_that_month():
    assert months_closed(MONTH_END + 30 * DAY_MS, MONTH_END + KEEP) == []


def test_the_secret_of_a_month_that_cannot_become_final_goes_as_well():
    late = MONTH_END + KEEP + 1
    assert months_closed(late, late, since_ms=MONTH_END - DAY_MS, status="partial") == ["2026-01"]


def test_the_secret_of_a_month_stays_as_long_as_its_windows_may_be_computed_from_the_archive():
    timing = Timing(retention_ms=7 * DAY_MS)
    for_ms = timing.allowed_lateness_ms + timing.retention_ms
    assert for_ms > timing.keep_ms

    def closed(at_ms: int, status: str) -> list[str]:
        return months_closed(at_ms, at_ms, since_ms=MONTH_END - DAY_MS, status=status, timing=timing)

    assert closed(MONTH_END + for_ms, "partial") == []
    assert closed(MONTH_END + for_ms + 1, "partial") == ["2026-01"]
    assert closed(MONTH_END + timing.keep_ms + 1, "final") == ["2026-01"], "nothing of it is to be computed"


def test_a_secret_that_was_just_made_stays_while_its_month_is_computed_whatever_its_age():
    late = MONTH_END + 300 * DAY_MS

    def closed(age_ms: int, status: str) -> list[str]:
        return months_closed(late, late, since_ms=late - DAY_MS, status=status, age_ms=age_ms)

    assert closed(KEEP - 1, "partial") == []
    assert closed(KEEP, "partial") == ["2026-01", "2026-02"]
    assert "2026-01" in closed(0, "final")


def secrets_left(stream: Stream, now_ms: int) -> list[str]:
    """After passes and a clean-up, all of them at that time by every clock."""
    assert isinstance(stream.store, Timed_Store)
    stream.store.now_ms = now_ms
    stream.settle(now_ms)
    view = stream.run(now_ms).stream
    assert view is not None
    drive(clean_up_steps(stream.store, stream.cache, view, {}))
    return [item.key.removeprefix("secrets/") for item in stream.store.list("secrets/")]


def archived(from_ms: int) -> Stream:
    """Without a stream; the secret of January is there."""
    stream = Stream(archive=Repair_Settings(only_from_ms=from_ms))
    stream.store = store = Timed_Store()
    store.now_ms = from_ms
    store.put("secrets/2026-01", b"12345678")
    stream.reconciler = stream.fresh()
    return stream


def compute(stream: Stream, now_ms: int, broken: tuple[int, ...] = ()) -> None:
    """All that is to be computed by then, but for windows of which a file cannot be read."""
    assert isinstance(stream.store, Timed_Store)
    stream.store.now_ms = now_ms
    for window_ms, known in stream.run(now_ms).to_repair.items():
        if known is None:
            repair, data = repair_of(2, window_ms not in broken, "files"), window_of(window_ms, 3).to_bytes()
            named = {"a.gz": "denied"} if window_ms in broken else {}
            drive(put_repair_steps(stream.store, window_ms, repair, data, named))


@pytest.mark.parametrize("begun_ms", [MONTH_END - 31 * DAY_MS, MONTH_END - 4 * DAY_MS])  # it is final then, or never
def test_without_a_stream_the_secret_of_a_month_stays_until_its_windows_are_computed(begun_ms: int):
    stream, back_ms = archived(begun_ms), MONTH_END + 5 * DAY_MS
    compute(stream, MONTH_END - 2 * DAY_MS)
    assert secrets_left(stream, back_ms) == ["2026-01"], "two days of it were not computed while nothing ran"
    compute(stream, back_ms)
    assert secrets_left(stream, back_ms + HOUR_MS) == []
    assert status(stream, "monthly/2026-01")[0] == ("final" if begun_ms < MONTH_END - 4 * DAY_MS else "partial")


def test_without_a_stream_a_file_that_nobody_can_read_keeps_no_secret_for_ever():
    stream, back_ms = archived(MONTH_END - 4 * DAY_MS), MONTH_END + 5 * DAY_MS
    compute(stream, back_ms, broken=(MONTH_END - DAY_MS,))
    assert secrets_left(stream, back_ms + HOUR_MS) == ["2026-01"]
    compute(stream, back_ms + KEEP)
    assert secrets_left(stream, back_ms + KEEP) == []


def test_without_a_stream_the_secret_of_what_was_computed_before_the_start_goes_when_it_is_old():
    stream, now_ms = archived(MONTH_END), MONTH_END + 5 * DAY_MS
    compute(stream, now_ms)
    repair, before_ms = repair_of(2, True, "files"), MONTH_END - DAY_MS  # a backfill
    drive(put_repair_steps(stream.store, before_ms, repair, window_of(before_ms, 3).to_bytes(), {}))
    assert secrets_left(stream, now_ms) == []


def test_a_month_whose_secret_was_destroyed_takes_no_more_records():
    """A shard that was idle for a month still would, by its records' own clock; hashed with another secret, what came
    before would count once more."""
    store = State_Store("memory://")
    start = Start(BEGINNING_MS, MONTH_END - DAY_MS)
    worker = Worker(store, None, MONTH_END, Timing(retention_ms=90 * DAY_MS), "p", start=start)  # type: ignore[arg-type]
    worker.read([stream_record(1, MONTH_END - HOUR_MS)], MONTH_END)
    worker.flush(MONTH_END)
    store.put(destroyed_secret_key("2026-01"), b"")
    store.delete("secrets/2026-01")
    later = MONTH_END + 20 * DAY_MS
    again = Worker(store, worker.checkpoint, later, worker.state.timing, "p", lineage="other", start=start)  # type: ignore[arg-type]
    again.read([stream_record(2, MONTH_END - HOUR_MS, later)], later)
    again.flush(later)
    assert again.state.counters["too_late"] == 1
    assert again.state.lineage.startswith("other")
    assert again.state.since_ms == MONTH_END - again.state.timing.coverage_margin_ms  # vouches for none of it
    assert list(store.list("secrets/")) == []


def test_who_still_has_records_of_a_month_whose_secret_was_destroyed_has_been_overtaken():
    """It took the lease, stood still for hours, and begins with what everybody else is done with."""
    store = State_Store("memory://")
    start = Start(BEGINNING_MS, MONTH_END - DAY_MS)
    timing = Timing(retention_ms=90 * DAY_MS)
    asleep = Worker(store, None, MONTH_END, timing, "p", lineage="asleep", start=start)  # type: ignore[arg-type]
    owner = Worker(store, None, MONTH_END, timing, "p", start=start)  # type: ignore[arg-type]
    records = [stream_record(1, MONTH_END - HOUR_MS), stream_record(2, MONTH_END + DAY_MS)]
    owner.read(records, MONTH_END + DAY_MS)
    owner.flush(MONTH_END + DAY_MS)
    store.put(destroyed_secret_key("2026-01"), b"")
    store.delete("secrets/2026-01")
    before = {item.key for item in store.list("")}
    asleep.read(records, MONTH_END + DAY_MS)
    with pytest.raises(Superseded):
        asleep.flush(MONTH_END + DAY_MS)
    assert {item.key for item in store.list("")} == before


def test_a_month_whose_secret_was_destroyed_does_not_keep_the_next_one_from_being_read():
    store = State_Store("memory://")
    store.put(destroyed_secret_key("2026-01"), b"")
    start = Start(BEGINNING_MS, MONTH_END - DAY_MS)
    worker = Worker(store, None, MONTH_END, Timing(retention_ms=90 * DAY_MS), "p", start=start)  # type: ignore[arg-type]
    records = [stream_record(1, MONTH_END - HOUR_MS, MONTH_END + HOUR_MS), stream_record(2, MONTH_END + HOUR_MS)]
    worker.read(records, MONTH_END + HOUR_MS)
    worker.flush(MONTH_END + HOUR_MS)
    assert (worker.state.counters["too_late"], worker.state.counters["aggregated"]) == (1, 1)


def test_what_is_dropped_of_a_month_whose_secret_was_destroyed_is_in_none_of_its_windows():
    """A partial of nothing else would take the place of the one that the entry lists."""
    store = State_Store("memory://")
    store.put(destroyed_secret_key("2026-01"), b"")
    start = Start(BEGINNING_MS, MONTH_END - DAY_MS)
    worker = Worker(store, None, MONTH_END, Timing(retention_ms=90 * DAY_MS), "p", start=start)  # type: ignore[arg-type]
    worker.read([stream_record(1, MONTH_END - HOUR_MS), stream_record(2, MONTH_END + HOUR_MS)], MONTH_END + HOUR_MS)
    worker.flush(MONTH_END + HOUR_MS)
    assert worker.state.counters["too_late"] == 1
    assert list(worker.state.partials) == [MONTH_END + HOUR_MS]


def test_snapshots_of_a_retired_shard_are_gone():
    store = State_Store("memory://")
    store.put(snapshot_key("p", END, "l"), b"")
    put_progress(store, Progress("p", END, "l", W, W, True))
    drive(retire_steps(store, "p", W))
    assert [item.key for item in store.list("")] == [progress_key("p", RETIRED, W, RETIRED)]


def test_dead_letters_are_kept_for_their_days_by_the_store_s_clock_and_then_deleted():
    store = Aged_Store(ahead_ms=30 * DAY_MS)
    put_progress(store, record("9", W))
    keys = [f"dead-letters/{name}/{number}/000000" for name in ("a", "b") for number in range(1_001)]
    for key in keys:
        store.put(key, b"{}")
    store.young = {keys[0]}
    assert drive(forget_dead_letters_steps(store, 31 * DAY_MS)) == 0
    assert drive(forget_dead_letters_steps(store, 30 * DAY_MS)) == 2_001
    assert [item.key for item in store.list("dead-letters/")] == [keys[0]]


def test_without_a_progress_record_nobody_knows_the_store_s_clock_and_no_dead_letter_goes():
    store = Aged_Store()
    store.put("dead-letters/a/1/000000", b"{}")
    assert drive(forget_dead_letters_steps(store, 1)) == 0
