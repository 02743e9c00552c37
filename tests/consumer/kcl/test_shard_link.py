"""One shard's conversation with the KCL: what is answered, what is committed, and what ends the connection."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumer.kcl import links as links_module
from consumer.kcl.shard_link import Shard_Link
from consumer.worker.course import SHUTDOWN_S
from sa_stream.partitions import END
from sa_stream.records.parser import Parser
from sa_stream.timing import WINDOW_MS, wall_clock_ms
from tests.consumer.kcl.fake_kcl import (
    SHARD,
    STREAM,
    Fake_Kcl,
    Worker,
    counted,
    line,
    lines,
    progress,
    record,
    until,
)

DATE_MS = 1_500  # the source's time is known from the Date of its answers: a whole second, and the way here


def hung_up(kcl: Fake_Kcl, within_s: float = 10) -> bool:
    return kcl.hear(within_s) is None


def test_a_shard_is_initialized_read_committed_at_its_last_record_and_released(worker: Worker, kcl: Fake_Kcl) -> None:
    assert kcl.initialize(SHARD) == []
    assert kcl.process(lines(3)) == []
    assert kcl.process(lines(2, first=4)) == []
    assert kcl.ask("shutdownRequested") == ["5"]
    assert worker.health.view().shards[SHARD].last_commit is not None
    assert kcl.ask("leaseLost") == []
    assert worker.links.held == []
    assert (progress(worker)[SHARD].number, counted(worker)) == ("5", 5)


def test_the_next_owner_goes_on_after_the_checkpoint_and_counts_nothing_twice(
    worker: Worker, kcl: Fake_Kcl, make_worker: Callable[..., Worker]
) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.ask("shutdownRequested")
    kcl.ask("leaseLost")
    successor = make_worker()
    again = Fake_Kcl(successor.handover.path)
    again.initialize(SHARD, "5")
    again.process(lines(3, first=4))  # the KCL may deliver again what it has delivered
    assert again.ask("shutdownRequested") == ["6"]
    assert counted(successor) == 6
    again.end()


def test_a_shard_that_ends_is_checkpointed_at_its_end(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    worker.kinesis.split(STREAM, SHARD)
    assert kcl.ask("shardEnded") == [None]
    found = progress(worker)[SHARD]
    assert (found.number, found.ended, found.counters["aggregated"]) == (END, True, 5)


def test_children_know_the_request_ids_of_their_parent(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    children = worker.kinesis.split(STREAM, SHARD)
    kcl.ask("shardEnded")
    child = Fake_Kcl(worker.handover.path)
    child.initialize(children[0].shard_id)
    retried = [record(line("request-3"), str(children[0].first_number), wall_clock_ms())]
    child.process(retried)
    child.ask("shutdownRequested")
    found = progress(worker)[children[0].shard_id]
    assert found.parents == (SHARD,)
    assert found.counters == {"records": 1, "duplicates": 1}
    child.end()


def test_idle_ticks_move_the_watermark_by_the_time_of_the_fifth_last_message(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    began_ms = wall_clock_ms()
    for _ in range(5):
        kcl.process([])
    assert worker.health.view().shards[SHARD].watermark_ms is None, "these answers may have been fetched before"
    kcl.process([])
    until("the watermark", lambda: worker.health.view().shards[SHARD].watermark_ms is not None)
    watermark_ms = worker.health.view().shards[SHARD].watermark_ms
    assert watermark_ms is not None
    assert began_ms - DATE_MS <= watermark_ms + 65_000 <= wall_clock_ms()


def test_an_empty_answer_behind_the_tip_moves_nothing(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    for _ in range(8):
        kcl.process([], behind_ms=5)
    assert worker.health.view().shards[SHARD].watermark_ms is None
    assert worker.health.view().shards[SHARD].lag_ms == 5


def test_after_a_refused_checkpoint_nothing_more_is_counted_and_the_kcl_is_answered_until_it_lets_go(
    worker: Worker, kcl: Fake_Kcl
) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.send("shutdownRequested")
    assert (kcl.hear() or {})["action"] == "checkpoint"
    kcl.send("checkpoint", sequenceNumber="5", error="ShutdownException")
    assert kcl.hear() == {"action": "status", "responseFor": "shutdownRequested"}
    assert kcl.process(lines(5, first=6)) == []
    assert kcl.ask("leaseLost") == []
    assert worker.links.held == []
    assert worker.links.trouble(0.0) is None


@pytest.mark.parametrize(
    "error", ["ThrottlingException", "KinesisClientLibDependencyException", "InvalidStateException"]
)
def test_a_checkpoint_that_may_succeed_later_is_asked_for_again(worker: Worker, kcl: Fake_Kcl, error: str) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.send("shutdownRequested")
    for _ in range(3):
        assert (kcl.hear() or {})["sequenceNumber"] == "5"
        kcl.send("checkpoint", sequenceNumber="5", error=error)
        until("health to say it", lambda: error in (worker.health.view().shards[SHARD].blocked or ""))
    assert kcl.confirm("shutdownRequested") == ["5"]
    assert counted(worker) == 5


@pytest.mark.parametrize(("error", "asked"), [("IllegalArgumentException", 1), ("InvalidStateException", 6)])
def test_a_checkpoint_that_cannot_succeed_ends_the_connection_without_a_status(
    worker: Worker, kcl: Fake_Kcl, error: str, asked: int
) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.send("shutdownRequested")
    for _ in range(asked):
        assert (kcl.hear() or {})["action"] == "checkpoint"
        kcl.send("checkpoint", sequenceNumber="5", error=error)
    assert hung_up(kcl)
    assert kcl.child.recv(1) == b""
    until("the shard to be given up", lambda: worker.links.uncommitted == {SHARD})
    assert worker.links.trouble(0.0) == "the connection of a shard has ended"


@pytest.mark.parametrize(
    "message",
    [
        b'{"action":"processRecords","records":[{"data":"%%%"}]}\n',
        b'{"action":"dance"}\n',
        b'{"action":"initialize","shardId":"shardId-7","sequenceNumber":"1"}\n',
        b"\xff\xfe\n",
        b"[]\n",
    ],
)
def test_a_malformed_message_ends_the_connection_and_the_log_names_the_shard(
    worker: Worker, kcl: Fake_Kcl, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.write(message)
    assert hung_up(kcl)
    assert SHARD in caplog.text
    assert progress(worker) == {}


def test_a_message_before_the_last_one_was_answered_ends_the_connection(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    worker.paused.set()
    kcl.send("shutdownRequested")
    kcl.send("processRecords", records=lines(1), millisBehindLatest=0)
    worker.paused.clear()
    assert hung_up(kcl)


def test_a_message_that_comes_in_pieces_is_read_when_it_is_whole(worker: Worker, kcl: Fake_Kcl) -> None:
    import json

    kcl.initialize(SHARD)
    whole = json.dumps({"action": "processRecords", "records": lines(50), "millisBehindLatest": 0}).encode() + b"\n"
    kcl.write(whole[:-1])
    assert kcl.silent()
    kcl.write(whole[-1:])
    assert kcl.confirm("processRecords") == []


def test_only_a_few_large_messages_are_read_at_the_same_time(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    parked, park = list[Shard_Link](), Shard_Link.park

    def noted_park(link: Shard_Link) -> None:
        parked.append(link)
        park(link)

    monkeypatch.setattr(Shard_Link, "park", noted_park)
    worker = make_worker(shards=8)
    shards = [shard.shard_id for shard in worker.stream.shards]
    connections = [Fake_Kcl(worker.handover.path) for _ in shards]
    for shard_id, connection in zip(shards, connections, strict=True):
        connection.initialize(shard_id)
    for connection in connections:
        connection.write(b'{"action":"processRecords",')  # and the rest comes later
    beyond = len(shards) - links_module.MESSAGES_MAX
    until("all connections beyond the first few to be parked", lambda: len(worker.links._parked) == beyond)
    rest = b'"records":[],"millisBehindLatest":0}\n'
    one = connections[shards.index(next(iter(worker.links._reading)).shard_id)]
    one.write(rest)
    until("another one to be read in its place", lambda: len(worker.links._parked) == beyond - 1)
    assert len(parked) == beyond, "who has no turn yet is not woken"
    for connection in connections:
        if connection is not one:
            connection.write(rest)
    for connection in connections:
        assert connection.confirm("processRecords") == []
        connection.end()
    until("all connections to end", lambda: not worker.links.by_shard)


def test_the_newer_of_two_connections_of_a_shard_counts(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    newer = Fake_Kcl(worker.handover.path)
    newer.initialize(SHARD)
    kcl.process(lines(5, first=6))
    newer.process(lines(7))
    assert kcl.ask("shutdownRequested") == []
    assert newer.ask("shutdownRequested") == ["7"]
    assert counted(worker) == 7
    newer.end()


def test_while_the_state_store_fails_no_further_batch_is_taken(
    make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = make_worker(commit_interval_s=1)
    kcl = Fake_Kcl(worker.handover.path)
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    state = tmp_path / "state"
    state.rename(tmp_path / "away")
    state.write_text("no folder")
    until("the commit to fail", lambda: worker.health.view().shards[SHARD].blocked)
    kcl.send("processRecords", records=lines(4, first=6), millisBehindLatest=0)
    assert kcl.silent(), "the status waits for the commit"
    state.unlink()
    (tmp_path / "away").rename(state)
    assert kcl.confirm("processRecords") == ["5"]
    kcl.ask("shutdownRequested")
    assert counted(worker) == 9
    kcl.end()


def test_a_child_that_dies_takes_its_connection_along(worker: Worker, kcl: Fake_Kcl) -> None:
    kcl.initialize(SHARD)
    kcl.process(lines(5))
    kcl.child.close()
    assert hung_up(kcl)
    until("the shard to be given up", lambda: SHARD not in worker.links.by_shard)
    assert SHARD not in worker.health.view().shards


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_pipes_are_taken_from_our_own_user_only(worker: Worker) -> None:
    folder = Path(worker.handover.path).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o711)  # as if somebody had opened the door
    Path(worker.handover.path).chmod(0o777)
    pid = os.fork()
    if pid == 0:  # nothing but calls of the system from here on
        refused = False
        try:
            os.setuid(65534)
            stranger = socket.socket(socket.AF_UNIX)
            stranger.connect(worker.handover.path)
            socket.send_fds(stranger, [b"F"], [0, 1])
            stranger.settimeout(10)
            try:
                refused = stranger.recv(1) == b""
            except ConnectionResetError:  # closed with our pipes unread
                refused = True
        finally:
            os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not worker.links._connections


def test_a_shard_that_says_nothing_for_three_minutes_means_that_the_kcl_sits_still(
    worker: Worker, kcl: Fake_Kcl, monkeypatch: pytest.MonkeyPatch
) -> None:
    kcl.initialize(SHARD)
    kcl.process([])
    said_s = worker.links.by_shard[SHARD].last_word_s
    assert worker.links.trouble(said_s + 179) is None
    assert worker.links.trouble(said_s + 181) == f"{SHARD} is ours, and nothing has come from it for 180 s"


def test_a_status_that_took_us_minutes_is_no_silence_of_the_kcl(
    make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    """It has waited for us, who waited for a store, and must not be killed for that."""
    worker = make_worker()
    state = tmp_path / "state"
    state.rename(tmp_path / "away")
    state.write_text("no folder")
    kcl = Fake_Kcl(worker.handover.path)
    asked_s = time.monotonic()
    kcl.send("initialize", shardId=SHARD, sequenceNumber="TRIM_HORIZON")
    assert kcl.silent(0.4), "the status waits for the state"
    state.unlink()
    (tmp_path / "away").rename(state)
    assert kcl.confirm("initialize") == []
    assert worker.links.trouble(asked_s + 180.3) is None, "its turn began with the status"
    kcl.end()


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine fails on every buffer that holds a certain word, whatever else is in it."""
    portions = Parser.portions

    def failing(self: Parser, payloads: Any, arrivals_ms: Any) -> Any:
        if any(b"/poison" in payload for payload in payloads):
            raise RuntimeError("the engine cannot stand this")
        return portions(self, payloads, arrivals_ms)

    monkeypatch.setattr(Parser, "portions", failing)


