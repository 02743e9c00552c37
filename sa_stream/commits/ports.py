"""What the library needs of the two stores that others keep for it: the state store (storage.state_store) and the cache
(storage.Send__Cache__Client)."""

from collections.abc import Sequence
from typing import Any, Protocol


class Listed(Protocol):
    """An object of a listing. `modified_ms` is by the store's own clock."""

    @property
    def key(self) -> str: ...
    @property
    def modified_ms(self) -> int: ...


class Store(Protocol):
    """Every call may raise Store_Unavailable."""

    def put(self, key: str, data: bytes) -> None: ...
    def create(self, key: str, data: bytes) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def list(self, prefix: str) -> Sequence[Listed]: ...
    def list_folders(self, prefix: str) -> Sequence[str]: ...
    def delete(self, keys: str | Sequence[str]) -> None: ...


class Named_Store(Store, Protocol):
    """One that can be named to a person."""

    url: str


class Cache(Protocol):
    """Every call may raise Store_Unavailable."""

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None: ...
    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None: ...


class Prunable_Cache(Cache, Protocol):
    """One that says what is in it, and deletes. A delete returns how many of the cache's own files went."""

    def keys(self, namespace: str) -> Sequence[str]: ...
    def stored_by_hour(self, namespace: str) -> Sequence[tuple[int, str]]:
        """What was stored by its time, without a key: hour (start in ms) and cache id of each."""

    def orphans(self, namespace: str, before_ms: int) -> Sequence[str]:
        """Paths of files that no entry is made of, written before then by the cache's clock."""

    def delete_entry(self, namespace: str, cache_key: str) -> int: ...
    def delete_stored(self, namespace: str, cache_id: str) -> int: ...
    def delete_file(self, path: str) -> int: ...
