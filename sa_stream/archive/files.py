"""Files of the archive: when the oldest record of each arrived, and so which windows it may have records of."""

from msgspec import Struct

from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS

# Firehose gathers for at most 900 s, and names a file by the arrival of its oldest record; a minute for clocks that
# differ. https://docs.aws.amazon.com/firehose/latest/dev/create-destination.html, `Buffer interval`
BUFFERING_MS = 16 * MINUTE_MS
# Where only the folder tells the time: whoever wrote the file may have gathered for an hour.
FOLDER_REACH_MS = HOUR_MS


class Oldest(Struct, frozen=True):
    """When the oldest record of a file arrived: in [from_ms, until_ms), UTC.

    by_name  the file's name says it, to the second; else its folder, to the hour or the day
    """

    from_ms: int
    until_ms: int
    by_name: bool

    @property
    def reach_ms(self) -> int:
        """How long after its oldest record a file may still have taken in others."""
        return BUFFERING_MS if self.by_name else FOLDER_REACH_MS

    def may_hold(self, from_ms: int, until_ms: int, settle_ms: int) -> bool:
        """Whether the file may have records with event times in [from_ms, until_ms), if they arrived within
        `settle_ms`."""
        return self.until_ms > from_ms - self.reach_ms and self.from_ms < until_ms + settle_ms

    def is_looked_at(self, start_ms: int, settle_ms: int) -> bool:
        """Whether the file is not too late for a window, if records arrive within `settle_ms`."""
        return self.from_ms < start_ms + WINDOW_MS + settle_ms

    def starts(self, settle_ms: int) -> range:
        """Of which windows (start in ms) that may be: the reverse of `may_hold`."""
        first = (self.from_ms - settle_ms) // WINDOW_MS * WINDOW_MS
        last = (self.until_ms + self.reach_ms - 1) // WINDOW_MS * WINDOW_MS
        return range(first, last + 1, WINDOW_MS)


class Stored(Struct, frozen=True, kw_only=True):
    """An object of a store, as it was listed.

    storage_class  empty: the store has none
    sha256         of its content, in hex, where the store has it and was asked for this one object
    """

    key: str
    size_bytes: int
    etag: str
    modified_ms: int
    storage_class: str = ""
    sha256: str = ""


class Archive_File(Stored, frozen=True, kw_only=True):
    """A file of the archive. name: what people call it, `s3://bucket/key` or a path."""

    name: str
    oldest: Oldest


class Found(Struct, frozen=True):
    """Files by the arrival of their oldest record, then by key, and how many list requests it took to find them."""

    files: tuple[Archive_File, ...]
    list_requests: int
