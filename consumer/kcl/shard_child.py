"""What the KCL starts for each shard: hands its stdin and stdout to the engine, over the Unix socket that
SA_STREAM_ENGINE_SOCKET names, and ends when the engine hangs up. There is one for each shard, so it is kept small: run
as `python -I -S`, with what is built into the interpreter instead of the modules around it."""

import _socket
import posix
from _struct import pack

engine = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
engine.connect(posix.environ[b"SA_STREAM_ENGINE_SOCKET"])
engine.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("2i", 0, 1))])
posix.close(0)  # so that the KCL sees it when the engine closes its ends, however long this process takes to go
posix.close(1)
try:  # noqa: SIM105 - contextlib would be half of this process's memory
    engine.recv(1)  # nothing is ever sent
except OSError:  # the engine was killed with the handed pipes unread: gone as well
    pass
