"""A cache for tests and the simulator: the two methods of the cache client that publishing needs, over a dict."""

from typing import Any

import msgspec


class Memory_Cache:
    """Bodies are kept as JSON text, so that what is read is nobody else's object, as with a real service."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], bytes] = {}

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        body = self.bodies.get((namespace, cache_key))
        return None if body is None else msgspec.json.decode(body)

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        self.bodies[namespace, cache_key] = msgspec.json.encode(body)

    def entries(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Every body of a namespace, by its key."""
        return {
            key: msgspec.json.decode(body) for (name, key), body in sorted(self.bodies.items()) if name == namespace
        }
