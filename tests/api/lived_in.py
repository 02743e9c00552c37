"""A notebook in which everything that there is a metric for was written."""

from sa_stream.api.metrics_collector import Process
from sa_stream.health import metrics
from sa_stream.health.counts import NO_LABELS
from sa_stream.health.notebook import KCL_RUNNING, Finality_View, Health, Last_Window
from sa_stream.timing import WINDOW_MS, Moment, Now

START = Moment(5_000_000)
NOW = Now(1_771_252_290_000, START + 60_000)
WINDOW_BEGIN_MS = NOW.wall_ms // WINDOW_MS * WINDOW_MS - WINDOW_MS
PROCESS = Process(lambda: 3, lambda: 140_000_000)


def lived_in(well: bool = False) -> Health:
    """Of a worker with two shards, of which one is blocked unless all is `well`."""
    health = Health(START, 60_000, {"sa-stream": "0.1.0", "python": "3.12.1", "polars": "2.1.0"})
    read_at = NOW.moment + -10_000
    for name in ("shard-0", "shard-1"):
        pen = health.shard(name, START)
        pen.read(read_at, 0 if well else 1_500, "1")
        pen.watermark(NOW.wall_ms - 70_000)
        if name == "shard-1" or well:
            pen.committed(read_at)
    if not well:
        health.shard("shard-0").blocked("the state store does not answer")
    health.shard("shard-1").committed(read_at)
    for name in ("state store", "cache service", "Kinesis", "DynamoDB"):
        health.store(name).ok(read_at)
    health.kcl(KCL_RUNNING, 2, NOW.moment)
    health.retention(24 * 3_600_000)
    health.memory_limit(1 << 30)
    health.published(read_at)
    health.finality(Finality_View(WINDOW_BEGIN_MS, 1))
    health.last_window(Last_Window(WINDOW_BEGIN_MS, 1_000, 0.002, 0.91, 0.4))
    health.repairs([WINDOW_BEGIN_MS], {})
    counts = health.counts
    counts.add(metrics.RECORDS, {(outcome,): 2 for outcome in ("late", "duplicate", "too_late", "set_aside")})
    counts.add(metrics.RECORDS, {("counted",): 90})
    counts.add(metrics.INVALID_RECORDS, {(reason,): 0 for reason in ("fields", "timestamp")})
    counts.add(metrics.REQUESTS, {("2xx",): 91, ("5xx",): 1})
    counts.add(metrics.CACHE_RESULTS, {("Hit",): 91, ("Error",): 1})
    counts.add(metrics.BYTES, {NO_LABELS: 1_000_000})
    counts.add(metrics.JVM_RESTARTS, {NO_LABELS: 0})
    counts.add(metrics.ENTRIES_WRITTEN, {("30min", "final"): 1, ("30min", "partial"): 2})
    counts.add(metrics.ENTRY_REVISIONS, {("30min",): 0})
    counts.add(metrics.REPAIRS, {(result,): 0 for result in ("computed", "incomplete", "unchanged", "failed")})
    counts.took(metrics.COMMIT_DURATION, 40)
    counts.took(metrics.PUBLISH_DURATION, 400)
    counts.took(metrics.HTTP_DURATION, 4, ("/metrics",))
    return health
