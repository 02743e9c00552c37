"""Where the KCL's child processes hand their pipes to the engine: a Unix socket in a private directory; two file
descriptors a shard come out of it, from processes of our own user only."""

import contextlib
import errno
import os
import resource
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from consumer.worker.engine import Engine
from sa_stream.errors import Config_Error
from sa_stream.log import HANDOVER_FAILED, STRANGER, Log

log = Log("handover")

_SUN_PATH_BYTES_MAX = 103  # of the address of a Unix socket (Linux 107, others 103)
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)
_UCRED = struct.Struct("3i")  # pid, uid, gid: what SO_PEERCRED answers


class Handed_Over(Struct, frozen=True):
    """A child's pipes. Closing `child` lets it end.

    from_kcl, to_kcl  file descriptors that were its stdin and stdout
    """

    child: socket.socket
    from_kcl: int
    to_kcl: int

    def close(self) -> None:
        for descriptor in (self.from_kcl, self.to_kcl):
            os.close(descriptor)
        self.child.close()


class Handover:
    """Listens from construction until `close`; `on_pipes` is called in the engine's thread. Raises Config_Error."""

    def __init__(self, engine: Engine, on_pipes: Callable[[Handed_Over], None]) -> None:
        self._engine = engine
        self._on_pipes = on_pipes
        self._waiting: set[socket.socket] = set()
        self._spare = _spare()  # given up for a child for which no descriptor is left
        self._folder = Path(tempfile.mkdtemp(prefix="sa-stream-"))  # for our user only
        self.path = str(self._folder / "engine")
        if len(os.fsencode(self.path)) > _SUN_PATH_BYTES_MAX:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise Config_Error(
                f"The folder for temporary files has too long a name for a socket in it ({self.path}): set TMPDIR to "
                "one with a shorter name"
            )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        self._socket.bind(self.path)
        self._socket.listen(256)
        engine.watch(self._socket.fileno(), self._accept)

    def __enter__(self) -> str:
        """The socket's path."""
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._engine.unwatch(self._socket.fileno())
        self._socket.close()
        for child in list(self._waiting):
            self._forget(child)
        self._give_up_spare()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        try:
            child, _ = self._socket.accept()
        except OSError as error:
            if error.errno in _NONE_LEFT:
                self._turn_away()
            return  # else it has gone again
        child.setblocking(False)
        self._waiting.add(child)
        self._engine.watch(child.fileno(), lambda: self._receive(child))

    def _turn_away(self) -> None:
        """Let the next child go: it would wait for ever, and wake us up all the while. The KCL hears of its end."""
        log.tell(HANDOVER_FAILED, f"a child was turned away: {_none_left()}")
        self._give_up_spare()
        with contextlib.suppress(OSError):  # it has gone again
            self._socket.accept()[0].close()
        self._spare = _spare()

    def _give_up_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)

    def _receive(self, child: socket.socket) -> None:
        self._engine.unwatch(child.fileno())
        self._waiting.discard(child)
        pid, user = _peer(child)
        if user != os.geteuid():
            log.tell(STRANGER, f"a process of user {user} tried to hand over pipes: refused", pid=pid, user=user)
            child.close()
            return
        descriptors: list[int] = []
        try:
            _, descriptors, flags, _ = socket.recv_fds(child, 1, 2, socket.MSG_CMSG_CLOEXEC)
            why = _none_left() if flags & socket.MSG_CTRUNC else "it has ended"
        except OSError as error:
            why = str(error)
        if len(descriptors) != 2:
            log.tell(HANDOVER_FAILED, f"a child handed over nothing: {why}", pid=pid)
            for descriptor in descriptors:
                os.close(descriptor)
            child.close()
            return
        self._on_pipes(Handed_Over(child, descriptors[0], descriptors[1]))

    def _forget(self, child: socket.socket) -> None:
        self._waiting.discard(child)
        with contextlib.suppress(KeyError, ValueError):
            self._engine.unwatch(child.fileno())
        child.close()


def _spare() -> int | None:
    with contextlib.suppress(OSError):  # another thread was quicker
        return os.open(os.devnull, os.O_RDONLY)
    return None


def _none_left() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"all files are open that this process may open ({limit}, with three a shard): raise its limit (ulimit -n), or "
        "share the shards among more workers"
    )


def _peer(connected: socket.socket) -> tuple[int, int]:
    """Process and user at the other end. Where the platform does not say, the folder's permissions must do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, os.geteuid()
    pid, user, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, user
