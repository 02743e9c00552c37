"""A window computed from its files, kept as a repair: which key it has, and when it says more than the one before."""

from collections.abc import Mapping, Sequence

import pytest

from sa_stream.bounded.repair import Computed, repair_steps
from sa_stream.commits.keys import REPAIRS_PREFIX, repair_files_key
from sa_stream.commits.operations import drive
from sa_stream.commits.secrets import Secrets
from sa_stream.rollups.repairs import Repair
from sa_stream.windows.window import Window
from tests.rollups.rollup_stream import window_of
from tests.rollups.test_reconciler import W
from tests.simulation.stores import Watched_Store


class Files:
    """An archive: file -> how many requests it has; those in `broken` cannot be read."""

    def __init__(self, requests: Mapping[str, int]) -> None:
        self.requests = requests
        self.broken: set[str] = set()
        self.settings = "settings"

    def find(self, window_ms: int) -> Sequence[str]:
        return list(self.requests)

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        read = [name for name in files if name not in self.broken]
        window = Window.merged([window_of(window_ms, self.requests[name]) for name in read] or [Window(window_ms)])
        return Computed(window, len(read), dict.fromkeys(self.broken, "broken"))


def repaired(store: Watched_Store, files: Files, known: Repair | None = None) -> Repair | None:
    return drive(repair_steps(store, Secrets(store, lambda: b"12345678"), files, W, known))


def test_one_key_names_one_content_whichever_files_could_not_be_read():
    contents: dict[str, bytes] = {}

    def kept(key: str, data: bytes, before: bytes | None) -> None:
        assert contents.setdefault(key, data) == data

    store, files = Watched_Store(kept), Files({"a": 1, "b": 2, "c": 4})
    for broken in ({"a"}, {"b"}, {"a", "b"}, set()):
        files.broken = broken
        repaired(store, files)
    files.requests = {"a": 1, "c": 4, "d": 8}
    files.broken = {"c", "d"}
    repaired(store, files)
    assert sum(key.startswith(REPAIRS_PREFIX) for key in contents) == 5


def test_the_files_are_read_again_only_where_another_has_come_or_one_was_broken():
    store, files = Watched_Store(lambda *put: None), Files({"a": 1, "b": 2})
    files.broken = {"b"}
    part = repaired(store, files)
    assert part is not None
    assert (part.files, part.whole) == (1, False)
    files.broken = set()
    whole = repaired(store, files, part)
    assert whole is not None
    assert (whole.files, whole.whole) == (2, True)
    assert repaired(store, files, whole) is None
    files.requests = {"a": 1, "b": 2, "c": 4}
    more = repaired(store, files, whole)
    assert more is not None
    assert more > whole > part


def test_what_came_after_others_of_its_window_were_deleted_is_told_and_nothing_that_was_counted_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, files = Watched_Store(lambda *put: None), Files({"a": 1, "b": 2})
    whole = repaired(store, files)
    files.requests = {"b": 2}
    assert repaired(store, files, whole) is None
    assert not caplog.records
    files.requests = {"b": 2, "c": 4}
    assert repaired(store, files, whole) is None
    assert "lacks what is in c alone, which came after others were deleted" in caplog.records[-1].message
    files.requests = {"a": 1, "b": 2, "c": 4}
    all_three = repaired(store, files, whole)
    assert all_three is not None
    assert (all_three.files, len(caplog.records)) == (3, 1)


def test_what_a_window_loses_to_more_files_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store, files = Watched_Store(lambda *put: None), Files({"a": 1, "b": 2})
    whole = repaired(store, files)
    files.requests = {"c": 4, "d": 8, "e": 16}
    more = repaired(store, files, whole)
    assert more is not None
    assert more.files == 3
    assert "lacks what is in a and 1 more alone, which were deleted" in caplog.records[-1].message
    assert repaired(store, files, more) is None
    assert len(caplog.records) == 1


def test_a_repair_of_which_nothing_says_what_it_was_made_of_is_judged_by_their_number() -> None:
    store, files = Watched_Store(lambda *put: None), Files({"a": 1, "b": 2})
    for named in (None, b"torn"):
        whole = repaired(store, files)
        assert whole is not None
        key = repair_files_key(W, whole.files, whole.lineage)
        store.delete(key)
        if named is not None:
            store.put(key, named)
        files.requests = {"b": 2, "c": 4}
        assert repaired(store, files, whole) is None
        files.requests = {"b": 2, "c": 4, "d": 8}
        assert repaired(store, files, whole) is not None
        files.requests = {"a": 1, "b": 2}
