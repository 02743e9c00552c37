"""Windows that pass limits, counted in any order by any number of processes: what is the same for all of them, and
within which bounds the rest is."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.bounded.entries import bounded_entries
from sa_stream.bounded.files import Recount
from sa_stream.bounded.pool import Parts, _taken_out
from sa_stream.bounded.windows import Seen
from sa_stream.log_file import Log_File, Log_Lines
from sa_stream.rollups.entry import Entry
from sa_stream.timing import NEVER_MS
from sa_stream.windows import names, summaries
from sa_stream.windows.window import Window
from tests.bounded.test_files import COUNTING, STARTS
from tests.log_lines import NOW_MS, line_of

RECORDS = 240
CUT = ("hosts", "referrers", "path_groups")  # and paths

pytestmark = pytest.mark.usefixtures("small_limits")


def records_of(rng: random.Random, *skewed: str, width: int = 40) -> list[dict[str, str]]:
    """Records of one window. Of agents and origins there are many, and of what is named up to `width`."""

    def some(most: int) -> int:
        return int(most ** rng.random())

    values = {"cs-host": "h{}.example.org", "cs-referer": "https://r{}.example.net/", "cs-uri-stem": "/g{}/x"}
    return [
        {
            "timestamp": f"{STARTS[0] // 1000 + rng.randrange(1_800)}.5",
            "x-edge-request-id": f"id{number}==",
            "sc-status": "200",
            "sc-bytes": str(rng.randrange(5_000)),
            "cs-user-agent": rng.choice(["curl/{}.0", "Mozilla/5.0%20Chrome/{}.0"]).format(some(60)),
            "cs-referer": f"https://h.example.net:{some(60)}/",
            **{name: values[name].format(some(width)) for name in skewed},
        }
        for number in range(RECORDS)
    ]


def counted(records: Sequence[dict[str, str]], jobs: int, rng: random.Random) -> Window:
    """By so many, of whom any takes any file next, in any order."""
    order = rng.sample(records, len(records))
    seen, parts = Seen(), Parts()
    recounts = [Recount(COUNTING, judge=seen.judge if jobs > 1 else None) for _ in range(jobs)]
    while order:
        content = b"".join(line_of(record) + b"\n" for record in order[:30])
        rng.choice(recounts).take(iter([Log_Lines(Log_File("file"), content)]))
        order = order[30:]
    for recount in recounts:
        recount.finish()
        parts.add(_taken_out(recount, NEVER_MS))
    window = parts.whole(STARTS[0])
    assert window is not None
    return window


def entry_of(window: Window) -> Entry:
    return next(bounded_entries({window.start_ms: window}, NOW_MS))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 4))
def test_every_agent_and_referer_is_looked_at_by_whomever_and_in_whichever_order(seed: int, jobs: int) -> None:
    rng = random.Random(seed)
    records = records_of(rng)
    window = counted(records, jobs, rng)
    assert window.to_bytes() == counted(records, 1, rng).to_bytes()
    bots = sum(record["cs-user-agent"].startswith("curl") for record in records)
    assert window.counts["agent_classes"] == Counter({"bot_known": bots, "human": RECORDS - bots})
    assert window.referrers.counts == {"h.example.net": RECORDS}
    assert (window.unclassified, window.unnamed) == (0, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 4))
def test_more_names_than_are_kept_are_cut_once_at_the_end_by_whomever_and_in_whichever_order(
    seed: int, jobs: int
) -> None:
    rng = random.Random(seed)
    records = records_of(rng, "cs-referer", "cs-host", width=names.NAMES_HELD_MAX)
    window = counted(records, jobs, rng)
    assert window.to_bytes() == counted(records, 1, rng).to_bytes()
    exact = Counter(record["cs-referer"][8:-1] for record in records)
    least = sorted(exact.values(), reverse=True)[names.NAMES_MAX]
    assert window.referrers.error == least > 0
    assert window.referrers.counts == {name: number - least for name, number in exact.items() if number > least}
    hosts = Counter(record["cs-host"] for record in records)
    most = sorted(hosts, key=lambda host: (-hosts[host], host))[: summaries.VALUES_MAX - 1]
    assert window.counts["hosts"] == {
        **{host: hosts[host] for host in most},
        "(other)": sum(hosts.values()) - sum(hosts[host] for host in most),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 4))
def test_what_was_cut_differs_within_what_the_entry_says_and_nothing_else_does(seed: int, jobs: int) -> None:
    rng = random.Random(seed)
    records = records_of(rng, "cs-host", "cs-referer", "cs-uri-stem")
    window, other = counted(records, jobs, rng), counted(records, 1, rng)
    one, two = entry_of(window), entry_of(other)
    differing = {name for name in one if one[name] != two[name]}
    assert differing <= {*CUT, "errors", "top_paths", "top_error_paths", "top_missed_paths", "top_bytes_paths"}
    assert {name for name in one["errors"] if one["errors"][name] != two["errors"][name]} <= {
        *("referrers", "path_groups", "top_paths", "top_error_paths", "top_missed_paths", "top_bytes_paths")
    }
    for entry in (one, two):
        assert [sum(entry[name].values()) for name in CUT] == [RECORDS] * len(CUT)
        hosts = Counter(record["cs-host"] for record in records)
        assert_lacks_at_most(entry["hosts"]["(other)"], entry["hosts"], hosts)
        hosts_of_referers = Counter(record["cs-referer"][8:-1] for record in records)
        assert_lacks_at_most(entry["errors"]["referrers"], entry["referrers"], hosts_of_referers)
        groups = Counter(f"{record['cs-uri-stem'][:-1]}…" for record in records)
        assert_lacks_at_most(entry["errors"]["path_groups"], entry["path_groups"], groups)
        listed = {row["path"]: row["count"] for row in entry["top_paths"]}
        assert_lacks_at_most(entry["errors"]["top_paths"], listed, Counter(r["cs-uri-stem"] for r in records))
        assert entry["errors"]["top_paths"] > 0


def assert_lacks_at_most(error: int, found: dict[str, int], exact: Counter[str]) -> None:
    for name, number in exact.items():
        assert number - error <= found.get(name, 0) <= number
    assert set(found) - {"(other)"} <= set(exact)
