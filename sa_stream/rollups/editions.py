"""The order of an entry's final versions, kept where a put can be conditional: in the state store.

The cache takes whatever comes last, also from a writer that stood still for hours before its write. So each final
version of an entry is first created as the next of its *editions*, a create-only object with the whole entry in it. One
writer makes each edition, from the one before it; the highest is what the cache must show. A cache that shows less has
gone back, and is given the edition again.

An edition is never forgotten, however old: a number of one must not get a second content, and a writer may sleep for
days. Those of a closed day (or month) are kept together in one object, so their number does not grow; but not those
that have no room there, as names that strangers have made up can make them too large to be read for one of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import batched

from msgspec import Struct

from sa_stream.commits.keys import EDITIONS_PREFIX, closed_editions_key, edition_key
from sa_stream.commits.operations import Steps, call, drive, together
from sa_stream.commits.ports import Listed, Store
from sa_stream.errors import Corrupt_State, Store_Unavailable
from sa_stream.format import pack, unpack
from sa_stream.log import OBJECT_UNREADABLE, Log
from sa_stream.rollups.entry import FINAL, OURS, Entry
from sa_stream.rollups.periods import CLOSED_BY, end_of, parse_cache_key, start_of, time_key
from sa_stream.rollups.readable import fault_of
from sa_stream.rollups.versions import version_of
from sa_stream.timing import NEVER_MS

log = Log("editions")

KIND, CLOSED_KIND = "edition", "closed-editions"
CLOSED_BYTES_MAX = 32 << 20  # that are kept together: all in memory are several times as many
READ_AT_ONCE = 16
LISTINGS_MAX = 5  # while others put newer editions and delete older ones

type Kept = tuple[int, Entry | None]  # number and entry of an edition
NONE_KEPT: Kept = (-1, None)


class Editions(Struct, frozen=True):
    """What there is of a key: the highest edition's entry (None: there is none, or none that can be read), the number
    that the next one gets, and the keys of all."""

    entry: Entry | None
    next_number: int
    keys: tuple[str, ...]


def editions_steps(store: Store, key: str, closed_until_ms: int) -> Steps[Editions]:
    """One LIST and, if there are any, one GET; another GET of an entry that may be closed, as what closes it ended
    before `closed_until_ms`. Raises Store_Unavailable, Unknown_Version."""
    folder = edition_key(key, 0).rpartition("/")[0]
    for _ in range(LISTINGS_MAX):
        listed: Sequence[Listed] = yield call(store.list, f"{folder}/")
        numbers = sorted(int(item.key.rpartition("/")[2]) for item in listed)
        keys = tuple(edition_key(key, number) for number in numbers)
        kept_number, kept = yield from _kept_steps(store, key, closed_until_ms)
        next_number = max([kept_number, *numbers]) + 1
        for number in reversed(numbers):
            if number <= kept_number:
                return Editions(kept, next_number, keys)  # made by somebody who had slept since before it was closed
            name = edition_key(key, number)
            data: bytes | None = yield call(store.get, name)
            if data is None:
                break  # deleted since, so there is a higher one
            try:
                entry: Entry = unpack(KIND, data, name)
            except Corrupt_State as error:  # torn by a power cut: the one before it, or the cache, has to do
                log.tell(OBJECT_UNREADABLE, f"an edition is lost: {error}", key=name)
                continue
            if _is_sound(key, entry, name):
                return Editions(entry, next_number, keys)
        else:
            return Editions(kept, next_number, keys)
    raise Store_Unavailable(f"The editions of {key} were replaced faster than they could be read: the next round tries")


def close_steps(store: Store, period: str, whole_ms: int, listed: Iterable[str]) -> Steps[None]:
    """Keep the highest editions of the entries of a period that are part of a closed whole together, then delete them
    and those below. `listed`: keys of editions, of any whole. A second closing adds nothing to the first: what came
    later stays where it is, as what has no room there."""
    whole = time_key(CLOSED_BY[period], whole_ms)
    numbers: dict[str, list[int]] = {}
    for name in listed:
        if name.startswith(f"{EDITIONS_PREFIX}{period}/{whole}-"):
            key, _, number = name.removeprefix(EDITIONS_PREFIX).rpartition("/")
            numbers.setdefault(key, []).append(int(number))
    together_key = closed_editions_key(period, whole)
    data: bytes | None = yield call(store.get, together_key)
    if numbers and data is None:
        kept = yield from _highest_steps(store, numbers)
        data = pack(CLOSED_KIND, kept)
        if not (yield call(store.create, together_key, data)):
            data = yield call(store.get, together_key)
    kept = _understood(data, together_key)
    obsolete = [
        edition_key(key, number)
        for key, each in numbers.items()
        for number in each
        if number <= kept.get(key, NONE_KEPT)[0]
    ]
    if obsolete:
        yield call(store.delete, obsolete)


def forget_steps(store: Store, period: str, whole_ms: int, keys: Iterable[str]) -> Steps[None]:
    """Give up entries of a closed day (or month) that were pruned: nothing is left to restore them from, and the
    numbers of their editions stay taken, so that none gets a second content."""
    whole, keys = time_key(CLOSED_BY[period], whole_ms), list(keys)
    folder = f"{EDITIONS_PREFIX}{period}/"
    listed: Sequence[Listed] = yield call(store.list, folder)
    names = [item.key for item in listed]
    yield from close_steps(store, period, whole_ms, names)
    together_key = closed_editions_key(period, whole)
    kept = _understood((yield call(store.get, together_key)), together_key)
    given_up = dict(kept)
    obsolete = []
    for key in keys:
        later = [name for name in names if name.startswith(edition_key(key, 0).rpartition("0" * 6)[0])]
        numbers = [int(name.rpartition("/")[2]) for name in later]
        number = max([kept.get(key, NONE_KEPT)[0], *numbers])
        if number >= 0:
            given_up[key] = number, None
        obsolete += later
    if given_up != kept:
        yield call(store.put, together_key, pack(CLOSED_KIND, given_up))
    if obsolete:
        yield call(store.delete, obsolete)


def _highest_steps(store: Store, numbers: Mapping[str, Sequence[int]]) -> Steps[dict[str, Kept]]:
    """Entry -> its highest edition of these, if it can be read and there is room for it."""
    highest_of = {key: max(each) for key, each in numbers.items()}
    kept: dict[str, Kept] = {}
    room = CLOSED_BYTES_MAX
    for group in batched(highest_of.items(), READ_AT_ONCE):
        found = yield from together(call(store.get, edition_key(key, number)) for key, number in group)
        for (key, number), data in zip(group, found, strict=True):
            try:
                if data is not None and len(data) <= room:
                    kept[key] = number, unpack(KIND, data, edition_key(key, number))
                    room -= len(data)
            except Corrupt_State as error:
                log.tell(OBJECT_UNREADABLE, f"an edition is lost: {error}", key=edition_key(key, number))
    return kept


def _kept_steps(store: Store, key: str, closed_until_ms: int) -> Steps[Kept]:
    """What was kept of an entry when it was closed."""
    period, start_ms = parse_cache_key(key)
    whole = CLOSED_BY.get(period)
    if whole is None or end_of(whole, start_of(whole, start_ms)) >= closed_until_ms:
        return NONE_KEPT
    name = closed_editions_key(period, time_key(whole, start_of(whole, start_ms)))
    data: bytes | None = yield call(store.get, name)
    number, entry = _understood(data, name).get(key, NONE_KEPT)
    return (number, entry) if entry is None or _is_sound(key, entry, name) else (number, None)


def _is_sound(key: str, entry: Entry, name: str) -> bool:
    """Versions before made editions of entries that were damaged in the cache, and could not go on from them."""
    fault = fault_of(key, entry)
    if fault is not None:
        log.tell(OBJECT_UNREADABLE, f"an edition is lost: {name} has no entry of {key}: {fault}", key=name)
    return fault is None


def _understood(data: bytes | None, name: str) -> dict[str, Kept]:
    try:
        return {} if data is None else dict(unpack(CLOSED_KIND, data, name))
    except Corrupt_State as error:
        log.tell(OBJECT_UNREADABLE, f"the editions of a closed period are lost: {error}", key=name)
        return {}


def create_edition(store: Store, key: str, number: int, entry: Entry) -> Entry | None:
    """Make this entry the edition of this number. The entry as it is kept there, which may be somebody else's equal
    one; None if this number is another version's."""
    kept_number, _ = drive(_kept_steps(store, key, NEVER_MS))
    if number <= kept_number:
        return None  # it was closed while we slept
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
    if shown.get("provenance") not in OURS:
        return shown
    return shown if shown["status"] == FINAL and shown["revision"] > edition["revision"] else edition
