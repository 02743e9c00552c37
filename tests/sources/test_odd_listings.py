"""What lists a bucket comes to its end, whatever the server says."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sa_stream.errors import Store_Unavailable
from sa_stream.sources import s3_archive
from sa_stream.sources.s3_archive import S3_Archive
from sa_stream.sources.s3_log_files import Buckets
from sa_stream.storage import bucket_listing
from sa_stream.storage.state_store import State_Store
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
        more_after("T") + entry("logs/b") + entry("logs/a"),
        more_after("T") + "<CommonPrefixes><Prefix>logs/a/</Prefix></CommonPrefixes>",
    ],
)
def test_a_page_that_comes_again_is_an_error_and_no_endless_listing(bucket_that: Bucket_That, page: str) -> None:
    said = r"same page again.*AWS_ENDPOINT_URL"
    with bucket_that(lambda asked: page), pytest.raises(Store_Unavailable, match=said):
        Buckets().objects_below("logs/logs/")


@pytest.mark.parametrize("tokens", [2, 1_000_000])
def test_empty_pages_that_always_promise_another_are_an_error_and_no_endless_listing(
    bucket_that: Bucket_That, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    """As many as an archive may have of what was deleted are gone through."""
    monkeypatch.setattr(s3_archive, "EMPTY_PAGES_MAX", 20)
    numbers = itertools.count()
    with (
        bucket_that(lambda asked: more_after(f"T{next(numbers) % tokens}")),
        pytest.raises(Store_Unavailable, match=r"only empty ones.*AWS_ENDPOINT_URL"),
    ):
        Buckets().objects_below("logs/logs/")


@pytest.mark.parametrize("ask", [lambda store: store.list("progress"), lambda store: store.list_folders("progress")])
def test_a_state_store_that_finds_nothing_and_never_says_that_this_was_all_is_an_error(
    bucket_that: Bucket_That, monkeypatch: pytest.MonkeyPatch, ask: Callable[[State_Store], object]
) -> None:
    monkeypatch.setattr(bucket_listing, "LISTING_S", 0.5)
    with bucket_that(lambda asked: more_after("T")):
        store = State_Store("s3://bucket/state")
        with pytest.raises(Store_Unavailable, match=r"nothing more in .*AWS_ENDPOINT_URL.*STATE_URL"):
            ask(store)


def test_who_is_interrupted_does_not_wait_for_a_listing_of_the_state_store(
    bucket_that: Bucket_That, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_listing, "LISTING_S", 60)
    pages = itertools.count()
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # who is started in the background hears none

    def answer(asked: Asked) -> str:
        if next(pages) == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return more_after("T")

    with bucket_that(answer):
        store = State_Store("s3://bucket/state")
        began_s = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                store.list("progress")
        finally:
            signal.signal(signal.SIGINT, heard)
        assert time.monotonic() - began_s < 30


def test_a_page_without_objects_is_not_the_last(bucket_that: Bucket_That) -> None:
    """So a bucket may answer that has passed over a page of what was deleted."""

    def answer(asked: Asked) -> str:
        if "continuation-token" in asked:
            return {"1": more_after("2"), "2": entry("logs/c")}[asked["continuation-token"]]
        return more_after("1") if asked.get("start-after") == "logs/b" else more_after("9") + entry("logs/b")

    with bucket_that(answer):
        assert [each.stored.key for each in Buckets().objects_below("logs/logs/")] == ["logs/b", "logs/c"]
        assert [stored.key for stored in S3_Archive("logs").page("logs/", "logs/b").objects] == ["logs/c"]
