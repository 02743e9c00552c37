"""An S3 on 127.0.0.1 that is as slow, and as moody, as one wants: moto, with something before each answer. `python -m
benchmarks.s3_server MILLISECONDS` prints its URL, and serves until its standard input ends.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

# A request's WSGI environment -> status, code and headers of another answer than moto's, or None. It may also sleep.
type Mood = Callable[[dict[str, Any]], tuple[int, str] | None]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as S3's do

    def log(self, *_: Any) -> None:
        pass


@contextmanager
def s3_server(mood: Mood) -> Iterator[str]:
    """Its URL."""
    moto = DomainDispatcherApplication(create_backend_app)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        refusal = mood(environ)
        if refusal is None:
            return moto(environ, start_response)
        status, code = refusal
        body = f"<Error><Code>{code}</Code><Message>said by the test</Message></Error>".encode()
        start_response(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


def main() -> None:
    delay_s = float(sys.argv[1]) / 1000

    def slow(environ: dict[str, Any]) -> None:
        if environ["REQUEST_METHOD"] == "GET":
            time.sleep(delay_s)

    with s3_server(slow) as url:
        print(url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
