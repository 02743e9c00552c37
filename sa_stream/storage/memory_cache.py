"""A cache for tests and the simulator: the two methods of the cache client that publishing needs, over a dict."""

import json
from typing import Any


class Memory_Cache:
    """Bodies are kept as JSON text, so that what is read is nobody else's object, as with a real service."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], str] = {}

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        body = self.bodies.get((namespace, cache_key))
        return None if body is None else json.loads(body)

    def store_entry(self, namespace: str, cache_key: str, body: dict[str, Any]) -> None:
        self.bodies[namespace, cache_key] = json.dumps(body)

    def entries(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Every body of a namespace, by its key."""
        return {key: json.loads(body) for (name, key), body in sorted(self.bodies.items()) if name == namespace}
