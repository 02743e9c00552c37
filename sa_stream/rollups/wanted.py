"""What an entry should say, and what to make it of: the view of the stream, what is published below, and what the entry
says now come in. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sa_stream.commits.keys import partial_key
from sa_stream.partitions import Partial_Name, number_of
from sa_stream.rollups.entry import FINAL, MIXED, S3, STREAM, Entry
from sa_stream.rollups.finality import Sources, Stream_View, Window_View
from sa_stream.rollups.periods import (
    HALF_HOUR,
    HOURLY,
    cache_key,
    child_period,
    children,
    end_of,
    time_key,
)
from sa_stream.rollups.repairs import Repair
from sa_stream.rollups.slots import NOT_FINAL, Waits, waits_of, waits_of_parts
from sa_stream.rollups.versions import Brief, names_of
from sa_stream.timing import WINDOW_MS

# Why something was left for a later pass; keys of Pass_Result.skipped
PARTIAL_GONE = "partial-gone"  # a named partial was replaced meanwhile: a fresh list has the new name
REPAIR_GONE = "repair-gone"  # a repair that counted was replaced meanwhile
SUMMARY_GONE = "summary-gone"  # a child's mergeable summary is not there: the child is published anew first
type Json_List = Sequence[Mapping[str, Any]]

NOT_PUBLISHED = "not-published"  # a roll-up waits for an entry that is about to be written


class Part(Struct, frozen=True):
    """A mergeable window in the state store: its key ('': the entry has none, as what was written without a state
    store), why it may be gone, and the entry to publish anew then, or the partition of which it is."""

    key: str
    gone: str
    owner: str = ""
    partition: str = ""


class Wanted(Struct):
    """What an entry should say, and what to make it of. `sources` and `missing` are as in its JSON; `zeros` are keys of
    the entries below a roll-up that count as final because they are empty; `waits` are its slots that are not final."""

    final: bool
    sources: Json_List
    missing: Json_List
    parts: Sequence[Part]
    zeros: Sequence[str] = ()
    provenance: str = STREAM
    waits: Waits = field(default_factory=dict)

    def equals(self, entry: Entry) -> bool:
        return bool(
            waits_of(entry) in (None, self.waits)
            and (entry["status"] == FINAL) == self.final
            and entry["sources"] == self.sources
            and entry["missing_sources"] == self.missing
        )


def names_json(sources: Sources) -> list[dict[str, Any]]:
    return [{"partition": partition, "lineage": name.lineage, "number": name.number} for partition, name in sources]


def with_newer(sources: Json_List, partition: str, name: Partial_Name) -> list[dict[str, Any]]:
    """The same sources, with another partial of one partition."""
    newer = names_json(((partition, name),))[0]
    return [newer if source["partition"] == partition else dict(source) for source in sources]


def missing_json(view: Window_View) -> list[dict[str, Any]]:
    return [{"partition": missing.partition, "reason": missing.reason} for missing in view.missing]


def with_forgotten(sources: Sources, current: Entry | None, kept: Mapping[str, Partial_Name]) -> Sources:
    """The view's sources, and those of the entry whose partition names the window no more: it forgot an old window
    only because the entry lists it, and a retired shard has no map at all. `kept`: what the store still has of the
    window, where that was looked up; a newer one than the entry's was in the entry, before an older version came back,
    or a repair that gives way now.
    """
    if current is not None and current.get("provenance") not in (STREAM, S3):
        return sources
    names = {} if current is None or current.get("provenance") == S3 else names_of(current)
    for partition, name in kept.items():
        if partition not in names or int(names[partition].number) < int(name.number):
            names[partition] = name
    return tuple(sorted((names | dict(sources)).items(), key=lambda item: item[0]))


def partials_of(window_ms: int, sources: Iterable[tuple[str, Partial_Name]]) -> list[Part]:
    return [
        Part(partial_key(window_ms, partition, name), PARTIAL_GONE, partition=partition) for partition, name in sources
    ]


def additions(window_ms: int, sources: Sources, current: Entry) -> list[Part]:
    """What the entry holds already, and the partials that it does not list: a partial that its partition forgot may be
    gone, and lives on in the entry's summary. Nothing if a listed one has changed, as sums cannot be taken apart."""
    listed = names_of(current)
    if any(listed.get(partition, name) != name for partition, name in sources):
        return []
    fresh = [(partition, name) for partition, name in sources if partition not in listed]
    return [Part(current["summary"] or "", SUMMARY_GONE), *partials_of(window_ms, fresh)]


def is_older(sources: Sources, current: Entry) -> bool:
    """Whether the entry was made from newer partials than these: our list of progress records is a moment old."""
    listed = names_of(current)
    return any(
        partition in listed and int(listed[partition].number) > int(name.number)  # of any lineage
        for partition, name in sources
    )


def children_gone_back(listed: Json_List, now: Json_List) -> list[str]:
    """Time keys of the entries that a roll-up lists and that are there no more, or with a lower revision."""
    revisions = {source["time_key"]: source["revision"] for source in now}
    return [source["time_key"] for source in listed if revisions.get(source["time_key"], -1) < source["revision"]]


