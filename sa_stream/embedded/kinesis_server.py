"""The in-memory Kinesis behind the JSON 1.1 API, for boto3, on 127.0.0.1 only.

Requests come in over HTTP, are decoded into the types below (record data out of its base64 on the way), and answered by
a `Memory_Kinesis`. As a process: `python -m sa_stream.embedded.kinesis_server --port P --stream NAME --shards N` prints
its URL as its first line.
"""

import argparse
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from sa_stream.embedded.memory_kinesis import (
    BYTES_PER_PUT_MAX,
    RECORD_BYTES_MAX,
    RECORDS_PER_PUT_MAX,
    RECORDS_PER_READ_MAX,
    SHARDS_PER_PAGE_MAX,
    Kinesis_Error,
    Memory_Kinesis,
    Shard,
    Shard_Filter,
    Stream,
)
from sa_stream.errors import In_Use
from sa_stream.timing import HOUR_MS, wall_clock_ms

_encode = msgspec.json.Encoder().encode


class Stream_Request(msgspec.Struct):
    StreamName: str = ""
    StreamARN: str = ""

    @property
    def stream(self) -> str:
        return self.StreamName or self.StreamARN.rpartition("/")[2]


class Empty_Request(msgspec.Struct):
    pass


class Create_Request(Stream_Request):
    ShardCount: int = 4


class Filter_Part(msgspec.Struct):
    Type: str
    ShardId: str = ""
    Timestamp: float = 0


class List_Shards_Request(Stream_Request):
    NextToken: str = ""
    ExclusiveStartShardId: str = ""
    MaxResults: int = SHARDS_PER_PAGE_MAX
    ShardFilter: Filter_Part | None = None


class Describe_Request(Stream_Request):
    ExclusiveStartShardId: str = ""
    Limit: int = 100


class Iterator_Request(Stream_Request):
    ShardId: str = ""
    ShardIteratorType: str = ""
    StartingSequenceNumber: str = ""
    Timestamp: float = 0


class Get_Request(Stream_Request):
    ShardIterator: str = ""
    Limit: int = RECORDS_PER_READ_MAX


class Put_Part(msgspec.Struct, gc=False):
    Data: bytes
    PartitionKey: str
    ExplicitHashKey: str | None = None


class Put_Request(Stream_Request):
    Data: bytes = b""
    PartitionKey: str = ""
    ExplicitHashKey: str | None = None


class Put_Many_Request(Stream_Request):
    Records: list[Put_Part] = []


class Split_Request(Stream_Request):
    ShardToSplit: str = ""
    NewStartingHashKey: str = ""


class Merge_Request(Stream_Request):
    ShardToMerge: str = ""
    AdjacentShardToMerge: str = ""


class Wire_Record(msgspec.Struct, gc=False):
    SequenceNumber: str
    ApproximateArrivalTimestamp: float
    Data: bytes
    PartitionKey: str


def _shard(shard: Shard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": str(shard.first_number)}
    if shard.last_number is not None:
        numbers["EndingSequenceNumber"] = str(shard.last_number)
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return {"ShardId": shard.shard_id, **parents, "HashKeyRange": _range(shard), "SequenceNumberRange": numbers}


def _range(shard: Shard) -> dict[str, str]:
    return {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)}


def _description(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": "ACTIVE",
        "RetentionPeriodHours": stream.retention_ms // HOUR_MS,
        "StreamCreationTimestamp": stream.created_ms / 1000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
    }


def _create(kinesis: Memory_Kinesis, request: Create_Request) -> Any:
    kinesis.create_stream(request.StreamName, request.ShardCount)
    return {}


def _delete(kinesis: Memory_Kinesis, request: Stream_Request) -> Any:
    kinesis.delete_stream(request.stream)
    return {}


def _list_streams(kinesis: Memory_Kinesis, request: Empty_Request) -> Any:
    return {"StreamNames": kinesis.stream_names(), "HasMoreStreams": False}


