"""An archive in a bucket. Loading boto3 takes longer than reading many a file, so this is loaded only where there is
one."""

import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as Connection_Error  # no endpoint, or not in time

from sa_stream.archive.files import Stored
from sa_stream.errors import EXPIRED, EXPIRED_ADVICE, Source_Error, Store_Unavailable
from sa_stream.sources.archive_store import Page
from sa_stream.sources.aws_answers import code_of, may_be_renewed, on_a_line, said_by
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import Backoff, right_now

STANDARD = "STANDARD"  # the storage class of what does not say it
EMPTY_PAGES_MAX = 10_000  # in a row: each may have passed over a thousand of what was deleted
TRIES = 4  # of a call, 0 to 1, 2 and 4 s apart: throttled, an answer of 5xx, or none
_MISSING = {
    "ListObjectsV2": "s3:ListBucket on its bucket",
    "GetObject": "s3:GetObject on its bucket's objects, or kms:Decrypt on the key that they are encrypted with",
}
_BUSY = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}


class _Expired(Store_Unavailable):
    """The credentials have expired; others may be where they came from."""


class S3_Archive:
    """An Archive_Store; keys are the bucket's. connections: calls at a time; clock: hears the times of its answers;
    region: None is where AWS's own settings say."""

    def __init__(
        self, bucket: str, connections: int = 10, clock: Source_Clock | None = None, region: str | None = None
    ) -> None:
        self._bucket = bucket
        self._clock = clock or Source_Clock()
        self._make_client = lambda: ask_s3(f"s3://{bucket}", lambda: _client(connections, region))
        self._client: Any = self._make_client()
        self._accepted = False  # S3 has answered: the credentials were good

    def name_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _ask[T](self, name: str, ask: Callable[[], T], done: str = "read from S3") -> T:
        """As `ask_s3`. A client keeps the credentials that it found: when they have expired, a new one looks again."""
        client = self._client
        try:
            answer = ask_s3(name, ask, done, self._accepted)
        except _Expired:
            if self._client is client:
                with suppress(Source_Error):  # none can be made now: the next time perhaps
                    self._client = self._make_client()
            raise
        self._accepted = True
        return answer

    def page(self, prefix: str, start_after: str = "", by_folder: bool = False) -> Page:
        more = {"StartAfter": start_after} if start_after else {}
        if by_folder:
            more["Delimiter"] = "/"
        answer = self._listed(prefix, **more)
        tokens = {""}
        held = ("Contents", "CommonPrefixes") if by_folder else ("Contents",)
        while answer.get("IsTruncated") and not any(map(answer.get, held)):
            token = answer.get("NextContinuationToken", "")
            if token in tokens or len(tokens) > EMPTY_PAGES_MAX:
                raise self._no_end(prefix)
            tokens.add(token)
            more["ContinuationToken"] = token
            answer = self._listed(prefix, **more)
        objects = tuple(
            Stored(
                key=str(entry["Key"]),
                size_bytes=int(entry["Size"]),
                etag=str(entry["ETag"]).strip('"'),
                modified_ms=int(entry["LastModified"].timestamp() * 1000),
                storage_class=str(entry.get("StorageClass", STANDARD)),
            )
            for entry in answer.get("Contents", ())
        )
        if any(each.key <= start_after for each in objects):  # whoever goes on after the last of them would for ever
            raise self._no_end(prefix)
        folders = tuple(entry["Prefix"][len(prefix) : -1] for entry in answer.get("CommonPrefixes", ()))
        return Page(objects, folders, bool(answer.get("IsTruncated", False)))

    def _listed(self, prefix: str, **more: str) -> Any:
        sent = right_now()
        answer = self._ask(
            self.name_of(prefix), lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
        )
        self._clock.note(answer["ResponseMetadata"]["HTTPHeaders"].get("date"), sent, right_now())
        return answer

    def _no_end(self, prefix: str) -> Store_Unavailable:
        return Store_Unavailable(
            f"{self.name_of(prefix)} cannot be listed: it gives the same page again and again, or only empty ones. Is "
            "it S3 that answers? Check AWS_ENDPOINT_URL_S3 and the network"
        )

    def read(self, stored: Stored, begin: int, length: int) -> bytes:
        asked = {"Bucket": self._bucket, "Key": stored.key, "IfMatch": stored.etag}
        if (begin, length) != (0, stored.size_bytes):
            asked["Range"] = f"bytes={begin}-{begin + length - 1}"
        name = self.name_of(stored.key)

        waits = Backoff(100, 2_000)
        while True:  # botocore repeats a call, but not the reading of an answer that breaks off
            body = self._ask(name, lambda: self._client.get_object(**asked)["Body"])
            try:
                content: bytes = body.read()
                return content
            except (IncompleteReadError, HTTPClientError) as error:
                wait_ms = waits.failed()
                if waits.failures == TRIES:
                    raise Store_Unavailable(f"S3's answer for {name} breaks off: {error}") from error
                time.sleep(wait_ms / 1000)

    # ------------------------------------------------------------------ what puts files elsewhere

    @property
    def place(self) -> str:
        return self._bucket

    def head(self, key: str) -> Stored | None:
        """What is there now; None: nothing."""

        def ask() -> Any:
            try:
                return self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 404:
                    return None
                if status < 500:  # nothing says why in an answer to HEAD; what is refused for the same reason, does
                    self._client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
                raise

        found = self._ask(self.name_of(key), ask)
        if found is None:
            return None
        return Stored(
            key=key,
            size_bytes=int(found["ContentLength"]),
            etag=str(found["ETag"]).strip('"'),
            modified_ms=int(found["LastModified"].timestamp() * 1000),
            storage_class=str(found.get("StorageClass", STANDARD)),
            sha256=_sha256(found),
        )

    def copy(self, stored: Stored, target: "S3_Archive", key: str, storage_class: str) -> None:
        """Copy an object that still is what was listed; S3 takes the checksum of what it has written. The class: empty
        for the one that S3 gives by itself."""
        asked = {
            "Bucket": target.place,
            "Key": key,
            "CopySource": {"Bucket": self._bucket, "Key": stored.key},
            "CopySourceIfMatch": stored.etag,
            "ChecksumAlgorithm": "SHA256",
        }
        if storage_class:
            asked["StorageClass"] = storage_class
        done = f"copied to {target.name_of(key)}"
        target._ask(self.name_of(stored.key), lambda: target._client.copy_object(**asked), done)

    def put(self, key: str, content: bytes) -> None:
        self._ask(
            self.name_of(key),
            lambda: self._client.put_object(Bucket=self._bucket, Key=key, Body=content),
            "written to S3",
        )

    def delete(self, stored: Stored) -> None:
        """Delete an object, which is not there any more or still is what was listed: Source_Error if it has changed."""
        found = self.head(stored.key)
        if found is not None and found.etag != stored.etag:
            raise Source_Error(f"{self.name_of(stored.key)} has changed since it was listed")
        self._ask(
            self.name_of(stored.key),
            lambda: self._client.delete_object(Bucket=self._bucket, Key=stored.key),
            "deleted from S3",
        )


