"""Credentials that are replaced, taken away or signed by a clock that steps, while a service is read: whoever puts that
right need not restart us. And answers that give no reason."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumer.kcl.tables import Kcl_Tables, Owner
from sa_stream.archive.files import Stored
from sa_stream.commits.decisions import Stream_Identity
from sa_stream.embedded.kinesis_server import answer
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.sources.s3_archive import S3_Archive
from tests.sources.test_expired_credentials import Service, served, write_credentials

OWNER = Owner(Stream_Identity("arn:aws:kinesis:us-east-1:111122223333:stream/s", 1), "a" * 32, "s3://bucket/state")
FILE = Stored(key="k", size_bytes=1, etag="x", modified_ms=0, storage_class="STANDARD")
CODES = {
    "S3": ["ExpiredToken", "RequestExpired", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"],
    "KINESIS": ["ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"],
    "DYNAMODB": ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"],
}
ASKS: dict[str, Callable[[], Callable[[], object]]] = {
    "S3": lambda: (lambda archive: lambda: archive.read(FILE, 0, 1))(S3_Archive("logs")),
    "KINESIS": lambda: Kinesis_Reader("s").describe,
    "DYNAMODB": lambda: Kcl_Tables({"applicationName": "app"}, OWNER, "a").claim,
}


class Doorman:
    """Answers as S3, Kinesis and DynamoDB do whoever signs with `key`, and all others with `status` and `code`."""

    def __init__(self) -> None:
        self.key, self.status, self.code = "AKIDOLD", 403, ""
        self._kinesis = Memory_Kinesis(lambda: 1_771_252_200_000)
        self._kinesis.create_stream("s", 1)
        doorman = self

        class Handler(Service):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if doorman.key in self.headers["Authorization"]:
                    self.reply(*doorman._granted(self.headers.get("X-Amz-Target"), body), "application/xml")
                else:
                    self.reply(doorman.status, doorman._refused(self.command), "application/xml")

            do_POST = do_GET

        self.handler = Handler

    def _granted(self, target: str | None, body: bytes) -> tuple[int, bytes]:
        if target is None:
            return 200, b"x"
        if target.startswith("DynamoDB"):
            return 200, json.dumps({"Item": OWNER.item()}).encode()
        return answer(self._kinesis, target.rpartition(".")[2], body)

    def _refused(self, command: str) -> bytes:
        if not self.code:
            return b""
        xml = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>"
        return (xml if command == "GET" else json.dumps({"__type": self.code, "message": "no"})).encode()


def answered_soon(ask: Callable[[], object]) -> None:
    """Credentials are loaded once the old ones were refused again, of Kinesis's twice in a row."""
    for _ in range(2):
        with suppress(Store_Unavailable):
            ask()
            return
    ask()


@pytest.mark.parametrize(("service", "code"), [(service, code) for service, codes in CODES.items() for code in codes])
def test_what_was_accepted_before_is_waited_for_and_loaded_anew(
    service: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    doorman = Doorman()
    with served(doorman.handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path):
        ask = ASKS[service]()
        ask()
        doorman.key, doorman.code = "AKIDNEW", code
        said = rf"credentials have expired or are not accepted, and are loaded anew.*{code}.*renew what.*clock.*restart"
        for _ in range(3):
            with pytest.raises(Store_Unavailable, match=said):
                ask()
        write_credentials(tmp_path, "AKIDNEW")
        answered_soon(ask)


@pytest.mark.parametrize("service", list(ASKS))
@pytest.mark.parametrize("meanwhile", ["", "[default]\n", "what is this\n", "[other]\naws_access_key_id=a\n"])
def test_a_file_of_credentials_that_is_being_written_ends_nothing(
    service: str, meanwhile: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    doorman = Doorman()
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with served(doorman.handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path):
        ask = ASKS[service]()
        ask()
        doorman.key, doorman.code = "AKIDNEW", CODES[service][0]
        (tmp_path / "credentials").write_text(meanwhile)
        for _ in range(5):
            with pytest.raises(Store_Unavailable, match="renew what they come from"):
                ask()
        write_credentials(tmp_path, "AKIDNEW")
        answered_soon(ask)


@pytest.mark.parametrize("service", list(ASKS))
def test_what_a_role_gives_and_our_clock_calls_expired_is_waited_for(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So it is where our clock has stepped ahead by more than they are good for."""
    until = "2001-01-01T00:00:00Z"

    class Role(Service):
        def do_GET(self) -> None:
            given = {"AccessKeyId": "AKIDOLD", "SecretAccessKey": "s" * 20, "Token": "t" * 20, "Expiration": until}
            self.reply(200, json.dumps(given).encode(), "application/json")

    with (
        served(Role, "AWS_CONTAINER_CREDENTIALS_FULL_URI", monkeypatch, tmp_path),
        served(Doorman().handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path),
    ):
        (tmp_path / "credentials").unlink()
        ask = ASKS[service]()
        for _ in range(3):
            with pytest.raises(Store_Unavailable, match=r"still expired.*this machine's clock"):
                ask()
        until = "2098-01-01T00:00:00Z"
        answered_soon(ask)


@pytest.mark.parametrize("service", list(ASKS))
def test_a_source_of_credentials_that_fails_for_a_while_is_waited_for(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)  # so little that others are asked for each time
    given = {"Version": 1, "AccessKeyId": "AKIDOLD", "SecretAccessKey": "s" * 20, "Expiration": until.isoformat()}
    (tmp_path / "given").write_text(json.dumps(given))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path}/given\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with served(Doorman().handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path):
        (tmp_path / "credentials").unlink()
        ask = ASKS[service]()
        ask()
        (tmp_path / "given").rename(tmp_path / "away")
        for _ in range(3):
            with pytest.raises(Store_Unavailable, match=r"cat: .*renew what they come from"):
                ask()
        (tmp_path / "away").rename(tmp_path / "given")
        answered_soon(ask)


@pytest.mark.parametrize("service", list(ASKS))
def test_what_was_never_accepted_is_an_error_of_whoever_set_it(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    doorman = Doorman()
    doorman.key, doorman.code = "AKIDNEW", CODES[service][2]
    with served(doorman.handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path):
        ask = ASKS[service]()
        with pytest.raises(Source_Error, match=CODES[service][2]):
            ask()


@pytest.mark.parametrize("status", [400, 403, 409])
@pytest.mark.parametrize("service", list(ASKS))
def test_an_answer_without_a_reason_says_where_to_look(
    service: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    doorman = Doorman()
    doorman.key, doorman.status = "AKIDNEW", status
    said = rf"{status} without a reason, which AWS would give.*HTTPS_PROXY.*AWS_ENDPOINT_URL_{service}"
    refused = Source_Error if service == "S3" and status != 409 else Store_Unavailable  # 409: it met another call
    with (
        served(doorman.handler, f"AWS_ENDPOINT_URL_{service}", monkeypatch, tmp_path),
        pytest.raises(refused, match=said),
    ):
        ASKS[service]()()
