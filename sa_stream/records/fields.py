"""Which column of a log line is which: settings come in, field lists come out, or an error that names its setting.

A line says nothing of its own columns, so everything else in the program rests on this: an unknown, forbidden or
ambiguous list is refused, and where the list is guessed (`auto`) only whole known lists are tried, never columns.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from sa_stream.errors import Field_List_Error

NO_VALUE = "-"  # what CloudFront writes where a field has none
MISSING = ("", NO_VALUE)
MISSING_BYTES = tuple(value.encode() for value in MISSING)

FIELDS_SETTING = "SGRAPH_SEND__SA_FIELDS"
DROP_SETTING = "SGRAPH_SEND__SA_DROP_FIELDS"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Every field of a real-time log configuration, in the order in which CloudFront delivers the chosen ones
# (CloudFront developer guide, "Use real-time access logs", table of fields).
KNOWN_FIELDS: tuple[str, ...] = _words(
    """
    timestamp c-ip s-ip time-to-first-byte sc-status sc-bytes cs-method cs-protocol cs-host cs-uri-stem cs-bytes
    x-edge-location x-edge-request-id x-host-header time-taken cs-protocol-version c-ip-version cs-user-agent cs-referer
    cs-cookie cs-uri-query x-edge-response-result-type x-forwarded-for ssl-protocol ssl-cipher x-edge-result-type
    fle-encrypted-fields fle-status sc-content-type sc-content-len sc-range-start sc-range-end c-port
    x-edge-detailed-result-type c-country cs-accept-encoding cs-accept cache-behavior-path-pattern cs-headers
    cs-header-names cs-headers-count primary-distribution-id primary-distribution-dns-name origin-fbl origin-lbl asn
    cmcd-encoded-bitrate cmcd-buffer-length cmcd-buffer-starvation cmcd-content-id cmcd-object-duration cmcd-deadline
    cmcd-measured-throughput cmcd-next-object-request cmcd-next-range-request cmcd-object-type cmcd-playback-rate
    cmcd-requested-maximum-throughput cmcd-streaming-format cmcd-session-id cmcd-stream-type cmcd-startup
    cmcd-top-bitrate cmcd-version r-host sr-reason x-edge-mqcs distribution-tenant-id connection-id
    """
)

# The 27 fields of the documents that this product came from, in their order.
SEED: tuple[str, ...] = _words(
    """
    timestamp sc-status sc-bytes cs-method cs-uri-stem cs-uri-query cs-protocol cs-protocol-version sc-content-type
    sc-content-len cs-user-agent cs-referer x-edge-location x-edge-result-type x-edge-response-result-type
    x-edge-request-id time-taken time-to-first-byte sc-range-start sc-range-end ssl-protocol ssl-cipher cs-accept
    cs-accept-encoding cs-host origin-fbl origin-lbl
    """
)

# The same 27 as CloudFront itself would deliver them.
CANONICAL: tuple[str, ...] = tuple(sorted(SEED, key=KNOWN_FIELDS.index))

PRESETS: dict[str, tuple[str, ...]] = {"seed": SEED, "canonical": CANONICAL}

# What says, or helps to say, who a visitor is. Such a column is only let in to be dropped unread.
FORBIDDEN_FIELDS: frozenset[str] = frozenset(
    {"c-ip", "s-ip", "x-forwarded-for", "c-port", "c-ip-version", "c-country", "asn", "cs-cookie", "cs-headers"}
    | {"cs-header-names", "connection-id"}
    | {name for name in KNOWN_FIELDS if name.startswith("cmcd-")}
)

# What the aggregates are made of. The order gives each its bit in a mask, and masks are stored: only ever append.
USED_FIELDS: tuple[str, ...] = (
    "timestamp",
    "sc-status",
    "sc-bytes",
    "cs-method",
    "cs-uri-stem",
    "cs-protocol",
    "cs-host",
    "cs-user-agent",
    "x-edge-location",
    "x-edge-result-type",
    "x-edge-request-id",
    "time-taken",
    "time-to-first-byte",
)

DETECT_LINES = 100  # `auto` judges at most this many lines,
SCAN_LINES = 10_000  # and looks for them among this many


class Time_Form(StrEnum):
    """What the column `timestamp` of a list holds: epoch seconds as in real-time logs; or, in standard ones, epoch
    milliseconds, or a date, to which the column `time` belongs."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    DATE_AND_TIME = "date and time"


