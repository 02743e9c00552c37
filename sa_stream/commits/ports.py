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
