"""The HTTP server, and how it treats connections: what is limited is work, and the time that a client may take; a
thousand connections that say nothing keep nobody from an answer.
"""

import asyncio
import errno
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sa_stream.api.answering import unavailable
from sa_stream.api.Key_Guard import Key_Guard
from sa_stream.api.metrics_collector import Process
from sa_stream.api.Routes__Dashboard import dashboard_routes
from sa_stream.api.Routes__Health import health_routes
from sa_stream.api.Routes__Metrics import metrics_routes, timed
from sa_stream.config import PREFIX
from sa_stream.errors import Config_Error, In_Use
from sa_stream.health.notebook import Health
from sa_stream.timing import Now, right_now

REQUEST_S = 10.0  # from the connection, or the last answer, until a request is here in full
ANSWER_S = 30.0  # until its answer is made and taken
IDLE_S = 5  # between two requests
WAITING_MAX = 256  # connections without a request; of more, the oldest are closed
WORK_MAX = 64  # requests that are being answered
LIVE = "/health/live"  # whatever else is going on

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def server_settings(
    app: Application, request_s: float = REQUEST_S, answer_s: float = ANSWER_S, waiting_max: int = WAITING_MAX
) -> uvicorn.Config:
    """A server for this application, which logs no access and names no product."""
    waiting: OrderedDict[_Patient, None] = OrderedDict()

    class Patient(_Patient):
        pass

    Patient.request_s, Patient.answer_s = request_s, answer_s
    Patient.waiting, Patient.waiting_max = waiting, waiting_max
    return uvicorn.Config(
        Work_Limit(app),
        http=Patient,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=1,
    )


class _Patient(H11Protocol):
    """A connection that is closed when it has waited for its request, or for its answer to be taken, for too long.
    (uvicorn has a limit on connections, idle ones included, and no time limit before the first byte.)"""

    request_s: float
    answer_s: float
    waiting: "OrderedDict[_Patient, None]"  # of this server; those to be closed first come first
    waiting_max: int
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # nonsense after a request whose answer is under way: no 400 fits in there
            self.transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            self.waiting.pop(self, None)
            self._within(self.answer_s)

    def on_response_complete(self) -> None:
        self._await_request()
        self.waiting.move_to_end(self, last=False)  # it had its answer: whoever is new goes before
        super().on_response_complete()

    def _await_request(self) -> None:
        self._within(self.request_s)
        if len(self.waiting) >= self.waiting_max:
            first, _ = self.waiting.popitem(last=False)
            first.transport.close()  # what it was answered is still sent, until its time is over
        self.waiting[self] = None

    def _within(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


class Work_Limit:
    """Answers 503 while so many requests are being answered; the address that tells that we live never does."""

    def __init__(self, app: Application, work_max: int = WORK_MAX) -> None:
        self._app = app
        self._work_max = work_max
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._at_work >= self._work_max and scope["path"] != LIVE:
            await unavailable("Too many requests are being answered already: try again")(scope, receive, send)
            return
        self._at_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._at_work -= 1


class Health_Server:
    """HTTP server in a thread of its own, from construction until `stop`.

    guard  who sees more of health than whether it is ready; None: everybody
    mount  puts more into the application

    Raises In_Use when the port is taken, Config_Error when the host or port cannot be bound at all.
    """

    def __init__(
        self,
        health: Health,
        host: str = "127.0.0.1",
        port: int = 8080,
        clock: Callable[[], Now] = right_now,
        process: Process | None = None,
        guard: Key_Guard | None = None,
        mount: Callable[[FastAPI], None] = lambda app: None,
    ) -> None:
        process = process or Process()
        self._socket = listen(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        app = FastAPI(title="sa-stream", docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(health_routes(health, clock, process.log_lines_dropped, guard))
        app.include_router(metrics_routes(health, clock, process))
        mount(app)
        app.include_router(dashboard_routes())
        self._server = uvicorn.Server(server_settings(timed(app, health)))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def stop(self) -> None:
        """Close the port; answers under way get a second."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()


def listen(host: str, port: int, port_setting: str = f"{PREFIX}HTTP_PORT") -> socket.socket:
    """A listening socket. port_setting: by what its user chose the port. Raises In_Use, Config_Error."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=128)
        # Its connections have it too. Without it, the second answer of each waits for the client's delayed ACK, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise In_Use(
                f"Port {port} on {host} is in use: stop what holds it, or set {port_setting} to another port."
            ) from error
        forbidden = error.errno in (errno.EACCES, errno.EPERM)
        advice = f"{port_setting} to a port you may use" if forbidden else f"{PREFIX}HTTP_HOST to one of this machine"
        raise Config_Error(
            f"Cannot listen on the address {host}, port {port} ({error.strerror or error}): set {advice}."
        ) from error
