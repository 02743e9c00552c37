"""Reads a Kinesis stream with boto3, shard by shard, for the local runner: GetRecords answers come in, batches go out.

Nothing here sleeps. A call that fails raises, keeps its position, and says by `ready_at_ms` when to come back. The time
of a call is an argument, in milliseconds since the epoch.
"""

import random
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from msgspec import Struct

from sa_stream.errors import EXPIRED, EXPIRED_ADVICE, Shard_Gone, Source_Error, Store_Unavailable
from sa_stream.partitions import Batch, Shard_Info
from sa_stream.secrecy import hide_credentials
from sa_stream.sources.aws_answers import code_of, may_be_renewed, on_a_line, said_by
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import HOUR_MS, Backoff, Moment, right_now

READ_INTERVAL_MS = 200  # Kinesis allows 5 GetRecords a second and shard
IDLE_INTERVAL_MS = 1_000  # at the tip there is nothing to hurry for
CONNECTIONS_MAX = 1_000  # that are kept: of fewer than there are readers, most would be made anew for each call
BACKOFF_MS_MIN = 500
BACKOFF_MS_MAX = 30_000

_EXPIRED = {"ExpiredIteratorException"}
_INVALID = {"InvalidArgumentException", "ValidationException"}
_MISSING = {"ResourceNotFoundException"}
_REFUSED = {
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSNotFoundException",
    "KMSOptInRequired",
}


class _Record(msgspec.Struct, gc=False):
    Data: bytes  # taken out of its base64 by the decoder
    SequenceNumber: str
    ApproximateArrivalTimestamp: float


class _Answer(msgspec.Struct):
    Records: list[_Record]
    NextShardIterator: str | None = None
    MillisBehindLatest: int | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_ANSWER = "sa_stream_answer"


