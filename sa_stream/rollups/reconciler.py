"""Publishes: progress records and partials come in from the state store, entries go out to the cache.

A level-triggered loop: every pass compares what the cache says with what the partials say, and writes where they
differ, at any age, until final and equal. It owns no state, so every worker runs one; what it remembers only saves
reads.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import xxhash

from sa_stream.commits.keys import partial_key, summary_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.progress import Partial_Name, Progress, Shard_Info
from sa_stream.errors import Corrupt_State
from sa_stream.rollups.entry import FINAL, STREAM, Entry, build_entry, consolidation_result, merge, with_status
from sa_stream.rollups.finality import Sources, Stream_View, Window_View
from sa_stream.rollups.periods import (
    DAILY,
    HALF_HOUR,
    HOURLY,
    MONTHLY,
    PERIODS,
    ROLLUPS,
    cache_key,
    child_period,
    children,
    consolidated_key,
    end_of,
    from_iso,
    parents,
    start_of,
    time_key,
)
from sa_stream.rollups.progress_reader import Listed_Key, Progress_Reader
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.timing import MINUTE_MS, WINDOW_MS, Timing
from sa_stream.windows.window import Window

log = logging.getLogger(__name__)

AGGREGATE_NAMESPACE = "sa-cloudfront-aggregate"
CONSOLIDATED_NAMESPACE = "sa-cloudfront-consolidated"

NOT_FINAL = "partial"  # a roll-up waits for an entry that is there, but not final
NOT_PUBLISHED = "not-published"  # ... for one that is about to be written

# Why something was left for a later pass; keys of Pass_Result.skipped
PARTIAL_GONE = "partial-gone"  # a named partial was replaced meanwhile: a fresh list has the new name
UNREADABLE = "unreadable"  # its bytes are not what was written
SUMMARY_GONE = "summary-gone"  # a child's mergeable summary is not there: the child is published anew first
CHILD_GONE = "child-gone"  # the cache lost an entry that a roll-up was made of: the roll-up is kept as it is
OVERTAKEN = "overtaken"  # somebody else wrote the entry meanwhile, or from newer partials
THROTTLED = "throttled"  # refreshed only a moment ago, and not final yet anyway
PROGRESS_MOVED = "progress-moved"  # records were replaced faster than they could be read

type Json_List = Sequence[Mapping[str, Any]]


class Store(Protocol):
    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, data: bytes) -> Any: ...
    def delete(self, key: str) -> Any: ...
    def list(self, prefix: str) -> Iterable[Listed_Key]: ...


class Cache(Protocol):
    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None: ...
    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Reconciler_Settings:
    """refresh_ms  least time between two versions of an entry of this period, unless it becomes final
    verify_ms   how long something that was seen equal is believed without reading the cache again
    grace_ms    how long a superseded summary is kept for those who may still be reading it
    """

    sampling_percent: float = 100
    refresh_ms: Mapping[str, int] = field(
        default_factory=lambda: {
            HALF_HOUR: 10_000,
            HOURLY: 30_000,
            DAILY: 5 * MINUTE_MS,
            MONTHLY: 5 * MINUTE_MS,
        }
    )
    verify_ms: int = 5 * MINUTE_MS
    grace_ms: int = 10 * MINUTE_MS
    remembered_max: int = 20_000


@dataclass(frozen=True, slots=True)
class Written:
    """An entry that was written in a pass."""

    cache_key: str
    status: str
    revision: int
    total_requests: int


@dataclass(slots=True)
class Pass_Result:
    """What one pass saw and did.

    windows_seen  half hours that were looked at
    waiting       those of them that have ended and that some shard has not passed yet
    written       entries written, in order
    skipped       reason -> how many were left for a later pass
    settled       window -> partials that its entry lists (or, of a final entry that the stream no longer vouches for,
                  never will): the map of a partition may forget these once they are old enough
    progress      partition -> its present, for lag and health
    stream        the view of the stream that the pass had; None if it had none
    passed_ms     every shard has passed windows that end up to here (BEGINNING_MS: none)
    """

    windows_seen: int = 0
    waiting: int = 0
    written: list[Written] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    settled: dict[int, Sources] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    passed_ms: int = 0
    stream: Stream_View | None = None


@dataclass(frozen=True, slots=True)
class _Brief:
    """What roll-ups need of an entry."""

    final: bool
    revision: int
    summary: str


@dataclass(slots=True)
class _Known:
    """What was last read under a key, and which view it was equal to."""

    brief: _Brief | None
    read_ms: int
    pass_number: int
    equal_to: object = None
    hold_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A mergeable window in the state store: its key, why it may be gone, and the entry to publish anew then."""

    key: str
    gone: str
    owner: str = ""


