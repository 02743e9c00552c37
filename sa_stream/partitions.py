"""One read's worth of records, as a source hands it over: payload bytes, never objects."""

from dataclasses import dataclass


@dataclass(slots=True)
class Batch:
    """What one read of one partition delivered.

    payloads             record data as it came: one line, several lines, or gzip of lines
    arrivals_ms          arrival time of each payload (approximateArrivalTimestamp), ms since the epoch
    sequence_numbers     decimal strings, ascending, to be compared as integers, within one partition only
    millis_behind_latest 0 at the tip of the stream
    not_fetched_before_ms  a time, by the source's clock, at which this answer had certainly not been fetched yet (local
                         runner: when the request was sent); 0: unknown; only used when the batch is empty
    """

    payloads: list[bytes]
    arrivals_ms: list[int]
    sequence_numbers: list[str]
    millis_behind_latest: int = 0
    not_fetched_before_ms: int = 0
