"""One round of the reconciler, from outside: what decides how it goes, and what it saw and did."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from sa_stream.commits.progress import Progress
from sa_stream.rollups.finality import Sources, Stream_View
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY
from sa_stream.rollups.repairs import Repair, Repair_Settings
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS


class Worker(Struct, frozen=True):
    """A process that publishes: a name that it has as long as it runs, and its version."""

    name: str
    version: str


class Reconciler_Settings(Struct, frozen=True):
    """refresh_ms  least time between two versions of an entry of this period, unless it becomes final
    verify_ms   how long at most something that was seen equal is believed without reading the cache again;
                verify_final_ms: ... of what was final, which others change only where a progress record names something
                new
    grace_ms    how long a superseded summary is kept for those who may still be reading it; how far apart two reads of
                an entry are that prove it published; when a key that was written is looked at for the second time
    dead_letter_ms  how long dead letters are kept
    archive     None: there is none to repair from
    worker      what `status/stream` calls this process; None: none is published
    """

    sampling_percent: float = 100
    refresh_ms: Mapping[str, int] = field(
        default_factory=lambda: {
            HALF_HOUR: 10_000,
            HOURLY: MINUTE_MS,  # partials come once a minute
            DAILY: 5 * MINUTE_MS,
            MONTHLY: 5 * MINUTE_MS,
        }
    )
    verify_ms: int = 5 * MINUTE_MS
    verify_final_ms: int = HOUR_MS
    grace_ms: int = 10 * MINUTE_MS
    remembered_max: int = 20_000
    dead_letter_ms: int = 30 * DAY_MS
    archive: Repair_Settings | None = None
    worker: Worker | None = None


class Written(Struct, frozen=True):
    """An entry that was written in a pass. revised: it had been final with another content."""

    cache_key: str
    status: str
    revision: int
    total_requests: int
    revised: bool


class Pass_Result(Struct):
    """What one pass saw and did.

    waiting       those of them that have ended and that some shard has not passed yet
    written       entries written, in order
    skipped       reason -> how many were left for a later pass
    settled       window -> all partials that the stream names of it, if two reads of the cache, grace_ms apart, have
                  shown an entry that lists them (or one that is final, and never lists them, as nobody vouches for that
                  time any more), and everything that it is part of has an entry: the map of a partition may forget
                  these once they are old enough
    progress      partition -> its present, for lag and health
    stream        the view of the stream that the pass had; None if it had none
    passed_ms     every shard has passed windows that end up to here (BEGINNING_MS: none)
    to_repair     windows that are to be computed from the archive, or looked at again for files that came later -> what
                  was computed so far
    """

    waiting: int = 0
    written: list[Written] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    settled: dict[int, Sources] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    passed_ms: int = 0
    stream: Stream_View | None = None
    to_repair: dict[int, Repair | None] = field(default_factory=dict)
