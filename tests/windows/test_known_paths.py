"""What is remembered of paths says what each says alone, whatever came before and however often it is forgotten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.records.coded import Coded
from sa_stream.records.content_types import sort_of
from sa_stream.records.hashing import hash_of
from sa_stream.records.path_groups import path_group
from sa_stream.records.privacy import Path_Rules, clean_paths
from sa_stream.windows import known_paths
from sa_stream.windows.known_paths import clean_and_known
from sa_stream.windows.remembered import own_secret
from tests.log_lines import hostile_paths

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
    st.lists(
        st.one_of(st.sampled_from(ODD), hostile_paths(), st.text(max_size=12), st.text("/.aA\n\u212a", max_size=9)),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(BATCHES, st.sampled_from([Path_Rules(), RULES]), st.sampled_from([0, 3, 65_536]), st.sampled_from([1, 4_096]))
def test_what_is_remembered_changes_nothing(
    batches: list[list[str]], rules: Path_Rules, paths_max: int, beginnings_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_paths, "PATHS_MAX", paths_max)
        patch.setattr(known_paths, "BEGINNINGS_MAX", beginnings_max)
        known_paths._known_paths.cache_clear()
        for batch in batches:
            paths, keys, facts = clean_and_known(Coded.of_texts(batch), rules)
            expected = clean_paths(batch, rules)
            assert paths.texts() == expected
            assert keys.tolist() == [hash_of(path, own_secret()) for path in paths.values]
            assert len(set(paths.values)) == len(paths)
            assert facts.sorts.tolist() == [sort_of(path) for path in paths.values]
            assert [facts.groups[place] for place in facts.group_of] == [path_group(path) for path in paths.values]
            assert sorted(np.unique(facts.group_of).tolist()) == list(range(len(facts.groups)))
        known_paths._known_paths.cache_clear()


def test_it_remembers_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_paths, "PATHS_MAX", 100)
    known_paths._known_paths.cache_clear()
    for batch in range(10):
        clean_and_known(Coded.of_texts([f"/{batch}/{number}" for number in range(60)]), Path_Rules())
        assert len(known_paths._known_paths(Path_Rules())._said) <= 160
    known_paths._known_paths.cache_clear()


def test_it_remembers_no_more_beginnings_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many beginnings may be one group, as that is shorter."""
    monkeypatch.setattr(known_paths, "BEGINNINGS_MAX", 100)
    known_paths._known_paths.cache_clear()
    for batch in range(10):
        paths = [f"/{'x' * 300}{batch}-{number}/" for number in range(60)]
        _, _, facts = clean_and_known(Coded.of_texts(paths), Path_Rules())
        assert len(facts.groups) == 1
        assert len(known_paths._known_paths(Path_Rules())._said_of_beginning) <= 160
    known_paths._known_paths.cache_clear()


def test_what_rules_say_is_remembered_apart() -> None:
    paths = Coded.of_texts(["/users/7"])
    found = [clean_and_known(paths, rules)[0].values for rules in (Path_Rules(), RULES)]
    assert found == [["/users/7"], ["/users/{id}"]]
