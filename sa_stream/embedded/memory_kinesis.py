"""A Kinesis that lives in memory: streams, shards and records as plain data, deterministic, on the caller's clock.

Records go in by `put`, `put_many` or `put_to_shard` and come out by `shard_iterator` and `get_records`; the simulator
and the generator call it directly, `kinesis_server` gives it a second door for boto3. What is modelled follows the
Kinesis API reference (GetRecords, GetShardIterator, ListShards, SplitShard, MergeShards).
"""

import base64
import binascii
import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from threading import RLock

import msgspec
from msgspec import Struct, field

from sa_stream.errors import SA_Stream_Error
from sa_stream.timing import DAY_MS

HASH_KEYS = 1 << 128
ITERATOR_LIFE_MS = 300_000
RECORDS_PER_READ_MAX = 10_000
BYTES_PER_READ_MAX = 10 << 20
RECORDS_PER_PUT_MAX = 500
BYTES_PER_PUT_MAX = 10 << 20
RECORD_BYTES_MAX = 10 << 20
SHARDS_PER_PAGE_MAX = 1_000

THROTTLED = "ProvisionedThroughputExceededException"
NOT_FOUND = "ResourceNotFoundException"
INVALID = "InvalidArgumentException"

# Real sequence numbers have 56 digits, leave gaps, and are larger in a child than in its parents.
_FIRST_NUMBER = 496 * 10**53
_NUMBERS_PER_SHARD = 10**42
_NUMBER_STEP = 1_048_583

# (operation, stream name, shard id or "") -> the error code to answer with, or None to let the call pass
type Fault = Callable[[str, str, str], str | None]


class Kinesis_Error(SA_Stream_Error):
    """An answer that is an error; `code` is the name that AWS gives it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Shard_Filter(msgspec.Struct, frozen=True):
    """Which shards ListShards answers with; `type` is one of AWS's six names."""

    type: str = "FROM_TRIM_HORIZON"
    shard_id: str = ""
    timestamp_ms: int = 0


class _List_Token(msgspec.Struct):
    stream: str
    filter: Shard_Filter
    after: str
    born_ms: int


class _Iterator(msgspec.Struct, array_like=True):
    stream: str
    shard_id: str
    position: int
    born_ms: int


