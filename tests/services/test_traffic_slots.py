"""What an entry says of its slot."""

import pytest

from sa_stream.rollups.periods import HALF_HOUR
from sa_stream.services.traffic_slots import FINAL, PARTIAL, SETTLED, ZERO, of_entry

MISSING_SOURCES = [{"partition": "shardId-000000000000", "reason": "lagging"}]


@pytest.mark.parametrize(
    ("status", "requests", "state", "reason"),
    [
        ("final", 7, FINAL, ""),
        ("final", 0, ZERO, ""),  # computed from the archive, and nobody came: a number, and no gap
        ("partial", 7, PARTIAL, "lagging"),
        ("partial", 0, PARTIAL, "lagging"),
    ],
)
def test_an_entry_is_final_zero_or_partial_and_never_missing(
    status: str, requests: int, state: str, reason: str
) -> None:
    sources = [] if status == "final" else MISSING_SOURCES
    entry = {"status": status, "total_requests": requests, "missing_sources": sources}
    slot = of_entry(HALF_HOUR, 0, entry, ["requests"])
    assert (slot.state, slot.reason, slot.values) == (state, reason, {"requests": requests})
    assert (slot.state in SETTLED) == (status == "final")
