"""Records one by one, for whoever wants to see some of them: what was parsed comes in, a dictionary a record goes out,
under the names of the 27 fields of the documents that this product came from. A million of them take a minute: numbers
are made from columns.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

from sa_stream.bounded.log_reading import Read
from sa_stream.records.dead_letters import shown_value
from sa_stream.records.fields import MISSING, SEED, Time_Form
from sa_stream.records.privacy import MAYBE_PERSONAL, Path_Rules, clean_paths, scrub
from sa_stream.records.shapes import cannot_be
from sa_stream.timing import WINDOW_MS

type Event = dict[str, str]

# What the client writes. CloudFront itself writes the rest.
_FROM_CLIENT = frozenset({"cs-referer", "cs-host", "cs-method", "cs-accept", "cs-accept-encoding", "cs-user-agent"})
_MAYBE_PERSONAL = re.compile(MAYBE_PERSONAL)
_shown = lru_cache(maxsize=8_192)(shown_value)


class Events:
    """Records of [from_ms, until_ms), duplicates left out: the same request id in the same window."""

    def __init__(self, from_ms: int, until_ms: int, rules: Path_Rules) -> None:
        self._from_ms, self._until_ms = from_ms, until_ms
        self._rules = rules
        self._seen: set[tuple[int, str]] = set()

    def of(self, read: Read) -> Iterator[Event]:
        """A missing value, also of a field that the log does not have, is ''. Paths are as entries have them, referers
        end at their `?`, query strings are left out."""
        columns = read.columns
        lines = [content.split(b"\n") for content in read.lines]
        paths = clean_paths(columns.texts_of("cs-uri-stem"), self._rules)
        places = (columns.payload, columns.line, columns.field_count, columns.event_ms)
        rows = zip(*(column.tolist() for column in places), paths, strict=True)
        for payload, line, count, event_ms, path in rows:
            if not self._from_ms <= event_ms < self._until_ms:
                continue
            fields = read.lists.by_count[count]
            values = lines[payload][line].removesuffix(b"\r").decode("utf-8", "replace").split("\t")
            given = dict(zip(fields.names, values, strict=True))
            if fields.time_form != Time_Form.SECONDS:
                given["timestamp"] = f"{event_ms // 1000}.{event_ms % 1000:03d}"
            if fields.index("x-edge-request-id") is None or self._is_new(event_ms, given):
                yield _event(given, fields.dropped, path)

    def _is_new(self, event_ms: int, given: Mapping[str, str]) -> bool:
        request_id = given["x-edge-request-id"]
        if request_id in MISSING:
            return True
        key = event_ms // WINDOW_MS, request_id
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new


def without_ids(event: Event) -> Event:
    """A record as it may be stored: elsewhere, what tells requests and agents apart is kept as keyed hashes alone."""
    return {**event, "x-edge-request-id": "", "cs-user-agent": ""}


def _event(given: Mapping[str, str], dropped: Collection[str], path: str) -> Event:
    event = dict.fromkeys(SEED, "")
    for name in event:
        value = given.get(name, "")
        if value not in MISSING and name not in dropped:
            event[name] = _shown_here(name, value)
    return event | {"cs-uri-stem": path, "cs-uri-query": ""}


def _shown_here(name: str, value: str) -> str:
    if name == "cs-user-agent":
        name = "cs-accept"  # scrubbed, and not removed as in a dead letter
    if name in _FROM_CLIENT:
        return _shown(name, value)
    if cannot_be(name, value):
        return ""  # of a list that is not the record's: it may be anything, such as headers in place of a time
    return scrub(value) if _MAYBE_PERSONAL.search(value) else value
