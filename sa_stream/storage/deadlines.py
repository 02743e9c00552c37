"""HTTP requests that end in time, however slowly the answer comes.

A time-out of `requests` begins anew with each byte: a service that sends one a second is waited for for hours. Here
the time of a request is one, from its first byte to the last of its answer.
"""

import functools
import http.client
import io
import socket
import time
from typing import Any

import requests.adapters
from requests import PreparedRequest, Response


class Deadline_Adapter(requests.adapters.HTTPAdapter):
    """For a session of `requests`: each request has `connect_timeout_s` to connect, and `timeout_s` from then on."""

    def __init__(self, connect_timeout_s: float, timeout_s: float) -> None:
        self._timeouts_s = (connect_timeout_s, timeout_s)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self._give_deadlines(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            self._give_deadlines(manager)
        return manager

    def _give_deadlines(self, manager: Any) -> None:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _timed(pool, self._timeouts_s[1]) for scheme, pool in pools.items()}

    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        return super().send(request, *arguments, **{**options, "timeout": self._timeouts_s})


def _timed(pool: Any, timeout_s: float) -> Any:
    """The same class of connection pools, with connections whose answers are read until a deadline."""

    class Connection(pool.ConnectionCls):
        def request(self, *arguments: Any, **options: Any) -> None:
            self.response_class = functools.partial(_Answer, time.monotonic() + timeout_s)
            super().request(*arguments, **options)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


class _Answer(http.client.HTTPResponse):
    def __init__(self, until_s: float, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Until(until_s, sock, self.fp.detach()))


class _Until(io.RawIOBase):
    """What comes through a socket, until a moment of the monotonic clock."""

    def __init__(self, until_s: float, sock: socket.socket, raw: io.RawIOBase) -> None:
        super().__init__()
        self._until_s, self._sock, self._raw = until_s, sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
