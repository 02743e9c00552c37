"""Logs whose names for their fields come with them: names in, the field list that reads them out; JSON lines and frames
of columns in, tab-separated lines out, so that one parser reads everything.

What AWS's guide says of these logs (CloudFront developer guide, "Standard logging reference", "Configure standard
logging (v2)"; Athena guide, "Create a table for CloudFront logs ... Parquet"):

- The time is `date` and `time` in UTC, or `timestamp(ms)`, which v2 offers besides.
- `cs(Host)` is the distribution's own name, and `x-host-header` the Host that the viewer sent. In real-time logs, which
  alone have `timestamp`, it is the other way round: `cs-host` is what the viewer sent.
- W3C and JSON write `cs(User-Agent)`, Parquet `cs_user_agent`; real-time logs `cs-user-agent`.
- In W3C the characters up to the space, those from 127 on and ``<>"#%{}|\\^~[]`'`` are percent-encoded. Other forms may
  have them as they are: they are encoded here, so that a value is the same from every form.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np
from msgspec import Struct

from sa_stream.errors import Source_Error
from sa_stream.frames import pl
from sa_stream.log_file import W3C_HEADER
from sa_stream.records.decoder import LINE_BYTES_MAX, Layout
from sa_stream.records.fields import (
    FORBIDDEN_FIELDS,
    KNOWN_FIELDS,
    NO_VALUE,
    RESULT_FIELDS,
    Field_List,
    Field_Lists,
    Time_Form,
)

_OWN_FIELDS = ("date", "time", "timestamp-ms", "distributionid")
_ENCODED = r"""[\x00-\x20\x7f-\x{10ffff}<>"#{}|\\^~\[\]`']"""  # not %: what is encoded already stays as it is
_SAFE = "%!$&()*+,-./:;=?@_"
_DECIDING = {"date", "time", "timestamp", "timestamp-ms", "cs-host", *RESULT_FIELDS}
# What a log would write of a time that comes as one, and not as text.
_FORMS_OF_TIME = {"date": "%Y-%m-%d", "time": "%H:%M:%S", "timestamp-ms": "%s%3f", "timestamp": "%s%.6f"}
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Named_Fields(Struct, frozen=True):
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
    names: tuple[str, ...],
    dropped: frozenset[str],
    allowed: frozenset[str] = frozenset(),
    shown: tuple[str, ...] = (),
) -> Named_Fields:
    """The same for a log of named values, of which only those are taken that are read, or are to be shown."""
    lists, columns, never_parsed = _listed(names, dropped, allowed)
    (listed,) = lists.lists
    wanted = {*Layout(listed).wanted, *(place for place, name in enumerate(listed.names) if name in shown)}
    read = [place for place in sorted(wanted) if listed.names[place] not in listed.dropped]
    taken = Field_List(tuple(listed.names[place] for place in read), frozenset(), listed.time_form)
    return Named_Fields(Field_Lists.of(taken), tuple(columns[place] for place in read), never_parsed)


def _listed(
    names: tuple[str, ...], dropped: frozenset[str], allowed: frozenset[str]
) -> tuple[Field_Lists, tuple[str, ...], tuple[str, ...]]:
    """(list of all these names, the names, those that are never parsed)."""
    plain = [_plain(name) for name in names]
    times = Counter(plain)
    repeated = next((name for name, field in zip(names, plain, strict=True) if times[field] > 1), None)
    if repeated:
        raise Source_Error(f"its field names have {repeated} twice: nobody can tell which of the two is meant")
    time_form = _time_form(plain)
    if time_form is None:
        raise Source_Error(
            "its fields have no time: expected date and time, timestamp(ms) or timestamp; select them for the delivery"
        )
    of_seconds = time_form == Time_Form.SECONDS and not any("(" in name for name in names)
    is_real_time = of_seconds or "cs-host" in names  # of Parquet, `cs_host` may be either
    ours = [_our_name(field, time_form, is_real_time) for field in plain]
    hidden = (FORBIDDEN_FIELDS - allowed) | dropped
    known = {*KNOWN_FIELDS, *_OWN_FIELDS}
    unread = {field for field in ours if field in hidden or field.removeprefix("_") not in known}
    never_parsed = tuple(name for name, field in zip(names, ours, strict=True) if field in unread)
    return Field_Lists.of(Field_List(tuple(ours), frozenset(unread), time_form)), names, never_parsed


def _plain(name: str) -> str:
    """`cs(User-Agent)`, `cs_user_agent` -> `cs-user-agent`."""
    return name.lower().replace("(", "-").replace(")", "").replace("_", "-")


def _time_form(plain: Sequence[str]) -> Time_Form | None:
    if "timestamp-ms" in plain:
        return Time_Form.MILLISECONDS
    if "date" in plain and "time" in plain:
        return Time_Form.DATE_AND_TIME
    if "timestamp" in plain:
        return Time_Form.SECONDS
    return None


def _has_time(names: Iterable[str]) -> bool:
    return _time_form([_plain(name) for name in names]) is not None


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


