"""Windows rebuilt from the archive: what comes of them and of what is above them, what stays, and what a second run
does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumer.commands.backfill import (
    ALONE,
    BROKEN,
    KEPT_EMPTY,
    KEPT_FINAL,
    KEPT_LACKS,
    KEPT_REPAIR,
    KEPT_UNREAD,
    NO_SECRET,
    NOT_YET,
    REBUILD,
    REBUILT,
    backfill,
    print_summary,
    windows_between,
)
from consumer.worker.stores import open_state
from sa_stream.commits.keys import destroyed_secret_key
from sa_stream.commits.operations import drive
from sa_stream.errors import Config_Error
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY
from sa_stream.rollups.retirement import clean_up_steps
from sa_stream.timing import DAY_MS, HOUR_MS, Timing, wall_clock_ms
from tests.consumer.commands.archive_place import BEGIN_MS, Archive_Place, key, line
from tests.oracle import compare_all


@pytest.fixture
def place(tmp_path: Path) -> Archive_Place:
    return Archive_Place(tmp_path)


def test_windows_and_everything_above_them_are_rebuilt_and_equal_the_recount(place: Archive_Place) -> None:
    summary = backfill(place.config, place.starts, 2, dry_run=False)
    assert summary.outcomes == {REBUILT: len(place.starts)}
    assert not compare_all(place.entries(), place.expected())
    day = place.entry(DAILY, BEGIN_MS)
    assert day is not None
    assert day["total_requests"] == sum(e["total_requests"] for e in place.entries() if e["period"] == HOURLY)
    assert {entry["provenance"] for entry in place.entries()} == {"s3"}


def test_windows_of_a_month_whose_secret_is_destroyed_are_not_possible_as_the_dry_run_says(
    place: Archive_Place,
) -> None:
    open_state(place.config).create(destroyed_secret_key("2026-02"), b"")
    for dry_run in (True, False):
        summary = backfill(place.config, place.starts, 1, dry_run=dry_run)
        assert (summary.outcomes, summary.files) == ({NO_SECRET: len(place.starts)}, 0)


def test_a_dry_run_says_what_it_would_do_and_read_and_writes_nothing(place: Archive_Place, tmp_path: Path) -> None:
    summary = backfill(place.config, place.starts, None, dry_run=True)
    assert summary.outcomes == {REBUILD: len(place.starts)}
    assert (summary.files, summary.bytes) == (len(place.objects), sum(map(len, place.objects.values())))
    assert not list((tmp_path / "state").rglob("*.*"))
    assert not place.entries()


def test_a_second_run_reads_only_what_is_new(place: Archive_Place) -> None:
    backfill(place.config, place.starts, 1, dry_run=False)
    again = backfill(place.config, place.starts, 1, dry_run=False)
    assert (again.outcomes, again.files, again.entries) == ({KEPT_REPAIR: len(place.starts)}, 0, 0)
    place.put({key(BEGIN_MS + HOUR_MS + 1_200_000): line(BEGIN_MS + HOUR_MS + 1_100_000, "new")})
    third = backfill(place.config, place.starts, 1, dry_run=False)
    assert 1 <= third.outcomes[REBUILT] <= 3
    assert 0 < third.files < len(place.objects)
    assert not compare_all(place.entries(), place.expected())
    entry = place.entry(HALF_HOUR, BEGIN_MS + HOUR_MS)
    assert entry is not None
    assert entry["revision"] == 1


def test_a_file_that_landed_after_another_was_deleted_is_not_passed_over_in_silence(
    place: Archive_Place, caplog: pytest.LogCaptureFixture
) -> None:
    first, new = key(BEGIN_MS + 600_000, "first"), key(BEGIN_MS + 600_000, "new")
    place.put({first: line(BEGIN_MS + 1, "first")})
    backfill(place.config, place.starts, 1, dry_run=False)
    (place.root / first).unlink()
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {KEPT_REPAIR: 1}
    assert not caplog.records
    place.put({new: line(BEGIN_MS + 2, "new")})
    for dry_run in (True, False):
        summary = backfill(place.config, [BEGIN_MS], 1, dry_run=dry_run)
        assert (summary.outcomes, summary.files) == ({KEPT_LACKS: 1}, 0)
        assert f"{new} alone, which came after others were deleted" in caplog.records[-1].message
    place.put({first: line(BEGIN_MS + 1, "first")})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}
    assert not compare_all(place.entries(), place.expected())


def test_what_a_window_loses_to_more_files_is_told(place: Archive_Place, caplog: pytest.LogCaptureFixture) -> None:
    first = key(BEGIN_MS + 600_000, "first")
    place.put({first: line(BEGIN_MS + 1, "first")})
    backfill(place.config, place.starts, 1, dry_run=False)
    (place.root / first).unlink()
    place.put({key(BEGIN_MS + 600_000, f"new{number}"): line(BEGIN_MS + number, f"{number}") for number in (2, 3)})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=True).outcomes == {REBUILD: 1}
    assert f"{first} alone, which were deleted" in caplog.records[-1].message
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}
    caplog.clear()
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {KEPT_REPAIR: 1}
    assert not caplog.records


def test_what_is_made_of_fewer_files_than_before_is_not_said_to_be_rebuilt(place: Archive_Place) -> None:
    gone = [key(BEGIN_MS + 600_000, f"gone{number}") for number in range(2)]
    place.put({each: line(BEGIN_MS + number, f"gone{number}") for number, each in enumerate(gone)})
    backfill(place.config, place.starts, 1, dry_run=False)
    for each in gone:
        (place.root / each).unlink()
    late_ms = BEGIN_MS + 2 * HOUR_MS
    place.put({key(late_ms): line(BEGIN_MS + 5, "late") + line(late_ms, "in time")})
    summary = backfill(place.config, place.starts, 1, dry_run=False)
    assert summary.windows[0].outcome == KEPT_LACKS
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {KEPT_LACKS: 1}


def test_killed_at_any_time_and_run_again_it_is_complete(place: Archive_Place, tmp_path: Path) -> None:
    repairs = tmp_path / "state" / "repairs"
    for kept in (0, 1, 3):  # killed when so many windows were kept
        process = _backfill_of(tmp_path, place)
        while process.poll() is None and len(list(repairs.rglob("*-whole"))) < kept:
            time.sleep(0.002)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    backfill(place.config, place.starts, 1, dry_run=False)
    assert not compare_all(place.entries(), place.expected())
    assert {entry["status"] for entry in place.entries()} == {"final"}


def _backfill_of(folder: Path, place: Archive_Place) -> "subprocess.Popen[bytes]":
    """In two processes of a group of their own."""
    code = (
        "import sys; from pathlib import Path; from consumer.commands.backfill import backfill; "
        "from tests.consumer.commands.archive_place import Archive_Place; "
        "place = Archive_Place(Path(sys.argv[1])); backfill(place.config, place.starts, 2, dry_run=False)"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], start_new_session=True)


def test_what_the_stream_made_final_stays_and_is_said_to(place: Archive_Place) -> None:
    backfill(place.config, place.starts, 1, dry_run=False)
    first = place.entry(HALF_HOUR, BEGIN_MS)
    assert first is not None
    place.store(first | {"provenance": "stream", "total_requests": 7})
    place.put({key(BEGIN_MS + 600_000): line(BEGIN_MS + 1, "new")})
    summary = backfill(place.config, place.starts[:1], 1, dry_run=False)
    assert [(each.window, each.outcome) for each in summary.windows] == [("2026-02-16T00:00:00Z", KEPT_FINAL)]


def test_a_window_that_counts_as_empty_in_something_final_stays_so(place: Archive_Place) -> None:
    backfill(place.config, place.starts, 1, dry_run=False)
    hour = place.entry(HOURLY, BEGIN_MS)
    assert hour is not None
    later_ms = BEGIN_MS + 10 * HOUR_MS
    final = hour | {"cache_key": "hourly/2026-02-16-10", "time_key": "2026-02-16-10", "provenance": "stream"}
    place.store(final | {"summary": None, "sources": [], "source_count": 0})
    assert backfill(place.config, [later_ms], 1, dry_run=True).outcomes == {KEPT_EMPTY: 1}


def test_records_that_came_in_a_file_where_nobody_looks_count(place: Archive_Place) -> None:
    late = line(BEGIN_MS + 5, "late") + line(BEGIN_MS + 2 * HOUR_MS, "in time")
    place.put({key(BEGIN_MS + 2 * HOUR_MS): late})
    backfill(place.config, place.starts, 1, dry_run=False)
    assert not compare_all(place.entries(), place.expected())


def test_a_new_file_is_counted_also_where_a_repair_has_one_in_which_nobody_looks(place: Archive_Place) -> None:
    late_ms = BEGIN_MS + 2 * HOUR_MS
    place.put({key(late_ms): line(BEGIN_MS + 5, "late") + line(late_ms, "in time")})
    backfill(place.config, place.starts, 1, dry_run=False)
    again = backfill(place.config, place.starts, 1, dry_run=False)
    assert (again.outcomes, again.files, again.entries) == ({KEPT_REPAIR: len(place.starts)}, 0, 0)
    place.put({key(BEGIN_MS + 600_000): line(BEGIN_MS + 1, "new")})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=True).outcomes == {REBUILD: 1}
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}
    assert not compare_all(place.entries(), place.expected())


def test_a_window_that_was_kept_is_computed_again_with_a_file_that_turns_up_where_nobody_looks(
    place: Archive_Place,
) -> None:
    late_ms = BEGIN_MS + 2 * HOUR_MS
    place.put({key(late_ms): line(BEGIN_MS + 5, "late") + line(late_ms, "in time")})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}
    summary = backfill(place.config, place.starts, 1, dry_run=False)
    assert summary.outcomes == {REBUILT: len(place.starts)}
    assert not compare_all(place.entries(), place.expected())


def test_a_window_is_computed_without_a_file_that_turned_up_where_nobody_looks_and_is_gone(
    place: Archive_Place,
) -> None:
    late_ms = BEGIN_MS + 2 * HOUR_MS
    late = key(late_ms)
    place.put({late: line(BEGIN_MS + 5, "late") + line(late_ms, "in time")})
    backfill(place.config, place.starts, 1, dry_run=False)
    (place.root / late).unlink()
    place.put({key(BEGIN_MS + 600_000, f"more{number}"): line(BEGIN_MS + number, f"{number}") for number in range(3)})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}
    entry = place.entry(HALF_HOUR, BEGIN_MS)
    assert entry is not None
    assert entry["status"] == "final"


def test_a_file_that_cannot_be_read_makes_a_window_partial_until_it_can(
    place: Archive_Place, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = key(BEGIN_MS + 600_000)
    place.put({broken: b"\x1f\x8b torn"})
    summary = backfill(place.config, place.starts, 1, dry_run=False)
    assert summary.outcomes[BROKEN] >= 1
    assert not print_summary(summary, as_json=True, dry_run=False)
    told = json.loads(capsys.readouterr().out)
    assert broken.rpartition("/")[2] in json.dumps(told["windows"][0]["unreadable"])
    entry = place.entry(HALF_HOUR, BEGIN_MS)
    assert entry is not None
    assert entry["status"] == "partial"
    place.put({broken: line(BEGIN_MS + 1, "mended")})
    assert backfill(place.config, place.starts, 1, dry_run=False).outcomes[REBUILT] >= 1
    assert not compare_all(place.entries(), place.expected())


def test_a_file_that_came_since_and_cannot_be_read_is_named(
    place: Archive_Place, capsys: pytest.CaptureFixture[str]
) -> None:
    backfill(place.config, place.starts, 1, dry_run=False)
    new = key(BEGIN_MS + 600_000, os.fsdecode(b"b\xff"))
    place.put({new: line(BEGIN_MS + 1, "new")})
    for _ in range(2):
        summary = backfill(place.config, [BEGIN_MS], 1, dry_run=False)
        assert summary.outcomes == {KEPT_UNREAD: 1}
        assert not print_summary(summary, as_json=False, dry_run=False)
        assert "its name is no UTF-8" in capsys.readouterr().out
    (place.root / new).rename(place.root / key(BEGIN_MS + 600_000, "b"))
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {REBUILT: 1}


def test_a_window_of_a_closed_day_is_said_to_be_alone_and_the_whole_day_is_mended(place: Archive_Place) -> None:
    backfill(place.config, place.day, 1, dry_run=False)
    now_ms = wall_clock_ms()
    closed = Stream_View([], {}, Timing(), now_ms, archive_from_ms=now_ms - DAY_MS)
    drive(clean_up_steps(open_state(place.config), place.cache, closed, {}))
    place.put({key(BEGIN_MS + 600_000): line(BEGIN_MS + 1, "new")})
    assert backfill(place.config, [BEGIN_MS], 1, dry_run=False).outcomes == {ALONE: 1}
    day = place.entry(DAILY, BEGIN_MS)
    assert day is not None
    backfill(place.config, place.day, 1, dry_run=False)
    assert not compare_all(place.entries(), place.expected())
    again = place.entry(DAILY, BEGIN_MS)
    assert again is not None
    assert (again["total_requests"], again["revision"]) == (day["total_requests"] + 1, 1)


def test_a_window_whose_files_may_still_land_is_left(place: Archive_Place) -> None:
    now_ms = wall_clock_ms()
    assert backfill(place.config, windows_between(now_ms, now_ms + 1), 1, dry_run=True).outcomes == {NOT_YET: 1}


def test_the_summary_is_a_line_a_window(place: Archive_Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_summary(backfill(place.config, place.starts, 1, dry_run=True), as_json=False, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2026-02-16T00:00:00Z  to be rebuilt  (")
    assert lines[-2:] == [f"8 windows: 8 {REBUILD}", lines[-1]]
    assert lines[-1].startswith(f"It would read {len(place.objects)} files, ")


def test_without_an_archive_the_setting_is_named(place: Archive_Place) -> None:
    place.config.logs_bucket = ""
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_LOGS_BUCKET is not set"):
        backfill(place.config, place.starts, 1, dry_run=True)
