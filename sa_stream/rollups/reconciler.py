"""Publishes: progress records and partials come in from the state store, entries go out to the cache.

A level-triggered loop: every pass compares what the cache says with what the partials say, and writes where they
differ, at any age, until final and equal. It owns no state, so every worker runs one; what it remembers only saves
reads.
"""

from collections.abc import Callable, Iterable, Sequence

import xxhash

from sa_stream.commits.keys import PARTIALS_PREFIX, summary_key, window_label
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Cache, Listed, Store
from sa_stream.log import ENTRY_RESTORED, OBJECT_UNREADABLE, Log
from sa_stream.partitions import Shard_Info
from sa_stream.rollups.editions import editions_steps, highest
from sa_stream.rollups.entry import (
    FINAL,
    OURS,
    S3,
    STREAM,
    About,
    Entry,
    build_entry,
    nothing_instead_of,
    with_status,
)
from sa_stream.rollups.finality import Sources, Stream_View, Window_View
from sa_stream.rollups.memory import AFTER_GRACE, Known, Memory
from sa_stream.rollups.merging import Merger
from sa_stream.rollups.passes import Pass_Result, Reconciler_Settings, Worker, Written
from sa_stream.rollups.periods import (
    HALF_HOUR,
    ROLLUPS,
    cache_key,
    child_period,
    children,
    from_iso,
    parents,
    parse_cache_key,
)
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.publication import (
    Found,
    Publication,
    Superseded,
    is_final_of,
    is_open_repair,
    is_settled,
)
from sa_stream.rollups.readable import readable
from sa_stream.rollups.repairs import Archive_View, Repair, missing_of_steps
from sa_stream.rollups.status import Slot, slots_of, status_of
from sa_stream.rollups.unfinished import Strays, unfinished_steps
from sa_stream.rollups.versions import Brief, brief_of
from sa_stream.rollups.wanted import (
    REPAIR_GONE,
    Wanted,
    children_gone_back,
    is_older,
    newest_kept,
    wanted_again,
    wanted_of_children,
    wanted_of_repair,
    wanted_of_window,
    with_counted_zeros,
    with_forgotten,
)
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import WINDOW_MS, Now, Timing
from sa_stream.windows.window import Window

log = Log("reconciler")

# Why something was left for a later pass, besides those of versions.py; keys of Pass_Result.skipped
UNREADABLE = "unreadable"  # its bytes are not what was written
CHILD_GONE = "child-gone"  # an entry that a roll-up was made of is lost or went back: that comes first
OVERTAKEN = "overtaken"  # somebody else wrote the entry meanwhile, or from newer partials
THROTTLED = "throttled"  # refreshed only a moment ago, and not final yet anyway
PROGRESS_MOVED = "progress-moved"  # records were replaced faster than they could be read

OTHERS_PATIENCE = 3  # times the refresh interval: then he who wrote an open entry last is taken for gone
FINAL_PATIENCE_MS = 15_000  # ... before his entry is made final by another


