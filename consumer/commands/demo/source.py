"""The demo's stream, as a process of its own: an embedded Kinesis that is filled with past hours, served over HTTP, and
gets live traffic. It says what it does as JSON lines, obeys words on its standard input, and ends when that closes.
"""

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

from consumer.commands.demo.recount import recount
from sa_stream.embedded.destinations import fill
from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.kinesis_server import start
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.timing import HOUR_MS, wall_clock_ms

LIVE_RECORDS_PER_S = 200
SHARDS = 4


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def main() -> None:
    stream, records, seed, hours = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    kinesis = Memory_Kinesis(wall_clock_ms)
    kinesis.create_stream(stream, SHARDS, max(24, int(hours * 2)) * HOUR_MS)
    traffic = Traffic(seed, dirt_rate=0.002, duplicate_rate=0.003, late_rate=0.002)
    now_ms = wall_clock_ms()
    oldest_ms = now_ms - int(hours * HOUR_MS)
    count = fill(kinesis, stream, traffic.lines(oldest_ms, now_ms, records))
    say("filled", records=count, until_ms=now_ms, url=start(kinesis).url)

    stop = threading.Event()
    live = threading.Thread(target=_live, args=(kinesis, stream, traffic, now_ms, oldest_ms, stop), daemon=True)
    live.start()
    for word in sys.stdin:
        if word.strip() == "pause":
            stop.set()
            live.join()
            say("paused", records=sum(1 for _ in _shards(kinesis, stream) for _ in _))
        elif word.strip() == "recount":
            say("recount", windows=recount(_shards(kinesis, stream)))


def _live(
    kinesis: Memory_Kinesis, stream: str, traffic: Traffic, from_ms: int, oldest_ms: int, stop: threading.Event
) -> None:
    """A fifth of a second's traffic at a time, put when its time has come."""
    step_ms = 200
    while not stop.is_set():
        to_ms = from_ms + step_ms
        stop.wait(max(0, to_ms - wall_clock_ms()) / 1000)
        if not stop.is_set():
            fill(
                kinesis,
                stream,
                traffic.lines(from_ms, to_ms, LIVE_RECORDS_PER_S * step_ms // 1000, oldest_ms=oldest_ms),
            )
            from_ms = to_ms


def _shards(kinesis: Memory_Kinesis, stream: str) -> Iterator[Iterator[tuple[bytes, int]]]:
    for shard in kinesis.list_shards(stream).shards:
        yield _records(kinesis, kinesis.shard_iterator(stream, shard.shard_id, "TRIM_HORIZON"))


def _records(kinesis: Memory_Kinesis, iterator: str | None) -> Iterator[tuple[bytes, int]]:
    while iterator is not None:
        page = kinesis.get_records(iterator)
        yield from zip(page.payloads, page.arrivals_ms, strict=True)
        iterator = page.next_iterator if page.payloads else None


if __name__ == "__main__":
    main()
