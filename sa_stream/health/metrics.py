"""Which metrics there are: each with its kind, its labels and what it means. `/metrics` has the sentences as HELP
texts, docs/operations.md as a table. Standard library only.
"""

from typing import NamedTuple

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"


class Metric(NamedTuple):
    """One number, or one for each combination of its labels' values.

    name     as Prometheus shows it; times are seconds, points of time seconds since the epoch
    meaning  for whoever sets up an alarm
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


# ---- whether it is well

READY = Metric("sa_stream_ready", GAUGE, (), "1 if this worker is ready, else 0: `/health/ready` has the reasons")
BUILD_INFO = Metric(
    "sa_stream_build_info", GAUGE, ("version", "python", "polars"), "always 1; the labels have versions"
)
START_TIME = Metric("sa_stream_start_time_seconds", GAUGE, (), "when this worker started")
MEMORY = Metric("sa_stream_memory_bytes", GAUGE, (), "resident memory of this process, without the JVM's")
MEMORY_LIMIT = Metric(
    *("sa_stream_memory_limit_bytes", GAUGE, ()),
    "what this process may take: it shrinks windows at 80% of it, and stops reading at 92%",
)
READING_PAUSED = Metric("sa_stream_reading_paused", GAUGE, (), "1 while nothing is read for want of memory")
CLOCK_OFFSET = Metric(
    *("sa_stream_clock_offset_seconds", GAUGE, ()), "how far the source's clock is ahead of this machine's"
)
SHARDS_UNREAD = Metric(
    *("sa_stream_shards_unread", GAUGE, ()),
    "open shards with which no worker makes progress, as this one sees it; only behind the KCL",
)
RETENTION = Metric("sa_stream_retention_seconds", GAUGE, (), "how long the stream keeps its records")
JVM_RESTARTS = Metric(
    *("sa_stream_jvm_restarts_total", COUNTER, ()),
    "how often the KCL's process has ended without being asked, or could not be started",
)
LOG_LINES_DROPPED = Metric(
    *("sa_stream_log_lines_dropped_total", COUNTER, ()), "log lines that nobody read in time, and that are missing"
)
METRICS_FAILURES = Metric(
    *("sa_stream_metrics_failures_total", COUNTER, ("part",)),
    "how often a part of these metrics could not be told, so that its series were missing",
)

# ---- records, by the time at which they were processed

RECORDS = Metric(
    *("sa_stream_records_total", COUNTER, ("outcome",)),
    "records of the stream: `counted` (in time), `late` (counted too, in a window that had ended), `duplicate`, "
    "`too_late`, `set_aside`; with `sa_stream_invalid_records_total`, every record is in one of them",
)
INVALID_RECORDS = Metric(
    *("sa_stream_invalid_records_total", COUNTER, ("reason",)),
    "records of the stream that are in no number, by the reason that their dead letters have",
)

# ---- shards that this worker reads now; one that it gave up, or read to its end, is not shown any more

LAG = Metric("sa_stream_lag_seconds", GAUGE, ("shard",), "how far reading is behind the newest record of a shard")
WATERMARK = Metric(
    *("sa_stream_watermark_timestamp_seconds", GAUGE, ("shard",)), "up to where a shard is complete, in event time"
)
LAST_READ = Metric(
    *("sa_stream_last_read_timestamp_seconds", GAUGE, ("shard",)), "when a read was last answered, if only with nothing"
)
LAST_COMMIT = Metric("sa_stream_last_commit_timestamp_seconds", GAUGE, ("shard",), "when a shard was last committed")
UNCOMMITTED = Metric(
    *("sa_stream_uncommitted_seconds", GAUGE, ("shard",)),
    "how long the oldest record that was read and not committed has waited; 0 if there is none",
)
BLOCKED = Metric("sa_stream_blocked", GAUGE, ("shard",), "1 while a shard waits for a store and so reads nothing")

# ---- how long things take

COMMIT_DURATION = Metric(
    *("sa_stream_commit_duration_seconds", HISTOGRAM, ()),
    "from the moment a shard begins to fold what it has read until that is committed",
)
PUBLISH_DURATION = Metric(
    "sa_stream_publish_duration_seconds", HISTOGRAM, (), "of a round of publishing that was completed"
)
HTTP_DURATION = Metric(
    *("sa_stream_http_request_duration_seconds", HISTOGRAM, ("route",)),
    "of a request, by the route that answered it, `none` if there is no such route",
)

# ---- stores and services: `state store`, `cache service`, `Kinesis`, `DynamoDB`, `S3`

STORE_UP = Metric("sa_stream_store_up", GAUGE, ("store",), "1 if the last call of a store succeeded, else 0")
STORE_CALLS = Metric("sa_stream_store_calls_total", COUNTER, ("store",), "calls of a store, failed ones among them")
STORE_FAILURES = Metric("sa_stream_store_failures_total", COUNTER, ("store",), "calls of a store that failed")
STORE_LAST_SUCCESS = Metric(
    "sa_stream_store_last_success_timestamp_seconds", GAUGE, ("store",), "when a call of a store last succeeded"
)

# ---- publishing

FINAL_UNTIL = Metric(
    *("sa_stream_final_until_timestamp_seconds", GAUGE, ()),
    "all half hours before this are final, or will never be by themselves; looked at once a minute",
)
WINDOWS_PARTIAL = Metric(
    *("sa_stream_windows_partial", GAUGE, ()),
    "half hours of the last two days that have ended, are not final, and are waited for; looked at once a minute",
)
ENTRIES_WRITTEN = Metric(
    "sa_stream_entries_written_total", COUNTER, ("period", "status"), "entries that this worker wrote to the cache"
)
ENTRY_REVISIONS = Metric(
    *("sa_stream_entry_revisions_total", COUNTER, ("period",)),
    "entries that this worker wrote anew with another content after they had been final",
)
REPAIRS = Metric(
    *("sa_stream_repairs_total", COUNTER, ("result",)),
    "looks at a window in the archive: `computed`, `incomplete` (a file could not be read), `unchanged`, `failed`",
)
REPAIRS_WAITING = Metric(
    "sa_stream_repairs_waiting", GAUGE, (), "windows that are to be computed from the archive, and were not yet"
)
OLDEST_REPAIR = Metric(
    "sa_stream_oldest_repair_timestamp_seconds",
    GAUGE,
    (),
    "the oldest of these windows: its start; none, if none waits",
)

# ---- the traffic itself: counters by the time of processing, gauges of the last final half hour

REQUESTS = Metric(
    *("sa_traffic_requests_total", COUNTER, ("status_class",)),
    "requests that were counted: `2xx` and so on, `none` for those without a status",
)
CACHE_RESULTS = Metric(
    *("sa_traffic_cache_results_total", COUNTER, ("result_type",)),
    "the same by CloudFront's result type; one that it is not known to write is `other`",
)
BYTES = Metric("sa_traffic_bytes_total", COUNTER, (), "bytes that were sent to viewers")
WINDOW_REQUESTS = Metric("sa_traffic_window_requests", GAUGE, (), "requests of the last final half hour")
WINDOW_5XX = Metric("sa_traffic_window_5xx_ratio", GAUGE, (), "share of 5xx in the last final half hour, from 0 to 1")
WINDOW_HITS = Metric(
    "sa_traffic_window_hit_ratio", GAUGE, (), "share of `Hit` in the last final half hour, from 0 to 1"
)
WINDOW_P95 = Metric(
    "sa_traffic_window_p95_seconds", GAUGE, (), "95th percentile of time-taken in the last final half hour"
)
WINDOW_END = Metric("sa_traffic_window_end_timestamp_seconds", GAUGE, (), "when the last final half hour ended")


METRICS: tuple[Metric, ...] = tuple(value for value in dict(globals()).values() if isinstance(value, Metric))
