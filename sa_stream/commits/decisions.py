"""What is decided once for an application, and found by every worker and every restart in the state store: whose it is,
the stream that it was made from, the kind of runner that writes to it, where a first start begins, and how its records
are read. A Config_Error says who else has it and what to do.

Everything here is created once and never overwritten, so workers that start at the same time agree. An object that a
power cut tore is written again where its content follows from what asks, and passed over where it does not.
"""

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from sa_stream.commits.keys import (
    APPLICATION_KEY,
    FIELDS_KEY,
    ID_KEY,
    RUNNER_KEY,
    SNAPSHOTS_PREFIX,
    START_KEY,
    STREAMS_PREFIX,
)
from sa_stream.commits.ports import Cache, Named_Store, Store
from sa_stream.errors import Config_Error, Corrupt_State, Store_Unavailable
from sa_stream.format import pack, unpack
from sa_stream.log import FIELDS, POSITION_CLAMPED, Log
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import Field_List, Field_Lists, resolve_field_lists, setting_of
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import BEGINNING_MS

log = Log("decisions")

_STATE_URL = "SGRAPH_SEND__SA_STATE_URL"
_RUNNERS = {
    "kcl": "SGRAPH_SEND__SA_RUNNER=kcl",
    "local": "SGRAPH_SEND__SA_RUNNER=local",
    "archive": "SGRAPH_SEND__SA_SOURCE=s3",
}
_TORN_MAX = 100  # objects of one key that are passed over


