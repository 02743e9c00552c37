import base64
import json
import os
import threading

import pytest

from sa_stream.errors import Source_Error
from sa_stream.sources.kcl_messages import Line_Pipe, decode_process_records


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


def lines_through_a_pipe(content: bytes, buffer_bytes: int) -> tuple[list[bytes], int]:
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    pipe, lines = Line_Pipe(reader, buffer_bytes), []
    while (some := pipe.read()) is not None:
        lines += [bytes(line) for line in some]
    thread.join()
    pipe.close()
    return lines, pipe.cut_off_bytes


def test_a_message_becomes_a_batch_of_its_payloads() -> None:
    payloads = [b"a\tb\n", b"", b"\x1f\x8b\x00\xff" * 50]
    batch = decode_process_records(message(payloads, millisBehindLatest=1_500))
    assert batch.payloads == payloads
    assert batch.sequence_numbers == [str(10**55), str(10**55 + 1), str(10**55 + 2)]
    assert batch.arrivals_ms == [1_769_904_000_000, 1_769_904_000_001, 1_769_904_000_002]
    assert batch.millis_behind_latest == 1_500


def test_an_empty_message_without_a_known_lag_is_an_empty_batch() -> None:
    batch = decode_process_records(message([], millisBehindLatest=None))
    assert (batch.payloads, batch.sequence_numbers, batch.millis_behind_latest) == ([], [], 0)


@pytest.mark.parametrize("line", [b"", b"null\n", b'{"action":"initialize","shardId":"s"}\n', b'{"action":"process'])
def test_any_other_line_is_refused(line: bytes) -> None:
    with pytest.raises(Source_Error, match="no processRecords message"):
        decode_process_records(line)


@pytest.mark.parametrize("sizes", [[1], [3_000_000, 0, 5, 5_000_000, 7], [700_000] * 12, [0] * 1_000])
def test_lines_of_any_size_come_out_whole_and_in_order(sizes: list[int]) -> None:
    lines = [bytes([97 + i % 26]) * size + b"\n" for i, size in enumerate(sizes)]
    found, cut_off_bytes = lines_through_a_pipe(b"".join(lines), 1 << 20)
    assert found == lines
    assert cut_off_bytes == 0


def test_a_line_that_is_cut_off_is_not_handed_out() -> None:
    assert lines_through_a_pipe(b"whole\nhalf", 1 << 20) == ([b"whole\n"], 4)
