"""The invariants of windows that are computed from the archive (tests.simulation.checks has the others)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from sa_stream.commits.keys import REPAIRS_PREFIX, destroyed_secret_key, parse_repair_key, repair_key
from sa_stream.partitions import number_of
from sa_stream.rollups.entry import FINAL, MIXED, S3, STREAM
from sa_stream.rollups.periods import HALF_HOUR, cache_key, end_of, parents, parse_cache_key
from sa_stream.rollups.repairs import WHOLE, Repair_Settings
from sa_stream.timing import MINUTE_MS, WINDOW_MS, month_of
from sa_stream.windows.window import Window
from tests.oracle import Tally, compare
from tests.simulation.archive import LATENESS_MS, Log_Archive
from tests.simulation.at_rest import Violation

# A shard must have stood still for as long as a repair waits; then a pass names the window, the repairer comes by, and
# a pass publishes it.
REPAIRED_WITHIN_MS = 45 * MINUTE_MS
UNDISTURBED_MS = 20 * MINUTE_MS  # after the faults: until then workers may still be paused

type Entry = dict[str, Any]


def counted(tally: Tally) -> Counter[str]:
    return Counter({path: numbers["count"] for path, numbers in tally.paths.items()})


def paths_of(window: Window) -> Counter[str]:
    return Counter({row.path: row.requests for row in window.paths.rows()})


class Repair_Checks:
    def begin_repairs(self) -> None:
        self.repaired: dict[str, frozenset[str]] = {}  # key of a repair -> the files that it holds
        self.files_listed: dict[str, int] = {}  # entry from the archive -> the most files that it was made of
        self.final_of: dict[str, str] = {}  # entry of a half hour -> whose it was when it first was final
        self.by_archive: set[int] = set()  # windows that had an entry from the archive at any time

    # ------------------------------------------------------------------ state store

    def _repair(self, key: str, data: bytes) -> None:
        """A repair holds each record of files that somebody found once, and nothing else."""
        archive: Log_Archive = self.world.archive
        window_ms, number, lineage = parse_repair_key(key)
        read = (window_ms, int(number_of(number)), lineage.endswith(f"-{WHOLE}"))
        window = Window.from_bytes(data, key)
        for names in archive.computed.get(read, ()):
            tally = archive.recounted(window_ms, names)
            if paths_of(window) == counted(tally) and window.duplicate_records == tally.duplicates:
                self.repaired[key] = names
                break
        else:
            raise Violation("archive", f"{key} holds no set of files that was read: {dict(paths_of(window))}")
        if read[2] and names not in archive.found[window_ms]:
            raise Violation("archive", f"{key} is not of all files that were there when somebody looked")

    # ------------------------------------------------------------------ entries

    def _origin(self, key: str, before: Entry | None, entry: Entry, strict: bool) -> None:
        """What one source has made final, the other does not replace. What is from the archive is one repair, and
        nothing else; never of fewer files than before.

        strict  nobody else wrote it since the writer's last look
        """
        origin = entry["provenance"]
        if entry["status"] == FINAL and self.final_of.setdefault(key, origin) != origin:
            raise Violation("archive", f"{key} was final from {self.final_of[key]}, and is from {origin}")
        if origin != S3:
            return
        _, window_ms = parse_cache_key(key)
        self.by_archive.add(window_ms)
        names = self._files_of(entry)
        if names is None:
            raise Violation("archive", f"{key} is from the archive, and from {entry['sources']}")
        if (entry["status"] == FINAL) != entry["sources"][0]["lineage"].endswith(WHOLE):
            raise Violation("archive", f"{key} is {entry['status']}: {entry['missing_sources']}")
        tally = self.world.archive.recounted(window_ms, names)
        data = self.world.store.get(entry["summary"])
        if data is not None and entry["summary"] not in self.world.broken:
            found = paths_of(Window.from_bytes(data))
            if found != counted(tally):
                raise Violation("archive", f"{key}: too much {found - counted(tally)}, lacks {counted(tally) - found}")
        if (entry["total_requests"], entry["duplicate_records"]) != (tally.requests, tally.duplicates):
            raise Violation("archive", f"{key} counts {entry['total_requests']}, its files have {tally.requests}")
        number = int(entry["sources"][0]["number"])
        lost = entry["status"] != FINAL and any(name.startswith(REPAIRS_PREFIX) for name in self.world.broken)
        if strict and before is not None and not lost and number < self.files_listed.get(key, 0):
            raise Violation("archive", f"{key} is made of {number} files, and was of {self.files_listed[key]}")
        self.files_listed[key] = max(number, self.files_listed.get(key, 0))

    def _files_of(self, entry: Entry) -> frozenset[str] | None:
        """What an entry from the archive is made of; None if that is not one repair."""
        sources = entry["sources"]
        if len(sources) != 1 or sources[0]["partition"] != S3:
            return None
        _, window_ms = parse_cache_key(entry["cache_key"])
        return self.repaired.get(repair_key(window_ms, int(sources[0]["number"]), sources[0]["lineage"]))

    def _by_stream(self, period: str, start_ms: int, entry: Entry) -> set[int]:
        """Windows of an entry of which only the stream has told: a roll-up may be older than the entries below it."""
        if period == HALF_HOUR:
            return {start_ms} if entry["provenance"] == STREAM else set()
        return set(range(start_ms, end_of(period, start_ms), WINDOW_MS)) - self.by_archive

    def _allowed_of_archive(self, period: str, start_ms: int) -> Counter[str]:
        """How often a request may count in what the archive has told of an entry."""
        allowed: Counter[str] = Counter()
        for window_ms in range(start_ms, end_of(period, start_ms), WINDOW_MS):
            if window_ms in self.by_archive:
                archive: Log_Archive = self.world.archive
                allowed.update(counted(archive.recounted(window_ms, archive.names(window_ms))))
        return allowed

    # ------------------------------------------------------------------ at rest

    def _instead(self, found: dict[str, Entry]) -> dict[int, Tally]:
        """Window (number) -> what it must hold, of those whose entry is from the archive."""
        instead: dict[int, Tally] = {}
        for key, entry in found.items():
            period, window_ms = parse_cache_key(key)
            if period == HALF_HOUR and entry["provenance"] == S3:
                names = self._files_of(entry)
                assert names is not None  # looked at when it was written
                instead[window_ms // WINDOW_MS] = self.world.archive.recounted(window_ms, names)
        return instead

    def _gave_way(self, found: dict[str, Entry]) -> set[int]:
        """Windows (number) that were from the archive, lacked a file, and are the stream's now: if that knows that
        there was nothing, the entry stays and says 0."""
        return {
            window_ms // WINDOW_MS
            for window_ms in self.by_archive
            if (entry := found.get(cache_key(HALF_HOUR, window_ms))) is not None
            and entry["provenance"] == STREAM
            and entry["status"] == FINAL
        }

    def _lateness_span(self) -> Sequence[int]:
        """Windows that are due to be repaired by now, of those that still could be when faults were over."""
        world = self.world
        begins_ms = world.settled_ms + UNDISTURBED_MS
        first_ms = begins_ms + REPAIRED_WITHIN_MS - LATENESS_MS - WINDOW_MS
        last_ms = world.now_ms - REPAIRED_WITHIN_MS - Repair_Settings().after_ms - WINDOW_MS
        if world.archive is None or not world.exact or world.now_ms < begins_ms + REPAIRED_WITHIN_MS:
            return ()
        return range(-(-first_ms // WINDOW_MS) * WINDOW_MS, last_ms + 1, WINDOW_MS)

    def _repairs_made(self) -> None:
        """Of the lateness span everything is final, by whomever: from the archive with all files that had landed a
        while ago."""
        world = self.world
        for window_ms in self._lateness_span():
            key = cache_key(HALF_HOUR, window_ms)
            entry = world.entry(key)
            if self._spoilt(HALF_HOUR, window_ms) or destroyed_secret_key(month_of(window_ms)) in world.store.objects:
                continue
            if entry is None and self._may_be_nothing(window_ms):
                continue  # whether there must be an entry after all, the end tells
            if entry is None or entry["status"] != FINAL:
                missing = entry and entry["missing_sources"]
                raise Violation("finality", f"{key} was not repaired: {missing}")
            if entry["provenance"] == S3:
                until_ms = min(world.now_ms, window_ms + WINDOW_MS + LATENESS_MS) - REPAIRED_WITHIN_MS
                landed, names = set(world.archive.names(window_ms, until_ms)), self._files_of(entry)
                if names is None or not names >= landed:
                    raise Violation("archive", f"{key} lacks files that landed long ago: {landed - (names or set())}")

    def _may_be_nothing(self, window_ms: int) -> bool:
        """Whether the stream may have said, or says, that a window without an entry is empty."""
        archive: Log_Archive = self.world.archive
        if self.covers(self.world.since_ms(), window_ms):
            return True
        if not self._anything_put(HALF_HOUR, window_ms):
            return not archive.recounted(window_ms, archive.names(window_ms)).requests
        above = (self.world.entry(cache_key(*parent)) for parent in parents(HALF_HOUR, window_ms))
        return any(entry is not None and entry["status"] == FINAL for entry in above)

    def _origins_at_rest(self, found: dict[str, Entry], expected: dict[str, Entry]) -> None:
        """At the end: what is from the archive is equal to its files, and roll-ups say whom they are from, but for what
        stays as it is as the summaries that it would be made of again are lost."""
        for key, entry in found.items():
            period, start_ms = parse_cache_key(key)
            if entry["status"] != FINAL:
                continue
            if period != HALF_HOUR:
                if self._spoilt(period, start_ms):
                    continue
                below = [
                    found.get(cache_key(HALF_HOUR, ms)) for ms in range(start_ms, end_of(period, start_ms), WINDOW_MS)
                ]
                origins = {half["provenance"] for half in below if half is not None}
                if entry["provenance"] != (min(origins) if len(origins) == 1 else MIXED) and origins:
                    raise Violation("archive", f"{key} is from {entry['provenance']}, made of {origins}")
            elif entry["provenance"] == S3 and (differences := compare(entry, expected[key])):
                raise Violation("archive", f"{key} at the end: {'; '.join(differences)[:600]}")

    @staticmethod
    def _same_files(before: bytes, data: bytes) -> bool:
        """Of what could not be read, why may differ."""
        return msgspec.json.decode(before).keys() == msgspec.json.decode(data).keys()
