"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from sa_stream import native
from tests.windows import partition_feed


@pytest.fixture(scope="module", autouse=True)
def packed(both_ways: None) -> Iterator[None]:
    """Batches come in the form of the one way or the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition_feed, "PACKED", native.AVAILABLE)
        yield
