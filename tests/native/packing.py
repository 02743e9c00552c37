"""Batches as the kernel makes them of messages."""

from array import array

import numpy as np

from sa_stream import native
from sa_stream.native.packed import Packed_Numbers
from sa_stream.partitions import Batch
from sa_stream.records.ordinary import packed


def as_packed(batch: Batch) -> Batch:
    """The same batch, packed; as it is without the kernel, or if it cannot be packed."""
    payloads = packed(batch.payloads) if native.AVAILABLE and len(batch.payloads) else None
    if payloads is None:
        return batch
    numbers = [number.encode() for number in batch.sequence_numbers]
    text = np.frombuffer(b"".join(numbers), np.uint8)
    ends = np.cumsum([len(number) for number in numbers])
    return Batch(
        payloads,
        array("q", batch.arrivals_ms),
        Packed_Numbers(text, ends),
        batch.millis_behind_latest,
        batch.not_fetched_before_ms,
    )
