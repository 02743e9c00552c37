"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from sa_stream.windows import fold, paths, summaries


@pytest.fixture(scope="module")
def small_limits() -> Iterator[None]:
    """Limits so low that a few records pass them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", 8)
        patch.setattr(paths, "KEPT_AT_A_CUT", 4)
        patch.setattr(summaries, "VALUES_MAX", 5)
        patch.setattr(fold, "VALUES_MAX", 5)
        patch.setattr(summaries, "_KEPT", 6)
        yield