@dataclass(frozen=True, slots=True)
class Field_List:
    """The columns of one form of line, in order. `dropped` names columns that are there and are never read."""

    names: tuple[str, ...]
    dropped: frozenset[str] = frozenset()
    time_form: Time_Form = Time_Form.SECONDS

    @property
    def count(self) -> int:
        """Number of fields that a line of this form has, dropped ones included."""
        return len(self.names)

    def index(self, name: str) -> int | None:
        """Position (from 0) of the field in a line; None if the list lacks it or drops it."""
        if name in self.dropped or name not in self.names:
            return None
        return self.names.index(name)


@dataclass(frozen=True, slots=True)
class Field_Lists:
    """Every form of line that is accepted, told apart by their number of fields.

    by_count  number of fields -> list; empty as long as `auto` is undecided
    auto      True until `decide` has looked at records: then one of the presets is taken
    dropped   names of DROP_FIELDS
    """

    by_count: Mapping[int, Field_List]
    auto: bool = False
    dropped: frozenset[str] = field(default_factory=frozenset)

    @property
    def lists(self) -> tuple[Field_List, ...]:
        """The lists in the order in which they were configured; empty as long as `auto` is undecided."""
        return tuple(self.by_count.values())

    @property
    def offered(self) -> frozenset[str]:
        """Used fields that at least one list has and does not drop. Both presets have the same fields, so this is
        known before `auto` is decided."""
        names = set(SEED) if self.auto else {name for fields in self.lists for name in fields.names}
        return frozenset(name for name in USED_FIELDS if name in names and name not in self.dropped)

    @property
    def mask(self) -> int:
        """`offered` as an integer: bit i is USED_FIELDS[i]."""
        return to_mask(self.offered)

    def decide(self, lines: Sequence[bytes]) -> "Field_Lists":
        """The lists to read these records with: itself, or while `auto` is undecided the preset that fits them.

        Raises Field_List_Error when none or both fit (see `detect`).
        """
        if not self.auto:
            return self
        found = Field_List(detect(lines).names, self.dropped)
        return Field_Lists({found.count: found}, False, self.dropped)


def to_mask(names: Iterable[str]) -> int:
    """Used fields as bits; bit i is USED_FIELDS[i]. Other names are left out."""
    present = set(names)
    return sum(1 << bit for bit, name in enumerate(USED_FIELDS) if name in present)


def from_mask(mask: int) -> frozenset[str]:
    """The used fields that a mask stands for."""
    return frozenset(name for bit, name in enumerate(USED_FIELDS) if mask >> bit & 1)


def preset_name(fields: Field_List) -> str:
    """'seed' or 'canonical' for these lists; 'own' for any other. For messages."""
    return next((name for name, names in PRESETS.items() if names == fields.names), "own")


def resolve_field_lists(setting: str, drop_fields: str) -> Field_Lists:
    """The field lists that the two settings ask for.

    setting      `auto`, `seed`, `canonical`, or lists of names: comma-separated, several lists with `;` between
    drop_fields  comma-separated names of columns that are in a line and must not be read

    Raises Field_List_Error for whatever cannot work: its message names the setting to change.
    """
    dropped = _names(drop_fields)
    _refuse_repeated(dropped, f"{DROP_SETTING} names")
    if "timestamp" in dropped:
        raise Field_List_Error(f"{DROP_SETTING} drops timestamp, without which no record has a time: take it out")
    if setting.strip() == "auto":
        lists = [SEED]
    else:
        lists = [PRESETS.get(part.strip()) or _own_list(part, dropped) for part in setting.split(";")]
    everywhere = {name for names in lists for name in names}
    for name in dropped:
        if name not in everywhere:
            raise Field_List_Error(
                f"{DROP_SETTING} names {name!r}, which is in no field list of {FIELDS_SETTING}"
                f"{_did_you_mean(name, everywhere)}: correct the name or take it out"
            )
    if setting.strip() == "auto":
        return Field_Lists({}, True, frozenset(dropped))
    by_count: dict[int, Field_List] = {}
    for names in lists:
        if len(names) in by_count:
            raise Field_List_Error(
                f"{FIELDS_SETTING} has two lists with {len(names)} fields; a line is told by its number of fields, so "
                "each list needs another number: keep one of the two"
            )
        by_count[len(names)] = Field_List(names, frozenset(dropped) & frozenset(names))
    return Field_Lists(by_count, False, frozenset(dropped))


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _own_list(text: str, dropped: Sequence[str]) -> tuple[str, ...]:
    names = _names(text)
    if not names:
        raise Field_List_Error(
            f"{FIELDS_SETTING} has an empty field list; expected auto, seed, canonical, or names with commas between "
            "(and ; between several lists)"
        )
    if len(names) != text.count(",") + 1:
        raise Field_List_Error(f"{FIELDS_SETTING} has an empty name between two commas (after {names[0]!r})")
    for name in names:
        if name in dropped:
            continue
        if name in FORBIDDEN_FIELDS:
            raise Field_List_Error(
                f"{FIELDS_SETTING} has {name}, which tells who a visitor is and is never read: take it out of the "
                f"real-time log configuration, or, while records still carry it, list it in {DROP_SETTING}"
            )
        if name in ("auto", *PRESETS) and len(names) == 1:
            raise Field_List_Error(f"{FIELDS_SETTING} has {name!r} beside other lists; auto stands alone")
        if name not in KNOWN_FIELDS:
            raise Field_List_Error(
                f"{FIELDS_SETTING} has {name!r}, which is no known field of a CloudFront real-time log"
                f"{_did_you_mean(name, (*KNOWN_FIELDS, 'auto', *PRESETS))}; if it is a new one, list it in "
                f"{DROP_SETTING} as well"
            )
    _refuse_repeated(names, f"{FIELDS_SETTING} has a list with")
    if "timestamp" not in names:
        raise Field_List_Error(
            f"{FIELDS_SETTING} has a list of {len(names)} fields without timestamp; a record without a time belongs "
            "to no window: add it to the list and to the real-time log configuration"
        )
    return tuple(names)


