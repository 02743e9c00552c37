"""What the local runner does with shards that its stream no longer has or does not list, and with a backlog of days."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.local import runner as local_runner
from consumer.worker import publisher
from sa_stream.commits.keys import checkpoint_key
from sa_stream.embedded.memory_kinesis import THROTTLED, Memory_Kinesis
from sa_stream.health import readiness as health_module
from sa_stream.health.readiness import notes, readiness
from sa_stream.partitions import END, Shard_Info
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.periods import HALF_HOUR, HOURLY, cache_key, end_of, parents, parse_cache_key, start_of
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, WINDOW_MS, moment, wall_clock_ms
from tests.consumer.local.conftest import Clock
from tests.consumer.local_run import STREAM, Local_Run
from tests.real.stream_server import Slow_Kinesis
from tests.windows.partition_feed import record

SHARD = "shardId-000000000000"
LEFT, RIGHT = "shardId-000000000001", "shardId-000000000002"


@pytest.fixture
def run(tmp_path: Path, kinesis: Memory_Kinesis) -> Iterator[Local_Run]:
    made = Local_Run(tmp_path)
    yield made
    made.stop()


def put(kinesis: Memory_Kinesis, shard_id: str, *numbers: int) -> None:
    for number in numbers:
        kinesis.put_to_shard(STREAM, shard_id, record(number, kinesis.now_ms()).payload)


def read_in_part(kinesis: Memory_Kinesis, run: Local_Run) -> None:
    """One shard; three records of it are committed and two are not read."""
    kinesis.create_stream(STREAM)
    put(kinesis, SHARD, 1, 2, 3)
    run.start()
    run.until("the records to be counted", lambda: run.counted() == 3)
    run.stop()
    put(kinesis, SHARD, 4, 5)


def trim(kinesis: Memory_Kinesis) -> None:
    """Split the shard, longer ago than the retention."""
    with kinesis._lock:
        kinesis.split(STREAM, SHARD)
        kinesis.stream(STREAM).shards[0].closed_ms = wall_clock_ms() - 25 * HOUR_MS


def test_a_shard_that_was_trimmed_before_it_was_read_is_ended_and_its_children_are_read(
    kinesis: Memory_Kinesis, run: Local_Run, caplog: pytest.LogCaptureFixture
) -> None:
    read_in_part(kinesis, run)
    lineage = run.progress[SHARD].lineage
    trim(kinesis)
    put(kinesis, LEFT, 3, 6)
    run.start()
    run.until("the children to be read", lambda: run.counted() == 4)
    run.until("both children to be opened", lambda: {LEFT, RIGHT} <= run.progress.keys())
    ended = run.progress[SHARD]
    assert (run.checkpoint(SHARD), ended.number) == (END, END)
    assert ended.lineage != lineage
    assert ended.since_ms > BEGINNING_MS, "it vouches for nothing that it did not read"
    assert run.progress[LEFT].counters["duplicates"] == 1, "it went on from its parent's end"
    assert any(SHARD in note for note in notes(run.health.view(), moment()))
    assert [entry.levelname for entry in caplog.records if getattr(entry, "event", "") == "shard_gone"] == ["ERROR"]


def test_a_shard_of_which_no_record_came_is_ended_when_it_and_its_children_were_trimmed(
    kinesis: Memory_Kinesis, run: Local_Run
) -> None:
    """It has progress, and no checkpoint: in nobody's hands, it would prove every list old from then on."""
    other = LEFT
    kinesis.create_stream(STREAM, 2)
    put(kinesis, other, 1)
    run.start()
    run.until("both shards to be read", lambda: {SHARD, other} <= run.progress.keys() and run.counted() == 1)
    run.stop()
    assert (run.checkpoint(SHARD), run.progress[SHARD].ended) == (None, False)
    with kinesis._lock:
        children = kinesis.split(STREAM, SHARD)
        kinesis.merge(STREAM, *(child.shard_id for child in children))
        for shard in kinesis.stream(STREAM).shards:
            if shard.closed_ms is not None:
                shard.closed_ms = wall_clock_ms() - 25 * HOUR_MS
    run.start()
    run.until("the shard to be ended", lambda: run.checkpoint(SHARD) == END)
    shards = run.application.list_shards()
    assert {shard.shard_id for shard in shards}.isdisjoint({SHARD, *(child.shard_id for child in children)})
    run.until("the rest to be read", lambda: len(run.progress) == 3)
    view = Stream_View(shards, run.progress, run.application.timing, wall_clock_ms())
    assert view.passed_ms > BEGINNING_MS, "nobody waits for it, and no list is taken for old"


