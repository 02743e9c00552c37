"""What `sa-stream doctor` looks at in the archive of log files: whether it may be listed and read, where its files lie,
whether they still come, and how their records are read."""

from collections.abc import Iterator
from datetime import datetime

from consumer.commands.doctor_check import SAMPLE_RECORDS, Check, Warned, checked, clock_of, field_order
from sa_stream.archive.files import Archive_File
from sa_stream.archive.layout import AUTO
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Source_Error
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.services.archive_windows import archive_in
from sa_stream.sources.archive import open_store
from sa_stream.sources.archive_reader import Archive_Reader
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import HOUR_MS, MINUTE_MS, moment, wall_clock_ms


def archive_checks(config: SA__Config) -> Iterator[Check]:
    """One after the other, up to the first that fails: the others need it."""
    look = _Look(config)
    for name, what in (("archive", look.listed), ("archive layout", look.layout), ("archive files", look.newest)):
        check = checked(name, what)
        yield check
        if not check.ok:
            return
    file = look.file
    if file is not None:
        yield checked("archive fields", lambda: look.fields(file))
    if config.source == "s3" and look.in_bucket:
        yield checked("clock", lambda: clock_of("S3", look.clock))


class _Look:
    """Each method looks at one thing and says what it found. Raises Source_Error, Store_Unavailable, Config_Error."""

    def __init__(self, config: SA__Config) -> None:
        self._config = config
        self.in_bucket = "/" not in config.logs_bucket
        self.clock = Source_Clock()
        self.file: Archive_File | None = None  # the newest

    def listed(self) -> str:
        self._store = open_store(self._config.logs_bucket, 1, self.clock)
        self._store.page(self._config.logs_prefix)
        name = self._store.name_of(self._config.logs_prefix)
        if not self.in_bucket:
            return f"{name} can be listed"
        return f"{name} can be listed; not tried: s3:PutObject and s3:DeleteObject, which only sa-stream archive needs"

    def layout(self) -> str:
        config = self._config
        self._archive = archive_in(self._store, config)
        places = self._archive.places
        how = "found by looking" if config.logs_layout == AUTO else f"as {PREFIX}LOGS_LAYOUT says"
        folder = datetime.fromtimestamp(self._now_ms() // 1000, places.zone).strftime(places.layout.folder)
        place = self._store.name_of(places.base + folder)
        return f"{places.layout.name}, {how}: now {place}, in the time zone {places.zone}"

    def newest(self) -> str:
        config = self._config
        now_ms = self._now_ms()
        self.file = self._archive.newest(now_ms)
        advice = f"is there traffic, and does Firehose write to {self._store.name_of(config.logs_prefix)}?"
        if self.file is None:
            return Warned(f"no file is there: {advice}")
        age_ms = max(0, now_ms - self.file.modified_ms)
        found = f"the newest landed {_duration(age_ms)} ago: {self.file.name}"
        late = age_ms > max(HOUR_MS, config.s3_settle_s * 1000)
        return Warned(f"{found}; {advice}") if late else found

    def fields(self, file: Archive_File) -> str:
        logs = Archive_Reader(self._store, threads=1).logs([file])
        read, pieces = next(logs)
        piece = next(pieces, None)
        if piece is None:
            raise Source_Error(read.error or f"{file.name} has no lines")
        if isinstance(piece, Log_Lines) and read.form == Log_Form.TEXT:
            return field_order(self._config, piece.content.split(b"\n", SAMPLE_RECORDS)[:SAMPLE_RECORDS])
        return f"{read.form}: read by the names that each file brings"

    def _now_ms(self) -> int:
        return self.clock.at(moment()) or wall_clock_ms()


def _duration(duration_ms: int) -> str:
    hours = round(duration_ms / HOUR_MS)
    return f"{hours} h" if hours >= 2 else f"{round(duration_ms / MINUTE_MS)} min"