def _refuse_repeated(names: Sequence[str], beginning: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise Field_List_Error(f"{beginning} {repeated[0]} twice; every field can be there once: take one out")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    # AWS writes cs(Host) in standard logs, and other tools cs_host; both mean cs-host here
    plain = re.sub(r"[()_]", "-", name.lower()).strip("-")
    close = difflib.get_close_matches(plain, sorted(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


# ------------------------------------------------------------------------------------------------------------- auto

_NUMERAL = rb"\s*[+-]?(?:\d+(?:[eE][+-]?\d+)?|nan|inf)\s*"
_DECIMAL = rb"\s*[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|nan|inf)\s*"
_RESULT = rb"(?:[A-Z][a-z]+)+"

# What a value of a column looks like. Odd numbers pass: they are dirt within a column, no sign of another column.
# Columns that are not here hold any text. What a visitor sends (agent, referer) is only told from its neighbour.
_SHAPES: dict[str, re.Pattern[bytes]] = {
    name: re.compile(shape, re.DOTALL)
    for name, shape in {
        "timestamp": rb"\d{10}(?:\.\d*)?",
        "sc-status": rb"\d{3}",
        "sc-bytes": _NUMERAL,
        "cs-method": rb"[A-Z][A-Z-]{1,30}",
        "cs-uri-stem": rb"(?:/|\*|(?i:https?|wss?)(?::|%3[Aa])).*",
        "cs-protocol": rb"(?i:https?|wss?|grpcs?)",
        "cs-protocol-version": rb"(?i:http/\d(?:\.\d)?)",
        "sc-content-type": rb".*[A-Za-z].*",
        "sc-content-len": _NUMERAL,
        "cs-user-agent": rb"(?!\d+(?:\.\d*)?\Z|(?i:https?:)).*",
        "cs-referer": rb"(?!\d+(?:\.\d*)?\Z|Mozilla/).*",
        "x-edge-location": rb"[A-Z]{3}[A-Z0-9-]{0,12}",
        "x-edge-result-type": _RESULT,
        "x-edge-response-result-type": _RESULT,
        "x-edge-request-id": rb"[A-Za-z0-9_+/=%:~-]+",
        "time-taken": _DECIMAL,
        "time-to-first-byte": _DECIMAL,
        "sc-range-start": _NUMERAL,
        "sc-range-end": _NUMERAL,
        "ssl-protocol": rb"(?:TLS|SSL)v[\d.]+",
        "ssl-cipher": rb"[A-Za-z0-9_-]{3,}",
        "cs-host": rb"(?!\d+(?:\.\d+)?\Z)[^/\s]+",
        "origin-fbl": _DECIMAL,
        "origin-lbl": _DECIMAL,
    }.items()
}

# Names for what is in a column, in the order in which they are tried; for messages, which must not show values.
_KINDS: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (kind, re.compile(shape, re.DOTALL))
    for kind, shape in (
        ("epoch seconds", rb"\d{10}(?:\.\d*)?"),
        ("three digits", rb"\d{3}"),
        ("digits", rb"\d+"),
        ("decimal", rb"\d*\.\d*"),
        ("IP address", rb"\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*"),
        ("protocol", rb"(?i:https?|wss?|grpcs?)"),
        ("HTTP version", rb"(?i:http/\d(?:\.\d)?)"),
        ("TLS version", rb"(?:TLS|SSL)v[\d.]+"),
        ("capitals", rb"[A-Z][A-Z-]*"),
        ("edge location", rb"[A-Z]{3}\d+(?:-[A-Z]+\d*)?"),
        ("result type", _RESULT),
        ("URL", rb"(?i:https?|wss?)(?::|%3[Aa]).*"),
        ("path", rb"/.*"),
        ("long id", rb"[A-Za-z0-9_-]{30,}={0,2}"),
        ("text", rb".*"),
    )
)


def detect(lines: Sequence[bytes]) -> Field_List:
    """The preset (seed or canonical) that fits the first records: the list that `auto` stands for.

    lines  the first records' lines as they came; empty lines and lines that start with `#` are skipped, and at most 100
           others that have a preset's number of fields are judged

    A preset fits if none of its columns is strange: strange is a column in which most of the values that are there do
    not look like the field's, and these are in a quarter of the lines or more (a column that is nearly always missing
    is not judged by one dirty line). Lines whose first field is no time are malformed under every preset and say
    nothing. Raises Field_List_Error when no preset fits or both do; its message says what was seen by kind, never a
    value, as values may be personal data.
    """
    stripped = (line[:-1] if line.endswith(b"\r") else line for line in (raw.rstrip(b"\n") for raw in lines))
    records = (line for line in stripped if line and not line.startswith(b"#"))
    rows = [line.split(b"\t") for line in islice(records, SCAN_LINES)]
    counts = {len(names) for names in PRESETS.values()}
    timed = (row for row in rows if len(row) in counts and _SHAPES["timestamp"].fullmatch(row[0]))
    judged = list(islice(timed, DETECT_LINES))
    misfits = {preset: _misfits(names, judged) for preset, names in PRESETS.items()}
    fitting = [preset for preset in PRESETS if judged and not misfits[preset]]
    if len(fitting) == 1:
        return Field_List(PRESETS[fitting[0]])
    raise Field_List_Error(_refusal(rows, judged, misfits))


def _misfits(names: tuple[str, ...], rows: Sequence[list[bytes]]) -> list[int]:
    """Positions of the strange columns, as `detect` defines them."""
    found = []
    for position, name in enumerate(names):
        shape = _SHAPES.get(name)
        if shape is None:
            continue
        values = [row[position] for row in rows if row[position] not in MISSING_BYTES]
        strange = sum(shape.fullmatch(value) is None for value in values)
        if 2 * strange > len(values) and 4 * strange >= len(rows):
            found.append(position)
    return found


def _refusal(rows: Sequence[list[bytes]], judged: Sequence[list[bytes]], misfits: Mapping[str, list[int]]) -> str:
    advice = (
        f"Set {FIELDS_SETTING} to the field names of your real-time log configuration, in the order in which they come"
    )
    if not rows:
        return f"{FIELDS_SETTING} is auto, but there was no record to tell the field list from. {advice}"
    by_count = Counter(len(row) for row in rows)
    count = by_count.most_common(1)[0][0]
    sample = list(judged) or [row for row in rows if len(row) == count][:DETECT_LINES]
    kinds = ", ".join(f"{position + 1} {_kind(sample, position)}" for position in range(min(len(sample[0]), 80)))
    seen = ", ".join(f"{count} fields in {times}" for count, times in by_count.most_common(4))
    if not judged:
        expected = " or ".join(sorted({str(len(names)) for names in PRESETS.values()}))
        why = f"none of the first {len(rows)} lines has {expected} fields of which the first is a time in epoch seconds"
    elif not any(misfits.values()):
        why = "the first records have too few values to tell the lists seed and canonical apart"
    else:
        why = "the first records fit neither list: " + "; ".join(
            f"{preset} expects " + ", ".join(f"{PRESETS[preset][p]} in column {p + 1}" for p in positions[:3])
            for preset, positions in misfits.items()
        )
    return f"{FIELDS_SETTING} is auto, but {why}. Seen: {seen} lines; columns: {kinds}. {advice}"


def _kind(rows: Sequence[list[bytes]], position: int) -> str:
    kinds = Counter(kind_of(row[position]) for row in rows if row[position] not in MISSING_BYTES)
    return kinds.most_common(1)[0][0] if kinds else NO_VALUE


def kind_of(value: bytes) -> str:
    """What a value looks like, in a word or two that tell nothing of whom it is about."""
    return next(kind for kind, shape in _KINDS if shape.fullmatch(value))
