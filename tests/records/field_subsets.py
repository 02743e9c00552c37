"""Records of any choice of CloudFront's fields: a seed comes in, the true names and the records go out. What the
generator makes is its own; the other fields get plausible values here."""

import random
from functools import lru_cache

from sa_stream.embedded.generator import Traffic
from sa_stream.records.field_finder import First_Records
from sa_stream.records.fields import CANONICAL, KNOWN_FIELDS

START_MS = 1_771_252_200_000
RECORDS = (1, 5, 9, 10, 20, 60, 200)
SHARES = (0.2, 0.5, 0.8, 0.95)


@lru_cache(maxsize=1)
def traffic() -> list[dict[str, str]]:
    chunks = Traffic(5).lines(START_MS, START_MS + 6 * 3_600_000, 20_000)
    lines = b"".join(chunk.data for chunk in chunks).decode().splitlines()
    return [dict(zip(CANONICAL, text.split("\t"), strict=True)) for text in lines]


def subset(seed: int) -> tuple[tuple[str, ...], First_Records]:
    """Fields in CloudFront's order, of the 27, of those before CMCD's, or of all; and first records of them."""
    rng = random.Random(seed)
    pool = rng.choices([CANONICAL[1:], KNOWN_FIELDS[1:46], KNOWN_FIELDS[1:]], [4, 3, 3])[0]
    share = rng.choice(SHARES)
    names = ("timestamp", *(name for name in KNOWN_FIELDS if name in pool and rng.random() < share))
    count = rng.choice(RECORDS)
    start = rng.randrange(len(traffic()) - count)
    rows = []
    for made in traffic()[start : start + count]:
        values = _others(rng, made["x-edge-result-type"]) | made
        rows.append([values[name] for name in names])
    return names, First_Records(count, rows=rows)


def _others(rng: random.Random, result: str) -> dict[str, str]:
    word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=12))

    def some(value: str, share: float = 0.3) -> str:
        return value if rng.random() < share else "-"

    def address() -> str:
        if rng.random() < 0.7:
            return ".".join(str(rng.randrange(1, 256)) for _ in range(4))
        return f"2001:db8:{rng.randrange(65_536):x}::{rng.randrange(65_536):x}"

    return dict.fromkeys(KNOWN_FIELDS, "-") | {
        "c-ip": address(),
        "s-ip": address(),
        "cs-bytes": str(rng.randrange(20, 3_000)),
        "x-host-header": "d111111abcdef8.cloudfront.net",
        "c-ip-version": rng.choice(["IPv4", "IPv6"]),
        "cs-cookie": some(rng.choice([f"sid={word}", f"a=1;%20b={word}"]), 0.4),
        "x-forwarded-for": some(address(), 0.1),
        "c-port": str(rng.randrange(1_024, 65_536)),
        "x-edge-detailed-result-type": rng.choice([result, "OriginShieldHit", "MissGeneratedResponse"]),
        "c-country": rng.choice(["US", "DE", "GB", "JP", "BR"]),
        "cache-behavior-path-pattern": rng.choice(["*", "/images/*", "api/*.json"]),
        "cs-headers": "Host:www.example.com%0AUser-Agent:Mozilla/5.0%0A",
        "cs-header-names": "Host%0AUser-Agent%0AAccept%0A",
        "cs-headers-count": str(rng.randrange(2, 30)),
        "primary-distribution-id": "EDFDVBD6EXAMPLE",
        "primary-distribution-dns-name": "d111111abcdef8.cloudfront.net",
        "asn": str(rng.randrange(1, 400_000)),
        "cmcd-encoded-bitrate": some(str(rng.randrange(200, 9_000))),
        "cmcd-buffer-length": some(str(rng.randrange(30_000))),
        "cmcd-content-id": some(f"movie-{word}"),
        "cmcd-object-duration": some("4004"),
        "cmcd-deadline": some(str(rng.randrange(30_000))),
        "cmcd-measured-throughput": some(str(rng.randrange(30_000))),
        "cmcd-next-object-request": some(f"seg%2F{word}.m4v"),
        "cmcd-object-type": some(rng.choice(["v", "a", "i", "m", "av"])),
        "cmcd-playback-rate": some("1.0"),
        "cmcd-streaming-format": some("h"),
        "cmcd-session-id": some("6e2fb550-c457-11e9-bb97-0800200c9a66"),
        "cmcd-stream-type": some("v"),
        "cmcd-top-bitrate": some("9000"),
        "cmcd-version": some("1"),
        "r-host": some("origin.example.com"),
        "sr-reason": some("Failover%3A502", 0.02),
        "x-edge-mqcs": some("1", 0.2),
        "distribution-tenant-id": some(f"dt_2x{word}"),
        "connection-id": "".join(rng.choices("abcdefXYZ0123456789_-", k=40)),
        "viewer-request-log-data": some(rng.choice(["variant=a", "b", word, "0.5"]), 0.6),
        "viewer-response-log-data": some(rng.choice(["blue", word]), 0.6),
    }
