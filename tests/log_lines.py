"""Log lines for tests: hypothesis strategies for hostile and ordinary files, and bulk lines from a seed.

Independent of the product's own generator. A line is built from a mapping of field name to text, in the order of a
field list, so that the same traffic can be written in any list.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from hypothesis import strategies as st

from tests.oracle import CANONICAL, LINE_BYTES_MAX


def _epoch_s(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


# Moments around which windows, hours, days, months and years change.
EDGES_S = [
    _epoch_s(2026, 1, 1),
    _epoch_s(2026, 2, 16, 14, 30),
    _epoch_s(2026, 3, 1),
    _epoch_s(2026, 10, 31, 23, 30),
    _epoch_s(2028, 2, 29),
    _epoch_s(2028, 3, 1),
    _epoch_s(2026, 12, 31, 12),
]
NOW_MS = _epoch_s(2029, 1, 1) * 1000  # the clock that these files are replayed at

RESULT_TYPES = [
    "Hit",
    "RefreshHit",
    "OriginShieldHit",
    "Miss",
    "LimitExceeded",
    "CapacityExceeded",
    "Error",
    "Redirect",
    "FunctionGeneratedResponse",
]
DEFAULTS = {
    "sc-status": "200",
    "sc-bytes": "1000",
    "cs-method": "GET",
    "cs-protocol": "https",
    "cs-protocol-version": "HTTP/2.0",
    "cs-host": "www.example.org",
    "cs-uri-stem": "/",
    "cs-user-agent": "Mozilla/5.0%20Chrome/120.0.0.0%20Safari/537.36",
    "x-edge-location": "LHR62-C1",
    "x-edge-result-type": "Hit",
    "x-edge-response-result-type": "Hit",
    "time-taken": "0.125",
    "time-to-first-byte": "0.050",
    "ssl-protocol": "TLSv1.3",
    "ssl-cipher": "TLS_AES_128_GCM_SHA256",
}


def line_of(values: Mapping[str, str], fields: Sequence[str] = CANONICAL) -> bytes:
    """One line without its end; fields that `values` lacks get an ordinary value, or `-`."""
    return "\t".join(values.get(name, DEFAULTS.get(name, "-")) for name in fields).encode("utf-8")


def mostly[T](usual: st.SearchStrategy[T], *odd: st.SearchStrategy[T], tenths: int = 2) -> st.SearchStrategy[T]:
    """The usual, and in so many of ten draws one of the odd ones (`one_of` alone would weigh them all alike)."""
    return st.integers(min_value=0, max_value=9).flatmap(lambda draw: st.one_of(*odd) if draw >= 10 - tenths else usual)


# --- hostile and ordinary files --------------------------------------------------------------------------------------

_fractions = st.sampled_from(["", ".0", ".000", ".001", ".123", ".1239", ".999", ".9999", ".5000000000000000000001"])
_offsets_s = st.one_of(
    st.sampled_from([-1800, -1799, -1, 0, 1, 59, 60, 1799, 1800]), st.integers(min_value=-7200, max_value=7200)
)


@st.composite
def _plain_timestamps(draw: st.DrawFn) -> str:
    return f"{draw(st.sampled_from(EDGES_S)) + draw(_offsets_s)}{draw(_fractions)}"


_bad_timestamps = st.sampled_from(
    [
        "-",
        "",
        "1767225600.",
        ".5",
        "176722560",
        "17672256000",
        "1767225600,5",
        " 1767225600",
        "1767225600 ",
        "+1767225600",
        "1.7672256e9",
        "-1767225600",
        "nan",
        "4102444800",
        "9999999999.9",
        "２０２６０２１６１４",
        "1767225600.٣",
        "2026-02-16T14:30:00Z",
        "1767225600\r",
        "1767225600\x00",
    ]
)
_limits = st.sampled_from(
    [
        "0000000000",
        "4102444799.999",
        f"{NOW_MS // 1000 + 300}.000",
        f"{NOW_MS // 1000 + 300}.0009",
        f"{NOW_MS // 1000 + 300}.001",
    ]
)
timestamps = mostly(_plain_timestamps(), _limits, _bad_timestamps, tenths=1)

statuses = mostly(
    st.sampled_from(["200", "206", "301", "304", "403", "404", "499", "500", "503", "000"]),
    st.sampled_from(["100", "999", "099", "abc", "20", "2000", "", "-", "２００", "2e2", " 200", "200\r", "٢٠٠"]),
)
_odd_numbers = st.sampled_from(
    [
        "-",
        "",
        "1e3",
        "nan",
        "inf",
        "+5",
        " 5",
        "5 ",
        "-1",
        "12.5",
        "12.",
        ".5",
        "0x10",
        "1_000",
        "٣",
        "5\r",
        "1,5",
        "00012",
    ]
)
sizes = st.one_of(
    st.integers(min_value=0, max_value=10**7).map(str),
    _odd_numbers,
    st.sampled_from(
        ["99999999999999999999", "0", "9" * 30, "9" * 31, "9007199254740993", "7." + "1" * 29, "7." + "1" * 30]
    ),
)
seconds = st.one_of(
    st.decimals(min_value=0, max_value=100, places=3).map(str),
    st.integers(min_value=0, max_value=10**9).map(lambda us: f"{us // 10**6}.{us % 10**6:06}"),
    _odd_numbers,
    st.sampled_from(["0", "0.000", "0.0000005", "0.0000015", "0.00000150000001", "0.1234565", "86400.5", "0.000001"]),
)

SECRETS = [
    "192.0.2.17",
    "10.0.0.1:8080",
    "2001:db8::1",
    "[2001:db8::2]",
    "::ffff:192.0.2.1",
    "1:2:3:4:5:6:7:8",
    "jane.doe+x@example.org",
    "jörg@exämple.de",
    "a@b.de",
    "john@10.0.0.1",
]
INNOCENT = [
    "1.2.3.4.5",
    "v1.2.3.4",
    "256.1.1.1",
    "12:30:45",
    "std::vec",
    "::",
    "react@18.2.0",
    "@scope",
    "a@b",
    "%",
    "%zz",
    "%41",
    "%2",
    "%C3",
    "%ff%fe",
    "%00",
    "%0a",
    "%3Fx=1",
    "100%25",
    "ümlaut",
    "\U0001f600",
    "日本",
    '"',
    "'",
    "\\",
    "#",
    ",",
    "|",
    "\x0b",
    "\x85",
    "\u2028",
    "\ufeff",
]


def percent_encoded(text: str, times: int, everything: bool = False) -> str:
    """The text percent-encoded this many times: all of its bytes, or those that need it."""
    for _ in range(times):
        text = "".join(f"%{byte:02X}" for byte in text.encode()) if everything else quote(text, safe="")
    return text


@st.composite
def _segments(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SECRETS + INNOCENT) | st.text(alphabet="abz019.:@%-_~/ ", max_size=12))
    return percent_encoded(text, draw(st.integers(min_value=0, max_value=2)), draw(st.booleans()))


@st.composite
def hostile_paths(draw: st.DrawFn) -> str:
    path = "/" + "/".join(draw(st.lists(_segments(), max_size=3)))
    query = draw(st.sampled_from(["", "", "?", "?token=abc", "?a=1?b=2", "?mail=jane@example.org"]))
    return path + query


paths = mostly(
    st.sampled_from(["/", "/index.html", "/a", "/b", "/B", "/%61", "/a%20b", "/a?x=1"]),
    hostile_paths(),
    hostile_paths(),
    st.sampled_from(["-", "", "?x", "-?x", "*", "/" + "x" * 2047, "/" + "x" * 2048, "/" + "é" * 2050 + "?q"]),
    st.sampled_from(["/192.0.2.1/" + "y" * 2050, "/" + "%2e" * 1000]),
    tenths=6,
)
agents = st.sampled_from(
    [
        "-",
        "",
        "curl/8.5.0",
        "Mozilla/5.0%20Chrome/120.0.0.0",
        "Mozilla/5.0%20Chrome/121.0.0.0",
        '"quoted',
        "a\x00b",
        "Ünï",
        "Mozilla/5.0%20(compatible;%20Googlebot/2.1;%20+http://www.google.com/bot.html)",
        "Mozilla/5.0%20(compatible;%20GPTBot/1.2;%20+https://openai.com/gptbot)",
        "Mozilla/5.0%20(iPhone;%20CPU%20iPhone%20OS%2018_1%20like%20Mac%20OS%20X)%20AppleWebKit/605.1.15"
        "%20(KHTML,%20like%20Gecko)%20Version/18.1%20Mobile/15E148%20Safari/604.1",
        "Mozilla/5.0%2520(Windows%2520NT%252010.0;%2520Win64;%2520x64;%2520rv:131.0)%2520Gecko/20100101%2520Firefox/131.0",
        "some-crawler/1.0",
    ]
)
referers = st.sampled_from(
    [
        *(
            "-",
            "",
            "https://www.example.org/private/path?secret=1",
            "https://WWW.Example.org:443/",
            "http://10.0.0.1/x",
        ),
        *("https://search.example.net/?q=jane", "android-app://com.example.app/", "https://a@b.example:8443/", "//x"),
        *(
            "https%3A%2F%2Fencoded.example%2Fx",
            "garbage",
            "https://",
            "https://[2001:db8::1]/",
            "HTTPS://Other.example#x",
        ),
    ]
)
content_types = st.sampled_from(
    [
        *("-", "", "text/html", "Text/HTML;%20charset=utf-8", "application/json", "image/png", "text/plain", "odd"),
        *("application/octet-stream", "text/event-stream", "application/pdf", "font/woff2", "x/" + "y" * 300),
    ]
)
versions = st.sampled_from(["HTTP/2.0", "HTTP/3.0", "HTTP/1.1", "-", ""])
tls_versions = st.sampled_from(["TLSv1.3", "TLSv1.2", "-", ""])
hosts = st.sampled_from(
    ["www.example.org", "WWW.example.org", "-", "", "192.0.2.1", "[2001:db8::1]", "x" * 300, "jane@example.org"]
)
methods = st.sampled_from(["GET", "HEAD", "POST", "get", "-", "", "PURGE", "(other)"])
protocols = st.sampled_from(["https", "http", "ws", "wss", "WSS", "-", ""])
edge_locations = st.sampled_from(["LHR62-C1", "FRA56-P3", "-", "", "edge:192.0.2.9"])
result_types = st.sampled_from([*RESULT_TYPES, "hit", "Hit ", "-", "", "Tomorrow's"])
request_ids = mostly(
    st.sampled_from(["same-1", "same-2", "same-3", "-", ""]),
    st.integers(min_value=0, max_value=10**9).map("id-{}==".format),
)
free_texts = st.one_of(
    st.sampled_from(["-", "", '"', '""', '"a', "#", "\x00", "\r", " ", "a\rb", "'"]),
    st.text(alphabet=st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), max_size=20),
)

VALUES = {
    "timestamp": timestamps,
    "sc-status": statuses,
    "sc-bytes": sizes,
    "cs-method": methods,
    "cs-protocol": protocols,
    "cs-host": hosts,
    "cs-uri-stem": paths,
    "x-edge-location": edge_locations,
    "x-edge-request-id": request_ids,
    "x-edge-result-type": result_types,
    "cs-user-agent": agents,
    "time-taken": seconds,
    "time-to-first-byte": seconds,
    "cs-referer": st.one_of(referers, free_texts),
    "sc-content-type": st.one_of(content_types, free_texts),
    "cs-protocol-version": versions,
    "ssl-protocol": tls_versions,
    "origin-fbl": seconds,
    "origin-lbl": free_texts,
}


@st.composite
def record_lines(draw: st.DrawFn, fields: Sequence[str] = CANONICAL) -> bytes:
    """A line of the right number of fields, some of them odd, without its end."""
    odd = draw(st.sets(st.sampled_from([name for name in fields if name in VALUES]), max_size=6))
    values = {name: draw(VALUES[name]) for name in odd | {"timestamp", "x-edge-request-id", "cs-uri-stem"}}
    return line_of(values, fields)


@st.composite
def dirty_lines(draw: st.DrawFn, fields: Sequence[str] = CANONICAL) -> bytes:
    """A line with something broken that is not one value: bytes, number of fields, comments, emptiness.

    Noise never holds 0x1f: a buffer that begins like a gzip file is one.
    """
    line = draw(record_lines(fields))
    kind = draw(st.integers(min_value=0, max_value=11))
    at = draw(st.integers(min_value=0, max_value=len(line)))
    if kind == 0:
        return line + b"\t" + draw(st.sampled_from([b"", b"-", b"extra", b"\t"]))
    if kind == 1:
        return line.rpartition(b"\t")[0]
    if kind == 2:
        broken = draw(st.sampled_from([b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf"]))
        return line[:at] + broken + line[at:]
    if kind == 3:
        return line[:at] + draw(st.sampled_from([b"\x00", b'"', b"\r", b"\r\r", b"\xef\xbb\xbf", b"\t"])) + line[at:]
    if kind == 4:
        return b"#" + line
    if kind == 5:
        return draw(
            st.sampled_from([b"#Version: 1.0", b"#Fields:\ta\tb", b" ", b"\t", b"-", b"\x00", b"\r\r", b'"\t"'])
        )
    if kind == 6:
        return b""
    if kind == 7:
        return b"\t" * (len(fields) - 1)
    if kind == 8:
        return draw(st.binary(max_size=60).map(lambda noise: noise.translate(None, b"\n\x1f")))
    if kind == 9:
        return line + b"\r"
    if kind == 10:
        return b"\t".join([b"-"] * len(fields))
    return b"\xef\xbb\xbf" + line


# Around the longest line that is allowed; the referer carries the weight. Built once: each is a megabyte.
def long_line(total_bytes: int, fields: Sequence[str] = CANONICAL) -> bytes:
    bare = line_of({"timestamp": "1771252200.5", "cs-referer": ""}, fields)
    return line_of({"timestamp": "1771252200.5", "cs-referer": "r" * (total_bytes - len(bare))}, fields)


LONG_LINES = [long_line(LINE_BYTES_MAX), long_line(LINE_BYTES_MAX + 1), long_line(LINE_BYTES_MAX) + b"\r"]


@st.composite
def log_files(draw: st.DrawFn, fields: Sequence[str] = CANONICAL, lines_max: int = 60, long: bool = True) -> bytes:
    """A whole file: mostly record lines, some twice, some dirt, either kind of line end, perhaps none at the end."""
    lines_min = draw(st.sampled_from([0, lines_max // 4, lines_max // 2]))
    lines = draw(st.lists(mostly(record_lines(fields), dirty_lines(fields)), min_size=lines_min, max_size=lines_max))
    if lines:
        repeated = draw(st.lists(st.sampled_from(lines), max_size=8))
        places = [draw(st.integers(min_value=0, max_value=len(lines))) for _ in repeated]
        for line, place in zip(repeated, places, strict=True):
            lines.insert(place, line)
    if long and list(fields) == CANONICAL and draw(st.integers(min_value=0, max_value=19)) == 19:
        lines.insert(draw(st.integers(min_value=0, max_value=len(lines))), draw(st.sampled_from(LONG_LINES)))
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    text = end.join(lines)
    if draw(st.integers(min_value=0, max_value=9)) == 9:
        text = b"\xef\xbb\xbf" + text
    return text + draw(st.sampled_from([end, end, b""]))


@st.composite
def chunked(draw: st.DrawFn, content: bytes) -> list[bytes]:
    """The content cut behind some of its line ends (a buffer holds whole lines), with empty buffers in between."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    cuts = sorted(draw(st.lists(st.integers(min_value=0, max_value=len(lines)), max_size=6)))
    return [b"".join(lines[a:b]) for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]