@dataclass(slots=True)
class _Wanted:
    """What an entry should say, and what to make it of. `sources` and `missing` are as in its JSON; `zeros` are keys of
    the entries below a roll-up that count as final because they are empty."""

    final: bool
    sources: Json_List
    missing: Json_List
    parts: Sequence[_Part]
    zeros: Sequence[str] = ()

    def equals(self, entry: Entry) -> bool:
        return bool(
            (entry["status"] == FINAL) == self.final
            and entry["sources"] == self.sources
            and entry["missing_sources"] == self.missing
        )


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
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._anew: set[str] = set()  # entries whose summary was found missing
        self._superseded: dict[str, tuple[str, int]] = {}  # summary -> the entry's key, since when
        self._passes = 0
        self._now_ms = 0
        self._result = Pass_Result()

    def pass_steps(self, now_ms: int) -> Steps[Pass_Result]:
        """Look at every window that a progress record names or that is known not to be final, and at everything it is
        part of; write what differs. Raises what the stores raise (Store_Unavailable): the next pass starts afresh.
        """
        self._passes += 1
        self._now_ms = now_ms
        result = self._result = Pass_Result()
        progress = yield from self.progress_reader.steps()
        if progress is None:
            result.skipped[PROGRESS_MOVED] += 1
            return result
        # After the progress: a list from before may lack a child of a shard that has ended by now, while its other
        # child has passed the window already.
        shards: Iterable[Shard_Info] = yield call(self.list_shards)
        stream = Stream_View(shards, progress, self.timing, now_ms)
        result.progress, result.passed_ms, result.stream = progress, stream.passed_ms, stream

        todo = yield from self._unfinished()
        for window_ms in stream.named:
            todo[HALF_HOUR].add(window_ms)
            for period, start_ms in parents(HALF_HOUR, window_ms):
                todo[period].add(start_ms)
        result.windows_seen = len(todo[HALF_HOUR])
        for window_ms in sorted(todo[HALF_HOUR]):
            yield from self._half_hour(stream, window_ms)
        for period in ROLLUPS:
            for start_ms in sorted(todo[period]):
                yield from self._rollup(stream, period, start_ms)
        yield from self._delete_superseded()
        return result

    # ------------------------------------------------------------------ what there is to do

    def _unfinished(self) -> Steps[dict[str, set[int]]]:
        """Entries that are not final, found from the months downwards: a window that no map names any more (its
        partition forgot it, another one is days behind) still has its entry, and everything above that is partial."""
        reach_ms = self.timing.keep_ms + self.timing.retention_ms
        months = [start_of(MONTHLY, self._now_ms - reach_ms)]
        while (next_ms := end_of(MONTHLY, months[-1])) <= self._now_ms:
            months.append(next_ms)
        todo: dict[str, set[int]] = {period: set() for period in PERIODS}
        looked_at = months
        for period in reversed(PERIODS):
            for start_ms in looked_at:
                brief = yield from self._brief(period, start_ms)
                if brief is not None and not brief.final:
                    todo[period].add(start_ms)
            if period != HALF_HOUR:
                below = (child_ms for start_ms in sorted(todo[period]) for child_ms in children(period, start_ms))
                looked_at = [child_ms for child_ms in below if child_ms <= self._now_ms]
        return todo

    # ------------------------------------------------------------------ half hours

    def _half_hour(self, stream: Stream_View, window_ms: int) -> Steps[None]:
        view = stream.window(window_ms)
        if not view.passed and window_ms + WINDOW_MS <= self._now_ms:
            self._result.waiting += 1
        key = cache_key(HALF_HOUR, window_ms)
        known = self._believed(key)
        if known is not None and known.equal_to == view:
            self._result.settled[window_ms] = view.sources
            return
        if self._held(key, view.final):
            return
        current = yield from self._read(key)
        sources = _with_forgotten(view.sources, current)
        parts = _partials(window_ms, sources)
        if current is not None and len(sources) > len(view.sources) and key not in self._anew:
            parts = _additions(window_ms, sources, current) or parts
        wanted = _Wanted(view.final, _names_json(sources), _missing_json(view), parts)
        if self._nothing_to_write(key, current, wanted):
            self._known[key].equal_to = view
            self._result.settled[window_ms] = view.sources
            return
        if current is not None and _is_older(sources, current):
            self._result.skipped[OVERTAKEN] += 1
            return
        if self._throttled(HALF_HOUR, key, current, wanted):
            return
        yield from self._write(HALF_HOUR, window_ms, current, wanted)

    # ------------------------------------------------------------------ roll-ups

    def _rollup(self, stream: Stream_View, period: str, start_ms: int) -> Steps[None]:
        key = cache_key(period, start_ms)
        wanted = yield from self._children(stream, period, start_ms)
        known = self._believed(key)
        if known is not None and known.equal_to == wanted:
            return
        if self._held(key, wanted.final):
            return
        current = yield from self._read(key)
        if not self._nothing_to_write(key, current, wanted):
            if self._throttled(period, key, current, wanted):
                return
            # what is known of the children may be minutes old; what is written rests on what they say now
            wanted = yield from self._children(stream, period, start_ms, fresh=True)
            if not self._nothing_to_write(key, current, wanted):
                if current is not None and _time_keys(current["sources"]) - _time_keys(wanted.sources):
                    self._result.skipped[CHILD_GONE] += 1
                    return
                yield from self._write(period, start_ms, current, wanted)
                return
        self._known[key].equal_to = wanted

    def _children(self, stream: Stream_View, period: str, start_ms: int, fresh: bool = False) -> Steps[_Wanted]:
        """What a roll-up should say, from the entries below it. `fresh`: as they are in this pass."""
        below = child_period(period)
        sources: list[dict[str, Any]] = []
        missing: list[dict[str, Any]] = []
        parts: list[_Part] = []
        zeros: list[str] = []
        for child_ms in children(period, start_ms):
            brief = None
            if child_ms <= self._now_ms + self.timing.future_ms:
                brief = yield from self._brief(below, child_ms, fresh)
            label = time_key(below, child_ms)
            if brief is not None:
                sources.append({"time_key": label, "revision": brief.revision, "summary": brief.summary})
                parts.append(_Part(brief.summary, SUMMARY_GONE, cache_key(below, child_ms)))
                reason = "" if brief.final else NOT_FINAL
            else:
                end_ms = end_of(below, child_ms)
                reason = stream.span_reason(child_ms, end_ms)
                if not reason and not stream.named.isdisjoint(range(child_ms, end_ms, WINDOW_MS)):
                    reason = NOT_PUBLISHED
                zeros.append(cache_key(below, child_ms))
            if reason:
                missing.append({"time_key": label, "reason": reason})
        return _Wanted(not missing, sources, missing, parts, zeros)

    # ------------------------------------------------------------------ reading

    def _believed(self, key: str) -> _Known | None:
        """What is known of a key and young enough to be believed without reading the cache."""
        known = self._known.get(key)
        if known is None or key in self._anew or self._now_ms - known.read_ms >= self.settings.verify_ms:
            return None
        return known

    def _read(self, key: str) -> Steps[Entry | None]:
        entry: Entry | None = yield call(self.cache.retrieve_entry, AGGREGATE_NAMESPACE, key)
        self._remember(key, entry)
        return entry

    def _remember(self, key: str, entry: Entry | None) -> None:
        self._known[key] = _Known(_brief_of(entry), self._now_ms, self._passes)
        self._known.move_to_end(key)
        while len(self._known) > self.settings.remembered_max:
            self._known.popitem(last=False)

    def _brief(self, period: str, start_ms: int, fresh: bool = False) -> Steps[_Brief | None]:
        key = cache_key(period, start_ms)
        known = self._believed(key)
        if known is None or (fresh and known.pass_number != self._passes):
            return _brief_of((yield from self._read(key)))
        return known.brief

    # ------------------------------------------------------------------ deciding

    def _nothing_to_write(self, key: str, current: Entry | None, wanted: _Wanted) -> bool:
        """Equal already; nothing there and nothing to say; final, which never goes back to partial; or not ours."""
        if current is None:
            return not wanted.sources
        if current.get("provenance") != STREAM:
            return True
        if not wanted.sources or (current["status"] == FINAL and not wanted.final):
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

    def _throttled(self, period: str, key: str, current: Entry | None, wanted: _Wanted) -> bool:
        if current is None or (wanted.final and current["status"] != FINAL) or key in self._anew:
            return False
        written_ms = from_iso(current["computed_at"])
        until_ms = written_ms + self.settings.refresh_ms.get(period, 0)
        if not written_ms <= self._now_ms < until_ms:
            return False
        self._known[key].hold_until_ms = until_ms
        self._result.skipped[THROTTLED] += 1
        return True

    # ------------------------------------------------------------------ writing

    def _write(
        self,
        period: str,
        start_ms: int,
        current: Entry | None,
        wanted: _Wanted,
    ) -> Steps[None]:
        """Merge the parts, put the summary, then the entry that names it."""
        key = cache_key(period, start_ms)
        if current is not None and current["sources"] == wanted.sources and key not in self._anew:
            entry = with_status(
                current, final=wanted.final, sources=wanted.sources, missing=wanted.missing, at_ms=self._now_ms
            )
        else:
            window = yield from self._merged(period, start_ms, wanted.parts)
            if window is None:
                self._anew.discard(key)  # who needs it asks again
                return
            data = window.to_bytes()
            summary = summary_key(key, xxhash.xxh3_128_hexdigest(data))
            if current is None or current["summary"] != summary or key in self._anew:
                yield call(self.store.put, summary, data)
            changed = current is not None and current["status"] == FINAL and current["summary"] != summary
            entry = build_entry(
                period,
                start_ms,
                window,
                final=wanted.final,
                revision=(current["revision"] if current is not None else 0) + changed,
                sources=wanted.sources,
                missing=wanted.missing,
                summary=summary,
                computed_at_ms=self._now_ms,
                sampling_percent=self.settings.sampling_percent,
            )
        written: Entry | None = yield call(self._publish, period, start_ms, current, entry, wanted.zeros)
        if written is None:
            self._known.pop(key, None)
            self._result.skipped[OVERTAKEN] += 1
            return
        self._anew.discard(key)
        self._remember(key, written)  # equal to nothing yet: the next pass reads it again, as others may have written
        self._result.written.append(Written(key, written["status"], written["revision"], written["total_requests"]))
        if current is not None and current["summary"] != written["summary"]:
            self._superseded[current["summary"]] = (key, self._now_ms)
        if written["status"] == FINAL and (current is None or current["status"] != FINAL):
            # what a crash left behind of the versions before
            listed = yield call(self.store.list, summary_key(key, ""))
            for item in listed:
                if item.key != written["summary"]:
                    self._superseded.setdefault(item.key, (key, self._now_ms))

    def _merged(self, period: str, start_ms: int, parts: Sequence[_Part]) -> Steps[Window | None]:
        """The sum of the parts; None if one is not to be had, which is never taken for zero."""
        windows = []
        for part in parts:
            data: bytes | None = yield call(self.store.get, part.key)
            try:
                if data is not None:
                    windows.append(Window.from_bytes(data, part.key))
                    continue
                self._result.skipped[part.gone] += 1
            except Corrupt_State as error:  # one broken object must not keep all others from being published
                self._result.skipped[UNREADABLE] += 1
                log.error("not published: %s", error)
            if part.owner:
                self._anew.add(part.owner)
            return None
        return merge(period, start_ms, windows)

    def _publish(
        self, period: str, start_ms: int, seen: Entry | None, entry: Entry, zeros: Sequence[str]
    ) -> Entry | None:
        """One piece of I/O, as a cache without compare-and-swap allows no better: read the entry again just before
        writing, and leave it to the next pass if it is not the one that was compared. The entry as written, or None."""
        key = cache_key(period, start_ms)
        current = self.cache.retrieve_entry(AGGREGATE_NAMESPACE, key)
        if _version(current) == _version(entry):
            return entry  # this call is a repetition: the one before failed after it had taken effect
        if _version(current) != _version(seen):
            return None
        if entry["status"] == FINAL and any(self.cache.retrieve_entry(AGGREGATE_NAMESPACE, zero) for zero in zeros):
            return None  # what was empty a moment ago is not
        if seen is None and entry["status"] != FINAL and self._was_final_zero(period, start_ms):
            entry = with_status(entry, final=True, sources=entry["sources"], missing=[], at_ms=self._now_ms)
        if period == HALF_HOUR:
            self.cache.store_entry(
                CONSOLIDATED_NAMESPACE,
                consolidated_key(start_ms),
                Schema__SA__Consolidation__Result(**consolidation_result(entry, start_ms)).json(),
            )
        self.cache.store_entry(AGGREGATE_NAMESPACE, key, Schema__SA__Aggregate__Window(**entry).json())
        return entry

    def _was_final_zero(self, period: str, start_ms: int) -> bool:
        """Whether a final roll-up has counted this period as empty. Then a late record makes a revision of it, and not
        something partial below something final, even if the stream no longer vouches for that time."""
        for parent, parent_ms in parents(period, start_ms):
            entry = self.cache.retrieve_entry(AGGREGATE_NAMESPACE, cache_key(parent, parent_ms))
            if entry is not None and entry["status"] == FINAL:
                return True
        return False

    def _delete_superseded(self) -> Steps[None]:
        """Delete summaries that their entry stopped naming a while ago; what it names is looked up again first."""
        due = [
            (summary, key)
            for summary, (key, since_ms) in self._superseded.items()
            if self._now_ms - since_ms >= self.settings.grace_ms
        ]
        for summary, key in due:
            entry = yield call(self.cache.retrieve_entry, AGGREGATE_NAMESPACE, key)
            if entry is not None and entry["summary"] != summary:
                yield call(self.store.delete, summary)
            self._superseded.pop(summary, None)


