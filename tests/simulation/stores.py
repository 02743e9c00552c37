"""Stores of the simulated world: a state store and a cache in memory, through which every write is looked at."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from sa_stream.commits.keys import has_snapshot
from sa_stream.embedded.memory_cache import Memory_Cache


class Listed(Struct, frozen=True):
    key: str
    modified_ms: int = 0


class Watched_Store:
    """A state store in a dict. `on_put(key, data, before)` sees every put before it takes effect; `clock_ms` is the
    store's own clock."""

    def __init__(
        self, on_put: Callable[[str, bytes, bytes | None], None], clock_ms: Callable[[], int] = lambda: 0
    ) -> None:
        self.url = "memory:"
        self.objects: dict[str, bytes] = {}
        self._modified_ms: dict[str, int] = {}
        self._clock_ms = clock_ms
        self.written: dict[str, bytes] = {}  # everything that was ever put, even if it was deleted since
        self._keys: list[str] = []
        self._on_put = on_put

    def put(self, key: str, data: bytes) -> None:
        self._on_put(key, data, self.written.get(key))
        self.written[key] = data
        if key not in self.objects:
            insort(self._keys, key)
        self.objects[key] = data
        self._modified_ms[key] = self._clock_ms()

    def create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.put(key, data)
        return True

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def list(self, prefix: str) -> Sequence[Listed]:
        """Everything below a folder, with or without its slash, as the real one lists it."""
        return [Listed(key, self._modified_ms[key]) for key in self._below(prefix)]

    def snapshots(self, partition: str = "") -> Sequence[str]:
        """Keys of all that holds a snapshot, of a partition or of all: objects of their own, and progress records."""
        alone = self._below(f"snapshots/{partition}")
        return [*alone, *(key for key in self._below(f"progress/{partition}") if has_snapshot(key))]

    def list_folders(self, prefix: str) -> Sequence[str]:
        folder = prefix.removesuffix("/") + "/"
        rests = (key.removeprefix(folder) for key in self._below(prefix))
        return sorted({folder + rest.split("/")[0] for rest in rests if "/" in rest})

    def _below(self, prefix: str) -> Sequence[str]:
        folder = prefix.removesuffix("/") + "/" if prefix else ""
        first = bisect_left(self._keys, folder)
        last = first
        while last < len(self._keys) and self._keys[last].startswith(folder):
            last += 1
        return self._keys[first:last]

    def delete(self, keys: str | Iterable[str]) -> None:
        for key in [keys] if isinstance(keys, str) else keys:
            if self.objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def damage(self, key: str, data: bytes | None) -> None:
        """Lose or corrupt an object behind everybody's back."""
        if data is None:
            self.delete(key)
        else:
            self.objects[key] = data


class Watched_Cache(Memory_Cache):
    """A cache whose single calls may fail before or after they took effect, also in the middle of a publication."""

    def __init__(
        self,
        fail: Callable[[str], None],
        before_store: Callable[[str], None],
        on_store: Callable[[str, str, dict[str, Any] | None, dict[str, Any], bool], None],
    ) -> None:
        super().__init__()
        self._before_store = before_store
        self._fail = fail
        self._on_store = on_store

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        self._fail("cache read")
        return super().retrieve_entry(namespace, cache_key)

    def peek(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        """What is there, past all faults."""
        return super().retrieve_entry(namespace, cache_key)

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        self._fail("cache write, before")
        seen = super().retrieve_entry(namespace, cache_key)
        self._before_store(namespace)
        before = super().retrieve_entry(namespace, cache_key)
        self._on_store(namespace, cache_key, before, body, before != seen)
        super().store_entry(namespace, cache_key, body)
        self._fail("cache write, after")
