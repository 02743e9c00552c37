"""What of an object in the state store is a function of the records alone: equal under one key, whoever put it."""

from typing import Any

import msgspec

from sa_stream.commits.codec import decode_progress, snapshot_inside
from sa_stream.commits.keys import has_snapshot
from sa_stream.windows.partition_state import Partition_State


def stable_snapshot(data: bytes, timing: Any) -> object:
    """All but what may depend on a clock, or on what was published."""
    state = Partition_State.from_bytes(data, timing)
    return (
        state.partition, state.lineage, state.parents, state.number, state.record_watermark_ms, state.newest_arrival_ms,
        state.since_ms, str(state.ids.content(state.newest_arrival_ms // 60_000)), sorted(state.counters.items()),
    )  # fmt: skip


def stable_letter(data: bytes) -> object:
    """All but what the engine said, which may differ."""
    return msgspec.json.decode(data) | {"error": ""}


def stable_progress(key: str, data: bytes, timing: Any) -> object:
    own = decode_progress(data)
    return (
        own.partition, own.number, own.lineage, max(0, own.watermark_ms), own.since_ms, own.ended, own.parents,
        sorted(own.counters.items()), has_snapshot(key) and stable_snapshot(snapshot_inside(data, key), timing),
    )  # fmt: skip


def shown(data: bytes) -> str:
    return repr(msgspec.msgpack.decode(data[22:])) if data[:3] == b"SAS" else repr(data[:200])
