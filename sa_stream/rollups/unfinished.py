"""Which entries are still to become final: found from what is written of them, as no map of a partition may name their
windows any more.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from sa_stream.commits.keys import SUMMARIES_PREFIX
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Listed, Store
from sa_stream.rollups.periods import HALF_HOUR, MONTHLY, PERIODS, children, end_of, parents, parse_cache_key, start_of
from sa_stream.rollups.versions import Brief
from sa_stream.timing import Moment

MONTHS_MAX = 36  # looked through for entries that are not final, whatever the clocks say

type Briefs = Callable[[str, int], Steps[Brief | None]]  # of a period and a start: what its entry says


def unfinished_steps(brief_of: Briefs, from_ms: int, until_ms: int) -> Steps[dict[str, set[int]]]:
    """Entries that are not final and begin by `until_ms`, found from the months downwards: a window that no map names
    any more (its partition forgot it, another one is days behind) still has its entry, and everything above that is
    partial."""
    months = [start_of(MONTHLY, from_ms)]
    while (next_ms := end_of(MONTHLY, months[-1])) <= until_ms and len(months) < MONTHS_MAX:
        months.append(next_ms)
    todo: dict[str, set[int]] = {period: set() for period in PERIODS}
    looked_at = months
    for period in reversed(PERIODS):
        for start_ms in looked_at:
            brief = yield from brief_of(period, start_ms)
            if brief is not None and not brief.final:
                todo[period].add(start_ms)
        if period != HALF_HOUR:
            below = (child_ms for start_ms in sorted(todo[period]) for child_ms in children(period, start_ms))
            looked_at = [child_ms for child_ms in below if child_ms <= until_ms]
    return todo


class Strays:
    """Entries of which the one above does not tell, or tells an older version: the pass that wrote them, of whatever
    worker, ended before it came to that, and no map need name their windows by now. Each has a summary, which was put
    first. They are looked for in the first pass, after one that failed, and now and then, as another worker may be gone
    for ever.
    """

    def __init__(self, again_ms: int) -> None:
        self._again_ms = again_ms
        self._sought = Moment(0)
        self._dealt_with = False

    def steps(self, store: Store, brief_of: Briefs, now: Moment) -> Steps[Sequence[tuple[str, int]]]:
        """(period, start) of each."""
        known = self._dealt_with and now - self._sought < self._again_ms
        self._dealt_with = False
        if known:
            return ()
        self._sought = now
        strays = []
        for period in PERIODS[:-1]:
            listed: Sequence[Listed] = yield call(store.list, f"{SUMMARIES_PREFIX}{period}/")
            for key, items in groupby((item.key for item in listed), lambda key: key.rpartition("/")[0]):
                start_ms = parse_cache_key(key.removeprefix(SUMMARIES_PREFIX))[1]
                if (yield from _is_stray(brief_of, period, start_ms, set(items))):
                    strays.append((period, start_ms))
        return strays

    def dealt_with(self) -> None:
        """The pass that looked for them came to its end."""
        self._dealt_with = True


def _is_stray(brief_of: Briefs, period: str, start_ms: int, summaries: set[str]) -> Steps[bool]:
    above = yield from brief_of(*next(iter(parents(period, start_ms))))
    if above is None:
        return True
    if summaries <= above.parts:
        return False
    brief = yield from brief_of(period, start_ms)  # what else there is was replaced, or is not written yet
    return brief is not None and brief.summary not in above.parts
