"""What the cache service has under the key of an entry may be damaged, or somebody else's. An entry comes in here once,
before anybody reads it, and goes out as it is if what is read of it has its form; so nobody needs to look again.

A later version may have more than is looked for, and schema 1 has less.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sa_stream.errors import Damaged_Entry
from sa_stream.rollups.periods import STATUS_KEY, from_iso
from sa_stream.timing import TIMES_UNTIL_MS

type Number = Annotated[float, Meta(ge=0, le=1e60)]  # whole or not; a record may say that it had 1e30 bytes
type Numbers = dict[str, Number | None]
type Table = dict[str, Number]
type Minutes = Annotated[list[Number | None], Meta(min_length=30, max_length=30)]


class _Time:
    """As `iso` writes it."""


def _form(
    required: Mapping[str, Any], or_null: Mapping[str, Any], not_null: Mapping[str, Any] | None = None
) -> type[msgspec.Struct]:
    """Types by names. What is not required need not be there."""
    others = {name: of | None for name, of in or_null.items()} | dict(not_null or {})
    return msgspec.defstruct("_Form", [*required.items(), *((name, of, None) for name, of in others.items())])


# fmt: off
_Path = _form({"path": str, "count": Number}, dict.fromkeys(
    ("bytes", "hits", "misses", "status_4xx", "status_5xx", "avg_time_taken"), Number,
))
_Bot = _form({"name": str, "count": Number}, {"bytes": Number, "ai": bool})
_Missing = _form({}, dict.fromkeys(("reason", "partition", "time_key", "file"), str))
_Columns = _form({"state": list[str]}, {"reason": list[str | None], **dict.fromkeys(
    ("requests", "human", "bytes", "hits", "status_4xx", "status_5xx", "p95"), list[Number | None],
)})
_ENTRY = _form({"window_start": _Time, "computed_at": _Time, "total_requests": Number}, {
    **dict.fromkeys(("period", "time_key", "window_end", "status", "provenance"), str),
    **dict.fromkeys((
        "revision", "sampling_rate", "total_bytes", "unique_paths", "unique_agents", "unique_edges",
        "page_views", "late_records", "duplicate_records", "invalid_records", "avg_time_taken", "avg_ttfb",
        "cache_hit_rate", "served_from_cache_rate",
    ), Number),
    **dict.fromkeys((
        "status_breakdown", "status_codes", "result_types", "edge_distribution", "methods", "protocols", "hosts",
        "agent_classes", "browsers", "systems", "devices", "referrers", "content_types", "kinds", "http_versions",
        "tls_versions", "cities", "path_groups", "countries",
    ), Table),
    **dict.fromkeys(("top_paths", "top_missed_paths", "top_bytes_paths"), list[_Path]),  # type: ignore[valid-type]
    "top_error_paths": dict[str, list[_Path]],  # type: ignore[valid-type]
    "bots": list[_Bot],  # type: ignore[valid-type]
    "percentiles": dict[str, Numbers | None],
    **dict.fromkeys(("origin_latency", "scaled", "errors"), Numbers),
    "per_minute": dict[str, Minutes | None],
    **dict.fromkeys(("per_half_hour", "per_day"), _Columns),
    "missing_sources": list[_Missing],  # type: ignore[valid-type]
}, {"schema_version": Number, "missing_fields": list[str]})
_Gap = _form({"from": _Time, "to": _Time, "reason": str}, {})
_STATUS = _form({"computed_at": _Time, "final_until": _Time}, {
    "covers_since": _Time, "watermark": _Time, "lag_s": Number, "gaps": list[_Gap],  # type: ignore[valid-type]
})
# fmt: on


def checked(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The same, if it can be read as the entry of this key, or as `status/stream`. Raises Damaged_Entry."""
    try:
        msgspec.convert(entry, _STATUS if key == STATUS_KEY else _ENTRY, dec_hook=_parsed)
        _check_parts(key, entry)
    except ValueError as error:
        raise Damaged_Entry(key, str(error)) from error
    return entry


def _parsed(form: type[Any], text: Any) -> Any:
    if not 0 <= from_iso(text) < TIMES_UNTIL_MS:
        raise ValueError("no time of an entry")
    return form()


def _check_parts(key: str, entry: Mapping[str, Any]) -> None:
    """What must fit together. Raises ValueError."""
    if entry.get("cache_key") != key:
        raise ValueError("it says that it is of another")
    for name in ("per_half_hour", "per_day"):
        columns = (entry.get(name) or {}).values()
        if len({len(column) for column in columns if isinstance(column, list)}) > 1:
            raise ValueError(f"the columns of {name} are not of one length")
