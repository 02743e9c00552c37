"""`sa-stream verify`: windows of a time come in, are counted again from the archive, and what is stored of them is held
against that. Nothing is written.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace
from rich import filesize

from consumer.commands.backfill import require_archive
from consumer.commands.reading import jobs_for, progress, started
from consumer.commands.screen import say, wide_console
from consumer.process.terminal import printable
from consumer.worker.stores import open_cache, open_state
from sa_stream.archive.reads import File_Read
from sa_stream.bounded.files import Counting, Window_Read
from sa_stream.bounded.pool import Pool
from sa_stream.bounded.ranges import Windows_Of_Files
from sa_stream.bounded.verification import Difference, Facts, Rollups, cut_fields, differences, explained
from sa_stream.commits.decisions import Field_Choice
from sa_stream.commits.keys import secret_key
from sa_stream.commits.operations import drive
from sa_stream.commits.secrets import is_secret
from sa_stream.config import SA__Config
from sa_stream.records.columns import REASONS, TOO_LATE
from sa_stream.rollups.entry import S3, About, Entry, build_entry
from sa_stream.rollups.periods import HALF_HOUR, cache_key, end_of, from_iso
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.readable import entry_in
from sa_stream.secrecy import without_secrets
from sa_stream.services.archive_windows import Archive_Logs, open_archive
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import WINDOW_MS, month_of, right_now
from sa_stream.windows.partition_state import SET_ASIDE_RECORDS
from sa_stream.windows.window import Window

VALUE_CHARS_MAX = 200  # of a value that is printed


class Verified(Struct):
    """An entry that differs from the recount, or of which the files could not all be read."""

    key: str
    status: str | None
    provenance: str | None
    differences: list[Difference]
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def explained(self) -> bool:
        return not self.unreadable and all(each.reasons for each in self.differences)


class Report(Struct):
    """entries: that were looked at; differing: those of them that are not as the files say; not_yet: windows whose
    files may still land."""

    entries: int = 0
    not_yet: int = 0
    differing: list[Verified] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    records: int = 0
    seconds: float = 0.0

    @property
    def explained(self) -> bool:
        return all(each.explained for each in self.differing)

    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = to_builtins(self)
        return said | {"explained": self.explained}


def verify(config: SA__Config, starts: Sequence[int], jobs: int | None) -> Report:
    """Count windows (starts in ms) and the roll-ups that are made of them alone, and compare. Raises Config_Error,
    Source_Error, Store_Unavailable, Field_List_Error, Process_Ended."""
    require_archive(config)
    started_s = time.perf_counter()
    report = _Verification(config, starts).run(jobs)
    report.seconds = round(time.perf_counter() - started_s, 3)
    return report


class _Compared(Struct):
    stored: Entry | None
    recounted: Entry
    found: list[Difference]
    unreadable: dict[str, str]
    cut: frozenset[str]
    landed_after: int = 0  # records of it, in files that landed after the entry was computed


class _Verification:
    def __init__(self, config: SA__Config, starts: Sequence[int]) -> None:
        self._config = config
        self._archive, self._cache = open_archive(config), open_cache(config)
        state = open_state(config)
        now_ms = right_now().wall_ms
        self._starts = [start for start in starts if start + WINDOW_MS + self._archive.settle_ms <= now_ms]
        self.report = Report(not_yet=len(starts) - len(self._starts))
        self._fields = Field_Choice(config.fields, config.drop_fields, config.allow_fields, state)
        self._seeds = {month: _seed(state, month) for month in {month_of(start) for start in starts}}
        self._dropped, self._set_aside = _dropped_and_set_aside(state)  # of all windows: what explains one is taken off
        self._differing: dict[tuple[str, int], _Compared] = {}
        self._rollups = Rollups()
        # Without a secret, hashes are of another one than those of the entry: only this run compares them.
        any_seed = secrets.randbits(64)
        self._counting = Counting(
            config.intake(self._fields.lists),
            config.timing(),
            {month: any_seed if seed is None else seed for month, seed in self._seeds.items()},
            now_ms,
            self._archive.settle_ms,
            checked=self._fields.checked,
        )

    def run(self, jobs: int | None) -> Report:
        report, starts = self.report, self._starts
        if not starts:
            return report
        files = self._archive.files_between(starts[0], starts[-1] + WINDOW_MS).files
        report.files, report.bytes = len(files), sum(file.size_bytes for file in files)
        with Pool(started(jobs_for(report.bytes, jobs))) as pool, progress(len(files), report.bytes) as on_read:

            def on_file(read: File_Read) -> None:
                report.records += read.records
                on_read(1, read.stored.size_bytes, read.records)

            walk = Windows_Of_Files(
                Archive_Logs(self._config.logs_bucket), files, starts, self._counting, pool, on_file
            )
            for read in walk:
                self._compare_window(read)
        report.differing = self._explained(walk.late)
        return report

    def _compare_window(self, read: Window_Read) -> None:
        window = read.window
        window.fields |= self._counting.intake.lists.mask
        unreadable = {failed.name: str(failed.error) for failed in read.failed}
        stored = self._compare(HALF_HOUR, window, unreadable)
        if stored is not None and stored.get("provenance") == S3:
            computed_ms = from_iso(stored["computed_at"])
            landed = sum(each.starts[window.start_ms] for each in read.files if each.stored.modified_ms > computed_ms)
            if (HALF_HOUR, window.start_ms) in self._differing:
                self._differing[HALF_HOUR, window.start_ms].landed_after = landed
        for period, merged in self._rollups.add(window):
            self._compare(period, merged, {})

    def _compare(self, period: str, window: Window, unreadable: dict[str, str]) -> Entry | None:
        """Remembers what differs."""
        self.report.entries += 1
        key = cache_key(period, window.start_ms)
        stored = entry_in(self._cache, key)
        about = About(True, 0, [], [], None, 0)
        recounted = build_entry(period, window.start_ms, window, about, self._config.sampling_percent, bounded=True)
        found = differences(stored, recounted)
        if found or unreadable:
            self._differing[period, window.start_ms] = _Compared(
                stored, recounted, found, unreadable, cut_fields(window)
            )
        return stored

    def _explained(self, late: Mapping[int, int]) -> list[Verified]:
        """What differs, smaller periods first, with reasons."""
        result = []
        reasons_below: dict[int, tuple[str, ...]] = {}  # half hour -> why it differs; empty: nobody knows
        for (period, start_ms), each in self._differing.items():
            same_hashes = self._seeds[month_of(start_ms)] is not None
            if period == HALF_HOUR:
                facts = Facts(each.landed_after, late.get(start_ms, 0), self._dropped, self._set_aside, each.cut)
                found, taken = explained(each.stored, each.recounted, each.found, facts, same_hashes)
                self._set_aside -= max(0, taken - self._dropped)
                self._dropped = max(0, self._dropped - taken)
                reasons_below[start_ms] = found[0].reasons if found else ()
            else:
                below = [
                    reasons
                    for half_ms, reasons in reasons_below.items()
                    if start_ms <= half_ms < end_of(period, start_ms)
                ]
                known = tuple(dict.fromkeys(reason for reasons in below for reason in reasons)) if all(below) else ()
                found, _ = explained(each.stored, each.recounted, each.found, Facts(cut=each.cut), same_hashes)
                found = [replace(one, reasons=tuple(dict.fromkeys((*one.reasons, *known)))) for one in found]
            stored = each.stored or {}
            key = cache_key(period, start_ms)
            result.append(Verified(key, stored.get("status"), stored.get("provenance"), found, each.unreadable))
        return result


def _seed(state: State_Store, month: str) -> int | None:
    """The hash secret of a month, if there is one."""
    attempt = 0
    while (data := state.get(secret_key(month, attempt))) is not None:
        if is_secret(data):
            return int.from_bytes(data, "big")
        attempt += 1
    return None


def _dropped_and_set_aside(state: State_Store) -> tuple[int, int]:
    """How many records the shards have dropped as too late, and passed over unread."""
    progress = drive(Progress_Reader(state).steps()) or {}
    counters: Counter[str] = sum((Counter(own.counters) for own in progress.values()), Counter())
    return counters[REASONS[TOO_LATE]], counters[SET_ASIDE_RECORDS]


def print_report(report: Report, as_json: bool) -> bool:
    """Stored against recounted, field by field; or all of it as JSON. Whether every difference has a known reason."""
    if as_json:
        print(without_secrets(json.dumps(report.json())))
        return report.explained
    console = wide_console()
    for each in report.differing:
        say(console, f"{each.key}  ({each.status or 'no entry'}{f', {each.provenance}' if each.provenance else ''})")
        for name, why in each.unreadable.items():
            say(console, printable(f"    cannot be read: {name}: {why}"))
        for one in each.differences:
            why = "; ".join(one.reasons) or "NO KNOWN REASON"
            say(
                console,
                printable(f"    {one.field}: stored {_short(one.stored)}, recounted {_short(one.recounted)}: {why}"),
            )
    read = f"{report.files:,} files, {filesize.decimal(report.bytes)}, {report.records:,} records"
    say(console, f"Read {read} in {report.seconds:.1f} s.")
    unexplained = sum(not each.explained for each in report.differing)
    not_yet = f", {report.not_yet:,} windows too young to be looked at" if report.not_yet else ""
    say(
        console,
        f"{report.entries:,} entries: {report.entries - len(report.differing):,} are what the files say, "
        f"{len(report.differing) - unexplained:,} differ for known reasons, {unexplained:,} for none{not_yet}.",
    )
    return report.explained


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"
