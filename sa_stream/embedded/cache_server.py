"""The cache service as a process of its own on 127.0.0.1, for tests and for trying things out.

    FAST_API__AUTH__API_KEY__NAME=x-api-key FAST_API__AUTH__API_KEY__VALUE=... \\
        python -m sa_stream.embedded.cache_server --port 10017 --mode local_disk --path ./cache

The first line that it prints is its URL; from then on it answers.
"""

import argparse
import contextlib
import os
import socket
import sys

from sa_stream.errors import SA_Stream_Error

KEY_VARIABLES = ("FAST_API__AUTH__API_KEY__NAME", "FAST_API__AUTH__API_KEY__VALUE")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. Exit code: 0 stopped, 1 the port or directory cannot be used, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m sa_stream.embedded.cache_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container")
    parser.add_argument("--mode", choices=["memory", "local_disk"], default="memory")
    parser.add_argument("--path", default="", help="directory of local_disk")
    options = parser.parse_args(arguments)
    missing = [name for name in KEY_VARIABLES if not os.environ.get(name)]
    if missing:
        print(f"Set {' and '.join(missing)}: without a key the service answers 401 to everything", file=sys.stderr)
        return 2
    try:
        # Listening before it is printed, so that whoever reads the line can connect.
        listener = socket.create_server((options.host, options.port), backlog=128)
        # Its connections have it too. Without it, the second answer of each waits for the client's delayed ACK, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        print(
            f"Port {options.port} of {options.host} cannot be used: {error.strerror}. Choose another", file=sys.stderr
        )
        return 1
    import uvicorn

    from sa_stream.storage.cache_service import cache_service_app

    try:
        service = cache_service_app(options.mode, options.path, api_key=True)
    except SA_Stream_Error as error:
        print(error, file=sys.stderr)
        return 1
    print(f"http://{options.host}:{listener.getsockname()[1]}", flush=True)
    server = uvicorn.Server(uvicorn.Config(service.app(), log_level="warning", access_log=False))
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again after it has shut down
        server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
