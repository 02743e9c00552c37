"""A state store that is not what it should be: a captive portal, another clock, credentials that have expired."""

import http.server
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sa_stream.commits.decisions import claim_application
from sa_stream.errors import In_Use, Store_Unavailable
from sa_stream.storage import state_store
from sa_stream.storage.state_lock import LOCK_KEY, hold_lock
from sa_stream.storage.state_store import SETTING, State_Store
from tests.sources.test_expired_credentials import Service, served, write_credentials

type Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def s3_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Answer], State_Store]]:
    """A bucket at a server that answers everything in one way, with the credentials of the file `credentials`."""
    servers = []

    def start(answer: Answer) -> State_Store:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)

            do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        write_credentials(tmp_path, "AKIDOLD")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("AWS_REGION", "eu-west-2")
        return State_Store("s3://state-bucket/p")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, text: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text)))
    handler.send_header("ETag", '"a-page"')
    handler.send_header("Last-Modified", "Mon, 16 Feb 2026 14:30:00 GMT")
    handler.end_headers()
    handler.wfile.write(text.encode())


@pytest.mark.parametrize("page", ["<html><title>Welcome to the hotel</title></html>", "Please log in"])
def test_what_a_captive_portal_says_to_have_created_is_not_there(
    s3_that: Callable[[Answer], State_Store], page: str
) -> None:
    store = s3_that(lambda handler: reply(handler, 200, page))
    with pytest.raises(Store_Unavailable, match="AWS_ENDPOINT_URL"):
        store.create("meta/application", b"ours")
    with pytest.raises(Store_Unavailable, match="AWS_ENDPOINT_URL"):
        claim_application(store, "application", "stream")
    with pytest.raises(Store_Unavailable, match="AWS_ENDPOINT_URL"):
        hold_lock(store)


def test_a_web_page_is_a_failing_store_and_no_corrupt_object(s3_that: Callable[[Answer], State_Store]) -> None:
    store = s3_that(lambda handler: reply(handler, 200, "\n<!DOCTYPE html><html>Welcome</html>"))
    with pytest.raises(Store_Unavailable, match="web page"):
        store.get("snapshots/shard/1/a")


