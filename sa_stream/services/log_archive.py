"""The archive as the steps use it: times come in, windows, records and results of its files go out. It loads polars and
numpy (and boto3, for a bucket), so it is itself loaded only when a step is called."""

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict

from sa_stream.archive.files import Archive_File
from sa_stream.archive.reads import File_Read
from sa_stream.bounded.archived import Computed_Period, Rules, compute_period
from sa_stream.bounded.events import Event, Events, without_ids
from sa_stream.bounded.files import Counting, Logs, Window_Read
from sa_stream.bounded.log_reading import Log_Reading, Read
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.config import SA__Config
from sa_stream.errors import Source_Error
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.intake import Intake
from sa_stream.rollups.periods import DAILY, end_of, start_of
from sa_stream.services.archive_windows import archive_in
from sa_stream.sources.archive import open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.sources.archive_store import Archive_Store
from sa_stream.timing import BEGINNING_MS, DAY_MS, NEVER_MS, WINDOW_MS, month_of

FILES_LOOKED_AT = 50  # for the field list, while it is `auto`

type Files = Sequence[Archive_File]


class Log_Archive:
    """Files of one archive, and how their records are read: by `lists`. Every call may raise Source_Error,
    Store_Unavailable and, while the lists are `auto`, Field_List_Error."""

    def __init__(self, store: Archive_Store, config: SA__Config) -> None:
        self.archive = archive_in(store, config)
        self.settle_ms = self.archive.settle_ms
        self.base = self.archive.places.base  # what all of its keys begin with
        self.timing = config.timing()
        self.config = config
        self.lists = config.field_lists()

    @classmethod
    def of_bucket(cls, config: SA__Config, region: str) -> "Log_Archive":
        """The archive in LOGS_BUCKET."""
        return cls(open_store(config.logs_bucket, region=region or None), config)

    def files_between(self, from_ms: int, until_ms: int) -> tuple[Archive_File, ...]:
        """Those that may have records of this time."""
        return self.archive.files_between(from_ms, until_ms).files

    def file(self, key: str) -> Archive_File:
        """One file by its key. Raises Source_Error if it is not there, or not in a folder of the archive's layout."""
        store, places = self.archive.store, self.archive.places
        name, oldest = store.name_of(key), places.oldest(key)
        if oldest is None:
            raise Source_Error(f"{name} is in no folder of the archive: expected {places.base}{places.layout.folder}")
        stored = self.archive.stored(key)
        if stored is None:
            raise Source_Error(f"{name} is not there")
        return Archive_File(**asdict(stored), name=name, oldest=oldest)

    def logs(self, files: Files) -> Logs:
        """Each file with its pieces, read ahead."""
        return Archive_Reader(self.archive.store).logs(files)

    def intake(self, at_ms: int) -> Intake:
        """How records of about this time are read. While that is `auto`, the first records of a whole day decide: those
        of one half hour at night would be too few."""
        if self.lists.auto:
            first = self.first_records(at_ms)
            self.lists = decide(self.lists, first) if first.rows else self.lists
        return self.config.intake(self.lists)

    def first_records(self, at_ms: int) -> First_Records:
        """Those of the day that this time is in, of files that do not name their fields."""
        day_ms = start_of(DAILY, at_ms)
        files = self.files_between(day_ms, day_ms + DAY_MS)
        return First_Records.of(
            piece.content
            for _, pieces in self.logs(files[:FILES_LOOKED_AT])
            for piece in pieces
            if isinstance(piece, Log_Lines) and piece.file.form == Log_Form.TEXT and not piece.content.startswith(b"#")
        )

    def period(self, period: str, start_ms: int, now_ms: int) -> Computed_Period:
        """A period computed from its files, each of which is read once."""
        intake = self.intake(start_ms)
        settings = intake.settings(self.timing)
        rules = Rules(now_ms, self.settle_ms, settings, intake.lists.mask, self.config.sampling_percent)
        until_ms = min(end_of(period, start_ms), -(-now_ms // WINDOW_MS) * WINDOW_MS)
        return compute_period(period, start_ms, self._windows(range(start_ms, until_ms, WINDOW_MS), now_ms), rules)

    def read_between(self, from_ms: int, until_ms: int, intake: Intake) -> tuple[list[File_Read], Iterator[Read]]:
        """Every file that may have records of this time, as a list that grows while the records are taken."""
        return self.read(self.files_between(from_ms, until_ms), intake, until_ms)

    def read(self, files: Files, intake: Intake, now_ms: int) -> tuple[list[File_Read], Iterator[Read]]:
        """The same of these files."""
        reads: list[File_Read] = []

        def reading() -> Iterator[Read]:
            reading = Log_Reading((), intake.lists, now_ms, self.timing.future_ms, keep_lines=True)
            for read, pieces in self.logs(files):
                reads.append(read)
                for piece in pieces:
                    yield from reading.take(piece)
            yield from reading.rest()

        return reads, reading()

    def events(self, reading: Iterator[Read], intake: Intake) -> Iterator[Event]:
        """All records that were read, as they may be stored."""
        events = Events(BEGINNING_MS, NEVER_MS, intake.rules)
        return (without_ids(event) for read in reading for event in events.of(read))

    def _windows(self, starts: range, now_ms: int) -> Iterator[Window_Read]:
        """Oldest first. Nothing of their hashes is kept, so these need no secret."""
        if not starts:
            return iter(())
        seeds = {month_of(start_ms): 0 for start_ms in starts}
        counting = Counting(self.intake(starts[0]), self.timing, seeds, now_ms, self.settle_ms)
        files = self.files_between(starts[0], starts[-1] + WINDOW_MS)
        return iter(Windows_Of_Files(self.logs, files, starts, counting))
