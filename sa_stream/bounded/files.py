"""Windows that are computed as a whole from their files: pieces of files come in, windows with what was read for them
go out. Repair is this; backfill and verify, which are about many windows, are made of it.

A duplicate is the same request id in the same window, whichever files it came in.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from sa_stream.archive.reads import File_Read
from sa_stream.bounded.log_reading import Log_Reading, Read, counted_pairs
from sa_stream.bounded.windows import Bounded_Windows, Judge
from sa_stream.log_file import Log_File, Log_Lines, Log_Table
from sa_stream.records.columns import Bools, Columns, Int64s
from sa_stream.records.intake import Intake
from sa_stream.timing import WINDOW_MS, Timing
from sa_stream.windows.window import Window

# Files by their oldest record, each with its pieces, which are taken before the next file is.
type Logs = Iterable[tuple[File_Read, Iterator[Log_Lines | Log_Table]]]


class Counting(Struct, frozen=True):
    """How records are counted, the same for all windows of a run.

    intake     field lists of the files that bring none; while they are `auto`, the first lines decide
    seeds      month -> the secret that hashes are made with, for every month of the windows asked for; None: as in
               Bounded_Windows
    now_ms     what is farther ahead than `timing.future_ms` is invalid
    settle_ms  how long after its event a record may have arrived to be in a file that was looked for
    checked    the lists are known to be right: the first lines are not held against them
    """

    intake: Intake
    timing: Timing
    seeds: Mapping[str, int] | None
    now_ms: int
    settle_ms: int
    checked: bool = False


class Window_Read(Struct, frozen=True):
    """A window, and every file that may have records of it. Where one of them failed, the window may lack records."""

    window: Window
    files: tuple[File_Read, ...]

    @property
    def records(self) -> int:
        """In the files, those of other windows among them."""
        return sum(read.records for read in self.files)

    @property
    def invalid(self) -> Counter[str]:
        """Reason -> records of the files; nobody can tell of which window they are."""
        return sum((read.invalid for read in self.files), Counter[str]())

    @property
    def failed(self) -> tuple[File_Read, ...]:
        """Files that were not read, or not to their end: each `error` says why."""
        return tuple(read for read in self.files if read.error is not None)


def error_of_rereading(again: Log_File, records: int) -> str | None:
    """Why windows that were counted when a file was read again may lack records of it, or have others. `records`: as
    many as it had at first."""
    if again.error is not None:
        return again.error
    if again.records != records:
        return (
            f"{again.name} has changed while it was read: {records:,} records at first, {again.records:,} when windows "
            "were counted again. Start again when nothing writes to it any more"
        )
    return None


def window_of_files(logs: Logs, start_ms: int, counting: Counting) -> Window_Read:
    """One window from all of these files. Raises Field_List_Error while the field lists are `auto`."""
    recount = Recount(counting, [start_ms])
    reads = []
    for read, pieces in logs:
        reads.append(read)
        recount.take(pieces)
    recount.finish()
    [window] = recount.windows.taken_out([start_ms])
    return Window_Read(window, tuple(reads))


class Recount:
    """Reads files, and adds their records to windows.

    wanted     windows that others are left out for; None: all
    settle_ms  what came longer than this after its event is not counted, as nobody looks for it where it lies; None:
               all is
    judge      as in Bounded_Windows
    late       window -> records that came too late for that; their files say so in `starts`
    """

    def __init__(
        self,
        counting: Counting,
        wanted: Sequence[int] | None = None,
        settle_ms: int | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._intake = counting.intake
        self._settle_ms = settle_ms
        self._wanted = None if wanted is None else np.array(wanted, np.int64)
        self.reading = Log_Reading(
            (), counting.intake.lists, counting.now_ms, counting.timing.future_ms, checked=counting.checked
        )
        self.windows = Bounded_Windows(counting.seeds, judge)
        self.late: Counter[int] = Counter()

    def take(self, pieces: Iterator[Log_Lines | Log_Table]) -> None:
        """Count a file, but for what is held back to be joined with the next one. Raises Field_List_Error while the
        field lists are `auto`."""
        for piece in pieces:
            self._count(self.reading.take(piece))

    def finish(self) -> None:
        """Count what was held back. Raises what `take` does."""
        self._count(self.reading.rest())

    def _count(self, found: Iterable[Read]) -> None:
        for lists, columns, files, _ in found:
            counted = columns if self._wanted is None else columns.chosen(self._chosen(columns, files, self._wanted))
            self.windows.take(counted, replace(self._intake, lists=lists))

    def _chosen(self, columns: Columns, files: Sequence[Log_File], wanted: Int64s) -> Bools:
        """Which records count. Takes down of which windows they are."""
        starts = columns.event_ms // WINDOW_MS * WINDOW_MS
        chosen = np.isin(starts, wanted)
        for place, number_of_window, records in counted_pairs(columns.payload, columns.event_ms // WINDOW_MS):
            read, start_ms = files[place], number_of_window * WINDOW_MS
            if not isinstance(read, File_Read):
                continue
            read.starts[start_ms] += records
            if self._settle_ms is not None and not read.stored.oldest.is_looked_at(start_ms, self._settle_ms):
                self.late[start_ms] += records if start_ms in wanted else 0
                chosen &= (columns.payload != place) | (starts != start_ms)
        return chosen
