"""Logs whose names for their fields come with them: names in, the field list that reads them out; JSON lines and frames
of columns in, tab-separated lines out, so that one parser reads everything.

What AWS's guide says of these logs (CloudFront developer guide, "Standard logging reference", "Configure standard
logging (v2)"; Athena guide, "Create a table for CloudFront logs ... Parquet"):

- The time is `date` and `time` in UTC, or `timestamp(ms)`, which v2 offers besides.
- `cs(Host)` is the distribution's own name, and `x-host-header` the Host that the viewer sent. In real-time logs it is
  the other way round: `cs-host` is what the viewer sent.
- W3C and JSON write `cs(User-Agent)`, Parquet `cs_user_agent`; real-time logs `cs-user-agent`.
- In W3C the characters up to the space, those from 127 on and ``<>"#%{}|\\^~[]`'`` are percent-encoded. Other forms may
  have them as they are: they are encoded here, so that a value is the same from every form.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
import polars as pl

from sa_stream.errors import Source_Error
from sa_stream.log_file import W3C_HEADER
from sa_stream.records.decoder import LINE_BYTES_MAX, Layout
from sa_stream.records.fields import FORBIDDEN_FIELDS, KNOWN_FIELDS, NO_VALUE, Field_List, Field_Lists, Time_Form

_OWN_FIELDS = ("date", "time", "timestamp-ms", "distributionid")
_ENCODED = r"""[\x00-\x20\x7f-\x{10ffff}<>"#{}|\\^~\[\]`']"""  # not %: what is encoded already stays as it is
_SAFE = "%!$&()*+,-./:;=?@_"
_NAMES_FROM = 100  # first lines of a buffer of JSON that tell which names there are


@dataclass(frozen=True, slots=True)
class Named_Fields:
    """How the lines of one log are read.

    lists         the one field list; `columns`: the name in the log of each column that is read, in the list's order
    never_parsed  names, as the log has them, of what tells who a visitor is, of what nobody knows, and of DROP_FIELDS
    """

    lists: Field_Lists
    columns: tuple[str, ...]
    never_parsed: tuple[str, ...]


@lru_cache(maxsize=1_000)
def fields_of_header(line: bytes, dropped: frozenset[str], allowed: frozenset[str] = frozenset()) -> Named_Fields:
    """The same for a line `#Fields: …` of W3C, which names every column of the lines below it."""
    names = tuple(line.removeprefix(W3C_HEADER).decode("utf-8", "replace").split())
    return Named_Fields(*_listed(names, dropped, allowed))


@lru_cache(maxsize=1_000)
def fields_of_columns(
    names: tuple[str, ...], dropped: frozenset[str], allowed: frozenset[str] = frozenset()
) -> Named_Fields:
    """The same for a log of named values, of which only those are taken that are read."""
    lists, columns, never_parsed = _listed(names, dropped, allowed)
    (listed,) = lists.lists
    read = [place for place in Layout(listed).wanted if listed.names[place] not in listed.dropped]
    taken = Field_List(tuple(listed.names[place] for place in read), frozenset(), listed.time_form)
    return Named_Fields(Field_Lists.of(taken), tuple(columns[place] for place in read), never_parsed)


def _listed(
    names: tuple[str, ...], dropped: frozenset[str], allowed: frozenset[str]
) -> tuple[Field_Lists, tuple[str, ...], tuple[str, ...]]:
    """(list of all these names, the names, those that are never parsed)."""
    plain = [_plain(name) for name in names]
    repeated = next((name for name, field in zip(names, plain, strict=True) if plain.count(field) > 1), None)
    if repeated:
        raise Source_Error(f"its field names have {repeated} twice: nobody can tell which of the two is meant")
    time_form = _time_form(plain)
    ours = [_our_name(field, time_form, "cs-host" in names) for field in plain]
    hidden = (FORBIDDEN_FIELDS - allowed) | dropped
    unread = {
        field for field in ours if field in hidden or field.removeprefix("_") not in (*KNOWN_FIELDS, *_OWN_FIELDS)
    }
    never_parsed = tuple(name for name, field in zip(names, ours, strict=True) if field in unread)
    return Field_Lists.of(Field_List(tuple(ours), frozenset(unread), time_form)), names, never_parsed


def _plain(name: str) -> str:
    """`cs(User-Agent)`, `cs_user_agent` -> `cs-user-agent`."""
    return name.lower().replace("(", "-").replace(")", "").replace("_", "-")


def _time_form(plain: Sequence[str]) -> Time_Form:
    if "timestamp-ms" in plain:
        return Time_Form.MILLISECONDS
    if "date" in plain and "time" in plain:
        return Time_Form.DATE_AND_TIME
    if "timestamp" in plain:
        return Time_Form.SECONDS
    raise Source_Error(
        "its fields have no time: expected date and time, timestamp(ms) or timestamp; select them for the delivery"
    )


def _our_name(field: str, time_form: Time_Form, is_real_time: bool) -> str:
    """Our name of a field; with `_` in front one that is of no use here."""
    times = {Time_Form.MILLISECONDS: "timestamp-ms", Time_Form.DATE_AND_TIME: "date", Time_Form.SECONDS: "timestamp"}
    if field == times[time_form]:
        return "timestamp"
    if field == "timestamp":
        return "_timestamp"
    if not is_real_time:
        return {"x-host-header": "cs-host", "cs-host": "_cs-host"}.get(field, field)
    return field


# --------------------------------------------------------------------------------------------------------------- values


def json_names(lines: bytes) -> tuple[str, ...]:
    """The names that the first objects of a buffer have, in the order in which they come."""
    names: dict[str, None] = {}
    for line in lines.split(b"\n", _NAMES_FROM)[:_NAMES_FROM]:
        names |= dict.fromkeys(_object(line) or {})
    return tuple(names)


def lines_of_json(lines: bytes, columns: Sequence[str]) -> bytes:
    """JSON objects, one a line, as tab-separated lines. What is no object stays as it is, without tabs: a line of one
    field, which is malformed."""
    try:
        return lines_of_frame(pl.read_ndjson(lines, schema=dict.fromkeys(columns, pl.String)), columns)
    except pl.exceptions.PolarsError:  # some line is no object: each by itself
        rows, others = [], [b""]
        for line in lines.split(b"\n"):
            found = _object(line) if len(line) <= LINE_BYTES_MAX else None
            if found is not None:
                rows.append({name: _text(found.get(name)) for name in columns})
            elif line.strip(b"\r"):
                others.append(line.replace(b"\t", b" "))
        frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))
        return lines_of_frame(frame, columns) + b"\n".join(others).removeprefix(b"\n") + b"\n"


def _object(line: bytes) -> Mapping[str, Any] | None:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def lines_of_frame(frame: pl.DataFrame, columns: Sequence[str]) -> bytes:
    """Columns as tab-separated lines, with what W3C would have encoded."""
    texts = frame.select(pl.col(name).cast(pl.String, strict=False).fill_null(NO_VALUE) for name in columns)
    out = io.BytesIO()
    encoded = texts.select(_encoded(texts[name]) for name in columns)
    encoded.write_csv(out, include_header=False, separator="\t", quote_style="never")
    return out.getvalue()


def _encoded(values: pl.Series) -> pl.Series:
    odd: Iterable[str] = values.filter(values.str.contains(_ENCODED)).unique().to_list()
    mended = {value: quote(value, safe=_SAFE).replace("~", "%7E") for value in odd}
    return values.replace(list(mended), list(mended.values())) if mended else values
