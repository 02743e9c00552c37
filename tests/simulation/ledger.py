"""What every partition should hold after each of its records: the oracle, record by record, with a memory.

Records go in when they are put into the stream; out come the contents of windows, counters and names of partials as
they must be after any record. Every request has a path of its own, so a window's paths say which requests it counts.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field

from tests.oracle import WINDOW_MS, Partition_Oracle, Stream_Oracle

type Ranges = tuple[tuple[int, int], ...]  # of numbers, first and last


class Content(Struct):
    """What a window must hold: path -> how often it counts, and what is counted beside it."""

    paths: Counter[str] = field(default_factory=Counter)
    late: int = 0
    duplicates: int = 0
    invalid: int = 0
    too_late: int = 0  # those of the invalid ones that were dropped for their lateness

    def add(self, other: "Content") -> None:
        self.paths.update(other.paths)
        self.late += other.late
        self.duplicates += other.duplicates
        self.invalid += other.invalid
        self.too_late += other.too_late


class Touch(Struct):
    """What one record did to one window."""

    number: int
    paths: list[str] = field(default_factory=list)  # counted
    in_time: list[str] = field(default_factory=list)  # those of them that were not late
    late: int = 0
    duplicates: int = 0
    invalid: int = 0
    too_late: int = 0

    @property
    def certain(self) -> bool:
        """Who has not read all records may not know that one is too late (for a window that it does not cover)."""
        return bool(self.paths or self.duplicates or self.invalid > self.too_late)


class Put(Struct):
    """One well-formed line that reached a partition."""

    number: int
    path: str
    event_ms: int
    arrival_ms: int


class Remembering_Oracle(Partition_Oracle):
    """A partition's oracle that remembers what each record did."""

    number = 0

    def __init__(self, *args: object, **timing: object) -> None:
        super().__init__(*args, **timing)  # type: ignore[arg-type]
        self.touches: dict[int, list[Touch]] = {}  # window start (ms) -> in order
        self.history: list[tuple[int, dict[str, int]]] = []  # counters after each record
        self.numbers: list[int] = []
        self.arrivals_ms: list[int] = []
        self.puts: dict[int, list[Put]] = {}  # window start (ms) -> records that are not malformed
        self.dropped: dict[tuple[int, int], str] = {}  # (number, line) -> reason
        self.watermarks: list[int] = []  # after each record
        self.payloads: list[bytes] = []

    def take(self, number: int, payload: bytes, arrival_ms: int) -> None:
        self.number, self.line = number, -1
        self.add(payload, arrival_ms)
        self.numbers.append(number)
        self.payloads.append(payload)
        self.arrivals_ms.append(arrival_ms)
        self.watermarks.append(self.watermark_ms)
        counters = self.counters
        flat = {
            "records": counters.records,
            "aggregated": counters.aggregated,
            "duplicates": counters.duplicates,
            "late": counters.late,
            **counters.invalid,
        }
        self.history.append((number, {name: count for name, count in flat.items() if count}))

    def _touch(self, start_ms: int) -> Touch:
        touches = self.touches.setdefault(start_ms, [])
        if not touches or touches[-1].number != self.number:
            touches.append(Touch(self.number))
        return touches[-1]

    def _drop(self, reason: str, arrival_ms: int) -> None:
        super()._drop(reason, arrival_ms)
        touch = self._touch(arrival_ms // WINDOW_MS * WINDOW_MS)
        touch.invalid += 1
        touch.too_late += reason == "too_late"
        self.dropped[self.number, self.line] = reason

    def _add_line(self, line: bytes, arrival_ms: int) -> None:
        self.line += 1
        counters = self.counters
        before = (counters.aggregated, counters.duplicates, counters.late)
        super()._add_line(line, arrival_ms)
        aggregated, duplicates, late = (
            counters.aggregated - before[0],
            counters.duplicates - before[1],
            counters.late - before[2],
        )
        if self.dropped.get((self.number, self.line), "too_late") != "too_late":
            return  # malformed, or from the future
        values = line.decode().split("\t")
        seconds, _, fraction = values[0].partition(".")
        event_ms = int(seconds) * 1000 + int(fraction.ljust(3, "0"))
        start_ms = event_ms // WINDOW_MS * WINDOW_MS
        self.puts.setdefault(start_ms, []).append(Put(self.number, values[7], event_ms, arrival_ms))
        if aggregated or duplicates:
            touch = self._touch(start_ms)
            touch.duplicates += duplicates
            touch.late += late
            if aggregated:
                touch.paths.append(values[7])
                if not late:
                    touch.in_time.append(values[7])

    # ------------------------------------------------------------------ after record n

    def content(self, start_ms: int, number: int | None = None) -> Content:
        """The window after record `number` (None: after all)."""
        content = Content()
        for touch in self.touches.get(start_ms, ()):
            if number is not None and touch.number > number:
                break
            content.paths.update(touch.paths)
            content.late += touch.late
            content.duplicates += touch.duplicates
            content.invalid += touch.invalid
            content.too_late += touch.too_late
        return content

    def last_touch(self, start_ms: int, number: int, all_read: bool = True) -> set[int | None]:
        """Number of the last record, up to `number`, that touched the window; None: there is none. More than one may be
        true for somebody who has not read all records from the first on."""
        found: set[int | None] = set()
        for touch in reversed(self.touches.get(start_ms, ())):
            if touch.number <= number:
                found.add(touch.number)
                if all_read or touch.certain:
                    return found
        return found | {None}

    def counters_after(self, number: int | None) -> dict[str, int]:
        place = len(self.numbers) if number is None else bisect_right(self.numbers, number)
        return self.history[place - 1][1] if place else {}


class Ledger(Stream_Oracle):
    partition_class = Remembering_Oracle

    def __init__(self, **timing: int) -> None:
        super().__init__(**timing)
        self._beginnings: dict[str, tuple[dict[str, int], int, int]] = {}  # partition -> ids and clocks it began with
        self._without: dict[tuple[str, Ranges], Remembering_Oracle] = {}

    def start(self, partition: str, parents: Sequence[str] = ()) -> Partition_Oracle:
        fresh = super().start(partition, parents)
        self._beginnings[partition] = dict(fresh.ids), fresh.watermark_ms, fresh.arrival_max_ms
        return fresh

    def without(self, partition: str, skipped: Ranges) -> Remembering_Oracle:
        """The partition for somebody who did not look at the records with numbers in these ranges."""
        full = self.of(partition)
        if not skipped:
            return full
        if (partition, skipped) not in self._without:
            ids, watermark_ms, arrival_max_ms = self._beginnings[partition]
            fresh = Remembering_Oracle(self._reader, known_ids=ids, **self._timing)
            fresh.watermark_ms, fresh.arrival_max_ms = watermark_ms, arrival_max_ms
            self._without[partition, skipped] = fresh
        oracle = self._without[partition, skipped]
        behind = bisect_right(full.numbers, oracle.numbers[-1]) if oracle.numbers else 0
        for place in range(behind, len(full.numbers)):
            number = full.numbers[place]
            if not any(first <= number <= last for first, last in skipped):
                oracle.take(number, full.payloads[place], full.arrivals_ms[place])
        return oracle

    def of(self, partition: str) -> Remembering_Oracle:
        found = self.partitions[partition]
        assert isinstance(found, Remembering_Oracle)
        return found

    def content(self, start_ms: int) -> Content:
        """The window after all records of all partitions."""
        total = Content()
        for partition in self.partitions:
            total.add(self.of(partition).content(start_ms))
        return total
