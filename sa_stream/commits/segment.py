"""Consecutive batches of a partition that are folded together: held until then, or read as they come."""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct, field

from sa_stream.commits.poison import Set_Aside
from sa_stream.native.packed import Packed_Numbers, Packed_Payloads
from sa_stream.partitions import Batch
from sa_stream.records.columns import Columns
from sa_stream.records.ordinary import Reading, packed
from sa_stream.records.parser import Parser
from sa_stream.timing import BEGINNING_MS, Moment


class Segment(Struct):
    """since       when its first batch was received
    lost_at_ms  when set, records before this segment may be gone from the stream, noticed at this time
    aside       when set, these records are not to be read
    tip         an empty answer at the tip of the stream that came after these records
    reading     when set, records are read as they come; else payloads are held
    """

    since: Moment
    lost_at_ms: int | None = None
    aside: Set_Aside | None = None
    tip: Batch | None = None
    reading: Reading | None = None
    payloads: list[bytes] = field(default_factory=list)
    arrivals_ms: list[int] = field(default_factory=list)
    records: int = 0
    last_arrival_ms: int = BEGINNING_MS
    _numbers: list[Sequence[str]] = field(default_factory=list)
    _held_bytes: int = 0

    def takes(self, payloads: Sequence[bytes]) -> bool:
        """Whether these may join it: what is read as it comes is packed, and what comes packed is not held."""
        if self.reading is None:
            return not isinstance(payloads, Packed_Payloads)
        return packed(payloads) is not None

    def add(self, payloads: Sequence[bytes], arrivals_ms: Sequence[int], numbers: Sequence[str]) -> None:
        self.records += len(payloads)
        self.last_arrival_ms = arrivals_ms[-1]
        self._numbers.append(numbers)
        if self.reading is not None:
            lines = packed(payloads)
            assert lines is not None  # see `takes`
            self.reading.add(lines, np.asarray(arrivals_ms, np.int64))
            return
        self.payloads += payloads
        self.arrivals_ms += arrivals_ms
        self._held_bytes += (len(payloads[0]) + len(payloads[-1])) * len(payloads) // 2  # about; JOIN_MS bounds it

    @property
    def size_bytes(self) -> int:
        """Of memory that the records take, about."""
        return self._held_bytes if self.reading is None else self.reading.size_bytes

    @property
    def ends(self) -> tuple[str, str]:
        """The first and the last number. There is at least one record."""
        return self._numbers[0][0], self._numbers[-1][-1]

    @property
    def numbers(self) -> Sequence[str]:
        """Of each payload."""
        if len(self._numbers) > 1:
            parts = [part for part in self._numbers if isinstance(part, Packed_Numbers)]
            whole = len(parts) == len(self._numbers)
            self._numbers = [Packed_Numbers.joined(parts) if whole else [n for part in self._numbers for n in part]]
        return self._numbers[0]

    def portions(self, parser: Parser) -> Iterator[Columns]:
        """Columns of the records, to be folded one after the other."""
        if self.reading is not None:
            return self.reading.portions()
        return parser.portions(self.payloads, np.array(self.arrivals_ms, np.int64))
