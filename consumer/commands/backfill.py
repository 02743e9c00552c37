"""`sa-stream backfill`: windows of a time come in, are computed anew from the archive and kept as repairs, and the
entries of them and of everything above them go out. It can be stopped and run again: what was kept is not read again.
"""

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct, field, to_builtins
from rich import filesize

from consumer.archive.stream import Archive_Stream
from consumer.commands.reading import jobs_for, progress, started
from consumer.commands.screen import say, wide_console
from consumer.process.terminal import printable
from consumer.worker.application import Application
from consumer.worker.stores import open_cache, open_state
from sa_stream.archive.files import Archive_File
from sa_stream.archive.reads import File_Read
from sa_stream.bounded.files import Counting, Window_Read, window_of_files
from sa_stream.bounded.late_files import Late_Files, tell_gone
from sa_stream.bounded.pool import Pool
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.bounded.repair import Computed, Lacks, keep_steps, lacks_steps, tell_lacks
from sa_stream.commits.decisions import claim_cache
from sa_stream.commits.operations import drive
from sa_stream.commits.ports import Cache, Store
from sa_stream.commits.secrets import Secrets, destroyed_months_steps
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error
from sa_stream.health.notebook import Health
from sa_stream.rollups.entry import FINAL, STREAM, Entry
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.periods import HALF_HOUR, cache_key, iso, parents
from sa_stream.rollups.readable import entry_in
from sa_stream.rollups.repairs import repairs_steps
from sa_stream.rollups.versions import brief_of
from sa_stream.secrecy import without_secrets
from sa_stream.services.archive_windows import THREADS, Archive_Logs, decide_fields, open_archive
from sa_stream.sources.archive import Archive
from sa_stream.timing import WINDOW_MS, moment, month_of, right_now

PASSES_MAX = 10  # of the reconciler, until it finds nothing to write

REBUILD, REBUILT, BROKEN = "to be rebuilt", "rebuilt", "rebuilt in part: files could not be read"
ALONE = "rebuilt alone: what is above it says what it said before"
KEPT_FINAL = "kept: final from the stream"
KEPT_EMPTY = "kept: counted as empty in something final"
KEPT_REPAIR = "kept: computed from all of its files before"
KEPT_LACKS = "kept: lacks files that came after others of it were deleted"
KEPT_UNREAD = "kept: files that came since could not be read"
NOT_YET = "not yet: files of it may still land"
NO_SECRET = "not possible: the hash secret of its month is destroyed"
COMPUTED = (REBUILD, REBUILT, BROKEN, KEPT_REPAIR, KEPT_LACKS, KEPT_UNREAD)  # now or earlier, from its files


class Window_Result(Struct):
    """A window of the summary."""

    window: str
    outcome: str
    files: int
    records: int | None = None
    unreadable: dict[str, str] = field(default_factory=dict)


class Summary(Struct):
    """What was done, or would be; of the files that were read, or would be."""

    windows: list[Window_Result] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    records: int = 0
    entries: int = 0
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = to_builtins(self)
        return said | {"outcomes": self.outcomes}

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(Counter(result.outcome for result in self.windows))


