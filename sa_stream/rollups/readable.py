"""What the cache has under the key of an entry, as far as publishing can go on from it: whoever publishes, cleans up or
prunes reads entries through here, and need not look again.

What is ours and damaged counts as lost, as what a power cut tore does: whoever misses it writes it again, from its last
final version or from what it is made of. So one entry never keeps all others from being published.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt

from sa_stream.commits.keys import summary_key
from sa_stream.commits.ports import Cache
from sa_stream.errors import Damaged_Entry
from sa_stream.format import pack
from sa_stream.log import OBJECT_UNREADABLE, Log
from sa_stream.rollups.entry import FINAL, OURS, PARTIAL, S3, Entry
from sa_stream.rollups.entry_form import checked
from sa_stream.rollups.periods import HALF_HOUR, child_period, children, parse_cache_key, time_key
from sa_stream.rollups.slots import COLUMNS, slot_starts
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.windows.window import SLOT

log = Log("entries")

_HASH = re.compile("[A-Za-z0-9]+")

type Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
type Sum = Annotated[int, Meta(ge=0)]  # of what strangers say; how much it may be at most is the shown form's
type Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_=+@,-][A-Za-z0-9_.=+@,-]{0,199}\Z")]  # a segment of a key
type Digits = Annotated[str, Meta(pattern=r"\A[0-9]{1,200}\Z")]


def _schema_form() -> type[msgspec.Struct]:
    """What the schema takes. A field that may be None may be missing, as an older version had fewer, but for those that
    another version is made from."""
    types: dict[Any, Any] = {Safe_UInt: Count}
    carried = {*Schema__SA__Consolidation__Result.__annotations__, "summary"}
    fields: list[Any] = []
    for name, of in Schema__SA__Aggregate__Window.__annotations__.items():
        form: Any = Sum if name == "total_bytes" else types.get(of, of)
        if hasattr(Schema__SA__Aggregate__Window, name):
            fields.append((name, form | None) if name in carried else (name, form | None, None))
        else:
            fields.append((name, form, 1) if name == "schema_version" else (name, form))
    return msgspec.defstruct("_Of_Schema", fields, kw_only=True)


class _Partial(msgspec.Struct):
    partition: Name
    lineage: Name
    number: Digits


class _Child(msgspec.Struct):
    time_key: str
    revision: Count
    summary: str | None


class _Missing(msgspec.Struct):
    reason: str


class _Missing_Child(_Missing):
    time_key: str


def _progress_form(source: type[msgspec.Struct], missing: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """How complete it is, and of what."""
    fields = [("status", Literal["final", "partial"]), ("sources", list[source]), ("missing_sources", list[missing])]  # type: ignore[valid-type]
    return msgspec.defstruct("_Of_Period", fields)


_SCHEMA = _schema_form()
_WINDOW, _ROLLUP = _progress_form(_Partial, _Missing), _progress_form(_Child, _Missing_Child)


def entry_in(cache: Cache, key: str) -> Entry | None:
    """`readable` of what a cache has under a key."""
    return readable(key, cache.retrieve_entry(NS_SA_AGGREGATE, key))


def readable(key: str, entry: Entry | None) -> Entry | None:
    """The same, if it is sound. What is damaged is None where it says that it is ours, or does not say whose it is;
    of somebody else's, which is never written over, only that it is there."""
    if entry is None:
        return None
    fault = fault_of(key, entry)
    if fault is None:
        return entry
    if _is_of_others(entry):
        return _of_others(key, entry)
    log.tell(OBJECT_UNREADABLE, f"{key} in the cache is no entry, and counts as lost: {fault}", key=key)
    return None


def fault_of(key: str, entry: Entry) -> str | None:
    """Why publishing cannot go on from it, in words; None if it is sound."""
    try:
        _check(key, entry)
    except (ValueError, OverflowError, Damaged_Entry) as error:
        return str(error.__cause__ or error)
    return None


def _check(key: str, entry: Entry) -> None:
    """Raises ValueError, OverflowError, Damaged_Entry."""
    checked(key, entry)
    period, start_ms = parse_cache_key(key)
    msgspec.convert(entry, _SCHEMA)
    msgspec.convert(entry, _WINDOW if period == HALF_HOUR else _ROLLUP)
    pack("edition", entry)  # it can become one
    if key != f"{entry['period']}/{entry['time_key']}":
        raise ValueError("it says that it is of another time")
    summary, own = entry["summary"], summary_key(key, "")  # what an entry stops naming is deleted
    if summary is not None and not (summary.startswith(own) and _HASH.fullmatch(summary, len(own))):
        raise ValueError("it names a summary that is not its own")
    _check_sources(period, start_ms, entry)
    columns = entry.get(COLUMNS.get(period, ""))
    if columns is not None:
        slots = len(slot_starts(period, start_ms))
        whole = {"state", "reason", "requests"}
        if not {*SLOT, *whole} <= columns.keys() or any(columns[name] is None for name in whole):
            raise ValueError("it lacks columns")
        if any(column is not None and len(column) != slots for column in columns.values()):
            raise ValueError("its columns have not a row for each slot")


def _check_sources(period: str, start_ms: int, entry: Entry) -> None:
    """Raises ValueError."""
    if period == HALF_HOUR:
        if entry.get("provenance") == S3 and [source["partition"] for source in entry["sources"]] != [S3]:
            raise ValueError("it is of the archive, but not made of its files")
        return
    below = {time_key(child_period(period), child_ms) for child_ms in children(period, start_ms)}
    if not below.issuperset(source["time_key"] for source in (*entry["sources"], *entry["missing_sources"])):
        raise ValueError("it is made of what is not below it")


def _is_of_others(entry: Entry) -> bool:
    provenance = entry.get("provenance")
    return isinstance(provenance, str) and provenance not in OURS


def _of_others(key: str, entry: Entry) -> Entry:
    period, _, label = key.partition("/")
    return {
        "cache_key": key,
        "period": period,
        "time_key": label,
        "status": FINAL if entry.get("status") == FINAL else PARTIAL,
        "revision": 0,
        "provenance": entry["provenance"],
        "sources": [],
        "missing_sources": [],
        "summary": None,
    }
