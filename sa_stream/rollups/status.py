"""What the stream is like as a whole, in one small entry: whoever can read the cache alone can tell what to believe.
What a pass of the reconciler saw comes in; the body of `status/stream` goes out. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from sa_stream.rollups.entry import Entry
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.passes import Pass_Result, Worker
from sa_stream.rollups.periods import STATUS_KEY
from sa_stream.rollups.repairs import NEVER_BY_ITSELF
from sa_stream.rollups.slots import NOT_FINAL
from sa_stream.rollups.versions import Brief
from sa_stream.rollups.wanted import NOT_PUBLISHED
from sa_stream.timing import BEGINNING_MS, DAY_MS, MINUTE_MS, WINDOW_MS, iso

SCHEMA_VERSION = 1
LOOKED_BACK_MS = 2 * DAY_MS
SHOWN_MAX = 100  # watermarks (of the slowest), gaps, windows to repair, open windows
WORKER_MS = 10 * MINUTE_MS  # a worker that has not been seen for so long is gone
EVERY_MS = MINUTE_MS


class Slot(Struct, frozen=True):
    """A half hour that has ended, or goes on. reason: why it is not final, '' if it is; requests: counted so far."""

    start_ms: int
    reason: str
    requests: int


def slots_of(stream: Stream_View, brief: Callable[[int], Brief | None]) -> list[Slot]:
    """The half hours of the last two days, oldest first. brief: what the cache has of each."""
    first_ms = (stream.now_ms - LOOKED_BACK_MS) // WINDOW_MS * WINDOW_MS
    found = []
    for start_ms in range(first_ms, stream.now_ms + 1, WINDOW_MS):
        known = brief(start_ms)
        reason = "" if known is not None and known.final else stream.span_reason(start_ms, start_ms + WINDOW_MS)
        if not reason and (known is None or not known.final) and (known is not None or start_ms in stream.named):
            reason = NOT_FINAL if known is not None else NOT_PUBLISHED
        found.append(Slot(start_ms, reason, 0 if known is None else known.requests))
    return found


def waiting_of(slots: Sequence[Slot]) -> list[Slot]:
    """Those that will be final by themselves."""
    return [slot for slot in slots if slot.reason and slot.reason not in NEVER_BY_ITSELF]


def final_until_ms_of(slots: Sequence[Slot]) -> int:
    """Up to where there is nothing to wait for."""
    waiting = waiting_of(slots)
    return waiting[0].start_ms if waiting else slots[-1].start_ms


def _slowest(stream: Stream_View) -> list[tuple[str, int]]:
    """Watermarks of what is read, the least first."""
    watermarks = {partition: own.watermark_ms for partition, own in stream.progress.items() if not own.ended}
    return sorted(watermarks.items(), key=lambda item: item[1])


def has_begun(stream: Stream_View) -> bool:
    """Whether every shard of which there is progress has a watermark."""
    slowest = _slowest(stream)
    return bool(slowest) and slowest[0][1] > BEGINNING_MS


def status_of(result: Pass_Result, slots: Sequence[Slot], worker: Worker) -> Entry:
    """The body, with this worker as the only one. Times are ISO, UTC; null where there is none."""
    stream = result.stream
    assert stream is not None
    waiting, final_until_ms = waiting_of(slots), final_until_ms_of(slots)
    slowest = _slowest(stream)
    least_ms = slowest[0][1] if slowest else BEGINNING_MS
    return {
        "cache_key": STATUS_KEY,
        "schema_version": SCHEMA_VERSION,
        "computed_at": iso(stream.now_ms),
        "version": worker.version,
        "final_until": iso(final_until_ms),
        "covers_since": None if stream.archive else iso(min(stream.since_ms, stream.now_ms)),
        "watermark": iso(least_ms),
        "lag_s": None if least_ms <= BEGINNING_MS else max(0, stream.now_ms - least_ms) // 1000,
        "partitions": len(stream.merge_set),
        "watermarks": {name: iso(watermark_ms) for name, watermark_ms in slowest[:SHOWN_MAX]},
        "open_windows": [
            {"window_start": iso(slot.start_ms), "requests": slot.requests} for slot in waiting[-SHOWN_MAX:]
        ],
        "gaps": gaps_of(slot for slot in slots if slot.start_ms < final_until_ms),
        "repairs": {
            "waiting": [iso(each) for each, known in sorted(result.to_repair.items()) if known is None][:SHOWN_MAX],
            "computed": sum(known is not None for known in result.to_repair.values()),
        },
        "workers": {worker.name: {"seen": iso(stream.now_ms), "version": worker.version}},
    }


def gaps_of(slots: Iterable[Slot]) -> list[dict[str, Any]]:
    """Stretches of one reason each; `to` is not included."""
    found = []
    for reason, group in groupby(slots, lambda slot: slot.reason):
        members = list(group)
        if reason:
            end_ms = members[-1].start_ms + WINDOW_MS
            found.append({"from": iso(members[0].start_ms), "to": iso(end_ms), "reason": reason})
    return found[-SHOWN_MAX:]


def sound(before: Mapping[str, Any] | None, read: Callable[[str], int]) -> Mapping[str, Any] | None:
    """What was published before; None if what is there is damaged, or of a version that says it in another way."""
    try:
        if before is not None:
            for time in (before["computed_at"], *(other["seen"] for other in before["workers"].values())):
                read(time)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return before


def with_others(status: Entry, before: Mapping[str, Any] | None, now_ms: int, read: Callable[[str], int]) -> Entry:
    """With the workers that were seen a short while ago. read: from ISO to ms."""
    others = {} if before is None else before["workers"]
    seen = {name: other for name, other in others.items() if now_ms - read(other["seen"]) < WORKER_MS}
    return {**status, "workers": dict(sorted((seen | status["workers"]).items()))}


def is_due(
    before: Mapping[str, Any] | None, status: Entry, worker: Worker, now_ms: int, read: Callable[[str], int]
) -> bool:
    """Whether nobody has written it for a minute, others have and this worker will soon count as gone, or it is of
    before the first commits, when nothing was known."""
    if before is None or before.get("schema_version") != SCHEMA_VERSION:
        return True
    if before.get("watermark") is None and status["watermark"] is not None:
        return True
    if not 0 <= now_ms - read(before["computed_at"]) < EVERY_MS:
        return True
    own = before["workers"].get(worker.name)
    return own is None or now_ms - read(own["seen"]) >= WORKER_MS // 2