def test_a_batch_on_which_the_engine_always_fails_is_set_aside_and_its_windows_stay_partial(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch)
    batches = [lines(3), [record(line("bad", **{"cs-uri-stem": "/poison"}), "4", wall_clock_ms())], lines(3, first=5)]
    checkpoint, connections = "TRIM_HORIZON", 0
    while True:  # as the KCL does: from the checkpoint, again and again
        connections += 1
        assert connections < 8, "it loops for ever"
        kcl = Fake_Kcl(worker.handover.path)
        kcl.send("initialize", shardId=SHARD, sequenceNumber=checkpoint, subSequenceNumber=0)
        replies = _converse(
            kcl, [b for b in batches if checkpoint == "TRIM_HORIZON" or int(b[-1]["sequenceNumber"]) > int(checkpoint)]
        )
        kcl.end()
        checkpoint = replies[-1] if replies else checkpoint
        if checkpoint == "7":
            break
    until("the connection to end", lambda: not worker.links.by_shard)
    assert connections >= 4, "three times at the same number, and then past it"
    found = progress(worker)[SHARD]
    assert found.counters["aggregated"] == 6
    assert found.counters["set_aside_records"] == 1
    assert found.since_ms > wall_clock_ms() // WINDOW_MS * WINDOW_MS, (
        "it vouches for no window that the batch may belong to"
    )
    letters = [listed.key for listed in worker.state.list("dead-letters/")] or [
        listed.key for listed in worker.state.list("") if "dead" in listed.key
    ]
    assert len(letters) == 1
    assert b"the engine cannot stand this" in (worker.state.get(letters[0]) or b"")
    assert b"/poison" not in (worker.state.get(letters[0]) or b"")


