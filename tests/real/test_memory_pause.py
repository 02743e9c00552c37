"""More shards with a backlog than there is memory for, read by the real daemon: reading pauses, everything is counted
all the same, and the process stays near its limit."""

from pathlib import Path

import pytest
from msgspec import Struct

from sa_stream.rollups.periods import HALF_HOUR, cache_key, end_of, start_of
from sa_stream.timing import HOUR_MS
from tests.real.processes import TRACEBACK, Cache, Daemon, Stream, World, until

HOURS = 3
OVERSHOOT_MB = 190  # what was asked for when reading pauses still comes: an answer of each shard


class Backlog(Struct, frozen=True):
    """How much there is to read, and with how little memory."""

    records: int
    limit_mb: int
    shards: int = 64
    within_s: float = 150


QUICK = Backlog(records=160_000, limit_mb=240)  # the program alone takes 160 MiB with so many shards
FULL = Backlog(records=2_000_000, limit_mb=921, within_s=600)  # as it was once seen to pause for good: by hand


class Ran(Struct, frozen=True):
    """What became of a backlog. pauses: how often reading paused; peak_mb: the most resident memory."""

    counted: int
    pauses: int
    peak_mb: int


@pytest.mark.slow
def test_a_backlog_of_64_shards_is_counted_whole_with_less_memory_than_it_takes(world: World) -> None:
    ran = read_backlog(world, QUICK)
    assert ran.counted == QUICK.records
    assert ran.pauses >= 1
    assert ran.peak_mb < QUICK.limit_mb + OVERSHOOT_MB


def read_backlog(world: World, backlog: Backlog) -> Ran:
    """Read it to its end with the local runner."""
    stream = world.stream(records=backlog.records, seed=9, hours=HOURS, shards=backlog.shards, clean=True)
    cache = world.cache()
    daemon = world.run(world.settings(stream, cache, MEMORY_LIMIT_MB=str(backlog.limit_mb)))
    until(
        "every record to be counted",
        lambda: counted(cache, stream) >= backlog.records,
        backlog.within_s,
        every_s=0.5,
        show=lambda: f"{counted(cache, stream)} are\n{daemon.get('/health')}\n{daemon.process.err()[-4000:]}",
    )
    peak_mb = most_resident_mb(daemon)
    assert daemon.terminate() == 0, daemon.process.err()
    assert TRACEBACK not in daemon.process.err()
    said = [event["message"] for event in daemon.process.events("memory")]
    return Ran(counted(cache, stream), sum(message.endswith("reading pauses") for message in said), peak_mb)


def counted(cache: Cache, stream: Stream) -> int:
    """Requests in the entries of all half hours that the backlog has records of."""
    start_ms, total = start_of(HALF_HOUR, stream.until_ms - HOURS * HOUR_MS), 0
    while start_ms <= stream.until_ms:
        total += (cache.entry(cache_key(HALF_HOUR, start_ms)) or {}).get("total_requests", 0)
        start_ms = end_of(HALF_HOUR, start_ms)
    return total


def most_resident_mb(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10
