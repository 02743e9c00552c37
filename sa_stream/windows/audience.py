"""Who asked, from where, and for what: agents, referers, content types and paths of counted records into a window, as
classes and names from closed lists or of hosts. No agent and no path of a referer goes any further than here.

Everything works on distinct values. How many agents of a window are classified is bounded, so that nobody can hold up
a stream: the first 16,384 different ones are, whoever sends more of them counts as unknown; so it is with the origins
of referers. Input that ends holds up nobody: all of them are looked at there, and it does not matter in which order and
by how many processes.
"""

import re
import threading
from collections import Counter
from functools import cache, lru_cache

import numpy as np

from sa_stream.records.agents import BOT_KNOWN, HUMAN, RULES_VERSION, Agent, Agents_Remembered
from sa_stream.records.coded import Coded, counted, numbered
from sa_stream.records.columns import Bools, Int64s
from sa_stream.records.content_types import KINDS, PAGE, SORTS, kind_of_sort, kind_of_type, type_of
from sa_stream.records.fields import MISSING
from sa_stream.records.hashing import hash_of
from sa_stream.records.privacy import CACHED_CHARS_MAX
from sa_stream.records.referrers import INTERNAL, OTHER, Referrer, plain_host, referrer
from sa_stream.windows.remembered import Remembered, keys_of
from sa_stream.windows.summaries import DISTINCT_EXACT, UInt64s, add_counts, sorted_distinct, with_more
from sa_stream.windows.tables import Grouped, Table, grouped
from sa_stream.windows.window import Window

AGENTS_MAX = DISTINCT_EXACT  # of a window that are classified; no more, as up to there all are known by their hashes
HASHES_REMEMBERED = 65_536
FEW_AGENTS = 64  # up to so many are looked up by their texts, which costs less than to find them by their hashes
NOT_MODIFIED = 304
RULES = frozenset({RULES_VERSION})
_UNTOLD = -1
ORIGINS_MAX = 16_384  # of a window whose host is looked at: that takes longer than all else that is done with a record
ORIGIN = re.compile(r"^[A-Za-z-]+://[^/?#]*")  # all of a referer that its host depends on, where there is that much


