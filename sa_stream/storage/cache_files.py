"""What the cache service keeps its entries in: its own files come in, which entries they are, and which belong to none,
goes out.

An entry has five files: `NAMESPACE/data/key-based/KEY/FILE_ID.json` (or `data/temporal/YYYY/MM/DD/HH/ID.json`, of what
has no key) with `.config` and `.metadata` beside it, `refs/by-id/…/ID.json`, and `refs/by-hash/…/HASH.json`, which
names the newest id. Who creates the same key at the same moment as another leaves an id that nothing names; who is
killed in the middle of a creation or a deletion leaves some of the five.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.timing import NEVER_MS

BODY, BESIDE = ".json", (".config", ".metadata")


class Cache_Files:
    """A cache that can be pruned, by the client of its service. All methods raise Store_Unavailable, also where the
    service cannot list."""

    def __init__(self, client: Send__Cache__Client) -> None:
        self._client = client
        self.retrieve_entry, self.store_entry = client.retrieve_entry, client.store_entry

    def delete_entry(self, namespace: str, cache_key: str) -> int:
        return self._client.delete_entry(namespace, cache_key)

    def delete_stored(self, namespace: str, cache_id: str) -> int:
        return self._client.delete_stored(namespace, cache_id)

    def delete_file(self, path: str) -> int:
        return self._client.delete_file(path)

    def keys(self, namespace: str) -> list[str]:
        """Of all entries that have a body, sorted."""
        folder = f"{namespace}/data/key-based"
        return sorted({_key(path, folder) for path in self._client.list_files(folder) if path.endswith(BODY)})

    def stored_by_hour(self, namespace: str) -> list[tuple[int, str]]:
        """What was stored by its time: hour (start in ms) and cache id of each."""
        folder = f"{namespace}/data/temporal"
        found = []
        for path in self._client.list_files(folder):
            hour_ms = _hour_ms(_key(path, folder))
            if path.endswith(BODY) and hour_ms is not None:
                found.append((hour_ms, _name(path)))
        return found

    def orphans(self, namespace: str, before_ms: int) -> list[str]:
        """Paths of files of no entry that were written before then, by the service's clock: of younger ones somebody
        may be making an entry at this moment. One that says no time is left."""
        files = self._client.list_files(namespace)
        found = []
        for paths in self._without_entry(namespace, files):
            written_ms = min(self._written_ms(path) for path in paths)
            if written_ms < before_ms:
                found += paths
        return sorted(found)

    def _without_entry(self, namespace: str, files: Iterable[str]) -> Iterator[list[str]]:
        """Files that belong together, and to no entry. What can be told by names costs no read: only where there are
        more ids than hashes, all references are read."""
        by_hash, by_id, bodies = _sorted_out(namespace, files)
        keyed = f"{namespace}/data/key-based"
        whole = {body for body, paths in bodies.items() if body in paths}
        of_keys = {self._client.hash_of(_key(body, keyed)) for body in whole if body.startswith(keyed)}
        for body, paths in bodies.items():
            named = (
                self._client.hash_of(_key(body, keyed)) in by_hash if body.startswith(keyed) else _name(body) in by_id
            )
            if not named or body not in whole:
                yield paths
        if all(name in of_keys for name in by_hash) and len(by_id) == len(by_hash):
            return
        newest = {name: str(self._object(path).get("latest_id")) for name, path in by_hash.items()}
        for name, path in by_hash.items():
            if newest[name] not in by_id or (name not in of_keys and not self._has_body(by_id[newest[name]], whole)):
                yield [path]
        ids = set(newest.values())
        for name, path in by_id.items():
            if name not in ids:
                yield [path]

    def _has_body(self, path: str, bodies: set[str]) -> bool:
        """Whether an id's body is there."""
        paths = self._object(path).get("all_paths")
        named = paths.get("data") if isinstance(paths, dict) else None
        return isinstance(named, list) and any(body in named for body in bodies)

    def _written_ms(self, path: str) -> int:
        """NEVER_MS for a file that does not say when it was written."""
        found = self._object(path)
        ids = found.get("cache_ids")
        newest = [each for each in ids if isinstance(each, dict)][-1:] if isinstance(ids, list) else []
        times = (each.get("timestamp") for each in (found, *newest))
        return min((each for each in times if isinstance(each, int)), default=NEVER_MS)

    def _object(self, path: str) -> dict[str, Any]:
        """What is in one of the service's files; nothing where that is damaged."""
        found = self._client.read_file(path)
        return found if isinstance(found, dict) else {}


def _sorted_out(namespace: str, files: Iterable[str]) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """References by their hash, by their id, and the files of each body by the path of the body."""
    by_hash: dict[str, str] = {}
    by_id: dict[str, str] = {}
    bodies: dict[str, list[str]] = defaultdict(list)
    ours = [path for path in files if _body_of(path).endswith(BODY)]  # else somebody else's, like `.DS_Store`
    for path in ours:
        if path.startswith(f"{namespace}/refs/by-hash/"):
            by_hash[_name(path)] = path
        elif path.startswith(f"{namespace}/refs/by-id/"):
            by_id[_name(path)] = path
        elif path.startswith(f"{namespace}/data/"):
            bodies[_body_of(path)].append(path)
    return by_hash, by_id, bodies


def _body_of(path: str) -> str:
    for ending in BESIDE:
        path = path.removesuffix(ending)
    return path


def _key(path: str, folder: str) -> str:
    return path.removeprefix(f"{folder}/").rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(BODY)


def _hour_ms(folder: str) -> int | None:
    try:
        return int(datetime.strptime(folder, "%Y/%m/%d/%H").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None
