"""What a value of a field looks like: one generous pattern a field, whether a list is to be found or a line doubted.

A pattern takes every value that AWS documents for the field, and leaves room for new ones. Of what a client chooses
(agent, referer, cookie, query) it only says what is typically another field's. Fields without a pattern hold any text.
"""

import re
from functools import cache, lru_cache

from sa_stream.records.fields import MISSING, NO_VALUE, Field_List

_WHOLE = r"\s*[+-]?(?:\d+(?:[eE][+-]?\d+)?|nan|inf)\s*"
_DECIMAL = r"\s*[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|nan|inf)\s*"
_IP = r"\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]*(?::|%3[aA])(?:[0-9a-fA-F.:]|%3[aA])*"
_RESULT = r"(?=[A-Z0-9]*[a-z])[A-Z][A-Za-z0-9]{1,63}"
_DOMAIN = r"(?!\d+\.\d+\Z)[^/\s%=;,@()]*[.:][^/\s=;,@()]*"
# What only CloudFront writes, and no column of free text is full of.
_WRITTEN = (
    r"(?:HTTP/\d|IPv[46]\Z|(?:TLS|SSL)v\d|TLS_|(?:https?|wss?|grpcs?)\Z|[A-Z]{2}\Z|[A-Z]{3}\d+-[A-Z]+\d+\Z"
    r"|[A-Za-z0-9_-]{54}==\Z"
    r"|(?:Refresh|OriginShield)?Hit\Z|(?:Miss|Error|Redirect|LimitExceeded|CapacityExceeded)\Z|Function[A-Z]\w+\Z)"
)
_FREE = rf"(?!Mozilla/|(?:gzip|br|deflate|identity)\b|\*/\*|text/html\b|{_WRITTEN})"
_NOT_AGENT = rf"(?!Mozilla/|[A-Za-z-]+/\d|{_WRITTEN})"
_NO_NUMBER = r"(?!\d+(?:\.\d*)?\Z)"
_NO_PATH = r"(?!/)"
_STATUS = r"000|1\d\d|20[0-8]|226|30[0-8]|4(?:0\d|1[0-8]|2[1-9]|31|51|99)|50\d|511|52\d"
_TOKEN = _FREE + r"[^/\s()]+"

