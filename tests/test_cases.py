"""Inputs that people have met (tests/cases), through `sa-stream replay` as it is started: what each must give."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent / "cases"
FORBIDDEN = {"c-ip", "c-port", "x-forwarded-for", "cs(Cookie)"}


def sa_stream(*arguments: str, stdout: Any = subprocess.PIPE, **settings: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    env |= {f"SGRAPH_SEND__SA_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-c", "from consumer.cli import main; main()", *arguments]
    return subprocess.run(command, env=env, stdout=stdout, stderr=subprocess.PIPE, cwd=CASES.parents[1])


def replay(*paths: Path | str, **settings: str) -> tuple[int, list[dict], dict, str]:
    """(exit code, entries, summary, everything else that was said)."""
    done = sa_stream("replay", *map(str, paths), **settings)
    *said, last = done.stderr.decode().splitlines()
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], json.loads(last), "\n".join(said)


@pytest.mark.parametrize(
    ("name", "records"),
    [("good.log", 100), ("good.log.zst", 100), ("twice.log.gz.gz", 100), ("byte_order_mark.log", 5)],
)
def test_packed_once_or_twice_and_with_a_mark_all_records_are_aggregated(name: str, records: int) -> None:
    code, entries, summary, _ = replay(CASES / name)
    assert (code, summary["records"], summary["aggregated"], summary["files"]) == (0, records, records, [])
    assert {entry["provenance"] for entry in entries} == {"files"}


def test_trailing_bytes_are_a_warning() -> None:
    code, _, summary, said = replay(CASES / "trailing_bytes.log.gz")
    assert (code, summary["aggregated"]) == (0, 100)
    assert "warning: " in said
    assert "trailing_bytes.log.gz goes on behind its gzip content" in said


def test_a_file_that_breaks_off_is_named_and_all_else_is_aggregated() -> None:
    code, entries, summary, said = replay(CASES / "cut_off.log.gz", CASES / "byte_order_mark.log")
    assert code == 1
    (cut,) = summary["files"]
    assert cut["path"].endswith("cut_off.log.gz")
    assert 0 < cut["records"] < 100
    assert summary["aggregated"] == cut["records"] + 5
    assert entries[0]["total_requests"] > 0
    assert "cut_off.log.gz is a gzip file that breaks off" in said


def test_carriage_returns_alone_are_named() -> None:
    code, _, summary, said = replay(CASES / "carriage_returns_only.log")
    assert (code, summary["records"]) == (1, 0)
    assert "carriage returns alone" in said


def test_standard_logs_give_equal_entries_from_every_form_and_what_is_forbidden_is_named() -> None:
    answers = [replay(CASES / f"standard_{name}") for name in ("w3c.log.gz", "v2.json", "v2.parquet")]
    for code, entries, summary, _ in answers:
        assert (code, summary["records"], summary["aggregated"]) == (0, 30, 30)
        assert set(summary["never_parsed"]) == FORBIDDEN
        assert len(summary["never_parsed"]) == len(FORBIDDEN)
        assert entries[0]["hosts"] == {"cdn.example.org": 30}
        assert entries[0]["missing_fields"] == ["origin-fbl"]
        for entry in entries:
            del entry["computed_at"]
    assert answers[0][1] == answers[1][1] == answers[2][1]


def test_standard_and_real_time_logs_may_come_together() -> None:
    code, entries, summary, _ = replay(CASES / "standard_v2.json", CASES / "good.log", CASES / "standard_w3c.log.gz")
    assert (code, summary["records"], summary["aggregated"], summary["duplicates"]) == (0, 160, 130, 30)
    assert entries[-1]["total_requests"] == 130


def test_drop_fields_holds_for_standard_logs_too() -> None:
    _, entries, summary, _ = replay(CASES / "standard_v2.json", DROP_FIELDS="cs-host,cs-user-agent")
    assert (entries[0]["hosts"], entries[0]["unique_agents"]) == (None, None)
    assert entries[0]["missing_fields"] == ["cs-host", "cs-user-agent", "origin-fbl"]
    assert set(summary["never_parsed"]) == FORBIDDEN | {"x-host-header", "cs(User-Agent)"}


def test_each_entry_is_one_line_whatever_a_reader_takes_for_a_line_end() -> None:
    done = sa_stream("replay", str(CASES / "line_separator_in_path.log"))
    lines = done.stdout.decode().splitlines()  # which also splits at U+0085, U+2028 and U+2029
    assert len(lines) == done.stdout.count(b"\n")
    assert [path["path"] for path in json.loads(lines[0])["top_paths"]] == ["/x\u2028y/[ip]"]


def test_what_was_not_aggregated_is_named_by_its_file(tmp_path: Path) -> None:
    good = (CASES / "good.log").read_bytes()
    (tmp_path / "a.log").write_bytes(good)
    (tmp_path / "b.log").write_bytes(good.replace(b"1771252", b"not a time", 3) + b"no record\n")
    (tmp_path / "c.log").write_bytes(b"PK\x03\x04")
    code, _, summary, _ = replay(tmp_path)
    b, c = summary["files"]
    assert code == 1
    assert (b["path"], b["form"], b["records"]) == (str(tmp_path / "b.log"), "real-time", 101)
    assert b["invalid"] == {"fields": 1, "timestamp": 3}
    assert "a zip archive" in c["error"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    with open("/dev/full", "wb") as full:
        done = sa_stream("replay", str(CASES / "good.log"), stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith("error: what was printed could not be written")
    assert b"Traceback" not in done.stderr


def test_traffic_from_before_ten_digits_is_refused() -> None:
    done = sa_stream("generate", "--start", "2001-09-09T01:46:39Z")
    assert done.returncode == 2
    assert b"--start" in done.stderr


def test_files_that_were_joined_are_read_by_the_last_names_above_each_line(tmp_path: Path) -> None:
    real_time = (CASES / "good.log").read_bytes()
    standard = gzip.decompress((CASES / "standard_w3c.log.gz").read_bytes())
    other = b"#Fields: sc-status time date x-host-header\n200\t14:54:04\t2026-02-16\tother.example.org\n"
    (tmp_path / "joined.log").write_bytes(real_time + b"#Fields: of\tno\tlog\n" + real_time + standard + other)
    code, entries, summary, _ = replay(tmp_path)
    assert (code, summary["records"], summary["aggregated"], summary["duplicates"]) == (0, 231, 131, 100)
    assert entries[-1]["hosts"] == {"cdn.example.org": 130, "other.example.org": 1}


def test_a_standard_log_without_a_time_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"#Fields: sc-status cs-method\n200\tGET\n")
    (tmp_path / "b.log").write_bytes(b"#Fields: date time sc-status\n2026-02-16 14:54:04 200\n")
    code, _, summary, said = replay(tmp_path)
    assert (code, summary["records"]) == (1, 0)
    assert "a.log cannot be read: its fields have no time" in said
    assert "b.log cannot be read: its header names 3 fields, and its first record has no tab" in said