def _converse(kcl: Fake_Kcl, batches: list[list[dict[str, Any]]]) -> list[str]:
    """Deliver until the engine hangs up or all is delivered and committed. Returns the checkpoints."""
    checkpoints: list[str] = []
    waiting = [{"action": "processRecords", "records": batch, "millisBehindLatest": 0} for batch in batches]
    waiting += [{"action": "processRecords", "records": [], "millisBehindLatest": 0}] * 3
    waiting.append({"action": "shutdownRequested"})
    while (said := kcl.hear(20)) is not None:
        if said["action"] == "checkpoint":
            checkpoints.append(said["sequenceNumber"])
            kcl.send("checkpoint", sequenceNumber=said["sequenceNumber"])
        elif not waiting:
            break
        else:
            message = dict(waiting.pop(0))
            try:
                kcl.send(message.pop("action"), **message)
            except BrokenPipeError:
                break
    return checkpoints


def test_a_hundred_shards_are_committed_and_released_in_a_fraction_of_the_time_that_ecs_gives(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(shards=100)
    connections = {shard.shard_id: Fake_Kcl(worker.handover.path) for shard in worker.stream.shards}
    for shard_id, connection in connections.items():
        connection.initialize(shard_id)
        connection.process(lines(20))
    began_s = time.monotonic()
    for connection in connections.values():
        connection.send("shutdownRequested")
    for connection in connections.values():
        assert connection.confirm("shutdownRequested") == ["20"]
    for connection in connections.values():
        connection.ask("leaseLost")
    assert time.monotonic() - began_s < SHUTDOWN_S / 2
    assert {found.counters["aggregated"] for found in progress(worker).values()} == {20}
    assert len(progress(worker)) == 100
    for connection in connections.values():
        connection.end()
