"""One partition's records, a store in memory, and a worker that reads the one and commits to the other."""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct, field

from sa_stream.commits.keys import has_snapshot, partial_key
from sa_stream.commits.operations import Operation, Steps, Together, drive
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.poison import Poison
from sa_stream.commits.protocol import recover_steps
from sa_stream.commits.secrets import Secrets
from sa_stream.commits.shared import Shared, Start
from sa_stream.errors import Store_Unavailable
from sa_stream.partitions import Batch, Partial_Name, Shard_Info
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, Moment, Now, Timing
from sa_stream.windows.partition_state import Partition_State
from tests.log_lines import line_of
from tests.native.packing import as_packed

PARTITION = "shard-0"
LISTS = resolve_field_lists("canonical", "")
MONTH_END_MS = 1_772_323_200_000  # 2026-03-01T00:00Z
LINE_A, LINE_B = "line-a.7d1ab54f", "line-b.7d1ab54f"  # lineages that met the secret of 2026-02
TIMING = Timing(retention_ms=300 * DAY_MS)  # nothing is lost, whatever the clocks say


class Stored(Struct, frozen=True):
    key: str


class Dict_Store(Struct):
    """The state store's verbs on a dict. `contents` keeps every content that a key ever had."""

    objects: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, set[bytes]] = field(default_factory=dict)

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.contents.setdefault(key, set()).add(data)

    def create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.put(key, data)
        return True

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in sorted(self.objects) if key.startswith(prefix)]

    def list(self, prefix: str) -> Sequence[Stored]:
        return [Stored(key) for key in self.keys(prefix)]

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)


def snapshot_keys(store: Dict_Store) -> list[str]:
    """Of all that holds a snapshot: objects of their own, and progress records."""
    return store.keys("snapshots/") + [key for key in store.keys("progress/") if has_snapshot(key)]


class Record(Struct, frozen=True):
    """One Kinesis record of the partition."""

    number: str
    arrival_ms: int
    payload: bytes


def record(number: int, event_ms: int, arrival_ms: int | None = None, **values: str) -> Record:
    """A record of one ordinary line; `values` has underscores for dashes. It arrives a second after its event, and its
    request id is its number, unless something else is said."""
    named = {"x-edge-request-id": f"id-{number}"} | {name.replace("_", "-"): value for name, value in values.items()}
    named.setdefault("timestamp", f"{event_ms // 1000}.{event_ms % 1000:03d}")
    return Record(str(number), event_ms + 1_000 if arrival_ms is None else arrival_ms, line_of(named) + b"\n")


PACKED = False  # whether batches come as the kernel makes them of messages


def batch_of(records: Sequence[Record], **more: Any) -> Batch:
    numbers, arrivals_ms = [r.number for r in records], [r.arrival_ms for r in records]
    batch = Batch([r.payload for r in records], arrivals_ms, numbers, **more)
    return as_packed(batch) if PACKED else batch


def empty_tip(not_fetched_before_ms: int) -> Batch:
    return Batch([], [], [], 0, not_fetched_before_ms)


def now_at(now_ms: int) -> Now:
    """Both clocks, going on alike."""
    return Now(now_ms, Moment(now_ms))


class Worker:
    """A worker's life with one partition: starts from the store, reads, commits, and may be dropped at any moment.

    `calls` names every call that was made, with its key where it has one.
    """

    def __init__(
        self,
        store: Dict_Store | None = None,
        checkpoint: str | None = None,
        now_ms: int = MONTH_END_MS,
        timing: Timing = TIMING,
        partition: str = PARTITION,
        parents: Sequence[str] = (),
        lineage: str = "line-a",
        start: Start | None = None,
        keep_text: bool = False,
        published: Callable[[str, int, Partial_Name], bool] = lambda partition, window_ms, name: False,
        poison: Poison | None = None,
    ) -> None:
        self.store = Dict_Store() if store is None else store
        self.checkpoint = checkpoint
        self.calls: list[tuple[str, str]] = []
        self.calls_left: int | None = None  # when set: so many calls succeed, and the worker dies before the next
        self.fails_after: int | None = None  # when set: so many calls succeed, the next one fails, then all is well
        self._lineages = chain([lineage], (f"{lineage}-{i}" for i in range(1, 1_000)))
        shared = Shared(
            self.store,
            timing,
            start or Start(BEGINNING_MS, now_ms - HOUR_MS),
            Intake(LISTS, keep_text=keep_text),
            Secrets(self.store, lambda: b"a secret"),
            lambda: next(self._lineages),
            poison or Poison(),
            published,
        )
        shard = Shard_Info(partition, tuple(parents), closed=False)
        self.state: Partition_State = self.run(recover_steps(shared, shard, checkpoint, now_ms))
        self.consumer = Partition_Consumer(shared, self.state, self._take_checkpoint, now_at(now_ms))

    def _take_checkpoint(self, number: str) -> None:
        self.checkpoint = number

    def run[R](self, steps: Steps[R]) -> R:
        return drive(steps, self._perform)

    def _perform(self, operation: Operation) -> Any:
        if isinstance(operation, Together):
            return [self._perform(one) for one in operation.calls]
        if self.calls_left == 0:
            raise Died
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                self.fails_after = None
                raise Store_Unavailable("the store is away for a moment")
        if self.calls_left is not None:
            self.calls_left -= 1
        argument = operation.arguments[0] if operation.arguments else ""
        keys = argument if isinstance(argument, list) else [argument]
        self.calls.append(
            (getattr(operation.function, "__name__", "").removeprefix("_take_"), " ".join(map(str, keys)))
        )
        return operation()

    def read(self, records: Sequence[Record], now_ms: int) -> None:
        self.consumer.receive(batch_of(records), now_at(now_ms))

    def tip(self, now_ms: int) -> None:
        self.consumer.receive(empty_tip(now_ms), now_at(now_ms))

    def work(self, now_ms: int) -> None:
        self.run(self.consumer.work_steps(now_at(now_ms)))

    def flush(self, now_ms: int) -> None:
        self.run(self.consumer.flush_steps(now_at(now_ms)))

    def end(self, now_ms: int) -> None:
        self.run(self.consumer.end_steps(now_at(now_ms)))


