"""The one place that decides how records are read: the first of them come in, field lists go out, or an error that has
the settings to copy. `auto` is found here, and an explicit list is checked.

Nothing is guessed: a list is taken if it is one of the presets, or if every field that is used has one place only in
whatever choice of AWS's fields explains the columns.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from sa_stream.errors import Field_List_Error
from sa_stream.records.alignment import Alignment, aligned
from sa_stream.records.fields import (
    CANONICAL,
    DROP_SETTING,
    FIELDS_SETTING,
    FORBIDDEN_FIELDS,
    KNOWN_FIELDS,
    MISSING,
    PRESETS,
    RESULT_FIELDS,
    SURE_FIELDS,
    USED_FIELDS,
    Field_List,
    Field_Lists,
    preset_name,
    setting_of,
)
from sa_stream.records.shapes import FIRM, TYPICAL, cannot_be, kind_of

RECORDS = 200  # so many first records are judged,
LINES = 10_000  # and looked for among so many lines
FEW_RECORDS = 10  # with fewer, only a preset is taken
LINE_BYTES_MAX = 65_536  # a longer line is none of CloudFront's
BYTES = 16 << 20  # ... and among so many bytes: more than so many records have
COLUMNS_SHOWN = 80

# CloudFront leaves none of these out of most records.
_FILLED = frozenset(SURE_FIELDS) - {"cs-user-agent"}
# A name is the dearer the less is known of it: of several that a column may have, the cheapest is shown.
_COSTS = [100 if name in FORBIDDEN_FIELDS else 0 if name in CANONICAL else 1 for name in KNOWN_FIELDS]

_ADVICE = (
    f"Set {FIELDS_SETTING} to the field names of your real-time log configuration, in the order in which they come"
)


class First_Records(Struct):
    """The first records of an input, of as many payloads or buffers as it takes. Empty lines and comments are none.

    lines  how many lines were looked at, size_bytes: of how many bytes; rows: the fields of each record
    """

    lines: int = 0
    size_bytes: int = 0
    rows: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, payloads: Iterable[bytes]) -> "First_Records":
        """Those of the first payloads; no more are asked for than it takes."""
        records = cls()
        for payload in payloads:
            records.add(payload)
            if records.enough:
                break
        return records

    @property
    def enough(self) -> bool:
        """Whether more would not be looked at."""
        return len(self.rows) >= RECORDS or self.lines >= LINES or self.size_bytes >= BYTES

    @property
    def are_of_no_log(self) -> bool:
        """Whether no more would be looked at, and none begins with a time: real-time lines all do."""
        return self.enough and not self.timed

    @property
    def timed(self) -> list[list[str]]:
        """Rows whose first field is a time."""
        return [row for row in self.rows if not cannot_be("timestamp", row[0]) and row[0] not in MISSING]

    def add(self, payload: bytes) -> None:
        """Lines of an unpacked payload, or of a buffer of whole lines; what is more than enough is left."""
        begin = 0
        while begin < len(payload) and not self.enough:
            end = payload.find(b"\n", begin)
            end = len(payload) if end < 0 else end
            line = payload[begin:end].removesuffix(b"\r")
            self.lines += 1
            self.size_bytes += end + 1 - begin
            begin = end + 1
            if line and not line.startswith(b"#") and len(line) <= LINE_BYTES_MAX:
                self.rows.append(line.decode("utf-8", "replace").split("\t"))


class Finding(Struct, frozen=True):
    """What the first records say of their list.

    rows        the records that were judged, all of one number of fields
    candidates  the fields that each column can be
    names       the list, or the likeliest one; empty if there is none
    problem     why nothing may be read by it: a sentence's end; empty if it is certain
    dropped     fields that must not be read: those of the setting, and those of the list that are forbidden
    """

    rows: Sequence[Sequence[str]]
    candidates: tuple[tuple[str, ...], ...] = ()
    names: tuple[str, ...] = ()
    problem: str = ""
    dropped: tuple[str, ...] = ()
    refused: frozenset[str] = FORBIDDEN_FIELDS

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that read these records, ready to copy; none if no list is known."""
        if not self.names:
            return ()
        drop = (f"{DROP_SETTING}={','.join(self.dropped)}",) if self.dropped else ()
        return (f"{FIELDS_SETTING}={setting_of(Field_List(self.names))}", *drop)

    @property
    def unread(self) -> frozenset[str]:
        """Columns that may be forbidden ones: nothing of them is shown either."""
        pairs = zip(self.names, self.candidates, strict=True)
        return frozenset(name for name, candidates in pairs if not self.refused.isdisjoint(candidates))

    @property
    def unsure(self) -> frozenset[str]:
        """Columns that may as well be another field's, of those that only add to an entry: better null than wrong."""
        pairs = zip(self.names, self.candidates, strict=True)
        adding = {*USED_FIELDS} - {*SURE_FIELDS}
        return frozenset(name for name, candidates in pairs if name in adding and len(candidates) > 1)


