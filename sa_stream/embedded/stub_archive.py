"""An archive of made-up traffic in memory: a time comes in, the files of the day before it go out, as Firehose would
deliver them."""

from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.rollups.periods import utc
from sa_stream.timing import DAY_MS, MINUTE_MS

STUB_PREFIX = "cloudfront-realtime"
RECORDS = 20_000
FILE_MS = 5 * MINUTE_MS  # of records in a file


def stub_archive(now_ms: int, records: int = RECORDS, seed: int = 1) -> Memory_Archive:
    """Real-time logs in the order of the preset `canonical`, in folders of hours. The same time and seed give the same
    bytes."""
    store = Memory_Archive()
    files: dict[int, list[bytes]] = {}
    for chunk in Traffic(seed).lines(now_ms - DAY_MS, now_ms, records):
        lines = chunk.data.splitlines(keepends=True)
        for arrival_ms, line in zip(chunk.arrival_ms.tolist(), lines, strict=True):
            files.setdefault(arrival_ms // FILE_MS, []).append(line)
    for number, lines in files.items():
        name = f"{utc(number * FILE_MS):%Y/%m/%d/%H/logs-1-%Y-%m-%d-%H-%M-%S}-{number:x}"
        store.put(f"{STUB_PREFIX}/{name}", b"".join(lines), number * FILE_MS + FILE_MS)
    return store
