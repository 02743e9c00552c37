"""Versions of an entry, compared. Pure."""

from dataclasses import dataclass

from sa_stream.partitions import Partial_Name
from sa_stream.rollups.entry import FINAL, Entry
from sa_stream.rollups.finality import Sources


@dataclass(frozen=True, slots=True)
class Brief:
    """What roll-ups need of an entry."""

    final: bool
    revision: int
    summary: str


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


def names_of(entry: Entry) -> dict[str, Partial_Name]:
    return {source["partition"]: Partial_Name(source["lineage"], source["number"]) for source in entry["sources"]}


def lists(entry: Entry | None, sources: Sources) -> bool:
    """Whether an entry lists all these partials, of the same lineages and numbers."""
    if entry is None:
        return not sources
    names = names_of(entry)
    return all(names.get(partition) == name for partition, name in sources)
