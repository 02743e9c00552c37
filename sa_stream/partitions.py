"""What every room says of a partition: what a source lists and delivers of it, and the numbers of its records."""

from collections.abc import Sequence

from msgspec import Struct

NOTHING_READ = "0"  # the number of a partition before its first record
END = "END"  # the number of a partition that has ended; sorts above every sequence number
RETIRED = "RETIRED"  # the number of a tombstone: the partition is over and forgotten; sorts above END


class Shard_Info(Struct, frozen=True):
    """What ListShards says of a shard. `closed`: it takes no more records (it has an ending sequence number)."""

    shard_id: str
    parents: tuple[str, ...]
    closed: bool


class Batch(Struct):
    """What one read of one partition delivered.

    payloads             record data as it came: one line, several lines, or gzip of lines
    arrivals_ms          arrival time of each payload (approximateArrivalTimestamp), ms since the epoch
    sequence_numbers     decimal strings, ascending, to be compared as integers, within one partition only
    millis_behind_latest 0 at the tip of the stream
    not_fetched_before_ms  a time, by the source's clock, at which this answer had certainly not been fetched yet (local
                         runner: when the request was sent); 0: unknown; only used when the batch is empty
    """

    payloads: "Sequence[bytes]"
    arrivals_ms: Sequence[int]
    sequence_numbers: Sequence[str]
    millis_behind_latest: int = 0
    not_fetched_before_ms: int = 0


class Partial_Name(Struct, frozen=True):
    """Which partial of a window: the lineage that wrote it, and the number of the last record that touched it."""

    lineage: str
    number: str  # a sequence number, as it came (decimal string)


def sortable(number: str) -> str:
    """A sequence number as text that sorts as the number does; END sorts above every number, RETIRED above END."""
    if number in (END, RETIRED):
        return number
    digits = str(int(number))
    return f"{len(digits):03d}{digits}"


def number_of(text: str) -> str:
    """The number that `sortable` was made from."""
    return text if text in (END, RETIRED) else text[3:]