def test_a_shard_that_is_trimmed_while_it_is_read_ends_and_the_run_goes_on(
    kinesis: Memory_Kinesis, run: Local_Run
) -> None:
    kinesis.create_stream(STREAM)
    put(kinesis, SHARD, 1, 2, 3)
    run.start()
    run.until("the records to be counted", lambda: run.counted() == 3)
    trim(kinesis)
    put(kinesis, RIGHT, 4)
    run.until("the children to be read", lambda: run.counted() == 4)
    assert run.checkpoint(SHARD) == END


class Old_Lists(Kinesis_Reader):
    """Its lists lack the oldest shard for a while."""

    lists = 0

    def list_shards(self) -> list[Shard_Info]:
        self.lists += 1
        listed = super().list_shards()
        return listed[1:] if self.lists <= 4 else listed


def test_a_child_waits_for_a_parent_that_one_list_lacks(kinesis: Memory_Kinesis, run: Local_Run) -> None:
    read_in_part(kinesis, run)
    kinesis.split(STREAM, SHARD)
    put(kinesis, LEFT, 4, 6)
    run._reader = lambda: Old_Lists(STREAM, read_interval_ms=20, idle_interval_ms=100)
    run.start()
    run.until("everything to be counted", lambda: run.counted() == 6)
    run.until("the duplicate to be seen", lambda: run.progress[LEFT].counters.get("duplicates") == 1)
    ended = run.progress[SHARD]
    assert (run.checkpoint(SHARD), ended.since_ms) == (END, BEGINNING_MS), "it was read to its end"


