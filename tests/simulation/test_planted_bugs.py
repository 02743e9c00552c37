"""The simulation finds what it is for: each planted bug breaks a promise within 150 seeds."""

import pytest

from tests.simulation.__main__ import report
from tests.simulation.planted import PLANTED

SEEDS_MAX = 150


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_bug_is_found(name: str) -> None:
    found = next((broken for seed in range(SEEDS_MAX) if (broken := report(seed, name).broken)), "")
    assert found not in ("", "crash")
