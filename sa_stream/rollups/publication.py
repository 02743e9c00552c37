"""The way of one entry to the cache, as safe as a cache without compare-and-swap allows: what there is of it, writing
it, when it counts as published, and deleting the summaries that no entry names any more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from sa_stream.commits.operations import Steps, call, drive
from sa_stream.commits.ports import Cache, Store
from sa_stream.partitions import Partial_Name
from sa_stream.rollups.editions import Editions, create_edition, editions_steps, highest
from sa_stream.rollups.entry import FINAL, OURS, S3, STREAM, Entry, consolidation_result, with_status
from sa_stream.rollups.finality import Stream_View, Window_View
from sa_stream.rollups.periods import HALF_HOUR, cache_key, consolidated_key, parents
from sa_stream.rollups.readable import entry_in, readable
from sa_stream.rollups.versions import lists, version_of
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.timing import NEVER_MS, Moment


class Found(Struct, frozen=True):
    """What there is of a key. `entry` is what counts: the highest edition, if what the cache shows is below it.

    editions  None as long as they were not looked at
    kept      partition -> its newest partial of the window in the store; empty unless that was looked up
    """

    shown: Entry | None
    entry: Entry | None
    editions: Editions | None = None
    kept: Mapping[str, Partial_Name] = field(default_factory=dict)

    @property
    def gone_back(self) -> bool:
        return version_of(self.shown) != version_of(self.entry)


type Superseded = dict[str, tuple[str, Moment]]  # summary -> the key of the entry that stopped naming it, and when


class Publication(Struct, frozen=True):
    """The way of entries to the cache."""

    store: Store
    cache: Cache
    superseded: Superseded
    closed_until_ms: int  # as for `editions_steps`

    def publish(
        self, period: str, start_ms: int, found: Found, entry: Entry, zeros: Sequence[str], now_ms: int
    ) -> Entry | None:
        """One piece of I/O, as a cache without compare-and-swap allows no better: read the entry again just before
        writing, and leave it to the next pass if it is not the one that was compared. What is final becomes an edition
        first, unless it is one. The entry as written, or None."""
        key = cache_key(period, start_ms)
        current = entry_in(self.cache, key)
        repeated = version_of(current) == version_of(entry)  # the call before failed after it had taken effect
        if not repeated and version_of(current) != version_of(found.shown):
            return None
        if not repeated and entry is not found.entry:
            if is_final(entry) and any(entry_in(self.cache, zero) for zero in zeros):
                return None  # what was empty a moment ago is not
            if found.entry is None and not is_final(entry) and self._was_final_zero(period, start_ms):
                if period == HALF_HOUR and entry["provenance"] == S3:
                    return None  # it lacks a file, and the stream lacked nothing
                entry = with_status(entry, final=True, sources=entry["sources"], missing=[], at_ms=now_ms, waits={})
        if is_final(entry) and entry is not found.entry:
            assert found.editions is not None
            edition = create_edition(self.store, key, found.editions.next_number, entry)
            if edition is None:
                return None  # somebody else's version has this number: it is what ours must come after
            entry = edition
        if repeated:
            return entry
        if period == HALF_HOUR:
            self.cache.store_entry(NS_SA_CONSOLIDATED, consolidated_key(start_ms), _consolidated(entry, start_ms))
        self.cache.store_entry(NS_SA_AGGREGATE, key, _in_schema(entry))
        return entry

    def _was_final_zero(self, period: str, start_ms: int) -> bool:
        """Whether a final roll-up has counted this period as empty, or is about to. Then a late record makes a revision
        of it, and not something partial below something final, even if the stream no longer vouches for that time."""
        for parent, parent_ms in parents(period, start_ms):
            key = cache_key(parent, parent_ms)
            entry = entry_in(self.cache, key)
            if not is_final(entry):
                entry = highest(entry, drive(editions_steps(self.store, key, self.closed_until_ms)))
            if is_final(entry):
                return True
        return False

    def delete_superseded_steps(self, now: Moment, grace_ms: int) -> Steps[None]:
        """Delete summaries that their entry stopped naming a while ago; what it names, in the cache and in its highest
        edition, is looked up again first. So those of one key go together, when one of them is twice as old."""
        due: dict[str, list[str]] = {}
        overdue: set[str] = set()
        for summary, (key, since) in self.superseded.items():
            if now - since >= grace_ms:
                due.setdefault(key, []).append(summary)
            if now - since >= 2 * grace_ms:
                overdue.add(key)
        for key, summaries in due.items():
            if key not in overdue:
                continue
            entry = readable(key, (yield call(self.cache.retrieve_entry, NS_SA_AGGREGATE, key)))
            editions = yield from editions_steps(self.store, key, self.closed_until_ms)
            named = {one["summary"] for one in (entry, editions.entry) if one is not None}
            if entry is not None and (unnamed := [summary for summary in summaries if summary not in named]):
                yield call(self.store.delete, unnamed)
            for summary in summaries:
                self.superseded.pop(summary, None)

    def mend_consolidated(self, entry: Entry, start_ms: int) -> None:
        """Write a half hour's consolidation result again if it is not that of its entry: two writers may have written
        the two in turns."""
        told = self.cache.retrieve_entry(NS_SA_CONSOLIDATED, consolidated_key(start_ms)) or {}
        wanted = _consolidated(entry, start_ms)
        if any(told.get(name) != value for name, value in wanted.items()):
            self.cache.store_entry(NS_SA_CONSOLIDATED, consolidated_key(start_ms), wanted)


def _in_schema(entry: Entry) -> dict[str, Any]:
    """What a later version has added to an entry that is gone on from stays in it."""
    known = Schema__SA__Aggregate__Window.__annotations__
    ours = {name: value for name, value in entry.items() if name in known}
    return {**entry, **Schema__SA__Aggregate__Window(**ours).json()}


def _consolidated(entry: Entry, start_ms: int) -> dict[str, Any]:
    return dict(Schema__SA__Consolidation__Result(**consolidation_result(entry, start_ms)).json())


def is_final(entry: Entry | None) -> bool:
    return entry is not None and entry["status"] == FINAL


def is_final_of(entry: Entry | None, provenance: str) -> bool:
    return is_final(entry) and entry is not None and entry.get("provenance") == provenance


def is_open_repair(entry: Entry | None) -> bool:
    """Whether it was computed from the archive, and lacks a file: it may give way to the stream."""
    return entry is not None and entry.get("provenance") == S3 and entry["status"] != FINAL


def is_settled(stream: Stream_View, view: Window_View, found: Found) -> bool:
    """Whether nothing that the stream names of a window is still to be published: the entry lists all of it; or it is
    final, or of the archive, and the stream, which does not vouch for that time, will never make more of it (NEVER_MS:
    that is not known yet)."""
    if found.gone_back:
        return False
    never_by_stream = not view.covered and stream.since_ms != NEVER_MS
    if found.shown is not None and found.shown.get("provenance") != STREAM:
        return is_final(found.shown) or found.shown.get("provenance") not in OURS or never_by_stream
    return lists(found.shown, view.sources) or (is_final(found.shown) and never_by_stream)
