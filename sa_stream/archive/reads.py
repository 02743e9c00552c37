"""What became of a file of the archive when it was read."""

from collections import Counter

from msgspec import field

from sa_stream.archive.files import Archive_File
from sa_stream.log_file import Log_File


class File_Read(Log_File, kw_only=True):
    """A file of the archive, with what Log_File says of any.

    stored  which file
    starts  window (start in ms) -> well-formed records of it, windows that nobody asked for among them
    again   whether it may be read another time: its store did not answer, or was busy. Else `error` stays
    """

    stored: Archive_File
    starts: Counter[int] = field(default_factory=Counter)
    again: bool = False
