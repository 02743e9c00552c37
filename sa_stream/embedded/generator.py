"""Synthetic CloudFront real-time log lines: a seed and a span of time come in, chunks of TAB-separated lines go out, in
the order of their arrival.

Traffic has a daily rhythm and heavy-tailed paths and agents; dirt, duplicates and late records come by option. A line
is a function of the seed, the span and its place in it, so the same call gives the same bytes, however they are cut.
Below `Traffic` are the places that lines can be put: the in-memory Kinesis, a real stream, a file.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct

from sa_stream.embedded import visitors
from sa_stream.errors import Config_Error, Field_List_Error
from sa_stream.records.fields import CANONICAL, PRESETS
from sa_stream.timing import HOUR_MS, MINUTE_MS

type Ints = npt.NDArray[np.int64]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_BLOCK_LINES = 16_384  # lines are made in blocks of this size, each with random numbers of its own
_PATHS = 50_000
_QUERIES = 5_000
_REFERRING_PAGES = 400

# Requests in each hour of a day (UTC), relative to the others.
_HOURS = np.array([5, 4, 3, 3, 3, 4, 6, 8, 10, 12, 13, 13, 13, 13, 13, 13, 12, 12, 13, 14, 13, 11, 9, 7], np.float64)

# (x-edge-result-type, x-edge-response-result-type, sc-status, weight in 10,000)
_OUTCOMES = (
    ("Hit", "Hit", "200", 6_700),
    ("Hit", "Hit", "206", 300),
    ("Hit", "Hit", "304", 500),
    ("RefreshHit", "RefreshHit", "200", 350),
    ("RefreshHit", "RefreshHit", "304", 150),
    ("OriginShieldHit", "OriginShieldHit", "200", 150),
    ("Miss", "Miss", "200", 1_030),
    ("Miss", "Miss", "404", 120),
    ("Miss", "Error", "500", 20),
    ("Error", "Error", "404", 150),
    ("Error", "Error", "403", 90),
    ("Error", "Error", "400", 20),
    ("Error", "Error", "502", 20),
    ("Error", "Error", "503", 15),
    ("Error", "Error", "504", 15),
    ("Error", "Error", "000", 40),
    ("Redirect", "Redirect", "301", 150),
    ("Redirect", "Redirect", "302", 50),
    ("LimitExceeded", "LimitExceeded", "503", 10),
    ("CapacityExceeded", "CapacityExceeded", "503", 10),
    ("FunctionGeneratedResponse", "FunctionGeneratedResponse", "200", 60),
    ("FunctionGeneratedResponse", "FunctionGeneratedResponse", "302", 20),
    ("FunctionExecutionError", "FunctionExecutionError", "503", 10),
    ("FunctionThrottledError", "FunctionThrottledError", "503", 10),
    ("-", "-", "200", 10),
)
_NO_RESPONSE = next(i for i, outcome in enumerate(_OUTCOMES) if outcome[2] == "000")
_MISSES = [i for i, outcome in enumerate(_OUTCOMES) if outcome[0] == "Miss"]

_METHODS = {"GET": 900, "POST": 50, "HEAD": 25, "OPTIONS": 15, "PUT": 5, "DELETE": 3, "PATCH": 1, "-": 1}
_PROTOCOLS = {"https": 9_700, "http": 250, "wss": 40, "ws": 10}
_WEBSOCKETS = [i for i, name in enumerate(_PROTOCOLS) if name.startswith("ws")]
_PROTOCOL_VERSIONS = {"HTTP/2.0": 600, "HTTP/3.0": 200, "HTTP/1.1": 198, "HTTP/1.0": 2}
_HOSTS = {"www.example.com": 600, "static.example.com": 250, "docs.example.com": 100, "api.example.com": 48, "-": 2}
_CIPHERS = {"TLS_AES_128_GCM_SHA256": 80, "TLS_AES_256_GCM_SHA384": 15, "TLS_CHACHA20_POLY1305_SHA256": 5}
_ENCODINGS = {"gzip,%20deflate,%20br,%20zstd": 70, "gzip,%20deflate,%20br": 20, "gzip": 6, "-": 4}
_ACCEPTS = {
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": 30,
    "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8": 30,
    "*/*": 38,
    "-": 2,
}
_WORDS = _names(
    "about account api archive article assets author blog cart catalog category checkout css docs download events faq "
    "feed fonts gallery guide help home icons images item js lang legal login media news orders page pricing press "
    "products profile reviews search settings shop static support tags team topics users v1 v2 video"
)
_ENDINGS = ("", "", "/", ".html", ".js", ".css", ".webp", ".png", ".json", ".svg", ".woff2") * 4 + (".pdf", ".zip")
_ENCODED = ("%20copy", "%C3%A9t%C3%A9", "%E6%97%A5%E6%9C%AC", "%2Fnested", "%28old%29")
_CITIES = _names("AMS ARN ATL BOM CDG DFW DUB EWR FRA GRU HKG IAD ICN LAX LHR MAD MIA MXP NRT ORD SEA SFO SIN SYD YUL")

DIRT = _names("missing_field extra_field bad_timestamp bad_status future broken_utf8 nul quotes crlf address dash")
_BAD_TIMESTAMPS = (
    b"-", b"", b"yesterday", b"nan", b"1e9", b"+1700000000", b" 1700000000", b"17000000000000", b"4102444800",
)  # fmt: skip
_BAD_STATUSES = (b"-", b"", b"20", b"2000", b"2x0", b"-20", b"+20")
_ADDRESSES = (
    b"/ip/203.0.113.9/x",
    b"/ip/2001:db8::17",
    b"/ip/2001%3Adb8%3A%3A17/y",
    b"/ip/203%252E0%252E113%252E9",
    b"/user/jane.doe@example.org/orders",
    b"/user/jane%40example.org",
    b"/user/jane%2540example.org/z",
)
_QUOTES = (b'/say/"hello', b'"', b'""/quoted""', b'/it\'s/"a",b')


class Chunk(Struct, frozen=True):
    """Some lines, in the order of their arrival.

    data        all lines, each with its newline
    offsets     n + 1 places in `data`: line i is data[offsets[i]:offsets[i + 1]]
    event_ms    what the timestamp of each line says (or would say, if dirt spoilt it)
    arrival_ms  when it reaches the stream, never descending
    """

    data: bytes
    offsets: Ints
    event_ms: Ints
    arrival_ms: Ints

    def __len__(self) -> int:
        return len(self.event_ms)

    def lines(self) -> list[bytes]:
        """Each line by itself, with its newline."""
        places = self.offsets.tolist()
        return [self.data[begin:end] for begin, end in pairwise(places)]


class Traffic:
    """A distribution's traffic.

    fields          "canonical" (default), "seed", or field names among the 27 of these
    dirt_rate       share of lines with some dirt, each of DIRT equally often
    duplicate_rate  share of lines that are the line before once more, at most 2 s later
    late_rate       share of lines that arrive 2 minutes to 6 hours after their event
    new_path_rate   share of lines whose path nobody has asked for before: hostile cardinality

    Raises Field_List_Error for a field that it does not make, Config_Error for a rate outside 0 to 1.
    """

    def __init__(
        self,
        seed: int = 1,
        fields: Literal["canonical", "seed"] | Sequence[str] = "canonical",
        dirt_rate: float = 0.0,
        duplicate_rate: float = 0.0,
        late_rate: float = 0.0,
        new_path_rate: float = 0.0,
    ) -> None:
        self.fields = PRESETS[fields] if isinstance(fields, str) and fields in PRESETS else tuple(fields)
        unknown = [name for name in self.fields if name not in CANONICAL]
        if (isinstance(fields, str) and fields not in PRESETS) or unknown or not self.fields:
            raise Field_List_Error(
                f"The generator cannot make {fields if isinstance(fields, str) else unknown}: give 'canonical', "
                f"'seed', or names among {', '.join(CANONICAL)}"
            )
        rates = {"dirt": dirt_rate, "duplicate": duplicate_rate, "late": late_rate, "new_path": new_path_rate}
        for name, rate in rates.items():
            if not 0 <= rate <= 1:
                raise Config_Error(f"{name}_rate is a share between 0 and 1, not {rate}")
        self.seed = seed
        self.dirt_rate = dirt_rate
        self.duplicate_rate = duplicate_rate
        self.late_rate = late_rate
        self.new_path_rate = new_path_rate
        self._tables = _Tables(np.random.default_rng([seed, 0]))

    def lines(
        self, start_ms: int, end_ms: int, count: int, chunk_lines: int = _BLOCK_LINES, oldest_ms: int | None = None
    ) -> Iterator[Chunk]:
        """`count` lines that arrive in [start_ms, end_ms), with events in [oldest_ms (default: start_ms), end_ms), in
        chunks of at most `chunk_lines`. Dirt of the kind 'future' has its event later."""
        if not start_ms < end_ms:
            raise Config_Error(f"Traffic needs time to pass: it starts at {start_ms} ms and ends at {end_ms} ms")
        rhythm = _Rhythm(start_ms, end_ms)
        for block in range(-(-count // _BLOCK_LINES)):
            first = block * _BLOCK_LINES
            chunk = self._block(block, first, min(count, first + _BLOCK_LINES), count, rhythm, oldest_ms)
            for begin in range(0, len(chunk), chunk_lines):
                yield _part(chunk, begin, min(len(chunk), begin + chunk_lines))

    def _block(self, block: int, first: int, last: int, count: int, rhythm: "_Rhythm", oldest_ms: int | None) -> Chunk:
        n = last - first
        rng = np.random.default_rng([self.seed, 1, rhythm.start_ms, rhythm.end_ms, count, block])
        arrival_ms = rhythm.times_ms((np.arange(first, last) + rng.random(n)) / count)
        late = rng.random(n) < self.late_rate
        delay_ms = np.minimum(rng.exponential(2_000, n), 30_000)
        late_delay_ms = 2 * MINUTE_MS * (3 * HOUR_MS / MINUTE_MS) ** rng.random(n)
        delay_ms = np.where(late, late_delay_ms, delay_ms)
        oldest_ms = rhythm.start_ms if oldest_ms is None else oldest_ms
        spread_ms = rng.random(n) * (arrival_ms - oldest_ms)  # for what would be older than the oldest
        event_ms = np.where(arrival_ms - delay_ms >= oldest_ms, arrival_ms - delay_ms, oldest_ms + spread_ms)
        event_ms = event_ms.astype(np.int64)

        lines = self._columns(rng, event_ms).select(pl.concat_str(self.fields, separator="\t"))[:, 0]
        dirty = np.flatnonzero(rng.random(n) < self.dirt_rate)
        copied = rng.random(n) < self.duplicate_rate
        copied[0] = False
        gaps_ms = rng.integers(1, 2_000, n)
        if not len(dirty) and not copied.any():
            sizes = lines.str.len_bytes().to_numpy().astype(np.int64) + 1
            data = lines.str.join("\n").item().encode() + b"\n"
        else:
            every = [line.encode() for line in lines.to_list()]
            for i in dirty.tolist():
                every[i], event_ms[i] = self._spoil(rng, every[i], int(event_ms[i]), int(arrival_ms[i]))
            for i in np.flatnonzero(copied).tolist():  # in order, so that a copy can be copied again
                every[i], event_ms[i] = every[i - 1], event_ms[i - 1]
                arrival_ms[i] = min(arrival_ms[i], arrival_ms[i - 1] + gaps_ms[i])
            sizes = np.fromiter(map(len, every), np.int64, n) + 1
            data = b"\n".join(every) + b"\n"
        return Chunk(data, np.concatenate(([0], np.cumsum(sizes))), event_ms, arrival_ms)

    def _columns(self, rng: np.random.Generator, event_ms: Ints) -> pl.DataFrame:
        """All 27 fields as columns of strings."""
        n, tables = len(event_ms), self._tables
        outcome = tables.outcomes.draw(rng, n)
        failed = outcome == _NO_RESPONSE
        protocol = tables.protocols.draw(rng, n)
        websocket = np.isin(protocol, _WEBSOCKETS)
        path, stray = tables.paths.draw(rng, n), rng.random(n)
        queried = rng.random(n) < 0.2
        query = np.where(queried, tables.queries.draw(rng, n), 0)
        taken_ms = np.minimum(np.exp(rng.normal(3.4, 1.3, n)), 59_000)
        taken_ms = np.where(websocket, rng.integers(60_000, 1_200_000, n), taken_ms).astype(np.int64)
        first_ms = np.minimum((taken_ms * rng.uniform(0.3, 1, n)).astype(np.int64), 59_000)
        body_bytes = np.exp(rng.normal(8.8, 1.7, n)).astype(np.int64)
        sent_bytes = np.where(failed, 0, body_bytes + rng.integers(250, 500, n))
        origin = np.isin(outcome, _MISSES)  # only a miss asks the origin
        ranged = tables.statuses.to_numpy()[outcome] == "206"
        tls = protocol != 1
        ids = _request_ids(rng, n)

        seconds = pl.Series(event_ms // 1000).cast(pl.String)
        stem = tables.path_names.gather(path)
        new = stray < self.new_path_rate
        if new.any():
            stem = _pick(new, "/new/" + ids.str.slice(0, 16), stem)
        columns = {
            "timestamp": seconds + tables.thousandths.gather(event_ms % 1000),
            "time-to-first-byte": _pick(failed, "-", _seconds(first_ms, tables)),
            "sc-status": tables.statuses.gather(outcome),
            "sc-bytes": pl.Series(sent_bytes).cast(pl.String),
            "cs-method": tables.methods.take(rng, n),
            "cs-protocol": tables.protocols.names.gather(protocol),
            "cs-host": tables.hosts.take(rng, n),
            "cs-uri-stem": _pick(stray > 0.9995, "-", stem + tables.query_suffixes.gather(query)),
            "x-edge-location": tables.edges.take(rng, n),
            "x-edge-request-id": _pick(rng.random(n) > 0.9998, "-", ids),
            "time-taken": _seconds(taken_ms, tables),
            "cs-protocol-version": tables.versions.take(rng, n),
            "cs-user-agent": tables.agents.take(rng, n),
            "cs-referer": tables.referers.take(rng, n),
            "cs-uri-query": tables.queries.names.gather(query),
            "x-edge-response-result-type": tables.response_types.gather(outcome),
            "ssl-protocol": _pick(tls, "TLSv1.3", "-"),
            "ssl-cipher": _pick(tls, tables.ciphers.take(rng, n), "-"),
            "x-edge-result-type": tables.result_types.gather(outcome),
            "sc-content-type": pl.select(
                pl.coalesce(tables.outcome_types.gather(outcome), tables.path_types.gather(path))
            ).to_series(),
            "sc-content-len": _pick(failed | (stray < 0.05), "-", pl.Series(body_bytes).cast(pl.String)),
            "sc-range-start": _pick(ranged, "0", "-"),
            "sc-range-end": _pick(ranged, pl.Series(body_bytes).cast(pl.String), "-"),
            "cs-accept-encoding": tables.encodings.take(rng, n),
            "cs-accept": tables.accepts.take(rng, n),
            "origin-fbl": _pick(origin, _seconds(first_ms * 8 // 10, tables), "-"),
            "origin-lbl": _pick(origin, _seconds(taken_ms * 9 // 10, tables), "-"),
        }
        return pl.DataFrame(columns)

    def _spoil(self, rng: np.random.Generator, line: bytes, event_ms: int, arrival_ms: int) -> tuple[bytes, int]:
        """One line with one kind of dirt, and its event time."""
        kind = DIRT[rng.integers(len(DIRT))]
        chance = int(rng.integers(1 << 30))
        values = line.split(b"\t")
        anywhere = chance % len(values)

        def put(field: str, value: bytes) -> None:
            if field in self.fields:
                values[self.fields.index(field)] = value

        match kind:
            case "missing_field":
                del values[anywhere]
            case "extra_field":
                values.insert(anywhere, b"surplus")
            case "bad_timestamp":
                put("timestamp", _BAD_TIMESTAMPS[chance % len(_BAD_TIMESTAMPS)])
            case "bad_status":
                put("sc-status", _BAD_STATUSES[chance % len(_BAD_STATUSES)])
            case "future":
                event_ms = arrival_ms + 10 * MINUTE_MS + chance % (30 * 24 * HOUR_MS)
                put("timestamp", b"%d.%03d" % (event_ms // 1000, event_ms % 1000))
            case "broken_utf8":
                put(("cs-uri-stem", "cs-user-agent", "cs-referer")[chance % 3], b"/caf\xe9/\xff\xfe\xc3")
            case "nul":
                put("cs-uri-stem", b"/nul/\x00/%00")
            case "quotes":
                put(("cs-uri-stem", "cs-user-agent", "cs-referer")[chance % 3], _QUOTES[chance % len(_QUOTES)])
            case "crlf":
                values[-1] += b"\r"
            case "address":
                put(("cs-uri-stem", "cs-referer")[chance % 2], _ADDRESSES[chance % len(_ADDRESSES)])
            case "dash":
                values[max(1, anywhere)] = b"-"
        return b"\t".join(values), event_ms


class _Choice:
    """Names to draw from, by weight."""

    def __init__(self, names: Iterable[str], weights: Sequence[float] | npt.NDArray[np.float64]) -> None:
        self.names = pl.Series(list(names), dtype=pl.String)
        steps: npt.NDArray[np.float64] = np.cumsum(np.asarray(weights, np.float64))
        self._steps = steps / steps[-1]

    def draw(self, rng: np.random.Generator, n: int) -> Ints:
        """n indexes of names."""
        found = np.searchsorted(self._steps, rng.random(n), side="right")
        return np.minimum(found, len(self._steps) - 1).astype(np.int64)

    def take(self, rng: np.random.Generator, n: int) -> pl.Series:
        return self.names.gather(self.draw(rng, n))


class _Tables:
    """Everything that lines are put together from, made once a seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        paths = _paths(rng)
        self.path_names = pl.Series(paths)
        self.paths = _Choice(paths, _heavy_tail(_PATHS, 1.05))
        queries = ["-", *_queries(rng)]
        self.queries = _Choice(queries, _heavy_tail(len(queries), 0.9))
        self.query_suffixes = pl.Series(["", *("?" + query for query in queries[1:])])
        agents = visitors.agents(rng, _heavy_tail(visitors.HUMANS, 1.0))
        self.agents = _Choice(agents, list(agents.values()))
        self.edges = _Choice(*_edges())
        referers = visitors.referers(paths[:_REFERRING_PAGES], _heavy_tail(_REFERRING_PAGES, 1.0))
        self.referers = _Choice(referers, list(referers.values()))
        self.outcomes = _Choice([outcome[0] for outcome in _OUTCOMES], [outcome[3] for outcome in _OUTCOMES])
        self.result_types = self.outcomes.names
        self.response_types = pl.Series([outcome[1] for outcome in _OUTCOMES])
        self.statuses = pl.Series([outcome[2] for outcome in _OUTCOMES])
        self.methods = _Choice(_METHODS, list(_METHODS.values()))
        self.protocols = _Choice(_PROTOCOLS, list(_PROTOCOLS.values()))
        self.versions = _Choice(_PROTOCOL_VERSIONS, list(_PROTOCOL_VERSIONS.values()))
        self.hosts = _Choice(_HOSTS, list(_HOSTS.values()))
        self.ciphers = _Choice(_CIPHERS, list(_CIPHERS.values()))
        self.encodings = _Choice(_ENCODINGS, list(_ENCODINGS.values()))
        self.accepts = _Choice(_ACCEPTS, list(_ACCEPTS.values()))
        self.path_types = pl.Series([visitors.content_type(path) for path in paths])
        self.outcome_types = pl.Series([visitors.type_of_status(outcome[2]) for outcome in _OUTCOMES])
        self.thousandths = pl.Series([f".{i:03d}" for i in range(1000)])


