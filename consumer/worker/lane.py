"""One partition's way through the engine: what was read and waits, the protocol under way, and how it is to end."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec import Struct, field

from consumer.worker.gathering import Gathering
from consumer.worker.lane_report import Lane_Report
from sa_stream.commits.operations import Call, Steps
from sa_stream.commits.partition_consumer import Partition_Consumer
from sa_stream.partitions import Batch
from sa_stream.timing import Backoff, Moment, Now

RETRY_MS_MIN, RETRY_MS_MAX = 100, 10_000  # between two tries of a call, before the jitter

type Ending = Callable[[Partition_Consumer, Now], Steps[None]]  # steps that commit at END


class Answered_Later(Struct, frozen=True):
    """A function for calls that need no thread of the pool: it only sends a question, at once, and returns the Future
    of the answer. The engine's thread calls it."""

    ask: Callable[..., Future[None]]

    def __call__(self, *arguments: Any) -> Any:
        return self.ask(*arguments)


class Lane(Struct, weakref=True):
    """One partition's way through the engine.

    report   tells people how it goes
    inbox    batches not yet received by the consumer; None marks the end of the shard
    steps    the protocol that is under way, if any; `call` is what it waits for, `backoff` of its failures in a row
    closing  flush, then leave; `flushing`: flush, and stay; `one_batch`: take one though memory is short, and flush;
             `emptying`: that flush is under way
    looks    when the engine looks at it, if nothing happens before
    waiting_bytes  received and not yet folded, as of the last look
    ending   everything was received, the shard has no more: `end`, then leave
    leaving  the steps under way are the last: they began after everything was received
    """

    partition: str
    on_open: Callable[[Partition_Consumer], None]
    on_taken: Callable[[], None]
    on_closed: Callable[[str, BaseException | None], None]
    end: Ending
    report: Lane_Report
    consumer: Partition_Consumer | None = None
    inbox: deque[Batch | None] = field(default_factory=deque)
    steps: Steps[Any] | None = None
    call: Call | Gathering | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_MS_MIN, RETRY_MS_MAX))
    closing: bool = False
    flushing: bool = False
    one_batch: bool = False
    emptying: bool = False
    looks: set[Moment] = field(default_factory=set)
    waiting_bytes: int = 0
    ending: bool = False
    leaving: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether it has windows that could leave memory."""
        return self.consumer is not None and bool(self.consumer.state.windows)

    @property
    def next_is_large(self) -> bool:
        """Whether what waits first takes memory: the end of a shard does not, nor does an answer at the tip."""
        first = self.inbox[0] if self.inbox else None
        return first is not None and bool(first.payloads)

    @property
    def records_waiting(self) -> int:
        return sum(len(batch.payloads) for batch in self.inbox if batch is not None)
