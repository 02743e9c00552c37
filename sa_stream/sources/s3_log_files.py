"""Log files in S3: a bucket and a prefix come in, readable parts go out. Apart from `log_files`, as loading boto3 takes
longer than reading many a file.
"""

from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
)

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.sources.log_part import Log_Part


class _S3_Object:
    """The body of one S3 object; network failures come as OSError does for files."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._name = f"s3://{bucket}/{key}"
        self._body = _ask_s3(self._name, lambda: client.get_object(Bucket=bucket, Key=key)["Body"])

    def read(self, amount: int, /) -> bytes:
        content: bytes = _ask_s3(self._name, lambda: self._body.read(amount))
        return content

    def close(self) -> None:
        self._body.close()


def s3_parts(url: str) -> list[Log_Part]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = _ask_s3(
        url,
        lambda: boto3.session.Session().client("s3", config=Config(retries={"mode": "standard", "max_attempts": 3})),
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = _ask_s3(url, lambda: [entry for page in pages for entry in page.get("Contents", [])])
    parts = [
        Log_Part(
            f"s3://{bucket}/{entry['Key']}",
            int(entry["Size"]),
            lambda key=entry["Key"]: _S3_Object(client, bucket, key),  # type: ignore[misc]
        )
        for entry in sorted(found, key=lambda entry: str(entry["Key"]))
        if entry["Size"]  # consoles make empty objects to stand for folders
    ]
    if not parts:
        raise Source_Error(f"There is no object with content under {url}")
    return parts


def _ask_s3(name: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or code in {"SlowDown", "RequestTimeout"}:
            raise Store_Unavailable(f"S3 cannot give {name} now: {code}: {text}") from error
        raise Source_Error(f"{name} cannot be read from S3: {code}: {text}") from error
    except (EndpointConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise Store_Unavailable(f"S3 does not answer for {name}: {error}") from error
    except (BotoCoreError, ValueError) as error:
        raise Source_Error(
            f"{name} cannot be read from S3: {error}. Check AWS_REGION, AWS_ENDPOINT_URL_S3 and the credentials"
        ) from error
