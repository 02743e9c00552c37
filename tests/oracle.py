"""The naive recount: log lines in, aggregate entries out, a record at a time in plain Python. Of sa_stream it has what
a single value is called, and nothing that counts.

It says what every number of an entry means by computing it the slow and obvious way.
`recount` is bounded input; `Stream_Oracle` is records with arrival times, partition by partition; `compare`
names the differences between an entry of the product and one of these.

What the prose leaves open is decided here:

- **Too long** is measured on the line without its trailing carriage return. `#` lines and empty lines are no records,
  however long they are. A payload that begins with gzip's magic bytes but cannot be unpacked is read as it is.
- **Number**: ASCII digits with an optional fraction, at most 30 digits in all; anything else is missing. Bytes count
  their whole part. Seconds are rounded to whole microseconds, half to even. Event times are cut to whole milliseconds.
- **Missing path**: the field is `-` or empty. Nothing else: `-?x` has the path `-`, and `?x` the path ''.
- **Order for a path**: cut at the first literal `?`, percent escapes made alike, scrub, path rules (none here), cut to
  2,048 characters. Other shown values (hosts, methods, protocols, edges, result types): scrub, cut to 256 characters.
  Distinct edges and paths are counted as shown. Agents and request ids are compared as they came: only a hash of them
  is ever kept, so the version in `Chrome/120.0.0.0` is nobody's address. `Hit` and the like, `ws` and `grpcs` are
  compared as they came.
- **Escapes made alike**, in one pass from left to right: `%HH` of a letter, a digit or one of `-._~` becomes that
  character, any other gets capital letters. What a decoded character makes together with its neighbours stays.
- **Host**: lower case, addresses replaced; then a port goes that is empty, 80 of `http`, `ws` and `grpc`, or 443 of
  `https`, `wss` and `grpcs` (where the protocol is not known both stay); then one dot at the end. What would be empty
  stays as it was before. At most 256 characters are shown.
- **Result type**: the first of the three fields below that the line's list has; a list has at most one. The entry names
  those of all lists, in this order, with a comma between.
- **Long connections**: protocol `ws`, `wss`, `grpc`, `grpcs`; status 101; a content type that is `text/event-stream`
  in any case, up to its first `;` and without spaces around (also as `%20`).
- **Decoding**: on the bytes of the text, `%HH` becomes its byte until no `%HH` is left; then UTF-8, broken parts
  replaced, once. No two `%HH` overlap, so the order of replacing does not matter, and one pass with a stack does it.
- **E-mail**: a run of characters of a local part, `@`, and a domain. A domain is an IPv4 address, something in square
  brackets, or labels of which a later one begins with a top-level domain that ends there (no letter follows: the domain
  of `a@b.com-old` is `b.com`), as long as no label in front of it looks like a version (`3`, `18`, `v2`) or a scale
  (`2x`): one or two digits, `v` and digits, digits and `x`. The longest one counts; what overlaps is one address.
- **E-mail, IPv4, IPv6**: in this order. Four numbers up to 255 between dots are an IPv4
  address unless a fifth number follows or precedes, or a lone `v` stands before them. An IPv6 address has eight
  groups, or `::` and at least one group; with fewer than three groups it must not touch a letter or digit
  (`std::vec`, `Foo::bar`). If nothing was found the text stays as it came, else the decoded text is shown with
  `[email]` and `[ip]`.
- **A field that one of several lists lacks**: records of that list miss the value; without `sc-status` the check of the
  status is left out. A field that no list has makes the values that depend on it null.
- **Columns that cannot be**: of protocol, edge code, result types (also the response's and the detailed one), HTTP
  version, TLS version, cipher and request id, those that the list has and reads, in this order. A record is malformed
  if at least two of them hold what their pattern below does not take, one of them among the first three. A missing
  value fits everywhere.
- **A window without an entry** is one that no counted and no duplicate record lies in and, in a stream, in which no
  dropped record arrived: where nothing but dropped records came in, there is an entry of zeros and `invalid_records`.
- **What an agent, a referer, a content type and an edge code are called** is no number: the product's own functions say
  it of one value (agents by their two packages), and what is counted under these names is counted here. Values are as
  they came, but that broken UTF-8 is replaced; paths are the shown ones.
- **Referers** are told from the host that the record asked for as it came. Every request has a referer's name and a
  first segment; those beyond the 100 (200) most frequent are under `(other)` together.
- **Agents** of a window that are classified, in each partition of a stream: the first 16,384 different ones, in the
  order of their records; others are unknown, and so many requests are in `errors`. Of bounded input: all.
- **A page view** is method `GET`, a status of 2xx or 304, kind `page`, agent `human`.
- **Times of a path** are of requests that do not last, with a time-taken of less than 2**40 microseconds.
"""

import gzip
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil
from typing import Any

from msgspec import Struct, field
from publicsuffixlist import PublicSuffixList

from sa_stream.records.agents import Agent, classify
from sa_stream.records.content_types import kind_of, type_of
from sa_stream.records.edges import city_of
from sa_stream.records.referrers import host_of_referrer

MINUTE_MS = 60_000
WINDOW_MS = 1_800_000
FUTURE_MS = 300_000
PERCENTILE_US_MAX = 1 << 52  # 142 years: a percentile tells no longer time
LINE_BYTES_MAX = 1_048_576
UNIQUE_EXACT_MAX = 16_384
AGENTS_CLASSIFIED_MAX = 16_384
PATHS_EXACT_MAX = 65_536
BEFORE_EVERYTHING_MS = -(1 << 62)
QUANTILES = {"p50": Fraction(50, 100), "p90": Fraction(90, 100), "p95": Fraction(95, 100), "p99": Fraction(99, 100)}
PERIODS = {"30min": "%Y-%m-%d-%H%M", "hourly": "%Y-%m-%d-%H", "daily": "%Y-%m-%d", "monthly": "%Y-%m"}

