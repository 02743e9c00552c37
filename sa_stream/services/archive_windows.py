"""The files of the archive as one application reads them: a time comes in, its files are found and read, and the
window goes out."""

import time
from collections.abc import Callable, Iterator, Sequence
from zoneinfo import ZoneInfo

from sa_stream.archive.files import Archive_File
from sa_stream.bounded.files import Counting, Logs, Window_Read, window_of_files
from sa_stream.bounded.late_files import Late_Files, tell_gone
from sa_stream.bounded.repair import Computed
from sa_stream.commits.decisions import Field_Choice
from sa_stream.commits.ports import Store
from sa_stream.config import SA__Config
from sa_stream.log import LATE_FILE, TOO_LATE_FILE, Log
from sa_stream.log_file import Log_Form, Log_Lines, Log_Table
from sa_stream.records.field_finder import First_Records
from sa_stream.records.intake import Intake
from sa_stream.sources.archive import Archive, find_places, open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.sources.archive_store import Archive_Store
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import Now, Timing, iso, month_of

log = Log("archive")

THREADS = 8  # that fetch files: beside a stream, and from a window's few hundred files, more gain little
AHEAD_BYTES_MAX = 16 << 20
SHARE = 0.25  # of a core, for a window that is computed beside the reading of a stream; it pauses for the rest
LOOK_AGAIN_S = 900.0  # at which late files other workers have found
TOLD_MAX = 1_000


def open_archive(config: SA__Config, clock: Source_Clock | None = None) -> Archive:
    """The archive that the settings name. Raises Source_Error, Store_Unavailable."""
    return archive_in(open_store(config.logs_bucket, THREADS, clock), config)


def archive_in(store: Archive_Store, config: SA__Config) -> Archive:
    """The archive that the settings say is in a store. Raises Source_Error, Store_Unavailable."""
    places = find_places(store, config.logs_prefix, config.logs_layout, ZoneInfo(config.logs_time_zone))
    return Archive(store, places, config.s3_settle_s * 1000)


