"""How the files of an archive are to be read, and what becomes of one that lies where nobody looks for its records."""

from pathlib import Path

import pytest

from sa_stream.archive.files import Archive_File, Oldest
from sa_stream.archive.reads import File_Read
from sa_stream.bounded.repair import repair_steps
from sa_stream.commits.decisions import Field_Choice
from sa_stream.commits.operations import drive
from sa_stream.commits.secrets import Secrets
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.rollups.periods import HALF_HOUR, cache_key
from sa_stream.rollups.repairs import Repair, missing_of_steps, repairs_steps
from sa_stream.services.archive_windows import Archive_Windows, decide_fields, open_archive
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import HOUR_MS, Moment, Now
from sa_stream.windows.window import Window
from tests.consumer.commands.archive_place import BEGIN_MS, Archive_Place, key, line
from tests.log_lines import line_of

NOTE = b"Logs of our site.\n"
OURS = line_of({"timestamp": "1771252200.5"}) + b"\n"


def logs(*contents: bytes):
    for content in contents:
        file = Archive_File(
            key="a", size_bytes=len(content), etag="", modified_ms=0, name="a", oldest=Oldest(0, 1, by_name=False)
        )
        read = File_Read("a", Log_Form.TEXT, stored=file)
        yield read, iter([Log_Lines(read, content)])


def test_a_note_among_the_files_of_an_archive_keeps_no_list_from_being_found() -> None:
    for files, checked in [((NOTE,), False), ((NOTE * 300, NOTE), False), ((NOTE * 300, OURS), True)]:
        fields = Field_Choice("auto", "", "", State_Store("memory://"))
        decide_fields(fields, logs(*files))
        assert fields.checked == checked


class Late_Place(Archive_Place):
    """An archive with a file that has a record of the first window, and is looked up for one two hours later; that one
    was computed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lines=200)
        self.late_ms = BEGIN_MS + 2 * HOUR_MS
        self.late = key(self.late_ms)
        self.put({self.late: line(BEGIN_MS + 5, "late") + line(self.late_ms, "in time")})
        self.state = State_Store("memory://")
        self.secrets = Secrets(self.state, lambda: b"a secret")
        self.start()
        self.repaired(self.late_ms)

    def start(self) -> None:
        """A worker, which knows what the state store does."""
        fields = Field_Choice(self.config.fields, "", "", self.state)
        now = Now(BEGIN_MS + 4 * HOUR_MS, Moment(0))
        self.windows = Archive_Windows(
            self.config, self.config.timing(), fields, self.state, lambda: open_archive(self.config), lambda: now
        )

    def repaired(self, window_ms: int = BEGIN_MS) -> Repair:
        """What counts after another look."""
        known = drive(repairs_steps(self.state)).get(window_ms)
        drive(repair_steps(self.state, self.secrets, self.windows, window_ms, known))
        return drive(repairs_steps(self.state))[window_ms]

    def requests(self, repair: Repair) -> int:
        data = self.state.get(repair.key(BEGIN_MS))
        assert data is not None
        return Window.from_bytes(data).total_requests

    @property
    def expected_requests(self) -> int:
        """What the recount says of the first window."""
        requests: int = self.expected()[cache_key(HALF_HOUR, BEGIN_MS)]["total_requests"]
        return requests


@pytest.fixture
def place(tmp_path: Path) -> Late_Place:
    return Late_Place(tmp_path)


def test_a_late_file_that_is_gone_before_it_was_read_is_named_and_then_the_window_is_computed_without_it(
    place: Late_Place, caplog: pytest.LogCaptureFixture
) -> None:
    (place.root / place.late).unlink()
    del place.objects[place.late]
    first = place.repaired()
    assert not first.whole
    assert [each["file"] for each in drive(missing_of_steps(place.state, BEGIN_MS, first))] == [
        str(place.root / place.late)
    ]
    whole = place.repaired()
    assert (whole.whole, whole.files) == (True, first.files)
    assert place.requests(whole) == place.expected_requests
    for _ in range(2):
        assert place.repaired() == whole
        place.start()
    assert sum("is not there any more" in record.message for record in caplog.records) == 1


def test_a_late_file_that_comes_back_counts(place: Late_Place) -> None:
    content = (place.root / place.late).read_bytes()
    (place.root / place.late).unlink()
    assert [place.repaired().whole for _ in range(2)] == [False, True]
    place.put({place.late: content})
    back = place.repaired()
    assert back.whole
    assert place.requests(back) == place.expected_requests


def test_a_late_file_that_was_put_right_is_read_as_it_is(place: Late_Place) -> None:
    place.put({place.late: line(BEGIN_MS + 5, "late") + line(BEGIN_MS + 6, "later")})
    assert [place.repaired().whole for _ in range(2)] == [False, True]
    assert place.requests(place.repaired()) == place.expected_requests
