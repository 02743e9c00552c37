"""The invariants: every write to the stores, and the end of a run, against what must be there.

A check that fails raises Violation; its name says which promise was broken:

    content    a partial, a progress record or an entry is not what the oracle says
    one-key    one key got two contents
    lacks      something final lacks a record that reached its partition in time
    twice      a record counts twice
    status     something final became partial, or a roll-up is final over something that is not
    revision   a revision went back, or stayed while final content changed
    owner      the owner of a lease misses a partial that it named, or may not checkpoint what it has
    dropped    what was dropped is not counted, or not dead-lettered, exactly once
    early      something is final before its end, by the source's clock
    end        a shard that is open is taken for ended
    archive    an entry from the archive is not the records of its files; or replaces what the stream made final
    stranger   an entry counts records of another stream of the same name
    edition    the state store does not know the highest version of an entry that was final
    finality   with faults over, something covered is not final
    coverage   a partition vouches for less than it has read
    crash      the product raised something that nobody expects
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from sa_stream.commits.codec import decode_progress
from sa_stream.commits.keys import EDITIONS_PREFIX
from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.partitions import END
from sa_stream.records.hashing import hash_of
from sa_stream.rollups.editions import editions_steps
from sa_stream.rollups.entry import S3
from sa_stream.rollups.periods import (
    HALF_HOUR,
    cache_key,
    child_period,
    children,
    end_of,
    parse_cache_key,
)
from sa_stream.rollups.publication import is_open_repair
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import BEGINNING_MS, MINUTE_MS, WINDOW_MS
from sa_stream.windows.window import Window
from tests.simulation.at_rest import FOREVER_MS, At_Rest, Violation, parse_set_aside
from tests.simulation.ledger import Content, Ledger, Remembering_Oracle
from tests.simulation.repaired import Repair_Checks, paths_of
from tests.simulation.stable import shown, stable_letter, stable_progress, stable_snapshot

if TYPE_CHECKING:
    from tests.simulation.world import World

NOTICED_WITHIN_MS = 3 * MINUTE_MS  # that the stream is another one, by a worker's own clock
NOT_OF_RECORDS = ("shrunk_windows", "set_aside_records", "gone")  # counters of what happened to a partition
POISON = b"/poison/"  # in a payload: the engine fails on it


class Checks(At_Rest, Repair_Checks):
    def __init__(self, world: "World", ledger: Ledger) -> None:
        self.world = world
        self.ledger = ledger
        self.begin_repairs()
        self.closed: dict[str, list[tuple[int, int]]] = {}  # partition -> (watermark, number) where windows close
        self.versions: dict[tuple[str, int], str] = {}  # (entry, revision) -> summary, while final
        self.highest: dict[str, tuple[bool, int]] = {}  # entry -> the highest (final, revision) ever written
        self.listed: set[tuple[str, str, int]] = set()  # (entry, partition, number) of every source ever named
        self.passed: list[tuple[int, int]] = []  # at rest: when, and up to which time every shard has passed
        self.waited_ms = BEGINNING_MS  # at rest: when windows last waited for the longest retention

    def covers(self, since_ms: int, start_ms: int) -> bool:
        return since_ms == BEGINNING_MS or start_ms >= since_ms + self.world.timing.coverage_margin_ms

    # ------------------------------------------------------------------ state store

    def put(self, key: str, data: bytes, before: bytes | None) -> None:
        kind = key.split("/")[0]
        if kind == "partials":
            self._partial(key, data)
        elif kind == "progress":
            self._progress(key, data)
        elif kind == "dead-letters":
            self._set_aside(key, data)
        elif kind == "repairs":
            self._repair(key, data)
        if before is None or data == before:
            return
        if kind == "snapshots":
            same = stable_snapshot(before, self.world.timing) == stable_snapshot(data, self.world.timing)
        elif kind == "progress":
            same = stable_progress(key, before, self.world.timing) == stable_progress(key, data, self.world.timing)
        elif kind == "repair-files":
            same = self._same_files(before, data)
        elif kind == "dead-letters" and parse_set_aside(key):
            same = stable_letter(before) == stable_letter(data)
        elif kind == "secrets":  # whoever had one under way made it for nobody: a month says when it has no more
            same = f"secrets-destroyed/{key.split('/')[1][:7]}" in self.world.store.objects
        elif kind == "editions":  # a late creator takes a number that has become free, not above the one that counts
            entry, _, number = key.removeprefix(EDITIONS_PREFIX).rpartition("/")
            same = drive(editions_steps(self.world.store, entry, FOREVER_MS)).next_number > int(number)
        else:
            same = False
        if not same:
            raise Violation("one-key", f"{key} was put with two contents: {shown(before)} and {shown(data)}")

    def _partial(self, key: str, data: bytes) -> None:
        actor = self.world.actor
        if actor is None or actor.consumer is None or not self.world.exact:
            return
        state = actor.consumer.state
        if state.lineage in self.world.closed:
            return
        window = Window.from_bytes(data, key)
        oracle, all_read = self._oracle(state.partition, state.lineage, state.since_ms)
        if not all_read and not self.covers(state.since_ms, window.start_ms):
            return
        number = int(key.rsplit("/", 1)[1][3:])
        self._same_content(f"partial {key}", window, oracle.content(window.start_ms, number), all_read)
        if number not in oracle.last_touch(window.start_ms, int(state.number), all_read):
            raise Violation("content", f"{key} is not named after the last record that touched it")

    def _oracle(self, partition: str, lineage: str, since_ms: int) -> tuple[Remembering_Oracle, bool]:
        """The oracle for a lineage, and whether it has read all records but those that it set aside: then it must be
        right about every window, whatever it vouches for."""
        skipped = self.world.skipped.get(lineage)
        if skipped:
            return self.ledger.without(partition, skipped), True
        return self.ledger.of(partition), since_ms == BEGINNING_MS

    def _counted(self, window: Window, start_ms: int, end_ms: int) -> Counter[str]:
        """Paths of what a window counts. What its table lacks in the bounded form, its distinct paths say: whether each
        was counted, not how often."""
        found = paths_of(window)
        if not window.top_paths_error:
            return found
        if not self.world.shrunk:
            raise Violation("content", f"{self.label(start_ms)} lacks paths, and nobody shrunk anything")
        hashes = set(window.unique_paths.hashes.tolist())
        for partition in self.ledger.partitions:
            for window_ms, puts in self.ledger.of(partition).puts.items():
                if start_ms <= window_ms < end_ms:
                    for seed in self.world.seeds_of(window_ms):
                        found.update(
                            {put.path: 1 for put in puts if put.path not in found and hash_of(put.path, seed) in hashes}
                        )
        twice = self.world.secrets_torn and len(found) < len(hashes)  # a duplicate, hashed with another secret
        if len(found) != len(hashes) and not twice and not self.world.replaced_ms:
            raise Violation("content", f"{self.label(start_ms)} counts {len(hashes)} paths, known are {len(found)}")
        return found

    def _same_content(self, what: str, window: Window, expected: Content, all_read: bool) -> None:
        found = self._counted(window, window.start_ms, window.start_ms + WINDOW_MS)
        error = window.top_paths_error
        table = paths_of(window)
        for path in found.keys() | expected.paths.keys():
            wanted = expected.paths[path]
            if not wanted - error <= table[path] <= wanted or (wanted > 0) != (found[path] > 0):
                more, less = found - expected.paths, expected.paths - found
                raise Violation("content", f"{what}: lacks {dict(less)}, has too much {dict(more)}, error {error}")
        for name, number, wanted in (
            ("total_requests", window.total_requests, expected.paths.total()),
            ("late_records", window.late_records, expected.late),
            ("duplicate_records", window.duplicate_records, expected.duplicates),
            ("invalid_records", window.invalid_records, expected.invalid),
        ):
            uncertain = name == "invalid_records" and not all_read
            if number != wanted and not (uncertain and wanted - expected.too_late <= number < wanted):
                raise Violation("content", f"{what}: {name} is {number}, must be {wanted}")

    def _progress(self, key: str, data: bytes) -> None:
        actor = self.world.actor
        if actor is None or actor.consumer is None:
            return  # a put that was under way when its worker died: it was looked at when it was made
        progress = decode_progress(data, key)
        number = int(actor.consumer.state.number)
        oracle, all_read = self._oracle(progress.partition, progress.lineage, progress.since_ms)
        if progress.number == END and not self.world.replaced_ms:
            self._all_was_read(self.ledger.of(progress.partition), number, progress.since_ms)
        elif progress.number != END and int(progress.number) != number:
            raise Violation("content", f"{key} is written after {number}")
        self.closes(progress.partition, progress.watermark_ms, number)
        if not self.world.exact or progress.lineage in self.world.closed:
            return
        for start_ms in oracle.touches.keys() | progress.partials.keys():
            if all_read or self.covers(progress.since_ms, start_ms):
                name = progress.partials.get(start_ms)
                allowed = oracle.last_touch(start_ms, number, all_read)
                if (None if name is None else int(name.number)) in allowed:
                    continue
                if name is not None:
                    raise Violation("content", f"{key} names {name} for {self.label(start_ms)}, not the last one")
                if not self._may_be_forgotten(progress, number, start_ms):
                    raise Violation("content", f"{key} does not name {self.label(start_ms)}")
        counters = {name: n for name, n in progress.counters.items() if name not in NOT_OF_RECORDS}
        if all_read and counters != (wanted := oracle.counters_after(number)):
            raise Violation("dropped", f"{key} counts {progress.counters}, must be {wanted}")
        skipped = self.world.skipped.get(progress.lineage)
        if skipped is not None:
            set_aside = sum(
                first <= n <= last for first, last in skipped for n in self.ledger.of(progress.partition).numbers
            )
            if progress.counters.get("set_aside_records", 0) != set_aside:
                raise Violation("dropped", f"{key} counts {progress.counters}, {set_aside} were set aside")

    def closes(self, partition: str, watermark_ms: int, number: int) -> None:
        """Windows up to the watermark are closed after this record: by a progress record, or, for the child of ended
        shards, from its beginning."""
        self.closed.setdefault(partition, []).append((watermark_ms, number))

    def _all_was_read(self, oracle: Remembering_Oracle, number: int, since_ms: int) -> None:
        """At the end of a shard. What the retention took before it was read is not vouched for."""
        kept_ms = self.world.horizon_ms()
        for unread, arrival_ms in zip(oracle.numbers, oracle.arrivals_ms, strict=True):
            if unread <= number or arrival_ms < self.world.start.from_ms:
                continue
            if arrival_ms >= kept_ms:
                raise Violation("content", f"a shard ends after {number}, though {unread} can still be read")
            if arrival_ms >= since_ms:
                raise Violation("content", f"a shard ends and vouches for {unread}, which nobody has read")

    def _may_be_forgotten(self, progress: Progress, number: int, start_ms: int) -> bool:
        """An old window whose entry lists the partition, or never will: somebody lost records, so that the stream will
        not make it final, and it is final, or a repair has taken its place, which names the file that it lacks."""
        oracle, all_read = self._oracle(progress.partition, progress.lineage, progress.since_ms)
        watermarks = [mark for n, mark in zip(oracle.numbers, oracle.watermarks, strict=True) if n <= number]
        old = bool(watermarks) and start_ms + WINDOW_MS + self.world.timing.keep_ms <= watermarks[-1]
        entry = self.world.entry(cache_key(HALF_HOUR, start_ms))
        listed = entry is not None and any(
            source["partition"] == progress.partition
            and int(source["number"]) in oracle.last_touch(start_ms, number, all_read)
            for source in entry["sources"]
        )
        # Somebody who stalled may have put back what was there before; or it lists what came after a lost snapshot; or
        # a repair that lacks a file took its place, which gives way to the stream's partials as the store has them.
        if (self.world.torn or progress.partition in self.world.damaged or is_open_repair(entry)) and not listed:
            key, allowed = cache_key(HALF_HOUR, start_ms), oracle.last_touch(start_ms, number, all_read)
            listed = any((key, progress.partition, n) in self.listed for n in allowed if n is not None)
        if not old or entry is None or listed:
            return old and listed
        if entry["status"] == "final" and entry["provenance"] == S3:
            return True
        stays = entry["status"] == "final" or is_open_repair(entry)
        return stays and not self.covers(self.world.since_ms(), start_ms)

    def _set_aside(self, key: str, data: bytes) -> None:
        """Only a batch with poison in it is set aside, in one letter, and by somebody who failed on it often enough."""
        found = parse_set_aside(key)
        actor = self.world.actor
        if found is None or actor is None or actor.link is None or actor.consumer is None or self.world.replaced_ms:
            return
        first, last = found
        partition = actor.link.shard_id
        oracle = self.ledger.of(partition)
        records = [place for place, number in enumerate(oracle.numbers) if first <= number <= last]
        letter = msgspec.json.decode(data)
        if letter["records"] != len(records) or letter["arrival_ms"] != oracle.arrivals_ms[records[0]]:
            raise Violation("dropped", f"{key} says {letter}, it has {len(records)} records")
        for aside in actor.consumer._set_aside:
            if aside.first <= first and last <= aside.last:
                poisoned = [n for n, payload in zip(oracle.numbers, oracle.payloads, strict=True) if POISON in payload]
                unlucky = (partition, aside.first) in actor.worker.unlucky  # which may narrow it down to a sound record
                if not unlucky and not any(aside.first <= number <= aside.last for number in poisoned):
                    raise Violation("dropped", f"{key}: nothing in it is poison")
                if not any(
                    low <= aside.first and aside.last <= high for low, high in actor.worker.delivered[partition]
                ):
                    raise Violation("dropped", f"{key}: more than one batch is set aside")
                if actor.worker.failures[partition, aside.first] < 3:
                    raise Violation("dropped", f"{key}: nobody failed there often enough")
                break
        else:
            raise Violation("dropped", f"{key}: nobody decided that")
        self.world.buried(actor.link, first, last, [oracle.arrivals_ms[place] for place in records])

    # ------------------------------------------------------------------ entries

    def store_entry(
        self, namespace: str, key: str, before: dict[str, Any] | None, entry: dict[str, Any], torn: bool
    ) -> None:
        """`torn`: somebody else wrote it since the writer's last look. Only such a write may go back, for a moment."""
        if namespace != NS_SA_AGGREGATE:
            return
        world = self.world
        period, start_ms = parse_cache_key(key)
        final = entry["status"] == "final"
        if final and end_of(period, start_ms) > world.now_ms:
            raise Violation("early", f"{key} is final before its end")
        world.say("entry", key, entry["status"], entry["revision"], entry["total_requests"], "torn" if torn else "")
        strict = not torn if world.options["memory"] else not world.torn
        if before is not None and strict:
            if before["status"] == "final" and not final:
                raise Violation("status", f"{key} was final and becomes partial: {entry['missing_sources']}")
            changed = before["status"] == "final" and before["summary"] != entry["summary"]
            if entry["revision"] < before["revision"] + changed:
                raise Violation("revision", f"{key}: {before['revision']} is followed by {entry['revision']}")
        if period == HALF_HOUR:
            self._origin(key, before, entry, strict)
            self.listed.update((key, source["partition"], int(source["number"])) for source in entry["sources"])
        self.highest[key] = max(self.highest.get(key, (False, 0)), (final, entry["revision"]))
        data = world.store.get(entry["summary"])
        if data is None or entry["summary"] in world.broken:
            # a round that took longer than the grace: who needs the summary has the entry made anew
            back = torn and (final, entry["revision"]) < self.highest[key]
            if final and not back and entry["summary"] not in world.broken:
                raise Violation("content", f"{key} is final and names {entry['summary']}, which does not exist")
            return
        window = Window.from_bytes(data)
        end_ms = end_of(period, start_ms)
        found = self._counted(window, start_ms, end_ms)
        self._no_strangers(key, found)
        if len(found) and found.total() != entry["total_requests"] and not window.top_paths_error:
            raise Violation("content", f"{key}: its summary is another's")
        by_stream = self._by_stream(period, start_ms, entry)
        if (final or world.lossless) and by_stream:  # nobody vouches for what lies about a loss
            self._nothing_twice(key, found, period, start_ms)
        if final:
            version = self.versions.setdefault((key, entry["revision"]), entry["summary"])
            if version != entry["summary"] and (world.options["memory"] or not world.torn):
                raise Violation("revision", f"{key}: revision {entry['revision']} has two contents")
            if period != HALF_HOUR:
                self._sources_final(key, period, start_ms)
            self._lacks_nothing(key, found, by_stream)

    def _no_strangers(self, key: str, found: Counter[str]) -> None:
        """Workers notice soon that the stream is another one, and stop for good."""
        world = self.world
        worker = world.actor.worker if world.actor is not None else None
        if worker is None or not worker.alive or world.strangers.isdisjoint(found):
            return
        if worker.replaced is None or worker.clock.moment(world.now_ms) - worker.replaced > NOTICED_WITHIN_MS:
            raise Violation("stranger", f"{key} counts records of another stream")

    def _nothing_twice(self, key: str, found: Counter[str], period: str, start_ms: int) -> None:
        end_ms = end_of(period, start_ms)
        allowed: Counter[str] = Counter()
        for partition in self.ledger.partitions:
            oracle = self.ledger.of(partition)
            for window_ms in oracle.touches:
                if start_ms <= window_ms < end_ms:
                    for touch in oracle.touches[window_ms]:
                        allowed.update(touch.paths)
            if not self.world.exact:  # how long an id is remembered has changed
                for window_ms, puts in oracle.puts.items():
                    if start_ms <= window_ms < end_ms:
                        allowed.update(put.path for put in puts)
        if period != HALF_HOUR:
            allowed |= self._allowed_of_archive(period, start_ms)
        for path, count in found.items():
            # who lost his state does not know that a record is too late, and counts it once; others are more patient
            certain = self.world.lossless and self.world.exact
            if count > (allowed[path] or (0 if certain else 1)):
                raise Violation("twice", f"{key}: {path} counts {count} times, came to count {allowed[path]} times")

    def _sources_final(self, key: str, period: str, start_ms: int) -> None:
        below = child_period(period)
        for child_ms in children(period, start_ms):
            child = self.world.entry(cache_key(below, child_ms))
            if self.world.torn and self.highest.get(cache_key(below, child_ms), (False, 0))[0]:
                continue  # for others it is final; somebody who stalled has just written over that
            if child is not None and child["status"] != "final":
                raise Violation("status", f"{key} is final, {child['cache_key']} is not")

    def _lacks_nothing(self, key: str, found: Counter[str], windows: set[int]) -> None:
        """`windows`: of the entry, those that come from the stream."""
        out_of_orderness_ms = self.world.out_of_orderness_ms
        for partition in self.ledger.partitions:
            oracle = self.ledger.of(partition)
            for window_ms in oracle.puts:
                if window_ms not in windows:
                    continue
                closed = [n for mark, n in self.closed.get(partition, ()) if mark >= window_ms + WINDOW_MS]
                read_before_closing = min(closed, default=0)
                counted = {
                    path for touch in oracle.touches.get(window_ms, ()) for path in touch.in_time
                    if touch.number <= read_before_closing and self.world.exact
                }  # fmt: skip
                for put in oracle.puts[window_ms]:
                    punctual = put.arrival_ms - put.event_ms <= out_of_orderness_ms
                    if put.path not in found and (punctual or put.path in counted):
                        why = "punctual" if punctual else "read before its window closed"
                        raise Violation("lacks", f"{key} is final without {put} of {partition}, which was {why}")
