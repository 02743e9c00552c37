"""A window computed from its files, kept as a repair: which key it has, and when it says more than the one before."""

from collections.abc import Mapping, Sequence

from sa_stream.bounded.repair import Computed, repair_steps
from sa_stream.commits.keys import REPAIRS_PREFIX
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
