"""Records that can never be counted: what is wrong with each comes in, small immutable objects for the state store go
out. Every one is counted; only so many a minute are kept, as a broken sender breaks every line.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from sa_stream.records.decoder import portions
from sa_stream.records.fields import FORBIDDEN_FIELDS, MISSING, Field_List, Field_Lists
from sa_stream.records.privacy import scrub
from sa_stream.records.shapes import kind_of
from sa_stream.timing import MINUTE_MS

PREFIX = "dead-letters/"
PER_MINUTE = 60  # letters kept of each partition and minute of arrival
TEXT_CHARS_MAX = 2_048
RAW_BYTES_MAX = 65_536  # of a longer line only the beginning is looked at
SET_ASIDE = "set_aside"
TEXTS_CHARS_MAX = 1 << 20  # of all lines of a batch that was set aside
ERROR_CHARS_MAX = 500
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")  # an error quotes the values that it did not like

# Kept only as keyed hashes elsewhere, or full of tokens (query): not shown here either.
_HIDDEN = FORBIDDEN_FIELDS | {"x-edge-request-id", "cs-user-agent", "cs-uri-query"}
_CUT_AT_QUERY = ("cs-uri-stem", "cs-referer")


class Dead_Letter(Struct, frozen=True):
    """Why one line was not counted, and where it is.

    number       sequence number of its record
    line         index (from 0) of the line within the record's payload
    reason       too_long, fields, timestamp, status, columns, future, or too_late
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
        content = dict(sorted(asdict(self).items()))
        if self.text is None:
            del content["text"]
        return msgspec.json.encode(content)


class Set_Aside_Letter(Struct, frozen=True):
    """Why consecutive records were passed over unread, and which: the engine failed on them again and again.

    number, last_number  sequence numbers of the first and the last of them
    records              how many there are, each of one line or several
    error                what the engine said, without what it quoted
    arrival_ms           when the first of them arrived, ms since the epoch
    texts                their lines without personal data, if the settings ask for them
    """

    partition: str
    number: str
    last_number: str
    records: int
    error: str
    arrival_ms: int
    texts: tuple[str, ...] | None = None
    reason: str = SET_ASIDE

    def key(self) -> str:
        """Its key in the state store. The source cuts its batches as it likes: other records give another letter."""
        return (
            f"{PREFIX}{quote(self.partition, safe='')}/{self.number.zfill(56)}/{SET_ASIDE}-{self.last_number.zfill(56)}"
        )

    def to_json(self) -> bytes:
        """Its content in the state store; equal letters give equal bytes."""
        content = dict(sorted(asdict(self).items()))
        if self.texts is None:
            del content["texts"]
        return msgspec.json.encode(content)


def dead_letter_text(line: bytes, fields: Field_List | None) -> str:
    """A line as a dead letter may show it: fields separated by tabs, at most 2,048 characters.

    With the list that explains the line, each field is scrubbed; those that are dropped, forbidden or kept only as
    hashes are `[removed]`, and paths and referers end at their `?`. Without one nobody can tell which field is whose,
    so each is shown as its kind (`[digits]`, `[path]`), never as it is.
    """
    values = line[:RAW_BYTES_MAX].rstrip(b"\r\n").decode("utf-8", "replace").split("\t")
    if len(line) > RAW_BYTES_MAX:
        values[-1] = ""  # half an address is no address to the scrub
    if fields is None or (len(values) != fields.count and len(line) <= RAW_BYTES_MAX):
        return "\t".join(value if value in MISSING else f"[{kind_of(value)}]" for value in values)[:TEXT_CHARS_MAX]
    pairs = zip(fields.names, values, strict=False)
    return "\t".join(shown_value(name, value, fields.dropped) for name, value in pairs)[:TEXT_CHARS_MAX]


def shown_value(field: str, value: str, hidden: Collection[str] = ()) -> str:
    """A value of a field as people may see it: scrubbed, a path or referer without what follows its `?`; `[removed]` if
    it is forbidden, kept only as a hash, or one of `hidden`."""
    if value not in MISSING and (field in _HIDDEN or field in hidden):
        return "[removed]"
    return scrub(value.partition("?")[0] if field in _CUT_AT_QUERY else value)


def _texts(payloads: Sequence[bytes], lists: Field_Lists) -> tuple[str, ...]:
    """The lines of payloads as dead letters may show them, as many as there is room for. Whatever breaks the engine may
    break this too, and then is shown as the name of the error."""
    shown: list[str] = []
    room = TEXTS_CHARS_MAX
    for payload in payloads:
        try:
            for line in _lines(payload):
                shown.append(dead_letter_text(line, lists.by_count.get(line.count(b"\t") + 1)))
                room -= len(shown[-1])
                if room <= 0:
                    return tuple(shown)
        except Exception as error:  # noqa: BLE001 - the reason is in the letter, which must be written all the same
            shown.append(f"[unreadable: {type(error).__name__}]")
    return tuple(shown)


def _lines(payload: bytes) -> Iterator[bytes]:
    for portion in portions([payload]):
        for content in portion.payloads:
            yield from filter(None, content.split(b"\n"))


class Dead_Letters:
    """Collects dead letters, so many a minute of each partition, until somebody takes and writes them. Does no I/O."""

    def __init__(self, per_minute: int = PER_MINUTE, keep_text: bool = False) -> None:
        self._per_minute = per_minute
        self._keep_text = keep_text
        self._kept: dict[str, Counter[int]] = {}  # partition -> minute of arrival -> letters kept
        self._waiting: dict[str, Dead_Letter] = {}

    def add(self, letter: Dead_Letter, raw: bytes = b"", fields: Field_List | None = None) -> None:
        """Keep a letter if its minute has room. `raw` is the line as it came, and `fields` the list with its number of
        fields, if there is one: both only matter where texts are asked for."""
        kept = self._kept.setdefault(letter.partition, Counter())
        minute = letter.arrival_ms // MINUTE_MS
        if kept[minute] >= self._per_minute:
            return
        kept[minute] += 1
        if len(kept) > 60:  # arrival times hardly go back; an hour of minutes is memory enough
            for old in sorted(kept)[:30]:
                del kept[old]
        if self._keep_text:
            letter = replace(letter, text=dead_letter_text(raw, fields))
        self._waiting[letter.key()] = letter

    def set_aside(
        self,
        partition: str,
        numbers: Sequence[str],
        arrivals_ms: Sequence[int],
        error: str,
        payloads: Sequence[bytes],
        lists: Field_Lists,
    ) -> Set_Aside_Letter:
        """The one letter of consecutive records that nobody reads."""
        return Set_Aside_Letter(
            partition=partition,
            number=numbers[0],
            last_number=numbers[-1],
            records=len(numbers),
            error=scrub(_QUOTED.sub("[value]", error))[:ERROR_CHARS_MAX],
            arrival_ms=arrivals_ms[0],
            texts=_texts(payloads, lists) if self._keep_text else None,
        )

    def take(self) -> list[Dead_Letter]:
        """The letters kept since the last call, in the order in which they came; the same record's only once."""
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def forget(self, partition: str) -> None:
        """Drop what is remembered of a partition that has gone to another worker."""
        self._kept.pop(partition, None)
