"""Where the files of the archive lie: from a time to folders and names, and from a key to a time.

Firehose writes a file into the folder of its *oldest* record's arrival, and names it
`STREAM-VERSION-YYYY-MM-DD-HH-MM-SS-ID` by the same time; both are in the time zone that it was told.
https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html, .../s3-prefixes.html
"""

import re
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from msgspec import Struct

from sa_stream.archive.files import BUFFERING_MS, FOLDER_REACH_MS, Oldest

AUTO = "auto"
_NAME_TIME = "%Y-%m-%d-%H-%M-%S"
# Greedy: of two times in a name the last is Firehose's, as a random id follows it.
_NAMED = re.compile(
    r"(?P<stem>.+-)(?P<time>[0-9]{4}-[01][0-9]-[0-3][0-9]-(?:[01][0-9]|2[0-3])(?:-[0-5][0-9]){2})-[^/]+", re.DOTALL
)
_STEP_S = 900  # offsets from UTC change at full quarters of an hour
_AFTER_DIGITS = ":"  # the character after 9


class Layout(Struct, frozen=True):
    """Folders below the archive's prefix, one an hour or one a day.

    name     as in LOGS_LAYOUT
    folders  for strftime, one level after the other
    """

    name: str
    folders: tuple[str, ...]

    @property
    def hourly(self) -> bool:
        return len(self.folders) == 4

    @property
    def folder(self) -> str:
        return "".join(f"{level}/" for level in self.folders)


LAYOUTS = {
    "hive-hours": Layout("hive-hours", ("year=%Y", "month=%m", "day=%d", "hour=%H")),
    "hive-days": Layout("hive-days", ("year=%Y", "month=%m", "day=%d")),
    "hours": Layout("hours", ("%Y", "%m", "%d", "%H")),
    "days": Layout("days", ("%Y", "%m", "%d")),
}


class List_Request(Struct, frozen=True):
    """Keys to look at: those that begin with `prefix`; where names carry times (as in the name, in the archive's time
    zone) only those from `name_from` to `name_to`, both included."""

    prefix: str
    name_from: str
    name_to: str

    def wants(self, name_time: str | None) -> bool:
        return name_time is None or self.name_from <= name_time <= self.name_to

    def next_after(self, key: str, time: str | None) -> str:
        """After which key to go on when a page has ended with this one; `time` is what its name says, if it does.

        Keys sort by stem (stream and version), then by time: so a listing can go past what lies before `name_from`,
        and past what lies after `name_to` to the next stem, without seeing it.
        """
        if time is None:
            return key
        stem = key[: key.rindex(f"{time}-")]
        if time < self.name_from:
            return max(key, stem + self.name_from)
        return max(key, stem + _AFTER_DIGITS) if time > self.name_to else key


class Places(Struct, frozen=True):
    """An archive's layout in its time zone, below `base` (empty, or ending in a slash as a rule)."""

    base: str
    layout: Layout
    zone: tzinfo

    def requests(self, from_ms: int, until_ms: int, settle_ms: int) -> list[List_Request]:
        """What to list for the files that may have records with event times in [from_ms, until_ms), if they arrived
        within `settle_ms`: by folder, ascending."""
        times = self._locals(from_ms - BUFFERING_MS, until_ms + settle_ms)
        first, last = (format(time, _NAME_TIME) for time in (min(times), max(times)))
        folders = {
            format(time, self.layout.folder): None
            for time in self._locals(from_ms - FOLDER_REACH_MS, until_ms + settle_ms)
        }
        return [List_Request(self.base + folder, first, last) for folder in sorted(folders)]

    def oldest(self, key: str) -> Oldest | None:
        """When the oldest record of a file arrived; None if the key is not in the layout."""
        folder = self._folder_of(key)
        if folder is None:
            return None
        time = folder.time_in(key)
        if time is None:
            return Oldest(folder.from_ms, folder.until_ms, by_name=False)
        begin = datetime.fromisoformat(f"{time[:10]} {time[11:].replace('-', ':')}")  # quicker than strptime by far
        return Oldest(*_span(begin, 1, self.zone), by_name=True)

    def name_time(self, key: str) -> str | None:
        """The time in a file's name, as it stands there; None if there is none, or none of the file's folder: then
        somebody else gave the name."""
        folder = self._folder_of(key)
        return None if folder is None else folder.time_in(key)

    def _folder_of(self, key: str) -> "_Folder | None":
        if not key.startswith(self.base):
            return None
        parts = key[len(self.base) :].split("/", len(self.layout.folders))
        if len(parts) <= len(self.layout.folders):
            return None
        return _folder("/".join((*parts[:-1], "")), self.layout, self.zone)

    def _locals(self, from_ms: int, until_ms: int) -> list[datetime]:
        """Local times of [from_ms, until_ms): its ends, and both sides of every moment at which the offset from UTC may
        change; where it does, they neither ascend nor lack a gap."""
        first, last = from_ms // 1000, -(-until_ms // 1000) - 1
        steps = range(first // _STEP_S * _STEP_S, last + 1, _STEP_S)
        seconds = {first, last, *(second for step in steps for second in (step - 1, step) if first <= second <= last)}
        return [datetime.fromtimestamp(second, self.zone).replace(tzinfo=None) for second in sorted(seconds)]


class _Folder(Struct, frozen=True):
    """An hour or a day of an archive. name_begin: how the times in its files' names begin."""

    from_ms: int
    until_ms: int
    name_begin: str

    def time_in(self, key: str) -> str | None:
        named = _NAMED.fullmatch(key)
        return named["time"] if named is not None and named["time"].startswith(self.name_begin) else None


@lru_cache(maxsize=4096)
def _folder(text: str, layout: Layout, zone: tzinfo) -> _Folder | None:
    try:
        begin = datetime.strptime(text, layout.folder)
    except ValueError:
        return None
    if format(begin, layout.folder) != text:  # strptime takes one digit for two
        return None
    seconds, name = (3600, "%Y-%m-%d-%H") if layout.hourly else (86_400, "%Y-%m-%d")
    return _Folder(*_span(begin, seconds, zone), format(begin, name))


def _span(begin: datetime, seconds: int, zone: tzinfo) -> tuple[int, int]:
    """From when to when (UTC, ms) a local span may last: an hour that comes twice is two hours."""
    last = begin + timedelta(seconds=seconds - 1)
    return min(_instants(begin, zone)), max(_instants(last, zone)) + 1000


def _instants(local: datetime, zone: tzinfo) -> list[int]:
    return [int(local.replace(tzinfo=zone, fold=fold).timestamp()) * 1000 for fold in (0, 1)]


def is_folder(name: str, form: str) -> bool:
    """Whether the name of a folder has the form of a level of a layout."""
    return re.fullmatch(form.replace("%Y", "[0-9]{4}").replace(form[-2:], "[0-9]{2}"), name) is not None
