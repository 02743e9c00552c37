"""The archive of log files: a time comes in, the files that may hold its records go out, found without listing the
bucket."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from msgspec.structs import asdict

from sa_stream.archive.files import Archive_File, Found, Stored
from sa_stream.archive.layout import AUTO, LAYOUTS, Layout, List_Request, Places, is_folder
from sa_stream.errors import Source_Error
from sa_stream.sources.archive_store import Archive_Store, Page
from sa_stream.sources.folder_archive import Folder_Archive
from sa_stream.sources.read_ahead import THREADS
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS


class Archive:
    """Files below a prefix, in one of the known layouts.

    settle_ms  how long after its event a record may arrive and still be looked for
    """

    def __init__(self, store: Archive_Store, places: Places, settle_ms: int) -> None:
        self.store = store
        self.places = places
        self.settle_ms = settle_ms

    def files_of_window(self, start_ms: int) -> Found:
        """Those that may hold records of one window. Raises Source_Error, Store_Unavailable."""
        return self.files_between(start_ms, start_ms + WINDOW_MS)

    def files_between(self, from_ms: int, until_ms: int) -> Found:
        """Those that may hold records with event times in [from_ms, until_ms). Raises Source_Error,
        Store_Unavailable."""
        files: list[Archive_File] = []
        list_requests = 0
        for request in self.places.requests(from_ms, until_ms, self.settle_ms):
            start_after, more = "", True
            while more:
                page = self.store.page(request.prefix, start_after)
                list_requests += 1
                files += self._taken(page, request, from_ms, until_ms)
                start_after, more = self._next_after(request, page), page.more
        return Found(tuple(sorted(files, key=lambda file: (file.oldest.from_ms, file.key))), list_requests)

    def as_it_is(self, file: Archive_File) -> Archive_File | None:
        """What lies now where a file was found before; None: nothing. Raises Source_Error, Store_Unavailable."""
        stored = self.stored(file.key)
        return None if stored is None else self._file(stored)

    def stored(self, key: str) -> Stored | None:
        """The object of this key; None: there is none. Raises Source_Error, Store_Unavailable."""
        first = self.store.page(key).objects[:1]  # the shortest key with this beginning comes first
        return first[0] if first and first[0].key == key else None

    def files_before(self, until_ms: int) -> Iterator[Archive_File]:
        """Every file whose oldest record came before then, in the order of the keys. Raises Source_Error,
        Store_Unavailable."""
        start_after, more = "", True
        while more:
            page = self.store.page(self.places.base, start_after)
            for file in filter(None, map(self._file, page.objects)):
                if file.oldest.from_ms >= until_ms + DAY_MS:  # folders of other zones are in between
                    return
                if file.oldest.from_ms < until_ms:
                    yield file
            start_after, more = page.objects[-1].key if page.objects else "", page.more

    def newest(self, now_ms: int) -> Archive_File | None:
        """The file that landed last: of those of the last hour, or else of those in the last folder. None if there is
        none. Raises Source_Error, Store_Unavailable."""
        files = self.files_between(now_ms - HOUR_MS, now_ms).files or self._in_last_folder()
        return max(files, key=lambda file: (file.modified_ms, file.key), default=None)

    def _in_last_folder(self) -> list[Archive_File]:
        """A request for each level, and one for every thousand files."""
        for folder in _deepest(self.store, self.places.base, self.places.layout.folders, newest_first=True):
            objects: list[Stored] = []
            more = True
            while more:
                page = self.store.page(folder, objects[-1].key if objects else "")
                objects += page.objects
                more = page.more
            if files := list(filter(None, map(self._file, objects))):
                return files
        return []

    def _file(self, stored: Stored) -> Archive_File | None:
        """None if it is none of the layout's, or empty: consoles make empty objects to stand for folders."""
        oldest = self.places.oldest(stored.key) if stored.size_bytes else None
        if oldest is None:
            return None
        name = self.store.name_of(stored.key)
        return Archive_File(**asdict(stored), name=name, oldest=oldest)

    def _taken(self, page: Page, request: List_Request, from_ms: int, until_ms: int) -> list[Archive_File]:
        wanted = (stored for stored in page.objects if request.wants(self.places.name_time(stored.key)))
        files = (file for stored in wanted if (file := self._file(stored)) is not None)
        return [file for file in files if file.oldest.may_hold(from_ms, until_ms, self.settle_ms)]

    def _next_after(self, request: List_Request, page: Page) -> str:
        if not page.objects:
            return ""
        last = page.objects[-1].key
        return request.next_after(last, self.places.name_time(last))


