"""Bugs in how windows are computed from the archive. They need one: FORCED in tests/simulation/test_planted_bugs.py."""

from collections.abc import Iterator
from typing import Any

import sa_stream.bounded.repair as repair_module
import sa_stream.rollups.reconciler as reconciler_module
import sa_stream.rollups.repairs as repairs
from sa_stream.commits.keys import REPAIRS_PREFIX, parse_repair_key
from sa_stream.commits.operations import Steps, call
from sa_stream.partitions import number_of
from sa_stream.rollups.entry import S3
from sa_stream.rollups.finality import Sources, Window_View
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.repairs import Repair
from sa_stream.rollups.wanted import Wanted, partials_of
from tests.simulation.planting import patched, planted


@planted
def repair_mixed_with_the_streams_partials() -> Iterator[None]:
    """What the stream has of a window is added to what its files gave."""

    original = Reconciler._wanted

    def wanted(self: Reconciler, view: Window_View, window_ms: int, *more: Any) -> Steps[tuple[Wanted, Sources]]:
        found, sources = yield from original(self, view, window_ms, *more)
        if found.provenance == S3:
            found.parts = [*found.parts, *partials_of(window_ms, view.sources)]
        return found, sources

    with patched(Reconciler, "_wanted", wanted):
        yield


@planted
def repair_of_fewer_files_wins() -> Iterator[None]:
    """Of a window's repairs the one counts that was put last."""

    def repairs_steps(store: Any) -> Steps[dict[int, Repair]]:
        listed = yield call(store.list, REPAIRS_PREFIX)
        newest: dict[int, Repair] = {}
        for item in sorted(listed, key=lambda item: item.modified_ms):
            window_ms, number, lineage = parse_repair_key(item.key)
            newest[window_ms] = Repair(int(number_of(number)), lineage.endswith(f"-{repairs.WHOLE}"), lineage)
        return newest

    original = reconciler_module.is_older

    def is_older(sources: Sources, current: Any) -> bool:
        return sources[0][0] != S3 and original(sources, current) if sources else False

    with patched(repairs, "repairs_steps", repairs_steps), patched(reconciler_module, "is_older", is_older):
        yield


@planted
def repaired_once_and_never_again() -> Iterator[None]:
    """A window that was repaired is done, whichever of its files come later."""

    original = repair_module.repair_steps

    def repair_steps(
        store: Any, secrets: Any, files: Any, window_ms: int, known: Repair | None
    ) -> Steps[Repair | None]:
        if known is not None and known.whole:
            return None
        return (yield from original(store, secrets, files, window_ms, known))

    with patched(repair_module, "repair_steps", repair_steps):
        yield
