"""What lies in the state store is the same to the byte, whoever read the records, and whoever read them before."""

import random
from collections.abc import Callable

import pytest

from sa_stream import native
from sa_stream.records import decoder
from sa_stream.timing import MINUTE_MS
from sa_stream.windows import paths
from tests.native.both_ways import needs_kernel
from tests.simulation.both_ways import differing
from tests.windows import partition_feed
from tests.windows.partition_feed import Dict_Store, Record, Worker, after, hostile_records

LIVES = 9


def stored(records: list[Record], seed: int, with_kernel: Callable[[int], bool]) -> Dict_Store:
    """Everything that was stored by lives that end in the middle, each of which begins at the checkpoint of the one
    before. with_kernel: of which of them read with it."""
    rng, store, checkpoint = random.Random(seed), Dict_Store(), None
    for life in range(LIVES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "AVAILABLE", with_kernel(life))
            patch.setattr(partition_feed, "PACKED", with_kernel(life))
            if seed % 2:
                patch.setattr(decoder, "FEW_ROWS", -1)  # as many are read
                patch.setattr(paths, "FEW_AT_ONCE", 0)
            left = after(records, checkpoint)
            now_ms = max((each.arrival_ms for each in left), default=records[-1].arrival_ms) + MINUTE_MS
            worker = Worker(store, checkpoint, now_ms, lineage=f"line-{life}")
            until = len(left) if life == LIVES - 1 else rng.randint(0, len(left))
            while until > 0:
                count = rng.randint(1, 30)
                worker.read(left[: min(count, until)], now_ms)
                left, until = left[count:], until - count
                if rng.random() < 0.5:
                    worker.work(now_ms)
                if rng.random() < 0.3:
                    worker.flush(now_ms)
                now_ms += rng.choice([100, 2_000, MINUTE_MS])
            if life == LIVES - 1 or rng.random() < 0.5:
                worker.flush(now_ms)
            checkpoint = worker.checkpoint
    return store


@needs_kernel
@pytest.mark.parametrize("seed", range(12))
def test_stores_are_the_same_with_and_without_the_kernel_and_if_it_changes_at_each_restart(seed: int) -> None:
    records = hostile_records(seed, 240)
    judge = stored(records, seed, lambda life: False)
    assert len(judge.objects) > 3
    for with_kernel in (lambda life: True, lambda life: life % 2 == 0, lambda life: life % 2 == 1):
        found = stored(records, seed, with_kernel)
        assert found.objects == judge.objects
        assert found.contents == judge.contents


@needs_kernel
@pytest.mark.parametrize("seed", range(4))
def test_a_simulated_life_stores_the_same_with_and_without_the_kernel(seed: int) -> None:
    assert differing(seed) == []
