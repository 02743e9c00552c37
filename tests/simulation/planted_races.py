"""Races between commits and publishers, lost on purpose: what is deleted too early, what vanishes while it is read."""

from collections.abc import Iterator
from typing import Any

import sa_stream.commits.partition_consumer as consumer_module
import sa_stream.commits.protocol as protocol
import sa_stream.rollups.reconciler as reconciler
import sa_stream.rollups.retirement as retirement
from sa_stream.commits.keys import SUMMARIES_PREFIX, partial_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.remains import Remains
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.merging import Merged, Merger
from sa_stream.rollups.periods import CLOSED_BY, HALF_HOUR, end_of, parse_cache_key
from sa_stream.rollups.wanted import Part
from sa_stream.windows.partition_state import Partition_State
from sa_stream.windows.window import Window
from tests.simulation.planting import patched, planted


@planted
def deleted_before_it_is_confirmed() -> Iterator[None]:
    """A commit deletes what it replaces before its checkpoint."""

    original = protocol.commit_steps

    def commit_steps(state: Partition_State, store: Any, checkpoint: Any, remains: Remains, *more: Any) -> Steps[None]:
        before = {start: state.partials[start] for start in state.touched if start in state.partials}
        obsolete = [
            partial_key(start, state.partition, name)
            for start, name in before.items()
            if name.number != state.touched[start]
        ]

        def deleting(number: str) -> None:
            store.delete(obsolete)
            checkpoint(number)

        yield from original(state, store, deleting, remains, *more)

    with patched(consumer_module, "commit_steps", commit_steps):
        yield


@planted
def vanished_partial_counts_as_nothing() -> Iterator[None]:
    """What is gone while a window is merged is left out of it."""

    def newer(self: Merger, window_ms: int, part: Part, result: Merged) -> Steps[tuple[Part, bytes | None]]:
        yield from ()
        return part, Window(window_ms).to_bytes()

    with patched(Merger, "_newer", newer):
        yield


@planted
def summaries_deleted_before_their_day_is_final() -> Iterator[None]:
    """A half hour's summary goes as soon as its time is over."""

    def forget_summaries_steps(store: Any, cache: Any, stream: Stream_View) -> Steps[int]:
        for item in (yield call(store.list, f"{SUMMARIES_PREFIX}{HALF_HOUR}")):
            if end_of(*parse_cache_key("/".join(item.key.split("/")[1:3]))) < stream.now_ms:
                yield call(store.delete, item.key)
        return 0

    with patched(retirement, "forget_summaries_steps", forget_summaries_steps):
        yield


@planted
def editions_deleted_with_their_day() -> Iterator[None]:
    """The editions of a closed day are deleted, and kept nowhere."""

    def close_steps(store: Any, period: str, whole_ms: int, listed: list[str]) -> Steps[None]:
        for key in listed:
            if end_of(*parse_cache_key("/".join(key.split("/")[1:3]))) <= end_of(CLOSED_BY[period], whole_ms):
                yield call(store.delete, key)

    with patched(retirement, "close_steps", close_steps):
        yield


@planted
def hint_taken_for_a_lock() -> Iterator[None]:
    """Who did not write an open entry himself leaves it to him who did, alive or not."""
    with patched(reconciler, "OTHERS_PATIENCE", 1 << 30), patched(reconciler, "FINAL_PATIENCE_MS", 1 << 60):
        yield
