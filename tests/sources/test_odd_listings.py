"""What lists a bucket comes to its end, whatever the server says."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sa_stream.errors import Store_Unavailable
from sa_stream.sources.s3_archive import S3_Archive
from sa_stream.sources.s3_log_files import Buckets
from tests.sources.test_expired_credentials import Service, served

type Asked = dict[str, str]
type Bucket_That = Callable[[Callable[[Asked], str]], AbstractContextManager[None]]


@pytest.fixture
def bucket_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket_That:
    """A bucket whose listings are what a function says of what is asked."""

    @contextmanager
    def start(answer: Callable[[Asked], str]) -> Iterator[None]:
        class Handler(Service):
            def do_GET(self) -> None:
                asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                text = f"<ListBucketResult>{answer(asked)}</ListBucketResult>"
                self.reply(200, text.encode(), "application/xml")

        with served(Handler, "AWS_ENDPOINT_URL_S3", monkeypatch, tmp_path):
            yield

    return start


def entry(key: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>x</ETag>"
        "<LastModified>2026-02-16T14:30:00.000Z</LastModified></Contents>"
    )


def more_after(token: str) -> str:
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


@pytest.mark.parametrize(
    "page",
    [
        more_after("T") + entry("logs/a"),
        more_after("T") + entry("logs/a") + entry("logs/b"),
        more_after("T"),
        "<IsTruncated>true</IsTruncated>",
    ],
)
def test_a_page_that_comes_again_is_an_error_and_no_endless_listing(bucket_that: Bucket_That, page: str) -> None:
    said = r"same page again.*AWS_ENDPOINT_URL"
    with bucket_that(lambda asked: page), pytest.raises(Store_Unavailable, match=said):
        Buckets().objects_below("logs/logs/")


def test_a_page_without_objects_is_not_the_last(bucket_that: Bucket_That) -> None:
    """So a bucket may answer that has passed over a page of what was deleted."""

    def answer(asked: Asked) -> str:
        if "continuation-token" in asked:
            return {"1": more_after("2"), "2": entry("logs/c")}[asked["continuation-token"]]
        return more_after("1") if asked.get("start-after") == "logs/b" else more_after("9") + entry("logs/b")

    with bucket_that(answer):
        assert [each.stored.key for each in Buckets().objects_below("logs/logs/")] == ["logs/b", "logs/c"]
        assert [stored.key for stored in S3_Archive("logs").page("logs/", "logs/b").objects] == ["logs/c"]
