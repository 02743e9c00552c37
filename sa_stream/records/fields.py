"""Which column of a log line is which: settings come in, field lists come out, or an error that names its setting.

A line says nothing of its own columns, so everything else in the program rests on this: an unknown, forbidden or
ambiguous list is refused. How the first records find a list (`auto`), or contradict one, is in `field_finder.py`.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property

from msgspec import Struct, field

from sa_stream.errors import Field_List_Error
from sa_stream.secrecy import as_found

NO_VALUE = "-"  # what CloudFront writes where a field has none
MISSING = ("", NO_VALUE)

FIELDS_SETTING = "SGRAPH_SEND__SA_FIELDS"
DROP_SETTING = "SGRAPH_SEND__SA_DROP_FIELDS"
ALLOW_SETTING = "SGRAPH_SEND__SA_ALLOW_FIELDS"


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
    viewer-request-log-data viewer-response-log-data
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

# What says, or helps to say, who a visitor is (or may: functions at the edge write whatever they like into the last
# two). Such a column is only let in to be dropped unread.
FORBIDDEN_FIELDS: frozenset[str] = frozenset(
    {"c-ip", "s-ip", "x-forwarded-for", "c-port", "c-ip-version", "c-country", "asn", "cs-cookie", "cs-headers"}
    | {"cs-header-names", "connection-id", "viewer-request-log-data", "viewer-response-log-data"}
    | {name for name in KNOWN_FIELDS if name.startswith("cmcd-")}
)

# Of these the ones that somebody may choose to read all the same.
ALLOWABLE_FIELDS: tuple[str, ...] = ("c-country",)

# What the aggregates are made of, and what a list that is found must be certain of.
SURE_FIELDS: tuple[str, ...] = (
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
    "x-edge-response-result-type",
    "x-edge-detailed-result-type",
    "sc-content-type",
)

# With what only adds to them. The order gives each its bit in a mask, and masks are stored: only ever append.
USED_FIELDS: tuple[str, ...] = (
    *SURE_FIELDS,
    "cs-referer",
    "cs-protocol-version",
    "ssl-protocol",
    "origin-fbl",
    *ALLOWABLE_FIELDS,
)

# Where the result type is, in the order of preference: of each list only the first that it has is used.
RESULT_FIELDS = ("x-edge-result-type", "x-edge-response-result-type", "x-edge-detailed-result-type")
RESULT_TYPE = "result-type"  # the column that holds it, whichever field it came from

# Columns of text that are made of a line: its used fields under their names, and the result type.
TEXT_COLUMNS: tuple[str, ...] = (*(name for name in USED_FIELDS if name not in RESULT_FIELDS), RESULT_TYPE)


class Time_Form(StrEnum):
    """What the column `timestamp` of a list holds: epoch seconds as in real-time logs; or, in standard ones, epoch
    milliseconds, or a date, to which the column `time` belongs."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    DATE_AND_TIME = "date and time"


class Field_List(Struct, frozen=True):
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

    @property
    def result_field(self) -> str | None:
        """The field that the result type is taken from; None if the list has none of RESULT_FIELDS."""
        return next((name for name in RESULT_FIELDS if self.index(name) is not None), None)

    @property
    def used(self) -> frozenset[str]:
        """Used fields that the list has and does not drop; of RESULT_FIELDS only `result_field`."""
        others = {*RESULT_FIELDS} - {self.result_field}
        return frozenset(name for name in USED_FIELDS if name not in others and self.index(name) is not None)


class Field_Lists(Struct, frozen=True, dict=True):
    """Every form of line that is accepted, told apart by their number of fields.

    by_count  number of fields -> list; empty as long as `auto` is undecided
    auto      True until the first records have told the list
    dropped   names of DROP_FIELDS; allowed: of ALLOW_FIELDS
    """

    by_count: Mapping[int, Field_List]
    auto: bool = False
    dropped: frozenset[str] = field(default_factory=frozenset)
    allowed: frozenset[str] = field(default_factory=frozenset)

    @property
    def never_read(self) -> frozenset[str]:
        """Columns that are there, or may be, and are not parsed."""
        return (FORBIDDEN_FIELDS - self.allowed) | self.dropped

    @property
    def lists(self) -> tuple[Field_List, ...]:
        """The lists in the order in which they were configured; empty as long as `auto` is undecided."""
        return tuple(self.by_count.values())

    @cached_property
    def offered(self) -> frozenset[str]:
        """Used fields of all lists together. As long as `auto` is undecided, all that are not dropped."""
        lists = self.lists or (Field_List(USED_FIELDS, self.never_read),)
        return frozenset().union(*(fields.used for fields in lists))

    @cached_property
    def mask(self) -> int:
        """`offered` as an integer: bit i is USED_FIELDS[i]."""
        return to_mask(self.offered)

    @classmethod
    def of(cls, fields: Field_List, allowed: frozenset[str] = frozenset()) -> "Field_Lists":
        """One list, and no other."""
        return cls({fields.count: fields}, False, fields.dropped, allowed)


