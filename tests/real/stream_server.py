"""An embedded Kinesis as a process of its own for these tests: past hours are put in first, then live traffic goes on.

`python -m tests.real.stream_server '{"records": …}'` prints its URL and facts as one line of JSON. It takes words on
its standard input, answers each with a line of JSON, and ends when that closes.
"""

import json
import sys
import threading
import time

from msgspec import Struct

from sa_stream.embedded.destinations import fill
from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.kinesis_server import start
from sa_stream.embedded.memory_kinesis import RECORDS_PER_READ_MAX, Memory_Kinesis, Records_Page
from sa_stream.timing import HOUR_MS

STREAM = "real"
STEP_MS = 100


class Options(Struct):
    """What a test may ask for. `page`: most records of one GetRecords answer, so that a backlog takes a while;
    `clean`: every record counts, as none is malformed, late or there twice."""

    records: int = 10_000
    seed: int = 1
    hours: float = 3
    shards: int = 4
    page: int = RECORDS_PER_READ_MAX
    live_per_s: int = 0
    port: int = 0
    fields: str = "canonical"
    clean: bool = False


class Slow_Kinesis(Memory_Kinesis):
    """Gives out few records a read, as a stream may."""

    page = RECORDS_PER_READ_MAX

    def get_records(self, iterator: str, limit: int = RECORDS_PER_READ_MAX) -> Records_Page:
        return super().get_records(iterator, min(limit, self.page))


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    options = Options(**json.loads(sys.argv[1]))
    kinesis = Slow_Kinesis(wall_clock_ms)
    kinesis.page = options.page
    kinesis.create_stream(STREAM, options.shards)
    rate = 0 if options.clean else 0.01
    traffic = Traffic(options.seed, options.fields, dirt_rate=rate, duplicate_rate=rate, late_rate=rate)
    now_ms = wall_clock_ms()
    oldest_ms = now_ms - int(options.hours * HOUR_MS)
    if options.records:
        fill(kinesis, STREAM, traffic.lines(oldest_ms, now_ms, options.records))
    say(url=start(kinesis, options.port).url, until_ms=now_ms)

    stop = threading.Event()

    def live() -> None:
        from_ms = now_ms
        while not stop.wait(max(0, from_ms + STEP_MS - wall_clock_ms()) / 1000):
            count = max(1, options.live_per_s * STEP_MS // 1000)
            fill(kinesis, STREAM, traffic.lines(from_ms, from_ms + STEP_MS, count, oldest_ms=oldest_ms))
            from_ms += STEP_MS

    putting = threading.Thread(target=live, daemon=True)
    if options.live_per_s:
        putting.start()
    for word in sys.stdin:
        if word.strip() == "pause":
            stop.set()
            if options.live_per_s:
                putting.join()
            kinesis.page = RECORDS_PER_READ_MAX
            say(paused=True)


if __name__ == "__main__":
    main()
