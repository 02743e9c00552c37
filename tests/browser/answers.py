"""Answers in the shapes of the API, for states that real entries cannot be in at will: parameters come in, generated
JSON goes out. The same question always gets the same answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sa_stream.services.traffic_tables import stored_form

NOW = datetime(2026, 2, 16, 14, 38, 20, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>"
PERIODS = {"minute": 60, "30min": 1800, "hourly": 3600, "daily": 86400}
RESULTS = ("hits", "refresh_hits", "shield_hits", "misses", "redirects", "errors", "other_results")


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def heading(**more: Any) -> dict[str, Any]:
    return {
        "schema_version": 2,
        "status": "partial",
        "final_until": "2026-02-16T14:00:00Z",
        "computed_at": iso(NOW),
        "revision": 0,
        "provenance": "stream",
        "missing_sources": [],
        "missing_fields": [],
        "sampling_rate": 100.0,
        **more,
    }


def numbers(start: datetime, seconds: int) -> dict[str, float]:
    """Of a slot: a day that rises to the afternoon, with a little noise."""
    hour = start.hour + start.minute / 60
    shape = 0.15 + max(0.0, 1 - abs(hour - 14) / 9)
    noise = 0.85 + (start.toordinal() * 7 + start.hour * 13 + start.minute * 3) % 31 / 100
    requests = int((160_000 if seconds >= 86400 else 5200 * shape * seconds / 1800) * noise)
    errors = 0.002 + (0.03 if start.hour == 9 and seconds < 86400 else 0)
    hits = int(requests * 0.72)
    out: dict[str, float] = {
        "requests": requests,
        "page_views": int(requests * 0.23),
        "human": int(requests * 0.7),
        "bots": int(requests * 0.25),
        "bytes": requests * 28_400,
        "status_3xx": int(requests * 0.08),
        "status_4xx": int(requests * 0.04),
        "status_5xx": int(requests * errors),
        "status_0xx": int(requests * 0.003),
        "p50": 0.04 * noise,
        "p95": 0.27 * noise,
        "p99": 0.9 * noise,
        "late_records": 7 if start.hour == 11 and start.minute == 0 else 0,
        **dict.fromkeys(RESULTS, 9),
        "hits": hits,
        "misses": int(requests * 0.2),
    }
    out["unknown_agents"] = requests - out["human"] - out["bots"]
    out["status_2xx"] = requests - sum(out[f"status_{name}"] for name in ("3xx", "4xx", "5xx", "0xx"))
    return out


def timeseries(query: dict[str, str]) -> dict[str, Any]:
    start, end = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
    period = query.get("period", "auto")
    if period == "auto":
        length = end - start
        period = "minute" if length <= timedelta(hours=2) else "30min" if length <= timedelta(days=8) else "hourly"
    seconds, names = PERIODS[period], query.get("metrics", "requests").split(",")
    rows, slots = [], []
    while start < min(end, NOW):
        state = state_of(start, seconds)
        rows.append([iso(start), *value_of(state, start, seconds, names)])
        slots.append(state)
        start += timedelta(seconds=seconds)
    gaps = gaps_of(rows, slots, seconds)
    return heading(period=period, columns=["start", *names], rows=rows, slots=slots, gaps=gaps, to=iso(end))


def state_of(start: datetime, seconds: int) -> str:
    if start > NOW:
        return "missing"
    if start + timedelta(seconds=seconds) > NOW - timedelta(minutes=38):
        return "partial"
    if seconds <= 3600 and start.day == 16 and 2 <= start.hour < 4:
        return "zero"
    return "missing" if seconds <= 3600 and start.day == 16 and start.hour == 6 else "final"


def value_of(state: str, start: datetime, seconds: int, names: list[str]) -> list[float | None]:
    if state == "missing":
        return [None] * len(names)
    found = numbers(start, seconds)
    if state == "zero":
        return [None if name.startswith("p") and name != "page_views" else 0 for name in names]
    return [found[name] for name in names]


def gaps_of(rows: list[list[Any]], slots: list[str], seconds: int) -> list[dict[str, str]]:
    gaps = []
    for row, state in zip(rows, slots, strict=True):
        start = datetime.fromisoformat(row[0])
        if state == "missing":
            reason = "open" if start > NOW else "not-covered"
            gaps.append({"from": row[0], "to": iso(start + timedelta(seconds=seconds)), "reason": reason})
    joined: list[dict[str, str]] = []
    for gap in gaps:
        if joined and joined[-1]["to"] == gap["from"] and joined[-1]["reason"] == gap["reason"]:
            joined[-1]["to"] = gap["to"]
        else:
            joined.append(dict(gap))
    return joined


PATHS = (
    "/",
    "/blog/",
    "/blog/exactly-once",
    "/app.js",
    "/style.css",
    "/caf%C3%A9/men%C3%BC",
    "/login",
    "/api/items",
)


def top_paths(query: dict[str, str]) -> dict[str, Any]:
    names = [*PATHS, f"/{HOSTILE}", "/%E2%80%AEgpj.exe", *(f"/docs/page-{n}" for n in range(1, 91))]
    begins = stored_form(query.get("prefix", ""))
    named = [name for name in names if name.startswith(begins)][: int(query.get("limit", 20))]
    rows = [
        {
            "path": name,
            "count": 40_000 // (n + 1),
            "bytes": 900_000_000 // (n + 1),
            "hits": 30_000 // (n + 1),
            "misses": 9_000 // (n + 1),
            "status_4xx": 700 // (n + 1),
            "status_5xx": 40 // (n + 1),
            "avg_time_taken": 0.04 + n / 900,
        }
        for n, name in enumerate(named)
    ]
    total = None if query.get("prefix") else 4717
    return heading(rows=rows, shown=len(rows), total=total, error_bound=0)


NAMES = {
    "referrers": ("(direct)", "(internal)", "www.google.com", "news.ycombinator.com", "duckduckgo.com", HOSTILE),
    "bots": ("Googlebot", "GPTBot", "bingbot", "ClaudeBot", "AhrefsBot", HOSTILE),
    "browsers": ("Chrome", "Safari", "Firefox", "Edge"),
    "systems": ("Windows", "iOS", "Android", "macOS", "Linux"),
    "devices": ("desktop", "mobile", "tablet", "other"),
}


def breakdown(dimension: str) -> dict[str, Any]:
    if dimension == "countries":
        return heading(rows=None, shown=0, total=None, missing_fields=["c-country"])
    rows: list[dict[str, Any]] = [
        {"name": name, "count": 9000 // (n + 1), "share": round(40 / (n + 1), 2)}
        for n, name in enumerate(NAMES[dimension])
    ]
    if dimension == "bots":
        rows = [{**row, "bytes": row["count"] * 900, "ai": row["name"] in ("GPTBot", "ClaudeBot")} for row in rows]
    return heading(dimension=dimension, rows=rows, shown=len(rows), total=len(rows), error_bound=0)


def edge_locations() -> dict[str, Any]:
    places = (("London", "United Kingdom"), ("Lisbon", "Portugal"), ("Frankfurt", "Germany"), (HOSTILE, None))
    cities = [
        {"city": city, "country": country, "count": 60_000 // (n + 1), "share": 50 / (n + 1)}
        for n, (city, country) in enumerate(places)
    ]
    return heading(rows=[], cities=cities, shown=len(cities), total=12)


def status_codes() -> dict[str, Any]:
    codes = [
        {"code": code, "count": 90_000 // (n + 1) ** 3, "share": 90 / (n + 1) ** 3}
        for n, code in enumerate(("200", "304", "404", "301", "403", "503", "000"))
    ]
    return heading(classes=[], codes=codes)


def summary() -> dict[str, Any]:
    times = {"p50": 0.042, "p90": 0.2, "p95": 0.27, "p99": 0.91, "max": 4.2, "count": 184_203}
    return heading(percentiles={"time_taken": times}, previous={"p95": 0.282})


def live(query: dict[str, str]) -> dict[str, Any]:
    minutes = int(query.get("minutes", 60))
    end = NOW.replace(second=0)
    names = ["requests", "status_4xx", "status_5xx", "bytes", "hits"]
    rows = []
    for n in range(minutes, 0, -1):
        start = end - timedelta(minutes=n)
        found = numbers(start, 60)
        rows.append([iso(start), *(found[name] for name in names)])
    as_of = iso(NOW - timedelta(seconds=38))
    slots = ["final" if row[0] < "2026-02-16T14:00" else "partial" for row in rows]
    return heading(columns=["start", *names], rows=rows, slots=slots, gaps=[], as_of=as_of, delay_s=38, lag_s=0.4)


def status() -> dict[str, Any]:
    stream = {
        "computed_at": iso(NOW),
        "version": "0.1.0",
        "final_until": "2026-02-16T14:00:00Z",
        "covers_since": None,
        "watermark": "2026-02-16T14:37:20Z",
        "lag_s": 60,
        "partitions": 2,
        "watermarks": {},
        "open_windows": [],
        "gaps": [{"from": "2026-02-16T06:00:00Z", "to": "2026-02-16T07:00:00Z", "reason": "not-covered"}],
        "repairs": {"waiting": ["2026-02-16T06:00:00Z"], "computed": 3},
        "workers": {"host-1:31": {"seen": iso(NOW), "version": "0.1.0"}},
    }
    privacy = {
        "never_read": ["c-ip", "s-ip", "x-forwarded-for", "cs-cookie", "asn"],
        "dropped_fields": ["c-country"],
        "reduced": ["cs-referer: the name of its host alone"],
        "path_rules": HOSTILE,
        "secret_months": ["2026-01", "2026-02"],
        "retention": {"dead letters": "14 days"},
        "dead_letter_text": False,
    }
    jobs = [{"id": "j-1", "step": "aggregate", "state": "done", "from": "2026-02-15", "to": "2026-02-16"}]
    return heading(
        stream=stream,
        jobs=jobs,
        last_runs={},
        privacy=privacy,
        unprocessed_files={"hours": 2, "files": 36, "unread": 0},
    )


def entry(key: str) -> dict[str, Any] | None:
    if key.endswith("2026-02-16-0300"):
        return None
    times = {"window_start": "2026-02-16T14:00:00Z", "window_end": "2026-02-16T14:30:00Z"}
    sources = [{"partition": "shardId-000000000000", "number": 4711, "name": HOSTILE}]
    missing = [{"partition": "shardId-000000000003", "reason": "lagging"}]
    body = heading(cache_key=key, **times, sources=sources, missing_sources=missing, revision=2, total_requests=4312)
    return {
        **body,
        "total_bytes": 123_456_789,
        "cache_hit_rate": 75.3,
        "errors": {"top_paths": 0},
        "top_paths": [{"path": HOSTILE}],
    }


def browse(path: str) -> dict[str, Any]:
    if not path:
        rows = [{"path": name, "entries": 16} for name in ("30min", "hourly", "daily", "monthly")]
        return {"rows": rows, "shown": 4, "total": 4}
    rows = [{"key": f"{path}/2026-02-{day:02d}", "status": "final"} for day in range(16, 0, -1)]
    return {"rows": rows, "shown": 16, "total": 40, "more": True}


def stats() -> dict[str, Any]:
    return {"rows": [{"period": "daily", "entries": 16, "oldest": "daily/2026-02-01", "newest": "daily/2026-02-16"}]}


def health() -> dict[str, Any]:
    shard = {
        "sequence_number": "49590338271490256608559692538361571095921575989136588898",
        "lag_ms": 400,
        "watermark": "2026-02-16T14:37:20Z",
        "open_windows": {"2026-02-16T14:30:00Z": 812},
        "last_read": iso(NOW),
        "last_commit": "2026-02-16T14:37:58Z",
        "uncommitted_since": iso(NOW),
        "ended": False,
        "blocked": None,
        "malformed": None,
        "duplicates": None,
        "unreadable": None,
        "counters": {"records": 184_203, "duplicates": 12, "fields": 3},
    }
    store = {"ok": True, "last_ok": iso(NOW), "failing_since": None, "reason": ""}
    return {
        "ready": True,
        "reasons": [],
        "notes": [],
        "now": iso(NOW),
        "started": "2026-02-15T08:00:00Z",
        "uptime_s": 110_300,
        "versions": {"sa-stream": "0.1.0"},
        "clock_offset_ms": 12,
        "kcl": "running",
        "last_published": iso(NOW),
        "repairs": None,
        "shards": {"shardId-000000000000": shard, "shardId-000000000001": {**shard, "lag_ms": 3200}},
        "stores": {"state store": store, "cache service": store},
        "log_lines_dropped": 0,
    }
