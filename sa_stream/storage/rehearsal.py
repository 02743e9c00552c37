"""Stores for commands that say what they would do, or what they have done."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sa_stream.storage.cache_files import Cache_Files
from sa_stream.storage.state_store import Listed, State_Store
from sa_stream.timing import wall_clock_ms


class Noting_Store(State_Store):
    """A state store that notes what is deleted. gone: first segment of the key -> objects."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gone: Counter[str] = Counter()

    def delete(self, keys: str | Iterable[str]) -> None:
        keys = [keys] if isinstance(keys, str) else list(keys)
        self._remove(keys)
        self.gone.update(key.partition("/")[0] for key in keys)

    def _remove(self, keys: Sequence[str]) -> None:
        super().delete(keys)


class Rehearsed_Store(Noting_Store):
    """A state store as it would be: what is written and deleted shows in what is read afterwards, and nowhere else."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._written: dict[str, bytes] = {}
        self._deleted: set[str] = set()

    def put(self, key: str, data: bytes) -> None:
        self._written[key] = data
        self._deleted.discard(key)

    def create(self, key: str, data: bytes) -> bool:
        if self.get(key) is not None:
            return False
        self.put(key, data)
        return True

    def get(self, key: str) -> bytes | None:
        if key in self._deleted:
            return None
        return self._written[key] if key in self._written else super().get(key)

    def list(self, prefix: str) -> Sequence[Listed]:
        folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        changed = self._deleted | self._written.keys()
        found = [item for item in super().list(prefix) if item.key not in changed]
        found += [
            Listed(key, len(data), wall_clock_ms()) for key, data in self._written.items() if key.startswith(folder)
        ]
        return sorted(found, key=lambda item: item.key)

    def list_folders(self, prefix: str) -> Sequence[str]:
        folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        added = {
            folder + key.removeprefix(folder).partition("/")[0]
            for key in self._written
            if key.startswith(folder) and "/" in key.removeprefix(folder)
        }
        touched = {
            folder + key.removeprefix(folder).partition("/")[0] for key in self._deleted if key.startswith(folder)
        }
        left = [each for each in super().list_folders(prefix) if each not in touched or self.list(each)]
        return sorted(added.union(left))

    def _remove(self, keys: Sequence[str]) -> None:
        self._deleted.update(keys)
        for key in keys:
            self._written.pop(key, None)


class Rehearsed_Cache(Cache_Files):
    """A cache of which nothing is deleted."""

    def delete_entry(self, namespace: str, cache_key: str) -> int:
        return 0

    def delete_stored(self, namespace: str, cache_id: str) -> int:
        return 0

    def delete_file(self, path: str) -> int:
        return 0
