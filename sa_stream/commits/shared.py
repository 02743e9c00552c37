"""What the partitions of a worker have in common."""

from collections.abc import Callable

from msgspec import Struct, field

from sa_stream.commits.poison import Poison
from sa_stream.commits.ports import Store
from sa_stream.commits.secrets import Secrets
from sa_stream.partitions import Partial_Name
from sa_stream.records.intake import Intake
from sa_stream.timing import BEGINNING_MS, Timing


class Start(Struct, frozen=True):
    """Where a partition without checkpoint and parents begins.

    from_ms     BEGINNING_MS for TRIM_HORIZON, else the time that LATEST or the setting was resolved to, once
    born_ms     when the stream was created
    adopted_ms  when this stream took the place of another: windows that begin earlier are that one's, and stay as
                they are
    """

    from_ms: int
    born_ms: int
    adopted_ms: int = BEGINNING_MS


class Shared(Struct, frozen=True):
    """new_lineage  makes a random id
    poison       on what the engine has failed
    published    whether the window's entry lists this partial of a partition as its source; only asked about windows
                 too old to be amended, whose partials are then named no more
    """

    store: Store
    timing: Timing
    start: Start
    intake: Intake
    secrets: Secrets
    new_lineage: Callable[[], str]
    poison: Poison = field(default_factory=Poison)
    published: Callable[[str, int, Partial_Name], bool] = lambda partition, window_ms, name: False