class Stream_Identity(Struct, frozen=True):
    """What tells a stream from another one of the same name: a stream that was deleted and made anew has the same name
    and ARN, the same shard ids, and nothing else in common."""

    arn: str
    created_ms: int

    def __str__(self) -> str:
        created = datetime.fromtimestamp(self.created_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"{self.arn or 'of an unknown ARN'}, created at {created.replace('+00:00', 'Z')}"


# ---- whose it is


def claim_application(store: Named_Store, application: str, stream: str) -> None:
    """Stamp the store with the application and stream that own it, or check the stamp that is there.

    Raises Config_Error if it belongs to others, Unknown_Version if another version of the format wrote it,
    Corrupt_State if it is torn: then nobody knows whose it is.
    """
    mine = {"application": application, "stream": stream}
    if store.create(APPLICATION_KEY, pack("application", mine)):
        return
    data = store.get(APPLICATION_KEY)
    if data is None:
        raise Store_Unavailable(
            f"The state store {store.url} says that {APPLICATION_KEY} exists, and has no such object"
        )
    try:
        stamp = unpack("application", data, APPLICATION_KEY)
    except Corrupt_State as error:
        raise Corrupt_State(
            f"The state in {store.url} does not say whose it is, as after a power cut: {error}. If it belongs to "
            f"application {application!r} with stream {stream!r}, delete the object {APPLICATION_KEY} from it; else "
            f"point {_STATE_URL} at another place"
        ) from error
    if stamp == mine:
        return
    raise Config_Error(
        f"The state in {store.url} belongs to application {stamp['application']!r} with stream {stamp['stream']!r}; "
        f"this is application {application!r} with stream {stream!r}. Set SGRAPH_SEND__SA_APPLICATION and "
        f"SGRAPH_SEND__SA_STREAM back, or point {_STATE_URL} at another place"
    )


def claim_cache(cache: Cache, application: str, stream: str) -> None:
    """Stamp the cache with the application and stream whose entries it has, or check the stamp that is there: two
    streams call their first shard the same, so in one cache each would take the other's entries for older ones of its
    own. A cache knows no conditional write, so of two who come at the same moment one finds out at its next claim.

    Raises Config_Error if it belongs to others, Store_Unavailable.
    """
    mine = {"application": application, "stream": stream}
    stamp = cache.retrieve_entry(NS_SA_AGGREGATE, APPLICATION_KEY)
    if stamp is None:
        cache.store_entry(NS_SA_AGGREGATE, APPLICATION_KEY, mine)
        stamp = cache.retrieve_entry(NS_SA_AGGREGATE, APPLICATION_KEY) or mine
    if any(stamp.get(name) != value for name, value in mine.items()):
        raise Config_Error(
            f"The entries in the cache belong to application {stamp.get('application')!r} with stream "
            f"{stamp.get('stream')!r}; this is application {application!r} with stream {stream!r}. Set "
            "SGRAPH_SEND__SA_APPLICATION and SGRAPH_SEND__SA_STREAM back, or point SGRAPH_SEND__SA_CACHE_URL (or "
            "SGRAPH_SEND__SA_CACHE_PATH, of a cache in a directory) at another place"
        )


def store_id(store: Named_Store) -> str:
    """A random name that the state store gets once, and keeps wherever it is copied or moved to. Raises
    Store_Unavailable."""
    return _agreed(
        store,
        ID_KEY,
        lambda data: str(unpack("id", data, ID_KEY)["id"]),
        lambda: pack("id", {"id": secrets.token_hex(16)}),
    )


def claim_stream(store: Named_Store, stream: Stream_Identity) -> None:
    """Make the store this stream's if it is nobody's yet. A store that an older version has claimed without an identity
    gets it now.

    Raises Config_Error if it was made from another stream, Store_Unavailable.
    """
    if not store.list(STREAMS_PREFIX):
        adopt(store, stream)
    known = _current(store)
    if known.created_ms == stream.created_ms and not known.arn:  # torn: what it must be follows from its key
        store.put(_stream_key(stream), _packed(stream))
    elif known != stream:
        raise other_stream(f"the state in {store.url} was made from", known, stream)


def known_stream(store: Named_Store) -> Stream_Identity | None:
    """The stream that the store was made from; None: none yet, or nobody can read which."""
    known = _current(store) if store.list(STREAMS_PREFIX) else None
    return known if known is not None and known.arn else None


def took_over_ms(store: Named_Store) -> int | None:
    """When the store's stream was created, if it had another one before; None if it is its first."""
    return _current(store).created_ms if len(store.list(STREAMS_PREFIX)) > 1 else None


def adopt(store: Named_Store, stream: Stream_Identity) -> None:
    """From now on the store is this stream's, which was made after those that it had before. They stay on record."""
    store.create(_stream_key(stream), _packed(stream))


def other_stream(whose: str, known: Stream_Identity, found: Stream_Identity) -> Config_Error:
    """whose: beginning of a sentence that `known` ends."""
    return Config_Error(
        f"The stream is not the one that {whose}: that is {known}; the one that SGRAPH_SEND__SA_STREAM names now is "
        f"{found}. Nothing that was kept of the old one fits the new one: point {_STATE_URL} at another place and set "
        "SGRAPH_SEND__SA_APPLICATION to another name, or run `sa-stream adopt-stream`, which declares the old one "
        "ended"
    )


def claim_runner(store: Named_Store, runner: str) -> None:
    """Make the store that of this kind of runner, `kcl`, `local` or `archive`: each keeps its checkpoints elsewhere,
    and deletes what the other one commits.

    Raises Config_Error if it is the other kind's, Store_Unavailable.
    """
    mine = pack("runner", {"runner": runner})
    if store.create(RUNNER_KEY, mine):
        return
    found = _read(store, "runner", RUNNER_KEY)
    if found is None:  # torn
        store.put(RUNNER_KEY, mine)
    elif found["runner"] != runner:
        raise Config_Error(
            f"The state in {store.url} is read for by {_RUNNERS[found['runner']]}; this is {_RUNNERS[runner]}, and the "
            f"two together delete each other's commits. Set it back, or, to "
            f"change over for good: stop every worker of the other kind, then delete the object {RUNNER_KEY} from the "
            f"state store; or point {_STATE_URL} at another place"
        )


def _current(store: Named_Store) -> Stream_Identity:
    """The stream that was made last of those that the store has had."""
    key = store.list(STREAMS_PREFIX)[-1].key
    found = _read(store, "stream", key) or {"arn": ""}
    return Stream_Identity(found["arn"], int(key.rpartition("/")[2]))


def _stream_key(stream: Stream_Identity) -> str:
    return f"{STREAMS_PREFIX}/{stream.created_ms:015d}"


def _packed(stream: Stream_Identity) -> bytes:
    return pack("stream", {"arn": stream.arn, "created_ms": stream.created_ms})


def _read(store: Named_Store, kind: str, key: str) -> dict[str, Any] | None:
    """None if it is torn, or was deleted just now."""
    data = store.get(key)
    try:
        return None if data is None else unpack(kind, data, key)
    except Corrupt_State:
        return None


def _found[T](store: Store, key: str, understood: Callable[[bytes], T]) -> tuple[T | None, str]:
    """What was decided once under a key, and where that is; None, and where it is to be created. One that is torn is
    passed over by everybody alike, for the next."""
    for number in range(_TORN_MAX):
        name = f"{key}.{number}" if number else key
        data = store.get(name)
        if data is None:
            return None, name
        try:
            return understood(data), name
        except (Corrupt_State, ValueError):
            continue
    raise Config_Error(
        f"The state store has {_TORN_MAX} broken objects {key}*: delete them, or point {_STATE_URL} at another place"
    )


def _agreed[T](store: Store, key: str, understood: Callable[[bytes], T], made: Callable[[], bytes]) -> T:
    """What was decided once under a key, by whoever was first. Raises Store_Unavailable."""
    for _ in range(_TORN_MAX):
        found, name = _found(store, key, understood)
        if found is not None:
            return found
        store.create(name, made())
    raise Store_Unavailable(f"The state store does not give back {name}, which was just created")


# ---- where a first start begins


def first_position_ms(store: Named_Store, position: str, position_ms: int | None, now_ms: int) -> int:
    """Where a first start begins (BEGINNING_MS: at the oldest record); LATEST and times are resolved once and stored: a
    restart starts there too, and so does every other worker.

    position  as the setting says; position_ms: the time that it is, None for the oldest record
    now_ms    by the source's clock
    """

    def resolved() -> bytes:
        from_ms = BEGINNING_MS if position_ms is None else position_ms
        if from_ms > now_ms:
            log.tell(
                POSITION_CLAMPED,
                f"SGRAPH_SEND__SA_INITIAL_POSITION is {position}, which is still to come: reading begins now",
            )
            from_ms = now_ms
        return json.dumps({"position": position, "from_ms": from_ms}).encode()

    return _agreed(store, START_KEY, lambda data: int(json.loads(data)["from_ms"]), resolved)


# ---- how records are read


class Field_Choice:
    """Holds records back until it is known how to read them.

    lists    the field lists; their `lists` are empty while `auto` waits for the first records
    checked  whether that is settled: by what was found once, or as the application has gone past its first records
    """

    def __init__(self, setting: str, drop_fields: str, allow_fields: str, store: Store) -> None:
        self.lists = resolve_field_lists(setting, drop_fields, allow_fields)
        self._store = store
        self._drop_fields, self._allow_fields = drop_fields, allow_fields
        self._key = FIELDS_KEY
        self.checked = self._restored() if self.lists.auto else bool(store.list(SNAPSHOTS_PREFIX))

    def _restored(self) -> bool:
        decided, self._key = _found(self._store, FIELDS_KEY, json.loads)
        if decided is None:
            return False
        lists = resolve_field_lists(decided["fields"], self._drop_fields, self._allow_fields)
        unread = lists.dropped.union(decided.get("unread", ()))
        self.lists = Field_Lists.of(Field_List(lists.lists[0].names, unread), lists.allowed)
        return True

    def decide(self, records: First_Records) -> None:
        """Look at the first records. Raises Field_List_Error if they have no certain list, or contradict the one that
        is configured; Store_Unavailable if what was found could not be written down: decide again."""
        lists = decide(self.lists, records)
        if self.lists.auto:
            (fields,) = lists.lists
            names = setting_of(fields)
            content = {"fields": names, "unread": sorted(fields.dropped - self.lists.dropped)}
            if not self._store.create(self._key, json.dumps(content).encode()):
                self.checked = self._restored()  # another worker was first: all read the records the same way
                return
            log.tell(FIELDS, f"the first records have the field list '{names}'", fields=names)
        self.lists, self.checked = lists, True
