"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from sa_stream import native
from sa_stream.windows import audience, names, paths, summaries
from tests.windows import partition_feed


@pytest.fixture(scope="module", autouse=True)
def packed(both_ways: None) -> Iterator[None]:
    """Batches come in the form of the one way or the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_feed, "PACKED", native.AVAILABLE)
        yield


@pytest.fixture(scope="module")
def small_limits() -> Iterator[None]:
    """Limits so low that a few records pass them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", 8)
        patch.setattr(paths, "KEPT_AT_A_CUT", 4)
        patch.setattr(summaries, "VALUES_MAX", 5)
        patch.setattr(summaries, "_KEPT", 6)
        patch.setattr(audience, "AGENTS_MAX", 5)
        patch.setattr(audience, "ORIGINS_MAX", 4)
        patch.setattr(names, "NAMES_MAX", 6)
        patch.setattr(names, "NAMES_KEPT_AT_A_CUT", 3)
        yield
