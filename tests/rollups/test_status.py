"""The status of the stream: until when all is final, what is missing and why, and who was seen."""

from typing import Any

import pytest

from sa_stream.rollups.passes import Worker
from sa_stream.rollups.periods import from_iso, iso
from sa_stream.rollups.status import EVERY_MS, WORKER_MS, is_due, sound, with_others
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS
from tests.rollups.rollup_stream import Stream
from tests.rollups.test_reconciler import NEXT, W

ME, OTHER = Worker("me", "1"), Worker("other", "1")


def status(stream: Stream, now_ms: int, worker: Worker = ME) -> dict[str, Any]:
    reconciler = stream.fresh()
    stream.settle(now_ms, reconciler)
    found = reconciler.status(stream.run(now_ms, reconciler), worker)
    assert found is not None
    return found


def test_everything_before_final_until_is_final_but_for_the_gaps_and_what_follows_is_open():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + 10 * MINUTE_MS, {W: 5, NEXT: 2}, since_ms=W - HOUR_MS)
    found = status(stream, NEXT + 12 * MINUTE_MS)
    assert found["final_until"] == iso(NEXT)
    assert found["open_windows"] == [{"window_start": iso(NEXT), "requests": 2}]
    (gap,) = found["gaps"]
    assert (gap["to"], gap["reason"]) == (iso(W - WINDOW_MS), "before-start")
    assert found["covers_since"] == iso(W - HOUR_MS)
    assert found["watermarks"] == {"a": iso(NEXT + 10 * MINUTE_MS)}
    assert found["lag_s"] == 120


def test_a_shard_that_lags_holds_up_what_counts_as_final():
    stream = Stream("a", "b")
    stream.commit("a", 1, NEXT + 2 * HOUR_MS, {W: 5})
    stream.commit("b", 1, W + MINUTE_MS, {W: 2})
    found = status(stream, NEXT + 2 * HOUR_MS)
    assert found["final_until"] == iso(W)
    assert found["watermark"] == iso(W + MINUTE_MS)
    assert found["open_windows"][0]["window_start"] == iso(W)


def test_an_empty_half_hour_that_all_shards_passed_is_no_gap():
    stream = Stream("a")
    stream.commit("a", 1, NEXT + HOUR_MS, {W: 5})
    found = status(stream, NEXT + HOUR_MS + MINUTE_MS)
    assert (found["final_until"], found["gaps"]) == (iso(NEXT + HOUR_MS), [])


def test_workers_that_were_seen_lately_stay_and_one_writes_for_all():
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    now_ms = NEXT + MINUTE_MS
    mine = with_others(status(stream, now_ms), None, now_ms, from_iso)
    assert is_due(mine, mine, OTHER, now_ms + 1, from_iso), "nobody has seen the other yet"
    both = with_others(status(stream, now_ms + 1_000, OTHER), mine, now_ms + 1_000, from_iso)
    assert list(both["workers"]) == ["me", "other"]
    assert not is_due(both, both, ME, now_ms + 2_000, from_iso)
    assert is_due(both, both, ME, now_ms + 1_000 + EVERY_MS, from_iso)
    later = with_others(status(stream, now_ms + WORKER_MS, OTHER), both, now_ms + WORKER_MS, from_iso)
    assert list(later["workers"]) == ["other"]


def test_a_stream_that_nobody_has_read_yet_covers_nothing_and_has_no_watermark():
    now_ms = W + MINUTE_MS
    found = status(Stream("a"), now_ms)
    assert (found["covers_since"], found["watermark"], found["lag_s"]) == (iso(now_ms), None, None)
    assert found["gaps"] == []
    assert found["final_until"] == iso(W - 2 * 24 * HOUR_MS)


@pytest.mark.parametrize("workers", [None, [], 1, {"w": {}}, {"w": {"seen": None}}, {"w": {"seen": "x"}}, {"w": 1}])
def test_a_status_that_is_damaged_counts_as_none(workers: object):
    stream = Stream("a")
    stream.commit("a", 1, NEXT, {W: 5})
    whole = with_others(status(stream, NEXT), None, NEXT, from_iso)
    assert sound(whole, from_iso) is whole
    for before in ({**whole, "workers": workers}, {**whole, "computed_at": workers}, {"workers": {}}, {}):
        assert sound(before, from_iso) is None


def test_what_was_said_before_the_first_commit_is_put_right_at_once():
    stream = Stream("a")
    now_ms = NEXT + MINUTE_MS
    early = with_others(status(stream, now_ms), None, now_ms, from_iso)
    assert not is_due(early, status(stream, now_ms + 1), ME, now_ms + 1, from_iso)
    stream.commit("a", 1, NEXT + MINUTE_MS, {W: 5})
    told = status(stream, now_ms + 2)
    assert is_due(early, told, ME, now_ms + 2, from_iso)
    assert not is_due(told, told, ME, now_ms + 3, from_iso)
