"""Shards whose end is in doubt: trimmed unread, not listed yet, or said to have ended while open. What the stream lists
decides."""

import time
from collections.abc import Callable

import pytest

from consumer.kcl import links as links_module
from sa_stream.commits.shared import Start
from sa_stream.health.readiness import notes
from sa_stream.partitions import END
from sa_stream.timing import BEGINNING_MS, HOUR_MS, moment, wall_clock_ms
from tests.consumer.kcl.fake_kcl import SHARD, STREAM, Fake_Kcl, Worker, line, lines, progress, record, until


def read_and_released(worker: Worker, age_ms: int = 0) -> str:
    """Five records of the shard are committed, the last of them came so long ago; the number."""
    kcl = Fake_Kcl(worker.handover.path)
    kcl.initialize(SHARD)
    arrival_ms = wall_clock_ms() - age_ms
    kcl.process([record(line(f"request-{n}", arrival_ms), str(n), arrival_ms) for n in range(1, 6)])
    assert kcl.ask("shutdownRequested") == ["5"]
    kcl.ask("leaseLost")
    kcl.end()
    until("the connection to end", lambda: not worker.links.by_shard)
    return "5"


def split_and_trimmed(worker: Worker, closed_ms: int = 0) -> tuple[str, str]:
    """The shard was split, and that is longer ago than the retention; its children."""
    left, right = worker.kinesis.split(STREAM, SHARD)
    worker.stream.shards[0].closed_ms = closed_ms or wall_clock_ms() - 25 * HOUR_MS
    worker.links._listed.clear()  # the worker that is started now has never seen it
    assert SHARD not in {shard.shard_id for shard in worker.application.list_shards()}
    return left.shard_id, right.shard_id


