"""Windows from their files: equal to the oracle's, whatever the layout, in whichever files their records came."""

import gc
import gzip
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import boto3
import pytest
from msgspec.structs import replace

from sa_stream.archive.layout import AUTO, LAYOUTS, Places
from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.files import Counting, Window_Read, window_of_files
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.errors import Store_Unavailable
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.sources.archive import Archive, find_places, open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS, Timing
from sa_stream.windows.window import Window
from tests.archive.test_layout import key_of, ms
from tests.firehose import delivered, plain
from tests.log_lines import NOW_MS, line_of, ordinary_lines
from tests.oracle import compare_all, recount

SETTLE_MS = 900_000
BEGIN_MS = ms(2026, 2, 28, 21)  # a month ends in the middle
HOURS = 6
STARTS = range(BEGIN_MS, BEGIN_MS + HOURS * HOUR_MS, WINDOW_MS)
COUNTING = Counting(
    Intake(resolve_field_lists("canonical", "")), Timing(), {"2026-02": 17, "2026-03": 4}, NOW_MS, SETTLE_MS
)


def traffic(seed: int = 1, count: int = 6_000) -> bytes:
    return ordinary_lines(seed, count, BEGIN_MS / 1000, HOURS, duplicate_rate=0.03, dirt_rate=0.01)


def filled(objects: dict[str, bytes]) -> Memory_Archive:
    store = Memory_Archive()
    for key, content in objects.items():
        store.put(key, content)
    return store


def differences(reads: Sequence[Window_Read], objects: dict[str, bytes]) -> list[str]:
    """Where windows and the oracle, which reads all objects, disagree."""
    windows = {read.window.start_ms: read.window for read in reads if read.window.total_requests}
    contents = [plain(content) for content in objects.values()]
    return compare_all(bounded_entries(windows, NOW_MS), recount(contents, now_ms=NOW_MS).entries)


def archive_of(objects: dict[str, bytes], layout: str = "hours") -> Archive:
    return Archive(filled(objects), Places("p/", LAYOUTS[layout], ZoneInfo("UTC")), SETTLE_MS)


def line(at_ms: int, request_id: str) -> bytes:
    return line_of({"timestamp": f"{at_ms / 1000:.3f}", "x-edge-request-id": request_id, "sc-status": "200"}) + b"\n"


def key(at_ms: int) -> str:
    return key_of(Places("p/", LAYOUTS["hours"], ZoneInfo("UTC")), at_ms)


def walked(archive: Archive, starts: range = STARTS) -> list[Window_Read]:
    files = archive.files_between(starts[0], starts[-1] + WINDOW_MS).files
    walk = Windows_Of_Files(Archive_Reader(archive.store).logs, files, starts, COUNTING)
    reads = list(walk)
    assert not walk.late
    return reads


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("zone", "named"), [("UTC", True), ("UTC", False), ("Asia/Kolkata", True)])
def test_a_range_and_each_of_its_windows_alone_equal_the_oracle(layout: str, zone: str, named: bool) -> None:
    places = Places("p/", LAYOUTS[layout], ZoneInfo(zone))
    objects = delivered(traffic(), places, named=named, twice=0.05)
    archive = Archive(filled(objects), places, SETTLE_MS)
    reads = walked(archive)
    assert [read.window.start_ms for read in reads] == list(STARTS)
    assert differences(reads, objects) == []
    assert sum(read.window.duplicate_records for read in reads) > 300
    for read in reads:
        files = archive.files_of_window(read.window.start_ms).files
        alone = window_of_files(Archive_Reader(archive.store).logs(files), read.window.start_ms, COUNTING)
        assert alone.window.to_bytes() == read.window.to_bytes()
        assert [found.stored for found in alone.files] == list(files)
        assert {f.stored.key: (f.records, f.invalid) for f in alone.files if f.records} == {
            f.stored.key: (f.records, f.invalid) for f in read.files if f.records
        }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bucket_gives_what_the_oracle_says_in_every_layout_and_form(layout: str, aws: str) -> None:
    client = boto3.client("s3")
    objects = delivered(
        traffic(2, 1_500), Places("p/", LAYOUTS[layout], ZoneInfo("UTC")), buffering_ms=800_000, twice=0.1
    )
    for name, content in objects.items():
        client.put_object(Bucket="state-bucket", Key=f"{layout}/{name}", Body=content)
    store = open_store("state-bucket")
    archive = Archive(store, find_places(store, f"{layout}/p", AUTO, ZoneInfo("UTC")), SETTLE_MS)
    assert archive.places.layout.name == layout
    assert differences(walked(archive), objects) == []


def test_a_record_whose_file_lies_in_the_next_hour_s_folder_counts() -> None:
    end_ms = BEGIN_MS + HOUR_MS
    archive = archive_of({key(end_ms + 30_000): line(end_ms - 1, "a") + line(end_ms, "b")})
    for start_ms in (end_ms - WINDOW_MS, end_ms):
        files = archive.files_of_window(start_ms).files
        read = window_of_files(Archive_Reader(archive.store).logs(files), start_ms, COUNTING)
        assert read.window.total_requests == 1
        assert read.records == 2


def test_a_duplicate_is_found_across_files_and_not_across_windows() -> None:
    end_ms = BEGIN_MS + WINDOW_MS
    archive = archive_of(
        {
            key(BEGIN_MS): line(BEGIN_MS + 1, "a") + line(BEGIN_MS + 2, "a"),
            key(BEGIN_MS + 600_000): line(BEGIN_MS + 1, "a") + line(end_ms, "a"),
        }
    )
    first, second = walked(archive, range(BEGIN_MS, BEGIN_MS + HOUR_MS, WINDOW_MS))
    assert (first.window.total_requests, first.window.duplicate_records) == (1, 2)
    assert (second.window.total_requests, second.window.duplicate_records) == (1, 0)


