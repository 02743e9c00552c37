"""`sa-stream archive`: log files that are old, final and verified are put elsewhere, and what nothing needs is pruned;
what was done, or would be, goes out, and what is left with the reason.
"""

import re
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumer.archive.stream import Archive_Stream
from consumer.commands.archive_report import Kept, Report
from consumer.commands.verify import verify
from consumer.worker.application import Application
from consumer.worker.stores import open_cache
from sa_stream.bounded.archiving import (
    DONE,
    NOT_VERIFIED,
    Archiver,
    Knowledge,
    Movable_Store,
    Plan,
    Way,
    by_day,
    check_places,
    plan_steps,
)
from sa_stream.bounded.verification import LANDED_AFTER
from sa_stream.commits.decisions import claim_cache
from sa_stream.commits.keys import APPLICATION_KEY, MANIFESTS_PREFIX
from sa_stream.commits.operations import Call, Operation, Steps, Together, drive
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error, In_Use, Source_Error, Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.periods import HALF_HOUR, parse_cache_key
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.pruning import Finals, Pruning, Retention
from sa_stream.rollups.retirement import clean_up_steps, forget_dead_letters_steps
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.archive_windows import THREADS, open_archive
from sa_stream.sources.archive import open_store
from sa_stream.storage.cache_files import Cache_Files
from sa_stream.storage.rehearsal import Noting_Store, Rehearsed_Cache, Rehearsed_Store
from sa_stream.storage.state_lock import hold_lock
from sa_stream.timing import DAY_MS, HOUR_MS, moment, right_now

LOCK_KEY = "locks/archive"
LOCK_S = 120.0  # it counts so long after its holder has died
# Files of the archive are read by repair, backfill and verify: these classes give them at once.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
CLASSES = ("GLACIER_IR", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "STANDARD")
# ---------------------------------------------------------------------- what is asked for


def duration_ms(text: str) -> int:
    """`30d` or `36h`. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,5})([dh])", text.strip())
    if found is None:
        raise ValueError(f"expected a time such as 30d or 36h, found {text!r}")
    return int(found[1]) * {"d": DAY_MS, "h": HOUR_MS}[found[2]]


def old_enough_ms(text: str, config: SA__Config) -> int:
    """--older-than. Raises ValueError, also for what a late record, or a file that lands late, may still change."""
    older_ms, least_ms = duration_ms(text), config.timing().keep_ms
    if older_ms < least_ms:
        raise ValueError(
            f"expected at least {least_ms // HOUR_MS}h, as windows may be amended for as long "
            f"({PREFIX}ALLOWED_LATENESS_S and a day), found {text!r}"
        )
    return older_ms


def target_of(to: str | None, to_class: str | None, config: SA__Config) -> tuple[str, str, str] | None:
    """(place, base of the keys, storage class) of --to or --to-class; None: neither is given. Raises ValueError."""
    folder = "/" in config.logs_bucket
    if to_class is not None:
        if folder:
            raise ValueError(f"--to-class is for buckets, and {PREFIX}LOGS_BUCKET is a folder: give --to file:///path")
        if to_class not in CLASSES:
            raise ValueError(
                f"expected --to-class to be one of {', '.join(CLASSES)}, found {to_class!r}: files in other classes "
                "could not be read by backfill and verify. Give --to another bucket, and let a rule of that move on"
            )
        return config.logs_bucket, "", to_class
    if to is None:
        return None
    if folder and to.startswith("file:///"):
        return f"file://{Path(to.removeprefix('file://')).resolve()}", "", ""
    found = re.fullmatch(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,253})(?:/(.*))?", to)
    if folder or found is None:
        wanted = "file:///path, as LOGS_BUCKET is a folder" if folder else "s3://bucket/prefix"
        raise ValueError(f"expected --to {wanted}, found {to!r}")
    prefix = (found[2] or "").strip("/")
    return found[1], f"{prefix}/" if prefix else "", ""


# ---------------------------------------------------------------------- the run


def archive(config: SA__Config, older_ms: int, target: tuple[str, str, str] | None, act: bool) -> Report:
    """Move files that are older than this, and prune; or say what that would be. Raises Config_Error, Source_Error and
    Store_Unavailable before it has begun, In_Use (another one is at it), Corrupt_State."""
    began_s = time.perf_counter()
    run = _Run(config, act)
    with run.pool, _Screen() as screen, run.lock():
        report = run.report
        try:
            if target is not None:
                run.move(older_ms, target, screen)
            screen.show("pruning")
            run.prune()
        except (Source_Error, Store_Unavailable) as error:  # what was done before that is reported all the same
            report.errors.append(str(error))
    report.seconds = round(time.perf_counter() - began_s, 3)
    return report


class _Screen:
    """What is at work, if standard error is a terminal: else rich is not even loaded."""

    def __init__(self) -> None:
        self._status: Any = None
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("looking")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    @contextmanager
    def left_to_others(self) -> Iterator[None]:
        """For who shows a progress of his own."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()


