"""A naive recount, one record at a time, of what the demo generated: slow, obvious, and apart from everything that it
checks (paths are cleaned by the product's own privacy guard, as a recount may not show addresses either).
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sa_stream.records.fields import CANONICAL
from sa_stream.records.privacy import normalized, scrub

TIMESTAMP = re.compile(rb"[0-9]{10}(\.[0-9]+)?")
STATUS = re.compile(rb"[0-9]{3}")
NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?")
HALF_HOUR_S = 1800
DEDUPE_MINUTES = 10
_PLACE = {name: place for place, name in enumerate(CANONICAL)}


class _Count:
    def __init__(self) -> None:
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
        }


def comparable(entry: dict[str, Any]) -> dict[str, Any]:
    """The part of an entry that the recount has as well."""
    shown = {name: entry[name] for name in _Count().result() if name != "top_paths"}
    shown["status_breakdown"] = dict(sorted(shown["status_breakdown"].items()))
    shown["edge_distribution"] = dict(sorted(shown["edge_distribution"].items()))
    return shown | {"top_paths": [(row["path"], row["count"]) for row in entry["top_paths"]]}


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
    window.paths["" if path in ("", "-") else scrub(normalized(path.partition("?")[0]))[:2048]] += 1
    edge = value["x-edge-location"].decode("utf-8", "replace")
    if edge not in ("", "-"):
        window.edges[scrub(edge)[:256]] += 1
    agent = value["cs-user-agent"]
    if agent not in (b"", b"-"):
        window.agents.add(agent.decode("utf-8", "replace").encode())
