"""moto's DynamoDB as a process: `python -m tests.real.kcl.dynamodb_process` prints its URL on 127.0.0.1, and serves
until it is killed.
"""

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Keeps connections open (a new one for each of the KCL's many calls costs more than the call), and no log."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        pass


def main() -> None:
    server = make_server("127.0.0.1", 0, create_backend_app("dynamodb"), threaded=True, request_handler=Quiet)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