def lines_of_json(
    lines: bytes, fields_of: Callable[[tuple[str, ...]], Named_Fields], last: Named_Fields | None = None
) -> Iterator[tuple[Named_Fields | None, bytes]]:
    """(fields, tab-separated lines to read with them) of a buffer of JSON objects, one a line. Objects with other names
    come by themselves where these change how the rest is read. Every line that is not empty comes out: an object
    without a time among those with one, what is no object as it is, without tabs: a line of one field, which is
    malformed.

    fields_of  the fields of a log that has these names
    last       those of the objects before this buffer, for a buffer that has none; without them it comes with None

    Raises Source_Error if no object has a time, here or before.
    """
    frame = _alike(lines)
    if frame is not None:
        fields = fields_of(tuple(frame.columns))
        yield fields, lines_of_frame(frame, fields.columns)
        return
    found, others = _objects(lines)
    timed = [(fields_of(_in_order(each.names)), each.lines) for each in found if _has_time(each.names)]
    timeless = [each for each in found if not _has_time(each.names)]
    if timeless and not timed:
        timed = [(last or fields_of(_in_order(timeless[0].names)), [])]
    for each in timeless:
        timed[0][1].extend(each.lines)
    known = last
    for known, rows in timed:
        frame, refused = _read(rows, known.columns)
        others += refused
        yield known, lines_of_frame(frame, known.columns)
    if others:
        yield known, b"".join(line.replace(b"\t", b" ") + b"\n" for line in others)


class _Objects(NamedTuple):
    """Lines that are read by the same names: those that one of them has, or several."""

    names: dict[str, None]
    lines: list[bytes]


def _alike(lines: bytes) -> pl.DataFrame | None:
    """The values of all lines; None unless it is shown that each is an object with the names of the first one and no
    other, which is the rule: there are as many names as that takes, and none of these is missing."""
    names = _names_of(lines[: lines.find(b"\n")])
    if not names or (b"\\" in lines and b"\\ud" in lines.lower()):
        return None  # the reader takes half of a surrogate pair for a character
    text = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    before = text[np.flatnonzero(text == ord(":")) - 1]  # in a value no quote is followed by a colon, but for \":
    if np.count_nonzero(before == ord('"')) != len(ends) * len(names) or np.any(before <= ord(" ")):
        return None
    if np.diff(ends, prepend=-1).max() > LINE_BYTES_MAX:
        return None
    try:
        frame = _read_json(lines, _in_order(names))
    except pl.exceptions.PolarsError:
        return None
    return None if frame.height != len(ends) or any(frame.null_count().row(0)) else frame


def _objects(lines: bytes) -> tuple[list[_Objects], list[bytes]]:
    """(objects, apart where they are read otherwise; lines that are none)."""
    by_names: dict[tuple[str, ...], list[bytes]] = {}
    others = []
    for line in lines.split(b"\n"):
        names = _names_of(line) if len(line) <= LINE_BYTES_MAX else None
        if names is not None:
            by_names.setdefault(names, []).append(line)
        elif line.strip():
            others.append(line)
    found: dict[frozenset[str], _Objects] = {}
    for names, objects in by_names.items():
        alike = found.setdefault(_deciding(names), _Objects({}, []))
        alike.names.update(dict.fromkeys(names))
        alike.lines.extend(objects)
    return list(found.values()), others


def _names_of(line: bytes) -> tuple[str, ...] | None:
    """Those of a JSON object; None if it is none. Values are left to the one reader that writes them."""
    try:
        return tuple(_NAMES.decode(line.decode()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _deciding(names: tuple[str, ...]) -> frozenset[str]:
    """Of an object's names those that decide what others mean, or which of them count; and how its log spells."""
    return frozenset(name for name in names if _plain(name) in _DECIDING) | ({*"(_"} & {*"".join(names)})


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The same for the same names, in whichever order they came: another tuple would be another list."""
    return tuple(sorted(names))


def _read(lines: Sequence[bytes], columns: Sequence[str]) -> tuple[pl.DataFrame, list[bytes]]:
    """(columns of objects, lines that the reader refuses). It refuses all for one: halves are tried until it is
    found."""
    frames = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    refused: list[bytes] = []
    waiting = [lines] if lines else []
    while waiting:
        some = waiting.pop()
        try:
            frames.append(_read_json(b"\n".join(some), columns))
        except pl.exceptions.PolarsError:
            half = len(some) // 2
            if half:
                waiting += [some[half:], some[:half]]
            else:
                refused += some
    return pl.concat(frames), refused


def _read_json(lines: bytes, columns: Sequence[str]) -> pl.DataFrame:
    return pl.read_ndjson(lines, schema=dict.fromkeys(columns, pl.String))


def lines_of_frame(frame: pl.DataFrame, columns: Sequence[str]) -> bytes:
    """Columns as tab-separated lines, with what W3C would have encoded. Raises Source_Error for a column of what is no
    single value."""
    encoded = pl.DataFrame([_encoded(_text(frame[name])) for name in columns])
    out = io.BytesIO()
    encoded.write_csv(out, include_header=False, separator="\t", quote_style="never")
    return out.getvalue()


def _text(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Datetime) and (form := _FORMS_OF_TIME.get(_plain(values.name))):
        utc = values.dt.convert_time_zone("UTC") if values.dtype.time_zone else values
        values = utc.dt.strftime(form)
    try:
        text = values.cast(pl.String, strict=False).fill_null(NO_VALUE)
    except pl.exceptions.PolarsError as error:
        raise Source_Error(
            f"its column {values.name} is of type {values.dtype}, which is no text, number or time: write it as text"
        ) from error
    text = text.str.strip_suffix(".0") if values.dtype.is_float() else text
    return text.replace("0", "000") if _plain(values.name) == "sc-status" else text  # as a number, 000 is 0


def _encoded(values: pl.Series) -> pl.Series:
    odd: Iterable[str] = values.filter(values.str.contains(_ENCODED)).unique().to_list()
    mended = {value: quote(value, safe=_SAFE).replace("~", "%7E") for value in odd}
    return values.replace(list(mended), list(mended.values())) if mended else values
