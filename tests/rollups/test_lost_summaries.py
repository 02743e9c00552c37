"""Final entries whose summaries are lost, and for whose time the stream vouches no longer: they stay as they are, and
what is above them is made of them all the same."""

import pytest

from sa_stream.commits.keys import PARTIALS_PREFIX, REPAIRS_PREFIX
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS
from tests.rollups.rollup_stream import Stream
from tests.rollups.test_reconciler import HALF, HALF2, HOUR, NEXT, W, status
from tests.rollups.test_repairs import lossy, put, repaired


def lose(stream: Stream, content: bytes | None) -> None:
    summary = stream.entries[HALF]["summary"]
    if content is None:
        stream.store.delete(summary)
    else:
        stream.store.put(summary, content)


def lost_by_the_stream(content: bytes | None = None, forgotten: bool = False) -> Stream:
    """A half hour that the stream made final, its summary lost, and then the stream's memory of it; the next one."""
    stream = repaired("a")
    stream.commit("a", 1, NEXT, {W: 5})
    stream.settle(NEXT)
    assert status(stream, HALF) == ("final", 0, 5)
    if forgotten:
        stream.maps["a"].clear()
    stream.commit("a", 2, NEXT + HOUR_MS, {NEXT: 4}, lineage="m", since_ms=NEXT + MINUTE_MS)
    lose(stream, content)
    return stream


@pytest.mark.parametrize("content", [None, b"torn"])
@pytest.mark.parametrize("forgotten", [True, False])
def test_the_lost_summary_of_what_the_stream_made_final_is_made_of_the_partials_that_it_lists(
    content: bytes | None, forgotten: bool
):
    stream = lost_by_the_stream(content, forgotten)
    put(stream, NEXT, files=3, requests=8)
    before = stream.entries[HALF]
    stream.settle(NEXT + HOUR_MS)
    stream.settle(NEXT + 2 * HOUR_MS)
    assert [status(stream, key) for key in (HALF, HALF2)] == [("final", 0, 5), ("final", 0, 8)]
    assert status(stream, HOUR) == ("final", 0, 13)
    assert (stream.entries[HALF]["sources"], stream.entries[HALF]["summary"]) == (before["sources"], before["summary"])
    assert stream.summary(HALF).total_requests == 5


def test_a_partial_of_another_lineage_is_not_taken_for_the_one_that_a_final_entry_lists():
    stream = lost_by_the_stream()
    for item in stream.store.list(PARTIALS_PREFIX):
        if "/l/" in item.key:
            stream.store.delete(item.key)
    stream.commit("a", 3, NEXT + HOUR_MS, {W: 1}, lineage="m", since_ms=NEXT + MINUTE_MS)
    put(stream, NEXT, files=3, requests=8)
    for hours in range(1, 4):
        assert "final" in status(stream, HALF)
        stream.run(NEXT + hours * HOUR_MS)
    assert status(stream, HALF) == ("final", 0, 5)
    assert status(stream, HOUR) == ("partial", 0, 5)


@pytest.mark.parametrize("looked_at", [True, False])
def test_the_lost_summary_of_an_old_window_from_the_archive_is_computed_again(looked_at: bool):
    """Its repair was forgotten, as no late record can come any more."""
    stream = repaired("a")
    put(stream, W, files=3, requests=8)
    stream.settle(lossy(stream))
    for item in stream.store.list(REPAIRS_PREFIX):
        stream.store.delete(item.key)
    now_ms = W + DAY_MS + 2 * HOUR_MS
    if looked_at:
        assert W not in stream.run(now_ms - HOUR_MS).to_repair
    lose(stream, None)
    put(stream, NEXT, files=3, requests=5)
    for minutes in range(0, 30, 5):
        if W in stream.run(now_ms + minutes * MINUTE_MS).to_repair:
            put(stream, W, files=3, requests=8)
    assert status(stream, HALF) == ("final", 0, 8)
    assert stream.entries[HOUR]["status"] == "final"
    assert stream.entries[HOUR]["total_requests"] == 13
    assert W not in stream.run(now_ms + HOUR_MS).to_repair
