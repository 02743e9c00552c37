"""Who may ask: the key of a request's header is compared with the one of the settings."""

import hmac
from collections.abc import Iterable

HEADER = "x-api-key"


class Key_Guard:
    """Neither a cookie nor a query opens anything: both travel with requests that somebody else made up."""

    __slots__ = ("_key",)

    def __init__(self, api_key: str) -> None:
        self._key = api_key.encode()

    @property
    def has_key(self) -> bool:
        return bool(self._key)

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """headers: as they came, names in lower case. Without a key nobody is admitted."""
        given = [value for name, value in headers if name == HEADER.encode()]
        one = given[0] if len(given) == 1 else b""
        return hmac.compare_digest(one, self._key) and self.has_key
