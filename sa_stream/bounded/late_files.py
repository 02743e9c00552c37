"""Files of the archive that have records of a window, and are not where one looks for it: kept in the state store by
whoever finds one, and read with the window from then on by everybody.
"""

from collections.abc import Mapping
from typing import Any

import xxhash
from msgspec.structs import astuple

from sa_stream.archive.files import Archive_File, Oldest
from sa_stream.commits.keys import LATE_FILES_PREFIX, late_file_key, parse_late_file_key
from sa_stream.commits.ports import Store
from sa_stream.errors import Corrupt_State
from sa_stream.format import pack, unpack
from sa_stream.log import LATE_FILE_GONE, OBJECT_UNREADABLE, Log
from sa_stream.timing import iso

log = Log("archive")


class Late_Files:
    """Those that the state store had when it was last read, and those that were noted here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, dict[str, Archive_File]] = {}  # window -> name -> file

    def read(self) -> None:
        """What was noted before, here and elsewhere. Raises Store_Unavailable."""
        self._known = {}
        for item in self._store.list(LATE_FILES_PREFIX):
            data = self._store.get(item.key)
            try:
                file = None if data is None else _file_of(unpack("late-file", data, item.key))
            except Corrupt_State as error:
                log.tell(OBJECT_UNREADABLE, str(error), key=item.key)
                continue
            if file is not None:
                self._known.setdefault(parse_late_file_key(item.key), {})[file.name] = file

    def of(self, window_ms: int) -> Mapping[str, Archive_File]:
        """Name -> file."""
        return self._known.get(window_ms, {})

    def note(self, window_ms: int, file: Archive_File) -> bool:
        """Keep that a file has records of a window; whether that was not known. Raises Store_Unavailable."""
        if file.name in self.of(window_ms):
            return False
        self._store.create(_key(window_ms, file), pack("late-file", _plain(file)))
        self._known.setdefault(window_ms, {})[file.name] = file
        return True


def tell_gone(window_ms: int, file: Archive_File) -> None:
    """That a file is not there any more, which had records of a window."""
    message = f"{file.name} had records of the window of {iso(window_ms)}, and is not there any more"
    log.tell(LATE_FILE_GONE, f"{message}: the window is computed without it", file=file.name)


def _key(window_ms: int, file: Archive_File) -> str:
    return late_file_key(window_ms, xxhash.xxh3_64_hexdigest(f"{file.name} {file.etag}".encode()))


def _plain(file: Archive_File) -> list[Any]:
    return [file.key, file.size_bytes, file.etag, file.modified_ms, file.name, astuple(file.oldest)]


def _file_of(plain: list[Any]) -> Archive_File:
    key, size_bytes, etag, modified_ms, name, oldest = plain
    return Archive_File(
        key=key, size_bytes=size_bytes, etag=etag, modified_ms=modified_ms, name=name, oldest=Oldest(*oldest)
    )
