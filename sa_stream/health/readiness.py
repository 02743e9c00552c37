"""The verdict: what the notebook says at one moment comes in; the reasons against being ready, and everything as JSON,
go out. Pure."""

from collections.abc import Callable
from typing import Any

from sa_stream.health.notebook import KCL_RUNNING, SILENT_MS, Health_View, Kcl_View, Shard_View
from sa_stream.timing import CLOCK_OFF_MS_MAX, Moment, Now, iso

STORE_GRACE_MS = 5_000  # a store may fail this long before it counts: one lost request is no outage


def readiness(view: Health_View, now: Moment) -> list[str]:
    """Why this consumer is not ready, one sentence a reason; none if it is.

    - no shard at all: starting, or nothing to read
    - a shard (not ended): blocked; most of its records malformed; its reads failing for more than 5 s, whatever others
      do; never read; not read for 60 s (an empty answer is a read); records that have waited for a commit for longer
      than the commit interval + 60 s
    - a store: failing for more than 5 s without a success in between
    - publishing: no round completed for longer than the commit interval + 60 s
    - the clock: more than 5 s off the source's; stepped, and not seen to agree with the source's since
    - the KCL: its process does not run; a shard that no worker makes progress with. To wait for leases is no reason:
      other workers may have them all, or the take-over from a dead one is under way
    - memory: reading pauses
    """
    reasons = []
    overdue_ms = view.commit_interval_ms + SILENT_MS
    if view.memory is not None:
        reasons.append(view.memory)
    if view.kcl is not None:
        reasons.extend(_kcl_reasons(view.kcl, now))
    elif not view.shards:
        silent_ms = now - view.started
        if silent_ms < SILENT_MS:
            reasons.append("starting: waiting for first read")
        else:
            reasons.append(f"no shard has been read in the {_seconds(silent_ms)} since the start")
    for partition, shard in sorted(view.shards.items()):
        if not shard.ended:
            reasons.extend(f"shard {partition} {reason}" for reason in _shard_reasons(shard, now, overdue_ms))
    for name, store in sorted(view.stores.items()):
        if store.failing_since is not None and now - store.failing_since > STORE_GRACE_MS:
            reasons.append(f"{name} has been failing for {_seconds(now - store.failing_since)}: {store.reason}")
    published = view.last_published or view.started
    if now - published >= overdue_ms:
        reasons.append(f"nothing has been published for {_seconds(now - published)}")
    if abs(view.clock_offset_ms) > CLOCK_OFF_MS_MAX:
        side = "behind" if view.clock_offset_ms > 0 else "ahead of"
        reasons.append(
            f"the clock of this machine is {_seconds(abs(view.clock_offset_ms))} {side} the source's: set it (NTP)"
        )
    elif view.clock_stepped_ms:
        reasons.append(
            f"the clock of this machine has stepped by {_seconds(abs(view.clock_stepped_ms))}, and the source has not "
            "confirmed it yet"
        )
    return reasons


def _kcl_reasons(kcl: Kcl_View, now: Moment) -> list[str]:
    reasons = [] if kcl.state == KCL_RUNNING else [f"the KCL is {kcl.state}"]
    for partition, since in sorted(kcl.unread.items()):
        reasons.append(f"shard {partition} is read by no worker for {_seconds(now - since)}")
    return reasons


def notes(view: Health_View, now: Moment) -> list[str]:
    """What somebody who looks may want to know, although nothing is wrong with what is done now."""
    found = [
        f"shard {partition} was gone from the stream before it was read to its end: what came after "
        f"{iso(read_to_ms) or 'its beginning'} is in no number"
        for partition, read_to_ms in sorted(view.gone.items())
    ]
    found += [f"shard {partition} has lost something: {what}" for partition, what in sorted(view.lost.items())]
    found += [
        f"shard {partition} {shard.duplicates}" for partition, shard in sorted(view.shards.items()) if shard.duplicates
    ]
    if view.repairs is not None:
        found += [
            f"the window of {iso(window_ms)} waits for the archive: {why}"
            for window_ms, why in sorted(view.repairs.failed.items())
        ]
    if view.kcl is not None and view.kcl.idle_since is not None:
        found.append(
            f"waiting for leases for {_seconds(now - view.kcl.idle_since)}: other workers have them, or a dead "
            "worker's are about to be taken over (up to two minutes)"
        )
    return found


def _shard_reasons(shard: Shard_View, now: Moment, overdue_ms: int) -> list[str]:
    reasons = []
    if shard.blocked is not None:
        reasons.append(f"is blocked: {shard.blocked}")
    if shard.malformed is not None:
        reasons.append(shard.malformed)
    if shard.unreadable_since is not None and now - shard.unreadable_since > STORE_GRACE_MS:
        reasons.append(f"cannot be read for {_seconds(now - shard.unreadable_since)}: {shard.unreadable}")
    silent_ms = now - (shard.last_read or shard.since)
    if shard.last_read is None and silent_ms < SILENT_MS:
        reasons.append("is waiting for its first read")
    elif silent_ms >= SILENT_MS:
        reasons.append(f"has not been read for {_seconds(silent_ms)}")
    if shard.uncommitted_since is not None and now - shard.uncommitted_since >= overdue_ms:
        reasons.append(f"has records that have waited for a commit for {_seconds(now - shard.uncommitted_since)}")
    return reasons


def detail(view: Health_View, now: Now) -> dict[str, Any]:
    """Everything as JSON, for people who look into it. Times of day are counted back from now."""

    def ago(moment: Moment | None) -> str | None:
        return None if moment is None else iso(now.wall_ms - (now.moment - moment))

    reasons = readiness(view, now.moment)
    return {
        "ready": not reasons,
        "reasons": reasons,
        "notes": notes(view, now.moment),
        "now": iso(now.wall_ms),
        "started": ago(view.started),
        "uptime_s": (now.moment - view.started) // 1000,
        "versions": view.versions,
        "clock_offset_ms": view.clock_offset_ms,
        "kcl": None if view.kcl is None else view.kcl.state,
        "last_published": ago(view.last_published),
        "repairs": None
        if view.repairs is None
        else {
            "waiting": [iso(window_ms) for window_ms in view.repairs.waiting],
            "failed": {iso(window_ms): why for window_ms, why in sorted(view.repairs.failed.items())},
        },
        "shards": {
            partition: _shard_detail(shard, now.moment, ago) for partition, shard in sorted(view.shards.items())
        },
        "stores": {
            name: {
                "ok": store.failing_since is None,
                "last_ok": ago(store.last_ok),
                "failing_since": ago(store.failing_since),
                "reason": store.reason,
            }
            for name, store in sorted(view.stores.items())
        },
    }


def _shard_detail(shard: Shard_View, now: Moment, ago: Callable[[Moment | None], str | None]) -> dict[str, Any]:
    return {
        "sequence_number": shard.sequence_number,
        "lag_ms": shard.lag_ms_at(now),
        "watermark": iso(shard.watermark_ms),
        "open_windows": {iso(start_ms): count for start_ms, count in sorted(shard.windows.items())},
        "last_read": ago(shard.last_read),
        "last_commit": ago(shard.last_commit),
        "uncommitted_since": ago(shard.uncommitted_since),
        "ended": shard.ended,
        "blocked": shard.blocked,
        "malformed": shard.malformed,
        "duplicates": shard.duplicates,
        "unreadable": shard.unreadable,
        "counters": dict(sorted(shard.counters.items())),
    }


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms // 1000} s"