_SHAPES: dict[str, str] = {
    "timestamp": r"\d{10}(?:\.\d*)?",
    "c-ip": _IP,
    "s-ip": _IP,
    "time-to-first-byte": _DECIMAL,
    "sc-status": r"\d{3}",
    "sc-bytes": _WHOLE,
    "cs-method": r"[A-Z][A-Z-]{1,30}",
    "cs-protocol": r"[a-z][a-z0-9+-]{1,11}",
    "cs-host": _DOMAIN,
    "cs-uri-stem": r"(?:/|\*\Z|(?i:https?|wss?)(?::|%3[Aa])).*",
    "cs-bytes": _WHOLE,
    "x-edge-location": r"[A-Z]{3}[A-Z-]{0,8}\d[A-Z0-9-]{0,16}",
    "x-edge-request-id": r"(?!/)[A-Za-z0-9_+/=%:~-]+",
    "x-host-header": _DOMAIN,
    "time-taken": _DECIMAL,
    "cs-protocol-version": r"(?i:[a-z]{2,8}/\d{1,2}(?:\.\d{1,2})?)",
    "c-ip-version": r"(?i:ipv\d)",
    "cs-user-agent": rf"(?!{_WRITTEN})" + _NO_NUMBER + _NO_PATH + r"(?!(?i:https?:)|[\w.%-]+=[^()]*\Z).*",
    "cs-referer": _NOT_AGENT + _NO_NUMBER + r".*",
    "cs-cookie": _NOT_AGENT + r"(?!(?i:https?:)).*=.*",
    "cs-uri-query": _NOT_AGENT + _NO_PATH + r"(?!(?i:https?://)|.*(?:;|%3[bB])(?:%20|\s|\+)).*",
    "x-edge-response-result-type": _RESULT,
    "x-forwarded-for": rf"(?:{_IP}|unknown)(?:(?:,|%2[cC]|%20|\s)+(?:{_IP}|unknown))*",
    "ssl-protocol": r"(?:D?TLS|SSL|QUIC)[A-Za-z]{0,3}[\d.]{0,5}",
    "ssl-cipher": r"[A-Z0-9]+(?:[_-][A-Za-z0-9]+)+",
    "x-edge-result-type": _RESULT,
    "fle-encrypted-fields": _WHOLE,
    "fle-status": r"[A-Z][A-Za-z]+(?:Error|Args|Type|Profile|Processed|Exceeded)|Processed",
    "sc-content-type": rf"(?!Mozilla/|{_WRITTEN})" + r"[^/\s]*[A-Za-z][^/\s]*(?:/|%2[fF]).*",
    "sc-content-len": _WHOLE,
    "sc-range-start": _WHOLE,
    "sc-range-end": _WHOLE,
    "c-port": r"\d{1,5}",
    "x-edge-detailed-result-type": _RESULT,
    "c-country": r"[A-Z]{2}|T1",
    "cs-accept-encoding": r"[a-z*][a-zA-Z0-9;=.,:%* +-]*",
    "cs-accept": rf"(?!Mozilla/|{_WRITTEN})" + r"[^/\s]*(?:/|%2[fF]).*|\*",
    "cache-behavior-path-pattern": _FREE + r"(?![^/]*(?::|%0[aA])).*[*/?.].*",
    "cs-headers": r"[A-Za-z0-9_.:-]+(?::|%3[aA]).*",
    "cs-header-names": r"[A-Za-z0-9_.-]+(?:%0[aA]|%0[dD]|,|\n).*",
    "cs-headers-count": _WHOLE,
    "primary-distribution-id": r"[A-Z0-9]{8,20}",
    "primary-distribution-dns-name": _DOMAIN,
    "origin-fbl": _DECIMAL,
    "origin-lbl": _DECIMAL,
    "asn": r"(?:AS)?\d{1,10}",
    "cmcd-encoded-bitrate": _DECIMAL,
    "cmcd-buffer-length": _DECIMAL,
    "cmcd-buffer-starvation": r"(?i:true|false|1|0|bs)",
    "cmcd-content-id": _TOKEN,
    "cmcd-object-duration": _DECIMAL,
    "cmcd-deadline": _DECIMAL,
    "cmcd-measured-throughput": _DECIMAL,
    "cmcd-next-range-request": r"%?2?2?\"?\d*-\d*(?:%22)?\"?",
    "cmcd-object-type": r"[a-z]{1,3}",
    "cmcd-playback-rate": _DECIMAL,
    "cmcd-requested-maximum-throughput": _DECIMAL,
    "cmcd-streaming-format": r"[a-z]",
    "cmcd-session-id": _TOKEN,
    "cmcd-stream-type": r"[a-z]",
    "cmcd-startup": r"(?i:true|false|1|0|su)",
    "cmcd-top-bitrate": _DECIMAL,
    "cmcd-version": r"\d+(?:\.\d+)?",
    "cmcd-next-object-request": _FREE + r".*",
    "r-host": _DOMAIN,
    "sr-reason": _TOKEN,
    "x-edge-mqcs": _FREE + r".*",
    "distribution-tenant-id": r"dt_[A-Za-z0-9]+",
    "connection-id": _FREE + r"(?!/)[A-Za-z0-9_+/=%:~-]{4,}",
    "viewer-request-log-data": _FREE + r".*",
    "viewer-response-log-data": _FREE + r".*",
}

# The columns that CloudFront itself fills and that can be told from others. Method and host are a client's choice, and
# whoever sends odd ones must not make his records malformed. Those that are read anyway come first.
RECOGNISED: tuple[str, ...] = (
    "cs-protocol",
    "x-edge-location",
    "x-edge-result-type",
    "x-edge-response-result-type",
    "x-edge-detailed-result-type",
    "cs-protocol-version",
    "ssl-protocol",
    "ssl-cipher",
    "x-edge-request-id",
)