class Shard(Struct):
    """One shard and its records. Positions count every record that it ever took, trimmed ones too."""

    number: int
    low: int
    high: int
    opened_ms: int
    parents: tuple[str, ...] = ()
    closed_ms: int | None = None
    children: list["Shard"] = field(default_factory=list)
    dropped: int = 0  # records that were trimmed and are no longer in the lists below
    payloads: list[bytes] = field(default_factory=list)
    partition_keys: list[str] = field(default_factory=list)
    arrivals_ms: list[int] = field(default_factory=list)

    @property
    def shard_id(self) -> str:
        return f"shardId-{self.number:012d}"

    @property
    def first_number(self) -> int:
        """Starting sequence number: below that of the first record."""
        return _FIRST_NUMBER + self.number * _NUMBERS_PER_SHARD

    @property
    def last_number(self) -> int | None:
        """Ending sequence number: above that of the last record; None while the shard is open."""
        return None if self.closed_ms is None else self.number_at(self.end) - 1

    @property
    def end(self) -> int:
        """Position after the last record."""
        return self.dropped + len(self.payloads)

    def number_at(self, position: int) -> int:
        return self.first_number + (position + 1) * _NUMBER_STEP

    def position_of(self, number: int) -> int:
        """Position of the first record whose sequence number is `number` or more."""
        return max(0, -((self.first_number - number) // _NUMBER_STEP) - 1)

    def append(self, payload: bytes, partition_key: str, arrival_ms: int) -> str:
        if self.arrivals_ms and arrival_ms < self.arrivals_ms[-1]:
            arrival_ms = self.arrivals_ms[-1]  # within a shard arrival never goes back
        number = str(self.number_at(self.end))
        self.payloads.append(payload)
        self.partition_keys.append(partition_key)
        self.arrivals_ms.append(arrival_ms)
        return number

    def trim(self, horizon_ms: int) -> int:
        """Position of the first record that arrived at or after the horizon. Those before it can no longer be read;
        they are dropped when they are a quarter of all, so that trimming costs little on average."""
        gone = bisect_left(self.arrivals_ms, horizon_ms)
        if gone * 4 > len(self.payloads):
            del self.payloads[:gone], self.partition_keys[:gone], self.arrivals_ms[:gone]
            self.dropped += gone
            gone = 0
        return self.dropped + gone


class Stream(Struct):
    name: str
    created_ms: int
    retention_ms: int
    shards: list[Shard] = field(default_factory=list)
    trimmed_ms: int = 0  # what arrived before it went while the retention was shorter, and does not come back

    def horizon_ms(self, now_ms: int) -> int:
        """What arrived before this time is gone."""
        return max(now_ms - self.retention_ms, self.trimmed_ms)

    @property
    def arn(self) -> str:
        return f"arn:aws:kinesis:us-east-1:000000000000:stream/{self.name}"

    def open_shards(self) -> list[Shard]:
        """The shards that take records, by hash key."""
        return sorted((shard for shard in self.shards if shard.closed_ms is None), key=lambda shard: shard.low)

    def add_shard(self, low: int, high: int, now_ms: int, parents: Sequence[Shard] = ()) -> Shard:
        shard = Shard(len(self.shards), low, high, now_ms, tuple(parent.shard_id for parent in parents))
        self.shards.append(shard)
        for parent in parents:
            parent.closed_ms = now_ms
            parent.children.append(shard)
        return shard


class Records_Page(Struct):
    """Answer of GetRecords: parallel lists of records. `next_iterator` is None at the end of a closed shard, and then
    `children` are the shards that go on."""

    payloads: list[bytes]
    arrivals_ms: list[int]
    sequence_numbers: list[str]
    partition_keys: list[str]
    millis_behind_latest: int
    next_iterator: str | None
    children: list[Shard]


class Shards_Page(Struct):
    shards: list[Shard]
    next_token: str | None


def hash_key(partition_key: str) -> int:
    """The 128-bit key that decides on the shard: MD5 of the partition key."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())


class Memory_Kinesis:
    """`now_ms` is the only clock. `fault`, if set, is asked before every call (for puts: for every record) and may
    answer with an error code. Every method raises Kinesis_Error where AWS would answer with an error. Calls from
    several threads are served one after the other."""

    def __init__(self, now_ms: Callable[[], int], fault: Fault | None = None) -> None:
        self.now_ms = now_ms
        self.fault = fault
        self._streams: dict[str, Stream] = {}
        self._lock = RLock()

    # ---- streams

    def create_stream(self, name: str, shards: int = 1, retention_ms: int = DAY_MS) -> Stream:
        with self._lock:
            if name in self._streams:
                raise Kinesis_Error("ResourceInUseException", f"Stream {name} already exists.")
            if shards < 1:
                raise Kinesis_Error(INVALID, f"A stream has at least 1 shard, not {shards}.")
            stream = self._streams[name] = Stream(name, self.now_ms(), retention_ms)
            for i in range(shards):
                stream.add_shard(HASH_KEYS * i // shards, HASH_KEYS * (i + 1) // shards - 1, stream.created_ms)
            return stream

    def delete_stream(self, name: str) -> None:
        with self._lock:
            del self._streams[self.stream(name).name]

    def set_retention(self, name: str, retention_ms: int) -> None:
        """Keep records longer or shorter from now on. What a shorter retention has taken stays gone."""
        with self._lock:
            stream = self.stream(name)
            stream.trimmed_ms = stream.horizon_ms(self.now_ms())
            stream.retention_ms = retention_ms

    def stream_names(self) -> list[str]:
        with self._lock:
            return sorted(self._streams)

    def stream(self, name: str) -> Stream:
        try:
            return self._streams[name]
        except KeyError:
            raise Kinesis_Error(NOT_FOUND, f"Stream {name} under account 000000000000 not found.") from None

    def list_shards(
        self,
        name: str = "",
        shard_filter: Shard_Filter | None = None,
        after: str = "",
        max_results: int = SHARDS_PER_PAGE_MAX,
        next_token: str = "",
    ) -> Shards_Page:
        """Shards by id, `max_results` a page; `next_token` of one page asks for the next and brings all else along.
        Shards that were closed longer ago than the retention are gone."""
        with self._lock:
            now_ms = self.now_ms()
            chosen = shard_filter or Shard_Filter()
            if next_token:
                token = _opened(next_token, _List_Token)
                if now_ms - token.born_ms > ITERATOR_LIFE_MS:
                    raise Kinesis_Error("ExpiredNextTokenException", "NextToken has expired.")
                name, chosen, after = token.stream, token.filter, token.after
            self._fail("ListShards", name)
            stream = self.stream(name)
            found = [s for s in self._listed(stream, now_ms) if _passes(s, chosen, stream, now_ms)]
            found = [s for s in found if s.shard_id > after]
            page = found[:max_results]
            more = len(found) > len(page)
            following = _sealed(_List_Token(name, chosen, page[-1].shard_id, now_ms)) if more else None
            return Shards_Page(page, following)

    def split(self, name: str, shard_id: str, at: int | None = None) -> tuple[Shard, Shard]:
        """Close a shard and open two children; the second begins at hash key `at` (default: the middle)."""
        with self._lock:
            stream, shard = self._find(name, shard_id)
            at = (shard.low + shard.high + 1) // 2 if at is None else at
            if shard.closed_ms is not None or not shard.low < at <= shard.high:
                raise Kinesis_Error(INVALID, f"{shard_id} is closed, or {at} is not inside its range of hash keys.")
            now_ms = self.now_ms()
            left = stream.add_shard(shard.low, at - 1, now_ms, [shard])
            return left, stream.add_shard(at, shard.high, now_ms, [shard])

    def merge(self, name: str, shard_id: str, adjacent_id: str) -> Shard:
        """Close two neighbours and open one child over both ranges; `adjacent_id` is its adjacent parent."""
        with self._lock:
            stream, shard = self._find(name, shard_id)
            adjacent = self._find(name, adjacent_id)[1]
            low, high = sorted((shard, adjacent), key=lambda s: s.low)
            if shard.closed_ms is not None or adjacent.closed_ms is not None or low.high + 1 != high.low:
                raise Kinesis_Error(INVALID, f"{shard_id} and {adjacent_id} are not two open neighbours.")
            return stream.add_shard(low.low, high.high, self.now_ms(), [shard, adjacent])

    # ---- records in

    def put(
        self,
        name: str,
        payload: bytes,
        partition_key: str,
        hash_key_at: int | None = None,
        arrival_ms: int | None = None,
    ) -> tuple[str, str]:
        """Put one record; returns its shard and sequence number. `hash_key_at` overrules the partition key;
        `arrival_ms` overrules the clock (raised to the shard's last arrival if it is earlier)."""
        arrivals_ms = None if arrival_ms is None else [arrival_ms]
        answer = self.put_many(name, [payload], [partition_key], arrivals_ms, [hash_key_at], operation="PutRecord")[0]
        if isinstance(answer, str):
            raise Kinesis_Error(answer, "The record was refused by the fault that the test asked for.")
        return answer

    def put_many(
        self,
        name: str,
        payloads: Sequence[bytes],
        partition_keys: Sequence[str],
        arrivals_ms: Sequence[int] | None = None,
        hash_keys: Sequence[int | None] | None = None,
        operation: str = "PutRecords",
    ) -> list[tuple[str, str] | str]:
        """Put any number of records, in order. One answer a record: (shard id, sequence number), or the code of the
        error that `fault` gave it."""
        with self._lock:
            shards = self.stream(name).open_shards()
            lows = [shard.low for shard in shards]
            ids = [shard.shard_id for shard in shards]
            now_ms = self.now_ms()
            answers: list[tuple[str, str] | str] = []
            for i, partition_key in enumerate(partition_keys):
                given = hash_keys[i] if hash_keys else None
                chosen = bisect_right(lows, hash_key(partition_key) if given is None else given) - 1
                code = self.fault(operation, name, ids[chosen]) if self.fault else None
                if code:
                    answers.append(code)
                    continue
                arrival_ms = now_ms if arrivals_ms is None else arrivals_ms[i]
                answers.append((ids[chosen], shards[chosen].append(payloads[i], partition_key, arrival_ms)))
            return answers

    def put_to_shard(self, name: str, shard_id: str, payload: bytes, arrival_ms: int | None = None) -> str:
        """Put one record into a certain shard, past the hash keys; returns its sequence number."""
        with self._lock:
            self._fail("PutRecord", name, shard_id)
            shard = self._find(name, shard_id)[1]
            if shard.closed_ms is not None:
                raise Kinesis_Error(INVALID, f"{shard_id} is closed and takes no more records.")
            return shard.append(payload, shard_id, self.now_ms() if arrival_ms is None else arrival_ms)

    # ---- records out

    def shard_iterator(
        self, name: str, shard_id: str, type: str, sequence_number: str = "", timestamp_ms: int = 0
    ) -> str:
        """A position to read from; it lives for 300 s. `type` is one of AWS's five names."""
        with self._lock:
            self._fail("GetShardIterator", name, shard_id)
            shard = self._find(name, shard_id)[1]
            match type:
                case "TRIM_HORIZON":
                    position = 0
                case "LATEST":
                    position = shard.end
                case "AT_TIMESTAMP":
                    position = shard.dropped + bisect_left(shard.arrivals_ms, timestamp_ms)
                case "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER":
                    number = _number_of(shard, sequence_number)
                    position = shard.position_of(number + (type == "AFTER_SEQUENCE_NUMBER"))
                case _:
                    raise Kinesis_Error(INVALID, f"There is no iterator of the type {type}.")
            return _sealed(_Iterator(name, shard_id, position, self.now_ms()))

    def get_records(self, iterator: str, limit: int = RECORDS_PER_READ_MAX) -> Records_Page:
        """Up to `limit` records, 10,000 records and 10 MiB (at least one record). What the retention has taken is
        skipped without a word, as Kinesis does. millis_behind_latest is 0 at the tip, and only there."""
        with self._lock:
            at = _opened(iterator, _Iterator)
            self._fail("GetRecords", at.stream, at.shard_id)
            now_ms = self.now_ms()
            if now_ms - at.born_ms > ITERATOR_LIFE_MS:
                raise Kinesis_Error("ExpiredIteratorException", "Iterator expired: it was older than 300 s.")
            stream, shard = self._find(at.stream, at.shard_id)
            begin = max(at.position, shard.trim(stream.horizon_ms(now_ms)))
            first = begin - shard.dropped
            payloads = shard.payloads[first : first + min(limit, RECORDS_PER_READ_MAX)]
            size_bytes = 0
            for i, payload in enumerate(payloads):
                size_bytes += len(payload)
                if size_bytes > BYTES_PER_READ_MAX and i:
                    del payloads[i:]
                    break
            last = first + len(payloads)
            end = begin + len(payloads)
            behind_ms = max(1, now_ms - shard.arrivals_ms[last]) if end < shard.end else 0
            over = shard.closed_ms is not None and end >= shard.end
            return Records_Page(
                payloads,
                shard.arrivals_ms[first:last],
                [str(shard.number_at(position)) for position in range(begin, end)],
                shard.partition_keys[first:last],
                behind_ms,
                None if over else _sealed(_Iterator(at.stream, at.shard_id, end, now_ms)),
                shard.children if over else [],
            )

    # ---- helpers

    def _fail(self, operation: str, name: str, shard_id: str = "") -> None:
        code = self.fault(operation, name, shard_id) if self.fault else None
        if code:
            raise Kinesis_Error(code, f"{operation} was refused by the fault that the test asked for.")

    def _listed(self, stream: Stream, now_ms: int) -> list[Shard]:
        horizon_ms = stream.horizon_ms(now_ms)
        return [s for s in stream.shards if s.closed_ms is None or s.closed_ms >= horizon_ms]

    def _find(self, name: str, shard_id: str) -> tuple[Stream, Shard]:
        stream = self.stream(name)
        for shard in self._listed(stream, self.now_ms()):
            if shard.shard_id == shard_id:
                return stream, shard
        raise Kinesis_Error(NOT_FOUND, f"Shard {shard_id} in stream {name} under account 000000000000 does not exist.")


def _passes(shard: Shard, chosen: Shard_Filter, stream: Stream, now_ms: int) -> bool:
    horizon_ms = max(stream.horizon_ms(now_ms), stream.created_ms)
    since_ms = horizon_ms if chosen.type == "AT_TRIM_HORIZON" else chosen.timestamp_ms
    match chosen.type:
        case "FROM_TRIM_HORIZON":
            return True
        case "AFTER_SHARD_ID":
            return shard.shard_id > chosen.shard_id
        case "AT_LATEST":
            return shard.closed_ms is None
        case "AT_TRIM_HORIZON" | "AT_TIMESTAMP":
            return shard.opened_ms <= since_ms and (shard.closed_ms is None or shard.closed_ms > since_ms)
        case "FROM_TIMESTAMP":
            return shard.closed_ms is None or shard.closed_ms >= since_ms
        case _:
            raise Kinesis_Error(INVALID, f"There is no shard filter of the type {chosen.type}.")


def _number_of(shard: Shard, sequence_number: str) -> int:
    number = int(sequence_number) if sequence_number.isascii() and sequence_number.isdigit() else -1
    if not shard.first_number <= number <= (shard.last_number or shard.number_at(shard.end)):
        raise Kinesis_Error(
            INVALID,
            f"StartingSequenceNumber {sequence_number} used in GetShardIterator on shard {shard.shard_id} is invalid "
            "because it did not come from this stream.",
        )
    return number


def _sealed(value: msgspec.Struct) -> str:
    """A value as an opaque string, for iterators and tokens."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode()


def _opened[T](text: str, type: type[T]) -> T:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=type)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Kinesis_Error(INVALID, "This iterator or token was not given out by this service.") from None
