"""Where snapshots are: in the progress records of their commits, or objects of their own."""

import pytest

from sa_stream.commits import protocol


@pytest.fixture(params=["inside", "alone"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "alone":
        monkeypatch.setattr(protocol, "SNAPSHOT_INSIDE_BYTES_MAX", 0)
    return str(request.param)