def decide(lists: Field_Lists, records: First_Records) -> Field_Lists:
    """The lists to read these records with: for `auto` the one that was found, else themselves, checked.

    Raises Field_List_Error if none is certain, or if they contradict the records. The message says what was seen by
    kind, never a value, as values may be personal data.
    """
    if not lists.auto:
        _check(lists, records)
        return lists
    finding = find(records, lists.dropped, lists.allowed)
    if finding.problem:
        raise Field_List_Error(
            f"{FIELDS_SETTING} is auto, but {finding.problem}.{_seen(records, finding.rows)} {_advice(finding)}"
        )
    unread = lists.dropped | finding.unread | finding.unsure
    return Field_Lists.of(Field_List(finding.names, unread), lists.allowed)


# ------------------------------------------------------------------------------------------------------------- auto


def find(records: First_Records, dropped: Iterable[str] = (), allowed: frozenset[str] = frozenset()) -> Finding:
    """The list of the first records: of those whose first field is a time, the most frequent number of fields.

    dropped  names of DROP_FIELDS, which are all among the columns; allowed: of ALLOW_FIELDS
    """
    refused = FORBIDDEN_FIELDS - allowed
    return replace(_find(records, dropped, refused), refused=refused)


def _find(records: First_Records, dropped: Iterable[str], refused: frozenset[str]) -> Finding:
    drop = tuple(name for name in KNOWN_FIELDS if name in set(dropped))
    if not records.rows:
        return Finding((), problem="there was no record to tell the field list from")
    timed = records.timed
    counts = Counter(len(row) for row in timed)
    if not counts:
        expected = f"none of the first {len(records.rows)} lines begins with a time in epoch seconds"
        return Finding((), problem=expected)
    count = counts.most_common(1)[0][0]
    rows = [row for row in timed if len(row) == count]
    fitting = [name for name, names in PRESETS.items() if len(names) == count and not _misfits(names, rows)]
    if len(fitting) == 1:
        names = PRESETS[fitting[0]]
        return _found(rows, names, [(name,) for name in names], _not_there(drop, names), drop, refused)
    if len(fitting) > 1:
        which = " and ".join(fitting)
        return Finding(rows, problem=f"the first records have too few values to tell the lists {which} apart")
    return _by_alignment(rows, drop, refused)


def _by_alignment(rows: Sequence[Sequence[str]], drop: tuple[str, ...], refused: frozenset[str]) -> Finding:
    if len(rows) < FEW_RECORDS:
        few = f"{len(rows)} of {FEW_RECORDS} records are too few to find a list that is no preset"
        return Finding(rows, problem=f"{few} ({_contradictions(rows)})")
    columns = [["timestamp"], *(_possible(values) for values in list(zip(*rows, strict=True))[1:])]
    found = aligned(columns, KNOWN_FIELDS, _COSTS, drop)
    if found is not None:
        return _found(rows, found.names, found.candidates, _doubt(found, drop, refused), drop, refused)
    without = aligned(columns, KNOWN_FIELDS, _COSTS)
    if without is not None:
        return _found(rows, without.names, without.candidates, _not_there(drop, without.names), drop, refused)
    problem = f"no choice of CloudFront's fields, in its order, has these columns ({_contradictions(rows)})"
    return Finding(rows, tuple(map(tuple, columns)), problem=problem)


def _found(
    rows: Sequence[Sequence[str]],
    names: tuple[str, ...],
    candidates: Sequence[tuple[str, ...]],
    problem: str,
    drop: Sequence[str],
    refused: frozenset[str],
) -> Finding:
    dropped = tuple(name for name in names if name in refused or name in drop)
    return Finding(rows, tuple(candidates), names, problem, dropped)


def _not_there(drop: Sequence[str], names: Sequence[str]) -> str:
    away = ", ".join(name for name in drop if name not in names)
    return f"{DROP_SETTING} names {away}, which can be no column of the first records: take it out" if away else ""


def _doubt(found: Alignment, drop: Sequence[str], refused: frozenset[str]) -> str:
    undecided = found.undecided([name for name in SURE_FIELDS if name not in RESULT_FIELDS])
    for name in RESULT_FIELDS:
        undecided += found.undecided([name])
        if name in found.names and name not in undecided:
            break
    if undecided:
        return "the first records have more than one place for " + "; ".join(
            f"{name} (column {' or '.join(_columns_of(name, found.candidates))}"
            f"{', or none' if name in found.may_be_away else ''})"
            for name in undecided
        )
    forbidden = [name for name in found.names if name in refused and name not in drop]
    if forbidden:
        subject = "which tell who a visitor is and are never read" if len(forbidden) > 1 else _NEVER_READ
        return f"the first records have {', '.join(forbidden)}, {subject}"
    return ""


