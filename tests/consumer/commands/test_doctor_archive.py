"""What `sa-stream doctor` says of the archive: in a bucket, in a folder, beside a stream and without one."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from benchmarks.s3_server import Mood, s3_server
from consumer.commands.doctor import doctor, examine
from consumer.commands.doctor_check import Check
from sa_stream import native
from sa_stream.config import PREFIX
from sa_stream.embedded.destinations import put_into
from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.kinesis_server import start
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.timing import HOUR_MS, MINUTE_MS, wall_clock_ms
from tests.emulated_aws import point_at

BUCKET = "my-logs"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith((PREFIX, "AWS_", "MOTO_")):
            monkeypatch.delenv(name)


def env(**variables: str) -> dict[str, str]:
    here = {"LOGS_PREFIX": "real-time", "STATE_URL": "memory://", "CACHE_MODE": "memory", "HTTP_PORT": "0"}
    return {PREFIX + name: value for name, value in {**here, **variables}.items()}


def checks(**variables: str) -> dict[str, Check]:
    return {check.name: check for check in examine(env(**variables))}


def put_traffic(out: str, fields: str = "canonical") -> None:
    now_ms = wall_clock_ms()
    put_into(out, Traffic(1, fields).lines(now_ms - 10 * MINUTE_MS, now_ms, 300), 1)


def put_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def age(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*.gz"):
        os.utime(path, (time.time() - seconds,) * 2)


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch, mood: Mood = lambda environ: None) -> Iterator[Any]:
    """`my-logs` on an emulated S3 of this mood."""
    with s3_server(mood) as url:
        point_at(monkeypatch, "S3", url)
        made = boto3.resource("s3").Bucket(BUCKET)
        made.create() if not made.creation_date else None
        made.objects.all().delete()
        yield made


def test_without_a_stream_everything_of_the_archive_is_looked_at_and_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch):
        put_traffic(f"s3://{BUCKET}/real-time", "seed")
        found = checks(LOGS_BUCKET=BUCKET, LOGS_TIME_ZONE="UTC")
    assert list(found) == [
        *("configuration", "kernel", "archive", "archive layout", "archive files", "archive fields", "clock"),
        *("state store", "cache service", "http"),
    ]
    assert all(
        check.ok and check.warning == (check.name == "kernel" and not native.AVAILABLE) for check in found.values()
    )
    assert found["configuration"].sentence == "every setting is valid; the source is the archive my-logs"
    how = f"the native kernel, level {native.LEVEL}" if native.AVAILABLE else "Python, which is right and slower"
    assert how in found["kernel"].sentence
    assert found["archive"].sentence.startswith("s3://my-logs/real-time can be listed; not tried: s3:PutObject")
    assert found["archive layout"].sentence.startswith("hours, found by looking: now s3://my-logs/real-time/2")
    assert found["archive layout"].sentence.endswith("in the time zone UTC")
    assert "the newest landed 0 min ago: s3://my-logs/real-time/2" in found["archive files"].sentence
    assert "read as seed (27 fields)" in found["archive fields"].sentence


def test_beside_a_stream_it_is_what_repairs_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kinesis = Memory_Kinesis(wall_clock_ms)
    kinesis.create_stream("logs", 1)
    server = start(kinesis)
    point_at(monkeypatch, "KINESIS", server.url)
    monkeypatch.setattr("consumer.commands.doctor.SAMPLE_SECONDS", 0.1)
    put_traffic(f"{tmp_path}/real-time/")
    found = checks(STREAM="logs", RUNNER="local", LOGS_BUCKET=f"file://{tmp_path}")
    server.stop()
    assert "the stream logs, repaired from the archive file://" in found["configuration"].sentence
    assert {"stream", "clock", "archive", "archive fields"} <= found.keys()
    assert all(check.ok for check in found.values()), found
    assert [name for name, check in found.items() if check.warning] == ["records"]


@pytest.mark.parametrize(
    ("method", "permission", "failed"),
    [("list-type", "s3:ListBucket", "archive"), ("GET-object", "s3:GetObject", "archive fields")],
)
def test_a_permission_that_is_missing_is_named(
    method: str, permission: str, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mood(environ: dict[str, Any]) -> tuple[int, str] | None:
        listing = "list-type" in environ["QUERY_STRING"]
        reading = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".gz")
        refused = refusing and (listing if method == "list-type" else reading)
        return (403, "AccessDenied") if refused else None

    refusing = False
    with bucket(monkeypatch, mood):
        put_traffic(f"s3://{BUCKET}/real-time")
        refusing = True
        found = checks(LOGS_BUCKET=BUCKET)
        refusing = False
    assert [name for name, check in found.items() if not check.ok] == [failed]
    assert f"The permission that is missing: {permission} on its bucket" in found[failed].sentence
    assert "AccessDenied" in found[failed].sentence


def test_a_bucket_that_is_not_there_is_named_and_nothing_else_of_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bucket(monkeypatch):
        found = checks(LOGS_BUCKET="nowhere.example")
    assert not found["archive"].ok
    assert "s3://nowhere.example" in found["archive"].sentence
    assert "NoSuchBucket" in found["archive"].sentence
    assert "archive layout" not in found
    assert found["state store"].ok


def test_an_archive_of_no_known_layout_says_which_settings_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "real-time" / "other").mkdir(parents=True)
    layout = checks(LOGS_BUCKET=f"file://{tmp_path}")["archive layout"]
    assert not layout.ok
    assert f"{PREFIX}LOGS_PREFIX" in layout.sentence


def test_a_layout_that_is_set_says_so_and_an_archive_without_files_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "real-time").mkdir()
    found = checks(LOGS_BUCKET=f"file://{tmp_path}", LOGS_LAYOUT="days", LOGS_TIME_ZONE="Europe/Berlin")
    assert found["archive layout"].sentence.startswith(f"days, as {PREFIX}LOGS_LAYOUT says: now ")
    assert found["archive layout"].sentence.endswith("in the time zone Europe/Berlin")
    assert found["archive files"].warning
    assert "no file is there: is there traffic" in found["archive files"].sentence
    assert f"now {tmp_path}/real-time/2" in found["archive layout"].sentence
    assert "archive fields" not in found


def test_a_newest_file_that_is_old_is_a_warning_unless_files_may_take_that_long(tmp_path: Path) -> None:
    put_traffic(f"{tmp_path}/real-time/")
    age(tmp_path, 70 * 60)
    place = f"file://{tmp_path}"
    files = checks(LOGS_BUCKET=place)["archive files"]
    assert files.ok
    assert files.warning
    assert "the newest landed 70 min ago" in files.sentence
    assert not checks(LOGS_BUCKET=place, S3_SETTLE_S="7200")["archive files"].warning


def test_the_newest_of_long_ago_is_found_too(tmp_path: Path) -> None:
    day_ms = wall_clock_ms() - 9 * 24 * HOUR_MS
    put_into(f"{tmp_path}/real-time/", Traffic(1).lines(day_ms, day_ms + 3 * HOUR_MS, 300), 1)
    age(tmp_path, 9 * 24 * 3600)
    found = checks(LOGS_BUCKET=f"file://{tmp_path}")
    assert " 216 h ago" in found["archive files"].sentence
    assert found["archive fields"].ok


def test_records_that_contradict_the_list_are_said(tmp_path: Path) -> None:
    put_traffic(f"{tmp_path}/real-time/")
    fields = checks(LOGS_BUCKET=f"file://{tmp_path}", FIELDS="seed")["archive fields"]
    assert not fields.ok
    assert "'canonical'" in fields.sentence


def test_standard_logs_need_no_list_and_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    w3c = b"#Fields: date time sc-status\n2026-02-16\t14:00:00\t200\n"
    put_file(tmp_path / "real-time" / "2026" / "02" / "16" / "a.gz", w3c)
    fields = checks(LOGS_BUCKET=f"file://{tmp_path}")["archive fields"]
    assert fields.sentence == "standard, W3C: read by the names that each file brings"
    put_file(tmp_path / "real-time" / "2026" / "02" / "17" / "a.zip", b"PK\x03\x04")
    fields = checks(LOGS_BUCKET=f"file://{tmp_path}")["archive fields"]
    assert not fields.ok
    assert "a.zip" in fields.sentence


def test_warnings_have_a_mark_of_their_own_and_fail_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_traffic(f"{tmp_path}/real-time/")
    age(tmp_path, 86_400)
    given = env(LOGS_BUCKET=f"file://{tmp_path}")
    assert doctor(given)
    assert [line[0] for line in capsys.readouterr().out.splitlines()].count("!") == 1
    assert doctor(given, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in said if check["warning"]] == ["archive files"]
