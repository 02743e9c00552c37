"""What a reconciler remembers between its passes: what the cache said when it was last read, and which keys are to be
looked at again. Losing it costs reads, or time until a map may forget a window; both are bounded.
"""

from collections import OrderedDict
from functools import lru_cache

import xxhash
from msgspec import Struct

from sa_stream.rollups.entry import Entry
from sa_stream.rollups.finality import Sources
from sa_stream.rollups.periods import HALF_HOUR, cache_key, end_of, parse_cache_key
from sa_stream.rollups.versions import Brief, brief_of, went_back
from sa_stream.timing import BEGINNING_MS, Moment

NOT_DUE, NEXT_PASS, AFTER_GRACE = 0, 1, 2


class Known(Struct):
    """What was last read under a key, which view it was equal to, and since when it is seen to show some sources.

    ours         it is what we wrote ourselves
    final_since  since when it could be written as final
    """

    brief: Brief | None
    read: Moment
    pass_number: int
    equal_to: object = None
    hold_until_ms: int = 0
    shown: Sources | None = None
    shown_since: Moment | None = None
    settled: bool = False
    ours: bool = False
    final_since: Moment | None = None


class _Look(Struct):
    """A key that is looked at again: in the next pass, and once more `grace_ms` after that. Between the last look at an
    entry and its write, a writer may have stood still for any time, so what it wrote over may be newer."""

    stage: int
    at: Moment
    pass_number: int


@lru_cache(maxsize=65_536)
def _fraction(key: str) -> float:
    """0 to 1, another for each key, and the same for ever."""
    return xxhash.xxh3_64_intdigest(key.encode()) / (1 << 64)


@lru_cache(maxsize=65_536)
def _end_ms(key: str) -> int:
    return end_of(*parse_cache_key(key))


class Memory:
    """All waits are measured from pass to pass, on the clock that cannot step."""

    def __init__(self, verify_ms: int, verify_final_ms: int, grace_ms: int, keys_max: int) -> None:
        self._verify_ms = verify_ms
        self._verify_final_ms = verify_final_ms
        self._grace_ms = grace_ms
        self._keys_max = keys_max
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._looks: OrderedDict[str, _Look] = OrderedDict()
        self.pass_number = 0
        self.now = Moment(0)
        self.passed_ms = BEGINNING_MS  # by all shards, as of this pass

    def begin_pass(self, now: Moment) -> None:
        self.pass_number += 1
        self.now = now

    # ------------------------------------------------------------------ what the cache said

    def young(self, key: str) -> Known | None:
        """What is known of a key and young enough to be believed without reading the cache: longer, if it is final, or
        if nothing is there of a time that all shards have passed. Each key has an age of its own, up to twice that of
        another: what one pass has read is not read again by one pass."""
        known = self._known.get(key)
        if known is None:
            return None
        at_rest = _end_ms(key) <= self.passed_ms if known.brief is None else known.brief.final
        most_ms = self._verify_final_ms if at_rest else self._verify_ms
        return known if 2 * (self.now - known.read) < most_ms * (1 + _fraction(key)) else None

    def brief(self, window_ms: int) -> Brief | None:
        """What was last seen of a half hour's entry."""
        known = self._known.get(cache_key(HALF_HOUR, window_ms))
        return None if known is None else known.brief

    def shown(self, key: str) -> bool:
        """Whether there was an entry when the cache was last read or written."""
        known = self._known.get(key)
        return known is not None and known.brief is not None

    def of_this_pass(self, key: str) -> bool:
        known = self._known.get(key)
        return known is not None and known.pass_number == self.pass_number

    def read(self, key: str, entry: Entry | None) -> None:
        """The cache was read. What says less than it did is looked at again."""
        before, brief = self._known.get(key), brief_of(entry)
        known = self._keep(key, brief)
        if before is None:
            return
        known.shown, known.shown_since, known.settled = before.shown, before.shown_since, before.settled
        known.ours, known.final_since = before.ours and before.brief == brief, before.final_since
        if went_back(before.brief, brief):
            self.look_again(key)

    def written(self, key: str, entry: Entry) -> None:
        """We wrote it: equal to nothing yet, as the next pass reads it again."""
        self._keep(key, brief_of(entry)).ours = True
        self.look_again(key)

    def _keep(self, key: str, brief: Brief | None) -> Known:
        known = self._known[key] = Known(brief, self.now, self.pass_number)
        self._known.move_to_end(key)
        while len(self._known) > self._keys_max:
            self._known.popitem(last=False)
        return known

    def forget(self, key: str) -> None:
        self._known.pop(key, None)

    def equal(self, key: str, view: object) -> None:
        if key in self._known:
            self._known[key].equal_to = view

    def hold(self, key: str, until_ms: int) -> None:
        if key in self._known:
            self._known[key].hold_until_ms = until_ms

    def shows(self, key: str, sources: Sources | None) -> bool:
        """The cache was read, and the entry shows these sources (None: not those that it should). Whether it did so in
        an earlier read too, a while ago."""
        known = self._known.get(key)
        if known is None:
            return False
        if sources is None or known.shown != sources:
            known.shown, known.shown_since = sources, self.now
        since = known.shown_since or self.now
        known.settled = sources is not None and self.now - since >= self._grace_ms
        return known.settled

    def ours(self, key: str) -> bool:
        """Whether the entry is as we wrote it ourselves."""
        return key in self._known and self._known[key].ours

    def final_for_ms(self, key: str) -> int:
        """How long ago we first saw that an entry may become final; 0 now."""
        known = self._known.get(key)
        if known is None:
            return 0
        known.final_since = known.final_since or self.now
        return self.now - known.final_since

    def may_settle(self, known: Known) -> bool:
        """Whether the next read would be the one that is long enough after the first."""
        since = known.shown_since
        return (
            not known.settled and known.shown is not None and since is not None and self.now - since >= self._grace_ms
        )

    # ------------------------------------------------------------------ what is looked at again

    def look_again(self, key: str) -> None:
        self._looks[key] = _Look(NEXT_PASS, self.now, self.pass_number)
        self._looks.move_to_end(key)
        while len(self._looks) > self._keys_max:
            self._looks.popitem(last=False)

    def look_at(self, key: str) -> None:
        """Look again, unless that is to come anyway: its second look must not be put off for ever."""
        if key not in self._looks:
            self.look_again(key)

    def due(self, key: str) -> int:
        look = self._looks.get(key)
        if look is None or look.pass_number == self.pass_number:
            return NOT_DUE
        if look.stage == AFTER_GRACE and self.now - look.at < self._grace_ms:
            return NOT_DUE
        return look.stage

    def due_keys(self) -> list[str]:
        return [key for key in self._looks if self.due(key)]

    def looked(self, key: str) -> None:
        """A look that was due found nothing to mend."""
        stage = self.due(key)
        if stage == NEXT_PASS:
            self._looks[key] = _Look(AFTER_GRACE, self.now, self.pass_number)
        elif stage == AFTER_GRACE:
            del self._looks[key]

    def look_later(self, key: str) -> None:
        """The second look found something that could not be mended now."""
        self._looks[key] = _Look(AFTER_GRACE, self.now, self.pass_number)

    def looks_of(self, other: "Memory") -> None:
        """Go on with what another one was still to look at."""
        for key in other._looks:
            self.look_again(key)