def test_a_file_that_fails_is_named_by_every_window_that_may_lack_its_records_and_by_no_other() -> None:
    archive = archive_of({key(BEGIN_MS + n * 600_000): line(BEGIN_MS + n * 600_000, f"{n}") for n in range(18)})
    failing = key(BEGIN_MS + 3_000_000)
    archive.store.fault = lambda call, name: Store_Unavailable("too busy") if name == failing else None  # type: ignore[attr-defined]
    reads = walked(archive)
    named = {
        read.window.start_ms: [(failed.stored.key, failed.error, failed.again) for failed in read.failed]
        for read in reads
    }
    assert named.pop(BEGIN_MS + WINDOW_MS) == [(failing, "too busy", True)]
    assert named.pop(BEGIN_MS + 2 * WINDOW_MS) == [(failing, "too busy", True)]
    assert not any(named.values())
    assert sum(read.window.total_requests for read in reads) == 17
    alone = archive.files_of_window(BEGIN_MS + WINDOW_MS).files
    read = window_of_files(Archive_Reader(archive.store).logs(alone), BEGIN_MS + WINDOW_MS, COUNTING)
    assert [failed.stored.key for failed in read.failed] == [failing]


def test_whole_lines_before_a_break_count_and_the_file_is_named() -> None:
    lines = b"".join(line(BEGIN_MS + n, f"{n}") for n in range(5_000))
    archive = archive_of({key(BEGIN_MS + 60_000): gzip.compress(lines)[:-2_000]})
    read = walked(archive, range(BEGIN_MS, BEGIN_MS + 1, WINDOW_MS))[0]
    assert 1_000 < read.window.total_requests < 5_000
    assert "breaks off" in str(read.failed[0].error)


def test_a_record_that_comes_where_nobody_looks_for_it_is_told() -> None:
    late_ms = BEGIN_MS + WINDOW_MS + SETTLE_MS
    archive = archive_of(
        {key(BEGIN_MS): line(BEGIN_MS, "a"), key(late_ms): line(BEGIN_MS + 1, "b") + line(late_ms, "c")}
    )
    files = archive.files_between(STARTS[0], STARTS[-1] + WINDOW_MS).files
    walk = Windows_Of_Files(Archive_Reader(archive.store).logs, files, STARTS, COUNTING)
    reads = list(walk)
    assert sum(read.window.total_requests for read in reads) == 2
    assert walk.late == {BEGIN_MS: 1}
    holding = [found.stored for read in reads for found in read.files if BEGIN_MS in found.starts]
    again = window_of_files(
        Archive_Reader(archive.store).logs(sorted(set(holding), key=lambda f: f.key)), BEGIN_MS, COUNTING
    )
    assert again.window.total_requests == 2


def test_standard_logs_lie_beside_real_time_ones() -> None:
    header = b"#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip sc-status x-edge-request-id\n"
    row = b"2026-02-28\t21:00:0%d\tFRA1\t10\t192.0.2.1\t200\t%d\n"
    archive = archive_of(
        {key(BEGIN_MS): header + row % (1, 1) + row % (2, 2), key(BEGIN_MS + 1000): line(BEGIN_MS, "3")}
    )
    read = walked(archive, range(BEGIN_MS, BEGIN_MS + 1, WINDOW_MS))[0]
    assert read.window.total_requests == 3
    assert "192.0.2.1" not in repr(read.window.to_bytes())


def test_a_list_that_is_auto_is_found_by_the_first_lines() -> None:
    objects = delivered(traffic(), Places("p/", LAYOUTS["hours"], ZoneInfo("UTC")))
    archive = archive_of(objects)
    files = archive.files_between(STARTS[0], STARTS[-1] + WINDOW_MS).files
    counting = replace(COUNTING, intake=Intake(resolve_field_lists("auto", "")))
    reads = list(Windows_Of_Files(Archive_Reader(archive.store).logs, files, STARTS, counting))
    assert differences(reads, objects) == []


def test_only_windows_that_are_open_are_in_memory() -> None:
    days = range(BEGIN_MS, BEGIN_MS + 2 * DAY_MS, WINDOW_MS)
    content = ordinary_lines(4, 4_000, BEGIN_MS / 1000, 48)
    archive = archive_of(delivered(content, Places("p/", LAYOUTS["hours"], ZoneInfo("UTC"))))
    files = archive.files_between(days[0], days[-1] + WINDOW_MS).files
    alive, records = [], 0
    for read in Windows_Of_Files(Archive_Reader(archive.store).logs, files, days, COUNTING):
        records += read.window.total_requests
        if read.window.start_ms % (6 * HOUR_MS) == 0:
            alive.append(sum(type(thing) is Window for thing in gc.get_objects()))  # isinstance asks dead proxies
    assert len(alive) == 8
    assert records > 3_800
    assert max(alive) <= min(alive) + 4


def test_windows_are_hashed_with_the_secrets_of_their_months() -> None:
    archive = archive_of(delivered(traffic(), Places("p/", LAYOUTS["hours"], ZoneInfo("UTC"))))
    files = archive.files_between(STARTS[0], STARTS[-1] + WINDOW_MS).files
    other = replace(COUNTING, seeds={"2026-02": 17, "2026-03": 5})
    both = [
        list(Windows_Of_Files(Archive_Reader(archive.store).logs, files, STARTS, counting))
        for counting in (COUNTING, other)
    ]
    same = [a.window.to_bytes() == b.window.to_bytes() for a, b in zip(*both, strict=True)]
    assert same == [start_ms < ms(2026, 3, 1) for start_ms in STARTS]
