"""Where an archive can lie: what a bucket and a folder have in common."""

from typing import Protocol

from msgspec import Struct

from sa_stream.archive.files import Stored


class Page(Struct, frozen=True):
    """One answer to a list request: objects ascending by key; the names of folders, where they were asked for; whether
    there is more."""

    objects: tuple[Stored, ...]
    folders: tuple[str, ...]
    more: bool


class Archive_Store(Protocol):
    """Every call may come from any thread, and raises Source_Error (missing, forbidden) or Store_Unavailable (no
    answer, or too busy, after some tries)."""

    def name_of(self, key: str) -> str:
        """What people call an object."""
        ...

    def page(self, prefix: str, start_after: str = "", by_folder: bool = False) -> Page:
        """Objects whose keys begin with `prefix` and come after `start_after`; by_folder: only those right below it,
        and the folders there."""
        ...

    def read(self, stored: Stored, begin: int, length: int) -> bytes:
        """That part of an object, which still is what was listed: Source_Error if it has changed since."""
        ...
