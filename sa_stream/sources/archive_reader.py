"""Files of the archive come in, their pieces go out in the order asked, with an outcome for each file: one that cannot
be read stops no other."""

from collections.abc import Iterator, Sequence

from sa_stream.archive.files import Archive_File
from sa_stream.archive.reads import File_Read
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.log_file import Log_Lines, Log_Table
from sa_stream.sources.log_part import Log_Part
from sa_stream.sources.log_reader import read_log
from sa_stream.sources.read_ahead import AHEAD_BYTES_MAX, THREADS, Range_Store, Read_Ahead


class Archive_Reader:
    """Reads ahead, in parallel, within a memory limit (see Read_Ahead)."""

    def __init__(self, store: Range_Store, bytes_max: int = AHEAD_BYTES_MAX, threads: int = THREADS) -> None:
        self._store = store
        self._bytes_max = bytes_max
        self._threads = threads

    def logs(self, files: Sequence[Archive_File]) -> Iterator[tuple[File_Read, Iterator[Log_Lines | Log_Table]]]:
        """Each file, and its pieces, which must be taken before the next file; they are asked for at once. What cannot
        be read is noted at the file, after the lines that could; nothing is raised."""
        ahead = Read_Ahead(self._store, files, self._bytes_max, self._threads)
        ahead.ask()
        return _logs(ahead, files)


def _logs(
    ahead: Read_Ahead, files: Sequence[Archive_File]
) -> Iterator[tuple[File_Read, Iterator[Log_Lines | Log_Table]]]:
    try:
        for index, file in enumerate(files):
            read = File_Read(file.name, stored=file)
            yield read, _pieces(read, ahead, index)
    finally:
        ahead.close()


def _pieces(read: File_Read, ahead: Read_Ahead, index: int) -> Iterator[Log_Lines | Log_Table]:
    try:
        yield from read_log(Log_Part(read.name, read.stored.size_bytes, lambda: ahead.open(index)), read)
    except (Source_Error, Store_Unavailable) as error:
        read.error = str(error)
        read.again = isinstance(error, Store_Unavailable)
