"""`replay` with several processes: the same as with one."""

import json
import os
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest

from consumer.commands.replay import replay
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Field_List_Error, SA_Stream_Error
from sa_stream.sources import log_ranges
from sa_stream.sources.log_files import Log_Files
from tests.consumer.commands.archive_place import BEGIN_MS, Archive_Place, key, line
from tests.firehose import plain
from tests.log_lines import ordinary_lines
from tests.oracle import CANONICAL, compare_all, recount


def replayed(
    paths: list[str], jobs: int, capsys: pytest.CaptureFixture[str], **settings: str
) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
    """Entries and summary without what tells when it was, and whether all was read."""
    read = replay(paths, SA__Config.from_env({PREFIX + name: value for name, value in settings.items()}), jobs)
    said = capsys.readouterr()
    entries = [json.loads(each) for each in said.out.splitlines()]
    summary = json.loads(said.err.splitlines()[-1])
    return [entry | {"computed_at": ""} for entry in entries], summary | {"seconds": 0}, read


@pytest.mark.parametrize("fields", ["auto", "canonical"])
def test_any_number_of_jobs_prints_the_same(fields: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Archive_Place(tmp_path)
    place.put(
        {  # an id with two contents: the first file's counts
            key(BEGIN_MS, "a"): line(BEGIN_MS + 1, "twice"),
            key(BEGIN_MS, "z"): line(BEGIN_MS + 2, "twice"),
            key(BEGIN_MS, "torn"): b"\x1f\x8b torn",
        }
    )
    alone, *others = (replayed([str(place.root)], jobs, capsys, FIELDS=fields) for jobs in (1, 2, 3))
    assert others == [alone, alone]
    entries, summary, read = alone
    assert not read
    assert [each["path"] for each in summary["files"] if "error" in each] == [str(place.root / key(BEGIN_MS, "torn"))]
    assert summary["duplicates"] > 50
    del place.objects[key(BEGIN_MS, "torn")]
    contents = [plain(place.objects[name]) for name in sorted(place.objects)]
    assert not compare_all(entries, recount(contents).entries)


def test_a_bucket_is_read_below_any_prefix_in_any_layout(
    tmp_path: Path, aws: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Archive_Place(tmp_path, lines=500)
    client = boto3.client("s3")
    for number, content in enumerate(place.objects.values()):
        folder = ("year=2026/month=02/day=16/hour=00/", "2026/02/16/", "")[number % 3]
        client.put_object(Bucket="state-bucket", Key=f"logs/{folder}{number:03d}.gz", Body=content)
    alone, together = (replayed(["s3://state-bucket/logs"], jobs, capsys) for jobs in (1, 2))
    assert together == alone
    assert alone[1]["records"] == sum(plain(content).count(b"\n") for content in place.objects.values())
    part, _, _ = replayed(["s3://state-bucket/logs/year=2026/"], 1, capsys)
    assert 0 < part[-1]["total_requests"] < alone[0][-1]["total_requests"]


@pytest.mark.parametrize("named", [False, True], ids=["plain", "names of columns within it"])
def test_a_large_plain_file_is_shared_and_has_one_note(
    named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_ranges, "RANGE_BYTES_MIN", 10_000)
    lines = ordinary_lines(3, 3_000, BEGIN_MS / 1000, 3, duplicate_rate=0.1, dirt_rate=0.02).splitlines(keepends=True)
    if named:
        lines.insert(2_000, b"#Fields: timestamp c-ip\n")
    (tmp_path / "one").write_bytes(b"".join(lines))
    (tmp_path / "two").write_bytes(b"".join(lines[:500]))
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    logs = Log_Files(paths)
    logs.split(3)
    assert len(logs.places) > 8
    alone, *others = (replayed(paths, jobs, capsys) for jobs in (1, 2, 3))
    assert others == [alone, alone]
    assert [each["path"] for each in alone[1]["files"]] == paths
    assert alone[1]["duplicates"] > 500


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_note_behind_standard_logs_ends_no_run(jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(9):
        (tmp_path / f"{number}").write_bytes(b"#Fields: date time sc-status\n" + b"2026-02-16\t14:30:00\t200\n" * 99)
    (tmp_path / "README").write_bytes(b"Logs of our site.\n")
    entries, summary, read = replayed([str(tmp_path)], jobs, capsys)
    assert (entries[0]["total_requests"], read) == (891, False)
    assert ["looks like no log" in file["error"] for file in summary["files"]] == [True]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_note_among_standard_logs_is_named_and_an_unknown_list_is_refused(
    jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("README", "one", "two", "unknown")]
    Path(paths[0]).write_bytes(b"Logs of our site.\n")
    for path in paths[1:3]:
        Path(path).write_bytes(b"#Fields: date time sc-status\n2026-02-16\t14:30:00\t200\n")
    Path(paths[3]).write_bytes(b"1771252200.5\ta\tb\n")
    entries, summary, read = replayed(paths[:3], jobs, capsys)
    assert (entries[0]["total_requests"], read) == (2, False)
    assert [(file["path"], "looks like no log" in file["error"]) for file in summary["files"]] == [(paths[0], True)]
    with pytest.raises(Field_List_Error, match="1 of 10 records are too few"):
        replayed(paths, jobs, capsys)


def test_a_name_that_is_no_text_is_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_ranges, "RANGE_BYTES_MIN", 10_000)
    lines = ordinary_lines(3, 1_000, BEGIN_MS / 1000, 3, dirt_rate=0.02)
    with open(os.path.join(os.fsencode(tmp_path), b"\xff.log"), "wb") as file:
        file.write(lines)
    alone, together = (replayed([str(tmp_path)], jobs, capsys) for jobs in (1, 2))
    assert together == alone
    assert [each["path"] for each in alone[1]["files"]] == [f"{tmp_path}/\\xff.log"]


def as_standard(lines: list[bytes], form: str) -> bytes:
    """Real-time lines of the canonical list as a standard log."""
    names = ["timestamp(ms)", *CANONICAL[1:]]
    rows = [line.decode().split("\t") for line in lines]
    for row in rows:
        row[0] = str(round(float(row[0]) * 1000))
    if form == "json":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()
    return "\n".join(("#Version: 1.0", f"#Fields: {' '.join(names)}", *("\t".join(row) for row in rows), "")).encode()


@pytest.mark.parametrize("fields", ["auto", ",".join(reversed(CANONICAL))], ids=["auto", "another list"])
@pytest.mark.parametrize("order", ["standard logs first", "standard logs last", "mixed"])
def test_standard_logs_beside_real_time_ones_of_two_lists_are_the_same_for_any_number_of_jobs(
    order: str, fields: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ordinary_lines(3, 4_000, BEGIN_MS / 1000, 3, duplicate_rate=0.1, dirt_rate=0).splitlines()
    contents = [as_standard(lines[number:2_000:6], "json" if number % 2 else "w3c") for number in range(6)]
    contents.append(contents[0].replace(b"\t200\t", b"\t503\t"))  # ids with two contents
    if fields != "auto":
        lines = [b"\t".join(reversed(line.split(b"\t"))) for line in lines]
    contents += [b"\n".join(lines[number::3]) + b"\n" for number in range(2_000, 2_003)]
    place = CANONICAL.index("x-edge-result-type")
    fewer = [line.split(b"\t") for line in lines[:900]]  # the list of the real-time log that comes first counts
    contents.append(b"".join(b"\t".join(row[:place] + row[place + 1 :]) + b"\n" for row in fewer))
    numbers = [*range(len(contents))]
    if order == "standard logs last":
        numbers.reverse()
    if order == "mixed":
        random.Random(2).shuffle(numbers)
    paths = [str(tmp_path / str(number)) for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        Path(path).write_bytes(contents[number])
    alone, *others = (replayed(paths, jobs, capsys, FIELDS=fields) for jobs in (1, 2, 3))
    assert others == [alone, alone]
    assert alone[1]["duplicates"] > 100
    assert alone[1]["invalid"]["fields"] in (900, 2_000)


def test_there_are_no_more_processes_than_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(line(BEGIN_MS, "a"))
    (tmp_path / "two").write_bytes(line(BEGIN_MS, "a"))
    entries, summary, _ = replayed([str(tmp_path / "one"), str(tmp_path / "two")], 9, capsys)
    assert summary["duplicates"] == 1
    assert entries[0]["total_requests"] == 1


def test_what_can_be_read_once_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe such as `<(…)`, beside files that would be read again: an id with two contents."""
    paths = [tmp_path / "one", tmp_path / "two"]
    paths[0].write_bytes(line(BEGIN_MS + 1, "twice"))
    paths[1].write_bytes(line(BEGIN_MS + 2, "other"))
    for jobs in (1, 2, 3):
        ours, theirs = os.pipe()
        os.write(theirs, line(BEGIN_MS + 3, "twice") + line(BEGIN_MS + 4, "third"))
        os.close(theirs)
        entries, summary, read = replayed([*map(str, paths), f"/dev/fd/{ours}"], jobs, capsys)
        os.close(ours)
        assert read
        assert (summary["records"], summary["aggregated"], summary["duplicates"]) == (4, 3, 1)
        assert entries[0]["total_requests"] == 3


def test_a_file_that_only_this_process_has_open_is_read_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ordinary_lines(3, 4_000, BEGIN_MS / 1000, 3).splitlines(keepends=True)
    with ExitStack() as stack:
        paths = []
        for number in range(8):
            file = tmp_path / str(number)
            file.write_bytes(b"".join(lines[number::8]))
            paths.append(f"/dev/fd/{stack.enter_context(file.open()).fileno()}")
        alone, together = (replayed(paths, jobs, capsys) for jobs in (1, 2))
    assert together == alone
    assert alone[1]["records"] == len(lines)


def test_a_closed_standard_output_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_bytes(line(BEGIN_MS, "a"))
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SA_Stream_Error, match="standard output cannot be written: it is closed"):
        replay([str(tmp_path / "one")], SA__Config.from_env({}), 1)
