"""A cache for tests and the simulator: what publishing, pruning and browsing need of one, over a dict."""

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

    def keys(self, namespace: str) -> list[str]:
        return sorted(key for name, key in self.bodies if name == namespace)

    def stored_by_hour(self, namespace: str) -> list[tuple[int, str]]:
        return []

    def orphans(self, namespace: str, before_ms: int) -> list[str]:
        return []

    def delete_entry(self, namespace: str, cache_key: str) -> int:
        return int(self.bodies.pop((namespace, cache_key), None) is not None)

    def delete_stored(self, namespace: str, cache_id: str) -> int:
        return 0

    def delete_file(self, path: str) -> int:
        return 0

    def list_folders(self, path: str) -> list[str]:
        """Names of the periods, or of what is below one, as the service's own folders of a namespace have them."""
        namespace, _, below = path.partition("/data/key-based")
        prefix = f"{below.strip('/')}/".lstrip("/")
        keys = [key for name, key in self.bodies if name == namespace and key.startswith(prefix)]
        return sorted({key.removeprefix(prefix).partition("/")[0] for key in keys})

    def entries(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Every body of a namespace, by its key."""
        return {
            key: msgspec.json.decode(body) for (name, key), body in sorted(self.bodies.items()) if name == namespace
        }
