"""The notebook of health comes in at each scrape, and every metric of sa_stream/health/metrics.py goes out, as
prometheus-client takes it. Nothing is kept between two scrapes, so what is not in the notebook any more is not shown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sa_stream.health import metrics
from sa_stream.health.counts import BUCKETS_MS, NO_LABELS, Labels
from sa_stream.health.metrics import COUNTER, METRICS, Metric
from sa_stream.health.notebook import Health, Health_View, Shard_View, Store_View
from sa_stream.health.readiness import readiness
from sa_stream.log import METRICS_FAILED, Log
from sa_stream.timing import Moment, Now

log = Log("metrics")

_BOUNDS = (*(str(bound_ms / 1000) for bound_ms in BUCKETS_MS), "+Inf")


class Process(Struct, frozen=True):
    """What only the process as such knows, asked at each scrape."""

    log_lines_dropped: Callable[[], int] = lambda: 0
    resident_bytes: Callable[[], int] = lambda: 0


class Health_Collector(Collector):
    """One part that fails takes no other with it: it is logged, counted, and its series are missing."""

    def __init__(self, health: Health, clock: Callable[[], Now], process: Process) -> None:
        self._health = health
        self._clock = clock
        self._process = process
        self._parts = {
            "worker": self._worker,
            "process": self._of_process,
            "shards": _shards,
            "stores": _stores,
            "publishing": _publishing,
            "traffic": _traffic,
            "counts": self._counts,
        }
        health.counts.add(metrics.METRICS_FAILURES, {(part,): 0 for part in self._parts})

    def collect(self) -> Iterator[Family]:
        view, now = self._health.view(), self._clock()
        for name, part in self._parts.items():
            try:
                families = list(part(view, now))
            except Exception as error:  # noqa: BLE001 - the other parts are what somebody on call needs then
                self._health.counts.add(metrics.METRICS_FAILURES, {(name,): 1})
                log.tell(METRICS_FAILED, f"the part {name} of the metrics is missing: {error!r}", error, part=name)
            else:
                yield from families

    def describe(self) -> Iterable[Family]:
        """Registering needs no scrape."""
        return []

    def _worker(self, view: Health_View, now: Now) -> Iterator[Family]:
        yield _gauge(metrics.READY, not readiness(view, now.moment))
        versions = tuple(view.versions.get(name, "") for name in ("sa-stream", "python", "polars"))
        yield _family(metrics.BUILD_INFO, {versions: 1})
        yield _gauge(metrics.START_TIME, _at(view.started, now))
        yield _gauge(metrics.READING_PAUSED, view.memory is not None)
        yield _gauge(metrics.CLOCK_OFFSET, view.clock_offset_ms / 1000)
        yield _gauge(metrics.MEMORY_LIMIT, view.memory_limit_bytes or None)
        yield _gauge(metrics.RETENTION, view.retention_ms / 1000 or None)
        yield _gauge(metrics.SHARDS_UNREAD, None if view.kcl is None else len(view.kcl.unread))

    def _of_process(self, view: Health_View, now: Now) -> Iterator[Family]:
        yield _gauge(metrics.MEMORY, self._process.resident_bytes() or None)
        yield _family(metrics.LOG_LINES_DROPPED, {NO_LABELS: self._process.log_lines_dropped()})

    def _counts(self, view: Health_View, now: Now) -> Iterator[Family]:
        """Everything that is counted where it happens, failures of the parts before among it."""
        counts = self._health.counts.copy()
        for metric in METRICS:
            if metric.name in counts.numbers:
                yield _family(metric, counts.numbers[metric.name])
            elif metric.name in counts.durations:
                yield _histogram(metric, counts.durations[metric.name])


def _shards(view: Health_View, now: Now) -> Iterator[Family]:
    open_shards = {name: shard for name, shard in view.shards.items() if not shard.ended}

    def each(metric: Metric, value: Callable[[Shard_View], float | None]) -> Family:
        return _family(metric, {(name,): value(shard) for name, shard in open_shards.items()})

    yield each(metrics.LAG, lambda shard: _seconds(shard.lag_ms_at(now.moment)))
    yield each(metrics.WATERMARK, lambda shard: _seconds(shard.watermark_ms))
    yield each(metrics.LAST_READ, lambda shard: _at(shard.last_read, now))
    yield each(metrics.LAST_COMMIT, lambda shard: _at(shard.last_commit, now))
    yield each(metrics.UNCOMMITTED, lambda shard: _age_s(shard.uncommitted_since, now.moment))
    yield each(metrics.BLOCKED, lambda shard: shard.blocked is not None)


def _stores(view: Health_View, now: Now) -> Iterator[Family]:
    def each(metric: Metric, value: Callable[[Store_View], float | None]) -> Family:
        return _family(metric, {(name,): value(store) for name, store in view.stores.items() if store.calls})

    yield each(metrics.STORE_UP, lambda store: store.failing_since is None)
    yield each(metrics.STORE_CALLS, lambda store: store.calls)
    yield each(metrics.STORE_FAILURES, lambda store: store.failures)
    yield each(metrics.STORE_LAST_SUCCESS, lambda store: _at(store.last_ok, now))


def _publishing(view: Health_View, now: Now) -> Iterator[Family]:
    finality, repairs = view.finality, view.repairs
    yield _gauge(metrics.FINAL_UNTIL, None if finality is None else finality.final_until_ms / 1000)
    yield _gauge(metrics.WINDOWS_PARTIAL, None if finality is None else finality.windows_partial)
    yield _gauge(metrics.REPAIRS_WAITING, None if repairs is None else len(repairs.waiting))
    yield _gauge(
        metrics.OLDEST_REPAIR, min(repairs.waiting) / 1000 if repairs is not None and repairs.waiting else None
    )


def _traffic(view: Health_View, now: Now) -> Iterator[Family]:
    window = view.last_window
    if window is not None:
        yield _gauge(metrics.WINDOW_REQUESTS, window.requests)
        yield _gauge(metrics.WINDOW_5XX, window.error_rate)
        yield _gauge(metrics.WINDOW_HITS, window.hit_rate)
        yield _gauge(metrics.WINDOW_P95, window.p95_s)
        yield _gauge(metrics.WINDOW_END, window.end_ms / 1000)


# ---------------------------------------------------------------------- one metric


def _gauge(metric: Metric, value: float | None) -> Family:
    return _family(metric, {NO_LABELS: value})


def _family(metric: Metric, values: Mapping[Labels, float | None]) -> Family:
    """None: there is no such number now, and so no series."""
    kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        if value is not None:
            family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, durations: Mapping[Labels, list[int]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, (*buckets, sum_ms) in durations.items():
        up_to = zip(_BOUNDS, accumulate(buckets), strict=True)
        family.add_metric(labels, [(bound, float(number)) for bound, number in up_to], sum_ms / 1000)
    return family


def _seconds(duration_ms: int | None) -> float | None:
    return None if duration_ms is None else duration_ms / 1000


def _at(moment: Moment | None, now: Now) -> float | None:
    """Seconds since the epoch, counted back from now."""
    return None if moment is None else (now.wall_ms - (now.moment - moment)) / 1000


def _age_s(since: Moment | None, now: Moment) -> float:
    return 0.0 if since is None else (now - since) / 1000


def registry_of(health: Health, clock: Callable[[], Now], process: Process) -> CollectorRegistry:
    """One of our own: nothing of what libraries put into the global one."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Health_Collector(health, clock, process))
    return registry