def _summary(kinesis: Memory_Kinesis, request: Stream_Request) -> Any:
    stream = kinesis.stream(request.stream)
    counts = {"OpenShardCount": len(stream.open_shards()), "ConsumerCount": 0}
    return {"StreamDescriptionSummary": _description(stream) | counts}


def _describe(kinesis: Memory_Kinesis, request: Describe_Request) -> Any:
    page = kinesis.list_shards(request.stream, after=request.ExclusiveStartShardId, max_results=request.Limit)
    shards = {"Shards": [_shard(shard) for shard in page.shards], "HasMoreShards": page.next_token is not None}
    return {"StreamDescription": _description(kinesis.stream(request.stream)) | shards}


def _list_shards(kinesis: Memory_Kinesis, request: List_Shards_Request) -> Any:
    part = request.ShardFilter
    chosen = Shard_Filter(part.Type, part.ShardId, round(part.Timestamp * 1000)) if part else None
    page = kinesis.list_shards(
        request.stream, chosen, request.ExclusiveStartShardId, request.MaxResults, request.NextToken
    )
    answer: dict[str, Any] = {"Shards": [_shard(shard) for shard in page.shards]}
    if page.next_token:
        answer["NextToken"] = page.next_token
    return answer


def _iterator(kinesis: Memory_Kinesis, request: Iterator_Request) -> Any:
    timestamp_ms = round(request.Timestamp * 1000)
    iterator = kinesis.shard_iterator(
        request.stream, request.ShardId, request.ShardIteratorType, request.StartingSequenceNumber, timestamp_ms
    )
    return {"ShardIterator": iterator}


def _get(kinesis: Memory_Kinesis, request: Get_Request) -> Any:
    page = kinesis.get_records(request.ShardIterator, request.Limit)
    columns = zip(page.sequence_numbers, page.arrivals_ms, page.payloads, page.partition_keys, strict=True)
    answer: dict[str, Any] = {
        "Records": [Wire_Record(number, ms / 1000, payload, key) for number, ms, payload, key in columns],
        "MillisBehindLatest": page.millis_behind_latest,
    }
    if page.next_iterator:
        answer["NextShardIterator"] = page.next_iterator
    else:
        answer["ChildShards"] = [
            {"ShardId": child.shard_id, "ParentShards": child.parents, "HashKeyRange": _range(child)}
            for child in page.children
        ]
    return answer


def _hash_key(text: str | None) -> int | None:
    return int(text) if text else None


def _put(kinesis: Memory_Kinesis, request: Put_Request) -> Any:
    _check_sizes([request.Data])
    shard_id, number = kinesis.put(
        request.stream, request.Data, request.PartitionKey, _hash_key(request.ExplicitHashKey)
    )
    return {"ShardId": shard_id, "SequenceNumber": number}


def _put_many(kinesis: Memory_Kinesis, request: Put_Many_Request) -> Any:
    records = request.Records
    if not 1 <= len(records) <= RECORDS_PER_PUT_MAX:
        raise Kinesis_Error("ValidationException", f"PutRecords takes 1 to {RECORDS_PER_PUT_MAX} records.")
    payloads = [record.Data for record in records]
    _check_sizes(payloads)
    keys = [record.PartitionKey for record in records]
    hash_keys = [_hash_key(record.ExplicitHashKey) for record in records]
    answers = kinesis.put_many(request.stream, payloads, keys, hash_keys=hash_keys)
    refused = "Rate exceeded for the shard."
    return {
        "FailedRecordCount": sum(isinstance(answer, str) for answer in answers),
        "Records": [
            {"ErrorCode": answer, "ErrorMessage": refused}
            if isinstance(answer, str)
            else {"ShardId": answer[0], "SequenceNumber": answer[1]}
            for answer in answers
        ],
    }


def _check_sizes(payloads: list[bytes]) -> None:
    sizes = [len(payload) for payload in payloads]
    if max(sizes) > RECORD_BYTES_MAX or sum(sizes) > BYTES_PER_PUT_MAX:
        raise Kinesis_Error("ValidationException", f"A request takes {BYTES_PER_PUT_MAX} bytes of data.")


