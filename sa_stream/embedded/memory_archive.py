"""An archive in memory, for tests and the simulator: objects as plain data, pages of 1,000 keys, faults on demand."""

from bisect import bisect_right, insort
from collections.abc import Callable
from hashlib import md5
from itertools import islice

from sa_stream.archive.files import Stored
from sa_stream.errors import SA_Stream_Error, Source_Error
from sa_stream.sources.archive_store import Page

PAGE_KEYS = 1_000

# ("page" or "read", prefix or key) -> the error to answer with, or None to let the call pass
type Fault = Callable[[str, str], SA_Stream_Error | None]


class Memory_Archive:
    """An Archive_Store that answers as S3 does."""

    def __init__(self, fault: Fault = lambda call, key: None) -> None:
        self.fault = fault
        self.pages = 0
        self.keys: list[str] = []  # ascending
        self._objects: dict[str, tuple[Stored, bytes]] = {}

    def put(self, key: str, content: bytes, modified_ms: int = 0, storage_class: str = "STANDARD") -> None:
        if key not in self._objects:
            insort(self.keys, key)
        etag = md5(content, usedforsecurity=False).hexdigest()
        self._objects[key] = (
            Stored(key=key, size_bytes=len(content), etag=etag, modified_ms=modified_ms, storage_class=storage_class),
            content,
        )

    def name_of(self, key: str) -> str:
        return f"memory://{key}"

    def page(self, prefix: str, start_after: str = "", by_folder: bool = False) -> Page:
        self._refuse("page", prefix)
        self.pages += 1
        objects: list[Stored] = []
        folders: dict[str, None] = {}
        place = bisect_right(self.keys, max(start_after, prefix)) - (prefix in self._objects and start_after < prefix)
        for key in islice(self.keys, place, None):
            if not key.startswith(prefix):
                break
            if len(objects) + len(folders) == PAGE_KEYS:
                return Page(tuple(objects), tuple(folders), True)
            name, slash, _ = key[len(prefix) :].partition("/")
            if by_folder and slash:
                folders[name] = None
            else:
                objects.append(self._objects[key][0])
        return Page(tuple(objects), tuple(folders), False)

    def read(self, stored: Stored, begin: int, length: int) -> bytes:
        self._refuse("read", stored.key)
        found = self._objects.get(stored.key)
        if found is None:
            raise Source_Error(f"{self.name_of(stored.key)} cannot be read: NoSuchKey")
        if found[0].etag != stored.etag:
            raise Source_Error(f"{self.name_of(stored.key)} has changed since it was listed")
        return found[1][begin : begin + length]

    # ------------------------------------------------------------------ what puts files elsewhere

    place = "memory"

    def head(self, key: str) -> Stored | None:
        self._refuse("head", key)
        found = self._objects.get(key)
        return None if found is None else found[0]

    def copy(self, stored: Stored, target: "Memory_Archive", key: str, storage_class: str) -> None:
        content = self.read(stored, 0, stored.size_bytes)
        target._refuse("copy", key)
        target.put(key, content, stored.modified_ms, storage_class or "STANDARD")

    def delete(self, stored: Stored | str) -> None:
        """An object as it was listed; or whatever is under a key."""
        key = stored if isinstance(stored, str) else stored.key
        found = self._objects.get(key)
        if found is not None and not isinstance(stored, str) and found[0].etag != stored.etag:
            raise Source_Error(f"{self.name_of(key)} has changed since it was listed")
        if self._objects.pop(key, None) is not None:
            self.keys.remove(key)

    def _refuse(self, call: str, key: str) -> None:
        error = self.fault(call, key)
        if error is not None:
            raise error
