"""Many windows from the files of an archive: the files of a time come in, each window of it goes out, as soon as no
further file may add to it. Backfill and verify are made of this.

Several processes may share the files (pool.py): the windows are the same.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sa_stream.archive.files import Archive_File
from sa_stream.archive.reads import File_Read
from sa_stream.bounded.files import Counting, Recount, Window_Read, error_of_rereading
from sa_stream.bounded.pool import Done, Parts, Pool, Setup, Task, joined
from sa_stream.log_file import Log_File, Log_Lines, Log_Table
from sa_stream.timing import WINDOW_MS
from sa_stream.windows.window import Window

type Open_Files = Callable[[Sequence[Any]], Iterable[tuple[File_Read, Iterator[Log_Lines | Log_Table]]]]


class Windows_Of_Files:
    """Iterate over it for a Window_Read of each of `starts` (ascending), empty windows included. Each file is read
    once, and only windows that further files may add to are held in memory. Raises Field_List_Error while the field
    lists are `auto`, Process_Ended.

    open_logs  as in pool.py
    files      by their oldest record
    pool       who counts; None: this process alone
    on_file    hears of each file that was read

    late  window -> records that came in a file in which nobody looks for them: more than `settle_ms` after their event.
          They are in no window here; the files that they are in say so in `starts`
    """

    def __init__(
        self,
        open_logs: Open_Files,
        files: Sequence[Archive_File],
        starts: Sequence[int],
        counting: Counting,
        pool: Pool | None = None,
        on_file: Callable[[File_Read], None] = lambda read: None,
    ) -> None:
        self._open_logs = open_logs
        self._files = files
        self._starts = starts
        self._counting = counting
        self._pool = pool or Pool()
        self._on_file = on_file
        self._reads: list[File_Read] = []  # that windows to come may have records of
        self.late: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Window_Read]:
        left, parts = deque(self._starts), Parts()
        setup = Setup(self._open_logs, self._counting, self._starts, self._counting.settle_ms)
        for result in self._pool.results(setup, self._tasks()):
            if isinstance(result, Done):
                self._take_down(result.files)
                self.late += result.late
                continue
            parts.add(result.windows)
            while left and left[0] + WINDOW_MS <= result.closes_ms:
                start_ms = left.popleft()
                window = parts.whole(start_ms)
                yield self._closed(*self._in_order(start_ms) if window is None else (window, {}))

    def _in_order(self, start_ms: int) -> tuple[Window, dict[Archive_File, File_Read]]:
        """(a window by the order of its files, where that matters; those that failed now, of which it may lack
        records)"""
        reads = sorted((read for read in self._reads if read.starts[start_ms]), key=lambda read: _place(read.stored))
        recount = Recount(self._pool.counting, [start_ms], self._counting.settle_ms)
        again = []
        for read, pieces in self._open_logs([read.stored for read in reads]):
            again.append(read)
            recount.take(pieces)
        recount.finish()
        failed = {}
        for read, now in zip(reads, again, strict=True):
            error = error_of_rereading(now, read.records)
            if read.error is None and error is not None:
                # A note of its own: windows that were counted by the first reading lack nothing.
                failed[read.stored] = replace(read, error=error, again=now.again or now.error is None)
        [window] = recount.windows.taken_out([start_ms])
        return window, failed

    def _tasks(self) -> list[Task]:
        tasks = joined(self._files, lambda file: int(file.size_bytes), self._pool.jobs)
        return [Task(files, self._closes_ms(files[0])) for files in tasks]

    def _closes_ms(self, file: Archive_File) -> int:
        """Up to when windows end that neither this file nor a later one may add to."""
        return file.oldest.from_ms - self._counting.settle_ms

    def _take_down(self, reads: Iterable[Log_File]) -> None:
        for read in reads:
            assert isinstance(read, File_Read)
            self._reads.append(read)
            self._on_file(read)

    def _closed(self, window: Window, failed: Mapping[Archive_File, File_Read]) -> Window_Read:
        start_ms, files, kept = window.start_ms, [], []
        settle_ms = self._counting.settle_ms
        for read in self._reads:
            oldest = read.stored.oldest
            starts = oldest.starts(settle_ms)
            if start_ms in starts or (read.starts[start_ms] and oldest.is_looked_at(start_ms, settle_ms)):
                files.append(failed.get(read.stored, read))
            if max((starts[-1], *read.starts)) > start_ms:
                kept.append(read)
        self._reads = kept
        return Window_Read(window, tuple(sorted(files, key=lambda read: _place(read.stored))))


def _place(file: Archive_File) -> tuple[int, str]:
    return file.oldest.from_ms, file.key
