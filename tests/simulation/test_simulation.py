"""The product's own code on simulated time, stores and crashes: whatever a seed brings, every promise holds."""

import pytest

from tests.simulation.__main__ import report

SEEDS = 30  # `make simulate` runs more
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = report(seed)
        assert not result.broken, f"again: {result.again()}\n{result.story}"


@pytest.mark.parametrize("seed", [301053, 301540, 302071])
def test_an_entry_of_a_broken_repair_stays_when_the_stream_knows_that_there_was_nothing(seed: int) -> None:
    result = report(seed)
    assert not result.broken, f"again: {result.again()}\n{result.story}"


def test_a_seed_decides_everything() -> None:
    assert report(3, trace=True).story == report(3, trace=True).story
