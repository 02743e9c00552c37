"""Computes a window as a whole from its files in the archive: what there is of them comes in, a repair in the state
store goes out. Whoever does it twice, at the same time or later, does no harm: the one of most files counts.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from sa_stream.commits.keys import window_label
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Store
from sa_stream.commits.secrets import Secrets
from sa_stream.log import REPAIR_IMPOSSIBLE, REPAIR_LACKS, Log
from sa_stream.rollups.repairs import Repair, content_of, files_of_steps, put_repair_steps, repair_of
from sa_stream.timing import iso, month_of
from sa_stream.windows.window import Window

log = Log("repair")


class Computed(Struct, frozen=True):
    """A window as its files gave it.

    read    how many of them were read to their end
    broken  file -> why it could not be
    """

    window: Window
    read: int
    broken: Mapping[str, str]


class Window_Files(Protocol):
    """The files that may hold a window's records.

    settings  what decides the content of a window, besides its records, as of the last `compute`
    """

    @property
    def settings(self) -> str: ...

    def find(self, window_ms: int) -> Sequence[str]:
        """Their names. Raises Store_Unavailable, Source_Error."""

    def compute(self, window_ms: int, files: Sequence[str], seed: int) -> Computed:
        """The window, its ids and agents hashed with this secret. A file that cannot be read is named, and the others
        are read. Raises Store_Unavailable, Field_List_Error."""


def repair_steps(
    store: Store, secrets: Secrets, files: Window_Files, window_ms: int, known: Repair | None
) -> Steps[Repair | None]:
    """Compute a window and keep it; None if that would say no more than `known` does, which was computed before."""
    month = month_of(window_ms)
    if month in secrets.destroyed:
        return None  # it was said
    found: Sequence[str] = yield call(files.find, window_ms)
    if known is not None and known.whole:
        lacks = yield from lacks_steps(store, window_ms, found, known)
        if lacks is not None:
            tell_lacks(window_ms, lacks)
        if len(found) <= known.files:
            return None
    yield from secrets.load_steps([month])
    if month in secrets.destroyed:
        log.tell(
            REPAIR_IMPOSSIBLE,
            f"the window of {iso(window_ms)}, and others of its month, are not repaired: the hash secret of {month} is "
            "destroyed, so they stay as they are",
        )
        return None
    computed: Computed = yield call(files.compute, window_ms, tuple(found), secrets.seeds[month])
    return (yield from keep_steps(store, f"{files.settings}\n{secrets.tag(month)}", found, computed, known))


class Lacks(Struct, frozen=True):
    """Files whose records a window has not, or will not have, as some came after others of it were deleted."""

    files: frozenset[str]
    what: str


def lacks_steps(store: Store, window_ms: int, found: Collection[str], known: Repair) -> Steps[Lacks | None]:
    """What no repair of these files, nor `known`, which is whole, has with all others; None: there is no such file, or
    nothing says what `known` was made of."""
    read = yield from files_of_steps(store, window_ms, known)
    if read is None or not (fresh := frozenset(found) - read) or not (gone := read - frozenset(found)):
        return None
    if len(found) > known.files:
        return Lacks(gone, "were deleted")
    return Lacks(fresh, "came after others were deleted")


def tell_lacks(window_ms: int, lacks: Lacks) -> None:
    first, *others = sorted(lacks.files)
    more = f" and {len(others)} more" if others else ""
    log.tell(
        REPAIR_LACKS,
        f"the window of {iso(window_ms)} lacks what is in {first}{more} alone, which {lacks.what}: put back what was "
        "deleted, and it is computed from all of its files",
        window=window_label(window_ms),
        files=len(lacks.files),
    )


def keep_steps(
    store: Store, reading: str, found: Sequence[str], computed: Computed, known: Repair | None
) -> Steps[Repair | None]:
    """Keep what was computed of a window from the files that were found; None if it says no more than `known` does.

    reading  what decides its content, besides its records: settings and hash secret
    """
    repair = repair_of(computed.read, not computed.broken, content_of(reading, found, computed.broken))
    if known is not None and repair <= known:
        return None
    window = computed.window
    named = computed.broken or dict.fromkeys(sorted(found), "")
    yield from put_repair_steps(store, window.start_ms, repair, window.to_bytes(), named)
    return repair