def test_a_shard_that_was_trimmed_before_it_was_read_ends_in_a_new_lineage_and_health_says_what_is_lost(
    worker: Worker, kcl: Fake_Kcl, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = read_and_released(worker)
    lineage = progress(worker)[SHARD].lineage
    split_and_trimmed(worker)
    assert kcl.initialize(SHARD, checkpoint) == []
    assert kcl.ask("shardEnded") == [None]
    ended = progress(worker)[SHARD]
    assert (ended.number, ended.ended, ended.counters["aggregated"]) == (END, True, 5)
    assert ended.lineage != lineage
    assert ended.since_ms > BEGINNING_MS, "it vouches for nothing that it did not read"
    found = [entry for entry in caplog.records if getattr(entry, "event", "") == "shard_gone"]
    assert [(entry.levelname, entry.fields["partition"]) for entry in found] == [("ERROR", SHARD)]
    assert any(SHARD in note for note in notes(worker.health.view(), moment()))


def test_a_child_of_a_trimmed_shard_goes_on_from_its_end(worker: Worker, kcl: Fake_Kcl) -> None:
    checkpoint = read_and_released(worker)
    left, _ = split_and_trimmed(worker)
    kcl.initialize(SHARD, checkpoint)
    kcl.ask("shardEnded")
    child = Fake_Kcl(worker.handover.path)
    child.initialize(left)
    child.process([record(line("request-3"), str(worker.stream.shards[1].first_number), wall_clock_ms())])
    child.ask("shutdownRequested")
    assert progress(worker)[left].counters["duplicates"] == 1
    child.end()


def test_a_trimmed_shard_that_has_progress_and_no_checkpoint_goes_on_from_it(worker: Worker, kcl: Fake_Kcl) -> None:
    read_and_released(worker)
    split_and_trimmed(worker)
    assert kcl.initialize(SHARD) == []
    assert kcl.ask("shardEnded") == [None]
    assert progress(worker)[SHARD].counters["aggregated"] == 5


def test_a_shard_whose_children_were_trimmed_as_well_ends_when_all_that_it_lacks_is_trimmed(
    worker: Worker, kcl: Fake_Kcl
) -> None:
    worker.application.start = Start(BEGINNING_MS, wall_clock_ms() - 40 * HOUR_MS)
    checkpoint = read_and_released(worker, age_ms=30 * HOUR_MS)
    for child in split_and_trimmed(worker):
        worker.kinesis.split(STREAM, child)
    for shard in worker.stream.shards[1:3]:
        shard.closed_ms = wall_clock_ms() - 25 * HOUR_MS
    kcl.initialize(SHARD, checkpoint)
    assert kcl.ask("shardEnded") == [None]
    assert progress(worker)[SHARD].ended


def test_a_shard_that_nobody_has_begun_with_and_that_is_not_listed_waits_for_a_newer_list(
    worker: Worker, kcl: Fake_Kcl
) -> None:
    child = f"{SHARD[:-1]}1"
    kcl.send("initialize", shardId=child, sequenceNumber="TRIM_HORIZON", subSequenceNumber=0)
    until("it to wait", lambda: (view := worker.health.view().shards.get(child)) and view.blocked)
    assert kcl.silent()
    worker.kinesis.split(STREAM, SHARD)
    assert kcl.confirm("initialize") == []


def test_a_shard_that_was_trimmed_before_anybody_came_to_it_ends_and_its_children_go_on(
    worker: Worker, kcl: Fake_Kcl
) -> None:
    """An outage longer than the retention, and two splits in it: the KCL has a lease for a shard that no list knows."""
    left, _ = split_and_trimmed(worker)
    assert kcl.initialize(SHARD) == []
    assert kcl.ask("shardEnded") == [None]
    assert progress(worker)[SHARD].number == END
    again = Fake_Kcl(worker.handover.path)
    assert again.initialize(left) == []
    again.end()


def test_a_shard_that_nobody_began_with_ends_where_its_children_are_trimmed_and_the_stream_keeps_its_records_long(
    worker: Worker, kcl: Fake_Kcl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it would begin is young, as nobody knows what was kept before: that says nothing of what it lacks."""
    monkeypatch.setattr(links_module, "LIST_OLD_S", 0.3)
    long_ago_ms = wall_clock_ms() - 8 * 24 * HOUR_MS
    worker.kinesis.set_retention(STREAM, 7 * 24 * HOUR_MS)
    state = worker.application.state  # as if it had always been so
    state.delete([item.key for item in state.list("meta/retention/")])
    worker.application.timing.stream.now = (7 * 24 * HOUR_MS, ())
    worker.application.start = Start(BEGINNING_MS, 2 * long_ago_ms - wall_clock_ms())
    for child in split_and_trimmed(worker, closed_ms=long_ago_ms):
        worker.kinesis.split(STREAM, child)
    for shard in worker.stream.shards[1:3]:
        shard.closed_ms = long_ago_ms
    assert kcl.initialize(SHARD) == []
    assert kcl.ask("shardEnded") == [None]
    ended = progress(worker)[SHARD]
    assert ended.number == END
    assert ended.position_ms < wall_clock_ms() - 7 * 24 * HOUR_MS + 1000, "its last record is older than what is kept"


def test_an_open_shard_of_which_the_kcl_says_that_it_has_ended_is_not_ended(
    worker: Worker, kcl: Fake_Kcl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "LIST_OLD_S", 0.3)
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.send("shardEnded")
    assert kcl.hear() is None, "the connection ends without a status: it is read again"
    assert not any(each.ended for each in progress(worker).values())


def test_a_list_in_which_an_ended_shard_is_still_open_is_asked_for_again(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.send("shardEnded")
    until("it to wait", lambda: worker.health.view().shards[SHARD].blocked)
    assert kcl.silent()
    worker.kinesis.split(STREAM, SHARD)
    assert kcl.confirm("shardEnded") == [None]
    assert progress(worker)[SHARD].since_ms == BEGINNING_MS


def test_a_stream_that_hangs_while_a_shard_ends_does_not_hold_up_the_others(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(shards=2)
    other_id = worker.stream.shards[1].shard_id
    kcl, other = Fake_Kcl(worker.handover.path), Fake_Kcl(worker.handover.path)
    kcl.initialize(SHARD)
    other.initialize(other_id)
    listed = worker.application.list_shards
    monkeypatch.setattr(worker.application, "list_shards", lambda: (time.sleep(1.5), listed())[1])
    worker.kinesis.split(STREAM, SHARD)
    kcl.send("shardEnded")
    began_s = time.monotonic()
    other.process(lines(3))
    assert time.monotonic() - began_s < 1
    assert kcl.confirm("shardEnded") == [None]
    kcl.end()
    other.end()