class _Rhythm:
    """Arrival times of a span by the hours' weights: the inverse of the cumulated rate."""

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.start_ms, self.end_ms = start_ms, end_ms
        inner = np.arange(start_ms // HOUR_MS + 1, -(-end_ms // HOUR_MS)) * HOUR_MS
        self._edges_ms = np.concatenate(([start_ms], inner, [end_ms])).astype(np.float64)
        rates = _HOURS[(self._edges_ms[:-1] // HOUR_MS).astype(np.int64) % 24]
        sums = np.concatenate(([0.0], np.cumsum(rates * np.diff(self._edges_ms))))
        self._shares: npt.NDArray[np.float64] = sums / sums[-1]

    def times_ms(self, shares: npt.NDArray[np.float64]) -> Ints:
        """Times for ascending shares of the whole in [0, 1)."""
        times = np.interp(shares, self._shares, self._edges_ms).astype(np.int64)
        return np.minimum(times, self.end_ms - 1)


def _heavy_tail(n: int, exponent: float) -> npt.NDArray[np.float64]:
    return np.arange(1, n + 1, dtype=np.float64) ** -exponent


def _paths(rng: np.random.Generator) -> list[str]:
    words = rng.integers(0, len(_WORDS), (_PATHS, 4)).tolist()
    depths, endings, odd = (rng.integers(0, high, _PATHS).tolist() for high in (4, len(_ENDINGS), 200))
    paths = ["/", "/favicon.ico", "/robots.txt", "/index.html"]
    for i in range(len(paths), _PATHS):
        folders = "".join(f"/{_WORDS[word]}" for word in words[i][: depths[i]])
        encoded = _ENCODED[odd[i]] if odd[i] < len(_ENCODED) else ""
        paths.append(f"{folders}/{_WORDS[words[i][3]]}-{i:x}{encoded}{_ENDINGS[endings[i]]}")
    return paths


def _queries(rng: np.random.Generator) -> list[str]:
    kinds = rng.integers(0, 4, _QUERIES).tolist()
    templates = ("v={0}", "page={0}&sort=new", "utm_source=letter&utm_campaign={0:x}", "q={0:x}%20red%26blue&lang=en")
    return [templates[kind].format(i) for i, kind in enumerate(kinds)]


def _edges() -> tuple[list[str], npt.NDArray[np.float64]]:
    names = [f"{city}{50 + place}-{'PC'[place % 2]}{1 + place % 4}" for place in range(8) for city in _CITIES]
    names.insert(60, "-")
    return names, _heavy_tail(len(names), 0.8)


def _request_ids(rng: np.random.Generator, n: int) -> pl.Series:
    """Request ids that look like CloudFront's: 54 random characters of base64 and two equals signs."""
    text = base64.urlsafe_b64encode(rng.bytes(42 * n)).decode()
    return pl.Series([text[i : i + 54] + "==" for i in range(0, 56 * n, 56)])


def _seconds(times_ms: Ints, tables: _Tables) -> pl.Series:
    return pl.Series(times_ms // 1000).cast(pl.String) + tables.thousandths.gather(times_ms % 1000)


def _pick(mask: npt.NDArray[np.bool_], chosen: pl.Series | str, other: pl.Series | str) -> pl.Series:
    """`chosen` where the mask holds, else `other`."""
    sides = [pl.lit(side) if isinstance(side, str) else side for side in (chosen, other)]
    return pl.select(pl.when(pl.Series(mask)).then(sides[0]).otherwise(sides[1])).to_series()


def _part(chunk: Chunk, begin: int, end: int) -> Chunk:
    if begin == 0 and end == len(chunk):
        return chunk
    first, last = int(chunk.offsets[begin]), int(chunk.offsets[end])
    offsets = chunk.offsets[begin : end + 1] - first
    return Chunk(chunk.data[first:last], offsets, chunk.event_ms[begin:end], chunk.arrival_ms[begin:end])