CANONICAL = [
    "timestamp",
    "time-to-first-byte",
    "sc-status",
    "sc-bytes",
    "cs-method",
    "cs-protocol",
    "cs-host",
    "cs-uri-stem",
    "x-edge-location",
    "x-edge-request-id",
    "time-taken",
    "cs-protocol-version",
    "cs-user-agent",
    "cs-referer",
    "cs-uri-query",
    "x-edge-response-result-type",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-result-type",
    "sc-content-type",
    "sc-content-len",
    "sc-range-start",
    "sc-range-end",
    "cs-accept-encoding",
    "cs-accept",
    "origin-fbl",
    "origin-lbl",
]
SEED = [
    "timestamp",
    "sc-status",
    "sc-bytes",
    "cs-method",
    "cs-uri-stem",
    "cs-uri-query",
    "cs-protocol",
    "cs-protocol-version",
    "sc-content-type",
    "sc-content-len",
    "cs-user-agent",
    "cs-referer",
    "x-edge-location",
    "x-edge-result-type",
    "x-edge-response-result-type",
    "x-edge-request-id",
    "time-taken",
    "time-to-first-byte",
    "sc-range-start",
    "sc-range-end",
    "ssl-protocol",
    "ssl-cipher",
    "cs-accept",
    "cs-accept-encoding",
    "cs-host",
    "origin-fbl",
    "origin-lbl",
]
# Where the result type is, in the order of preference; the first stands for all of them in what follows.
RESULT_FIELDS = ("x-edge-result-type", "x-edge-response-result-type", "x-edge-detailed-result-type")
LONG_PROTOCOLS = ("ws", "wss", "grpc", "grpcs")
OWN_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443", "grpc": "80", "grpcs": "443"}
# Entry values that are null when no configured list has the log field.
DEPENDS_ON = {
    "sc-status": ("status_breakdown", "status_codes", "page_views", "top_error_paths"),
    "sc-bytes": ("total_bytes", "top_bytes_paths"),
    "cs-uri-stem": (
        *("unique_paths", "top_paths", "top_error_paths", "top_missed_paths", "top_bytes_paths", "path_groups"),
    ),
    "x-edge-location": ("edge_distribution", "unique_edges", "cities"),
    "x-edge-result-type": (
        *("cache_hit_rate", "served_from_cache_rate", "result_types", "result_field", "top_missed_paths"),
    ),
    "cs-method": ("methods", "page_views"),
    "cs-protocol": ("protocols",),
    "cs-host": ("hosts",),
    "cs-user-agent": ("unique_agents", "agent_classes", "bots", "browsers", "systems", "devices", "page_views"),
    "cs-referer": ("referrers",),
    "sc-content-type": ("content_types", "kinds", "page_views"),
    "cs-protocol-version": ("http_versions",),
    "ssl-protocol": ("tls_versions",),
    "origin-fbl": ("origin_latency",),
    "c-country": ("countries",),
    "x-edge-request-id": ("duplicate_records",),
    "time-taken": ("avg_time_taken",),
    "time-to-first-byte": ("avg_ttfb",),
}
TOP_PATH_DEPENDS_ON = {
    "bytes": "sc-bytes",
    "hits": "x-edge-result-type",
    "misses": "x-edge-result-type",
    "status_4xx": "sc-status",
    "status_5xx": "sc-status",
    "avg_time_taken": "time-taken",
}
SLOT_DEPENDS_ON = {"human": "cs-user-agent", "bytes": "sc-bytes", "hits": "x-edge-result-type"} | {
    "status_4xx": "sc-status",
    "status_5xx": "sc-status",
    "p95": "time-taken",
}
SLOTS = {"daily": ("30min", "per_half_hour"), "monthly": ("daily", "per_day")}  # of which period, and the name
PATH_TIME_US_END = 1 << 40
PER_MINUTE_DEPENDS_ON = {
    "status_4xx": "sc-status",
    "status_5xx": "sc-status",
    "bytes": "sc-bytes",
    "hits": "x-edge-result-type",
}

type Fields = str | Sequence[str] | Sequence[Sequence[str]]


def field_lists(fields: Fields) -> list[list[str]]:
    """'canonical', 'seed', one list of names, or several lists: always as a list of lists."""
    if isinstance(fields, str):
        return [{"canonical": CANONICAL, "seed": SEED}[fields]]
    lists = [list(fields)] if fields and isinstance(fields[0], str) else [list(one) for one in fields]
    if len({len(one) for one in lists}) != len(lists):
        raise ValueError("two field lists of one length: a line could be read by either")
    return lists  # type: ignore[return-value]


# --- scrub -----------------------------------------------------------------------------------------------------------

