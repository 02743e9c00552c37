"""Versions of an entry, compared. Pure."""

from msgspec import Struct

from sa_stream.partitions import Partial_Name
from sa_stream.rollups.entry import FINAL, STREAM, Entry
from sa_stream.rollups.finality import Sources
from sa_stream.rollups.periods import HOURLY
from sa_stream.rollups.slots import waits_of


class Brief(Struct, frozen=True):
    """What roll-ups need of an entry, and how many requests it has counted. `missing`: of an hour, the half hours that
    are not final, and why; `parts`: of a roll-up, the summaries that it is made of."""

    final: bool
    revision: int
    summary: str | None
    provenance: str = STREAM
    requests: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    parts: frozenset[str] = frozenset()


def version_of(entry: Entry | None) -> object:
    """What tells one version of an entry from another."""
    if entry is None:
        return None
    told = ("status", "revision", "summary", "sources", "missing_sources", "provenance")
    return [*(entry.get(name) for name in told), waits_of(entry)]


def brief_of(entry: Entry | None) -> Brief | None:
    if entry is None:
        return None
    missing: tuple[tuple[str, str], ...] = ()
    if entry["period"] == HOURLY:
        missing = tuple((source["time_key"], source["reason"]) for source in entry["missing_sources"])
    return Brief(
        entry["status"] == FINAL,
        entry["revision"],
        entry["summary"],
        entry.get("provenance", STREAM),
        entry.get("total_requests", 0),
        missing,
        frozenset(source["summary"] for source in entry["sources"] if "summary" in source),
    )


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
