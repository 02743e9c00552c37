"""Versions of an entry, compared: what it says, what it should say, and what it is to be made of. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sa_stream.commits.keys import partial_key
from sa_stream.partitions import Partial_Name
from sa_stream.rollups.entry import FINAL, STREAM, Entry
from sa_stream.rollups.finality import Sources, Window_View

# Why something was left for a later pass; keys of Pass_Result.skipped
PARTIAL_GONE = "partial-gone"  # a named partial was replaced meanwhile: a fresh list has the new name
SUMMARY_GONE = "summary-gone"  # a child's mergeable summary is not there: the child is published anew first

type Json_List = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Brief:
    """What roll-ups need of an entry."""

    final: bool
    revision: int
    summary: str


@dataclass(frozen=True, slots=True)
class Part:
    """A mergeable window in the state store: its key, why it may be gone, and the entry to publish anew then."""

    key: str
    gone: str
    owner: str = ""


@dataclass(slots=True)
class Wanted:
    """What an entry should say, and what to make it of. `sources` and `missing` are as in its JSON; `zeros` are keys of
    the entries below a roll-up that count as final because they are empty."""

    final: bool
    sources: Json_List
    missing: Json_List
    parts: Sequence[Part]
    zeros: Sequence[str] = ()

    def equals(self, entry: Entry) -> bool:
        return bool(
            (entry["status"] == FINAL) == self.final
            and entry["sources"] == self.sources
            and entry["missing_sources"] == self.missing
        )


def version_of(entry: Entry | None) -> object:
    """What tells one version of an entry from another."""
    if entry is None:
        return None
    return [entry.get(name) for name in ("status", "revision", "summary", "sources", "missing_sources", "provenance")]


def brief_of(entry: Entry | None) -> Brief | None:
    return None if entry is None else Brief(entry["status"] == FINAL, entry["revision"], entry["summary"])


def went_back(before: Brief | None, now: Brief | None) -> bool:
    """Whether an entry says less than it did: status and revision never go back for good."""
    if before is None:
        return False
    return now is None or (now.final, now.revision) < (before.final, before.revision)


# ---------------------------------------------------------------------- half hours


def names_json(sources: Sources) -> list[dict[str, Any]]:
    return [{"partition": partition, "lineage": name.lineage, "number": name.number} for partition, name in sources]


def names_of(entry: Entry) -> dict[str, Partial_Name]:
    return {source["partition"]: Partial_Name(source["lineage"], source["number"]) for source in entry["sources"]}


def missing_json(view: Window_View) -> list[dict[str, Any]]:
    return [{"partition": missing.partition, "reason": missing.reason} for missing in view.missing]


def lists(entry: Entry | None, sources: Sources) -> bool:
    """Whether an entry lists all these partials, of the same lineages and numbers."""
    if entry is None:
        return not sources
    names = names_of(entry)
    return all(names.get(partition) == name for partition, name in sources)


def with_forgotten(sources: Sources, current: Entry | None, kept: Mapping[str, Partial_Name]) -> Sources:
    """The view's sources, and those of the entry whose partition names the window no more: it forgot an old window
    only because the entry lists it, and a retired shard has no map at all. `kept`: what the store still has of the
    window, where that was looked up; a newer one than the entry's was in the entry, before an older version came back.
    """
    if current is not None and current.get("provenance") != STREAM:
        return sources
    names = {} if current is None else names_of(current)
    for partition, name in kept.items():
        if partition not in names or int(names[partition].number) < int(name.number):
            names[partition] = name
    return tuple(sorted((names | dict(sources)).items(), key=lambda item: item[0]))


def partials_of(window_ms: int, sources: Iterable[tuple[str, Partial_Name]]) -> list[Part]:
    return [Part(partial_key(window_ms, partition, name), PARTIAL_GONE) for partition, name in sources]


def additions(window_ms: int, sources: Sources, current: Entry) -> list[Part]:
    """What the entry holds already, and the partials that it does not list: a partial that its partition forgot may be
    gone, and lives on in the entry's summary. Nothing if a listed one has changed, as sums cannot be taken apart."""
    listed = names_of(current)
    if any(listed.get(partition, name) != name for partition, name in sources):
        return []
    fresh = [(partition, name) for partition, name in sources if partition not in listed]
    return [Part(current["summary"], SUMMARY_GONE), *partials_of(window_ms, fresh)]


def is_older(sources: Sources, current: Entry) -> bool:
    """Whether the entry was made from newer partials than these: our list of progress records is a moment old."""
    listed = names_of(current)
    return any(
        partition in listed and int(listed[partition].number) > int(name.number)  # of any lineage
        for partition, name in sources
    )


# ---------------------------------------------------------------------- roll-ups


def children_gone_back(listed: Json_List, now: Json_List) -> list[str]:
    """Time keys of the entries that a roll-up lists and that are there no more, or with a lower revision."""
    revisions = {source["time_key"]: source["revision"] for source in now}
    return [source["time_key"] for source in listed if revisions.get(source["time_key"], -1) < source["revision"]]
