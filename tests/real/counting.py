"""What the entries should be, by the oracle, from what a stream holds; and what they are, from the cache service."""

from datetime import datetime
from typing import Any

from tests.oracle import Stream_Oracle, compare
from tests.real.processes import Cache, Daemon, Stream, until

SETTLE_MS = 70_000  # a window closes this long after its end: out-of-orderness, idle margin, a read and a commit


def expected_of(stream: Stream, **timing: int) -> Stream_Oracle:
    """The oracle's count of everything that is in the stream now. `timing`: as of Stream_Oracle, where it is not the
    default: else the traffic of some hours has records that are late for it and not for the consumer."""
    oracle = Stream_Oracle(**timing)
    for shard in stream.shards():
        parents = [shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if shard.get(name)]
        partition = oracle.start(shard["ShardId"], parents)
        for payload, arrival_ms, _ in stream.records(shard["ShardId"]):
            partition.add(payload, arrival_ms)
    return oracle


def ends_ms(entry: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(entry["window_end"]).timestamp() * 1000)


def differences(cache: Cache, oracle: Stream_Oracle, final_before_ms: int) -> list[str]:
    """Everything in which the entries are not the oracle's. Those that end before final_before_ms must be final; later
    ones may be, or not yet."""
    found_differences = []
    for key, expected in oracle.entries().items():
        entry = cache.entry(key)
        if entry is None:
            found_differences.append(f"{key}: missing")
            continue
        for difference in compare(entry, expected):
            unfinished = difference.startswith(("status:", "sources_final:", "missing_sources:"))
            if not unfinished or ends_ms(expected) <= final_before_ms:
                found_differences.append(f"{key} (revision {entry['revision']}): {difference[:300]}")
    return found_differences


def closed_keys(oracle: Stream_Oracle, before_ms: int) -> list[str]:
    """The entries whose time was over before this moment."""
    return [key for key, entry in oracle.entries().items() if ends_ms(entry) <= before_ms]


def wait_all_read(daemon: Daemon, stream: Stream, within_s: float = 60) -> None:
    """Wait until the consumer has read every open shard to its present end."""
    ends = {}
    for shard in stream.open_shards():
        if records := stream.records(shard["ShardId"]):
            ends[shard["ShardId"]] = int(records[-1][2])
    until(
        "everything to be read",
        lambda: all(daemon.position(shard_id) == number for shard_id, number in ends.items()),
        within_s,
        every_s=0.2,
        show=lambda: f"expected {ends}, found {daemon.get('/health')}",
    )


def wait_final(daemon: Daemon, cache: Cache, keys: list[str], within_s: float = 40) -> None:
    """Wait until these entries are final."""

    def look() -> bool:
        while left and (cache.entry(left[-1]) or {}).get("status") == "final":
            left.pop()
        return not left

    left = list(keys)
    until("past entries to be final", look, within_s, 0.2, show=lambda: f"{left} are not, {daemon.get('/health')}")