class _Run:
    def __init__(self, config: SA__Config, act: bool) -> None:
        if not config.cache_url and config.cache_mode == "memory":
            raise Config_Error(
                f"{PREFIX}CACHE_MODE is memory: such entries live and end with the process that made them. Set "
                f"{PREFIX}CACHE_URL to a cache service, or {PREFIX}CACHE_MODE to local_disk"
            )
        config.require_input()
        self._config, self._act = config, act
        self.report = Report(not act, None)
        self._state = (Noting_Store if act else Rehearsed_Store)(config.state_url)
        if self._state.get(APPLICATION_KEY) is None:
            raise Config_Error(f"The state store {self._state.url} has no application: check {PREFIX}STATE_URL")
        client = open_cache(config)
        self._cache = (Cache_Files if act else Rehearsed_Cache)(client)
        source = Archive_Stream(config) if config.source == "s3" else None
        self._application = Application(config, Health(moment()), source=source, state=self._state, cache=client)
        info = self._application.describe(threading.Event())
        assert info is not None
        self._application.open(info)
        if self._cache.retrieve_entry(NS_SA_AGGREGATE, APPLICATION_KEY) is None:
            raise Config_Error(
                f"The cache service {client.name} has no entries of this application: check {PREFIX}CACHE_URL (or "
                f"{PREFIX}CACHE_PATH, of a cache in a directory)"
            )
        claim_cache(client, config.application, info.name)  # or who else has it
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="archive")
        self._lock: Any = None
        self._unverified: set[int] = set()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One at a time that acts: that saves double work, and nothing else."""
        if not self._act:
            yield
            return
        try:
            self._lock = hold_lock(self._state, LOCK_S, LOCK_KEY)
        except In_Use as error:
            raise In_Use(f"Another `sa-stream archive --yes` is at work on this state store: {error}") from error
        with self._lock:
            yield

    def _alive(self) -> None:
        if self._lock is not None:
            self._lock.refresh()

    def _drive[R](self, steps: Steps[R]) -> R:
        """What is yielded together is made at the same time."""

        def perform(operation: Operation) -> Any:
            if isinstance(operation, Together):
                return list(self.pool.map(Call.__call__, operation.calls))
            return operation()

        return drive(steps, perform)

    # ------------------------------------------------------------------ files

    def move(self, older_ms: int, target: tuple[str, str, str], screen: _Screen) -> None:
        if not self._config.logs_bucket:
            raise Config_Error(f"There are no files to move: set {PREFIX}LOGS_BUCKET to the bucket of the S3 archive")
        found = open_archive(self._config)
        source: Movable_Store = found.store  # type: ignore[assignment]  # as every store that is not a stand-in
        to_place, to_base, storage_class = target
        base = found.places.base
        way = Way(source.place, base, to_place, base if storage_class else to_base, storage_class)
        check_places(way, source, _opened(to_place))
        report, until_ms = self.report, self._application.now().wall_ms - older_ms
        report.way = way
        archiver = Archiver(self._state, way, cache(_opened), found.settle_ms, self._alive)
        report.moved = archiver.outcome
        if self._act:
            screen.show("finishing what an earlier run has begun")
            self._drive(archiver.resume_steps())
        else:
            report.open_manifests = self._open_manifests()
        finals = Finals(self._cache)

        def verified(starts: Sequence[int]) -> Collection[int]:
            with screen.left_to_others():
                return _verified(self._config, starts)

        for day, files in by_day(found.files_before(until_ms)):
            todo = [file for file in files if not way.in_place or file.storage_class != storage_class]
            if not todo:
                continue
            screen.show(f"{day}: {len(todo):,} files")
            self._alive()
            proven = self._drive(archiver.proven_steps(todo[0].oldest.from_ms // DAY_MS * DAY_MS))
            known = Knowledge(lambda start_ms: finals(HALF_HOUR, start_ms), verified, proven)
            plan = self._drive(plan_steps(todo, until_ms, found.settle_ms, known))
            self._note(day, plan)
            if self._act:
                self._drive(archiver.archive_steps(day, plan.move, right_now().wall_ms))
        if self._act:
            report.days.clear()

    def _note(self, day: str, plan: Plan) -> None:
        for left in plan.left:
            self.report.left.setdefault(left.reason, Kept()).add(left)
            if left.reason == NOT_VERIFIED:
                self._unverified.update(left.windows)
        if plan.move and not self._act:
            self.report.days[day] += len(plan.move)
            self.report.moved.files += len(plan.move)
            self.report.moved.size_bytes += sum(file.size_bytes for file in plan.move)

    def _open_manifests(self) -> int:
        keys = {item.key for item in self._state.list(MANIFESTS_PREFIX)}
        return sum(not key.endswith(DONE) and key + DONE not in keys for key in keys)

    # ------------------------------------------------------------------ what nothing needs

    def prune(self) -> None:
        application, config = self._application, self._config
        progress = self._drive(Progress_Reader(self._state).steps())
        if progress is None:
            raise Store_Unavailable("The progress records were replaced faster than they could be read: try again")
        archive_from_ms = application.start.from_ms if config.source == "s3" else None
        stream = Stream_View(
            application.list_shards(),
            progress,
            application.timing,
            application.now().wall_ms,
            archive_from_ms=archive_from_ms,
        )
        self._drive(clean_up_steps(self._state, self._cache, stream, {}))
        self._drive(forget_dead_letters_steps(self._state, config.dead_letter_days * DAY_MS))
        retention = Retention(
            config.retain_raw_days,
            config.retain_consolidated_days,
            config.retain_30min_days,
            config.retain_hourly_days,
            config.retain_daily_days,
        )
        pruning = Pruning(self._state, self._cache, stream, retention, self._unverified)
        self.report.pruned = self._drive(pruning.steps())
        self.report.state = self._state.gone


def _opened(place: str) -> Movable_Store:
    return open_store(place, THREADS)  # type: ignore[return-value]  # as every store that is not a stand-in


def _verified(config: SA__Config, starts: Sequence[int]) -> Collection[int]:
    """Which of these windows say what their files say, or differ for a known reason that no backfill would mend: one
    may still count files that landed after the window was computed, as long as they lie in the archive."""
    unlike = {
        parse_cache_key(each.key)
        for each in verify(config, starts, None).differing
        if not each.explained or any(LANDED_AFTER in one.reasons for one in each.differences)
    }
    return {start_ms for start_ms in starts if (HALF_HOUR, start_ms) not in unlike}