def _decode_on_the_way(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Botocore event before it parses a GetRecords answer: decode the body ourselves, a tenth of its time, and leave an
    empty one for it to parse. A body of another shape (an error, say) is left to botocore."""
    if response_dict["status_code"] != 200:
        return
    try:
        customized_response_dict[_ANSWER] = _decode_answer(response_dict["body"])
    except msgspec.DecodeError:
        return
    response_dict["body"] = b"{}"


def _answer_of(parsed: dict[str, Any]) -> _Answer:
    ours: _Answer | None = parsed.get(_ANSWER)
    if ours is not None:
        return ours
    records = [
        _Record(r["Data"], r["SequenceNumber"], r["ApproximateArrivalTimestamp"].timestamp()) for r in parsed["Records"]
    ]
    return _Answer(records, parsed.get("NextShardIterator"), parsed.get("MillisBehindLatest"))


class Stream_Info(Struct, frozen=True):
    """What DescribeStreamSummary says of the stream."""

    name: str
    arn: str
    created_ms: int
    retention_ms: int
    open_shards: int


class Kinesis_Reader:
    """A stream, by name or ARN. Region, endpoint and credentials come from AWS's own variables; an ARN brings its
    region. `client` is a boto3 Kinesis client to use instead.

    clock           what the Date headers of its answers say of Kinesis's clock
    shards_changed  since the last `describe` a list has lacked shards of the list before, or they began at another
                    number: some were trimmed, or it is another stream of the same name
    Raises Source_Error if no client can be made (no region, no such profile).
    """

    def __init__(
        self,
        stream: str,
        client: Any = None,
        read_interval_ms: int = READ_INTERVAL_MS,
        idle_interval_ms: int = IDLE_INTERVAL_MS,
    ) -> None:
        self.stream = stream
        self.read_interval_ms = read_interval_ms
        self.idle_interval_ms = idle_interval_ms
        self.service = "Kinesis"
        self.clock = Source_Clock()
        self._changes = self._changes_described = 0  # of the list
        self._first_numbers: dict[str, str] = {}
        self._which = {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}
        self._info: Stream_Info | None = None
        self._credentials: Any = None
        self._renewing = threading.Lock()
        self._expired_in_a_row = 0
        self._accepted = False  # it has answered: the credentials were good
        self._is_given = client is not None
        self.client = self._prepared(client or self._make_client())

    # ---- the stream

    def describe(self) -> Stream_Info:
        """Ask for the stream. Raises Source_Error (no such stream, no permission, no credentials) or Store_Unavailable
        (nobody answers, or the stream is still being created)."""
        changes = self._changes  # those that others find while we ask, the answer may not know
        found = self.call("describe_stream_summary", **self._which)["StreamDescriptionSummary"]
        if found["StreamStatus"] == "CREATING":
            raise Store_Unavailable(f"The Kinesis stream {self.stream} is still being created.")
        if found["StreamStatus"] == "DELETING":
            raise Source_Error(f"The Kinesis stream {self.stream} is being deleted.")
        self._changes_described = changes
        self._info = Stream_Info(
            name=found["StreamName"],
            arn=found["StreamARN"],
            created_ms=round(found["StreamCreationTimestamp"].timestamp() * 1000),
            retention_ms=found["RetentionPeriodHours"] * HOUR_MS,
            open_shards=found.get("OpenShardCount", 0),
        )
        return self._info

    @property
    def shards_changed(self) -> bool:
        return self._changes != self._changes_described

    def retention_ms(self) -> int:
        """How long the stream keeps records, as of the last `describe`."""
        return (self._info or self.describe()).retention_ms

    def list_shards(self) -> list[Shard_Info]:
        """Every shard that the stream still lists, closed ones and parents too, by id. Raises like `describe`."""
        page = self.call("list_shards", **self._which)
        shards = list(page["Shards"])
        while page.get("NextToken"):
            page = self.call("list_shards", NextToken=page["NextToken"])
            shards += page["Shards"]
        first_numbers = {
            str(shard["ShardId"]): str(shard["SequenceNumberRange"]["StartingSequenceNumber"]) for shard in shards
        }
        if not self._first_numbers.items() <= first_numbers.items():
            self._changes += 1
        self._first_numbers = first_numbers
        return [
            Shard_Info(
                shard_id=shard["ShardId"],
                parents=tuple(shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if shard.get(key)),
                closed=shard["SequenceNumberRange"].get("EndingSequenceNumber") is not None,
            )
            for shard in sorted(shards, key=lambda shard: str(shard["ShardId"]))
        ]

    # ---- calls

    def call(self, operation: str, **arguments: Any) -> Any:
        """One boto3 call, whose answer tells the source's clock. Errors come as the sentences of this library, except
        those that only a shard's reader can answer (expired iterators, invalid positions), which come as botocore's
        ClientError."""
        client, sent = self.client, right_now()
        try:
            answer = getattr(client, operation)(**arguments)
        except ClientError as error:
            hide_credentials(self._credentials)  # a role's are others every hour
            if may_be_renewed(error, self._accepted):
                answered = f"Kinesis answered {operation} with {code_of(error)}"
                raise self._load_credentials_anew(client, answered) from error
            if code_of(error) in _EXPIRED | _INVALID:
                raise
            self._explain(error)
        except (NoCredentialsError, PartialCredentialsError, RuntimeError) as error:
            if may_be_renewed(error, self._accepted):
                raise self._load_credentials_anew(client, on_a_line(error)) from error
            if isinstance(error, RuntimeError):
                raise
            raise Source_Error(
                f"No AWS credentials to read the Kinesis stream {self.stream} with: set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this host a role ({error})"
            ) from error
        except (EndpointConnectionError, HTTPClientError) as error:
            raise Store_Unavailable(
                f"No answer from Kinesis at {self.endpoint}: {error}. Check AWS_REGION, and "
                "AWS_ENDPOINT_URL_KINESIS or AWS_ENDPOINT_URL if one is set"
            ) from error
        except BotoCoreError as error:
            if may_be_renewed(error, self._accepted):
                raise self._load_credentials_anew(client, on_a_line(error)) from error
            raise Store_Unavailable(f"Kinesis could not be asked ({operation}): {error}") from error
        if not answer.keys() - {"ResponseMetadata"}:
            raise Store_Unavailable(
                f"What answers {operation} at {self.endpoint} is none of Kinesis's. Is there a proxy in between "
                "(HTTPS_PROXY)? Check AWS_ENDPOINT_URL_KINESIS or AWS_ENDPOINT_URL if one is set"
            )
        self._expired_in_a_row = 0
        self._accepted = True
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.clock.note(headers.get("date"), sent, right_now())
        return answer

    def _load_credentials_anew(self, client: Any, why: str) -> Store_Unavailable:
        """A session keeps the credentials that it found. When they have expired twice in a row, a new one looks again
        where they come from. Gives the error to raise."""
        with self._renewing:
            self._expired_in_a_row += 1
            if self.client is client and self._expired_in_a_row >= 2 and not self._is_given:
                self._expired_in_a_row = 0
                with suppress(Source_Error):  # none can be made now: the next time perhaps
                    self.client = self._prepared(self._make_client())
        return Store_Unavailable(
            f"The stream {self.stream} cannot be asked now: {EXPIRED}, and are loaded anew ({why}). {EXPIRED_ADVICE}"
        )

    @property
    def endpoint(self) -> str:
        return str(self.client.meta.endpoint_url)

    def _make_client(self) -> Any:
        region = self.stream.split(":")[3] if self.stream.count(":") >= 5 else None
        # One attempt a call: waiting and trying again is the business of `ready_at_ms`, which blocks nobody.
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
            max_pool_connections=CONNECTIONS_MAX,
        )
        try:
            session = boto3.session.Session()
            client = session.client("kinesis", region_name=region, config=config)
            self._credentials = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise Source_Error(
                f"No Kinesis client can be made for the stream {self.stream}: {str(error).rstrip('.')}. Set AWS_REGION "
                "(or give the stream by its ARN), and check AWS_PROFILE and AWS_ENDPOINT_URL_KINESIS"
            ) from error
        hide_credentials(self._credentials)
        return client

    @staticmethod
    def _prepared(client: Any) -> Any:
        client.meta.events.register(
            "before-parse.kinesis.GetRecords", _decode_on_the_way, unique_id="sa-stream-get-records"
        )
        return client

    def _explain(self, error: ClientError) -> NoReturn:
        code, text = code_of(error), error.response["Error"].get("Message", "")
        region = self.client.meta.region_name
        about_shard = "shard" in text.replace(self.stream.rpartition("/")[2], "").lower()
        if code in _MISSING and not about_shard:
            raise Source_Error(
                f"There is no Kinesis stream {self.stream} in the region {region} (at {self.endpoint}). Check "
                "SGRAPH_SEND__SA_STREAM and AWS_REGION"
            ) from error
        if code in _MISSING:
            raise Shard_Gone(f"The Kinesis stream {self.stream} no longer has this shard: {text}") from error
        if code in _REFUSED:
            raise Source_Error(
                f"Kinesis refuses {error.operation_name} on {self.stream} ({code}: {text}). Check the credentials and "
                "their permissions"
            ) from error
        said = said_by(error, "AWS_ENDPOINT_URL_KINESIS")
        raise Store_Unavailable(f"Kinesis answered {error.operation_name} with {said}") from error


class Shard_Reader:
    """Reads one shard from `start`: TRIM_HORIZON, AT_TIMESTAMP:<ms>, or the sequence number after which to start.

    ready_at         the earliest moment for the next `read`
    sequence_number  of the last record that was handed over, "" before the first
    ended            the shard is closed and read to its end
    """

    def __init__(self, reader: Kinesis_Reader, shard_id: str, start: str) -> None:
        self.reader = reader
        self.shard_id = shard_id
        self.ready_at: Moment | None = None
        self.ended = False
        self.sequence_number = start if start.isdigit() else ""
        self._since_ms = int(start.removeprefix("AT_TIMESTAMP:")) if start.startswith("AT_TIMESTAMP:") else None
        if not self.sequence_number and self._since_ms is None and start != "TRIM_HORIZON":
            raise ValueError(f"A shard starts at TRIM_HORIZON, AT_TIMESTAMP:<ms> or a sequence number, not {start!r}")
        self._iterator: str | None = None
        self._backoff = Backoff(BACKOFF_MS_MIN, BACKOFF_MS_MAX)

    def read(self, now: Moment) -> Batch | None:
        """The next records, at most 10,000 and 10 MiB, perhaps none; None once the shard has ended.

        Raises Store_Unavailable when Kinesis throttles or does not answer, or when it is not yet `ready_at`: the
        position is kept, call again then. Raises Source_Error when no later call can succeed, Shard_Gone if
        that is because the stream no longer has the shard.
        """
        if self.ended:
            return None
        if (wait_ms := self.wait_ms(now)) > 0:
            raise Store_Unavailable(f"{self.shard_id} is read again in {wait_ms} ms, not before")
        not_fetched_before_ms = self.reader.clock.at(now) or 0
        try:
            answer = self._next_answer()
        except Store_Unavailable:
            self._back_off(now)
            raise
        self._backoff.worked()
        self._iterator = answer.NextShardIterator
        self.ended = answer.NextShardIterator is None
        behind_ms = 1 if answer.MillisBehindLatest is None else answer.MillisBehindLatest  # unknown is not 'at the tip'
        self.ready_at = now + (self.reader.read_interval_ms if behind_ms else self.reader.idle_interval_ms)
        records = answer.Records
        if records:
            self.sequence_number = records[-1].SequenceNumber
        elif self.ended:
            return None
        return Batch(
            payloads=[record.Data for record in records],
            arrivals_ms=[round(record.ApproximateArrivalTimestamp * 1000) for record in records],
            sequence_numbers=[record.SequenceNumber for record in records],
            millis_behind_latest=behind_ms,
            not_fetched_before_ms=not_fetched_before_ms,
        )

    def wait_ms(self, now: Moment) -> int:
        """How long to wait before the next `read`."""
        return 0 if self.ready_at is None else max(0, self.ready_at - now)

    def _next_answer(self) -> _Answer:
        renewed = self._iterator is None
        if self._iterator is None:
            self._iterator = self._new_iterator()
        try:
            parsed = self.reader.call("get_records", ShardIterator=self._iterator, Limit=10_000)
        except ClientError as error:
            # Expired after 300 s, or unknown to an endpoint that was restarted: a new one is made from the position.
            self._iterator = None
            if not renewed:
                return self._next_answer()
            raise Store_Unavailable(
                f"Kinesis does not take the iterator that it gave for {self.shard_id}: {error}"
            ) from error
        return _answer_of(parsed)

    def _new_iterator(self) -> str:
        if self.sequence_number:
            position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.sequence_number}
        elif self._since_ms is not None:
            at = datetime.fromtimestamp(self._since_ms // 1000, UTC).replace(microsecond=self._since_ms % 1000 * 1000)
            position = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at}  # type: ignore[dict-item]
        else:
            position = {"ShardIteratorType": "TRIM_HORIZON"}
        try:
            found = self.reader.call("get_shard_iterator", **self.reader._which, ShardId=self.shard_id, **position)
        except ClientError as error:
            raise Source_Error(
                f"Kinesis does not know the position {self.sequence_number or self._since_ms} in {self.shard_id} of "
                f"{self.reader.stream}: {error.response['Error'].get('Message', '')}. If the stream was deleted and "
                "made anew, give it a new state: SGRAPH_SEND__SA_STATE_URL"
            ) from error
        return str(found["ShardIterator"])

    def _back_off(self, now: Moment) -> None:
        """Twice as long after each failure in a row, with jitter, so that shards do not come back all at once."""
        wait_ms = self._backoff.failed()
        self.ready_at = now + random.randint(wait_ms // 2, wait_ms)
