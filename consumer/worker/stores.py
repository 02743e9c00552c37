"""Opens the state store and the cache service that the settings name, and lets health know how their calls go."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sa_stream.config import SA__Config
from sa_stream.errors import Store_Unavailable
from sa_stream.health.notebook import Store_Health
from sa_stream.storage.cache_clients import cache_client__in_process, cache_client__remote
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.storage.state_store import Listed, State_Store
from sa_stream.timing import moment


def open_state(config: SA__Config) -> State_Store:
    """Raises Config_Error for a URL that cannot work."""
    return State_Store(config.state_url)


def open_cache(config: SA__Config) -> Send__Cache__Client:
    """The cache service at CACHE_URL, or one in this process."""
    if config.cache_url:
        return cache_client__remote(config.cache_url, config.cache_api_key_name, config.cache_api_key_value)
    return cache_client__in_process(config.cache_mode, config.cache_path)


@contextmanager
def told_to(health: Store_Health) -> Iterator[None]:
    """What is asked of a store meanwhile: health hears how it went."""
    try:
        yield
    except Store_Unavailable as error:
        health.failed(moment(), str(error))
        raise
    health.ok(moment())


class _Watched:
    def __init__(self, health: Store_Health) -> None:
        self._health = health

    def _call[R](self, function: Callable[..., R], *arguments: Any) -> R:
        with told_to(self._health):
            return function(*arguments)


class Watched_Store(_Watched):
    """A state store that tells health how each call went."""

    def __init__(self, store: State_Store, health: Store_Health) -> None:
        super().__init__(health)
        self._store = store

    def put(self, key: str, data: bytes) -> None:
        self._call(self._store.put, key, data)

    def create(self, key: str, data: bytes) -> bool:
        return self._call(self._store.create, key, data)

    def get(self, key: str) -> bytes | None:
        return self._call(self._store.get, key)

    def list(self, prefix: str) -> Sequence[Listed]:
        return self._call(self._store.list, prefix)

    def list_folders(self, prefix: str) -> Sequence[str]:
        return self._call(self._store.list_folders, prefix)

    def delete(self, keys: str | Sequence[str]) -> None:
        self._call(self._store.delete, keys)


class Watched_Cache(_Watched):
    """A cache client that tells health how each call went."""

    def __init__(self, cache: Send__Cache__Client, health: Store_Health) -> None:
        super().__init__(health)
        self._cache = cache

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        return self._call(self._cache.retrieve_entry, namespace, cache_key)

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        self._call(self._cache.store_entry, namespace, cache_key, body)
