"""What was read from the cache service is remembered for a while, as the seed's metrics are, so that many who look at
the same day cost it one read: keys come in, entries go out."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Not_In_Time
from typing import Any

from msgspec import Struct
from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Store_Unavailable
from sa_stream.rollups.entry_form import checked
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.host_cache import cache_of
from sa_stream.timing import Moment, moment

READS_MAX = 8  # of the cache service, at once
WAITING_MAX = 4_000  # keys that are being read, or wait for it
DEADLINE_MS = 9_000  # of all reads of a call
REMEMBERED_CHARACTERS_MAX = 16 << 20  # of JSON; as objects about four times that

_FOLDER, _ID = "folder:", "id:"  # what no key of an entry begins with

type Entry = Mapping[str, Any]  # shared by all who asked for it: nobody may change it

# fmt: off


class Service__SA__Cache(Type_Safe):
    """Final entries are believed for `final_s` seconds, as a late record may still revise them; what is partial or not
    there for `partial_s`. At most 8 reads go on at once, and who asks for what is being read waits for that read."""

    send_cache_client : Any                                  # ours, or any object with a `cache_client`
    final_s           : Safe_UInt = 60
    partial_s         : Safe_UInt = 5

    # fmt: on

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        given = self.send_cache_client
        self._cache = given if given is None or hasattr(given, "retrieve_entry") else cache_of(given)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._characters = 0
        self._reading: dict[str, Future[Entry | None]] = {}
        self._pool = ThreadPoolExecutor(READS_MAX, "sa-read")

    def get(self, key: str, force_refresh: bool = False, clock: Callable[[], Moment] = moment) -> Entry | None:
        """The entry of this key in `sa-cloudfront-aggregate`; None if there is none. Raises Store_Unavailable."""
        return self.get_many([key], force_refresh, clock)[key]

    def get_many(
        self, keys: Iterable[str], force_refresh: bool = False, clock: Callable[[], Moment] = moment
    ) -> dict[str, Entry | None]:
        """Each key with its entry, or None.

        force_refresh  read the cache service, whatever is remembered

        Raises Store_Unavailable, also if the reads take more than 9 s together.
        """
        now, found, reads = clock(), dict[str, Entry | None](), dict[str, Future[Entry | None]]()
        with self._lock:
            for key in keys:
                known = self._known.get(key)
                if known is not None and not force_refresh and self._is_fresh(known, now):
                    found[key] = known.entry
                    self._known.move_to_end(key)
                elif key not in reads:
                    reads[key] = self._read(key, now + DEADLINE_MS, clock)
        for key, read in reads.items():
            try:
                found[key] = read.result(max(0, (now + DEADLINE_MS) - clock()) / 1000)
            except Not_In_Time:
                raise _slow() from None
        return found

    def names_in(self, folder: str) -> list[str]:
        """Names of what lies in a folder of entries, such as `daily`; '' has the periods. Raises Store_Unavailable."""
        found = self.get(f"{_FOLDER}{folder}")
        return list(found["names"]) if found else []

    def get_by_id(self, cache_id: str) -> Entry | None:
        """The entry with this id of the cache service; None if there is none. Raises Store_Unavailable."""
        return self.get(f"{_ID}{cache_id}")

    def _is_fresh(self, known: "_Known", now: Moment) -> bool:
        final = known.entry is not None and known.entry.get("status") == "final"
        return now - known.read < 1_000 * int(self.final_s if final else self.partial_s)

    def _read(self, key: str, deadline: Moment, clock: Callable[[], Moment]) -> "Future[Entry | None]":
        """The read of this key that goes on, or a new one. Under the lock."""
        reading = self._reading.get(key)
        if reading is None:
            if len(self._reading) >= WAITING_MAX:
                raise Store_Unavailable("The cache service has too many reads to do already: ask again a little later")
            reading = self._pool.submit(self._fetch, key, deadline, clock)
            self._reading[key] = reading
        return reading

    def _fetch(self, key: str, deadline: Moment, clock: Callable[[], Moment]) -> Entry | None:
        try:
            if clock() - deadline > 0:
                raise _slow()  # whoever asked for it is gone
            entry = self._look_up(key)
            characters = 100 if entry is None else len(json.dumps(entry, ensure_ascii=False))
            with self._lock:
                self._keep(key, _Known(entry, characters, clock()))
            return entry
        finally:
            with self._lock:
                self._reading.pop(key, None)

    def _look_up(self, key: str) -> Entry | None:
        if key.startswith(_FOLDER):
            path = f"{NS_SA_AGGREGATE}/data/key-based/{key.removeprefix(_FOLDER)}".rstrip("/")
            return {"names": self._cache.list_folders(path)}
        if key.startswith(_ID):
            return self._cache.retrieve_by_id(NS_SA_AGGREGATE, key.removeprefix(_ID))
        entry = self._cache.retrieve_entry(NS_SA_AGGREGATE, key)
        return None if entry is None else checked(key, entry)

    def _keep(self, key: str, known: "_Known") -> None:
        before = self._known.pop(key, None)
        self._characters += known.characters - (0 if before is None else before.characters)
        self._known[key] = known
        while self._characters > REMEMBERED_CHARACTERS_MAX:
            _, oldest = self._known.popitem(last=False)
            self._characters -= oldest.characters


class _Known(Struct, frozen=True):
    entry: Entry | None
    characters: int
    read: Moment


def _slow() -> Store_Unavailable:
    return Store_Unavailable("The cache service takes too long for what was asked: ask again, or for less at once")
