"""An emulated AWS, for every room that needs one; and the order of all tests: the long ones first."""

import os
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent
# Files of which one worker takes all tests: what they share takes longer to make than most of them.
OF_ONE_WORKER = ("tests/consumer/commands/test_archive.py",)

# How long an example takes is a matter of the machine, and of who else works on it.
hypothesis.settings.register_profile("sa-stream", deadline=None)
hypothesis.settings.load_profile("sa-stream")


class Scheduling(LoadScopeScheduling):
    """Each test by itself, unless its file is one worker's."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in OF_ONE_WORKER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """So that several workers have something to do all the time: the long ones come first, as one that began last would
    run alone; and one worker computes, while the others have those that mostly wait, for leases to expire and windows
    to close."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    waiting = deque(sorted(filter(_waits, items), key=_seconds, reverse=True))
    computing = deque(sorted((item for item in items if not _waits(item)), key=_seconds, reverse=True))
    items.clear()
    busy: list[tuple[float, bool]] = []  # of each worker until when it will be, and whether it waits
    now_s = 0.0
    while waiting or computing:
        if len(busy) == workers:
            now_s, _ = heappop(busy)
        waits = bool(waiting) and (not computing or sum(each for _, each in busy) < workers - 1)
        items.append((waiting if waits else computing).popleft())
        heappush(busy, (now_s + _seconds(items[-1]), waits))


def _waits(item: pytest.Item) -> bool:
    return item.path.is_relative_to(ROOT / "real") or item.path.is_relative_to(ROOT / "containers")


def _seconds(item: pytest.Item) -> float:
    """About how long it takes."""
    if item.get_closest_marker("kcl") is not None:
        return 50
    if item.get_closest_marker("slow") is not None or _waits(item) or item.nodeid.startswith(OF_ONE_WORKER):
        return 15
    return 5 if item.path.is_relative_to(ROOT / "simulation") else 0.2


@pytest.fixture(scope="module")
def small_limits() -> Iterator[None]:
    """Limits of windows so low that a few records pass them."""
    from sa_stream.windows import audience, names, paths, summaries

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", 8)
        patch.setattr(paths, "KEPT_AT_A_CUT", 4)
        patch.setattr(summaries, "VALUES_MAX", 5)
        patch.setattr(summaries, "VALUES_HELD_MAX", 20)
        patch.setattr(summaries, "_KEPT", 6)
        patch.setattr(audience, "AGENTS_MAX", 5)
        patch.setattr(audience, "ORIGINS_MAX", 4)
        patch.setattr(names, "NAMES_MAX", 6)
        patch.setattr(names, "NAMES_HELD_MAX", 20)
        yield


@pytest.fixture(scope="module", params=["python", "kernel"])
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """However records are read, and however few they are, the same is known of them."""
    from sa_stream import native
    from sa_stream.records import decoder

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(native, "AVAILABLE", False)
        elif native.AVAILABLE:
            patch.setattr(decoder, "FEW_ROWS", -1)
        else:
            pytest.skip(native.REASON)
        yield


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS's variables, pointing at an emulated S3 with a bucket `state-bucket`."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_REGION": "eu-west-2",
        "AWS_DEFAULT_REGION": "eu-west-2",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "MOTO_S3_DEFAULT_MAX_KEYS": "100",  # its pages, so that few objects are several pages
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    bucket = boto3.resource("s3").Bucket("state-bucket")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}) if not bucket.creation_date else None
    bucket.objects.all().delete()
    return aws_endpoint
