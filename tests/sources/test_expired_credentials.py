"""Credentials that expire while a stream or an archive is read: whoever renews them need not restart us."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Store_Unavailable
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader
from sa_stream.sources.s3_archive import S3_Archive
from sa_stream.timing import moment


def write_credentials(folder: Path, key: str) -> None:
    (folder / "credentials").write_text(
        f"[default]\naws_access_key_id={key}\naws_secret_access_key=secret-key-of-{key}\n"
    )


def loaded_anew[T](folder: Path, ask: Callable[[], T], said: str) -> T:
    """What is answered once the credentials that have expired are others: of the old ones it is told, of the new ones
    once more, as they are loaded for the next question."""
    with pytest.raises(Store_Unavailable, match=said):
        ask()
    write_credentials(folder, "AKIDNEW")
    with pytest.raises(Store_Unavailable, match="credentials have expired"):
        ask()
    return ask()


class Service(http.server.BaseHTTPRequestHandler):
    def reply(self, status: int, text: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A stream `s` with a record, for whoever signs with AKIDNEW; all other credentials have expired."""
    from sa_stream.embedded.kinesis_server import answer

    memory = Memory_Kinesis(lambda: 1_771_252_200_000)
    memory.create_stream("s", 1)
    memory.put("s", b"a line", "0")

    class Handler(Service):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "AKIDNEW" in self.headers["Authorization"]:
                status, text = answer(memory, self.headers["X-Amz-Target"].rpartition(".")[2], body)
            else:
                text = b'{"__type": "ExpiredTokenException", "message": "The security token has expired"}'
                status = 400
            self.reply(status, text, "application/x-amz-json-1.1")

    with served(Handler, "AWS_ENDPOINT_URL_KINESIS", monkeypatch, tmp_path):
        yield


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A bucket without objects, for whoever signs with AKIDNEW."""

    class Handler(Service):
        def do_GET(self) -> None:
            good = "AKIDNEW" in self.headers["Authorization"]
            text = b"<ListBucketResult></ListBucketResult>" if good else b"<Error><Code>ExpiredToken</Code></Error>"
            self.reply(200 if good else 400, text, "application/xml")

        def do_HEAD(self) -> None:
            self.reply(404 if "AKIDNEW" in self.headers["Authorization"] else 400, b"", "application/xml")

    with served(Handler, "AWS_ENDPOINT_URL_S3", monkeypatch, tmp_path):
        yield


@contextmanager
def served(handler: type[Service], setting: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """A service at the endpoint that a setting names, and credentials that have expired."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv(setting, f"http://127.0.0.1:{server.server_address[1]}")
    write_credentials(folder, "AKIDOLD")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("kinesis")
def test_credentials_that_expired_twice_in_a_row_are_loaded_anew(tmp_path: Path) -> None:
    reader = Kinesis_Reader("s")
    info = loaded_anew(tmp_path, reader.describe, r"credentials have expired.*renew what they come from.*restart")
    assert info.name == "s"
    batch = Shard_Reader(reader, reader.list_shards()[0].shard_id, "TRIM_HORIZON").read(moment())
    assert batch is not None
    assert batch.payloads == [b"a line"]


@pytest.mark.usefixtures("kinesis")
def test_many_shards_that_fail_at_once_make_one_new_session(tmp_path: Path) -> None:
    reader = Kinesis_Reader("s")
    first, clients = reader.client, set()
    write_credentials(tmp_path, "AKIDNEW")
    waiting = threading.Barrier(8)

    def ask() -> None:
        waiting.wait()
        for _ in range(3):
            try:
                reader.describe()
            except Store_Unavailable:
                clients.add(id(reader.client))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.client is not first
    assert len(clients - {id(first)}) <= 1
    assert reader.describe().name == "s"


@pytest.mark.usefixtures("bucket")
def test_credentials_of_an_archive_are_loaded_anew_and_it_is_only_waited_for(tmp_path: Path) -> None:
    archive = S3_Archive("logs")
    said = r"credentials have expired.*renew what they come from.*restart"
    assert loaded_anew(tmp_path, lambda: archive.page(""), said).objects == ()


@pytest.mark.usefixtures("bucket")
def test_of_what_has_no_body_to_say_so_it_is_told_too(tmp_path: Path) -> None:
    archive = S3_Archive("logs")
    assert loaded_anew(tmp_path, lambda: archive.head("a"), r"credentials have expired.*ExpiredToken") is None
