"""What a simulated world is made of: leases, links, workers, tasks, and the durations that hold in it."""

from collections import Counter, defaultdict, deque
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from msgspec import Struct, field

from sa_stream.commits.decisions import Stream_Identity
from sa_stream.commits.operations import Call, Operation, Together
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.commits.poison import Poison
from sa_stream.commits.secrets import Secrets
from sa_stream.partitions import Shard_Info
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.rollups.finality import Sources
from sa_stream.rollups.repairs import Repair
from sa_stream.timing import BEGINNING_MS, HOUR_MS, Moment, Timing
from tests.simulation.clocks import Worker_Clock

STREAM = "logs"
SECOND_MS = 1_000
SKEW_MS_MAX = 62 * SECOND_MS  # so far a worker that has just heard of the source may be behind it
FOREVER_MS = 1 << 60
QUEUED_MAX = 3  # answers that the KCL fetches ahead
SHARDS_MAX = 8
INTAKE = Intake(resolve_field_lists("canonical", ""))
MONTH_END_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1000

NOT_YET = object()

type Task_Steps = Generator[Operation | None, Any, None]


class Short_Timing(Timing, frozen=True):
    """Everything that takes days takes hours here."""

    retention_ms: int = 4 * HOUR_MS
    retention_least_ms: int = 2 * HOUR_MS
    allowed_lateness_ms: int = HOUR_MS

    @property
    def keep_ms(self) -> int:
        return max(2 * HOUR_MS, self.allowed_lateness_ms + HOUR_MS)


class Died(Exception):
    """The process of a task ends here."""


class Engine_Failed(Exception):
    """What the engine raises on poison, and now and then on anything."""


class Lease(Struct, eq=False):
    """`checkpoint`: None before the first; `end` after the shard's end."""

    owner: str = ""
    token: int = 0
    checkpoint: str | None = None
    before: str | None = None  # the checkpoint before that
    from_ms: int = BEGINNING_MS  # of a lease without checkpoint: where to begin
    not_before_ms: int = 0  # so long nobody takes it up


class Answer(Struct):
    """What the KCL fetched: a page of records, or None at the end of the shard (or of the lease)."""

    payloads: list[bytes]
    arrivals_ms: list[int]
    numbers: list[str]
    behind_ms: int
    not_fetched_before_ms: int = 0  # as far as is known when it comes
    end: bool = False


class Link(Struct, eq=False):
    """One shard at one worker: the KCL's reader, its queue, and our consumer."""

    worker: "Worker"
    shard_id: str
    token: int
    checkpoint: str | None
    from_ms: int
    last_number: str = ""  # fetched
    last_checkpoint: str | None = None
    delivered: int = 0  # highest number that was handed over
    queue: deque[Answer] = field(default_factory=deque)
    fetched_all: bool = False
    dead: bool = False
    answered_twice: bool = False  # a checkpoint
    handover_until_ms: int = 0  # when set: it is asked to finish, and loses its lease then at the latest
    consumer: Partition_Consumer | None = None
    position_ms: int = 0
    letter: tuple[int, int] | None = None  # numbers of the last batch that it buried
    dies_after: str = ""  # the worker dies when it has put an object below this
    first_start: bool = False  # it began without a checkpoint, and not from its parents


class Worker(Struct, eq=False):
    name: str
    clock: Worker_Clock
    secrets: Secrets
    timing: Timing  # as its settings and the stream said when it started
    stream: Stream_Identity  # that it found at its start
    described: Moment | None = None  # when it last asked for it
    listed_ms: int = 0  # when the stream was made of which its last list was
    replaced: Moment | None = None  # when the stream became another one, by its clock
    paused_until_ms: int = 0
    jvm_paused_until_ms: int = 0
    alive: bool = True
    leaving: bool = False  # asked to stop: it gives its shards away, and ends
    settled: dict[int, Sources] = field(default_factory=dict)
    to_repair: Mapping[int, Repair | None] = field(default_factory=dict)  # as its last pass said
    shards: Sequence[Shard_Info] = ()  # as it last listed them
    shards_until_ms: int = 0  # so long it believes in that list
    poison: Poison = field(default_factory=Poison)
    failures: Counter[tuple[str, int]] = field(default_factory=Counter)  # (shard, first number) -> engine failures
    unlucky: set[tuple[str, int]] = field(default_factory=set)  # ... where it was no record's fault
    delivered: defaultdict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))


class Task(Struct, eq=False):
    """Steps that run in a worker; `pending` is the call that they wait for. Of calls that are made together: `left` are
    the places of those that come after it, in some order, and `results` those of the others so far."""

    worker: Worker
    steps: Task_Steps
    link: Link | None = None
    pending: Call | None = None
    together: Together | None = None
    left: list[int] = field(default_factory=list)
    results: dict[int, Any] = field(default_factory=dict)
    ready_ms: int = 0
    started: bool = False

    def wait_for(self, operation: Operation | None, rng: Random) -> None:
        """Of what is made together, any may come first."""
        self.together = operation if isinstance(operation, Together) else None
        if self.together is not None:
            self.left = rng.sample(range(len(self.together.calls)), len(self.together.calls))
            self.results = {}
            operation = self.together.calls[self.left[0]]
        self.pending = operation if isinstance(operation, Call) else None

    def got(self, result: Any) -> Any:
        """The pending call's result has come: what all of them gave, or NOT_YET."""
        if self.together is None:
            return result
        self.results[self.left.pop(0)] = result
        if self.left:
            self.pending = self.together.calls[self.left[0]]
            return NOT_YET
        return [self.results[place] for place in range(len(self.together.calls))]

    @property
    def consumer(self) -> Partition_Consumer | None:
        return self.link.consumer if self.link else None