def test_notes_and_copies_of_others_in_the_state_change_nothing(
    kinesis: Memory_Kinesis, run: Local_Run, caplog: pytest.LogCaptureFixture
) -> None:
    read_in_part(kinesis, run)
    state = Path(run.state.location)
    folders = [folder for folder in state.rglob("*") if folder.is_dir()]
    folders += [state / name for name in ("repairs", "repair-late", "repair-files", "editions", "meta/streams")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("README", "backup/notes.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("of somebody else")
    run.start()
    run.until("the rest to be counted", lambda: run.counted() == 5)
    run.stop()  # its last pass holds back no version for being too soon after the one before
    run.until(
        "it to be published",
        lambda: sum(entry["total_requests"] for key, entry in run.entries.items() if key.startswith(HALF_HOUR)) == 5,
    )
    assert set(run.progress) == {SHARD}
    events = [entry.__dict__ for entry in caplog.records if getattr(entry, "event", "") == "foreign_object"]
    told = [event["fields"]["key"] for event in events]
    assert "progress/README" in told and len(told) == len({key.partition("/")[0] for key in told})  # noqa: PT018
    assert all((folder / name).exists() for folder in folders for name in ("README", "backup/notes.txt"))


@pytest.mark.parametrize("torn", [b"", b"\x00\x00\x00", b"EN"])
def test_a_torn_checkpoint_is_told_and_costs_no_record(
    kinesis: Memory_Kinesis, run: Local_Run, caplog: pytest.LogCaptureFixture, torn: bytes
) -> None:
    read_in_part(kinesis, run)
    run.state.put(checkpoint_key(SHARD), torn)
    run.start()
    run.until("the rest to be counted", lambda: run.counted() == 5)
    assert [entry.levelname for entry in caplog.records if getattr(entry, "event", "") == "checkpoint_torn"] == [
        "ERROR"
    ]
    run.until("the checkpoint to be put again", lambda: (run.checkpoint(SHARD) or "").isdecimal())
    assert run.progress[SHARD].counters.get("duplicates", 0) == 0


def test_a_shard_that_kinesis_throttles_says_so_itself_while_the_others_are_read(
    kinesis: Memory_Kinesis, run: Local_Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(health_module, "STORE_GRACE_MS", 300)
    monkeypatch.setattr(local_runner, "STORE_GRACE_MS", 300)
    kinesis.create_stream(STREAM, 2)
    put(kinesis, SHARD, 1)
    put(kinesis, LEFT, 2)
    run.start()
    run.until("both shards to be read", lambda: run.counted() == 2)
    kinesis.fault = lambda operation, stream, shard: THROTTLED if operation == "GetRecords" and shard == SHARD else None

    def reasons() -> list[str]:
        return [reason for reason in readiness(run.health.view(), moment()) if "cannot be read" in reason]

    def events(name: str) -> list[str]:
        return [entry.fields["partition"] for entry in caplog.records if getattr(entry, "event", "") == name]  # type: ignore[attr-defined]

    def lag_ms(shard_id: str) -> int:
        return run.health.view().shards[shard_id].lag_ms_at(moment()) or 0

    run.until("the throttled shard to say so", reasons)
    (reason,) = reasons()
    assert reason.startswith(f"shard {SHARD} cannot be read for ")
    assert THROTTLED in reason
    put(kinesis, LEFT, 3)
    run.until("the other shard to be read", lambda: run.counted() == 3)
    run.until("the event", lambda: events("shard_unreadable") == [SHARD])
    before_ms = lag_ms(SHARD)
    run.until("its lag to grow", lambda: lag_ms(SHARD) >= before_ms + 300)
    assert lag_ms(LEFT) == 0
    put(kinesis, SHARD, 4)
    kinesis.fault = None
    run.until("the shard to be read again", lambda: run.counted() == 4)
    assert reasons() == []
    assert events("shard_readable") == events("shard_unreadable") == [SHARD]


@pytest.mark.slow
def test_a_backlog_of_six_and_a_half_days_is_counted_whole_and_all_its_hours_become_final(
    kinesis: Slow_Kinesis, clock: Clock, run: Local_Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "CLEAN_UP_S", 0.2)  # so that it cleans up while the backlog is read
    kinesis.page = 30
    now_ms = wall_clock_ms()
    clock.ms = now_ms - int(6.5 * DAY_MS)
    kinesis.create_stream(STREAM, 2, 7 * DAY_MS)
    expected: dict[int, int] = {}
    number = 0
    while clock.ms < now_ms - 2 * HOUR_MS:
        number += 1
        kinesis.put(STREAM, record(number, clock.ms).payload, f"key-{number}")
        start_ms = clock.ms // WINDOW_MS * WINDOW_MS
        expected[start_ms] = expected.get(start_ms, 0) + 1
        clock.ms += WINDOW_MS // 15
    clock.ms = None

    run.start()
    run.until("all records to be counted", lambda: run.counted() == number, 40)
    keys = {cache_key(HALF_HOUR, start_ms): start_ms for start_ms in expected}
    hours = {cache_key(HOURLY, start_of(HOURLY, start_ms)) for start_ms in expected}

    def not_final() -> list[str]:
        entries = run.entries
        return [key for key in keys.keys() | hours if entries.get(key, {}).get("status") != "final"]

    run.until("every half hour and hour to be final", lambda: not not_final(), 30)
    entries = run.entries
    assert {start_ms: entries[key]["total_requests"] for key, start_ms in keys.items()} == expected


def test_a_retention_that_is_shortened_while_a_backlog_is_read_takes_nothing_in_silence(
    run: Local_Run, kinesis: Memory_Kinesis, clock: Clock
) -> None:
    """72 h become 24 h in the middle of it: what is gone is no final zero, and no day is final without it."""
    assert isinstance(kinesis, Slow_Kinesis)
    now_ms = wall_clock_ms()
    clock.ms = now_ms - 60 * HOUR_MS
    kinesis.create_stream(STREAM, 1, 3 * DAY_MS)
    expected: dict[int, int] = {}
    number = 0
    while clock.ms < now_ms - HOUR_MS:
        number += 1
        kinesis.put(STREAM, record(number, clock.ms).payload, "key")
        start_ms = clock.ms // WINDOW_MS * WINDOW_MS
        expected[start_ms] = expected.get(start_ms, 0) + 1
        clock.ms += WINDOW_MS // 3
    clock.ms = None
    kinesis.page = 2
    run.start()
    run.until("a part of it", lambda: run.runner.engine.records >= 60)
    kinesis.set_retention(STREAM, DAY_MS)
    last = cache_key(HALF_HOUR, max(expected))
    run.until("the end of it", lambda: run.entries.get(last, {}).get("status") == "final", within_s=40)
    run.stop()
    assert run.counted() < number - 50  # much of it was taken
    lacking = [start_ms for start_ms, put in expected.items() if _counted(run, HALF_HOUR, start_ms) < put]
    assert len(lacking) > 20
    for key, entry in run.entries.items():
        if entry["status"] == "final":
            period, start_ms = parse_cache_key(key)
            end_ms = end_of(period, start_ms)
            assert entry["total_requests"] == sum(n for at_ms, n in expected.items() if start_ms <= at_ms < end_ms), key
    assert not [start_ms for start_ms in lacking if _is_final_above(run, start_ms)]


def _counted(run: Local_Run, period: str, start_ms: int) -> int:
    return int(run.entries.get(cache_key(period, start_ms), {}).get("total_requests", 0))


def _is_final_above(run: Local_Run, window_ms: int) -> bool:
    return any(
        run.entries.get(cache_key(period, start_ms), {}).get("status") == "final"
        for period, start_ms in parents(HALF_HOUR, window_ms)
    )
