"""Replay against the oracle: every field of every entry, both directions, for hostile files and ordinary traffic."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sa_stream.bounded.replay import replay_logs
from sa_stream.errors import Field_List_Error
from sa_stream.log_file import Log_File, Log_Lines
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from tests.log_lines import LONG_LINES, NOW_MS, buffers_of, chunked, line_of, log_files, ordinary_lines
from tests.oracle import CANONICAL, PATHS_EXACT_MAX, SEED, UNIQUE_EXACT_MAX, compare_all, recount

pytestmark = pytest.mark.usefixtures("both_ways")

HOSTILE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def differences(buffers: Sequence[bytes], fields: str = "canonical") -> list[str]:
    """Where replay and oracle disagree on these buffers: entries and counters, in words."""
    file = Log_File("lines")
    pieces = (Log_Lines(file, buffer) for buffer in buffers)
    entries, summary = replay_logs(pieces, Intake(resolve_field_lists(fields, "")), NOW_MS)
    expected = recount(buffers, fields=fields, now_ms=NOW_MS)
    found = compare_all(entries, expected.entries)
    for name in ("records", "aggregated", "duplicates"):
        if summary[name] != getattr(expected, name):
            found.append(f"{name}: expected {getattr(expected, name)}, found {summary[name]}")
    invalid = {reason: count for reason, count in summary["invalid"].items() if count}
    if invalid != expected.invalid:
        found.append(f"invalid: expected {expected.invalid}, found {invalid}")
    return found


def hostile_differences(buffers: Sequence[bytes], fields: str) -> list[str]:
    """As `differences`, for files that are read at all: one whose first records are mostly of another list is refused,
    which tests of the list's finder promise."""
    try:
        return differences(buffers, fields)
    except Field_List_Error:
        assume(False)
        raise


@HOSTILE
@given(st.data())
def test_replay_equals_the_oracle_on_hostile_files_however_they_are_cut(data: st.DataObject) -> None:
    content = data.draw(log_files(CANONICAL))
    assert hostile_differences(data.draw(chunked(content)), "canonical") == []


@settings(HOSTILE, max_examples=15)
@given(log_files(SEED, lines_max=30))
def test_replay_equals_the_oracle_in_the_seeds_order(content: bytes) -> None:
    assert hostile_differences([content], "seed") == []


@pytest.mark.parametrize("buffer_bytes", [100_000, 4_000_000])
def test_replay_equals_the_oracle_on_ordinary_traffic(buffer_bytes: int) -> None:
    content = ordinary_lines(seed=7, count=20_000)
    assert differences(buffers_of(content, buffer_bytes)) == []


def test_replay_equals_the_oracle_over_days_and_months() -> None:
    content = ordinary_lines(
        seed=8, count=5_000, start_s=1_835_300_000, hours=24 * 40, duplicate_rate=0.1, dirt_rate=0.05
    )
    assert differences(buffers_of(content, 50_000)) == []


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_lines_about_the_longest_allowed_are_told_apart_wherever_they_stand(place: str) -> None:
    ordinary = ordinary_lines(seed=9, count=50)
    long = b"\n".join(LONG_LINES)
    parts = {"first": [long, ordinary], "middle": [ordinary, long, ordinary], "last": [ordinary, long]}[place]
    assert differences([b"\n".join(part.rstrip(b"\n") for part in parts)]) == []


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\r\n\r\n", b"#Version: 1.0\n#Fields: a\tb\n", b"garbage", b"\t" * 26]
)
def test_files_without_a_record_make_no_entry(content: bytes) -> None:
    assert differences([content]) == []


def test_distinct_counts_and_top_paths_are_exact_to_their_limits_and_close_beyond() -> None:
    def file_with(distinct: int) -> bytes:
        lines = [
            line_of({"timestamp": "1771252200", "cs-uri-stem": f"/{n}", "cs-user-agent": f"agent {n}"})
            for n in range(distinct)
        ]
        popular = [
            line_of({"timestamp": "1771252201", "cs-uri-stem": f"/{n}"}) for n in range(40) for _ in range(50 + n)
        ]
        return b"\n".join(lines + popular)

    for distinct in (UNIQUE_EXACT_MAX - 1, PATHS_EXACT_MAX + 5_000):
        assert differences(buffers_of(file_with(distinct), 1_000_000)) == []


@pytest.mark.parametrize("seconds", [b"9" * 31, b"4503599627", b"4600000000.5", b"1" + b"0" * 18])
def test_times_longer_than_a_percentile_can_tell_are_told_as_the_longest(seconds: bytes) -> None:
    values = {"timestamp": "1771252345.5", "sc-status": "200", "cs-uri-stem": "/", "origin-fbl": seconds.decode()}
    usual = line_of({**values, "x-edge-request-id": "a", "time-taken": "0.25"})
    assert differences([b"\n".join([usual, line_of({**values, "time-taken": seconds.decode()}), b""])]) == []


def test_many_different_times_and_sizes_that_no_column_holds_are_told_of_each_window_as_the_oracle_tells_them() -> None:
    lines = [
        line_of(
            {
                "timestamp": f"{1771252200 + 600 * n % 7200}",
                "cs-uri-stem": f"/{n % 7}",
                "x-edge-request-id": f"{n}",
                "sc-bytes": str((1 << 40) - 150 + n if n % 2 else 10**29 + n),
                "time-taken": f"{1099511 + n % 5 * 10**12}.62{7000 + n}",
                "origin-fbl": str(10**20 + n),
            }
        )
        for n in range(300)
    ]
    assert differences([b"\n".join([*lines, b""])]) == []
    assert differences(buffers_of(b"\n".join([*lines, b""]), 5_000)) == []


@pytest.mark.parametrize("seconds", ["1099511.627775", "1099511.627776", "1099511.627777"])
def test_times_about_the_longest_that_a_path_sums_up_are_told_as_the_oracle_tells_them(seconds: str) -> None:
    values = {"timestamp": "1771252345.5", "cs-uri-stem": "/a"}
    lines = [line_of({**values, "x-edge-request-id": name, "time-taken": seconds}) for name in "ab"]
    assert differences([b"\n".join([*lines, b""])]) == []


def test_countries_are_counted_where_they_are_chosen_and_few_requests_name_none() -> None:
    fields = (*CANONICAL, "c-country")
    places = ["DE"] * 50 + ["SM"] + ["GB"] * 20 + ["-", "", "T1", "de", "<x>"]
    lines = ordinary_lines(seed=9, count=4_000, duplicate_rate=0.0, dirt_rate=0.0).splitlines()
    content = b"".join(line + b"\t" + places[n % len(places)].encode() + b"\n" for n, line in enumerate(lines))
    pieces = [Log_Lines(Log_File("lines"), content)]
    intake = Intake(resolve_field_lists(",".join(fields), "", "c-country"))
    entries = list(replay_logs(pieces, intake, NOW_MS)[0])
    assert not compare_all(entries, recount([content], fields=fields, now_ms=NOW_MS).entries)
    half = next(entry for entry in entries if entry["period"] == "30min")
    assert "(few)" in half["countries"]
    assert "SM" not in half["countries"]
    assert "c-country" not in half["missing_fields"]