class _Classes:
    """What agents are, as numbers by which they are counted. Remembers over windows, a bounded number of them. Any
    thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remembered = Agents_Remembered()
        self._numbers: dict[Agent, int] = {}
        self._of_hash = Remembered()
        self.agents: list[Agent] = []  # there are as many as names in the lists of the rules, at most
        self.nobody = self._number(b"")

    def _number(self, text: bytes) -> int:
        agent = self._remembered.of(text)
        if agent not in self._numbers:
            self._numbers[agent] = len(self.agents)
            self.agents.append(agent)
        return self._numbers[agent]

    def of(self, agents: Coded, places: Int64s, hashes: UInt64s) -> Int64s:
        """The numbers of some agents; a hash that was seen need not have its text looked up."""
        with self._lock:
            if len(places) <= FEW_AGENTS:
                return np.array([self._number(text.encode()) for text in agents.some(places)], np.int64)
            if len(self._of_hash) > HASHES_REMEMBERED:
                self._of_hash.forget()
            found = self._of_hash.of(hashes)
            fresh = np.flatnonzero(found == 0)
            if len(fresh):
                texts = agents.some(places[fresh])
                found[fresh] = [1 + self._number(text.encode()) for text in texts]
                self._of_hash.put(hashes[fresh], found[fresh])
            return found - 1


@cache
def _classes() -> _Classes:
    return _Classes()  # with the first agent, as the packages of the rules are loaded then


def add_agents(table: Table, views: Bools, seed: int) -> None:
    """Count agents, and records by what their agents are.

    views  which records are views of a page, if a human is behind them
    seed   the hash secret of the windows' month
    """
    agents, classes = table.coded("cs-user-agent"), _classes()
    groups, hashes = table.grouped(agents), agents.hashed(seed)
    present = np.ones(len(agents), np.bool_)
    for value in MISSING:
        present &= hashes != np.uint64(hash_of(value, seed))
    counts = groups.numbers()
    chosen = _chosen_agents(table, groups, hashes[groups.places], present[groups.places], counts)
    looked_at = np.zeros(len(agents), np.bool_)
    looked_at[groups.places[chosen]] = True
    places = np.flatnonzero(looked_at)
    number = np.full(len(agents), classes.nobody)
    number[places] = classes.of(agents, places, keys_of(agents)[places])
    numbers = np.where(chosen, number[groups.places], classes.nobody)
    totals = np.array((counts, groups.numbers(table.sizes), groups.numbers(rows=views))).T
    _add_classes(table, groups, numbers, totals)


def _chosen_agents(table: Table, groups: Grouped, hashes: UInt64s, present: Bools, counts: Int64s) -> Bools:
    """Which agents of each window are classified, up to AGENTS_MAX of it where the input has no end. One that is
    missing is none of them. They are counted as distinct ones, too."""
    chosen, every, limited = present.copy(), bool(present.all()), not table.bounded
    for window, begin, end in table.each(groups):
        there, of_each = present[begin:end], hashes[begin:end]
        known = window.unique_agents.hashes if window.classified is None else window.classified
        if limited and (window.classified is not None or len(known) + end - begin > AGENTS_MAX):
            chosen[begin:end], fresh = _within(known, of_each, there, AGENTS_MAX)
            if window.classified is not None or not np.array_equal(chosen[begin:end], there):
                window.classified = sorted_distinct(np.concatenate((known, fresh)))
                window.unclassified += int(counts[begin:end][there & ~chosen[begin:end]].sum())
        window.unique_agents.add(of_each if every else of_each[there])
    return chosen


def _add_classes(table: Table, groups: Grouped, numbers: Int64s, totals: Int64s) -> None:
    """numbers, totals: of each agent of each window what it is; and its records, their bytes and views."""
    classes = _classes()
    of_each = np.repeat(np.arange(len(table.windows)), np.diff(groups.bounds))
    told = grouped(numbers, len(classes.agents), of_each, len(table.windows))
    sums = np.zeros((len(told.places), totals.shape[1]), np.int64)
    np.add.at(sums, told.codes, totals)
    huge = Counter[int]()
    for row, size in table.huge.items():
        huge[int(told.codes[groups.codes[row]])] += size
    added, found = sums.tolist(), [classes.agents[number] for number in told.places.tolist()]
    for window, begin, end in table.each(told):
        for place in range(begin, end):
            count, size, viewed = added[place]
            _add_agent(window, found[place], count, size + huge[place], viewed)
        window.rules |= RULES


def _add_agent(window: Window, agent: Agent, number: int, size: int, views: int) -> None:
    counts = window.counts
    add_counts(counts["agent_classes"], [(agent.kind, number)])
    if agent.kind == HUMAN:
        window.page_views += views
        for kind, family in (("browsers", agent.browser), ("systems", agent.system), ("devices", agent.device)):
            add_counts(counts[kind], [(family, number)])
    elif agent.kind == BOT_KNOWN:
        window.add_bot(agent.bot, number, size, agent.ai)


def _within(known: UInt64s, hashes: UInt64s, present: Bools, limit: int) -> tuple[Bools, UInt64s]:
    """Which of the present values are among those that a window looks at: the known ones, and new ones in the order of
    their records, until there are so many; and the hashes of these."""
    fresh = present.copy()
    if len(known):
        fresh &= known.take(np.searchsorted(known, hashes), mode="clip") != hashes
    new = np.flatnonzero(fresh)
    room = max(limit - len(known), 0)
    chosen = present.copy()
    chosen[new[room:]] = False
    return chosen, hashes[new[:room]]


def add_referrers(table: Table, internal: frozenset[str], seed: int) -> None:
    """Count records by the host that their viewers came from; those of origins beyond ORIGINS_MAX as `(other)`, where
    the input has no end."""
    origins, hosts = table.coded("cs-referer").shortened(ORIGIN), table.coded("cs-host")
    groups = table.grouped(origins)
    chosen = np.ones(len(groups.places), np.bool_)
    if not table.bounded:
        chosen = _chosen_origins(table, groups, origins.hashed(seed)[groups.places])
    looked_at = np.where(chosen, groups.places, len(origins))[groups.codes]  # one more for all of the others
    codes, places = numbered(looked_at)
    values = origins.values
    found = [
        Referrer(OTHER) if place == len(origins) else _referrer_of(values[place], internal) for place in places.tolist()
    ]
    own = [plain_host(host) for host in hosts.values]
    number = dict(zip(own, range(len(own)), strict=True))
    of_host = np.array([number[host] for host in own], np.int64)[hosts.codes]
    of_origin = np.array([number.get(each.host, -1) if each.host else -1 for each in found], np.int64)[codes]
    is_own = of_origin == of_host
    names, used = numbered(np.where(is_own, len(found), codes))
    named = [*(each.name for each in found), INTERNAL]
    table.add_names((window.referrers for window in table.windows), names, [named[place] for place in used.tolist()])


def _chosen_origins(table: Table, groups: Grouped, hashes: UInt64s) -> Bools:
    """Which origins of each window are looked at, up to ORIGINS_MAX of it."""
    chosen, counts = np.ones(len(hashes), np.bool_), groups.numbers()
    for window, begin, end in table.each(groups):
        of_each = hashes[begin:end]
        if len(window.origins) + end - begin > ORIGINS_MAX:
            chosen[begin:end], of_each = _within(window.origins, of_each, chosen[begin:end], ORIGINS_MAX)
            window.unnamed += int(counts[begin:end][~chosen[begin:end]].sum())
        window.origins = with_more(window.origins, of_each)
    return chosen


def _referrer_of(origin: str, internal: frozenset[str]) -> Referrer:
    return (_referrer_cached if len(origin) <= CACHED_CHARS_MAX else _referrer)(origin, internal)


def _referrer(origin: str, internal: frozenset[str]) -> Referrer:
    return referrer(origin.encode(), internal)


_referrer_cached = lru_cache(maxsize=8_192)(_referrer)


def add_content(table: Table, sorts: Int64s) -> Bools:
    """Count records by content type and kind; which of them are views of a page, if a human is behind them. `sorts`: of
    each record what its path tells, as a place in SORTS."""
    types = table.coded("sc-content-type")
    groups, named = table.grouped(types), [type_of(value.encode()) for value in types.values]
    found = [named[place] or None for place in groups.places.tolist()]
    kinds = _kinds(types, named, sorts)
    of_each = counted(table.window_of * len(KINDS) + kinds, len(table.windows) * len(KINDS))
    by_kind, numbers = of_each.reshape(-1, len(KINDS)).tolist(), groups.numbers().tolist()
    for (window, begin, end), of_window in zip(table.each(groups), by_kind, strict=True):
        add_counts(
            window.counts["content_types"], zip(found[begin:end], numbers[begin:end], strict=True), table.bounded
        )
        add_counts(window.counts["kinds"], ((kind, n) for kind, n in zip(KINDS, of_window, strict=True) if n))
    good = (table.status // 100 == 2) | (table.status == NOT_MODIFIED)
    views: Bools = (kinds == KINDS.index(PAGE)) & good & table.where("cs-method", "GET".__eq__)
    return views


def _kinds(types: Coded, named: list[str], sorts: Int64s) -> Int64s:
    """Of each record its kind, as a place in KINDS. `named`: the types as `type_of` gives them."""
    told = np.array([_UNTOLD if kind is None else KINDS.index(kind) for kind in map(kind_of_type, named)], np.int64)
    kinds: Int64s = told[types.codes]
    rows = np.flatnonzero(kinds == _UNTOLD)
    if len(rows):
        codes, pairs = numbered(types.codes[rows] * len(SORTS) + sorts[rows])
        found = [kind_of_sort(named[pair // len(SORTS)], pair % len(SORTS)) for pair in pairs.tolist()]
        kinds[rows] = np.array([KINDS.index(kind) for kind in found], np.int64)[codes]
    return kinds
