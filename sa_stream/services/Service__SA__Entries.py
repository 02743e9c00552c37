"""What the cache has: periods, keys and entries, for whoever wants to look for himself."""

import re
from collections.abc import Mapping
from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Bad_Parameter, Not_There
from sa_stream.rollups.periods import PERIODS, STATUS_KEY, parse_cache_key
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.Service__SA__Traffic import parse_number

LIMIT, LIMIT_MAX = 50, 200
_CACHE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# fmt: off


class Service__SA__Entries(Type_Safe):
    """Every method may raise Bad_Parameter, Not_There, Store_Unavailable."""

    cache : Service__SA__Cache

    # fmt: on

    def browse(self, path: str, words: Mapping[str, str]) -> dict[str, Any]:
        """The periods, or the keys of one, newest first, each with its status. `limit`, `after`: the last key that was
        seen."""
        period, limit = path.strip("/"), parse_number(words, "limit", LIMIT, LIMIT_MAX)
        if not period:
            rows: list[dict[str, Any]] = [{"path": name, "entries": len(self._keys(name))} for name in PERIODS[:limit]]
            return {"path": "", "rows": rows, "shown": len(rows), "total": len(PERIODS)}
        if period not in PERIODS:
            raise Not_There(f"There is no such folder: expected {', '.join(PERIODS)}", "path")
        after = words.get("after")
        if after is not None and _check_key(after, "after") != period:
            raise Bad_Parameter("after", f"after is a key of another period: expected one of {period}")
        keys = self._keys(period)
        left = [key for key in keys if after is None or key < after]
        shown = left[:limit]
        entries = self.cache.get_many(shown)
        rows = [_line(key, entry) for key in shown if (entry := entries[key]) is not None]
        return {"path": period, "rows": rows, "shown": len(rows), "total": len(keys), "more": len(left) > len(shown)}

    def entry(self, key: str) -> Mapping[str, Any]:
        """One entry, by its key or by its id in the cache service."""
        if _CACHE_ID.fullmatch(key):
            entry = self.cache.get_by_id(key)
        else:
            if key != STATUS_KEY:
                _check_key(key, "key")
            entry = self.cache.get(key)
        if entry is None:
            raise Not_There("There is no entry under this key: it had no request, or is not published yet", "key")
        return entry

    def stats(self) -> dict[str, Any]:
        """How many entries there are of each period, the oldest and the newest."""
        keys = {period: self._keys(period) for period in PERIODS}
        rows = [
            {
                "period": period,
                "entries": len(found),
                "oldest": found[-1] if found else None,
                "newest": found[0] if found else None,
            }
            for period, found in keys.items()
        ]
        return {"rows": rows, "entries": sum(len(found) for found in keys.values())}

    def _keys(self, period: str) -> list[str]:
        """Newest first."""
        return sorted((f"{period}/{name}" for name in self.cache.names_in(period)), reverse=True)


def _check_key(key: str, parameter: str) -> str:
    """Its period. Raises Bad_Parameter."""
    try:
        return parse_cache_key(key if len(key) <= 40 and key.isascii() else "")[0]
    except ValueError:
        raise Bad_Parameter(
            parameter, f"{parameter} is no key of an entry: expected one like daily/2026-02-16, or an id of the cache"
        ) from None


def _line(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    names = ("status", "revision", "provenance", "computed_at", "total_requests")
    return {"key": key, **{name: entry.get(name) for name in names}}