def open_store(
    place: str, connections: int = THREADS, clock: Source_Clock | None = None, region: str | None = None
) -> Archive_Store:
    """The store that LOGS_BUCKET names: a bucket (in a region, or where AWS's own settings say), or a folder (`file://`
    and a path, or a path with a slash). The clock hears of the times that its answers tell."""
    if "/" in place:
        return Folder_Archive(place.removeprefix("file://"), clock)
    from sa_stream.sources.s3_archive import S3_Archive  # loads boto3, which takes longer than reading many a file

    return S3_Archive(place, connections, clock, region)


def find_places(store: Archive_Store, prefix: str, layout_name: str, zone: tzinfo) -> Places:
    """Where the files of the archive below a prefix lie: as LOGS_LAYOUT says, or found by looking at its oldest and its
    newest day. Raises Source_Error if there is no known layout, or more than one; Store_Unavailable."""
    base = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if layout_name != AUTO:
        return Places(base, LAYOUTS[layout_name], zone)
    for place in dict.fromkeys((base, prefix)):  # Firehose puts no slash between its prefix and the year
        found = [layout for layout in (_looked(store, place, "hive-"), _looked(store, place, "")) if layout is not None]
        if len(found) > 1:
            raise Source_Error(
                f"{store.name_of(place)} has log files in two layouts, {found[0].name} and {found[1].name}: set "
                "SGRAPH_SEND__SA_LOGS_LAYOUT to one of them"
            )
        if found:
            return Places(place, found[0], zone)
    raise Source_Error(
        f"{store.name_of(base)} has no folders of a known layout (2026/02/16/14/, or year=2026/month=02/day=16/): "
        "check SGRAPH_SEND__SA_LOGS_BUCKET and SGRAPH_SEND__SA_LOGS_PREFIX, or set SGRAPH_SEND__SA_LOGS_LAYOUT"
    )


def _looked(store: Archive_Store, base: str, family: str) -> Layout | None:
    """The layout of the oldest and the newest day. The one of days holds the files of the one of hours too, so it is
    the one where both occur."""
    hours, days = LAYOUTS[f"{family}hours"], LAYOUTS[f"{family}days"]
    hourly = set()
    for newest_first in (False, True):
        for folder in _deepest(store, base, days.folders, newest_first):
            day = store.page(folder, by_folder=True)
            in_day = any(stored.size_bytes for stored in day.objects)
            by_hour = any(is_folder(name, hours.folders[-1]) for name in day.folders)
            if in_day or by_hour:
                hourly.add(not in_day)
                break
    if not hourly:
        return None
    return hours if hourly == {True} else days


def _deepest(store: Archive_Store, base: str, forms: Sequence[str], newest_first: bool) -> Iterator[str]:
    """The last folders of a layout, in the order of time. There may be nothing in one: its files went elsewhere, or a
    console made it."""
    if not forms:
        yield base
        return
    for name in sorted(_folders(store, base, forms[0]), reverse=newest_first):
        yield from _deepest(store, f"{base}{name}/", forms[1:], newest_first)


def _folders(store: Archive_Store, base: str, form: str) -> list[str]:
    """Names of a level of a layout, right below `base`."""
    # Other things may lie before the first of them, more than a page; years begin with 2.
    page = store.page(base, base + form.replace("%Y", "2").partition("%")[0], by_folder=True)
    return [name for name in page.folders if is_folder(name, form)]
