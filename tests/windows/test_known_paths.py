"""What is remembered of paths says what each says alone, whatever came before and however often it is forgotten."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.records.coded import coded
from sa_stream.records.content_types import sort_of, sorts_of
from sa_stream.records.hashing import hash_of
from sa_stream.records.path_groups import path_group
from sa_stream.records.privacy import Path_Rules, clean_few_paths
from sa_stream.windows import known_paths
from sa_stream.windows.known_paths import FIRST_SEGMENT, clean_and_known
from tests.log_lines import hostile_paths

SEED = 7
# A rule whose result it would change again: what a path became says nothing of one that comes like that.
RULES = Path_Rules((("/a", "/a/a"), ("^/users/[^/]+", "/users/{id}")))
OFTEN = [
    "/",
    "/a",
    "/a/a",
    "/a/a/a",
    "/users/1",
    "/users/{id}",
    "-",
    "",
    "/%2f",
    "/%2F",
    "/x@a.org",
    "/[email]",
    "/v1/b",
]
ODD = [
    *OFTEN,
    "/api",
    "/API/x",
    "/apiary",
    "/graph\u0131l",
    "/a.HTML",
    "/.html",
    ".html",
    "a.html",
    "/a.b/c",
    "/a.",
    "/a.css\n",
]
ODD += [
    "/v1",
    "/v1/",
    "//v1",
    "v1/x",
    "/x.json/",
    "/x.pdf.zip",
    "/wp-json/a.php",
    "/wp-json",
    "/\u212a.css",
    "/a.tar\u017f",
]
BATCHES = st.lists(
    st.lists(st.one_of(st.sampled_from(OFTEN), hostile_paths(), st.text(max_size=12)), min_size=1, max_size=12),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(ODD), hostile_paths(), st.text("/.aA\n\u212a", max_size=9)), min_size=1))
def test_many_paths_say_what_each_says_alone(texts: list[str]) -> None:
    paths = coded(pl.Series(texts, dtype=pl.String))
    assert sorts_of(pl.Series(texts, dtype=pl.String)).tolist() == list(map(sort_of, texts))
    short = paths.shortened(FIRST_SEGMENT)
    assert [path_group(short.values[code]) for code in short.codes] == list(map(path_group, texts))


@pytest.mark.parametrize("few", [0, 256])
@settings(max_examples=150, deadline=None)
@given(BATCHES, st.sampled_from([Path_Rules(), RULES]), st.sampled_from([0, 3, 65_536]), st.sampled_from([1, 4_096]))
def test_what_is_remembered_changes_nothing(
    few: int, batches: list[list[str]], rules: Path_Rules, paths_max: int, groups_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_paths, "FEW_VALUES", few)
        patch.setattr(known_paths, "PATHS_MAX", paths_max)
        patch.setattr(known_paths, "GROUPS_MAX", groups_max)
        known_paths._known_paths.cache_clear()
        for batch in batches:
            paths, hashes, facts = clean_and_known(coded(pl.Series(batch, dtype=pl.String)), rules, SEED)
            expected = clean_few_paths(batch, rules)
            assert paths.texts() == expected
            assert hashes.tolist() == [hash_of(path, SEED) for path in paths.values]
            assert facts.sorts.tolist() == [sort_of(path) for path in paths.values]
            assert [facts.groups[place] for place in facts.group_of] == [path_group(path) for path in paths.values]
            assert sorted(np.unique(facts.group_of).tolist()) == list(range(len(facts.groups)))
        known_paths._known_paths.cache_clear()


def test_it_remembers_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_paths, "PATHS_MAX", 100)
    known_paths._known_paths.cache_clear()
    for batch in range(10):
        paths = coded(pl.Series([f"/{batch}/{number}" for number in range(60)], dtype=pl.String))
        clean_and_known(paths, Path_Rules(), SEED)
        assert len(known_paths._known_paths(Path_Rules(), SEED)._said) <= 160
    known_paths._known_paths.cache_clear()


def test_months_and_rules_are_remembered_apart() -> None:
    paths = coded(pl.Series(["/users/7"], dtype=pl.String))
    found = [clean_and_known(paths, rules, seed) for rules in (Path_Rules(), RULES) for seed in (1, 2)]
    assert [shown.values for shown, _, _ in found] == [["/users/7"], ["/users/7"], ["/users/{id}"], ["/users/{id}"]]
    assert len({int(hashes[0]) for _, hashes, _ in found}) == 4
