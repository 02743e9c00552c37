"""What is stored, held against the archive."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from consumer.commands.backfill import backfill
from consumer.commands.verify import print_report, verify
from sa_stream.bounded.verification import DUPLICATES, LANDED_AFTER, NOT_FINAL
from sa_stream.rollups.periods import HALF_HOUR, HOURLY
from sa_stream.timing import HOUR_MS
from tests.consumer.commands.archive_place import BEGIN_MS, Archive_Place, key, line

opened: Counter[str] = Counter()
watched: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watched and event == "open" and str(arguments[0]).startswith(watched[0]):
        opened[str(arguments[0])] += 1


@pytest.fixture
def place(tmp_path: Path) -> Archive_Place:
    place = Archive_Place(tmp_path, hours=2)
    backfill(place.config, place.starts, 1, dry_run=False)
    return place


def test_a_day_as_the_files_say_has_no_difference_and_each_file_is_read_once(place: Archive_Place) -> None:
    backfill(place.config, place.day, 1, dry_run=False)
    sys.addaudithook(_watch)
    opened.clear()
    watched.append(str(place.root))
    report = verify(place.config, place.day, 1)
    watched.clear()
    assert (report.entries, report.differing) == (48 + 24 + 1, [])
    assert report.files == len(place.objects)
    assert len(opened) == len(place.objects)
    assert set(opened.values()) == {1}


def test_two_processes_find_the_same(place: Archive_Place) -> None:
    changed = place.entry(HALF_HOUR, BEGIN_MS)
    assert changed is not None
    place.store(changed | {"total_bytes": 7})
    alone, together = (verify(place.config, place.starts, jobs) for jobs in (1, 2))
    assert alone.differing == together.differing


def test_a_difference_without_a_known_reason_is_named_field_by_field(
    place: Archive_Place, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = place.entry(HALF_HOUR, BEGIN_MS)
    assert changed is not None
    place.store(changed | {"total_bytes": 7, "status_breakdown": {**changed["status_breakdown"], "2xx": 1}})
    report = verify(place.config, place.starts, 1)
    assert not print_report(report, as_json=False)
    said = capsys.readouterr().out
    assert f"total_bytes: stored 7, recounted {changed['total_bytes']}: NO KNOWN REASON" in said
    assert "status_breakdown.2xx: stored 1, recounted" in said
    assert not print_report(report, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["explained"] is False
    assert [each["key"] for each in told["differing"]] == [changed["cache_key"]]


def test_files_that_landed_after_explain_what_they_have(place: Archive_Place) -> None:
    place.put({key(BEGIN_MS + 600_000): line(BEGIN_MS + 1, "new")})
    report = verify(place.config, place.starts, 1)
    assert {each.key.partition("/")[0] for each in report.differing} == {HALF_HOUR, HOURLY}
    assert {each.reasons for found in report.differing for each in found.differences} == {(LANDED_AFTER,)}
    assert report.explained


def test_duplicates_that_a_shard_has_not_found_explain_what_they_are(place: Archive_Place) -> None:
    entry = place.entry(HALF_HOUR, BEGIN_MS)
    assert entry is not None
    assert entry["duplicate_records"]
    total = entry["total_requests"] + entry["duplicate_records"]
    place.store(entry | {"provenance": "stream", "total_requests": total, "duplicate_records": 0})
    report = verify(place.config, place.starts[:1], 1)
    assert {each.reasons for each in report.differing[0].differences} == {(DUPLICATES,)}


def test_an_entry_that_is_not_final_says_so(place: Archive_Place) -> None:
    entry = place.entry(HOURLY, BEGIN_MS)
    assert entry is not None
    place.store(entry | {"status": "partial", "total_requests": 1})
    report = verify(place.config, place.starts, 1)
    assert [(each.key, each.status) for each in report.differing] == [(entry["cache_key"], "partial")]
    assert report.differing[0].differences[0].reasons == (NOT_FINAL,)


def test_a_damaged_entry_is_none(place: Archive_Place) -> None:
    entry = place.entry(HOURLY, BEGIN_MS)
    assert entry is not None
    for damaged in ({"cache_key": entry["cache_key"]}, entry | {"errors": 5}, entry | {"total_requests": None}):
        place.store(damaged)
        report = verify(place.config, place.starts, 1)
        assert [(each.key, each.status) for each in report.differing] == [(entry["cache_key"], None)]


def test_a_file_that_cannot_be_read_leaves_it_open(place: Archive_Place) -> None:
    place.put({key(BEGIN_MS + HOUR_MS): b"\x1f\x8b torn"})
    report = verify(place.config, place.starts, 1)
    assert not report.explained
    assert any(each.unreadable for each in report.differing)
