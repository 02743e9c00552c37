"""The repairer: which windows it computes, and when it looks again."""

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

from consumer.worker.repairer import LOCK_KEY, LOOK_MS, OLD_LOOK_MS, YOUNG_MS, Repairer
from sa_stream.bounded.repair import Computed
from sa_stream.commits.operations import drive
from sa_stream.commits.secrets import Secrets
from sa_stream.errors import Store_Unavailable
from sa_stream.health.metrics import REPAIRS
from sa_stream.health.notebook import Health
from sa_stream.health.readiness import detail, notes
from sa_stream.rollups.repairs import Repair, repairs_steps
from sa_stream.storage.state_lock import hold_lock
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import MINUTE_MS, WINDOW_MS, Moment, Now
from sa_stream.windows.window import Window

W = 1_771_250_400_000  # 2026-02-16T14:00Z


class Memory_Files(Struct):
    """An archive in memory: window -> names of its files; `broken`: those that cannot be read."""

    names: dict[int, list[str]]
    broken: set[str] = field(default_factory=set)
    down: bool = False
    settings: str = "settings"
    looks: list[int] = field(default_factory=list)

    def find(self, window_ms: int) -> Sequence[str]:
        self.looks.append(window_ms)
        if self.down:
            raise Store_Unavailable("no answer")
        return self.names[window_ms]

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        window = Window(window_ms)
        read = [name for name in files if name not in self.broken]
        window.total_requests = len(read)
        return Computed(window, len(read), dict.fromkeys(self.broken.intersection(files), "denied"))


class Place:
    def __init__(self, names: dict[int, list[str]], url: str = "memory://") -> None:
        self.now_ms = W + WINDOW_MS + 20 * MINUTE_MS
        self.state, self.files, self.health = State_Store(url), Memory_Files(names), Health(Moment(0))
        secrets = Secrets(self.state, lambda: b"a secret")
        self.repairer = Repairer(self.state, self.state, secrets, self.files, self.health, lambda: self.now)

    @property
    def now(self) -> Now:
        return Now(self.now_ms, Moment(self.now_ms))

    @property
    def repairs(self) -> dict[int, Repair]:
        return drive(repairs_steps(self.state))

    def results(self) -> dict[str, int]:
        """What metrics have counted."""
        counted = self.health.counts.numbers[REPAIRS.name]
        return {result: number for (result,), number in sorted(counted.items()) if number}

    def round(self, *windows: int, later_ms: int = 0) -> None:
        self.now_ms += later_ms
        known = self.repairs
        self.repairer.wanted({window_ms: known.get(window_ms) for window_ms in windows or self.files.names})
        self.repairer.round()


def test_windows_are_computed_oldest_first_and_each_once():
    place = Place({W + WINDOW_MS: ["b"], W: ["a", "b"]})
    place.round()
    assert place.files.looks == [W, W + WINDOW_MS]
    assert {window_ms: repair.files for window_ms, repair in place.repairs.items()} == {W: 2, W + WINDOW_MS: 1}
    kept = [item.key for item in place.state.list("repairs/")]
    place.round(later_ms=LOOK_MS)
    assert [item.key for item in place.state.list("repairs/")] == kept


def test_a_file_that_comes_later_is_found_within_a_minute_and_for_an_old_window_within_a_quarter_of_an_hour():
    place = Place({W: ["a"]})
    place.round()
    place.files.names[W].append("b")
    place.round(later_ms=LOOK_MS - 1)
    assert place.repairs[W].files == 1
    place.round(later_ms=1)
    assert place.repairs[W].files == 2
    place.files.names[W].append("c")
    place.round(later_ms=YOUNG_MS)
    place.files.names[W].append("d")
    place.round(later_ms=OLD_LOOK_MS - 1)
    assert place.repairs[W].files == 3
    place.round(later_ms=1)
    assert place.repairs[W].files == 4


def test_a_file_that_cannot_be_read_is_tried_again_until_it_can():
    place = Place({W: ["a", "b"]})
    place.files.broken = {"b"}
    place.round()
    assert (place.repairs[W].files, place.repairs[W].whole) == (1, False)
    place.files.broken = set()
    place.round(later_ms=LOOK_MS)
    assert (place.repairs[W].files, place.repairs[W].whole) == (2, True)
    assert place.results() == {"computed": 1, "incomplete": 1}


def test_an_archive_that_does_not_answer_is_told_and_tried_again():
    place = Place({W: ["a"]})
    place.files.down = True
    place.round()
    assert notes(place.health.view(), place.now.moment) == [
        "the window of 2026-02-16T14:00:00Z waits for the archive: no answer"
    ]
    assert detail(place.health.view(), place.now)["repairs"]["waiting"] == ["2026-02-16T14:00:00Z"]
    place.files.down = False
    place.round(later_ms=LOOK_MS)
    assert place.repairs[W].files == 1
    assert detail(place.health.view(), place.now)["repairs"] == {"waiting": [], "failed": {}}
    assert place.results() == {"computed": 1, "failed": 1}


def test_what_another_worker_has_computed_is_not_said_to_wait():
    place = Place({W: ["a"]})
    place.files.down = True
    place.round()
    place.repairer.wanted({W: Repair(1, True, "other")})
    assert detail(place.health.view(), place.now)["repairs"]["waiting"] == []
    place.repairer.wanted({})
    assert detail(place.health.view(), place.now)["repairs"] == {"waiting": [], "failed": {}}


def test_a_window_without_files_is_zero():
    place = Place({W: []})
    place.round()
    assert (place.repairs[W].files, place.repairs[W].whole) == (0, True)


def test_nothing_is_computed_while_another_worker_is_at_it(tmp_path):
    place = Place({W: ["a"]}, f"file://{tmp_path}")
    with hold_lock(place.state, key=LOCK_KEY):
        place.round()
        assert not place.repairs
    place.round()
    assert place.repairs[W].files == 1


@contextmanager
def full_disk() -> Iterator[None]:
    """As one: no file takes a byte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_waited_for(tmp_path):
    """It ended the repairer's thread: what the lock's file had not taken came again when it was closed."""
    place = Place({W: ["a", "b"]}, f"file://{tmp_path}")
    place.repairer.wanted({W: None})
    with full_disk():
        place.repairer.round()
        place.now_ms += OLD_LOOK_MS
        place.repairer.round()
    place.now_ms += OLD_LOOK_MS
    place.repairer.round()
    assert place.repairs[W].files == 2


def test_a_month_whose_secret_is_destroyed_stays_as_it_is(caplog):
    place = Place({W: ["a"]})
    place.state.put("secrets-destroyed/2026-02", b"")
    place.round()
    assert not place.repairs
    assert "the hash secret of 2026-02 is destroyed" in caplog.text


def test_a_month_whose_secret_is_destroyed_is_told_once_and_asks_nothing_of_the_archive_any_more(caplog):
    place = Place({W: ["a"], W + WINDOW_MS: ["b"]})
    place.state.put("secrets-destroyed/2026-02", b"")
    place.round()
    place.round(later_ms=OLD_LOOK_MS)
    assert caplog.text.count("the hash secret of 2026-02 is destroyed") == 1
    assert place.files.looks == [W]
