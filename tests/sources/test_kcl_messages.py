import base64
import contextlib
import json
import os
import threading

import pytest

from sa_stream.errors import Source_Error
from sa_stream.partitions import Batch
from sa_stream.sources.kcl_messages import (
    BUFFER_BYTES,
    READ_BYTES,
    Buffers,
    Checkpointed,
    Initialize,
    Lease_Was_Lost,
    Line_Pipe,
    Process_Records,
    Shard_Ended,
    Shutdown_Requested,
    checkpoint_line,
    decode_message,
    status_line,
)


def message(payloads: list[bytes], first_number: int = 10**55, **more: object) -> bytes:
    records = [
        {
            "action": "record",
            "data": base64.b64encode(payload).decode(),
            "partitionKey": "k",
            "sequenceNumber": str(first_number + i),
            "approximateArrivalTimestamp": 1_769_904_000_000 + i,
            "subSequenceNumber": 0,
        }
        for i, payload in enumerate(payloads)
    ]
    whole = {"action": "processRecords", "records": records, "millisBehindLatest": 0, **more}
    return json.dumps(whole, separators=(",", ":")).encode() + b"\n"


def batch_of(line: bytes) -> Batch:
    decoded = decode_message(line)
    assert isinstance(decoded, Process_Records)
    return decoded.batch()


def lines_through_a_pipe(content: bytes, buffer_bytes: int) -> tuple[list[bytes], int]:
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    pipe, lines = Line_Pipe(reader, Buffers(buffer_bytes)), []
    while (some := pipe.read()) is not None:
        lines += [bytes(line) for line in some]
    thread.join()
    pipe.close()
    return lines, pipe.cut_off_bytes


def test_a_message_becomes_a_batch_of_its_payloads() -> None:
    payloads = [b"a\tb\n", b"", b"\x1f\x8b\x00\xff" * 50]
    batch = batch_of(message(payloads, millisBehindLatest=1_500))
    assert batch.payloads == payloads
    assert batch.sequence_numbers == [str(10**55), str(10**55 + 1), str(10**55 + 2)]
    assert batch.arrivals_ms == [1_769_904_000_000, 1_769_904_000_001, 1_769_904_000_002]
    assert batch.millis_behind_latest == 1_500


def test_an_empty_message_without_a_known_lag_does_not_count_as_the_tip_of_the_stream() -> None:
    batch = batch_of(message([], millisBehindLatest=None))
    assert (batch.payloads, batch.sequence_numbers, batch.millis_behind_latest) == ([], [], 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null\n",
        b'{"action":"process',
        b'{"action":"shutdown","reason":"ZOMBIE"}\n',
        b'{"action":"initialize"}\n',
        b'{"action":"processRecords","records":[{"data":"%%%","sequenceNumber":"1","approximateArrivalTimestamp":1}]}',
        b'{"action":"processRecords","records":[{"data":"YQ==","sequenceNumber":1,"approximateArrivalTimestamp":1}]}',
        b'{"action":"leaseLost\xff"}',
    ],
)
def test_a_line_that_is_no_message_is_refused_by_a_sentence_that_names_the_shard(line: bytes) -> None:
    with pytest.raises(Source_Error, match="for shardId-7 that is no message known here"):
        decode_message(line, "shardId-7")


@pytest.mark.parametrize(
    ("number", "checkpoint"),
    [
        ("TRIM_HORIZON", None),
        ("AT_TIMESTAMP", None),
        ("LATEST", None),
        ("49600000000000000000001", "49600000000000000000001"),
    ],
)
def test_a_shard_begins_at_its_checkpoint_or_has_none(number: str, checkpoint: str | None) -> None:
    line = json.dumps({"action": "initialize", "shardId": "s", "sequenceNumber": number, "subSequenceNumber": 0})
    decoded = decode_message(line.encode())
    assert isinstance(decoded, Initialize)
    assert (decoded.shard_id, decoded.checkpoint) == ("s", checkpoint)


@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        (b'{"action":"leaseLost"}\n', Lease_Was_Lost, b"leaseLost"),
        (b'{"action":"shardEnded"}\n', Shard_Ended, b"shardEnded"),
        (b'{"action":"shutdownRequested"}\n', Shutdown_Requested, b"shutdownRequested"),
        (message([]), Process_Records, b"processRecords"),
    ],
)
def test_every_request_is_answered_by_a_status_with_its_name(line: bytes, kind: type, status: bytes) -> None:
    decoded = decode_message(line)
    assert isinstance(decoded, kind)
    assert json.loads(status_line(decoded)) == {"action": "status", "responseFor": status.decode()}


def test_a_checkpoint_asks_for_its_number_or_for_the_end_and_may_come_back_with_an_error() -> None:
    assert json.loads(checkpoint_line("123")) == {"action": "checkpoint", "sequenceNumber": "123"}
    assert json.loads(checkpoint_line(None)) == {"action": "checkpoint", "sequenceNumber": None}
    done = decode_message(b'{"action":"checkpoint","sequenceNumber":"1","subSequenceNumber":0}')
    lost = decode_message(b'{"action":"checkpoint","sequenceNumber":"1","error":"ShutdownException"}')
    assert isinstance(done, Checkpointed)
    assert isinstance(lost, Checkpointed)
    assert (done.error, lost.error) == (None, "ShutdownException")


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    reader, writer = os.pipe()
    pipe = Line_Pipe(reader, bytes_max=3 << 20)
    pipe.whose = "shardId-7"

    def write() -> None:
        with open(writer, "wb", buffering=0) as file, contextlib.suppress(BrokenPipeError):
            for _ in range(64):
                file.write(b"x" * (1 << 20))

    thread = threading.Thread(target=write)
    thread.start()
    with pytest.raises(Source_Error, match="more than 3 MiB for shardId-7"):
        list(iter(pipe.read, None))
    assert pipe.cut_off_bytes < (3 << 20) + 2 * READ_BYTES
    pipe.close()
    thread.join()


def test_pipes_without_a_message_under_way_share_one_buffer() -> None:
    buffers = Buffers()
    given: list[bytearray] = []
    get = buffers.get
    buffers.get = lambda: given.append(get()) or given[-1]  # type: ignore[func-returns-value, method-assign]
    pipes = [(Line_Pipe(reader, buffers), writer) for reader, writer in (os.pipe() for _ in range(50))]
    for pipe, writer in pipes:
        os.write(writer, b"a line\n")
        assert [bytes(line) for line in pipe.read() or []] == [b"a line\n"]
        os.set_blocking(pipe.fileno(), False)
        assert pipe.read() == []  # nothing has come
    for pipe, writer in pipes:
        os.close(writer)
        assert pipe.read() is None
        pipe.close()
    assert len({id(buffer) for buffer in given}) == 1
    assert len(given[0]) == BUFFER_BYTES


@pytest.mark.parametrize("sizes", [[1], [3_000_000, 0, 5, 5_000_000, 7], [700_000] * 12, [0] * 1_000])
def test_lines_of_any_size_come_out_whole_and_in_order(sizes: list[int]) -> None:
    lines = [bytes([97 + i % 26]) * size + b"\n" for i, size in enumerate(sizes)]
    found, cut_off_bytes = lines_through_a_pipe(b"".join(lines), 1 << 20)
    assert found == lines
    assert cut_off_bytes == 0


def test_a_line_that_is_cut_off_is_not_handed_out() -> None:
    assert lines_through_a_pipe(b"whole\nhalf", 1 << 20) == ([b"whole\n"], 4)
