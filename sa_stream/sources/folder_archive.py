"""An archive in a folder of this machine, of the same shapes as in a bucket."""

import os
import shutil
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import IO

from sa_stream.archive.files import Stored
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.sources.archive_store import Page
from sa_stream.sources.local_file import name_of
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import right_now

_NO_TEXT = "no-text"  # in place of an etag: under its key, which is text, nobody finds the file


class Folder_Archive:
    """An Archive_Store; keys are paths below `root`, with slashes. Names that begin with a dot are left out, and a file
    whose name is no UTF-8 is there, but cannot be read."""

    def __init__(self, root: str | Path, clock: Source_Clock | None = None) -> None:
        self._root = Path(root)
        self._clock = clock

    def name_of(self, key: str) -> str:
        return name_of(self._root / key)

    def page(self, prefix: str, start_after: str = "", by_folder: bool = False) -> Page:
        top, _, begin = prefix.rpartition("/")
        if self._clock is not None:  # this machine's is the source's
            now = right_now()
            self._clock.note(formatdate(now.wall_ms // 1000, usegmt=True), now, now)
        try:
            if by_folder:
                objects, folders = self._right_below(top, begin)
            else:
                objects, folders = self._below(top, begin), []
        except OSError as error:
            raise Source_Error(f"{self.name_of(prefix)} cannot be read: {error.strerror or error}") from error
        kept = sorted((stored for stored in objects if stored.key > start_after), key=lambda stored: stored.key)
        return Page(tuple(kept), tuple(sorted(folders)), False)

    def read(self, stored: Stored, begin: int, length: int) -> bytes:
        name = self.name_of(stored.key)
        if stored.etag == _NO_TEXT:
            raise Source_Error(f"{name} cannot be read: its name is no UTF-8; give it another")
        try:
            with (self._root / stored.key).open("rb") as file:
                if _etag(os.fstat(file.fileno())) != stored.etag:
                    raise Source_Error(f"{name} has changed since it was listed")
                file.seek(begin)
                return file.read(length)
        except OSError as error:
            raise Source_Error(f"{name} cannot be read: {error.strerror or error}") from error

    # ------------------------------------------------------------------ what puts files elsewhere

    @property
    def place(self) -> str:
        return f"file://{self._root.resolve()}"

    def head(self, key: str) -> Stored | None:
        """What is there now; None: nothing."""
        path = self._root / key
        try:
            seen = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Source_Error(f"{path} cannot be read: {error.strerror or error}") from error
        return Stored(key=key, size_bytes=seen.st_size, etag=_etag(seen), modified_ms=seen.st_mtime_ns // 1_000_000)

    def copy(self, stored: Stored, target: "Folder_Archive", key: str, storage_class: str) -> None:
        """Copy a file that still is what was listed, with its times; it is on the disk then, whole or not at all. A
        folder has no storage classes."""
        name = self.name_of(stored.key)
        try:
            with (self._root / stored.key).open("rb") as file:
                seen = os.fstat(file.fileno())
                if _etag(seen) != stored.etag:
                    raise Source_Error(f"{name} has changed since it was listed")
                target._write(key, lambda written: shutil.copyfileobj(file, written), seen)
        except OSError as error:
            if not (self._root / stored.key).exists():
                raise Source_Error(
                    f"{name} is not there any more, and no copy of it at {target.name_of(key)}"
                ) from error
            raise Store_Unavailable(
                f"{name} cannot be copied to {target.name_of(key)}: {error.strerror or error}"
            ) from error

    def put(self, key: str, content: bytes) -> None:
        try:
            self._write(key, lambda written: written.write(content))
        except OSError as error:
            raise Store_Unavailable(f"{self.name_of(key)} cannot be written: {error.strerror or error}") from error

    def delete(self, stored: Stored) -> None:
        """Delete a file, which is not there any more or still is what was listed: Source_Error if it has changed. And
        the folders that are empty then: the layout is told by what folders there are."""
        path = self._root / stored.key
        found = self.head(stored.key)
        if found is not None and found.etag != stored.etag:
            raise Source_Error(f"{path} has changed since it was listed")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Source_Error(f"{path} cannot be deleted: {error.strerror or error}") from error
        for folder in path.relative_to(self._root).parents[:-1]:
            try:
                (self._root / folder).rmdir()
            except OSError:
                break  # others are in it

    def _write(self, key: str, write: Callable[[IO[bytes]], object], seen: os.stat_result | None = None) -> None:
        """Write a file under another name first, which no listing shows; then give it its own, and those of its
        folders that are new to the disk too."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if seen is not None:
            os.utime(unfinished, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        unfinished.replace(path)
        for folder in (path.parent, *path.parent.parents):
            _sync(folder)
            if folder == self._root:
                break

    def _right_below(self, top: str, begin: str) -> tuple[list[Stored], list[str]]:
        entries = self._entries(top, begin)
        files = filter(None, (self._stored(top, entry) for entry in entries))
        return list(files), [name_of(entry.name) for entry in entries if entry.is_dir()]

    def _below(self, top: str, begin: str) -> list[Stored]:
        found = []
        for entry in self._entries(top, begin):
            if entry.is_dir():
                found += self._below(self._key(top, entry.name), "")
            elif (stored := self._stored(top, entry)) is not None:
                found.append(stored)
        return found

    def _entries(self, top: str, begin: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / top) as entries:
                return [entry for entry in entries if entry.name.startswith(begin) and not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            if self._root.is_dir():
                return []  # as in a bucket: a folder that is not there has nothing in it
            raise

    def _stored(self, top: str, entry: os.DirEntry[str]) -> Stored | None:
        """None if it is no file, or went meanwhile, as files do that are put elsewhere. A link that leads nowhere is a
        file that cannot be read: what it led to may come back."""
        leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
        if not (entry.is_file() or leads_nowhere):
            return None
        try:
            seen = entry.stat(follow_symlinks=not leads_nowhere)
        except FileNotFoundError:
            return None
        key = self._key(top, entry.name)
        etag = _etag(seen) if name_of(key) == key else _NO_TEXT
        return Stored(key=name_of(key), size_bytes=seen.st_size, etag=etag, modified_ms=seen.st_mtime_ns // 1_000_000)

    @staticmethod
    def _key(top: str, name: str) -> str:
        return f"{top}/{name}" if top else name


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _etag(seen: os.stat_result) -> str:
    return f"{seen.st_mtime_ns:x}-{seen.st_size:x}"
