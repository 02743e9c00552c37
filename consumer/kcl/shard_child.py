"""What the KCL starts for each shard: hands its stdin and stdout to the engine, over the Unix socket that
SA_STREAM_ENGINE_SOCKET names, and ends when the engine hangs up. Run as `python -I -S`, it imports next to nothing."""

import _socket
import os
from struct import pack

engine = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
engine.connect(os.environ["SA_STREAM_ENGINE_SOCKET"])
engine.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("2i", 0, 1))])
os.close(0)  # so that the KCL sees it when the engine closes its ends, however long this process takes to go
os.close(1)
try:  # noqa: SIM105 - contextlib would be half of this process's memory
    engine.recv(1)  # nothing is ever sent
except OSError:  # the engine was killed with the handed pipes unread: gone as well
    pass
