"""`sa-stream generate` into an archive, in a bucket and in a folder."""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import boto3
import pytest

from consumer.cli import main
from sa_stream.config import PREFIX
from sa_stream.embedded.kinesis_server import start, wall_clock_ms
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from tests.emulated_aws import point_at


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith((PREFIX, "AWS_")):
            monkeypatch.delenv(name)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--records", "500", *arguments])
    return int(ended.value.code or 0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(contents: Sequence[bytes]) -> set[bytes]:
    return {line for content in contents for line in gzip.decompress(content).splitlines()}


def test_a_bucket_and_a_folder_get_the_same_files_of_the_lines_that_a_file_gets(tmp_path: Path, aws: str) -> None:
    outs = ["--out", "s3://state-bucket/real time", "--out", f"{tmp_path}/archive/", "--out", f"{tmp_path}/all.gz"]
    assert call("--hours", "2", *outs) == 0
    found = files(tmp_path / "archive")
    assert {name.rpartition("/")[0] for name in found} == {"2026/02/16/00", "2026/02/16/01"}
    assert lines(list(found.values())) == lines([(tmp_path / "all.gz").read_bytes()])
    bucket = boto3.resource("s3").Bucket("state-bucket")
    in_bucket = {each.key.removeprefix("real time/"): each.get()["Body"].read() for each in bucket.objects.all()}
    assert in_bucket == found


def test_the_same_options_give_the_same_files(tmp_path: Path) -> None:
    assert call("--out", f"file://{tmp_path}/a") == call("--out", f"{tmp_path}/b/") == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert call("--seed", "2", "--out", f"{tmp_path}/c/") == 0
    assert not files(tmp_path / "a").keys() & files(tmp_path / "c").keys()


def test_a_stream_and_the_archive_beside_it_get_the_same_lines_up_to_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinesis = Memory_Kinesis(wall_clock_ms)
    kinesis.create_stream("logs", 2)
    server = start(kinesis)
    point_at(monkeypatch, "KINESIS", server.url)
    assert call("--hours", "0.1", "--out", f"{tmp_path}/archive/", "--out", "kinesis:logs") == 0
    server.stop()
    payloads = [payload for shard in kinesis.stream("logs").shards for payload in shard.payloads]
    assert len(payloads) == 500
    assert {payload.rstrip(b"\n") for payload in payloads} == lines(list(files(tmp_path / "archive").values()))


def test_a_bucket_that_is_not_there_is_named(aws: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--out", "s3://nowhere.example/logs") == 1
    assert capsys.readouterr().err.startswith("error: Cannot write to s3://nowhere.example/logs: ")
