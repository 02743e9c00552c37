"""Reading the archive: in order, ahead, within its memory, and with an outcome for each file, whatever befalls one."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest

from benchmarks.s3_server import Mood, s3_server
from sa_stream.archive.files import Archive_File, Stored
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.archive.reads import File_Read
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.errors import SA_Stream_Error, Source_Error, Store_Unavailable
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.sources.archive import Archive, open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.sources.read_ahead import Read_Ahead
from tests.archive.test_layout import SETTLE_MS, ms

PLACES = Places("p/", LAYOUTS["hours"], ZoneInfo("UTC"))
START_MS = ms(2026, 2, 16, 14)


def archive_with(objects: dict[str, bytes]) -> Archive:
    store = Memory_Archive()
    for name, content in objects.items():
        store.put(f"p/2026/02/16/14/{name}", content)
    return Archive(store, PLACES, SETTLE_MS)


def files_of(archive: Archive) -> tuple[Archive_File, ...]:
    return archive.files_of_window(START_MS).files


def outcomes(archive: Archive, files: tuple[Archive_File, ...] | None = None) -> dict[str, tuple[bytes, File_Read]]:
    """Name -> (lines, what was noted), in the order in which they came."""
    found = {}
    for read, pieces in Archive_Reader(archive.store).logs(files_of(archive) if files is None else files):
        lines = b"".join(piece.content for piece in pieces if isinstance(piece, Log_Lines))
        found[read.stored.key.rpartition("/")[2]] = lines, read
    return found


def test_files_come_in_the_order_asked_whatever_comes_first() -> None:
    archive = archive_with({f"{n:03d}": b"%d\n" % n for n in range(200)})
    store = archive.store

    class Slow_First:
        def read(self, stored: Stored, begin: int, length: int, /) -> bytes:
            time.sleep(0.03 if stored.key.endswith("000") else 0)
            return store.read(stored, begin, length)

    read = [next(pieces).content for _, pieces in Archive_Reader(Slow_First()).logs(files_of(archive))]  # type: ignore[union-attr]
    assert read == [b"%d\n" % n for n in range(200)]


def test_no_failure_of_a_file_stops_the_others_and_each_is_named() -> None:
    lines = b"".join(b"%d\n" % n for n in range(5_000))
    archive = archive_with(
        {
            "broken.gz": gzip.compress(lines)[:-400],
            "busy": b"1\n",
            "denied": b"1\n",
            "gone": b"1\n",
            "good.gz": gzip.compress(lines),
            "zip": b"PK\x03\x04 and so on",
        }
    )
    files = files_of(archive)
    errors: dict[str, SA_Stream_Error] = {
        "denied": Source_Error("denied cannot be read from S3: AccessDenied"),
        "busy": Store_Unavailable("S3 cannot give busy now: SlowDown"),
    }
    archive.store.fault = lambda call, key: errors.get(key.rpartition("/")[2])  # type: ignore[attr-defined]
    archive.store.delete("p/2026/02/16/14/gone")  # type: ignore[attr-defined]
    found = outcomes(archive, files)
    assert list(found) == ["broken.gz", "busy", "denied", "gone", "good.gz", "zip"]
    assert found["good.gz"][0] == lines
    assert found["good.gz"][1].error is None
    whole = found["broken.gz"][0]
    assert lines.startswith(whole)
    assert whole.endswith(b"\n")
    said = {name: read.error or "" for name, (_, read) in found.items()}
    assert {name: name in error for name, error in said.items()} == dict.fromkeys(found, True) | {"good.gz": False}
    assert {name for name, (_, read) in found.items() if read.again} == {"busy"}


def test_every_byte_of_an_object_larger_than_the_memory_is_read_once_and_in_order() -> None:
    content = b"".join(b"line %d\n" % n for n in range(100_000))
    archive = archive_with({"a": b"first\n", "big": content, "c": b"last\n"})
    calls: Counter[str] = Counter()

    def count(call: str, key: str) -> None:
        calls[key] += call == "read"

    archive.store.fault = count  # type: ignore[attr-defined]
    found = [
        (read.stored.key[-1], b"".join(piece.content for piece in pieces if isinstance(piece, Log_Lines)))
        for read, pieces in Archive_Reader(archive.store, bytes_max=200_000).logs(files_of(archive))
    ]
    assert found == [("a", b"first\n"), ("g", content), ("c", b"last\n")]
    assert calls["p/2026/02/16/14/big"] == -(-len(content) // 50_000)


def test_what_is_read_ahead_stays_within_the_memory() -> None:
    lock = threading.Lock()
    held = most = 0

    class Counting_Store:
        def read(self, stored: Stored, begin: int, length: int, /) -> bytes:
            nonlocal held, most
            with lock:
                held += length
                most = max(most, held)
            return bytes(length)

    sizes = [10_000, 90_000, 3, 700_000, 50_000] * 40
    objects = [Stored(key=str(n), size_bytes=size, etag="", modified_ms=0) for n, size in enumerate(sizes)]
    ahead = Read_Ahead(Counting_Store(), objects, bytes_max=400_000, threads=8)
    for index, stored in enumerate(objects):
        content = ahead.open(index)
        total = 0
        while block := content.read(64_000):
            total += len(block)
            with lock:
                held -= len(block)
            time.sleep(0.0001)
        content.close()
        assert total == stored.size_bytes
    assert 100_000 < most <= 500_000  # the limit, and the range that is being read


def test_objects_may_be_left_out_or_given_up_half_read() -> None:
    store = Memory_Archive()
    for n in range(100):
        store.put(f"{n:02d}", b"%d" % n * 1_000)
    ahead = Read_Ahead(store, store.page("").objects, bytes_max=20_000)
    for n in range(0, 100, 3):
        content = ahead.open(n)
        assert content.read(7) == (b"%d" % n * 1_000)[:7]
        content.close()


def test_standard_logs_and_real_time_ones_are_told_apart() -> None:
    archive = archive_with(
        {"a": b"#Fields: date time sc-status\n2026-02-16\t14:00:00\t200\n", "b": b"1\t2\n", "c": b"x"}
    )
    assert [read.form for _, read in outcomes(archive).values()] == [Log_Form.W3C, Log_Form.TEXT, Log_Form.TEXT]


# ---- S3


@contextmanager
def moody_s3(mood: Mood, monkeypatch: pytest.MonkeyPatch, objects: dict[str, bytes]) -> Iterator[Archive]:
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "MOTO_S3_DEFAULT_MAX_KEYS"):
        monkeypatch.delenv(name, raising=False)
    with s3_server(mood) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        client = boto3.client("s3")
        bucket = f"moody-{time.time_ns()}"
        client.create_bucket(Bucket=bucket)
        for name, content in objects.items():
            client.put_object(Bucket=bucket, Key=f"p/2026/02/16/14/{name}", Body=content)
        yield Archive(open_store(bucket), PLACES, SETTLE_MS)


def test_throttling_and_answers_of_500_in_between_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()

    def mood(environ: dict[str, Any]) -> tuple[int, str] | None:
        if environ["REQUEST_METHOD"] != "GET":
            return None
        call = environ["PATH_INFO"] + environ["QUERY_STRING"]
        asked[call] += 1
        number = len(asked)
        if asked[call] == 1:  # the first try of each
            return (503, "SlowDown") if number % 2 else (500, "InternalError")
        return None

    objects = {f"{n:02d}": b"%d\n" % n for n in range(12)}
    with moody_s3(mood, monkeypatch, objects) as archive:
        found = outcomes(archive)
    assert {name: lines for name, (lines, _) in found.items()} == objects
    assert not any(read.error for _, read in found.values())
    assert min(asked.values()) == 2


def test_what_stays_busy_is_an_outcome_and_what_is_denied_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def mood(environ: dict[str, Any]) -> tuple[int, str] | None:
        moods = {"busy": (503, "SlowDown"), "denied": (403, "AccessDenied")}
        return moods.get(environ["PATH_INFO"].rpartition("/")[2]) if environ["REQUEST_METHOD"] == "GET" else None

    with moody_s3(mood, monkeypatch, dict.fromkeys(("busy", "denied", "good"), b"1\n")) as archive:
        found = outcomes(archive)
    assert found["good"][0] == b"1\n"
    assert {name: (read.again, bool(read.error)) for name, (_, read) in found.items()} == {
        "busy": (True, True),
        "denied": (False, True),
        "good": (False, False),
    }
    assert "SlowDown" in str(found["busy"][1].error)
    assert "AccessDenied" in str(found["denied"][1].error)
    assert "p/2026/02/16/14/denied" in str(found["denied"][1].error)


def test_a_list_that_is_denied_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def mood(environ: dict[str, Any]) -> tuple[int, str] | None:
        return (403, "AccessDenied") if "list-type" in environ["QUERY_STRING"] else None

    with moody_s3(mood, monkeypatch, {}) as archive, pytest.raises(Source_Error, match=r"AccessDenied"):
        archive.files_of_window(START_MS)


def test_all_pages_of_a_folder_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = {f"{n:04d}": b"1\n" for n in range(120)}
    with moody_s3(lambda environ: None, monkeypatch, objects) as archive:
        monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "50")
        found = archive.files_of_window(START_MS)
        assert [file.key.rpartition("/")[2] for file in found.files] == list(objects)
        assert found.list_requests == 1 + 3  # the folder before; three pages