def error_of(code: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>m</Message></Error>'


@pytest.mark.parametrize(
    ("status", "code"), [(409, "OperationAborted"), (412, "PreconditionFailed"), (416, "InvalidRange"), (400, "")]
)
def test_a_write_that_is_refused_for_a_reason_of_its_own_is_a_failing_store(
    s3_that: Callable[[Answer], State_Store], status: int, code: str
) -> None:
    """409 is what S3 says of two writes of one key that meet."""
    store = s3_that(lambda handler: reply(handler, status, error_of(code) if code else ""))
    for fails in (
        lambda: store.put("a/b", b"1"),
        lambda: store.get("a/b"),
        lambda: store.list("a"),
        lambda: store.delete(["a/b", "a/c"]),
    ):
        with pytest.raises(Store_Unavailable, match=SETTING):
            fails()


def test_what_met_another_write_was_not_created(s3_that: Callable[[Answer], State_Store]) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        put = handler.command == "PUT"
        reply(handler, 409 if put else 404, error_of("ConditionalRequestConflict" if put else "NoSuchKey"))

    with pytest.raises(Store_Unavailable, match=SETTING):
        s3_that(answer).create("a/b", b"1")


@pytest.mark.parametrize("page", ["<html><title>Welcome</title></html>", error_of("InternalError")])
def test_what_is_no_listing_is_a_failing_store_and_no_empty_one(
    s3_that: Callable[[Answer], State_Store], page: str
) -> None:
    store = s3_that(lambda handler: reply(handler, 200, page))
    for listing in (store.list, store.list_folders):
        with pytest.raises(Store_Unavailable, match=r"AWS_ENDPOINT_URL|SGRAPH"):
            listing("progress")


def test_a_folder_with_something_foreign_is_not_left_out_where_a_web_page_comes_for_its_listing(
    s3_that: Callable[[Answer], State_Store],
) -> None:
    readme = (
        "<Contents><Key>p/progress/shard-0/README</Key><Size>1</Size>"
        '<LastModified>2026-02-16T14:30:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
    )
    folder = "<CommonPrefixes><Prefix>p/progress/shard-0/</Prefix></CommonPrefixes>"
    answers = [f"<ListBucketResult>{each}</ListBucketResult>" for each in (readme, folder)]
    store = s3_that(lambda handler: reply(handler, 200, answers.pop(0) if answers else "<html>Welcome</html>"))
    assert store.list("progress") == []
    with pytest.raises(Store_Unavailable, match="web page"):
        store.list_folders("progress")


def test_a_listing_whose_pages_repeat_comes_to_an_end(
    s3_that: Callable[[Answer], State_Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_store, "LIST_PAGE", 1)
    page = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>'
        "<NextContinuationToken>T</NextContinuationToken><Contents><Key>p/a/b</Key><Size>1</Size>"
        '<LastModified>2026-02-16T14:30:00.000Z</LastModified><ETag>"x"</ETag></Contents></ListBucketResult>'
    )
    with pytest.raises(Store_Unavailable, match="same objects again"):
        s3_that(lambda handler: reply(handler, 200, page)).list("a")


def test_what_was_created_is_still_created_where_the_store_works(aws: str) -> None:
    store = State_Store("s3://state-bucket/created")
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")


def try_lock(shift_s: int, expiry_s: float) -> str:
    """What another process gets whose clock is off by this much."""
    code = """
        import sys, time
        shift_s, real = int(sys.argv[1]), time.time
        time.time = lambda: real() + shift_s
        from sa_stream.errors import In_Use
        from sa_stream.storage.state_lock import hold_lock
        from sa_stream.storage.state_store import State_Store
        try:
            hold_lock(State_Store("s3://state-bucket/p"), float(sys.argv[2]))
            print("taken")
        except In_Use as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(shift_s), str(expiry_s)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_age_of_a_lock_is_told_by_the_stores_clock(aws: str) -> None:
    store = State_Store("s3://state-bucket/p")
    with hold_lock(store):
        assert "is used by process" in try_lock(3_600, 60), "a clock that is ahead took a lock that is held"
    store.put(LOCK_KEY, b'{"host": "dead", "pid": 1, "token": "x"}')
    time.sleep(3)
    assert try_lock(-3_600, 2) == "taken", "a clock that is behind waits an hour for a dead one's lock"
    assert [item.key for item in store.list("locks")] == [LOCK_KEY]
    with pytest.raises(In_Use):
        hold_lock(store)


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestExpired", "InvalidAccessKeyId", "RequestTimeTooSkewed"])
def test_credentials_that_are_refused_twice_are_loaded_anew(
    s3_that: Callable[[Answer], State_Store], tmp_path: Path, code: str
) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if "AKIDNEW" in handler.headers["Authorization"]:
            reply(handler, 200, "found")
        else:
            reply(handler, 400, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>")

    store = s3_that(answer)
    with pytest.raises(Store_Unavailable, match=r"have expired .* renew what they come from .*AWS_SESSION_TOKEN"):
        store.get("a")
    write_credentials(tmp_path, "AKIDNEW")
    with pytest.raises(Store_Unavailable, match="have expired"):
        store.get("a")
    assert store.get("a") == b"found"


@pytest.mark.parametrize("status", [400, 403, 409])
def test_an_answer_without_a_reason_says_where_to_look(s3_that: Callable[[Answer], State_Store], status: int) -> None:
    store = s3_that(lambda handler: reply(handler, status, ""))
    for ask in (lambda: store.get("a"), lambda: store.list("progress"), lambda: store.list_folders("progress")):
        with pytest.raises(Store_Unavailable, match=r"without a reason.*HTTPS_PROXY.*AWS_ENDPOINT_URL"):
            ask()


def test_what_a_role_gives_and_our_clock_calls_expired_says_where_to_look(
    s3_that: Callable[[Answer], State_Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = "2001-01-01T00:00:00Z"

    class Role(Service):
        def do_GET(self) -> None:
            given = {"AccessKeyId": "AKIDNEW", "SecretAccessKey": "s" * 20, "Token": "t" * 20, "Expiration": until}
            self.reply(200, json.dumps(given).encode(), "application/json")

    s3_that(lambda handler: reply(handler, 200, "found"))
    with served(Role, "AWS_CONTAINER_CREDENTIALS_FULL_URI", monkeypatch, tmp_path):
        (tmp_path / "credentials").unlink()
        store = State_Store("s3://bucket/state")
        with pytest.raises(Store_Unavailable, match=r"still expired.*this machine's clock"):
            store.get("a")
        until = "2098-01-01T00:00:00Z"
        assert store.get("a") == b"found"
