"""The archive: all files of a window, and hardly any others, are looked at."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sa_stream.archive.layout import AUTO, LAYOUTS, Places
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.sources.archive import Archive, find_places, open_store
from sa_stream.sources.archive_store import Archive_Store
from sa_stream.sources.folder_archive import Folder_Archive
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS
from tests.archive.test_layout import SETTLE_MS, key_of, ms

UTC_ZONE = ZoneInfo("UTC")
START_MS, END_MS = ms(2026, 2, 1), ms(2026, 3, 1)
OBJECTS = 100_000


def archive_of(places: Places, times_ms: range, named: bool = True, stem: Callable[[int], str] = lambda n: "logs-1"):
    store = Memory_Archive()
    for number, at_ms in enumerate(times_ms):
        key = key_of(places, at_ms, named, stem(number))
        store.put(key if named else f"{key}-{number}", b"x")
    return Archive(store, places, SETTLE_MS)


def everything(archive: Archive, start_ms: int) -> list[str]:
    """The naive way: look at each key."""
    found = [(archive.places.oldest(key), key) for key in archive.store.keys]  # type: ignore[attr-defined]
    until_ms = start_ms + WINDOW_MS
    held = [(oldest.from_ms, key) for oldest, key in found if oldest and oldest.may_hold(start_ms, until_ms, SETTLE_MS)]
    return [key for _, key in sorted(held)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_four_list_requests_find_a_window_s_files_among_100_000_of_a_month(layout: str) -> None:
    places = Places("p/", LAYOUTS[layout], UTC_ZONE)
    archive = archive_of(places, range(START_MS, END_MS, (END_MS - START_MS) // OBJECTS))
    midnight_ms = START_MS + 9 * DAY_MS
    for start_ms in range(midnight_ms - 6 * WINDOW_MS, midnight_ms + DAY_MS, WINDOW_MS):
        found = archive.files_of_window(start_ms)
        assert found.list_requests <= 4
        assert 100 < len(found.files) < 200
    assert [file.key for file in archive.files_of_window(midnight_ms).files] == everything(archive, midnight_ms)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("named", [True, False])
def test_all_files_of_a_window_are_found_in_every_layout_and_zone(layout: str, zone: str, named: bool) -> None:
    places = Places("p/", LAYOUTS[layout], ZoneInfo(zone))
    begin_ms = ms(2026, 10, 24, 20)  # Berlin's clocks go back at 1 UTC
    archive = archive_of(places, range(begin_ms, begin_ms + 9 * HOUR_MS, 60_000), named)
    for start_ms in range(begin_ms, begin_ms + 9 * HOUR_MS, WINDOW_MS):
        assert [file.key for file in archive.files_of_window(start_ms).files] == everything(archive, start_ms)


def test_a_new_version_of_the_stream_in_the_middle_of_a_day_hides_no_file() -> None:
    places = Places("p/", LAYOUTS["days"], UTC_ZONE)
    begin_ms = ms(2026, 2, 16)
    stems = ("logs-9", "logs-10", "a-1", "z-1")  # 10 sorts before 9
    archive = archive_of(places, range(begin_ms, begin_ms + DAY_MS, 10_000), stem=lambda n: stems[n * 4 // 8640])
    archive.store.put("p/2026/02/16/by-hand.gz", b"x")  # type: ignore[attr-defined]
    for start_ms in range(begin_ms, begin_ms + DAY_MS, 11 * WINDOW_MS):
        found = archive.files_of_window(start_ms)
        assert [file.key for file in found.files] == everything(archive, start_ms)
        assert found.list_requests <= 10


def test_more_than_a_page_of_files_in_one_window_is_found() -> None:
    places = Places("", LAYOUTS["hours"], UTC_ZONE)
    begin_ms = ms(2026, 2, 16, 14)
    for named in (True, False):
        archive = archive_of(places, range(begin_ms, begin_ms + HOUR_MS, 1_000), named)
        assert [f.key for f in archive.files_of_window(begin_ms).files] == everything(archive, begin_ms)


def test_a_range_lists_each_folder_once() -> None:
    places = Places("p/", LAYOUTS["hours"], UTC_ZONE)
    archive = archive_of(places, range(START_MS, START_MS + DAY_MS, MINUTE_MS))
    found = archive.files_between(START_MS + HOUR_MS, START_MS + 13 * HOUR_MS)
    assert found.list_requests == 14
    single = {f.key for n in range(24) for f in archive.files_of_window(START_MS + HOUR_MS + n * WINDOW_MS).files}
    assert {file.key for file in found.files} == single


def test_empty_objects_are_no_files() -> None:
    store = Memory_Archive()
    store.put("2026/02/16/14/", b"")
    store.put("2026/02/16/14/a", b"x")
    places = find_places(store, "", AUTO, UTC_ZONE)
    assert [f.key for f in Archive(store, places, 0).files_of_window(ms(2026, 2, 16, 14)).files] == ["2026/02/16/14/a"]


def test_the_newest_file_is_found_before_folders_with_nothing_in_them() -> None:
    store = Memory_Archive()
    store.put("p/2026/02/16/14/a", b"x", START_MS)
    for marker in ("p/2026/02/16/15/", "p/2026/03/", "p/2027/01/01/00/"):
        store.put(marker, b"")
    store.put("p/2026/02/31/00/no-day", b"x")
    newest = Archive(store, Places("p/", LAYOUTS["hours"], UTC_ZONE), SETTLE_MS).newest(START_MS + 900 * DAY_MS)
    assert newest is not None
    assert newest.key == "p/2026/02/16/14/a"


# ---- looking


def places_of(*keys: str, prefix: str = "p", layout: str = AUTO) -> tuple[str, str]:
    store = Memory_Archive()
    for key in keys:
        store.put(key, b"x")
    places = find_places(store, prefix, layout, UTC_ZONE)
    return places.base, places.layout.name


@pytest.mark.parametrize("prefix", ["p", "p/", "", "a/b"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_by_looking(layout: str, prefix: str) -> None:
    base = f"{prefix.rstrip('/')}/" if prefix else ""
    places = Places(base, LAYOUTS[layout], UTC_ZONE)
    keys = [key_of(places, at_ms) for at_ms in range(START_MS, END_MS, 7 * HOUR_MS)]
    other = [f"{base}{name}/x" for name in ("processing-failed", "20", "year=x", "9999x", "_tmp")]
    assert places_of(*keys, *other, *(f"{base}0{n}" for n in range(1_500)), prefix=prefix) == (base, layout)


def test_firehose_puts_no_slash_after_its_prefix() -> None:
    assert places_of("logs2026/02/16/14/a", prefix="logs") == ("logs", "hours")


def test_an_archive_that_changed_from_days_to_hours_is_read_as_days() -> None:
    assert places_of("p/2026/01/01/a", "p/2026/02/16/14/a") == ("p/", "days")
    assert places_of("p/2026/01/01/a", "p/2026/01/01/14/a") == ("p/", "days")


def test_folders_with_nothing_in_them_say_nothing_of_the_layout(tmp_path: Path) -> None:
    """What was in them went elsewhere, or a console made them."""
    for layout, key in (("hours", "p/2026/02/16/14/a"), ("days", "p/2026/02/16/a")):
        store = Memory_Archive()
        store.put(key, b"x")
        for marker in ("p/", "p/2024/", "p/2025/12/31/", "p/2026/02/", "p/2026/02/17/", "p/2026/12/", "p/2027/01/"):
            store.put(marker, b"")
        assert find_places(store, "p", AUTO, UTC_ZONE).layout.name == layout
        folder = filled_folder(tmp_path / layout, {key: b"x"})
        (tmp_path / layout / "p/2025/01/01").mkdir(parents=True)
        assert find_places(folder, "p", AUTO, UTC_ZONE).layout.name == layout
    with pytest.raises(Source_Error, match="no folders of a known layout"):
        find_places(open_store(f"file://{tmp_path}/hours"), "p/2025", AUTO, UTC_ZONE)


def test_a_layout_that_is_set_is_not_looked_for() -> None:
    assert places_of(prefix="p", layout="hive-days") == ("p/", "hive-days")


def test_no_known_layout_and_two_of_them_are_said() -> None:
    with pytest.raises(Source_Error, match=r"no folders of a known layout.*LOGS_PREFIX"):
        places_of("p/E123.2026-02-16-14.abc.gz")
    with pytest.raises(Source_Error, match=r"two layouts, hive-days and hours.*LOGS_LAYOUT"):
        places_of("p/2026/02/16/14/a", "p/year=2026/month=02/day=16/a")


# ---- where it lies


@pytest.fixture
def bucket(aws: str) -> str:
    import boto3

    bucket = boto3.resource("s3").Bucket("log-bucket")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}) if not bucket.creation_date else None
    bucket.objects.all().delete()
    return "log-bucket"


def filled_s3(bucket: str, objects: dict[str, bytes]) -> Archive_Store:
    import boto3

    client = boto3.client("s3")
    for key, content in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=content)
    return open_store(bucket)


def filled_folder(folder: Path, objects: dict[str, bytes]) -> Archive_Store:
    for key, content in objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return open_store(f"file://{folder}")


def filled_memory(objects: dict[str, bytes]) -> Archive_Store:
    store = Memory_Archive()
    for key, content in objects.items():
        store.put(key, content)
    return store


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bucket_folder_and_memory_answer_alike(layout: str, bucket: str, tmp_path: Path) -> None:
    places = Places("p/", LAYOUTS[layout], UTC_ZONE)
    times_ms = range(ms(2026, 2, 16, 13), ms(2026, 2, 16, 16), 300_000)
    objects = {key_of(places, at_ms): b"%d" % at_ms for at_ms in times_ms} | {"p/é +&%2F/x": b"1"}
    found = []
    for store in (filled_memory(objects), filled_folder(tmp_path, objects), filled_s3(bucket, objects)):
        assert find_places(store, "p", AUTO, UTC_ZONE) == places
        files = Archive(store, places, SETTLE_MS).files_of_window(ms(2026, 2, 16, 14)).files
        found.append([(file.key, file.size_bytes, file.oldest) for file in files])
        assert [store.read(file, 2, 5) for file in files] == [objects[file.key][2:7] for file in files]
        assert all(file.name.endswith(file.key) for file in files)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 8


@pytest.mark.parametrize("where", ["folder", "s3", "memory"])
def test_a_file_that_vanished_or_changed_is_said(where: str, bucket: str, tmp_path: Path) -> None:
    objects = {"2026/02/16/14/a": b"one", "2026/02/16/14/b": b"two"}
    fill: Callable[[dict[str, bytes]], Archive_Store] = {
        "folder": lambda objects: filled_folder(tmp_path, objects),
        "s3": lambda objects: filled_s3(bucket, objects),
        "memory": filled_memory,
    }[where]
    store = fill(objects)
    one, two = store.page("2026/").objects
    fill({"2026/02/16/14/a": b"another"}) if where != "memory" else store.put(one.key, b"another")  # type: ignore[attr-defined]
    with pytest.raises(Source_Error, match=r"14/a has changed since it was listed"):
        store.read(one, 0, one.size_bytes)
    assert store.read(two, 0, 3) == b"two"
    if where == "folder":
        (tmp_path / two.key).unlink()
    elif where == "memory":
        store.delete(two.key)  # type: ignore[attr-defined]
    else:
        import boto3

        boto3.client("s3").delete_object(Bucket=bucket, Key=two.key)
    with pytest.raises(Source_Error, match=r"14/b cannot be read"):
        store.read(two, 0, 3)


def test_a_folder_or_a_bucket_that_is_not_there_is_said(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(Source_Error, match=r"absent.*No such file"):
        Folder_Archive(tmp_path / "absent").page("2026/")
    with pytest.raises(Source_Error, match="NoSuchBucket"):
        open_store("absent-bucket").page("2026/")


def test_a_file_whose_name_is_no_text_is_found_and_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "14").mkdir()
    for name in (b"a", b"b\xff", b"c"):
        (tmp_path / "14" / os.fsdecode(name)).write_bytes(b"one")
    store = Folder_Archive(tmp_path)
    found = store.page("14/").objects
    assert [stored.key for stored in found] == ["14/a", r"14/b\xff", "14/c"]
    assert store.name_of(found[1].key).encode() == bytes(tmp_path) + rb"/14/b\xff"
    with pytest.raises(Source_Error, match=r"b\\xff cannot be read: its name is no UTF-8"):
        store.read(found[1], 0, 3)
    assert store.read(found[2], 0, 3) == b"one"


def test_a_link_that_leads_nowhere_is_a_file_that_cannot_be_read_and_a_pipe_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("absent/file")
    os.mkfifo(tmp_path / "d")
    (tmp_path / "e").symlink_to("d")
    store = Folder_Archive(tmp_path)
    found = store.page("").objects
    assert [stored.key for stored in found] == ["a", "b", "c"]
    assert store.read(found[1], 0, 3) == b"one"
    assert found[2].size_bytes > 0
    with pytest.raises(Source_Error, match="c cannot be read: No such file"):
        store.read(found[2], 0, 3)


def test_files_that_go_while_a_folder_is_listed_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"one")
    store, done = Folder_Archive(tmp_path), threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            for number in range(20):
                (tmp_path / f"gone{number}").write_bytes(b"two")
            for number in range(20):
                (tmp_path / f"gone{number}").unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(500):
            assert "kept" in [stored.key for stored in store.page("").objects]
    finally:
        done.set()
        thread.join()


def test_a_bucket_that_does_not_answer_is_unavailable(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("sa_stream.sources.s3_archive.TRIES", 1)
    with pytest.raises(Store_Unavailable, match="does not answer"):
        open_store("bucket").page("2026/")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("later_ms", "requests"), [(20 * MINUTE_MS, 6), (9 * DAY_MS, 10)])
def test_few_list_requests_find_the_newest_file_also_of_long_ago(layout: str, later_ms: int, requests: int) -> None:
    """Among 3,600 of a day: where folders are days, four pages are the last one."""
    archive = archive_of(Places("p/", LAYOUTS[layout], UTC_ZONE), range(START_MS, START_MS + 7 * DAY_MS, 24_000))
    store = archive.store
    assert isinstance(store, Memory_Archive)
    late = store.keys[-90]
    store.put(late, b"landed after those behind it", START_MS)
    store.pages = 0
    newest = archive.newest(START_MS + 7 * DAY_MS + later_ms)
    assert newest is not None
    assert newest.key == late
    assert store.pages <= requests


def test_an_archive_without_files_has_no_newest() -> None:
    store = Memory_Archive()
    store.put("p/2026/02/16/", b"")
    assert Archive(store, Places("p/", LAYOUTS["hours"], UTC_ZONE), SETTLE_MS).newest(START_MS) is None
    assert Archive(store, Places("q/", LAYOUTS["hours"], UTC_ZONE), SETTLE_MS).newest(START_MS) is None