def windows_between(from_ms: int, to_ms: int) -> list[int]:
    """Starts of the windows from the one that holds `from_ms` to the last that begins before `to_ms`."""
    return list(range(from_ms // WINDOW_MS * WINDOW_MS, to_ms, WINDOW_MS))


def backfill(config: SA__Config, starts: Sequence[int], jobs: int | None, dry_run: bool) -> Summary:
    """Rebuild windows (starts in ms) and what is above them, or say what that would be. Raises Config_Error,
    Source_Error, Store_Unavailable, Field_List_Error, Process_Ended."""
    require_archive(config)
    started_s = time.perf_counter()
    if dry_run:
        archive, now_ms = open_archive(config), right_now().wall_ms
        files = archive.files_between(starts[0], starts[-1] + WINDOW_MS).files
        summary = _plan(starts, files, _Kept(open_state(config), archive), open_cache(config), archive, now_ms)
    else:
        summary = _Backfill(config, starts).run(jobs)
    summary.seconds = round(time.perf_counter() - started_s, 3)
    return summary


def require_archive(config: SA__Config) -> None:
    """Raises Config_Error where there is nothing to read, or nobody would see what was made."""
    if not config.logs_bucket:
        raise Config_Error(
            f"{PREFIX}LOGS_BUCKET is not set: name the bucket of the archive that the windows are computed from."
        )
    if not config.cache_url and config.cache_mode == "memory":
        raise Config_Error(
            f"{PREFIX}CACHE_MODE is memory: such entries live and end with the process that made them. Set "
            f"{PREFIX}CACHE_URL to a cache service, or {PREFIX}CACHE_MODE to local_disk."
        )


class _Kept:
    """What the state store has of windows. Raises Store_Unavailable."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self._store, self._archive = store, archive
        self._late_now: dict[str, Archive_File | None] = {}  # late file, as noted -> what lies there now
        self.repairs = drive(repairs_steps(store))
        self.destroyed = drive(destroyed_months_steps(store))
        self.late = Late_Files(store)
        self.late.read()

    def late_of(self, start_ms: int) -> list[Archive_File]:
        """The late files of a window that are there."""
        noted = self.late.of(start_ms)
        for name, file in noted.items():
            if name not in self._late_now:
                now = self._late_now[name] = self._archive.as_it_is(file)
                if now is None:
                    tell_gone(start_ms, file)
        return [now for name in noted if (now := self._late_now[name]) is not None]

    def lacks(self, found: Mapping[int, Collection[str]]) -> dict[int, Lacks]:
        """Window -> what its repair lacks, or the next one will, of those that were computed from all of their files.
        found: window -> its files that are there."""

        def of_window(start_ms: int) -> Lacks | None:
            return drive(lacks_steps(self._store, start_ms, found[start_ms], self.repairs[start_ms]))

        whole = [start_ms for start_ms in found if start_ms in self.repairs and self.repairs[start_ms].whole]
        with ThreadPoolExecutor(THREADS) as pool:
            told = zip(whole, pool.map(of_window, whole), strict=True)
            return {start_ms: lacks for start_ms, lacks in told if lacks is not None}


def _plan(
    starts: Sequence[int],
    files: Sequence[Archive_File],
    kept: _Kept,
    cache: Cache,
    archive: Archive,
    now_ms: int,
) -> Summary:
    """What is to become of each window, and what is to be read for it."""
    entries = _Entries(cache)
    summary = Summary()
    wanted: set[int] = set()
    found = {start_ms: {file.name for file in kept.late_of(start_ms)} for start_ms in starts}  # repairs have these, too
    for file in files:
        for start_ms in file.oldest.starts(archive.settle_ms):
            if start_ms in found:
                found[start_ms].add(file.name)
    lacking = kept.lacks(found)
    for start_ms in starts:
        repair, number = kept.repairs.get(start_ms), len(found[start_ms])
        if start_ms + WINDOW_MS + archive.settle_ms > now_ms:
            outcome = NOT_YET
        elif repair is not None and repair.whole and number <= repair.files and start_ms not in lacking:
            outcome = KEPT_REPAIR
        else:
            outcome = entries.outcome(start_ms)
        if outcome == REBUILD and month_of(start_ms) in kept.destroyed:
            outcome = NO_SECRET
        if outcome == REBUILD and (lacks := lacking.get(start_ms)) is not None:
            tell_lacks(start_ms, lacks)
            if repair is not None and number <= repair.files:
                outcome = KEPT_LACKS
        if outcome == REBUILD:
            wanted.add(start_ms)
        summary.windows.append(Window_Result(iso(start_ms), outcome, number))
    read = files_of(files, wanted, archive.settle_ms)
    summary.files, summary.bytes = len(read), sum(file.size_bytes for file in read)
    return summary


def files_of(files: Iterable[Archive_File], starts: set[int], settle_ms: int) -> list[Archive_File]:
    """Those that may hold records of these windows."""
    return [file for file in files if not starts.isdisjoint(file.oldest.starts(settle_ms))]


class _Entries:
    """What the cache says of windows and what is above them."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[str, Entry | None] = {}

    def outcome(self, start_ms: int) -> str:
        """Whether a repair may take the place of what is there, or why not."""
        entry = self._entry(HALF_HOUR, start_ms)
        if entry is not None:
            return KEPT_FINAL if entry["status"] == FINAL and entry["provenance"] == STREAM else REBUILD
        above = (self._entry(period, parent_ms) for period, parent_ms in parents(HALF_HOUR, start_ms))
        return KEPT_EMPTY if any(found is not None and found["status"] == FINAL for found in above) else REBUILD

    def reached(self, start_ms: int) -> bool:
        """Whether a window is in everything above it. Once its day is closed, summaries of other windows are gone: then
        an hour and a day can be made anew only of windows that are computed anew as well."""
        below = brief_of(self._entry(HALF_HOUR, start_ms))
        for period, parent_ms in parents(HALF_HOUR, start_ms) if below is not None else ():
            above = brief_of(self._entry(period, parent_ms))
            if below is None or above is None or below.summary not in above.parts:
                return False
            below = above
        return True

    def _entry(self, period: str, start_ms: int) -> Entry | None:
        key = cache_key(period, start_ms)
        if key not in self._known:
            self._known[key] = entry_in(self._cache, key)
        return self._known[key]


class _Backfill:
    """One run over some windows."""

    def __init__(self, config: SA__Config, starts: Sequence[int]) -> None:
        config.require_input()
        self._config = config
        health = Health(moment())
        source = Archive_Stream(config) if config.source == "s3" else None
        application = self._application = Application(config, health, source=source)
        info = application.describe(threading.Event())
        assert info is not None
        application.state.check()
        settings = Reconciler_Settings(sampling_percent=config.sampling_percent, refresh_ms={})
        application.open(info, settings=settings)
        claim_cache(application.cache, config.application, info.name)
        self._starts = starts
        self._archive = open_archive(config)
        self._secrets = Secrets(application.store, lambda: secrets.token_bytes(8))
        self._kept = _Kept(application.store, self._archive)

    def run(self, jobs: int | None) -> Summary:
        application, starts, archive = self._application, self._starts, self._archive
        files = self._files = archive.files_between(starts[0], starts[-1] + WINDOW_MS).files
        summary = _plan(starts, files, self._kept, application.cache, archive, application.now().wall_ms)
        self._results = dict(zip(starts, summary.windows, strict=True))
        wanted = self._to_rebuild()
        read = files_of(files, set(wanted), archive.settle_ms)
        summary.files, summary.bytes = len(read), sum(file.size_bytes for file in read)
        if wanted:
            summary.records = self._rebuild(wanted, read, summary.bytes, jobs)
        summary.entries = self._publish()
        entries = _Entries(application.cache)
        for start_ms, result in self._results.items():
            if result.outcome == REBUILT and not entries.reached(start_ms):
                result.outcome = ALONE
        return summary

    def _to_rebuild(self) -> list[int]:
        """Windows that are still to be computed, whose secrets are there."""

        def left() -> list[int]:
            return [start_ms for start_ms, result in self._results.items() if result.outcome == REBUILD]

        drive(self._secrets.load_steps(sorted({month_of(start_ms) for start_ms in left()})))
        for start_ms in left():
            if month_of(start_ms) in self._secrets.destroyed:  # since it was planned
                self._results[start_ms].outcome = NO_SECRET
        return left()

    def _rebuild(self, wanted: Sequence[int], files: Sequence[Archive_File], total_bytes: int, jobs: int | None) -> int:
        """How many records the files have."""
        config, application = self._config, self._application
        open_logs = Archive_Logs(config.logs_bucket)
        with Pool(started(jobs_for(total_bytes, jobs))) as pool:  # its processes start while the lists are looked at
            if not application.fields.checked:
                decide_fields(application.fields, open_logs(files))
            intake = config.intake(application.fields.lists)
            counting = Counting(
                intake,
                config.timing(),
                self._secrets.seeds,
                application.now().wall_ms,
                self._archive.settle_ms,
                checked=application.fields.checked,
            )
            records = 0
            with progress(len(files), total_bytes) as on_read:

                def on_file(read: File_Read) -> None:
                    nonlocal records
                    records += read.records
                    on_read(1, read.stored.size_bytes, read.records)
                    self._note_late(read)

                for window in Windows_Of_Files(open_logs, files, wanted, counting, pool, on_file):
                    if not self._kept.late_of(window.window.start_ms):
                        self._keep(window, counting)
        for start_ms in self._to_rebuild():  # with files in which nobody would look for them
            whole = {
                *files_of(self._files, {start_ms}, self._archive.settle_ms),
                *self._kept.late_of(start_ms),
            }
            by_time = sorted(whole, key=lambda file: (file.oldest.from_ms, file.key))
            self._keep(window_of_files(open_logs(by_time), start_ms, counting), counting)
        return records

    def _note_late(self, read: File_Read) -> None:
        """Keep of which windows a file has records though nobody would look for it: what was computed of them without
        it, now or earlier, is computed again."""
        for start_ms in read.starts:
            result = self._results.get(start_ms)
            if result is None or read.stored.oldest.is_looked_at(start_ms, self._archive.settle_ms):
                continue
            if result.outcome in COMPUTED and self._kept.late.note(start_ms, read.stored):
                result.outcome = REBUILD

    def _keep(self, read: Window_Read, counting: Counting) -> None:
        """Keep a window as a repair."""
        start_ms, intake = read.window.start_ms, counting.intake
        read.window.fields |= intake.lists.mask  # also of one that is empty
        broken = {failed.name: str(failed.error) for failed in read.failed}
        computed = Computed(read.window, len(read.files) - len(broken), broken)
        reading = f"{intake.settings(counting.timing)}\n{self._secrets.tag(month_of(start_ms))}"
        names = [each.name for each in read.files]
        known = self._kept.repairs.get(start_ms)
        kept = drive(keep_steps(self._application.store, reading, names, computed, known))
        result = self._results[start_ms]
        if kept is None and known is not None and known.whole:  # of more files, of which some were deleted
            result.outcome, result.unreadable = KEPT_UNREAD if broken else KEPT_LACKS, broken
            return
        result.outcome, result.files, result.unreadable = BROKEN if broken else REBUILT, len(names), broken
        result.records = read.window.total_requests

    def _publish(self) -> int:
        """Let the reconciler write the entries of the windows and of all above them; how many it wrote."""
        written = 0
        for _ in range(PASSES_MAX):
            result = drive(self._application.reconciler.pass_steps(self._application.now()))
            written += len(result.written)
            if not result.written and not result.skipped:
                break
        return written


def print_summary(summary: Summary, as_json: bool, dry_run: bool) -> bool:
    """A line a window, then what was read; or all of it as JSON. Whether every file was read."""
    if as_json:
        print(without_secrets(json.dumps(summary.json())))
    else:
        console = wide_console()
        for result in summary.windows:
            records = "" if result.records is None else f", {result.records:,} records"
            say(console, printable(f"{result.window}  {result.outcome}  ({result.files:,} files{records})"))
            for name, why in result.unreadable.items():
                say(console, printable(f"    {name}: {why}"))
        outcomes = "; ".join(f"{number:,} {outcome}" for outcome, number in summary.outcomes.items())
        say(console, f"{len(summary.windows):,} windows: {outcomes}")
        read = f"{summary.files:,} files, {filesize.decimal(summary.bytes)}"
        if dry_run:
            say(console, f"It would read {read}.")
        else:
            rate = f"{summary.records / max(summary.seconds, 0.001):,.0f} records/s"
            say(console, f"Read {read}, {summary.records:,} records in {summary.seconds:.1f} s ({rate}).")
            say(console, f"{summary.entries:,} entries were written.")
    return not any(result.unreadable for result in summary.windows)