def buffers_of(content: bytes, size_bytes: int) -> list[bytes]:
    """The content in buffers of about this size, cut behind line ends."""
    buffers, start = [], 0
    while start < len(content):
        end = content.find(b"\n", start + size_bytes) + 1
        end = end if end else len(content)
        buffers.append(content[start:end])
        start = end
    return buffers


# --- bulk ------------------------------------------------------------------------------------------------------------


def _ordinary(rng: random.Random, start_s: float, hours: float, number: int) -> dict[str, str]:
    time_s = start_s + rng.random() * hours * 3600
    status = rng.choices(
        ["200", "206", "301", "304", "403", "404", "500", "503", "000"], [70, 3, 3, 10, 2, 8, 2, 1, 1]
    )[0]
    result = rng.choices(RESULT_TYPES, [60, 5, 5, 20, 1, 1, 4, 3, 1])[0]
    path = f"/p/{int(rng.paretovariate(0.8)) % 50_000}"
    odd = rng.random()
    if odd < 0.01:
        path = f"/u/{percent_encoded(rng.choice(SECRETS), rng.randrange(3))}/profile"
    elif odd < 0.05:
        path += f"?session={number}"
    taken_us = int(rng.lognormvariate(11, 1.5))
    return {
        "timestamp": f"{time_s:.3f}",
        "sc-status": status,
        "sc-bytes": str(int(rng.lognormvariate(8, 2))) if rng.random() > 0.01 else "-",
        "cs-method": rng.choices(["GET", "HEAD", "POST", "OPTIONS"], [90, 4, 5, 1])[0],
        "cs-protocol": rng.choices(["https", "http", "wss"], [95, 4, 1])[0],
        "cs-host": rng.choice(["www.example.org", "cdn.example.org", "api.example.org"]),
        "cs-uri-stem": path,
        "x-edge-location": f"{rng.choice(['LHR', 'FRA', 'IAD', 'NRT'])}{rng.randrange(1, 9)}-P{rng.randrange(1, 4)}",
        "x-edge-request-id": f"{rng.getrandbits(128):032x}==" if rng.random() > 0.005 else "-",
        "x-edge-result-type": result,
        "cs-user-agent": f"Mozilla/5.0%20Chrome/{rng.randrange(90, 130)}.0.0.{rng.randrange(50)}",
        "time-taken": f"{taken_us / 1e6:.3f}" if rng.random() > 0.01 else "-",
        "time-to-first-byte": f"{taken_us * rng.random() / 1e6:.3f}",
        "cs-referer": "-" if rng.random() < 0.5 else "https://www.example.org/",
    }


def ordinary_lines(
    seed: int,
    count: int,
    start_s: float = EDGES_S[1],
    hours: float = 6,
    fields: Sequence[str] = CANONICAL,
    duplicate_rate: float = 0.01,
    dirt_rate: float = 0.002,
) -> bytes:
    """This many lines of ordinary traffic (some duplicates among them, a little dirt), in no order of time."""
    rng = random.Random(seed)
    lines: list[bytes] = []
    while len(lines) < count:
        chance = rng.random()
        if lines and chance < duplicate_rate:
            lines.append(rng.choice(lines))
        elif chance < duplicate_rate + dirt_rate:
            lines.append(rng.choice([b"garbage", b"\t".join([b"-"] * len(fields)), b"\xff\t" * (len(fields) - 1)]))
        else:
            lines.append(line_of(_ordinary(rng, start_s, hours, len(lines)), fields))
    return b"\n".join(lines) + b"\n"