# ---------------------------------------------------------------------- JSON and back


def _names_json(sources: Sources) -> list[dict[str, Any]]:
    return [{"partition": partition, "lineage": name.lineage, "number": name.number} for partition, name in sources]


def _names_of(entry: Entry) -> dict[str, Partial_Name]:
    return {source["partition"]: Partial_Name(source["lineage"], source["number"]) for source in entry["sources"]}


def _missing_json(view: Window_View) -> list[dict[str, Any]]:
    return [{"partition": missing.partition, "reason": missing.reason} for missing in view.missing]


def _with_forgotten(sources: Sources, current: Entry | None) -> Sources:
    """The view's sources, and those of the entry whose partition names the window no more: it forgot an old window
    only because the entry lists it, and a retired shard has no map at all."""
    if current is None or current.get("provenance") != STREAM:
        return sources
    return tuple(sorted((_names_of(current) | dict(sources)).items(), key=lambda item: item[0]))


def _partials(window_ms: int, sources: Iterable[tuple[str, Partial_Name]]) -> list[_Part]:
    return [_Part(partial_key(window_ms, partition, name), PARTIAL_GONE) for partition, name in sources]


def _additions(window_ms: int, sources: Sources, current: Entry) -> list[_Part]:
    """What the entry holds already, and the partials that it does not list: a partial that its partition forgot may be
    gone, and lives on in the entry's summary. Nothing if a listed one has changed, as sums cannot be taken apart."""
    listed = _names_of(current)
    if any(listed.get(partition, name) != name for partition, name in sources):
        return []
    fresh = [(partition, name) for partition, name in sources if partition not in listed]
    return [_Part(current["summary"], SUMMARY_GONE), *_partials(window_ms, fresh)]


def _is_older(sources: Sources, current: Entry) -> bool:
    """Whether the entry was made from newer partials than these: our list of progress records is a moment old."""
    listed = _names_of(current)
    return any(
        partition in listed and int(listed[partition].number) > int(name.number)  # of any lineage
        for partition, name in sources
    )


def _brief_of(entry: Entry | None) -> _Brief | None:
    return None if entry is None else _Brief(entry["status"] == FINAL, entry["revision"], entry["summary"])


def _version(entry: Entry | None) -> object:
    """What tells one version of an entry from another."""
    if entry is None:
        return None
    return [entry.get(name) for name in ("status", "revision", "summary", "sources", "missing_sources", "provenance")]


def _time_keys(sources: Json_List) -> set[str]:
    return {source["time_key"] for source in sources}