def to_mask(names: Iterable[str]) -> int:
    """Used fields as bits; bit i is USED_FIELDS[i]. Other names are left out."""
    present = set(names)
    return sum(1 << bit for bit, name in enumerate(USED_FIELDS) if name in present)


def from_mask(mask: int) -> frozenset[str]:
    """The used fields that a mask stands for."""
    return frozenset(name for bit, name in enumerate(USED_FIELDS) if mask >> bit & 1)


def result_field(offered: frozenset[str]) -> str | None:
    """Where the result types of these used fields are from, by name; of several lists with commas between. None if no
    list has one."""
    return ", ".join(name for name in RESULT_FIELDS if name in offered) or None


def missing_fields(offered: frozenset[str]) -> list[str]:
    """Fields without which some value of an entry is null, by name. One of RESULT_FIELDS is enough, and the first
    stands for all; nobody misses one that has to be chosen."""
    enough = {*RESULT_FIELDS} if offered & {*RESULT_FIELDS} else {*RESULT_FIELDS[1:]}
    return sorted({*USED_FIELDS} - {*ALLOWABLE_FIELDS} - offered - enough)


def preset_name(fields: Field_List) -> str:
    """'seed' or 'canonical' for these lists; 'own' for any other. For messages."""
    return next((name for name, names in PRESETS.items() if names == fields.names), "own")


def setting_of(fields: Field_List) -> str:
    """What FIELDS is set to for this list: its preset, or all its names."""
    name = preset_name(fields)
    return ",".join(fields.names) if name == "own" else name


def resolve_field_lists(setting: str, drop_fields: str, allow_fields: str = "") -> Field_Lists:
    """The field lists that the three settings ask for.

    setting      `auto`, `seed`, `canonical`, or lists of names: comma-separated, several lists with `;` between
    drop_fields  comma-separated names of columns that are in a line and must not be read
    allow_fields  ... of ALLOWABLE_FIELDS that are read all the same

    Raises Field_List_Error for whatever cannot work: its message names the setting to change.
    """
    dropped, allowed = _names(drop_fields), frozenset(_names(allow_fields))
    if other := sorted(allowed.difference(ALLOWABLE_FIELDS)):
        raise Field_List_Error(
            f"{ALLOW_SETTING} has {as_found(other[0])}; only {', '.join(ALLOWABLE_FIELDS)} can be chosen, as "
            "everything else that is not read by itself tells who a visitor is: take it out"
        )
    _refuse_repeated(dropped, f"{DROP_SETTING} names")
    if "timestamp" in dropped:
        raise Field_List_Error(f"{DROP_SETTING} drops timestamp, without which no record has a time: take it out")
    if setting.strip() == "auto":
        lists = [KNOWN_FIELDS]
    else:
        lists = [PRESETS.get(part.strip()) or _own_list(part, dropped, allowed) for part in setting.split(";")]
    everywhere = {name for names in lists for name in names}
    unknown = "no field that auto knows" if setting.strip() == "auto" else f"in no field list of {FIELDS_SETTING}"
    for name in dropped:
        if name not in everywhere:
            raise Field_List_Error(
                f"{DROP_SETTING} names {as_found(name)}, which is {unknown}"
                f"{_did_you_mean(name, everywhere)}: correct the name or take it out"
            )
    if setting.strip() == "auto":
        return Field_Lists({}, True, frozenset(dropped), allowed)
    by_count: dict[int, Field_List] = {}
    for names in lists:
        if len(names) in by_count:
            raise Field_List_Error(
                f"{FIELDS_SETTING} has two lists with {len(names)} fields; a line is told by its number of fields, so "
                "each list needs another number: keep one of the two"
            )
        by_count[len(names)] = Field_List(names, frozenset(dropped) & frozenset(names))
    return Field_Lists(by_count, False, frozenset(dropped), allowed)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _own_list(text: str, dropped: Sequence[str], allowed: frozenset[str]) -> tuple[str, ...]:
    names = _names(text)
    if not names:
        raise Field_List_Error(
            f"{FIELDS_SETTING} has an empty field list; expected auto, seed, canonical, or names with commas between "
            "(and ; between several lists)"
        )
    if len(names) != text.count(",") + 1:
        raise Field_List_Error(f"{FIELDS_SETTING} has an empty name between two commas (after {as_found(names[0])})")
    for name in names:
        if name in dropped:
            continue
        if name in FORBIDDEN_FIELDS - allowed:
            chosen = f" (or choose it with {ALLOW_SETTING})" if name in ALLOWABLE_FIELDS else ""
            raise Field_List_Error(
                f"{FIELDS_SETTING} has {name}, which tells who a visitor is and is never read: take it out of the "
                f"real-time log configuration, or, while records still carry it, list it in {DROP_SETTING}{chosen}"
            )
        if name in ("auto", *PRESETS) and len(names) == 1:
            raise Field_List_Error(f"{FIELDS_SETTING} has {name!r} beside other lists; auto stands alone")
        if name not in KNOWN_FIELDS:
            raise Field_List_Error(
                f"{FIELDS_SETTING} has {as_found(name)}, which is no known field of a CloudFront real-time log"
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
