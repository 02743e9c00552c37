"""Secrets never leave: whatever a store, a header or a URL quotes of them, no sentence of ours shows it."""

import contextlib
import http.server
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.process.log_setup import setup_logging
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error, SA_Stream_Error, Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.health.readiness import detail, readiness
from sa_stream.log import PARTITION_FAILED, Log
from sa_stream.secrecy import HIDDEN, hide, quoted, without_secrets
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.storage.cache_clients import cache_client__remote
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import Moment, Now
from tests.real.processes import SA_STREAM, clean_env, free_port, until

SECRETS = {
    f"{PREFIX}CACHE_API_KEY_VALUE": "the/key+of\"the'cache<service>&co",
    f"{PREFIX}API_KEY": "the-key-of-the-api",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjEXAMPLE/token+with==" * 4,
    "FAST_API__AUTH__API_KEY__VALUE": "the-key-of-a-service-beside",
}
USER_INFO = "aladdin:opensesame"


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that answers everything with a failure that quotes every secret, in every spelling, at any length."""
    said = " ".join([*SECRETS.values(), *(json.dumps(each) for each in SECRETS.values())])
    page = f"<html>bad: http://{USER_INFO}@127.0.0.1/ {'x' * 150} {said}</html>"
    aws = {"__type": "InternalFailure", "message": said}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            text = json.dumps(aws if "X-Amz-Target" in self.headers else {"detail": page, "headers": str(self.headers)})
            self.send_response(400 if "X-Amz-Target" in self.headers else 500, "no: " + SECRETS["AWS_SESSION_TOKEN"])
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(text.encode())

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def settings(echo: str, **more: str) -> dict[str, str]:
    return {
        **SECRETS,
        f"{PREFIX}STREAM": "a-stream",
        f"{PREFIX}RUNNER": "local",
        f"{PREFIX}CACHE_URL": f"http://{echo}",
        f"{PREFIX}STATE_URL": "s3://state-bucket/p",
        f"{PREFIX}LOG_FORMAT": "json",
        "AWS_ENDPOINT_URL": f"http://{USER_INFO}@{echo}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        **more,
    }


def leaks(text: str) -> list[str]:
    """Secrets of which this text shows so much as ten characters in a row."""
    parts = {
        part: name for name, each in SECRETS.items() for at in range(len(each) - 9) if (part := each[at : at + 10])
    }
    return sorted({name for part, name in parts.items() if part in text} | ({"URL"} if "opensesame" in text else set()))


def raised(use: Callable[[], Any]) -> str:
    with pytest.raises(SA_Stream_Error) as caught:
        use()
    return str(caught.value)


def test_no_store_that_quotes_our_secrets_gets_them_into_an_error_or_into_health(
    echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = settings(echo)
    for name, value in {**env, "AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-2"}.items():
        monkeypatch.setenv(name, value)
    config = SA__Config.from_env(env)
    cache = cache_client__remote(config.cache_url, "x-api-key", config.cache_api_key_value)
    said = [
        raised(cache.check),
        raised(lambda: cache.store_entry("ns", "a/b", {})),
        raised(lambda: State_Store(config.state_url, retries=0).get("a")),
        raised(lambda: State_Store(config.state_url, retries=0).put("a", b"")),
        raised(lambda: State_Store(config.state_url, retries=0).list("a")),
        raised(Kinesis_Reader("a-stream").describe),
        raised(Kinesis_Reader("a-stream").list_shards),
    ]
    health = Health(Moment(0))
    for number, sentence in enumerate(said):
        health.store(f"store {number}").failed(Moment(1), sentence)
    view, now = health.view(), Now(100_000, Moment(100_000))
    shown = "\n".join([*said, *readiness(view, now.moment), json.dumps(detail(view, now))])
    assert HIDDEN in shown, "the servers did not quote anything"
    assert leaks(shown) == []


@pytest.mark.slow
def test_neither_doctor_nor_the_daemon_shows_a_secret_that_a_store_quotes(echo: str, tmp_path: Path) -> None:
    port = free_port()
    env = clean_env(**settings(echo, **{f"{PREFIX}HTTP_PORT": str(port), "AWS_REGION": "eu-west-2"}))
    doctor = subprocess.run(
        [sys.executable, SA_STREAM, "doctor"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "cache service" in doctor.stdout + doctor.stderr
    assert leaks(doctor.stdout + doctor.stderr) == []
    daemon = subprocess.Popen(
        [sys.executable, SA_STREAM, "run"], env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:

        def status() -> str:
            done = subprocess.run(
                [sys.executable, SA_STREAM, "status", "--json"], env=env, cwd=tmp_path, capture_output=True, text=True
            )
            return done.stdout if "InternalFailure" in done.stdout else ""

        said = until("health to have the reason", status, 60, every_s=0.5)
    finally:
        daemon.kill()
        _, log = daemon.communicate()
    assert "source_waits" in log
    assert leaks(said + log) == []


def test_the_password_of_a_url_that_is_no_url_is_not_quoted() -> None:
    for url in (f"http://{USER_INFO}@cache.example.com", "http://aladdin:open/sesame@x", "ftp://aladdin:opensesame@x"):
        with pytest.raises(Config_Error) as refused:
            SA__Config.from_env({f"{PREFIX}CACHE_URL": url})
        assert "sesame" not in str(refused.value)


def test_a_traceback_in_the_log_shows_no_secret(echo: str) -> None:
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    try:
        setup_logging(SA__Config.from_env(settings(echo)), stream)
        try:
            raise ValueError(" ".join(SECRETS.values()))
        except ValueError as error:
            Log("engine").tell(PARTITION_FAILED, f"it failed: {error}", error, texts=list(SECRETS.values()))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "Traceback" in stream.getvalue()
    assert leaks(stream.getvalue()) == []


def test_a_secret_is_taken_out_before_a_text_is_cut() -> None:
    hide("a-secret-of-many-characters")
    for at in range(60):
        assert "a-secret" not in quoted("x" * at + " a-secret-of-many-characters", 60)
    assert quoted("two\n lines", 100) == "two lines"


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60))
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    hide("\x01a-secret-that-no-text-has\x01")
    if "://" not in text and not any(secret in text for secret in SECRETS.values()):
        assert without_secrets(text.replace("a-secret", "")) == text.replace("a-secret", "")


def test_the_word_of_an_emulator_is_no_secret() -> None:
    SA__Config.from_env({"AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "testing"})
    assert str(Store_Unavailable("The stream test is being tested: testing")) == (
        "The stream test is being tested: testing"
    )
