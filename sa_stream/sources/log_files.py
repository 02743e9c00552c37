"""Log files as a bounded input: files, folders, standard input or S3 objects come in; their pieces go out, and a note
for each file.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.log_file import Log_File, Log_Lines, Log_Table, place_of
from sa_stream.sources.local_file import Found, Local_File, identity_of, name_of
from sa_stream.sources.log_part import Log_Part
from sa_stream.sources.log_ranges import range_bytes_for, ranges_of
from sa_stream.sources.log_reader import BUFFER_BYTES, read_log, unreadable

if TYPE_CHECKING:
    from sa_stream.sources.s3_log_files import Buckets, Log_Object

type Log_Place = "Log_Part | Log_Object"
type Logs = Iterator[tuple[Log_File, Iterator[Log_Lines | Log_Table]]]

# Names of what a process has open: under them another process has something else, or nothing.
_OF_ONE_PROCESS = ("/dev/fd/", "/dev/std", "/proc/")


def _nothing(read_bytes: int) -> None:
    pass


class Open_Logs:
    """Opens logs that Log_Files has found, in any process.

    ahead  whether a thread reads and unpacks ahead: where no other process does
    """

    def __init__(self, buckets: "Buckets | None", buffer_bytes: int = BUFFER_BYTES, ahead: bool = False) -> None:
        self._buckets = buckets
        self._buffer_bytes = buffer_bytes
        self._ahead = ahead

    def __call__(self, places: Sequence[Log_Place], on_read: Callable[[int], None] = _nothing) -> Logs:
        """A note of each, and its pieces, which are to be taken before the next one; what it cannot give is noted."""
        objects = [place for place in places if not isinstance(place, Log_Part)]
        ahead = iter(self._buckets.read_ahead(objects) if self._buckets is not None else ())
        return self._logs([place if isinstance(place, Log_Part) else next(ahead) for place in places], on_read)

    def _logs(self, parts: Sequence[Log_Part], on_read: Callable[[int], None]) -> Logs:
        for part in parts:
            file = Log_File(part.name)
            yield file, self._pieces(part, file, on_read)

    def _pieces(
        self, part: Log_Part, file: Log_File, on_read: Callable[[int], None]
    ) -> Iterator[Log_Lines | Log_Table]:
        try:
            yield from read_log(part, file, self._buffer_bytes, on_read, self._ahead)
        except (Source_Error, Store_Unavailable) as error:
            file.error = str(error)


class Log_Files:
    """Iterate over it for pieces: lines in buffers of about 1 MiB, or a table. What one file cannot give is noted, and
    the next one is read.

    `paths`: files, folders (recursively, sorted, links followed, names that begin with a dot left out), `-` for
    standard input, or `s3://bucket/prefix`. They are looked up at once: Config_Error for one that is none of these,
    Source_Error if it is missing, forbidden or empty of files, Store_Unavailable if S3 does not answer.

    places       every log that was found
    files        a note for each file that was opened, and for each folder that was skipped
    total_bytes  size of all files as stored (packed ones packed), None with one among them that can only be read once,
                 and here: standard input, a pipe
    done_bytes   how much of that was read so far
    """

    def __init__(self, paths: Sequence[str | Path], buffer_bytes: int = BUFFER_BYTES) -> None:
        self.files: list[Log_File] = []
        self._buckets: Buckets | None = None
        self.places: list[Log_Place] = [place for path in paths for place in self._found(str(path))]
        self._buffer_bytes = buffer_bytes
        self.done_bytes = 0
        sizes = [place.size_bytes for place in self.places]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)

    def __iter__(self) -> Iterator[Log_Lines | Log_Table]:
        alone = Open_Logs(self._buckets, self._buffer_bytes, ahead=True)
        for file, pieces in alone(self.places, self._count):
            self.files.append(file)
            yield from pieces

    def split(self, jobs: int) -> None:
        """Make `places` of large plain files one for each of their ranges, for so many processes."""
        range_bytes = range_bytes_for(self.total_bytes or 0, jobs)
        places: list[Log_Place] = []
        for place in self.places:
            places += ranges_of(place, range_bytes) if isinstance(place, Log_Part) else [place]
        self.places = places

    @property
    def opener(self) -> Open_Logs:
        """Opens some of `places`."""
        return Open_Logs(self._buckets, self._buffer_bytes)

    def _count(self, read_bytes: int) -> None:
        self.done_bytes += read_bytes

    def _found(self, path: str) -> "Sequence[Log_Place]":
        if path == "-":
            if sys.stdin is None:
                raise Source_Error("standard input cannot be read: it is closed")
            return [Log_Part("standard input", None, lambda: _Standard_Input(sys.stdin.buffer))]
        scheme, place = place_of(path)
        if scheme == "s3":
            from sa_stream.sources.s3_log_files import Buckets  # loads boto3, which takes longer than many a file

            self._buckets = self._buckets or Buckets()
            return self._buckets.objects_below(place)
        path = place
        try:
            found = os.stat(path)
        except OSError as error:
            raise unreadable(name_of(path), error) from error
        if not stat.S_ISDIR(found.st_mode):
            ours = os.path.abspath(path).startswith(_OF_ONE_PROCESS)
            return [_file_part(path, found.st_size if stat.S_ISREG(found.st_mode) and not ours else None)]
        told = len(self.files)
        parts = self._below(path)
        if not parts and not any(file.error for file in self.files[told:]):
            raise Source_Error(f"{name_of(path)} is a folder without files")
        return parts

    def _below(self, folder: str) -> list[Log_Part]:
        """The files in a folder, in the order of their paths. Folders that were come to before, by a link, are
        skipped."""
        parts: list[tuple[Path, Log_Part]] = []
        known: dict[tuple[int, int], str] = {}

        def forbidden(error: OSError) -> None:
            name = name_of(error.filename)
            if error.filename == folder:
                raise unreadable(name, error) from error
            self.files.append(Log_File(name, error=str(unreadable(name, error))))

        for root, folders, names in os.walk(folder, onerror=forbidden, followlinks=True):
            try:
                found = os.stat(root)
            except OSError as error:
                forbidden(error)
                folders.clear()
                continue
            identity = identity_of(found)
            if identity in known:
                name = name_of(root)
                skipped = f"{name} is the folder {known[identity]}, which is read once"
                self.files.append(Log_File(name, warning=skipped))
                folders.clear()
                continue
            known[identity] = name_of(root)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                path = Path(root, name)
                if name.startswith("."):
                    continue
                try:
                    found = os.stat(path)
                except OSError:  # its reader says so, in its place
                    parts.append((path, _file_part(str(path), 0)))
                    continue
                if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
                    name = name_of(path)
                    self.files.append(Log_File(name, warning=f"{name} is no file: it is skipped"))
                    continue
                parts.append((path, _file_part(str(path), found.st_size)))
        return [part for _, part in sorted(parts, key=lambda found: found[0])]


def _file_part(path: str, size_bytes: int | None) -> Log_Part:
    return Log_Part(name_of(path), size_bytes, partial(Local_File, path, Found(size_bytes)), path=path)


class _Standard_Input:
    """Standard input that is not closed when it has been read: it belongs to the process."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.read = stream.read

    def close(self) -> None:
        pass