def _split(kinesis: Memory_Kinesis, request: Split_Request) -> Any:
    kinesis.split(request.stream, request.ShardToSplit, int(request.NewStartingHashKey))
    return {}


def _merge(kinesis: Memory_Kinesis, request: Merge_Request) -> Any:
    kinesis.merge(request.stream, request.ShardToMerge, request.AdjacentShardToMerge)
    return {}


def _operation[T](
    request: type[T], answer: Callable[[Memory_Kinesis, T], Any]
) -> Callable[[Memory_Kinesis, bytes], Any]:
    decoder = msgspec.json.Decoder(request)
    return lambda kinesis, body: answer(kinesis, decoder.decode(body))


_OPERATIONS = {
    "CreateStream": _operation(Create_Request, _create),
    "DeleteStream": _operation(Stream_Request, _delete),
    "ListStreams": _operation(Empty_Request, _list_streams),
    "DescribeStreamSummary": _operation(Stream_Request, _summary),
    "DescribeStream": _operation(Describe_Request, _describe),
    "ListShards": _operation(List_Shards_Request, _list_shards),
    "GetShardIterator": _operation(Iterator_Request, _iterator),
    "GetRecords": _operation(Get_Request, _get),
    "PutRecord": _operation(Put_Request, _put),
    "PutRecords": _operation(Put_Many_Request, _put_many),
    "SplitShard": _operation(Split_Request, _split),
    "MergeShards": _operation(Merge_Request, _merge),
}


def answer(kinesis: Memory_Kinesis, operation: str, body: bytes) -> tuple[int, bytes]:
    """HTTP status and JSON body for one request."""
    try:
        if operation not in _OPERATIONS:
            raise Kinesis_Error("UnknownOperationException", f"This Kinesis does not know {operation!r}.")
        return 200, _encode(_OPERATIONS[operation](kinesis, body))
    except Kinesis_Error as error:
        code, message = error.code, str(error)
    except (msgspec.DecodeError, ValueError) as error:
        code, message = "SerializationException", str(error)
    return 500 if code == "InternalFailure" else 400, _encode({"__type": code, "message": message})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # headers and body leave in one packet
    server: "_Http_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        status, content = answer(self.server.kinesis, operation, body)
        self.send_response(status)  # also sends Date, which readers compare with their clock
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.kinesis.now_ms() // 1000 if timestamp is None else timestamp)

    def log_message(self, format: str, *args: Any) -> None:
        """No log line a request."""


class _Http_Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, kinesis: Memory_Kinesis, port: int) -> None:
        self.kinesis = kinesis
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of an answer needs no traceback; anything else is a bug."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Kinesis_Server:
    """A running server. `url` is what AWS_ENDPOINT_URL_KINESIS gets; `stop` cuts every connection, as a crash would."""

    def __init__(self, kinesis: Memory_Kinesis, port: int = 0) -> None:
        try:
            self._http = _Http_Server(kinesis, port)
        except OSError as error:
            raise In_Use(
                f"Port {port} on 127.0.0.1 cannot be used for the embedded Kinesis: {error.strerror}"
            ) from error
        self.kinesis = kinesis
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="kinesis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self._http.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed by its client in the meantime
        self._thread.join()


def start(kinesis: Memory_Kinesis, port: int = 0) -> Kinesis_Server:
    """Serve this Kinesis on 127.0.0.1 (port 0: any free one). Raises In_Use if the port is taken."""
    return Kinesis_Server(kinesis, port)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="kinesis_server", description="An in-memory Kinesis on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--stream", default="sa-stream", help="a stream to create at start")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--retention-hours", type=int, default=24)
    chosen = parser.parse_args(arguments)
    kinesis = Memory_Kinesis(wall_clock_ms)
    kinesis.create_stream(chosen.stream, chosen.shards, chosen.retention_hours * HOUR_MS)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = start(kinesis, chosen.port)
    print(server.url, flush=True)
    stopped.wait()
    server.stop()


if __name__ == "__main__":
    main()