_ATOM = r"\w.!#$%&'*+^`{|}~-"
_LOCAL = re.compile(rf"(?<![{_ATOM}])[{_ATOM}]+@")
_LITERAL_DOMAIN = re.compile(r"\[[0-9A-Za-z:.]+\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_LABEL = re.compile(r"[\w-]+")
_VERSION = re.compile(r"v?[0-9]{1,2}|v[0-9]+|[0-9]+x", re.IGNORECASE)
_SUFFIXES = PublicSuffixList(accept_unknown=False)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_IPV4 = re.compile(
    rf"(?<![0-9])(?<![0-9]\.)(?<!\b[vV]){_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?![0-9])(?!\.[0-9])", re.ASCII
)
_GROUP = r"[0-9A-Fa-f]{1,4}(?![0-9A-Fa-f])"
_IPV6 = re.compile(
    rf"(?<![0-9A-Fa-f])(?:{_GROUP}:){{7}}{_GROUP}"
    rf"|(?<![0-9A-Fa-f])(?:{_GROUP}:){{6}}\[ip\]"  # a dotted tail, already replaced
    rf"|(?:(?<![0-9A-Fa-f]){_GROUP}(?::{_GROUP}){{0,6}})?::(?:(?:{_GROUP}:){{0,6}}(?:\[ip\]|{_GROUP}))?"
)
_HEX = frozenset(b"0123456789abcdefABCDEF")
_WORD = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")


def decode_fully(text: str) -> str:
    """Percent-decode until it no longer changes, in one pass: the stack never holds a whole `%HH`."""
    stack = bytearray()
    for byte in text.encode("utf-8"):
        stack.append(byte)
        while len(stack) >= 3 and stack[-3] == 0x25 and stack[-2] in _HEX and stack[-1] in _HEX:
            decoded = int(stack[-2:].decode(), 16)
            del stack[-3:]
            stack.append(decoded)
    return stack.decode("utf-8", "replace")


def domain_end(text: str, at: int) -> int:
    """Where the domain that begins at a place of the text ends: the longest plausible one; `at` if there is none."""
    literal = _LITERAL_DOMAIN.match(text, at)
    found, place = (literal.end() if literal else at), at
    labels = 0
    while label := _LABEL.match(text, place):
        top = re.match(r"xn--[a-z0-9-]+|[^\W\d_]+", label.group(), re.IGNORECASE)
        if labels and top and _SUFFIXES.publicsuffix("example." + top.group().lower()):
            found = max(found, place + len(top.group()))
        if _VERSION.fullmatch(label.group()) or text[label.end() : label.end() + 1] != ".":
            break
        place, labels = label.end() + 1, labels + 1
    return found


def replace_emails(text: str) -> str:
    """Every stretch of the text that is covered by addresses becomes one `[email]`."""
    covered = [(local.start(), domain_end(text, local.end()), local.end()) for local in _LOCAL.finditer(text)]
    result, done = "", 0
    for start, end, at in covered:
        if end == at:
            continue
        if start >= done:
            result += text[done:start] + "[email]"
        done = max(done, end)
    return result + text[done:]


def _replace_ipv6(match: re.Match[str]) -> str:
    found, text = match.group(), match.string
    groups = len(re.findall("[0-9A-Fa-f]+", found.replace("[ip]", "0:0")))
    before, after = text[max(match.start() - 1, 0) : match.start()], text[match.end() : match.end() + 1]
    touches_word = before in _WORD or after in _WORD
    return found if groups == 0 or (groups < 3 and touches_word) else "[ip]"


@lru_cache(maxsize=1 << 17)
def scrub(text: str) -> str:
    """The text without IP literals and e-mail addresses (this module's opening says what counts as one)."""
    decoded = decode_fully(text) if "%" in text else text
    clean = replace_emails(decoded)
    clean = _IPV4.sub("[ip]", clean)
    clean = _IPV6.sub(_replace_ipv6, clean).replace("[[ip]]", "[ip]")
    return text if clean == decoded else clean


def shown_path(value: str) -> str:
    if value in ("-", ""):
        return ""
    return scrub(alike(value.partition("?")[0]))[:2048]


def alike(path: str) -> str:
    """RFC 3986, 6.2.2: unreserved characters as they are, all other escapes in capitals."""

    def escape(match: re.Match[str]) -> str:
        character = chr(int(match.group(1), 16))
        unreserved = character.isascii() and (character.isalnum() or character in "-._~")
        return character if unreserved else match.group().upper()

    return re.sub("%([0-9A-Fa-f]{2})", escape, path)


def shown_host(value: str, protocol: str) -> str | None:
    if value in ("-", ""):
        return None
    host = scrub(value.lower())
    name, colon, port = host.rpartition(":")
    if colon and port in ("", OWN_PORTS.get(protocol)):
        host = name or host
    return (host.removesuffix(".") or host)[:256]


def shown_value(value: str) -> str | None:
    return None if value in ("-", "") else scrub(value)[:256]


# --- one line --------------------------------------------------------------------------------------------------------

_TIMESTAMP = re.compile(r"[0-9]{10}(\.[0-9]+)?")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_STATUS = re.compile(r"[0-9]{3}")


_RESULT = re.compile(r"(?=[A-Z0-9]*[a-z])[A-Z][A-Za-z0-9]{1,63}")
RECOGNISED = {
    "cs-protocol": re.compile(r"[a-z][a-z0-9+-]{1,11}"),
    "x-edge-location": re.compile(r"[A-Z]{3}[A-Z-]{0,8}[0-9][A-Z0-9-]{0,16}"),
    "x-edge-result-type": _RESULT,
    "x-edge-response-result-type": _RESULT,
    "x-edge-detailed-result-type": _RESULT,
    "cs-protocol-version": re.compile(r"[A-Za-z]{2,8}/[0-9]{1,2}(\.[0-9]{1,2})?"),
    "ssl-protocol": re.compile(r"(D?TLS|SSL|QUIC)[A-Za-z]{0,3}[0-9.]{0,5}"),
    "ssl-cipher": re.compile(r"[A-Z0-9]+([_-][A-Za-z0-9]+)+"),
    "x-edge-request-id": re.compile(r"(?!/)[A-Za-z0-9_+/=%:~-]+"),
}


def shown_country(value: str) -> str | None:
    if value in ("", "-"):
        return None
    return (
        value
        if value == "T1" or (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper())
        else "(other)"
    )


def cannot_be_of_its_list(values: Mapping[str, str]) -> bool:
    """Whether the columns of a record contradict its list; `values` by field, of those that are read."""
    named = [name for name in RECOGNISED if name in values]
    strange = [name for name in named if values[name] not in ("-", "") and not RECOGNISED[name].fullmatch(values[name])]
    return len(strange) >= 2 and any(name in strange for name in named[:3])


class Log_Record(Struct):
    """One well-formed line. Missing values are None; `path` is the shown path."""

    time_ms: int
    status: str | None
    size_bytes: int
    path: str
    request_id: str | None
    agent: str | None
    result_type: str | None
    is_long: bool
    time_taken_us: int | None
    ttfb_us: int | None
    origin_us: int | None
    what: Agent
    referrer: str
    kind: str
    method: str
    shown: tuple[str | None, ...]  # as in Tally.COUNTED


def record_lines(payload: bytes) -> Iterator[bytes]:
    """The lines of a payload that are records, without their line ends."""
    if payload[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError, zlib.error):
            payload = gzip.decompress(payload)
    for line in payload.split(b"\n"):
        if line.endswith(b"\r"):
            line = line[:-1]
        if line and not line.startswith(b"#"):
            yield line


def event_time_ms(text: str) -> int | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    seconds, _, fraction = text.partition(".")
    if int(seconds) >= 4_102_444_800:
        return None
    return int(seconds) * 1000 + int(fraction[:3].ljust(3, "0"))


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and len(text.replace(".", "")) <= 30


def whole_number(text: str) -> int:
    return int(text.partition(".")[0]) if _is_number(text) else 0


@lru_cache(maxsize=1 << 17)
def microseconds(text: str) -> int | None:
    # Fraction is exact and round() of a Fraction is half to even.
    return round(Fraction(text) * 1_000_000) if _is_number(text) else None


def is_event_stream(content_type: str) -> bool:
    return content_type.replace("%20", " ").partition(";")[0].strip(" ").lower() == "text/event-stream"


@lru_cache(maxsize=1 << 17)
def agent_of(text: str) -> Agent:
    return classify(text.encode())


def first_segment(path: str) -> str:
    """`/blog/…` of what is below `/blog/`, `/` of what is at the top, and of anything else its first characters."""
    if not path.startswith("/"):
        return path[:256]
    segments = path.split("/")
    return f"/{segments[1][:253]}/…" if len(segments) > 2 else "/"


class Line_Reader:
    """Reads lines by one of the configured field lists, the one that has the line's number of fields."""

    def __init__(self, fields: Fields) -> None:
        lists = field_lists(fields)
        self._results = {len(one): next((name for name in RESULT_FIELDS if name in one), "") for one in lists}
        self.names = {name for one in lists for name in one if name not in RESULT_FIELDS}
        self.names |= {name for name in self._results.values() if name}
        self._places = {len(one): {name: place for place, name in enumerate(one)} for one in lists}

    def read(self, line: bytes) -> Log_Record | str:
        """The record, or the reason why the line is malformed (`future` depends on a clock and is not among them)."""
        if len(line) > LINE_BYTES_MAX:
            return "too_long"
        values = line.decode("utf-8", "replace").split("\t")
        places = self._places.get(len(values))
        if places is None:
            return "fields"

        def value(name: str) -> str:
            place = places.get(name)
            return "-" if place is None else values[place]

        def known(name: str) -> str | None:
            text = value(name)
            return None if text in ("-", "") else text

        time_ms = event_time_ms(value("timestamp"))
        if time_ms is None:
            return "timestamp"
        status = value("sc-status") if "sc-status" in places else None
        if status is not None and not _STATUS.fullmatch(status):
            return "status"
        if cannot_be_of_its_list({name: values[place] for name, place in places.items()}):
            return "columns"
        result = self._results[len(values)]
        path = shown_path(value("cs-uri-stem"))
        is_stream = is_event_stream(value("sc-content-type"))
        return Log_Record(
            time_ms=time_ms,
            status=status,
            size_bytes=whole_number(value("sc-bytes")),
            path=path,
            request_id=known("x-edge-request-id"),
            agent=known("cs-user-agent"),
            result_type=known(result),
            is_long=value("cs-protocol") in LONG_PROTOCOLS or status == "101" or is_stream,
            time_taken_us=microseconds(value("time-taken")),
            ttfb_us=microseconds(value("time-to-first-byte")),
            origin_us=microseconds(value("origin-fbl")),
            what=agent_of(value("cs-user-agent")),
            referrer=host_of_referrer(value("cs-referer").encode(), value("cs-host").encode(), frozenset()),
            kind=kind_of(type_of(value("sc-content-type").encode()), path),
            method=value("cs-method"),
            shown=(
                shown_value(value(result)),
                shown_value(value("x-edge-location")),
                shown_value(value("cs-method")),
                shown_value(value("cs-protocol")),
                shown_host(value("cs-host"), value("cs-protocol")),
                shown_value(value("cs-protocol-version")),
                shown_value(value("ssl-protocol")),
                type_of(value("sc-content-type").encode()) or None,
                shown_country(value("c-country")),
            ),
        )


# --- one window ------------------------------------------------------------------------------------------------------


class Tally:
    """What was counted in one window or period, nothing estimated and nothing cut."""

    COUNTED = (
        *("result_types", "edge_distribution", "methods", "protocols", "hosts"),
        *("http_versions", "tls_versions", "content_types", "countries"),
    )
    NAMED = (*("agent_classes", "browsers", "systems", "devices", "kinds", "referrers", "path_groups", "status_codes"),)

    def __init__(self, agents_max: int = 1 << 62) -> None:
        self.agents_max = agents_max  # so many are classified
        self.requests = 0
        self.bytes = 0
        self.hits = 0
        self.served = 0
        self.late = 0
        self.duplicates = 0
        self.status: Counter[str] = Counter()
        self.counted: tuple[Counter[str], ...] = tuple(Counter() for _ in self.COUNTED)
        self.named: dict[str, Counter[str]] = {name: Counter() for name in self.NAMED}
        self.bots: dict[tuple[str, bool], list[int]] = {}
        self.page_views = 0
        self.classified: set[str] = set()
        self.unclassified = 0
        self.paths: dict[str, Counter[str]] = {}
        self.origin_us: list[int] = []
        self.agents: set[str] = set()
        self.time_taken_us: list[int] = []
        self.ttfb_us: list[int] = []
        self.per_minute = {name: [0] * 30 for name in ("requests", "status_4xx", "status_5xx", "bytes", "hits")}

    def add(self, record: Log_Record) -> None:
        minute = record.time_ms % WINDOW_MS // MINUTE_MS
        self.requests += 1
        self.per_minute["requests"][minute] += 1
        self.bytes += record.size_bytes
        self.per_minute["bytes"][minute] += record.size_bytes
        if record.result_type == "Hit":
            self.hits += 1
            self.per_minute["hits"][minute] += 1
        if record.result_type in ("Hit", "RefreshHit", "OriginShieldHit"):
            self.served += 1
        if record.status is not None:
            status_class = record.status[0] + "xx"
            self.status[status_class] += 1
            if status_class in ("4xx", "5xx"):
                self.per_minute["status_" + status_class][minute] += 1
        for counter, shown in zip(self.counted, record.shown, strict=True):
            if shown is not None:
                counter[shown] += 1
        self._add_path(record)
        self._add_names(record)
        if record.agent is not None:
            self.agents.add(record.agent)
        if not record.is_long:
            if record.time_taken_us is not None:
                self.time_taken_us.append(record.time_taken_us)
            if record.ttfb_us is not None:
                self.ttfb_us.append(record.ttfb_us)
            if record.origin_us is not None:
                self.origin_us.append(record.origin_us)

    def _add_path(self, record: Log_Record) -> None:
        path = self.paths.get(record.path) or self.paths.setdefault(record.path, Counter())
        path["count"] += 1
        path["bytes"] += record.size_bytes
        path["hits"] += record.result_type == "Hit"
        path["misses"] += record.result_type == "Miss"
        for first in "45":
            path[f"status_{first}xx"] += (record.status or "-")[0] == first
        if record.time_taken_us is not None and not record.is_long and record.time_taken_us < PATH_TIME_US_END:
            path["time_us"] += record.time_taken_us
            path["times"] += 1

    def _what(self, record: Log_Record) -> Agent:
        if record.agent is None or record.agent in self.classified:
            return record.what
        if len(self.classified) < self.agents_max:
            self.classified.add(record.agent)
            return record.what
        self.unclassified += 1
        return agent_of("")

    def _add_names(self, record: Log_Record) -> None:
        what = self._what(record)
        self.named["agent_classes"][what.kind] += 1
        if what.kind == "human":
            for name, family in zip(("browsers", "systems", "devices"), what[3:], strict=True):
                self.named[name][family] += 1
            good = record.status is not None and (record.status[0] == "2" or record.status == "304")
            self.page_views += record.method == "GET" and good and record.kind == "page"
        if what.kind == "bot_known":
            bot = self.bots.setdefault((what.bot, what.ai), [0, 0])
            bot[0] += 1
            bot[1] += record.size_bytes
        self.named["kinds"][record.kind] += 1
        self.named["referrers"][record.referrer] += 1
        self.named["path_groups"][first_segment(record.path)] += 1
        if record.status is not None:
            self.named["status_codes"][record.status] += 1

    def add_all(self, other: "Tally") -> None:
        for name in ("requests", "bytes", "hits", "served", "late", "duplicates"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.status.update(other.status)
        for mine, theirs in zip(self.counted, other.counted, strict=True):
            mine.update(theirs)
        self.page_views += other.page_views
        self.unclassified += other.unclassified
        for name, counter in other.named.items():
            self.named[name].update(counter)
        for bot, (count, size_bytes) in other.bots.items():
            before = self.bots.get(bot, [0, 0])
            self.bots[bot] = [before[0] + count, before[1] + size_bytes]
        for path, numbers in other.paths.items():
            self.paths.setdefault(path, Counter()).update(numbers)
        self.origin_us += other.origin_us
        self.agents |= other.agents
        self.time_taken_us += other.time_taken_us
        self.ttfb_us += other.ttfb_us
        for name, minutes in self.per_minute.items():
            self.per_minute[name] = [a + b for a, b in zip(minutes, other.per_minute[name], strict=True)]


def rank_value(values: list[int], quantile: Fraction) -> int | None:
    """The value of rank ceil(q * n) of the sorted values, counted from 1: nearest-rank."""
    return sorted(values)[ceil(quantile * len(values)) - 1] if values else None


def capped(counter: Counter[str], at_most: int = 100) -> dict[str, int]:
    named = [(name, count) for name, count in counter.items() if name != "(other)"]
    ranked = sorted(named, key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[at_most:]) + counter["(other)"]
    return dict(ranked[:at_most]) | ({"(other)": rest} if rest else {})


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def mean_s(values_us: list[int]) -> float:
    return sum(values_us) / len(values_us) / 1_000_000 if values_us else 0.0


def period_start(period: str, time_ms: int) -> datetime:
    moment = datetime.fromtimestamp(time_ms // WINDOW_MS * WINDOW_MS // 1000, UTC)
    if period == "hourly":
        return moment.replace(minute=0)
    if period == "daily":
        return moment.replace(minute=0, hour=0)
    if period == "monthly":
        return moment.replace(minute=0, hour=0, day=1)
    return moment


def period_end(period: str, start: datetime) -> datetime:
    if period == "monthly":
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    length_s = {"30min": 1800, "hourly": 3600, "daily": 86_400}[period]
    return datetime.fromtimestamp(int(start.timestamp()) + length_s, UTC)


def without_few(counts: Counter[str]) -> dict[str, int]:
    """Countries with fewer than ten requests are one."""
    found: Counter[str] = Counter()
    for country, count in counts.items():
        found[country if count >= 10 else "(few)"] += count
    return dict(found)


def details_of(period: str, tally: Tally, edges: Counter[str]) -> dict[str, Any]:
    """What came with version 2 of the schema, in the product's shape."""
    cities: Counter[str] = Counter()
    for edge, count in edges.items():
        cities[", ".join(city_of(edge) or (edge,))] += count
    bots = sorted(((*numbers, *bot) for bot, numbers in tally.bots.items()), key=lambda row: (-row[0], row[2]))
    listed = [{"name": row[2], "count": row[0], "bytes": row[1], "ai": row[3]} for row in bots[:50]]
    if rest := bots[50:]:
        counts, sizes = sum(row[0] for row in rest), sum(row[1] for row in rest)
        listed.append({"name": "(other)", "count": counts, "bytes": sizes, "ai": None})

    def most(name: str, limit: int = 20) -> list[dict[str, Any]]:
        ranked = sorted((-row[name], path) for path, row in tally.paths.items() if row[name] > 0)
        return [{"path": path, name: -value, "count": tally.paths[path]["count"]} for value, path in ranked[:limit]]

    plain = ("agent_classes", "browsers", "systems", "devices", "kinds", "status_codes")
    return {
        "schema_version": 2,
        **{name: dict(tally.named[name]) for name in plain},
        "bots": listed,
        "referrers": capped(tally.named["referrers"]),
        "path_groups": capped(tally.named["path_groups"], 200),
        "content_types": capped(tally.counted[7]),
        "http_versions": capped(tally.counted[5]),
        "tls_versions": capped(tally.counted[6]),
        "cities": capped(cities),
        "countries": without_few(tally.counted[8]),
        "page_views": tally.page_views,
        "top_error_paths": {name: most(name) for name in ("status_4xx", "status_5xx")},
        "top_missed_paths": most("misses"),
        "top_bytes_paths": most("bytes"),
        "origin_latency": {"count": len(tally.origin_us), "avg": mean_s(tally.origin_us) if tally.origin_us else None}
        | {"max": max(tally.origin_us) / 1_000_000 if tally.origin_us else None},
    }


def top_path(path: str, row: Counter[str]) -> dict[str, Any]:
    average = round(row["time_us"] / row["times"] / 1_000_000, 6) if row["times"] else None
    same = {name: row[name] for name in ("count", "bytes", "hits", "misses", "status_4xx", "status_5xx")}
    return {"path": path, **same, "avg_time_taken": average}


def slot_of(tally: Tally) -> dict[str, Any]:
    """What a half hour is in its day, and a day in its month."""
    p95_us = rank_value(tally.time_taken_us, QUANTILES["p95"])
    return {
        "requests": tally.requests,
        "human": tally.named["agent_classes"]["human"],
        "bytes": tally.bytes,
        "hits": tally.hits,
        "status_4xx": tally.status["4xx"],
        "status_5xx": tally.status["5xx"],
        "p95": None if p95_us is None else p95_us / 1_000_000,
    }


def slots_of(period: str, start: datetime, tallies: Mapping[datetime, Tally], names: set[str]) -> dict[str, Any]:
    """The slots of a day or a month, each final: `state` and `reason` as well."""
    of_each, _ = SLOTS[period]
    starts, end = [start], period_end(period, start)
    while period_end(of_each, starts[-1]) < end:
        starts.append(period_end(of_each, starts[-1]))
    slots = [slot_of(tallies.get(slot, Tally())) for slot in starts]
    offered = names | {RESULT_FIELDS[0]} if names & {*RESULT_FIELDS} else names
    columns: dict[str, Any] = {name: [slot[name] for slot in slots] for name in slots[0]}
    for name, field_name in SLOT_DEPENDS_ON.items():
        columns[name] = columns[name] if field_name in offered else None
    states = ["final" if slot["requests"] else "zero" for slot in slots]
    return columns | {"state": states, "reason": [None] * len(slots)}


def entry_of(
    period: str, start: datetime, tally: Tally, names: set[str], source_count: int, invalid: int | None
) -> dict[str, Any]:
    """An entry in the product's shape. `exact` holds what its estimates are compared with."""
    lists_us = {
        "time_taken": sorted(tally.time_taken_us),
        "ttfb": sorted(tally.ttfb_us),
        "origin": sorted(tally.origin_us),
    }
    exact_percentiles_us = {
        name: {label: rank_value(values, q) for label, q in QUANTILES.items()} for name, values in lists_us.items()
    }
    at_most = 50 if period == "30min" else 100
    top = sorted(tally.paths.items(), key=lambda item: (-item[1]["count"], item[0]))[:at_most]
    result_types, edges, methods, protocols, hosts, *_ = tally.counted
    entry: dict[str, Any] = {
        "period": period,
        "time_key": start.strftime(PERIODS[period]),
        "status": "final",
        "sources_final": True,
        "source_count": source_count,
        "window_start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window_end": period_end(period, start).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "total_requests": tally.requests,
        "status_breakdown": dict(tally.status),
        "total_bytes": tally.bytes,
        "unique_paths": len(tally.paths),
        "unique_agents": len(tally.agents),
        "unique_edges": len(edges),
        "top_paths": [top_path(path, row) for path, row in top],
        "edge_distribution": dict(edges),
        "result_types": dict(result_types),
        "result_field": ", ".join(name for name in RESULT_FIELDS if name in names),
        "methods": capped(methods),
        "protocols": capped(protocols),
        "hosts": capped(hosts),
        "cache_hit_rate": percent(tally.hits, tally.requests),
        "served_from_cache_rate": percent(tally.served, tally.requests),
        "avg_time_taken": mean_s(tally.time_taken_us),
        "avg_ttfb": mean_s(tally.ttfb_us),
        "percentiles": {
            name: {label: None if us is None else us / 1_000_000 for label, us in values.items()}
            | {"count": len(lists_us[name]), "max": max(lists_us[name]) / 1_000_000 if lists_us[name] else None}
            for name, values in exact_percentiles_us.items()
            if name != "origin"
        },
        **details_of(period, tally, edges),
        "late_records": tally.late,
        "duplicate_records": tally.duplicates,
        "invalid_records": invalid,
        "missing_fields": sorted(
            set(DEPENDS_ON) - {"c-country"} - (names | {RESULT_FIELDS[0]} if names & {*RESULT_FIELDS} else names)
        ),
        "per_minute": {k: list(v) for k, v in tally.per_minute.items()} if period == "30min" else None,
        "exact": {"paths": tally.paths, "percentiles_us": exact_percentiles_us, "unclassified": tally.unclassified},
    }
    for row in entry["top_paths"]:
        row |= {name: None for name, needed in TOP_PATH_DEPENDS_ON.items() if needed in entry["missing_fields"]}
    if "sc-bytes" in entry["missing_fields"]:
        for bot in entry["bots"]:
            bot["bytes"] = None
    for missing in (*entry["missing_fields"], *({"c-country"} - names)):
        for name in DEPENDS_ON[missing]:
            entry[name] = None
    if entry["per_minute"]:
        for name, needed in PER_MINUTE_DEPENDS_ON.items():
            if needed in entry["missing_fields"]:
                entry["per_minute"][name] = None
    return entry


def roll_up(
    windows: dict[int, Tally],
    names: set[str],
    partitions_of: Callable[[int], int] = lambda window: 1,
    invalid_by_window: dict[int, int] | None = None,
    of_archive: Container[int] = (),
) -> dict[str, dict[str, Any]]:
    """Entries of all four periods from tallies by window number (event time // 30 minutes), keyed `period/time_key`.
    When an invalid record came is not known where one of these is `of_archive`."""
    entries = {}
    sources: Counter[str] = Counter()
    finer: str | None = None
    tallies: dict[str, dict[datetime, Tally]] = {}
    for period in PERIODS:
        merged: defaultdict[datetime, Tally] = defaultdict(Tally)
        invalid: Counter[datetime] = Counter()
        unknown: set[datetime] = set()
        children: dict[datetime, set[str]] = {}
        for window, tally in sorted(windows.items()):
            start = period_start(period, window * WINDOW_MS)
            merged[start].add_all(tally)
            invalid[start] += (invalid_by_window or {}).get(window, 0)
            if window in of_archive:
                unknown.add(start)
            if finer:
                child = period_start(finer, window * WINDOW_MS)
                children.setdefault(start, set()).add(child.strftime(PERIODS[finer]))
            else:
                sources[start.strftime(PERIODS[period])] = partitions_of(window)
        for start, tally in merged.items():
            key = start.strftime(PERIODS[period])
            count = len(children[start]) if finer else sources[key]
            dropped = None if invalid_by_window is None or start in unknown else invalid[start]
            entries[f"{period}/{key}"] = entry = entry_of(period, start, tally, names, count, dropped)
            tallies.setdefault(period, {})[start] = tally
            if period in SLOTS:
                of_each, name = SLOTS[period]
                entry[name] = slots_of(period, start, tallies[of_each], names)
        finer = period
    return entries


# --- bounded input ---------------------------------------------------------------------------------------------------


class Recount(Struct):
    """Entries by `period/time_key`, and counters: records == aggregated + duplicates + the sum of `invalid`."""

    entries: dict[str, dict[str, Any]]
    records: int
    aggregated: int
    duplicates: int
    invalid: dict[str, int]


def recount(lines: bytes | Iterable[bytes], fields: Fields = "canonical", now_ms: int = 1 << 62) -> Recount:
    """Bounded input: nothing is late, duplicates are found within a window, `future` is measured from now_ms.

    `lines` is the whole input, or payloads that each hold whole lines.
    """
    reader = Line_Reader(fields)
    windows: defaultdict[int, Tally] = defaultdict(Tally)
    ids: set[tuple[int, str]] = set()
    invalid: Counter[str] = Counter()
    records = duplicates = 0
    for payload in [lines] if isinstance(lines, bytes) else lines:
        for line in record_lines(payload):
            records += 1
            record = reader.read(line)
            if not isinstance(record, str) and record.time_ms > now_ms + FUTURE_MS:
                record = "future"
            if isinstance(record, str):
                invalid[record] += 1
                continue
            window = record.time_ms // WINDOW_MS
            tally = windows[window]
            if record.request_id is not None:
                identity = (window, record.request_id)
                if identity in ids:
                    duplicates += 1
                    tally.duplicates += 1
                    continue
                ids.add(identity)
            tally.add(record)
    aggregated = sum(tally.requests for tally in windows.values())
    return Recount(roll_up(windows, reader.names), records, aggregated, duplicates, dict(invalid))


# --- stream ----------------------------------------------------------------------------------------------------------


class Partition_Counters(Struct):
    records: int = 0
    aggregated: int = 0
    duplicates: int = 0
    late: int = 0
    invalid: Counter[str] = field(default_factory=Counter)  # by reason; too_late is among them

    @property
    def too_late(self) -> int:
        return self.invalid["too_late"]


class Partition_Oracle:
    """One partition's records, in their order. The clock is the records': no batch, no wall clock."""

    def __init__(
        self,
        reader: Line_Reader,
        out_of_orderness_ms: int = 60_000,
        allowed_lateness_ms: int = 86_400_000,
        dedupe_horizon_minutes: int = 10,
        future_ms: int = FUTURE_MS,
        known_ids: dict[str, int] | None = None,
    ) -> None:
        self._reader = reader
        self._out_of_orderness_ms = out_of_orderness_ms
        self._allowed_lateness_ms = allowed_lateness_ms
        self._dedupe_horizon_minutes = dedupe_horizon_minutes
        self._future_ms = future_ms
        self.watermark_ms = BEFORE_EVERYTHING_MS
        self.arrival_max_ms = BEFORE_EVERYTHING_MS
        self.ids: dict[str, int] = dict(known_ids or {})  # id -> minute in which it last came
        self.windows: defaultdict[int, Tally] = defaultdict(partial(Tally, AGENTS_CLASSIFIED_MAX))
        self.invalid_by_window: Counter[int] = Counter()  # by window of arrival
        self.counters = Partition_Counters()

    def add(self, payload: bytes, arrival_ms: int) -> None:
        for line in record_lines(payload):
            self._add_line(line, arrival_ms)

    def _drop(self, reason: str, arrival_ms: int) -> None:
        self.counters.invalid[reason] += 1
        self.invalid_by_window[arrival_ms // WINDOW_MS] += 1

    def _add_line(self, line: bytes, arrival_ms: int) -> None:
        self.counters.records += 1
        record = self._reader.read(line)
        if isinstance(record, str):
            return self._drop(record, arrival_ms)
        if record.time_ms > arrival_ms + self._future_ms:
            return self._drop("future", arrival_ms)

        watermark_before_ms = self.watermark_ms
        newest_ms = min(record.time_ms, arrival_ms) - self._out_of_orderness_ms
        self.watermark_ms = max(self.watermark_ms, newest_ms)
        self.arrival_max_ms = max(self.arrival_max_ms, arrival_ms)

        window = record.time_ms // WINDOW_MS
        window_end_ms = (window + 1) * WINDOW_MS
        if window_end_ms + self._allowed_lateness_ms <= watermark_before_ms:
            return self._drop("too_late", arrival_ms)

        tally = self.windows[window]
        if record.request_id is not None:
            minute = self.arrival_max_ms // MINUTE_MS
            last_minute = self.ids.get(record.request_id)
            # A child's clock may start behind its parent's; an id never becomes younger than it was.
            self.ids[record.request_id] = minute if last_minute is None else max(minute, last_minute)
            if last_minute is not None and minute - last_minute <= self._dedupe_horizon_minutes:
                self.counters.duplicates += 1
                tally.duplicates += 1
                return None
        tally.add(record)
        self.counters.aggregated += 1
        if watermark_before_ms >= window_end_ms:
            tally.late += 1
            self.counters.late += 1
        return None


class Stream_Oracle:
    """Records with arrival times, partition by partition, merged into entries of all four periods.

    `timing` takes the keyword arguments of Partition_Oracle (out_of_orderness_ms and so on).
    """

    partition_class = Partition_Oracle

    def __init__(self, fields: Fields = "canonical", **timing: int) -> None:
        self._reader = Line_Reader(fields)
        self._timing = timing
        self.partitions: dict[str, Partition_Oracle] = {}

    def start(self, partition: str, parents: Sequence[str] = ()) -> Partition_Oracle:
        """A partition begins; a child knows the ids of all its parents, as they are now, and its clocks (watermark and
        newest arrival) start where the one that is furthest behind has left its own."""
        ids: dict[str, int] = {}
        for parent in parents:
            for request_id, minute in self.partitions[parent].ids.items():
                ids[request_id] = max(minute, ids.get(request_id, minute))
        fresh = self.partition_class(self._reader, known_ids=ids, **self._timing)
        if parents:
            fresh.watermark_ms = min(self.partitions[parent].watermark_ms for parent in parents)
            fresh.arrival_max_ms = min(self.partitions[parent].arrival_max_ms for parent in parents)
        self.partitions[partition] = fresh
        return fresh

    def add(self, partition: str, payload: bytes, arrival_ms: int) -> None:
        """One Kinesis record of this partition: a line, several lines, or gzip of lines, all of one arrival time."""
        (self.partitions.get(partition) or self.start(partition)).add(payload, arrival_ms)

    def entries(
        self, instead: Mapping[int, Tally] | None = None, shown: Collection[int] = ()
    ) -> dict[str, dict[str, Any]]:
        """`instead`: by window number, those that come from the archive as a whole, where nothing is invalid.
        `shown`: windows that have an entry also if nothing is known of them."""
        windows: defaultdict[int, Tally] = defaultdict(Tally)
        sources: Counter[int] = Counter()
        invalid: Counter[int] = Counter()
        for partition in self.partitions.values():
            invalid.update(partition.invalid_by_window)
            for window in partition.windows.keys() | partition.invalid_by_window.keys():
                windows[window].add_all(partition.windows.get(window, Tally()))
                sources[window] += 1
        for window in shown:
            windows.setdefault(window, Tally())
        for window, tally in (instead or {}).items():
            windows[window], sources[window] = tally, 1
        return roll_up(windows, self._reader.names, lambda window: sources[window], invalid, instead or {})

    def counters(self) -> Partition_Counters:
        """The counters of all partitions together."""
        total = Partition_Counters()
        for partition in self.partitions.values():
            for name in ("records", "aggregated", "duplicates", "late"):
                setattr(total, name, getattr(total, name) + getattr(partition.counters, name))
            total.invalid.update(partition.counters.invalid)
        return total


# --- comparison ------------------------------------------------------------------------------------------------------

EQUAL_FIELDS = (
    "period",
    "time_key",
    "status",
    "sources_final",
    "source_count",
    "total_requests",
    "status_breakdown",
    "total_bytes",
    "edge_distribution",
    "result_types",
    "result_field",
    "methods",
    "protocols",
    "hosts",
    "late_records",
    "duplicate_records",
    "invalid_records",
    "schema_version",
    "agent_classes",
    "bots",
    "browsers",
    "systems",
    "devices",
    "referrers",
    "content_types",
    "kinds",
    "page_views",
    "http_versions",
    "tls_versions",
    "cities",
    "status_codes",
    "path_groups",
    "countries",
)
TOP_LISTS = ("top_error_paths", "top_missed_paths", "top_bytes_paths")


def _moment_ms(value: Any) -> int:
    if isinstance(value, int):
        return value
    return int(datetime.fromisoformat(value).timestamp() * 1000)


def _bound(errors: Any, name: str) -> int:
    bound = (errors or {}).get(name, 0)
    return max(bound.values(), default=0) if isinstance(bound, dict) else bound


def _compare_top_paths(entry: dict[str, Any], oracle: dict[str, Any]) -> list[str]:
    expected, found, exact = oracle["top_paths"], entry["top_paths"], oracle["exact"]["paths"]
    if expected is None or found is None or len(exact) <= PATHS_EXACT_MAX:
        return [
            f"{name}: expected {oracle[name]}, found {entry[name]}"
            for name in ("top_paths", *TOP_LISTS)
            if entry[name] != oracle[name]
        ]
    bound = _bound(entry.get("errors"), "top_paths")
    differences = []
    if len(found) != len(expected) or found != sorted(found, key=lambda row: (-row["count"], row["path"])):
        differences.append(f"top_paths: expected {len(expected)}, by count descending, then path ascending")
    for row in found:
        count = exact.get(row["path"], Counter())["count"]
        if abs(count - row["count"]) > bound:
            differences.append(f"top_paths: {row['path']!r} counts {count}, found {row['count']}, bound {bound}")
    listed = {row["path"] for row in found}
    floor_count = min((row["count"] for row in found), default=0)
    for path, row in exact.items():
        if path not in listed and row["count"] > floor_count + bound:
            differences.append(f"top_paths: {path!r} with {row['count']} is missing, bound {bound}")
    return differences + _compare_cut_lists(entry, exact)


def _compare_cut_lists(entry: dict[str, Any], exact: Mapping[str, Counter[str]]) -> list[str]:
    """What the other lists may lack once paths were cut."""
    lists = {"top_missed_paths": entry["top_missed_paths"], "top_bytes_paths": entry["top_bytes_paths"]}
    differences = []
    for name, rows in lists.items():
        bound, by = _bound(entry.get("errors"), name), {"top_missed_paths": "misses", "top_bytes_paths": "bytes"}[name]
        for row in rows:
            if not exact[row["path"]][by] - bound <= row[by] <= exact[row["path"]][by]:
                differences.append(f"{name}: {row} is not within {bound} of {exact[row['path']][by]}")
    return differences


def _still_to_come(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What a day or a month says that is not over: slots that are not final say why, and what they have counted so far;
    of those without a record, nothing."""
    result = {column: values and list(values) for column, values in expected.items()}
    for place, (state, reason) in enumerate(zip(found["state"], found["reason"], strict=True)):
        if state not in ("partial", "missing") or (state == "missing" and expected["requests"][place]):
            continue
        result["state"][place], result["reason"][place] = state, reason
        for column, values in result.items():
            if state == "missing" and values and column not in ("state", "reason"):
                values[place] = None
    return result


def _compare_slots(entry: dict[str, Any], oracle: dict[str, Any]) -> list[str]:
    differences = []
    for _, name in SLOTS.values():
        expected, found = oracle.get(name), entry.get(name)
        if expected is None or found is None:
            if expected is not found:
                differences.append(f"{name}: expected {expected}, found {found}")
            continue
        if entry["status"] == "partial":
            expected = _still_to_come(expected, found)
        for column, values in expected.items():
            if column != "p95" and found[column] != values:
                differences.append(f"{name}.{column}: expected {values}, found {found[column]}")
        for exact_s, value in zip(expected["p95"] or [], found["p95"] or [], strict=True):
            close = exact_s is None or value is None or _close_us(value * 1e6, exact_s * 1e6)
            if (exact_s is None) != (value is None) or not close:
                differences.append(f"{name}.p95: {value} s is not within 1% of {exact_s} s")
    return differences


def _compare_latency(entry: dict[str, Any], oracle: dict[str, Any]) -> list[str]:
    expected, found = oracle["origin_latency"], entry["origin_latency"]
    if expected is None or found is None:
        return [] if expected is found else [f"origin_latency: expected {expected}, found {found}"]
    same = all(found[name] == expected[name] for name in ("count", "max"))
    close = (found["avg"] is None) == (expected["avg"] is None) and abs(
        (found["avg"] or 0) - (expected["avg"] or 0)
    ) <= 1e-6 + (expected["avg"] or 0) * 1e-12
    return [] if same and close else [f"origin_latency: expected {expected}, found {found}"]


def _compare_percentiles(entry: dict[str, Any], oracle: dict[str, Any]) -> list[str]:
    differences = []
    needed = {"time_taken": "time-taken", "ttfb": "time-to-first-byte", "origin": "origin-fbl"}
    for name, expected in oracle["exact"]["percentiles_us"].items():
        found = entry["origin_latency"] if name == "origin" else (entry.get("percentiles") or {}).get(name)
        if needed[name] in oracle["missing_fields"]:
            if found and any(value is not None for value in found.values()):
                differences.append(f"percentiles.{name}: expected null, its field is in no list; found {found}")
            continue
        for label in ("count", "max") if name != "origin" else ():
            exact = oracle["percentiles"][name][label]
            if (found or {}).get(label) != exact:
                differences.append(f"percentiles.{name}.{label}: expected {exact}, found {(found or {}).get(label)}")
        for label, exact_us in expected.items():
            value = (found or {}).get(label)
            if (value is None) != (exact_us is None):
                differences.append(f"percentiles.{name}.{label}: expected {exact_us} us, found {value} s")
            elif exact_us is not None and value is not None and not _close_us(value * 1e6, exact_us):
                differences.append(
                    f"percentiles.{name}.{label}: {value * 1e6:.1f} us is not within 1% of {exact_us} us"
                )
    return differences


def _close_us(value_us: float, exact_us: float) -> bool:
    """Whether a percentile is within 1% of a time, and a microsecond."""
    told_us = min(exact_us, PERCENTILE_US_MAX)
    return abs(value_us - told_us) <= told_us * 0.01 + 1.001


def compare(entry: dict[str, Any], oracle: dict[str, Any]) -> list[str]:
    """Differences between an entry of the product and the oracle's, in words; none if they agree.

    Distinct counts are exact up to 16,384, then within 2%; percentiles within 1% and a microsecond; means within a
    microsecond; the top paths exact up to 65,536 distinct paths, then within the entry's own `errors.top_paths`.
    Not compared: revision, provenance, computed_at, sampling_rate.
    """
    wanted = set(oracle) - {"exact"}
    if oracle["per_minute"] is None:
        wanted.discard("per_minute")
    absent = sorted(wanted - set(entry))
    if absent:
        return [f"fields that are not in the entry: {', '.join(absent)}"]
    differences = [
        f"{name}: expected {oracle[name]!r}, found {entry[name]!r}"
        for name in EQUAL_FIELDS
        if entry[name] != oracle[name]
    ]
    for name in ("window_start", "window_end"):
        if _moment_ms(entry[name]) != _moment_ms(oracle[name]):
            differences.append(f"{name}: expected {oracle[name]}, found {entry[name]}")
    for name in ("unique_paths", "unique_agents", "unique_edges"):
        expected, found = oracle[name], entry[name]
        slack = 0 if expected is None or expected <= UNIQUE_EXACT_MAX else expected * 0.02
        if (expected is None) != (found is None) or (expected is not None and abs(found - expected) > slack):
            differences.append(f"{name}: expected {expected} (give or take {slack:.0f}), found {found}")
    # A tie of the rounding may fall either way; half a microsecond is the rounding of six decimals.
    for name, slack in (
        ("cache_hit_rate", 0.010001),
        ("served_from_cache_rate", 0.010001),
        ("avg_time_taken", 1e-6),
        ("avg_ttfb", 1e-6),
    ):
        expected, found = oracle[name], entry[name]
        slack += abs(expected or 0) * 1e-12
        if (expected is None) != (found is None) or (expected is not None and abs(found - expected) > slack):
            differences.append(f"{name}: expected {expected}, found {found}")
    if sorted(entry["missing_fields"]) != oracle["missing_fields"]:
        differences.append(f"missing_fields: expected {oracle['missing_fields']}, found {entry['missing_fields']}")
    unclassified = None if "cs-user-agent" in oracle["missing_fields"] else oracle["exact"]["unclassified"]
    found = (entry.get("errors") or {}).get("agent_classes", 0)
    if found != unclassified:
        differences.append(f"errors.agent_classes: expected {unclassified}, found {found}")
    if entry.get("missing_sources"):
        differences.append(f"missing_sources: expected none in a final entry, found {entry['missing_sources']}")
    if oracle["per_minute"] is None:
        if entry.get("per_minute"):
            differences.append("per_minute: only 30min entries have it")
    else:
        for name, minutes in oracle["per_minute"].items():
            found = (entry["per_minute"] or {}).get(name)
            if found != minutes:
                differences.append(f"per_minute.{name}: expected {minutes}, found {found}")
    differences += _compare_top_paths(entry, oracle) + _compare_percentiles(entry, oracle)
    return differences + _compare_latency(entry, oracle) + _compare_slots(entry, oracle)


def compare_all(entries: Iterable[dict[str, Any]], oracle: dict[str, dict[str, Any]]) -> list[str]:
    """Both directions: every entry of the product against the oracle's, and every key of the oracle found."""
    by_key: dict[str, dict[str, Any]] = {}
    differences = []
    for entry in entries:
        key = f"{entry['period']}/{entry['time_key']}"
        if key in by_key:
            differences.append(f"{key}: came twice")
        by_key[key] = entry
    differences += [f"{key}: not expected" for key in sorted(by_key.keys() - oracle.keys())]
    differences += [f"{key}: missing" for key in sorted(oracle.keys() - by_key.keys())]
    for key in sorted(by_key.keys() & oracle.keys()):
        differences += [f"{key}: {difference}" for difference in compare(by_key[key], oracle[key])]
    return differences
