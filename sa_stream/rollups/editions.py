"""The order of an entry's final versions, kept where a put can be conditional: in the state store.

The cache takes whatever comes last, also from a writer that stood still for hours before its write. So each final
version of an entry is first created as the next of its *editions*, a create-only object with the whole entry in it. One
writer makes each edition, from the one before it; the highest is what the cache must show. A cache that shows less has
gone back, and is given the edition again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sa_stream.commits.keys import edition_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Listed, Store
from sa_stream.errors import Corrupt_State, Store_Unavailable
from sa_stream.format import pack, unpack
from sa_stream.log import OBJECT_UNREADABLE, Log
from sa_stream.rollups.entry import FINAL, STREAM, Entry
from sa_stream.rollups.versions import version_of

log = Log("editions")

KIND = "edition"
LISTINGS_MAX = 5  # while others put newer editions and delete older ones


@dataclass(frozen=True, slots=True)
class Editions:
    """What there is of a key: the highest edition's entry (None: there is none, or none that can be read), the number
    that the next one gets, and the keys of all."""

    entry: Entry | None
    next_number: int
    keys: tuple[str, ...]


def editions_steps(store: Store, key: str) -> Steps[Editions]:
    """One LIST and, if there are any, one GET. Raises Store_Unavailable, Unknown_Version."""
    folder = edition_key(key, 0).rpartition("/")[0]
    for _ in range(LISTINGS_MAX):
        listed: Sequence[Listed] = yield call(store.list, f"{folder}/")
        numbers = sorted(int(item.key.rpartition("/")[2]) for item in listed)
        keys = tuple(edition_key(key, number) for number in numbers)
        next_number = numbers[-1] + 1 if numbers else 0
        for name in reversed(keys):
            data: bytes | None = yield call(store.get, name)
            if data is None:
                break  # deleted since, so there is a higher one
            try:
                return Editions(unpack(KIND, data, name), next_number, keys)
            except Corrupt_State as error:  # torn by a power cut: the one before it, or the cache, has to do
                log.tell(OBJECT_UNREADABLE, f"an edition is lost: {error}", key=name)
        else:
            return Editions(None, next_number, keys)
    raise Store_Unavailable(f"The editions of {key} were replaced faster than they could be read: the next round tries")


def create_edition(store: Store, key: str, number: int, entry: Entry) -> Entry | None:
    """Make this entry the edition of this number. The entry as it is kept there, which may be somebody else's equal
    one; None if this number is another version's."""
    name = edition_key(key, number)
    if store.create(name, pack(KIND, entry)):
        return entry
    data = store.get(name)
    try:
        there: Entry | None = None if data is None else unpack(KIND, data, name)
    except Corrupt_State:
        return None
    return there if version_of(there) == version_of(entry) else None


def highest(shown: Entry | None, editions: Editions) -> Entry | None:
    """What counts as the entry, of what the cache shows and the editions: the edition, unless there is none, or the
    entry is not ours, or is further (of a program that made no editions)."""
    edition = editions.entry
    if edition is None or version_of(shown) == version_of(edition):
        return shown
    if shown is None:
        return edition
    if shown.get("provenance") != STREAM:
        return shown
    return shown if shown["status"] == FINAL and shown["revision"] > edition["revision"] else edition
