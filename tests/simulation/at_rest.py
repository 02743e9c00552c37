"""The invariants that hold when faults are over, and at the end of a run (tests.simulation.checks has the others)."""

from itertools import chain
from typing import Any

import msgspec

from sa_stream.commits.operations import drive
from sa_stream.commits.progress import Progress
from sa_stream.embedded.memory_kinesis import Shard
from sa_stream.partitions import END, RETIRED
from sa_stream.rollups.editions import editions_steps
from sa_stream.rollups.entry import STREAM
from sa_stream.rollups.periods import (
    CLOSED_BY,
    HALF_HOUR,
    cache_key,
    end_of,
    from_iso,
    parse_cache_key,
    start_of,
    time_key,
)
from sa_stream.timing import BEGINNING_MS, MINUTE_MS
from tests.oracle import TOP_LISTS, compare

FOREVER_MS = 1 << 60
FINAL_WITHIN_MS = 15 * MINUTE_MS


def parse_set_aside(key: str) -> tuple[int, int] | None:
    """First and last number of a dead letter of a batch; None for the letter of a line."""
    _, _, first, name = key.split("/")
    return (int(first), int(name.removeprefix("set_aside-"))) if name.startswith("set_aside-") else None


class Violation(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class At_Rest:
    def rest(self) -> None:
        """After each step since faults are over: what every shard has passed a while ago is final by now."""
        world = self.world
        self._repairs_made()
        begins_ms = world.settled_ms + 20 * MINUTE_MS  # until then publishers may still wait for their next pass
        if (
            not world.options["bound"]
            or world.replaced_ms
            or world.now_ms < begins_ms
            or any(w.paused_until_ms > world.now_ms for w in world.workers.values())
        ):
            return
        progress = world.best_progress()
        passed_ms = min(
            (self._passed_ms(shard, progress.get(shard.shard_id)) for shard in world.shards()), default=BEGINNING_MS
        )
        self.passed.append((world.now_ms, passed_ms))
        due_ms = max((passed for at_ms, passed in self.passed if at_ms <= world.now_ms - FINAL_WITHIN_MS), default=0)
        if due_ms <= world.born_ms:
            return
        since_ms = max(world.since_ms(), world.excused_ms)
        if self._waits_for_retention():
            return
        for key, entry in world.cache_entries().items():
            period, start_ms = parse_cache_key(key)
            late = entry["status"] != "final" and end_of(period, start_ms) <= due_ms
            if late and self.covers(since_ms, start_ms) and not self._spoilt(period, start_ms):
                missing = entry["missing_sources"]
                raise Violation("finality", f"{key} is not final, though all have passed it: {missing}")

    def _passed_ms(self, shard: Shard, own: Progress | None) -> int:
        lease = self.world.leases.get(shard.shard_id)
        if lease is not None and lease.checkpoint == END:
            return FOREVER_MS  # its children say how far it is
        if shard.closed_ms is not None and lease is None:
            return FOREVER_MS if shard.closed_ms < self.world.started_ms else BEGINNING_MS
        return BEGINNING_MS if own is None else own.watermark_ms

    def _spoilt(self, period: str, start_ms: int) -> bool:
        """Whether something was lost of which this entry would be made."""
        return any(start_ms <= window_ms < end_of(period, start_ms) for window_ms in self.world.spoilt)

    def end(self) -> None:
        """Faults are over and everything has come to rest."""
        world = self.world
        if world.replaced_ms:
            return
        progress = world.best_progress()
        for partition, own in progress.items():
            self._coverage(partition, own)
            self._dead_letters(partition, own)
        since_ms = max(world.since_ms(), world.excused_ms)
        found = world.cache_entries()
        expected = self.ledger.entries(self._instead(found), self._gave_way(found))
        if world.archive is not None:
            self._origins_at_rest(found, expected)
        for key, highest in self.highest.items():
            entry = found[key]
            if world.options["memory"] and (entry["status"] == "final", entry["revision"]) < highest:
                raise Violation(
                    "status", f"{key} is {entry['status']} {entry['revision']} at the end, and was (final) {highest}"
                )
            self._edition(key, highest)
        for key in sorted(expected.keys() | found.keys()):
            period, start_ms = parse_cache_key(key)
            entry = found.get(key)
            if self._spoilt(period, start_ms):
                continue
            if self.covers(since_ms, start_ms):
                if end_of(period, start_ms) <= world.settled_ms or (entry is not None and entry["status"] == "final"):
                    self._settled(key, entry, expected.get(key))
                elif entry is not None and key not in expected and world.exact:
                    raise Violation("content", f"{key} is an entry of nothing")
            elif entry is not None and entry["provenance"] != STREAM:
                continue  # whether it is equal to its files was asked before
            elif key in expected or entry is None or entry["status"] != "final":
                continue
            elif not self._anything_put(period, start_ms):
                raise Violation("content", f"{key} is final, and nothing was put for it")

    def _edition(self, key: str, highest: tuple[bool, int]) -> None:
        """The state store must know the highest version that was ever final: a cache that goes back gets it again."""
        final, revision = highest
        kept = drive(editions_steps(self.world.store, key, FOREVER_MS)).entry
        if final and (kept is None or kept["revision"] < revision):
            raise Violation("edition", f"of {key} the state store keeps {kept and kept['revision']}, not {revision}")

    def _anything_put(self, period: str, start_ms: int) -> bool:
        """While settings change, what counts for one worker is too late for another, and is in the window in which it
        arrived."""
        end_ms = end_of(period, start_ms)
        oracles = [self.ledger.of(partition) for partition in self.ledger.partitions]
        arrived = () if self.world.exact else (at_ms for oracle in oracles for at_ms in oracle.arrivals_ms)
        windows = (window_ms for oracle in oracles for window_ms in (*oracle.puts, *oracle.touches))
        return any(start_ms <= at_ms < end_ms for at_ms in chain(windows, arrived))

    def _waits_for_retention(self) -> bool:
        """Whether a shard was trimmed with its children, and nobody can know before the longest retention is over by
        the clock of what was read; or could not until lately."""
        world, progress = self.world, self.world.best_progress()
        known = {shard.shard_id for shard in world.list_shards(whole=True)}
        known.update(parent for own in progress.values() for parent in own.parents)
        longest_ms = max((retention_ms for _, retention_ms in world.observed), default=0)
        clock_ms = min(world.now_ms, max((own.position_ms for own in progress.values()), default=BEGINNING_MS))
        if any(own.position_ms + longest_ms >= clock_ms for name, own in progress.items() if name not in known):
            self.waited_ms = world.now_ms
        return world.now_ms < self.waited_ms + FINAL_WITHIN_MS

    def _settled(self, key: str, entry: dict[str, Any] | None, expected: dict[str, Any] | None) -> None:
        if entry is not None and entry["status"] != "final" and self._waits_for_retention():
            return
        if not self.world.exact:
            if entry is not None and entry["status"] != "final":
                raise Violation("finality", f"{key} is not final: {entry['missing_sources']}")
            return
        if expected is not None and self._uncertain(key):
            if entry is None and expected["total_requests"] == expected["duplicate_records"] == 0:
                return
            invalid = expected["invalid_records"]
            if entry is not None and (invalid is None or entry["invalid_records"] <= invalid):
                expected = expected | {name: entry[name] for name in ("invalid_records", "source_count")}
        if expected is None:
            if entry is not None:
                raise Violation("content", f"{key} is an entry of nothing")
            return
        if entry is None:
            raise Violation("finality", f"{key} has no entry")
        if entry["status"] != "final":
            raise Violation("finality", f"{key} is not final: {entry['missing_sources']}")
        if self.world.store.get(entry["summary"]) is None and not self._closed(key):
            raise Violation("content", f"{key} names {entry['summary']} at the end, which does not exist")
        error = (entry["errors"] or {}).get("top_paths")
        if self._parts_are_young(key):
            expected = expected | {"source_count": entry["source_count"]}
        if error:
            exact = expected["exact"]["paths"]
            for row in entry["top_paths"]:
                count = exact[row["path"]]["count"]
                if not count - error <= row["count"] <= count:
                    raise Violation("content", f"{key} at the end: {row}, {exact[row['path']]}, error {error}")
            expected = expected | {name: entry[name] for name in ("top_paths", *TOP_LISTS)}
        if differences := compare(entry, expected):
            raise Violation("content", f"{key} at the end: {'; '.join(differences)[:600]}")

    def _parts_are_young(self, key: str) -> bool:
        """Whether something that this entry is made of was written only lately, so that its publisher, to whom a half
        hour without requests says as much as an entry of it, may not have seen it."""
        (period, start_ms), lately_ms = parse_cache_key(key), self.world.now_ms - FINAL_WITHIN_MS
        return period != HALF_HOUR and any(
            start_ms <= parse_cache_key(part)[1] < end_of(period, start_ms)
            and from_iso(entry["computed_at"]) > lately_ms
            for part, entry in self.world.cache_entries().items()
            if part != key
        )

    def _closed(self, key: str) -> bool:
        """Whether nobody makes anything of this entry any more."""
        world, (period, start_ms) = self.world, parse_cache_key(key)
        if period not in CLOSED_BY:
            return False
        whole = CLOSED_BY[period]
        above = world.cache_entries().get(cache_key(whole, start_of(whole, start_ms)))
        old = end_of(whole, start_of(whole, start_ms)) + world.timing.keep_ms < world.now_ms
        return old and above is not None and above["status"] == "final"

    def _uncertain(self, key: str) -> bool:
        """Whether somebody may not have known of a record in it that it was too late."""
        period, start_ms = parse_cache_key(key)
        return not self.world.lossless and any(
            touch.too_late
            for partition in self.ledger.partitions
            for window_ms, touches in self.ledger.of(partition).touches.items()
            if start_ms <= window_ms < end_of(period, start_ms)
            for touch in touches
        )

    def _coverage(self, partition: str, own: Progress) -> None:
        world = self.world
        allowed_ms = max([world.since_allowed_ms, *world.losses])
        if own.since_ms > allowed_ms and own.lineage:  # without a lineage: no record of it can be read
            raise Violation("coverage", f"{partition} vouches from {own.since_ms} on, could from {allowed_ms} on")

    def _dead_letters(self, partition: str, own: Progress) -> None:
        if own.number == RETIRED or not self.world.exact:
            return
        oracle, all_read = self._oracle(partition, own.lineage, own.since_ms)
        if not all_read:
            return
        skipped = self.world.skipped.get(own.lineage) or ()
        number = None if own.number == END else int(own.number)
        if number is None and self.world.losses:
            return
        wanted = {key: why for key, why in oracle.dropped.items() if number is None or key[0] <= number}
        letters = {}
        batches = set()
        for listed in self.world.store.list(f"dead-letters/{partition}/"):
            if batch := parse_set_aside(listed.key):
                batches.add(batch)
                continue
            letter = msgspec.json.decode(self.world.store.objects[listed.key])
            if any(first <= int(letter["number"]) <= last for first, last in skipped):
                continue  # somebody got it in another batch
            if number is None or int(letter["number"]) <= number:
                letters[int(letter["number"]), letter["line"]] = letter["reason"]
        if not batches.issuperset(skipped):
            raise Violation("dropped", f"{partition} set aside {skipped}, and buried only {batches}")
        if letters != wanted:
            raise Violation("dropped", f"dead letters of {partition}: {letters}, must be {wanted}")

    def label(self, start_ms: int) -> str:
        return time_key(HALF_HOUR, start_ms)