class Died(BaseException):
    """The worker was killed. No Exception, so that nothing can take it for a failed call."""


def after(records: Iterable[Record], checkpoint: str | None) -> list[Record]:
    """What the stream delivers to somebody who begins after a checkpoint."""
    return [r for r in records if checkpoint is None or int(r.number) > int(checkpoint)]


def partials_of(worker: Worker) -> dict[int, tuple[str, bytes]]:
    """Number and bytes of each window's partial as the state names it."""
    state = worker.state
    return {
        start: (name.number, worker.store.objects[partial_key(start, state.partition, name)])
        for start, name in sorted(state.partials.items())
    }


def known_from_records(state: Partition_State) -> bytes:
    """Everything of a state that is a function of its records: without published watermark, position and coverage."""
    return msgspec.msgpack.encode(
        [
            state.partition,
            state.number,
            state.record_watermark_ms,
            state.newest_arrival_ms,
            state.ids.content(state.newest_arrival_ms // MINUTE_MS),
            sorted(state.counters.items()),
            [[start, name.number] for start, name in sorted(state.partials.items())],
        ]
    )


def hostile_records(seed: int, count: int = 120, first_ms: int = MONTH_END_MS - HOUR_MS) -> list[Record]:
    """Records around the end of a month: late, too late, ahead of time, malformed, repeated within and beyond the
    horizon, in payloads of none, one or several lines, with many paths, hosts and agents."""
    rng = random.Random(seed)
    arrival_ms = first_ms
    ids = [f"id-{i}" for i in range(30)]
    records = []
    for number in range(1, count + 1):
        arrival_ms += rng.choice([0, 0, 1, 500, 5_000, 40_000, 60_000, 60_000, 700_000])
        lines = [_hostile_line(rng, ids, arrival_ms) for _ in range(rng.choice([1, 1, 1, 1, 0, 2, 3]))]
        jitter_ms = rng.choice([0, 0, 0, -3_000, -90_000])  # a shard's arrivals may go back a little
        records.append(Record(str(number * 7), arrival_ms + jitter_ms, b"".join(lines)))
    return records


def _hostile_line(rng: random.Random, ids: Sequence[str], arrival_ms: int) -> bytes:
    event_ms = arrival_ms - rng.choice(
        [
            0,
            1,
            100,
            30_000,
            59_999,
            60_000,
            200_000,
            1_800_000,
            4_000_000,
            5 * HOUR_MS,
            26 * HOUR_MS,
            -200_000,
            -299_000,
        ]
        + ([-400_000, 60 * HOUR_MS] if rng.random() < 0.3 else [])
    )
    if rng.random() < 0.1:
        event_ms = event_ms // 1_800_000 * 1_800_000 - rng.choice([0, 1])
    kind = rng.random()
    values = {
        "timestamp": f"{event_ms // 1000}.{event_ms % 1000:03d}" if kind > 0.03 else "soon",
        "sc-status": rng.choice(["200", "200", "304", "404", "500", "000"]) if kind < 0.97 else "2xx",
        "sc-bytes": rng.choice(["0", "-", "1000", "77.7", str(1 << 41), str(1 << 70), "many"]),
        "x-edge-request-id": rng.choice([*ids, "-", "", f"once-{rng.getrandbits(40)}"]),
        "cs-uri-stem": rng.choice(
            [
                f"/often/{rng.randrange(3)}",
                f"/p/{rng.randrange(40)}",
                f"/once/{rng.getrandbits(30)}",
                "-",
                "/a?b",
                "/to/a@b.cd",
            ]
        ),
        "cs-host": rng.choice(["www.example.org", f"h{rng.randrange(12)}", "-", "10.0.0.1"]),
        "cs-method": rng.choice(["GET", "POST", f"M{rng.randrange(9)}"]),
        "cs-protocol": rng.choice(["https", "http", "wss", "-"]),
        "cs-user-agent": rng.choice([f"agent-{rng.randrange(50)}", "-", ""]),
        "x-edge-location": rng.choice([f"LHR{rng.randrange(40)}", "-"]),
        "x-edge-result-type": rng.choice(["Hit", "Miss", "RefreshHit", f"New{rng.randrange(9)}"]),
        "time-taken": rng.choice(["0.001", "1.5", "-", "0.1234565", "9" * 30, "1e3", f"{rng.random():.3f}"]),
        "time-to-first-byte": rng.choice(["0.001", "-", "86400", f"{rng.random() * 9:.3f}"]),
    }
    line = line_of(values)
    if rng.random() < 0.04:
        line = rng.choice([b"", b"#\t", b"one", line + b"\t"])
    return line + rng.choice([b"\n", b"\n", b"\r\n"])