class Reconciler:
    """One reader of the state store and writer of the cache. `pass_steps` is one round over everything."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        list_shards: Callable[[], Iterable[Shard_Info]],
        timing: Timing,
        settings: Reconciler_Settings | None = None,
    ) -> None:
        self.store = store
        self.cache = cache
        self.list_shards = list_shards
        self.timing = timing
        self.settings = settings or Reconciler_Settings()
        self.progress_reader = Progress_Reader(store)
        self.memory = Memory(
            self.settings.verify_ms,
            self.settings.verify_final_ms,
            self.settings.grace_ms,
            self.settings.remembered_max,
        )
        self._anew: set[str] = set()  # entries whose summary was found missing
        self._archive = Archive_View(store, timing, self.settings.archive)
        self._superseded: Superseded = {}
        self._now_ms = 0
        self._horizon_ms = 0  # no entry begins after it
        self._closed_until_ms = 0  # no entry that ends later is closed
        self._strays = Strays(self.settings.verify_final_ms)
        self._result = Pass_Result()

    @property
    def _publication(self) -> Publication:
        return Publication(self.store, self.cache, self._superseded, self._closed_until_ms)

    def pass_steps(self, now: Now) -> Steps[Pass_Result]:
        """Look at every window that a progress record names, that is known not to be final, or that was written a while
        ago, and at everything it is part of; write what differs. Raises what the stores raise (Store_Unavailable): the
        next pass starts afresh.
        """
        self.memory.begin_pass(now.moment)
        self._now_ms = now_ms = now.wall_ms
        result = self._result = Pass_Result()
        progress = yield from self.progress_reader.steps()
        if progress is None:
            result.skipped[PROGRESS_MOVED] += 1
            return result
        # After the progress: a list from before may lack a child of a shard that has ended by now, while its other
        # child has passed the window already.
        stream = yield from self._archive.stream_steps(self.list_shards, progress, now)
        result.progress, result.passed_ms, result.stream = progress, stream.passed_ms, stream
        self.memory.passed_ms = stream.passed_ms
        # Our clock may be days behind: what the stream has passed, and what it names, is there all the same.
        self._horizon_ms = max(now_ms + self.timing.future_ms, stream.passed_ms, *stream.named, 0)
        self._closed_until_ms = self._horizon_ms - self.timing.map_keep_ms  # whatever the lateness was when it closed

        # What the stream has passed tells where to begin, whatever our clock says.
        from_ms = (stream.passed_ms if stream.passed_ms > 0 else now_ms) - self.timing.keep_ms
        strays = yield from self._strays.steps(self.store, self._brief, now.moment)
        todo = yield from unfinished_steps(self._brief, from_ms - self.timing.retention_longest_ms, self._horizon_ms)
        named = {*stream.named, *self._archive.repairs}
        again = [parse_cache_key(key) for key in self.memory.due_keys()]
        for period, start_ms in [*((HALF_HOUR, window_ms) for window_ms in named), *again, *strays]:
            todo[period].add(start_ms)
            for parent, parent_ms in parents(period, start_ms):
                todo[parent].add(parent_ms)
        for window_ms in sorted(todo[HALF_HOUR]):
            yield from self._half_hour(stream, window_ms)
        yield from self._find_to_repair(stream)
        for period in ROLLUPS:
            for start_ms in sorted(todo[period]):
                yield from self._rollup(stream, period, start_ms)
        result.settled = {
            window_ms: sources for window_ms, sources in result.settled.items() if self._rolled_up(window_ms)
        }
        yield from self._publication.delete_superseded_steps(now.moment, self.settings.grace_ms)
        self._strays.dealt_with()
        return result

    def status(self, result: Pass_Result, worker: Worker) -> Entry | None:
        """What a pass saw of the stream as a whole (see status.py), as far as it remembers; None if it saw nothing."""
        if result.stream is None:
            return None
        return status_of(result, self.slots(result.stream), worker)

    def slots(self, stream: Stream_View) -> list[Slot]:
        """The half hours of the last two days, as far as is remembered."""
        return slots_of(stream, lambda start_ms: self.memory.brief(start_ms))

    # ------------------------------------------------------------------ what there is to do

    def _find_to_repair(self, stream: Stream_View) -> Steps[None]:
        for window_ms in self._archive.candidates(stream, self.memory.now):
            if (yield from self._is_final_zero(window_ms)):
                continue
            brief = yield from self._brief(HALF_HOUR, window_ms)
            final_of = brief.provenance if brief is not None and brief.final else None
            if final_of is None or (final_of == S3 and not self._archive.is_done(stream, window_ms)):
                self._result.to_repair[window_ms] = self._archive.repairs.get(window_ms)

    def _is_final_zero(self, window_ms: int) -> Steps[bool]:
        """Whether the window has no entry, and something final has counted it as empty."""
        if (yield from self._brief(HALF_HOUR, window_ms)) is not None:
            return False
        for period, start_ms in parents(HALF_HOUR, window_ms):
            brief = yield from self._brief(period, start_ms)
            if brief is not None and brief.final:
                return True
        return False

    # ------------------------------------------------------------------ half hours

    def _half_hour(self, stream: Stream_View, window_ms: int) -> Steps[None]:
        view = stream.window(window_ms)
        if not view.passed and window_ms + WINDOW_MS <= self._now_ms:
            self._result.waiting += 1
        key = cache_key(HALF_HOUR, window_ms)
        repair = self._archive.repairs.get(window_ms)
        if repair is not None and not repair.whole and (view.final or (yield from self._is_final_zero(window_ms))):
            repair = None  # the stream has, or had, all of it; the archive has not
        known = self._believed(key)
        if known is not None and known.equal_to == (view, repair) and not self.memory.may_settle(known):
            if known.settled:
                self._result.settled[window_ms] = view.sources
            return
        if self._held(key, view.final or (repair is not None and repair.whole)):
            return
        found = yield from self._look(HALF_HOUR, window_ms, stream)
        if self.memory.shows(key, view.sources if is_settled(stream, view, found) else None):
            self._result.settled[window_ms] = view.sources
        while not found.gone_back:
            if repair is None and is_final_of(found.entry, S3):  # it stays, whatever the stream says
                self._archive.merged(window_ms, not_lost=key not in self._anew, now=self.memory.now)
                self.memory.equal(key, (view, repair))
                return
            wanted, sources = yield from self._wanted(view, window_ms, found, repair)
            if self._nothing_to_write(key, found.entry, wanted):
                self.memory.equal(key, (view, repair))
                return
            if found.entry is not None and is_older(sources, found.entry):
                self._result.skipped[OVERTAKEN] += 1
                return
            if self._throttled(HALF_HOUR, key, found, wanted):
                return
            if found.editions is not None:
                yield from self._write(stream, HALF_HOUR, window_ms, found, wanted)
                return
            found = yield from self._with_editions(key, found)
        yield from self._restore(HALF_HOUR, window_ms, found)

    def _wanted(
        self, view: Window_View, window_ms: int, found: Found, repair: Repair | None
    ) -> Steps[tuple[Wanted, Sources]]:
        """What a half hour's entry should say, and the partials that it lists then. Where it was computed from the
        archive, that is the window, unless the stream had made it final before."""
        key, entry = cache_key(HALF_HOUR, window_ms), found.entry
        if repair is not None and not is_final_of(entry, STREAM):
            missing = yield from missing_of_steps(self.store, window_ms, repair)
            return wanted_of_repair(window_ms, repair, missing), ((S3, repair.name),)
        if entry is not None and key in self._anew and is_final_of(entry, STREAM) and not view.final:
            return wanted_again(window_ms, entry)
        sources = with_forgotten(view.sources, entry, found.kept)
        return wanted_of_window(view, window_ms, entry, sources, key in self._anew), sources

    # ------------------------------------------------------------------ roll-ups

    def _rollup(self, stream: Stream_View, period: str, start_ms: int) -> Steps[None]:
        key = cache_key(period, start_ms)
        wanted = yield from self._children(stream, period, start_ms)
        known = self._believed(key)
        if known is not None and known.equal_to == wanted:
            return
        if self._held(key, wanted.final):
            return
        found = yield from self._look(period, start_ms, stream)
        while not found.gone_back:
            counted = with_counted_zeros(wanted, found.entry)
            if self._nothing_to_write(key, found.entry, counted):
                self.memory.equal(key, wanted)
                return
            if self._throttled(period, key, found, counted):
                return
            if found.editions is None:
                found = yield from self._with_editions(key, found)
                continue
            # what is known of the children may be minutes old; what is written rests on what they say now
            fresh = yield from self._children(stream, period, start_ms, fresh=True)
            if fresh != wanted:
                wanted = fresh
                continue
            gone_back = [] if found.entry is None else children_gone_back(found.entry["sources"], wanted.sources)
            for label in gone_back:
                self.memory.look_again(f"{child_period(period)}/{label}")
            if gone_back:
                self._result.skipped[CHILD_GONE] += 1
            else:
                yield from self._write(stream, period, start_ms, found, counted)
            return
        yield from self._restore(period, start_ms, found)

    def _rolled_up(self, window_ms: int) -> bool:
        """Whether every roll-up of a window has an entry. One without would count as empty, and be left out of what is
        above it, once no map names the window any more."""
        return all(self.memory.shown(cache_key(period, start_ms)) for period, start_ms in parents(HALF_HOUR, window_ms))

    def _children(self, stream: Stream_View, period: str, start_ms: int, fresh: bool = False) -> Steps[Wanted]:
        """What a roll-up should say, from the entries below it. `fresh`: as they are in this pass."""
        briefs: dict[int, Brief | None] = {}
        for child_ms in children(period, start_ms):
            briefs[child_ms] = None
            if child_ms <= self._horizon_ms:
                briefs[child_ms] = yield from self._brief(child_period(period), child_ms, fresh)
        return wanted_of_children(stream, period, start_ms, briefs)

    # ------------------------------------------------------------------ reading

    def _believed(self, key: str) -> Known | None:
        """What is known of a key and need not be read again now."""
        return None if key in self._anew or self.memory.due(key) else self.memory.young(key)

    def _read(self, key: str) -> Steps[Entry | None]:
        entry = readable(key, (yield call(self.cache.retrieve_entry, NS_SA_AGGREGATE, key)))
        self.memory.read(key, entry)
        return entry

    def _brief(self, period: str, start_ms: int, fresh: bool = False) -> Steps[Brief | None]:
        key = cache_key(period, start_ms)
        known = None if key in self._anew else self.memory.young(key)
        if known is None or (fresh and not self.memory.of_this_pass(key)):
            return brief_of((yield from self._read(key)))
        return known.brief

    def _look(self, period: str, start_ms: int, stream: Stream_View) -> Steps[Found]:
        """What the cache has; and if the key is to be looked at again, what it must have. The second of these looks
        also finds what an older version wrote over before anything was final: the partials are still in the store. So
        does each look at a repair that lacks a file: what it took the place of may have listed what its partitions
        forgot."""
        key = cache_key(period, start_ms)
        shown = yield from self._read(key)
        found = Found(shown, shown)
        due = self.memory.due(key)
        if due:
            found = yield from self._with_editions(key, found)
        if period == HALF_HOUR and (due == AFTER_GRACE or is_open_repair(found.entry)):
            folder = f"{PARTIALS_PREFIX}{window_label(start_ms)}/"
            listed: Sequence[Listed] = yield call(self.store.list, folder)
            kept = newest_kept((item.key for item in listed), start_ms, stream, found.entry)
            found = Found(found.shown, found.entry, found.editions, kept)
        if due and not found.gone_back:
            self.memory.looked(key)
            if period == HALF_HOUR and shown is not None and shown.get("provenance") in OURS:
                yield call(self._publication.mend_consolidated, shown, start_ms)
        return found

    def _with_editions(self, key: str, found: Found) -> Steps[Found]:
        editions = yield from editions_steps(self.store, key, self._closed_until_ms)
        return Found(found.shown, highest(found.shown, editions), editions, found.kept)

    # ------------------------------------------------------------------ deciding

    def _nothing_to_write(self, key: str, current: Entry | None, wanted: Wanted) -> bool:
        """Equal already; nothing there and nothing to say; final, which never goes back to partial; or not ours."""
        if current is None:
            return not wanted.sources
        if current.get("provenance") not in OURS:
            return True
        if is_open_repair(current) and wanted.final:
            return False  # also where the stream knows that there was nothing
        forgotten = current["sources"] and not wanted.sources
        if forgotten or (current["status"] == FINAL and not wanted.final):
            self._anew.discard(key)
            return True
        return wanted.equals(current) and key not in self._anew

    def _held(self, key: str, final: bool) -> bool:
        """Whether an entry was found too young for another version, and does not become final by it."""
        known = self._believed(key)
        if known is None or self._now_ms >= known.hold_until_ms:
            return False
        if final and known.brief is not None and not known.brief.final:
            return False
        self._result.skipped[THROTTLED] += 1
        return True

    def _throttled(self, period: str, key: str, found: Found, wanted: Wanted) -> bool:
        """Whether to leave a change for later: the entry is young, or another worker is at it, who goes on with what he
        has begun as long as he lives. (All may write at any time; that they need not saves each a merge of the whole
        stream.)"""
        current, refresh_ms = found.entry, self.settings.refresh_ms.get(period, 0)
        if current is None or key in self._anew:
            return False
        patience = 1 if self.memory.ours(key) else OTHERS_PATIENCE
        written_ms = from_iso(current["computed_at"])
        until_ms = written_ms + patience * refresh_ms
        if not written_ms <= self._now_ms < until_ms:
            return False
        if wanted.final and current["status"] != FINAL:
            waits_ms = min(FINAL_PATIENCE_MS, (patience - 1) * refresh_ms)
            if self.memory.final_for_ms(key) >= waits_ms:
                return False
        else:
            self.memory.hold(key, until_ms)
        self._result.skipped[THROTTLED] += 1
        return True

    # ------------------------------------------------------------------ writing

    def _restore(self, period: str, start_ms: int, found: Found) -> Steps[None]:
        """The cache went back: it gets again what it had, or what somebody was about to write. What there is new to say
        comes in the next pass."""
        if found.entry is not None:
            key = found.entry["cache_key"]
            log.tell(
                ENTRY_RESTORED,
                f"{key} in the cache is older than its last final version, which is written again",
                key=key,
            )
            yield from self._put(period, start_ms, found, found.entry, ())

    def _write(self, stream: Stream_View, period: str, start_ms: int, found: Found, wanted: Wanted) -> Steps[None]:
        """Merge the parts, put the summary, then the entry that names it."""
        key, current = cache_key(period, start_ms), found.entry
        if current is not None and current["sources"] == wanted.sources and key not in self._anew:
            entry = with_status(
                current,
                final=wanted.final,
                sources=wanted.sources,
                missing=wanted.missing,
                at_ms=self._now_ms,
                waits=wanted.waits,
            )
        else:
            window = yield from self._merged(stream, period, start_ms, wanted, current)
            if window is None:
                self._anew.discard(key)  # who needs it asks again
                if found.kept:
                    self.memory.look_later(key)
                return
            data = window.to_bytes()
            summary = summary_key(key, xxhash.xxh3_128_hexdigest(data))
            if current is None or current["summary"] != summary or key in self._anew:
                yield call(self.store.put, summary, data)
            changed = current is not None and current["status"] == FINAL and current["summary"] != summary
            revision = (current["revision"] if current is not None else 0) + changed
            about = About(
                wanted.final,
                revision,
                wanted.sources,
                wanted.missing,
                summary,
                self._now_ms,
                wanted.provenance,
                wanted.waits,
            )
            # when an invalid record came, the archive does not tell
            bounded = wanted.provenance != STREAM
            entry = build_entry(period, start_ms, window, about, self.settings.sampling_percent, bounded)
        yield from self._put(period, start_ms, found, entry, wanted.zeros)

    def _put(self, period: str, start_ms: int, found: Found, entry: Entry, zeros: Sequence[str]) -> Steps[None]:
        key = cache_key(period, start_ms)
        written: Entry | None = yield call(
            self._publication.publish, period, start_ms, found, entry, zeros, self._now_ms
        )
        if written is None:
            self.memory.forget(key)
            self._result.skipped[OVERTAKEN] += 1
            return
        self._anew.discard(key)
        self.memory.written(key, written)
        revised = found.entry is not None and written["revision"] > found.entry["revision"]
        self._result.written.append(
            Written(key, written["status"], written["revision"], written["total_requests"], revised)
        )
        for before in (found.shown, found.entry):
            if before is not None and before["summary"] not in (None, written["summary"]):
                self._superseded[before["summary"]] = (key, self.memory.now)
        if written["status"] == FINAL and (found.shown is None or found.shown["status"] != FINAL):
            # what a crash left behind of the versions before
            listed = yield call(self.store.list, summary_key(key, ""))
            for item in listed:
                if item.key != written["summary"]:
                    self._superseded.setdefault(item.key, (key, self.memory.now))
        if written["status"] == FINAL and written is not found.entry and found.editions is not None:
            for older in found.editions.keys:  # the highest is all that anybody needs
                yield call(self.store.delete, older)

    def _merged(
        self, stream: Stream_View, period: str, start_ms: int, wanted: Wanted, current: Entry | None
    ) -> Steps[Window | None]:
        """The sum of the parts; None if one is not to be had, which is never taken for zero. Where a partial was
        replaced meanwhile, `wanted` names the newer one from then on."""
        if not wanted.parts and current is not None:  # a broken repair gives way, or gave; see `_nothing_to_write`
            self._archive.merged(start_ms, not_lost=True, now=self.memory.now)
            return nothing_instead_of(current)
        merged = yield from Merger(self.store, self.progress_reader, stream).steps(
            period, start_ms, wanted.parts, wanted.sources
        )
        wanted.sources = merged.sources
        if period == HALF_HOUR:
            self._archive.merged(start_ms, not_lost=not merged.failed, now=self.memory.now)
        for part in merged.failed:
            if merged.error is None:
                self._result.skipped[part.gone] += 1
            else:
                self._result.skipped[UNREADABLE] += 1
                log.tell(OBJECT_UNREADABLE, f"not published: {merged.error}", key=part.key)
            if part.gone == REPAIR_GONE:
                yield from self._archive.forget_steps(start_ms, part.key)
            if part.owner:
                self._anew.add(part.owner)
                self.memory.look_at(part.owner)  # whether or not a map names its windows
        return merged.window
