"""Input for the cases: the generator's clean traffic, as log lines and as the messages that the KCL makes of it."""

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from sa_stream.embedded.generator import Traffic

FULL_SHARD_PER_S = 1_000  # records that a Kinesis shard takes
WINDOW_END_MS = 1_769_904_000_000  # 2026-02-01, midnight
BEFORE_END_MS = 600_000  # the traffic begins so long before it: a window closes under way, over a month's end
NUMBER_BASE = 49_615_604_846_537_535_747_729_525_809_160_000_000_000_000_000_000_000_000  # 56 digits


class Data(Struct, frozen=True):
    """One full shard's traffic: `count` records at 1,000 a second."""

    folder: Path
    count: int

    @property
    def lines(self) -> Path:
        return self.folder / "lines.tsv"

    def messages(self, records: int) -> Path:
        """Messages of so many records each."""
        return self.folder / f"messages-{records}.jsonl"

    @property
    def start_ms(self) -> int:
        return WINDOW_END_MS - BEFORE_END_MS

    @property
    def end_ms(self) -> int:
        return self.start_ms + 1_000 * self.count // FULL_SHARD_PER_S


def make(folder: Path, count: int, message_records: tuple[int, ...]) -> Data:
    """Write lines and messages (about 2.2 KB a record in all)."""
    data = Data(folder, count)
    number = NUMBER_BASE
    waiting: dict[int, list[bytes]] = {size: [] for size in message_records}
    with ExitStack() as files:
        lines = files.enter_context(data.lines.open("wb"))
        messages = {size: files.enter_context(data.messages(size).open("wb")) for size in message_records}
        for chunk in Traffic().lines(data.start_ms, data.end_ms, count):
            lines.write(chunk.data)
            records = [
                _record(line, number + i, arrival_ms)
                for i, (line, arrival_ms) in enumerate(zip(chunk.lines(), chunk.arrival_ms.tolist(), strict=True))
            ]
            number += len(records)
            for size, kept in waiting.items():
                kept += records
                while len(kept) >= size:
                    messages[size].write(_message(kept[:size]))
                    del kept[:size]
        for size, kept in waiting.items():
            if kept:
                messages[size].write(_message(kept))
    return data


def _record(line: bytes, number: int, arrival_ms: int) -> bytes:
    """As the KCL's daemon writes it."""
    return (
        b'{"action":"record","data":"%b","partitionKey":"%032x","sequenceNumber":"%d",'
        b'"approximateArrivalTimestamp":%d,"subSequenceNumber":0}'
    ) % (base64.b64encode(line), number % (1 << 61), number, arrival_ms)


def _message(records: list[bytes]) -> bytes:
    return b'{"action":"processRecords","records":[%b],"millisBehindLatest":0}\n' % b",".join(records)


def write_lines(data: Data, file: BinaryIO) -> None:
    """Only the lines."""
    for chunk in Traffic().lines(data.start_ms, data.end_ms, data.count):
        file.write(chunk.data)
