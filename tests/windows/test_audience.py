"""Who asked, from where and for what, in a window: classes and names, bounded, and the same however records are cut,
split and merged."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.format import pack, unpack
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.records.referrers import host_of_referrer
from sa_stream.windows import audience, names
from sa_stream.windows.fold import Part, fold
from sa_stream.windows.names import Names
from sa_stream.windows.window import COUNTED_AT_FIRST, FIELDS_AT_FIRST, KIND, Window
from tests.log_lines import NOW_MS, VALUES, line_of
from tests.pieces import columns_of
from tests.windows.partition_feed import MONTH_END_MS, Worker, partials_of, record

LISTS = resolve_field_lists("canonical", "")
TIME = "1771252200.000"
CHROME = (
    "Mozilla/5.0%20(Windows%20NT%2010.0;%20Win64;%20x64)%20AppleWebKit/537.36%20(KHTML,%20like%20Gecko)"
    "%20Chrome/131.0.0.0%20Safari/537.36"
)
GPTBOT = "Mozilla/5.0%20AppleWebKit/537.36%20(compatible;%20GPTBot/1.2;%20+https://openai.com/gptbot)"


def window_of(lines: Sequence[bytes], step: int | None = None, intake: Intake | None = None) -> Window:
    """The one window of these lines, folded as those of a stream, so many at a time."""
    window, intake = Window(1_771_252_200_000), intake or Intake(LISTS)
    window.fields |= intake.lists.mask
    for place in range(0, len(lines), step or len(lines) or 1):
        part = b"\n".join(lines[place : place + (step or len(lines))]) + b"\n"
        for columns in columns_of(Parser(intake.lists), part, NOW_MS):
            fold([Part(window, np.arange(len(columns)), seed=0)], columns, intake)
    return window


def line(**values: str) -> bytes:
    return line_of({"timestamp": TIME} | {name.replace("_", "-"): value for name, value in values.items()})


@st.composite
def lines_of_one_window(draw: st.DrawFn) -> list[bytes]:
    names = ["cs-user-agent", "cs-referer", "sc-content-type", "cs-protocol-version", "ssl-protocol", "origin-fbl"]
    names += ["sc-status", "cs-uri-stem", "cs-method", "x-edge-result-type", "time-taken", "sc-bytes", "cs-host"]
    rows = draw(st.lists(st.fixed_dictionaries({name: VALUES[name] for name in names}), min_size=1, max_size=25))
    good = [row for row in rows if len(row["sc-status"]) == 3 and row["sc-status"].isascii()] or [{}]
    return [
        line_of({"timestamp": TIME, **row}).replace(b"\n", b"") for row in good if "\t" not in "".join(row.values())
    ]


@settings(max_examples=60, deadline=None)
@given(lines_of_one_window(), st.integers(1, 5), st.randoms())
def test_whatever_is_split_and_merged_in_any_order_gives_the_same_bytes(
    lines: list[bytes], parts: int, rng: random.Random
) -> None:
    whole = Window.merged([window_of(lines)])
    of_part: list[list[bytes]] = [[] for _ in range(parts)]
    for one in lines:
        rng.choice(of_part).append(one)
    windows = [window_of(part) for part in of_part]
    for window in windows:
        assert Window.from_bytes(window.to_bytes()).to_bytes() == window.to_bytes()
    while len(windows) > 1:  # two by two, in any order
        one, other = (windows.pop(rng.randrange(len(windows))) for _ in range(2))
        windows.append(Window.merged([one, other]))
    assert Window.merged(windows).to_bytes() == whole.to_bytes()


def test_people_and_bots_are_told_apart_and_what_they_are_is_counted() -> None:
    page = {"sc_content_type": "text/html", "cs_user_agent": CHROME}
    window = window_of(
        [
            line(**page),
            line(**page, sc_status="304"),
            line(**page, sc_status="404"),
            line(**page, cs_method="POST"),
            line(cs_user_agent=GPTBOT, sc_content_type="text/html", sc_bytes="500"),
            line(cs_user_agent="-"),
        ]
    )
    assert window.counts["agent_classes"] == {"human": 4, "bot_known": 1, "unknown": 1}
    assert window.page_views == 2
    assert window.bots == {"GPTBot": [1, 500, 1]}
    assert (window.counts["browsers"], window.counts["systems"], window.counts["devices"]) == (
        *({"Chrome": 4}, {"Windows": 4}, {"desktop": 4}),
    )
    assert window.rules == audience.RULES


def test_hosts_of_ones_own_are_internal_to_whom_they_are_named() -> None:
    lines = [line(cs_referer=f"https://{host}/secret") for host in ("www.example.org", "shop.example.org", "other.net")]
    assert window_of(lines).referrers.counts == {"(internal)": 1, "shop.example.org": 1, "other.net": 1}
    own = Intake(LISTS, internal_hosts=frozenset({"shop.example.org"}))
    assert window_of(lines, intake=own).referrers.counts == {"(internal)": 2, "other.net": 1}


@pytest.mark.parametrize("step", [1, 5, None])
def test_a_referer_is_internal_to_requests_of_its_own_host_however_that_is_written(step: int | None) -> None:
    hosts = ["www.example.org", "WWW.example.org:443", "www.example.org.", "203.0.113.9", "shop.example.org", "-", ""]
    origins = [f"{scheme}://{host}/secret" for scheme in ("https", "android-app") for host in hosts]
    asked = [(referer, host) for referer in (*origins, "-", "about:blank") for host in hosts]
    expected = Counter(host_of_referrer(referer.encode(), host.encode(), frozenset()) for referer, host in asked)
    lines = [line(cs_referer=referer, cs_host=host) for referer, host in asked]
    assert window_of(lines, step).referrers.counts == expected


@pytest.mark.parametrize("step", [1, 7, 500])
def test_so_many_agents_of_a_window_are_classified_and_the_rest_is_unknown(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "AGENTS_MAX", 20)
    agents = [f"curl/{number}.0" for number in range(30)] + ["curl/3.0", "curl/25.0", "-"]
    window = window_of([line(cs_user_agent=agent) for agent in agents for _ in range(10)], step)
    assert window.counts["agent_classes"] == {"bot_known": 210, "unknown": 120}
    assert window.unclassified == 110
    assert window.classified is not None
    assert len(window.classified) == 20
    assert window.to_bytes() == window_of([line(cs_user_agent=a) for a in agents for _ in range(10)]).to_bytes()


def test_a_window_that_comes_back_goes_on_with_the_agents_that_it_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "AGENTS_MAX", 5)
    now_ms = MONTH_END_MS - 1_000_000
    records = [record(n, now_ms, cs_user_agent=f"curl/{n % 9}.0") for n in range(1, 40)]
    at_once = Worker(now_ms=now_ms)
    at_once.read(records, now_ms)
    at_once.flush(now_ms)
    often = Worker(now_ms=now_ms)
    for one in records:
        often.read([one], now_ms)
        often.flush(now_ms)
        often.state.evict()
    assert partials_of(often) == partials_of(at_once)
    [(_, data)] = partials_of(often).values()
    assert Window.from_bytes(data).unclassified > 0


names_strategy = st.lists(st.sampled_from([f"{letter}.example" for letter in "abcdefghijkl"]), min_size=1, max_size=80)


def names_of(values: Sequence[str], step: int) -> Names:
    table = Names()
    for place in range(0, len(values), step):
        part = values[place : place + step]
        counts = Counter(part)
        distinct = list(counts)
        places = np.array([distinct.index(value) for value in part], np.int64)
        table.add(distinct, list(counts.values()), places)
    return table


def names_of_repeated(values: Sequence[str]) -> Names:
    """The same, where each record brings its name."""
    table = Names()
    table.add(values, [1] * len(values), np.arange(len(values)))
    return table


@settings(max_examples=200, deadline=None)
@given(names_strategy, st.integers(1, 9), st.integers(2, 8), st.integers(1, 30), st.integers(0, 4), st.randoms())
def test_names_are_cut_at_exact_records_and_say_what_they_may_lack(
    values: list[str], step: int, limit: int, at_once: int, repeated: int, rng: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "NAMES_MAX", limit)
        patch.setattr(names, "RECORDS_AT_ONCE", at_once)
        patch.setattr(names, "REPEATED_MIN", repeated)
        table = names_of(values, step)
        assert table.content() == names_of(values, 1).content() == names_of(values, len(values)).content()
        assert table.content() == names_of_repeated(values).content()
        assert Names.from_content(table.content()).content() == table.content()
        counts = Counter(values)
        assert len(table.counts) <= limit
        assert table.error * (limit // 2 + 1) <= len(values)
        for name, count in counts.items():
            assert count - table.error <= table.counts.get(name, 0) <= count
        assert table.error == 0 or len(counts) > limit
        parts = [names_of(values[place::3], 2) for place in range(3) if values[place::3]]
        merged = Names.merged(parts)
        rng.shuffle(parts)
        assert Names.merged(parts).content() == merged.content()
        for name, count in counts.items():
            assert count - merged.error <= merged.counts.get(name, 0) <= count


def test_a_window_of_an_older_version_is_read_and_does_not_know_what_came_since() -> None:
    content = unpack(KIND, window_of([line(cs_user_agent=CHROME)]).to_bytes())
    before = content[:FIELDS_AT_FIRST]
    before[7] = before[7][: len(COUNTED_AT_FIRST)]
    before[11] = before[11][:6]  # paths with requests and bytes alone
    old = Window.from_bytes(pack(KIND, before))
    assert (old.total_requests, old.counts["agent_classes"], old.older) == (1, {}, True)
    assert old.paths.top(1)[0][:3] == ("/", 1, 1000)
    again = Window.from_bytes(old.to_bytes())
    assert again.older
    assert Window.merged([old, window_of([line()])]).older


def test_no_agent_no_path_of_a_referer_and_no_address_reaches_a_store() -> None:
    now_ms = MONTH_END_MS - 1_000_000
    hostile = [
        {"cs_user_agent": "SecretAgent/7.7%20(jane.doe)", "cs_referer": "https://a.example/SecretPath?SecretQuery=1"},
        {"cs_user_agent": CHROME + "%20SecretApp/1", "cs_referer": "https://SecretUser:SecretWord@b.example:8443/x"},
        {"cs_referer": "https://198.51.100.7/SecretPath", "cs_user_agent": "compatible;%20SecretBot/1.0"},
        {"cs_referer": "SecretGarbage", "sc_content_type": "text/html;%20Secret=1", "cs_user_agent": "SecretAgent"},
        {"cs_referer": "https%3A%2F%2Fc.example%2FSecretPath", "sc_content_type": "Secret"},
        {"cs_referer": "https://198-51-100-7.provider.example/", "cs_user_agent": "Mozilla/5.0%20Secret%09"},
    ]
    for together in (1, 400):  # one by one, and as columns
        worker = Worker(now_ms=now_ms)
        records = [record(n * 1_000 + i, now_ms, **v) for n in range(together) for i, v in enumerate(hostile, 1)]
        worker.read(records, now_ms)
        worker.flush(now_ms)
        stored = (data for key, data in worker.store.objects.items() if not key.startswith("secrets/"))
        everything = b"".join(stored).lower()
        assert b"a.example" in everything
        for word in (b"secret", b"198.51.100.7", b"198-51-100-7", b"jane", b"safari/537"):
            assert word not in everything
