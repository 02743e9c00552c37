"""`sa-stream report`: what it prints, and what it says where there is nothing to report."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.worker.stores import open_cache
from sa_stream.config import PREFIX, SA__Config
from tests.services.world import computed, expected, lines

CALL = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CALL:
    """Calls a command on a cache with two days and their month: (exit code, stdout, stderr)."""
    monkeypatch.setenv(f"{PREFIX}CACHE_PATH", str(tmp_path))
    cache = open_cache(SA__Config(cache_path=str(tmp_path)))
    for key in ("daily/2026-02-27", "daily/2026-02-28", "monthly/2026-02"):
        cache.store_entry("sa-cloudfront-aggregate", key, computed(lines())[key])

    def called(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["report", *words])
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out, said.err

    return called


@pytest.mark.parametrize(
    ("option", "value", "keys"),
    [
        ("--day", "2026-02-27", ["daily/2026-02-27"]),
        ("--week", "2026-W09", ["daily/2026-02-27", "daily/2026-02-28"]),
        ("--month", "2026-02", ["monthly/2026-02"]),
    ],
)
def test_a_report_is_markdown_to_read_and_json_for_programs(call: CALL, option: str, value: str, keys: list[str]):
    total = sum(expected()[key]["total_requests"] for key in keys)
    code, text, _ = call(option, value)
    assert code == 0
    assert text.startswith("# Traffic: ")
    assert f"| requests | {total:,} |" in text
    code, text, _ = call(option, value, "--json")
    assert json.loads(text)["totals"]["requests"] == total


def test_a_time_without_entries_is_said_and_is_a_failure(call: CALL):
    code, text, error = call("--day", "2026-01-01")
    assert (code, text) == (1, "")
    assert error.startswith("There is no entry of this time")


@pytest.mark.parametrize("words", [("--day", "today"), ("--week", "8"), ("--day", "2026-02-27", "--month", "2026-02")])
def test_wrong_use_names_the_option(call: CALL, words: tuple[str, ...]):
    code, _, error = call(*words)
    assert code == 2
    assert words[-2] in error


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--day", "yesterday", "a day such as 2026-02-16"),
        ("--day", "2026-02-31", "a day such as 2026-02-16"),
        ("--week", "2026-W99", "a week such as 2026-W08"),
        ("--month", "2026-13", "a month such as 2026-02"),
    ],
)
def test_a_time_that_is_none_is_answered_by_one_that_is(call: CALL, option: str, value: str, expected: str):
    code, _, error = call(option, value)
    assert code == 2
    assert error == f"error: Invalid value for {option}: expected {expected} (see sa-stream --help)\n"