class Archive_Logs:
    """Opens files of the archive at a place (LOGS_BUCKET), in whichever process it comes to (Open_Logs)."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._store: Archive_Store | None = None  # which cannot go to another process

    def __reduce__(self) -> tuple[type["Archive_Logs"], tuple[str]]:
        return Archive_Logs, (self._place,)

    def __call__(self, files: Sequence[Archive_File]) -> Logs:
        if self._store is None:
            self._store = open_store(self._place, THREADS)
        return Archive_Reader(self._store, AHEAD_BYTES_MAX, THREADS).logs(files)


def decide_fields(fields: Field_Choice, logs: Logs, alive: Callable[[], None] = lambda: None) -> None:
    """The first lines of files that do not name their fields tell, or contradict, how they are to be read. Files that
    do need no decision; where only notes lie beside them there is none, as whoever reads them says of each that it is
    no log. Raises Field_List_Error, Store_Unavailable."""
    records = First_Records()
    auto = fields.lists.auto
    for _, pieces in logs:
        for piece in pieces:
            alive()
            if isinstance(piece, Log_Lines) and piece.file.form == Log_Form.TEXT:
                records.add(piece.content)
                if records.enough:
                    break
        if auto and records.are_of_no_log:
            records = First_Records()
        elif records.enough:
            break
    if records.timed or (not auto and records.rows):
        fields.decide(records)


class Archive_Windows:
    """What computes windows (Window_Files), for one thread.

    alive  called with every piece of a file; what it raises ends the window
    """

    def __init__(
        self,
        config: SA__Config,
        timing: Timing,
        fields: Field_Choice,
        store: Store,
        open_: Callable[[], Archive],
        clock: Callable[[], Now],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._timing, self._fields, self._open = timing, fields, open_
        self._config = config
        self._share = 1.0 if config.source == "s3" else SHARE
        self._clock, self._alive = clock, alive
        self._archive: Archive | None = None
        self._found: dict[str, Archive_File] = {}  # of the last `find`
        self._late = Late_Files(store)
        self._late_read_s = -LOOK_AGAIN_S
        self._unread: dict[str, bool] = {}  # late file that could not be read -> whether it was gone when asked for
        self._told: dict[str, None] = {}  # files of which it was said that they have records that are too late

    @property
    def settings(self) -> str:
        return self._intake().settings(self._timing)

    def find(self, window_ms: int) -> Sequence[str]:
        """The names of the files that may hold records of a window. Raises Source_Error, Store_Unavailable."""
        self._read_late()
        if self._archive is None:
            self._archive = self._open()
        self._found = {file.name: file for file in self._archive.files_of_window(window_ms).files}
        late = [file for name, file in self._late.of(window_ms).items() if name not in self._found]
        self._found |= {file.name: file for each in late if (file := self._late_as_it_is(window_ms, each)) is not None}
        return list(self._found)

    def _late_as_it_is(self, window_ms: int, file: Archive_File) -> Archive_File | None:
        """A file that no listing for its window tells of; once it could not be read, it is asked what lies there now.
        That nothing does is told. It may come back."""
        assert self._archive is not None
        gone = self._unread.get(file.name)
        if gone is None:
            return file
        now = self._archive.as_it_is(file)
        if now is None and not gone:
            tell_gone(window_ms, file)
        self._unread[file.name] = now is None
        return now

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        """The window from these files of the last `find`. One that cannot be read is named with its reason, the others
        are read. Raises Field_List_Error if the first records of all have no certain list."""
        assert self._archive is not None
        chosen = [self._found[name] for name in files]
        if not self._fields.checked:
            decide_fields(self._fields, self._reader().logs(chosen), self._alive)
        intake, now_ms = self._intake(), self._clock().wall_ms
        counting = Counting(
            intake,
            self._timing,
            {month_of(window_ms): seed},
            now_ms,
            self._archive.settle_ms,
            checked=self._fields.checked,
        )
        read = window_of_files(self._paced(self._reader().logs(chosen)), window_ms, counting)
        read.window.fields |= intake.lists.mask  # also of one that is empty
        self._note_late(read, now_ms)
        for name in self._late.of(window_ms).keys() & {each.name for each in read.failed}:
            self._unread.setdefault(name, False)
        return Computed(
            read.window, len(read.files) - len(read.failed), {each.name: str(each.error) for each in read.failed}
        )

    def _intake(self) -> Intake:
        return self._config.intake(self._fields.lists)

    def _reader(self) -> Archive_Reader:
        assert self._archive is not None
        return Archive_Reader(self._archive.store, AHEAD_BYTES_MAX, THREADS)

    def _paced(self, logs: Logs) -> Logs:
        """The same, with a pause after each piece that lets others have their share of the processor."""
        for read, pieces in logs:
            yield read, self._paced_pieces(pieces)

    def _paced_pieces(self, pieces: Iterator[Log_Lines | Log_Table]) -> Iterator[Log_Lines | Log_Table]:
        for piece in pieces:
            began_s = time.monotonic()
            yield piece
            self._alive()
            time.sleep((time.monotonic() - began_s) * (1 / self._share - 1))

    # ------------------------------------------------------------------ records that come late

    def _note_late(self, read: Window_Read, now_ms: int) -> None:
        """Records of an earlier window, in files in which nobody would look for them, as they arrived more than
        `settle_ms` after their event: the window is computed again, with these files too."""
        assert self._archive is not None
        oldest_ms = now_ms - self._timing.allowed_lateness_ms
        for each in read.files:
            expected = each.stored.oldest.starts(self._archive.settle_ms)
            late = {window_ms: each.starts[window_ms] for window_ms in each.starts if window_ms < expected.start}
            for window_ms in sorted(late):
                if window_ms >= oldest_ms and self._late.note(window_ms, each.stored):
                    message = f"{each.name} has {late[window_ms]} records of the window of {iso(window_ms)}"
                    log.tell(LATE_FILE, f"{message}, which is computed again", file=each.name)
            too_late = sum(records for window_ms, records in late.items() if window_ms < oldest_ms)
            if too_late and each.name not in self._told:
                self._told[each.name] = None
                message = f"{each.name} has {too_late} records that are older than the allowed lateness"
                log.tell(TOO_LATE_FILE, f"{message}: in no number", file=each.name, records=too_late)
        for name in list(self._told)[:-TOLD_MAX]:
            del self._told[name]

    def _read_late(self) -> None:
        """What this worker has found before a restart, and others find."""
        if time.monotonic() - self._late_read_s >= LOOK_AGAIN_S:
            self._late.read()
            self._late_read_s = time.monotonic()