def _sha256(found: Mapping[str, Any]) -> str:
    """In hex, of all of an object; empty where S3 has it of the parts of one alone."""
    text = str(found.get("ChecksumSHA256", ""))
    return "" if "-" in text else b64decode(text).hex()


def _client(connections: int, region: str | None = None) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=30,
    )
    return boto3.session.Session().client("s3", region_name=region, config=config)


def ask_s3[T](name: str, ask: Callable[[], T], done: str = "read from S3", accepted: bool = False) -> T:
    """What S3 answers; `done`: what is done to what is named; accepted: it has answered before. Raises
    Store_Unavailable if it is busy or silent, Source_Error if it refuses."""
    try:
        return ask()
    except ClientError as error:
        code, said = code_of(error), said_by(error, "AWS_ENDPOINT_URL_S3")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if may_be_renewed(error, accepted):
            raise _expired(name, done, code) from error
        if status >= 500 or status == 409 or code in _BUSY:  # 409: it met another call
            raise Store_Unavailable(f"S3 cannot give {name} now: {said}") from error
        if status == 412:
            raise Source_Error(f"{name} has changed since it was listed") from error
        if code == "AccessDenied" and error.operation_name in _MISSING:
            said = f"{said.rstrip('.')}. The permission that is missing: {_MISSING[error.operation_name]}"
        raise Source_Error(f"{name} cannot be {done}: {said}") from error
    except (Connection_Error, HTTPClientError) as error:
        raise Store_Unavailable(f"S3 does not answer for {name}: {error}") from error
    except (BotoCoreError, ValueError, RuntimeError) as error:
        if may_be_renewed(error, accepted):
            raise _expired(name, done, on_a_line(error)) from error
        if isinstance(error, RuntimeError):
            raise
        raise Source_Error(
            f"{name} cannot be {done}: {error}. Check AWS_REGION, AWS_ENDPOINT_URL_S3 and the credentials"
        ) from error


def _expired(name: str, done: str, why: str) -> _Expired:
    return _Expired(f"{name} cannot be {done} now: {EXPIRED}, and are loaded anew ({why}). {EXPIRED_ADVICE}")
