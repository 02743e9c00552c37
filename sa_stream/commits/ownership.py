"""Whose a state store is, beside the application's stamp: a name of its own, the stream that it was made from, and the
kind of runner that writes to it. A state store comes in; a Config_Error says who else has it and what to do.

Everything here is created once and never overwritten, so workers that start at the same time agree. An object that a
power cut tore is written again where its content follows from what asks, and passed over where it does not.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sa_stream.errors import Config_Error, Corrupt_State
from sa_stream.format import pack, unpack
from sa_stream.storage.state_store import SETTING, Listed

ID_KEY = "meta/id"
RUNNER_KEY = "meta/runner"
STREAMS_PREFIX = "meta/streams"
_IDS_MAX = 100  # torn ones that are passed over


class _Store(Protocol):
    url: str

    def put(self, key: str, data: bytes) -> None: ...
    def create(self, key: str, data: bytes) -> bool: ...
    def get(self, key: str) -> bytes | None: ...
    def list(self, prefix: str) -> Sequence[Listed]: ...


@dataclass(frozen=True, slots=True)
class Stream_Identity:
    """What tells a stream from another one of the same name: a stream that was deleted and made anew has the same name
    and ARN, the same shard ids, and nothing else in common."""

    arn: str
    created_ms: int

    def __str__(self) -> str:
        created = datetime.fromtimestamp(self.created_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return f"{self.arn or 'of an unknown ARN'}, created at {created.replace('+00:00', 'Z')}"


def store_id(store: _Store) -> str:
    """A random name that the state store gets once, and keeps wherever it is copied or moved to. Raises
    Store_Unavailable."""
    for number in range(_IDS_MAX):
        key = f"{ID_KEY}.{number}" if number else ID_KEY
        store.create(key, pack("id", {"id": secrets.token_hex(16)}))
        found = _read(store, "id", key)
        if found is not None:
            return str(found["id"])
    raise Config_Error(
        f"The state in {store.url} has {_IDS_MAX} broken objects {ID_KEY}*: delete them, or point {SETTING} at "
        "another place"
    )


def claim_stream(store: _Store, stream: Stream_Identity) -> None:
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


def took_over_ms(store: _Store) -> int | None:
    """When the store's stream was created, if it had another one before; None if it is its first."""
    return _current(store).created_ms if len(store.list(STREAMS_PREFIX)) > 1 else None


def adopt(store: _Store, stream: Stream_Identity) -> None:
    """From now on the store is this stream's, which was made after those that it had before. They stay on record."""
    store.create(_stream_key(stream), _packed(stream))


def other_stream(whose: str, known: Stream_Identity, found: Stream_Identity) -> Config_Error:
    """whose: beginning of a sentence that `known` ends."""
    return Config_Error(
        f"The stream is not the one that {whose}: that is {known}; the one that SGRAPH_SEND__SA_STREAM names now is "
        f"{found}. Nothing that was kept of the old one fits the new one: point {SETTING} at another place and set "
        "SGRAPH_SEND__SA_APPLICATION to another name, or run `sa-stream adopt-stream`, which declares the old one "
        "ended"
    )


def claim_runner(store: _Store, runner: str) -> None:
    """Make the store that of this kind of runner, `kcl` or `local`: each keeps its checkpoints elsewhere, and deletes
    what the other one commits.

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
            f"The state in {store.url} is read for by SGRAPH_SEND__SA_RUNNER={found['runner']}; this is "
            f"SGRAPH_SEND__SA_RUNNER={runner}, and the two together delete each other's commits. Set it back, or, to "
            f"change over for good: stop every worker of the other kind, then delete the object {RUNNER_KEY} from the "
            f"state store; or point {SETTING} at another place"
        )


def _current(store: _Store) -> Stream_Identity:
    """The stream that was made last of those that the store has had."""
    key = store.list(STREAMS_PREFIX)[-1].key
    found = _read(store, "stream", key) or {"arn": ""}
    return Stream_Identity(found["arn"], int(key.rpartition("/")[2]))


def _stream_key(stream: Stream_Identity) -> str:
    return f"{STREAMS_PREFIX}/{stream.created_ms:015d}"


def _packed(stream: Stream_Identity) -> bytes:
    return pack("stream", {"arn": stream.arn, "created_ms": stream.created_ms})


def _read(store: _Store, kind: str, key: str) -> dict[str, Any] | None:
    """None if it is torn, or was deleted just now."""
    data = store.get(key)
    try:
        return None if data is None else unpack(kind, data, key)
    except Corrupt_State:
        return None