MISFITS_MIN = 2  # so many of them make a record malformed: a single one may be a value that is new
WITNESSES = 3  # so many of them are looked at in every record

# What is so in practice, and what tells columns apart where a list is to be found; no line is doubted for it.
TYPICAL: dict[str, re.Pattern[str]] = {
    "cs-protocol": re.compile(r"https?|wss?|grpcs?"),
    "x-edge-request-id": re.compile(r".{20,}", re.DOTALL),
    "time-to-first-byte": re.compile(r"\d+\.\d+"),
    "time-taken": re.compile(r"\d+\.\d+"),
    "origin-fbl": re.compile(r"\d+\.\d+"),
    "origin-lbl": re.compile(r"\d+\.\d+"),
    "sc-status": re.compile(_STATUS),
    "sc-bytes": re.compile(rf"(?!(?:{_STATUS})\Z).*"),  # sizes may have three digits, and are no statuses for long
    "sc-content-type": re.compile(r"[^*,]*"),
    "cs-accept": re.compile(r".*[*,].*"),
}

# Those, and numbers that CloudFront writes: a record in which two of them cannot be contradicts the list.
FIRM: tuple[str, ...] = (*RECOGNISED, "timestamp", "sc-status", "sc-bytes", "time-taken", "time-to-first-byte")

# Names for what is in a column, in the order in which they are tried; for messages, which must not show values.
_KINDS = (
    ("epoch seconds", r"\d{10}(?:\.\d*)?"),
    ("three digits", r"\d{3}"),
    ("digits", r"\d+"),
    ("decimal", r"\d*\.\d*"),
    ("IP address", r"\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*"),
    ("protocol", r"(?i:https?|wss?|grpcs?)"),
    ("HTTP version", r"(?i:http/\d(?:\.\d)?)"),
    ("TLS version", r"(?:TLS|SSL)v[\d.]+"),
    ("capitals", r"[A-Z][A-Z-]*"),
    ("edge location", r"[A-Z]{3}\d+(?:-[A-Z]+\d*)?"),
    ("cipher", r"(?:TLS_|[A-Z0-9]+-)[A-Z0-9_-]+"),
    ("result type", r"(?:[A-Z][a-z]+)+"),
    ("URL", r"(?i:https?|wss?)(?::|%3[Aa]).*"),
    ("path", r"/.*"),
    ("long id", r"[A-Za-z0-9_-]{30,}={0,2}"),
    ("text", r".*"),
)


def kind_of(value: str) -> str:
    """What a value looks like, in a word or two that tell nothing of whom it is about; `-` for a missing one."""
    if value in MISSING:
        return NO_VALUE
    return next(kind for kind, shape in _KINDS if re.fullmatch(shape, value, re.DOTALL))


def recognised(fields: Field_List) -> tuple[str, ...]:
    """The recognised columns that a list has and does not drop."""
    return tuple(name for name in RECOGNISED if fields.index(name) is not None)


def witnesses(fields: Field_List) -> tuple[str, ...]:
    """Those that are looked at in every record; none of a list in which too few are recognised to doubt a record."""
    names = recognised(fields)
    return names[:WITNESSES] if len(names) >= MISFITS_MIN else ()


def cannot_be(field: str, value: str | None) -> bool:
    """Whether a value can be none of this field. A missing one (None, empty, `-`) can be any field's."""
    if value is None or value in MISSING:
        return False
    return _strange(field, value) if len(value) <= 64 else not _fits(field, value)


def _fits(field: str, value: str) -> bool:
    shape = _shape(field)
    return shape is None or shape.fullmatch(value) is not None


@cache  # most columns of most lists are never asked for
def _shape(field: str) -> re.Pattern[str] | None:
    return re.compile(_SHAPES[field], re.DOTALL | re.ASCII) if field in _SHAPES else None


@lru_cache(maxsize=4_096)
def _strange(field: str, value: str) -> bool:
    return not _fits(field, value)
