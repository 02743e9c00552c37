"""What happened how often, and how long it took, since the start of the process: whoever does something counts it, from
any thread, by the metric under which people will see it."""

import threading
from bisect import bisect_left
from collections.abc import Mapping

from sa_stream.health.metrics import Metric

type Labels = tuple[str, ...]  # values of a metric's labels, in their order

BUCKETS_MS = (
    5,
    25,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    30_000,
    60_000,
)  # upper bounds; above the last is one more
NO_LABELS: Labels = ()


class Counts:
    """numbers    metric's name -> labels -> so many
    durations  metric's name -> labels -> how many in each bucket, and last the sum of all (ms)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.numbers: dict[str, dict[Labels, int]] = {}
        self.durations: dict[str, dict[Labels, list[int]]] = {}

    def add[L: Labels](self, metric: Metric, numbers: Mapping[L, int]) -> None:
        """Count more. Who is going to count adds 0 before: a rate needs to have seen where a counter began."""
        with self._lock:
            of_metric = self.numbers.setdefault(metric.name, {})
            for labels, number in numbers.items():
                of_metric[labels] = of_metric.get(labels, 0) + number

    def took(self, metric: Metric, duration_ms: int, labels: Labels = NO_LABELS) -> None:
        with self._lock:
            found = self.durations.setdefault(metric.name, {}).setdefault(labels, [0] * (len(BUCKETS_MS) + 2))
            found[bisect_left(BUCKETS_MS, duration_ms)] += 1
            found[-1] += duration_ms

    def copy(self) -> "Counts":
        """As of one moment."""
        copied = Counts()
        with self._lock:
            copied.numbers = {name: dict(numbers) for name, numbers in self.numbers.items()}
            copied.durations = {
                name: {labels: list(found) for labels, found in durations.items()}
                for name, durations in self.durations.items()
            }
        return copied
