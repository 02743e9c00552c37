"""Records that can never be counted: what is wrong with each comes in, small immutable objects for the state store go
out. Every one is counted; only so many a minute are kept, as a broken sender breaks every line.
"""

from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from sa_stream.records.fields import FORBIDDEN_FIELDS, Field_List, kind_of
from sa_stream.records.privacy import scrub
from sa_stream.timing import MINUTE_MS

PREFIX = "dead-letters/"
PER_MINUTE = 60  # letters kept of each partition and minute of arrival
TEXT_CHARS_MAX = 2_048
RAW_BYTES_MAX = 65_536  # of a longer line only the beginning is looked at

# Kept only as keyed hashes elsewhere, or full of tokens (query): not shown here either.
_HIDDEN = FORBIDDEN_FIELDS | {"x-edge-request-id", "cs-user-agent", "cs-uri-query"}
_CUT_AT_QUERY = ("cs-uri-stem", "cs-referer")


@dataclass(frozen=True, slots=True)
class Dead_Letter:
    """Why one line was not counted, and where it is.

    number       sequence number of its record
    line         index (from 0) of the line within the record's payload
    reason       too_long, fields, timestamp, status, future, or too_late
    field_count  number of fields that the line has
    arrival_ms   when the record arrived, ms since the epoch
    text         the line without personal data, if the settings ask for it
    """

    partition: str
    number: str
    line: int
    reason: str
    field_count: int
    arrival_ms: int
    text: str | None = None

    def key(self) -> str:
        """Its key in the state store. A repetition of the same record has the same key."""
        return f"{PREFIX}{quote(self.partition, safe='')}/{self.number.zfill(56)}/{self.line:06d}"

    def to_json(self) -> bytes:
        """Its content in the state store; equal letters give equal bytes."""
        content = {name: getattr(self, name) for name in sorted(self.__slots__)}
        if self.text is None:
            del content["text"]
        return msgspec.json.encode(content)


def dead_letter_text(line: bytes, fields: Field_List | None) -> str:
    """A line as a dead letter may show it: fields separated by tabs, at most 2,048 characters.

    With the list that explains the line, each field is scrubbed; those that are dropped, forbidden or kept only as
    hashes are `[removed]`, and paths and referers end at their `?`. Without one nobody can tell which field is whose,
    so each is shown as its kind (`[digits]`, `[path]`), never as it is.
    """
    values = line[:RAW_BYTES_MAX].rstrip(b"\r\n").split(b"\t")
    if len(line) > RAW_BYTES_MAX:
        values[-1] = b""  # half an address is no address to the scrub
    if fields is None or (len(values) != fields.count and len(line) <= RAW_BYTES_MAX):
        return "\t".join(value.decode() if value in (b"", b"-") else f"[{kind_of(value)}]" for value in values)[
            :TEXT_CHARS_MAX
        ]
    hidden = _HIDDEN | fields.dropped
    shown = []
    for name, value in zip(fields.names, values, strict=False):
        text = value.decode("utf-8", "replace")
        if name in _CUT_AT_QUERY:
            text = text.partition("?")[0]
        shown.append("[removed]" if name in hidden and text not in ("", "-") else scrub(text))
    return "\t".join(shown)[:TEXT_CHARS_MAX]


class Dead_Letters:
    """Collects dead letters until somebody takes and writes them. Does no I/O.

    counts    reason -> how many there were, kept or not
    withheld  how many were counted and not kept, because their partition's minute was full
    """

    def __init__(self, per_minute: int = PER_MINUTE, keep_text: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.withheld = 0
        self._per_minute = per_minute
        self._keep_text = keep_text
        self._kept: dict[str, Counter[int]] = {}  # partition -> minute of arrival -> letters kept
        self._waiting: dict[str, Dead_Letter] = {}

    def add(
        self,
        partition: str,
        number: str,
        line: int,
        reason: str,
        field_count: int,
        arrival_ms: int,
        raw: bytes = b"",
        fields: Field_List | None = None,
    ) -> None:
        """Count one line and keep its letter if its minute has room. `raw` is the line as it came, and `fields` the
        list with its number of fields, if there is one: both only matter where texts are asked for."""
        self.counts[reason] += 1
        kept = self._kept.setdefault(partition, Counter())
        minute = arrival_ms // MINUTE_MS
        if kept[minute] >= self._per_minute:
            self.withheld += 1
            return
        kept[minute] += 1
        if len(kept) > 60:  # arrival times hardly go back; an hour of minutes is memory enough
            for old in sorted(kept)[:30]:
                del kept[old]
        text = dead_letter_text(raw, fields) if self._keep_text else None
        letter = Dead_Letter(partition, number, line, reason, field_count, arrival_ms, text)
        self._waiting[letter.key()] = letter

    def take(self) -> list[Dead_Letter]:
        """The letters kept since the last call, in the order in which they came; the same record's only once."""
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def forget(self, partition: str) -> None:
        """Drop what is remembered of a partition that has gone to another worker."""
        self._kept.pop(partition, None)
