"""The HTTP server under clients that want nothing, too much, or never finish, on real sockets."""

import contextlib
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import uvicorn

from sa_stream.api.http_server import WAITING_MAX, WORK_MAX, Health_Server, listen, server_settings
from sa_stream.api.mounting import mount_api
from sa_stream.config import SA__Config
from sa_stream.health.metrics import HTTP_DURATION
from sa_stream.health.notebook import Health
from sa_stream.timing import moment
from tests.services.world import World

MANY = 1_000
HELLO = bytes.fromhex("16030100c8010000c403035f") + bytes(190)  # how TLS begins


@pytest.fixture
def server() -> Iterator[Health_Server]:
    server = Health_Server(Health(moment()), port=0)
    yield server
    server.stop()


@pytest.fixture
def clients() -> Iterator[Callable[..., list[socket.socket]]]:
    """Makes connections to a port, each of which says this much."""
    with contextlib.ExitStack() as stack:

        def connect(port: int, count: int, said: bytes = b"") -> list[socket.socket]:
            made = []
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                with contextlib.suppress(OSError):  # it has had enough already
                    client.sendall(said)
                made.append(client)
            return made

        yield connect


def get(port: int, path: str, within_s: float = 2) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def ends(client: socket.socket, within_s: float) -> bool:
    """Whether the server ends this connection in time, whatever it says before."""
    client.settimeout(within_s)
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:  # it was reset
        return True
    return True


def test_a_client_that_hangs_up_in_the_middle_of_a_body_alarms_nobody(
    clients: Callable[..., list[socket.socket]], caplog: pytest.LogCaptureFixture
):
    health = Health(moment())
    server = Health_Server(
        health,
        port=0,
        mount=lambda app: mount_api(app, SA__Config(api_key="key"), World()),  # type: ignore[arg-type]
    )
    head = b"POST /api/sa/cloudfront/ingest HTTP/1.1\r\nHost: x\r\nx-api-key: key\r\nx-sa-confirm: 1\r\n"
    try:
        (client,) = clients(server.port, 1, head + b"Content-Length: 10\r\n\r\n{")
        time.sleep(0.2)
        client.close()
        until_s = time.monotonic() + 10
        while HTTP_DURATION.name not in health.counts.copy().durations:
            assert time.monotonic() < until_s
            time.sleep(0.02)
    finally:
        server.stop()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        b"GET /" + b"x" * 200_000,
        HELLO,
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01 nonsense \r\n\r\n",
    ],
    ids=["idle", "half-sent", "half a body", "200 kB path", "TLS hello", "nonsense after a request"],
)
def test_live_and_ready_are_answered_whatever_a_thousand_others_do(
    server: Health_Server, clients: Callable[..., list[socket.socket]], said: bytes
) -> None:
    clients(server.port, MANY, said)
    for _ in range(5):
        assert get(server.port, "/health/live") == 200
        assert get(server.port, "/health/ready") == 503
        assert get(server.port, "/health") == 200


def test_no_more_than_so_many_connections_wait_at_once(
    server: Health_Server, clients: Callable[..., list[socket.socket]]
) -> None:
    made = clients(server.port, WAITING_MAX + 50)
    assert get(server.port, "/health/live") == 200
    assert all(ends(client, 2) for client in made[:50])
    made[-1].sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert made[-1].recv(100).startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def running(app: Any, **limits: Any) -> Iterator[int]:
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_settings(app, **limits))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


async def answer(scope: Any, receive: Any, send: Any) -> None:
    size = int(scope["path"].removeprefix("/") or 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for _ in range(0, size, 10_000):
        await send({"type": "http.response.body", "body": b"x" * min(size, 10_000), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n",  # one in full, and half of the next
    ],
)
def test_a_request_that_is_not_here_in_time_ends_the_connection(
    clients: Callable[..., list[socket.socket]], said: bytes
) -> None:
    with running(answer, request_s=1) as port:
        (client,) = clients(port, 1, said)
        assert ends(client, 3)


def test_a_byte_now_and_then_buys_no_time(clients: Callable[..., list[socket.socket]]) -> None:
    with running(answer, request_s=1) as port:
        (client,) = clients(port, 1)
        began_s = time.monotonic()
        with contextlib.suppress(OSError):  # reset or broken, as it comes
            for byte in b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 200:
                client.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began_s < 4


def test_an_answer_that_is_not_taken_ends_the_connection(clients: Callable[..., list[socket.socket]]) -> None:
    with running(answer, answer_s=1) as port:
        (client,) = clients(port, 1, b"GET /50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2)
        assert ends(client, 5)


def test_a_connection_that_is_used_goes_on_for_longer_than_one_request_may_take() -> None:
    with running(answer, request_s=1) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        for _ in range(8):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"xx"
            time.sleep(0.3)
        connection.close()


def test_what_is_limited_is_work_and_never_the_sign_of_life(clients: Callable[..., list[socket.socket]]) -> None:
    release = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        import asyncio

        while scope["path"] == "/slow" and not release.is_set():
            await asyncio.sleep(0.01)
        await answer({"path": "/"}, receive, send)

    with running(slow) as port:
        made = clients(port, WORK_MAX, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        refused = requests.get(f"http://127.0.0.1:{port}/", timeout=2)
        assert (refused.status_code, list(refused.json())) == (503, ["detail", "code", "parameter"])
        assert refused.headers["retry-after"]
        assert get(port, "/health/live") == 200
        release.set()
        assert all(client.recv(15).startswith(b"HTTP/1.1 200") for client in made)
        assert get(port, "/") == 200


def test_answers_on_one_connection_do_not_wait_for_delayed_acknowledgements(server: Health_Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        connection.request("GET", "/health")
        connection.getresponse().read()
        took_s.append(time.monotonic() - began_s)
    connection.close()
    assert sorted(took_s)[10] < 0.03, took_s
