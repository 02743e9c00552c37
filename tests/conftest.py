"""An emulated S3, for every room that keeps something in a bucket; and the order of all tests: the long ones first."""

from collections.abc import Iterator

import hypothesis
import pytest

# How long an example takes is a matter of the machine, and of who else works on it.
hypothesis.settings.register_profile("sa-stream", deadline=None)
hypothesis.settings.load_profile("sa-stream")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those with the KCL (about a minute each), then other slow ones, then the rest, in the order of the files: a long
    one that began last would run alone, while the other workers have nothing left to do."""
    items.sort(key=lambda item: [item.get_closest_marker(mark) is None for mark in ("kcl", "slow")])


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS's variables, pointing at an emulated S3 with a bucket `state-bucket`."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
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
    return s3_endpoint
