"""A state store, a cache and shards whose progress a test writes by hand; what the reconciler reads."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from sa_stream.commits.codec import encode_progress
from sa_stream.commits.keys import partial_key, progress_key, progress_prefix
from sa_stream.commits.operations import Call, Operation, Together, drive
from sa_stream.commits.progress import Progress
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.partitions import END, Partial_Name, Shard_Info
from sa_stream.records.fields import USED_FIELDS, to_mask
from sa_stream.rollups.passes import Pass_Result, Reconciler_Settings
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import BEGINNING_MS, Moment, Now, Timing
from sa_stream.windows.window import Window


def window_of(start_ms: int, requests: int, salt: int = 0) -> Window:
    """A window of as many requests, each with a path of its own; equal salts share their paths."""
    window = Window(start_ms)
    window.fields = to_mask(USED_FIELDS)
    window.total_requests = requests
    window.total_bytes = 10 * requests
    window.counts["status"] = {"200": requests}
    window.unique_paths.add(np.arange(salt + 1, salt + 1 + requests, dtype=np.uint64))
    return window


def now_at(now_ms: int) -> Now:
    """Both clocks, going on alike."""
    return Now(now_ms, Moment(now_ms))


def one_by_one(perform: Callable[[Call], Any]) -> Callable[[Operation], Any]:
    """A driver's `perform` that makes calls which are yielded together one after the other."""

    def perform_all(operation: Operation) -> Any:
        return [perform(one) for one in operation.calls] if isinstance(operation, Together) else perform(operation)

    return perform_all


class Cut(BaseException):
    """The worker is gone, after its call took effect and before it heard of that."""


def cut_after(calls: int) -> Callable[[Call], Any]:
    """A driver's `perform` that is cut short in the call after so many."""
    left = calls

    def perform(operation: Call) -> Any:
        nonlocal left
        left -= 1
        result = operation()
        if left < 0:
            raise Cut
        return result

    return perform


class Stream:
    """`commit` says what a shard has; `run` is one pass of a reconciler over it."""

    def __init__(self, *shards: Shard_Info | str, timing: Timing | None = None, **settings: Any) -> None:
        self.store, self.cache = State_Store("memory://"), Memory_Cache()
        self.shards = [Shard_Info(shard, (), False) if isinstance(shard, str) else shard for shard in shards]
        self.timing = timing or Timing()
        self.settings = Reconciler_Settings(**{"refresh_ms": {}, **settings})
        self.maps: dict[str, dict[int, Partial_Name]] = {}
        self.amendable_ms: dict[str, int] = {}  # partition -> windows before it are forgotten
        self.calls: Counter[str] = Counter()
        self.reconciler = self.fresh()

    def fresh(self) -> Reconciler:
        return Reconciler(self.store, self.cache, lambda: list(self.shards), self.timing, self.settings)

    def commit(
        self,
        partition: str,
        number: int,
        watermark_ms: int,
        requests: dict[int, int] | None = None,
        *,
        since_ms: int = BEGINNING_MS,
        lineage: str = "l",
        ended: bool = False,
        parents: tuple[str, ...] = (),
        forget: tuple[int, ...] = (),
        salt: int = 0,
        counters: dict[str, int] | None = None,
        position_ms: int = 0,
    ) -> None:
        """Write partials (window -> requests in it by now) and the progress record; what these make obsolete goes."""
        names = self.maps.setdefault(partition, {})
        for start_ms, count in (requests or {}).items():
            if start_ms in names and names[start_ms].lineage == lineage:
                self.store.delete(partial_key(start_ms, partition, names[start_ms]))
            names[start_ms] = Partial_Name(lineage, str(number))
            data = window_of(start_ms, count, salt).to_bytes()
            self.store.put(partial_key(start_ms, partition, names[start_ms]), data)
        for start_ms in forget:
            names.pop(start_ms)
            self.amendable_ms[partition] = max(self.amendable_ms.get(partition, BEGINNING_MS), start_ms + 1)
        text = END if ended else str(number)
        progress = Progress(
            partition,
            text,
            lineage,
            watermark_ms,
            since_ms,
            ended,
            position_ms=position_ms,
            parents=parents,
            partials=dict(names),
            counters=counters or {},
            amendable_from_ms=self.amendable_ms.get(partition, BEGINNING_MS),
        )
        for item in self.store.list(progress_prefix(partition)):
            self.store.delete(item.key)
        self.store.put(progress_key(partition, text, watermark_ms, lineage), encode_progress(progress))

    def perform(self, operation: Call) -> Any:
        self.calls[operation.name.rsplit(".", 1)[-1]] += 1
        return operation()

    def run(
        self,
        now_ms: int,
        reconciler: Reconciler | None = None,
        perform: Callable[[Call], Any] | None = None,
        ahead_ms: int = 0,
    ):
        """One pass; its result. `ahead_ms`: how far the time of day is ahead of the clock that cannot step."""
        self.calls.clear()
        steps = (reconciler or self.reconciler).pass_steps(Now(now_ms + ahead_ms, Moment(now_ms)))
        result: Pass_Result = drive(steps, one_by_one(perform or self.perform))
        return result

    def settle(self, now_ms: int, reconciler: Reconciler | None = None) -> int:
        """Passes until one writes nothing; how many wrote."""
        for passes in range(10):
            if not self.run(now_ms, reconciler).written:
                return passes
        raise AssertionError("the reconciler never comes to rest")

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        return self.cache.entries(NS_SA_AGGREGATE)

    def summary(self, key: str) -> Window:
        return Window.from_bytes(self.store.get(self.entries[key]["summary"]) or b"")

    def holds(self, key: str) -> bool:
        return self.store.get(key) is not None
