"""A naive recount, one record at a time, of what the demo generated: slow, obvious, and apart from everything that it
checks (paths are cleaned by the product's own privacy guard, as a recount may not show addresses either; what a single
agent, referer, content type or edge is called is not counted, and said by the product).
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sa_stream.records.agents import Agents_Remembered
from sa_stream.records.content_types import kind_of, type_of
from sa_stream.records.edges import city_of
from sa_stream.records.fields import CANONICAL
from sa_stream.records.privacy import normalized, scrub
from sa_stream.records.referrers import host_of_referrer

TIMESTAMP = re.compile(rb"[0-9]{10}(\.[0-9]+)?")
STATUS = re.compile(rb"[0-9]{3}")
NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?")
HALF_HOUR_S = 1800
DEDUPE_MINUTES = 10
_PLACE = {name: place for place, name in enumerate(CANONICAL)}


_NAMED = (
    *("agent_classes", "browsers", "systems", "devices", "referrers", "content_types", "kinds", "http_versions"),
    *("tls_versions", "cities", "status_codes", "path_groups"),
)
_SHOWN = {"path_groups": 200}  # of names that are shown; 100 of others
_agents = Agents_Remembered()


class _Count:
    def __init__(self) -> None:
        self.named: dict[str, Counter[str]] = {name: Counter() for name in _NAMED}
        self.bots: Counter[str] = Counter()
        self.page_views = self.origin_count = 0
        self.by_path: dict[str, Counter[str]] = {"status_4xx": Counter(), "status_5xx": Counter(), "misses": Counter()}
        self.requests = self.bytes = self.hits = self.duplicates = 0
        self.statuses: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.edges: Counter[str] = Counter()
        self.agents: set[bytes] = set()

    def result(self) -> dict[str, Any]:
        """Under the names that an entry has."""
        top = sorted(self.paths.items(), key=lambda item: (-item[1], item[0]))[:20]
        return {
            "total_requests": self.requests,
            "total_bytes": self.bytes,
            "cache_hit_rate": round(100 * self.hits / self.requests, 2) if self.requests else 0.0,
            "duplicate_records": self.duplicates,
            "status_breakdown": dict(sorted(self.statuses.items())),
            "edge_distribution": dict(sorted(self.edges.items())),
            "unique_paths": len(self.paths),
            "unique_agents": len(self.agents),
            "top_paths": top,
            "page_views": self.page_views,
            "bots": dict(self.bots),
            "origin_count": self.origin_count,
            **{name: _shown(counts, _SHOWN.get(name, 100)) for name, counts in self.named.items()},
            **{f"most_{name}": _most(counts) for name, counts in self.by_path.items()},
        }


def _shown(counts: Counter[str], limit: int) -> dict[str, int]:
    named = [(name, count) for name, count in counts.items() if name != "(other)"]
    ranked = sorted(named, key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[limit:]) + counts["(other)"]
    return dict(ranked[:limit]) | ({"(other)": rest} if rest else {})


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]


def comparable(entry: dict[str, Any]) -> dict[str, Any]:
    """The part of an entry that the recount has as well."""
    lists = {"status_4xx": entry["top_error_paths"]["status_4xx"], "status_5xx": entry["top_error_paths"]["status_5xx"]}
    lists["misses"] = entry["top_missed_paths"]
    made = {
        "top_paths": [(row["path"], row["count"]) for row in entry["top_paths"]][:20],
        "bots": {bot["name"]: bot["count"] for bot in entry["bots"]},
        "origin_count": entry["origin_latency"]["count"],
        **{f"most_{name}": [(row["path"], row[name]) for row in rows] for name, rows in lists.items()},
    }
    return {name: made[name] if name in made else entry[name] for name in _Count().result()}


def recount(shards: Iterable[Iterable[tuple[bytes, int]]]) -> dict[int, dict[str, Any]]:
    """Window start (s) -> numbers, of each shard's (line, arrival in ms) in order."""
    windows: dict[int, _Count] = {}
    for records in shards:
        seen: dict[bytes, int] = {}
        minute = 0
        for line, arrival_ms in records:
            fields = line.rstrip(b"\n").removesuffix(b"\r").split(b"\t")
            if len(fields) != len(CANONICAL):
                continue
            value = {name: fields[place] for name, place in _PLACE.items()}
            timestamp = value["timestamp"]
            if not TIMESTAMP.fullmatch(timestamp) or not STATUS.fullmatch(value["sc-status"]):
                continue
            if float(timestamp) * 1000 > arrival_ms + 300_000:
                continue
            window = windows.setdefault(int(timestamp[:10]) // HALF_HOUR_S * HALF_HOUR_S, _Count())
            minute = max(minute, arrival_ms // 60_000)
            request_id = value["x-edge-request-id"]
            came, seen[request_id] = seen.get(request_id), minute
            if request_id not in (b"", b"-") and came is not None and came >= minute - DEDUPE_MINUTES:
                window.duplicates += 1
                continue
            _add(window, value)
    return {start: window.result() for start, window in sorted(windows.items()) if window.requests}


def _add(window: _Count, value: dict[str, bytes]) -> None:
    window.requests += 1
    size = value["sc-bytes"]
    window.bytes += int(size.partition(b".")[0]) if NUMBER.fullmatch(size) else 0
    window.hits += value["x-edge-result-type"] == b"Hit"
    window.statuses[value["sc-status"][:1].decode() + "xx"] += 1
    path = value["cs-uri-stem"].decode("utf-8", "replace")
    path = "" if path in ("", "-") else scrub(normalized(path.partition("?")[0]))[:2048]
    window.paths[path] += 1
    edge = value["x-edge-location"].decode("utf-8", "replace")
    if edge not in ("", "-"):
        window.edges[scrub(edge)[:256]] += 1
    agent = value["cs-user-agent"]
    if agent not in (b"", b"-"):
        window.agents.add(agent.decode("utf-8", "replace").encode())
    _add_names(window, value, path)
    _add_paths(window, value, path)


def _add_names(window: _Count, value: dict[str, bytes], path: str) -> None:
    """What a record is called: all values are the generator's, so few have to be cleaned."""
    text = {name: one.decode("utf-8", "replace") for name, one in value.items()}
    agent = _agents.of(text["cs-user-agent"].encode())
    content_type = type_of(text["sc-content-type"].encode())
    kind, status, edge = kind_of(content_type, path), text["sc-status"], text["x-edge-location"]
    named = {
        "agent_classes": agent.kind,
        "browsers": agent.browser,
        "systems": agent.system,
        "devices": agent.device,
        "referrers": host_of_referrer(text["cs-referer"].encode(), text["cs-host"].encode(), frozenset()),
        "content_types": content_type,
        "kinds": kind,
        "http_versions": text["cs-protocol-version"],
        "tls_versions": text["ssl-protocol"],
        "cities": ", ".join(city_of(edge) or (edge,)),
        "status_codes": status,
    }
    for name, one in named.items():
        if one not in ("", "-"):
            window.named[name][one] += 1
    segments = path.split("/")
    group = f"/{segments[1]}/…" if len(segments) > 2 else "/"
    window.named["path_groups"][group if path.startswith("/") else path] += 1
    if agent.kind == "bot_known":
        window.bots[agent.bot] += 1
    good = status[0] == "2" or status == "304"
    window.page_views += text["cs-method"] == "GET" and good and kind == "page" and agent.kind == "human"


def _add_paths(window: _Count, value: dict[str, bytes], path: str) -> None:
    status = value["sc-status"].decode()
    if status[0] in "45":
        window.by_path[f"status_{status[0]}xx"][path] += 1
    if value["x-edge-result-type"] == b"Miss":
        window.by_path["misses"][path] += 1
    lasting = value["cs-protocol"] in (b"ws", b"wss", b"grpc", b"grpcs") or status == "101"
    stream = value["sc-content-type"].startswith(b"text/event-stream")
    window.origin_count += bool(NUMBER.fullmatch(value["origin-fbl"])) and not lasting and not stream