_NEVER_READ = "which tells who a visitor is and is never read"


def _columns_of(name: str, candidates: Sequence[Sequence[str]]) -> list[str]:
    return [str(place) for place, names in enumerate(candidates, 1) if name in names]


def _possible(values: Sequence[str]) -> list[str]:
    """The fields that a column's values look like."""
    counted = Counter(value for value in values if value not in MISSING)
    rare = 2 * counted.total() < len(values)
    return [
        name
        for name in KNOWN_FIELDS
        if not (rare and name in _FILLED)
        and not _is_strange(name, counted, len(values))
        and not _is_untypical(name, counted)
    ]


def _is_untypical(name: str, counted: Counter[str]) -> bool:
    typical = TYPICAL.get(name)
    if typical is None:
        return False
    return 2 * sum(times for value, times in counted.items() if typical.fullmatch(value)) < counted.total()


def _is_strange(name: str, counted: Counter[str], rows: int) -> bool:
    """Whether most of the values that are there do not look like the field's, and these are in a tenth of the records
    or more: a column that is nearly always missing is not judged by one dirty line."""
    strange = sum(times for value, times in counted.items() if cannot_be(name, value))
    return 2 * strange > counted.total() and 10 * strange >= rows


def _misfits(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Positions of the columns that most of the records contradict."""
    columns = (Counter(value for value in values if value not in MISSING) for values in zip(*rows, strict=True))
    return [place for place, counted in enumerate(columns) if _is_strange(names[place], counted, len(rows))]


# --------------------------------------------------------------------------------------------------- explicit lists


def _check(lists: Field_Lists, records: First_Records) -> None:
    """Refuse lists that most of the first records contradict. A few that were cut short prove nothing of a list."""
    rows = [row for row in records.rows if len(row) in lists.by_count]
    contradicting = [row for row in rows if _contradicts(lists.by_count[len(row)], row)]
    if 2 * len(contradicting) <= len(records.rows):
        return
    found = find(records)
    other = preset_name(Field_List(found.names)) if found.names else "own"
    configured = [preset_name(fields) for fields in lists.lists]
    setting = " and ".join("an own list" if name == "own" else name for name in configured)
    if other != "own" and not found.problem:
        raise Field_List_Error(
            f"{FIELDS_SETTING} is {setting}, but the first records have the order of '{other}': set it to {other} or "
            "auto, or every record will be counted as malformed"
        )
    fields = lists.by_count[len(contradicting[0])]
    misfits = _misfits(fields.names, [row for row in contradicting if len(row) == fields.count])
    raise Field_List_Error(
        f"{FIELDS_SETTING} is {setting}, but {len(contradicting)} of the first {len(records.rows)} records cannot be "
        f"of that list: {_expected(fields.names, misfits)}.{_seen(records, contradicting)} {_advice(found)}"
    )


def _contradicts(fields: Field_List, row: Sequence[str]) -> bool:
    return sum(name in FIRM and cannot_be(name, value) for name, value in zip(fields.names, row, strict=True)) >= 2


# --------------------------------------------------------------------------------------------------------- messages


def _contradictions(rows: Sequence[Sequence[str]]) -> str:
    """What is wrong with the presets, or what number of fields they have."""
    same = {preset: names for preset, names in PRESETS.items() if len(names) == len(rows[0])}
    if not same:
        return f"the presets have {' or '.join(sorted({str(len(names)) for names in PRESETS.values()}))} fields"
    return "; ".join(f"{preset} expects {_expected(names, _misfits(names, rows))}" for preset, names in same.items())


def _expected(names: Sequence[str], places: Sequence[int]) -> str:
    return ", ".join(f"{names[place]} in column {place + 1}" for place in places[:5]) or "other values"


def _seen(records: First_Records, rows: Sequence[Sequence[str]]) -> str:
    if not records.rows:
        return ""
    by_count = Counter(len(row) for row in records.rows)
    sample = rows or [row for row in records.rows if len(row) == by_count.most_common(1)[0][0]]
    width = min(len(sample[0]), COLUMNS_SHOWN)
    kinds = ", ".join(f"{place + 1} {kind_in([row[place] for row in sample])}" for place in range(width))
    seen = ", ".join(f"{count} fields in {times}" for count, times in by_count.most_common(4))
    return f" Seen: {seen} lines; columns: {kinds}."


def kind_in(values: Iterable[str]) -> str:
    """What most of a column's values look like, in a word or two."""
    kinds = Counter(kind_of(value) for value in values if value not in MISSING)
    return kinds.most_common(1)[0][0] if kinds else kind_of("")


def _advice(finding: Finding) -> str:
    if not finding.settings:
        return _ADVICE
    return f"If this is the list of your real-time log configuration, set {' and '.join(finding.settings)}"