def wanted_of_window(view: Window_View, window_ms: int, current: Entry | None, sources: Sources, anew: bool) -> Wanted:
    """What a half hour's entry should say. `sources`: all that it lists; `anew`: its summary is lost."""
    parts = partials_of(window_ms, sources)
    if current is not None and current["provenance"] == STREAM and len(sources) > len(view.sources) and not anew:
        parts = additions(window_ms, sources, current) or parts
    return Wanted(view.final, names_json(sources), missing_json(view), parts)


def wanted_again(window_ms: int, entry: Entry) -> tuple[Wanted, Sources]:
    """What a half hour's final entry says, whose summary is lost and for whose time the stream vouches no longer: it
    stays as it is, and is made of the partials that it lists. Not of newer ones, which may be of another lineage."""
    sources = tuple(names_of(entry).items())
    parts = [Part(partial_key(window_ms, partition, name), PARTIAL_GONE) for partition, name in sources]
    return Wanted(True, entry["sources"], [], parts), sources


def wanted_of_repair(window_ms: int, repair: Repair, missing: Json_List) -> Wanted:
    """What a half hour's entry should say that was computed from the files of the archive."""
    parts = [Part(repair.key(window_ms), REPAIR_GONE)]
    return Wanted(repair.whole, names_json(((S3, repair.name),)), missing, parts, provenance=S3)


def wanted_of_children(stream: Stream_View, period: str, start_ms: int, briefs: Mapping[int, Brief | None]) -> Wanted:
    """What a roll-up should say, from the entries below it: start (ms) -> what there is."""
    below = child_period(period)
    sources: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    parts: list[Part] = []
    zeros: list[str] = []
    for child_ms in children(period, start_ms):
        brief, label = briefs[child_ms], time_key(below, child_ms)
        if brief is not None:
            source = {"time_key": label, "revision": brief.revision, "summary": brief.summary}
            sources.append(source if brief.provenance == STREAM else {**source, "provenance": brief.provenance})
            parts.append(Part(brief.summary or "", SUMMARY_GONE, cache_key(below, child_ms)))
            reason = "" if brief.final else NOT_FINAL
        else:
            end_ms = end_of(below, child_ms)
            reason = stream.span_reason(child_ms, end_ms)
            if not reason and not stream.named.isdisjoint(range(child_ms, end_ms, WINDOW_MS)):
                reason = NOT_PUBLISHED
            zeros.append(cache_key(below, child_ms))
        if reason:
            missing.append({"time_key": label, "reason": reason})
    origins = {brief.provenance for brief in briefs.values() if brief is not None}
    provenance = origins.pop() if len(origins) == 1 else _mixed(origins)
    return Wanted(not missing, sources, missing, parts, zeros, provenance, _waits(stream, period, briefs, missing))


def with_counted_zeros(wanted: Wanted, current: Entry | None) -> Wanted:
    """What a roll-up should say whose final version has counted some of its parts as empty: they stay so for it, though
    the stream may vouch for their time no longer. Else what became new in its other parts would never be in it."""
    if current is None or current["status"] != FINAL or wanted.final:
        return wanted
    listed = {source["time_key"] for source in current["sources"]}
    counted = {key.partition("/")[2] for key in wanted.zeros} - listed
    if any(each["time_key"] not in counted for each in wanted.missing):
        return wanted
    return replace(wanted, final=True, missing=[], waits={})


def _waits(stream: Stream_View, period: str, briefs: Mapping[int, Brief | None], missing: Json_List) -> Waits:
    reasons = {source["time_key"]: source["reason"] for source in missing}
    below = child_period(period)

    def told(hour_ms: int) -> Mapping[str, str]:
        brief = briefs[hour_ms]
        if brief is not None:
            return dict(brief.missing)
        return {time_key(HALF_HOUR, half_ms): _unpublished(stream, half_ms) for half_ms in children(HOURLY, hour_ms)}

    waiting = {start_ms: reasons[label] for start_ms in briefs if (label := time_key(below, start_ms)) in reasons}
    return waits_of_parts(period, waiting, told)


def _unpublished(stream: Stream_View, window_ms: int) -> str:
    """Why a half hour of an hour without an entry is not final; '' if it is, and empty."""
    reason = stream.span_reason(window_ms, window_ms + WINDOW_MS)
    return NOT_PUBLISHED if not reason and window_ms in stream.named else reason


def _mixed(origins: set[str]) -> str:
    return MIXED if origins else STREAM


def newest_kept(
    keys: Iterable[str], window_ms: int, stream: Stream_View, entry: Entry | None
) -> dict[str, Partial_Name]:
    """Of these keys of partials the newest of every partition that may have forgotten the window: to the others it is
    not too late, so that what they name counts. Only of the lineage that the entry lists, or else of the one that the
    partition is in: others may have read less."""
    kept: dict[str, Partial_Name] = {}
    listed_names = {} if entry is None else names_of(entry)
    for key in keys:
        partition, lineage, number = key.split("/")[2:]
        name = Partial_Name(lineage, number_of(number))
        own = stream.progress.get(partition)
        if partition not in stream.retired and (own is None or window_ms >= own.amendable_from_ms):
            continue
        known = listed_names.get(partition, own)
        if known is None or known.lineage != lineage:
            continue
        if partition not in kept or int(kept[partition].number) <= int(name.number):
            kept[partition] = name
    return kept
