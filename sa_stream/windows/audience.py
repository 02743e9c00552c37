"""Who asked, from where, and for what: agents, referers, content types and paths of counted records into a window, as
classes and names from closed lists or of hosts. No agent and no path of a referer goes any further than here.

Everything works on distinct values. How many agents of a window are classified is bounded by its records: the first
16,384 different ones are, whoever sends more of them counts as unknown; so it is with the origins of referers.
"""

import re
import threading
from collections import Counter
from functools import cache, lru_cache

import numpy as np

from sa_stream.records.agents import BOT_KNOWN, HUMAN, RULES_VERSION, Agent, Agents_Remembered
from sa_stream.records.coded import Coded
from sa_stream.records.columns import Bools, Int64s
from sa_stream.records.content_types import SORTS, kind_of_sort, kind_of_type, type_of
from sa_stream.records.fields import MISSING
from sa_stream.records.hashing import hash_of
from sa_stream.records.privacy import CACHED_CHARS_MAX
from sa_stream.records.referrers import OTHER, host_of_referrer
from sa_stream.windows.remembered import Remembered, keys_of
from sa_stream.windows.summaries import DISTINCT_EXACT, UInt64s, add_counts, sorted_distinct
from sa_stream.windows.tables import Table, paired
from sa_stream.windows.window import Window

AGENTS_MAX = DISTINCT_EXACT  # of a window that are classified; no more, as up to there all are known by their hashes
HASHES_REMEMBERED = 65_536
PAGE = "page"
NOT_MODIFIED = 304
RULES = frozenset({RULES_VERSION})
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


def add_agents(window: Window, table: Table, views: Bools, seed: int) -> None:
    """Count agents, and records by what their agents are.

    views  which records are views of a page, if a human is behind them
    seed   the hash secret of the window's month
    """
    agents, classes = table.coded("cs-user-agent"), _classes()
    of_each = agents.hashed(seed)
    present = ~np.isin(of_each, [hash_of(value, seed) for value in MISSING])
    chosen = np.flatnonzero(_chosen(window, agents, of_each, present.copy()))
    window.unique_agents.add(of_each[present])
    numbers = np.full(len(agents), classes.nobody)
    numbers[chosen] = classes.of(agents, chosen, keys_of(agents)[chosen])
    totals = np.zeros((len(classes.agents), 3), np.int64)
    added = (agents.numbers(), agents.numbers(table.sizes), agents.numbers(rows=views))
    np.add.at(totals, numbers, np.stack(added, axis=1))
    huge = Counter[int]()
    for row, size in table.huge.items():
        huge[int(numbers[agents.codes[row]])] += size
    first = np.sort(np.unique(numbers, return_index=True)[1])
    for number in numbers[first].tolist():
        count, size, viewed = totals[number].tolist()
        _add_agent(window, classes.agents[number], count, size + huge[number], viewed)
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


def _chosen(window: Window, agents: Coded, hashes: UInt64s, present: Bools) -> Bools:
    """Which of these agents are classified, up to AGENTS_MAX of a window. One that is missing is none of them."""
    known = window.unique_agents.hashes if window.classified is None else window.classified
    chosen, fresh = _within(known, hashes, present, AGENTS_MAX)
    if window.classified is not None or not np.array_equal(chosen, present):
        window.classified = sorted_distinct(np.concatenate((known, fresh)))
        window.unclassified += int(agents.numbers()[present & ~chosen].sum())
    return chosen


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


def add_referrers(window: Window, table: Table, internal: frozenset[str], seed: int) -> None:
    """Count records by the host that their viewers came from; those of origins beyond ORIGINS_MAX as `(other)`."""
    origins, hosts = table.coded("cs-referer").shortened(ORIGIN), table.coded("cs-host")
    hashes = origins.hashed(seed)
    chosen, fresh = _within(window.origins, hashes, np.ones(len(origins), np.bool_), ORIGINS_MAX)
    if len(fresh):
        window.origins = sorted_distinct(np.concatenate((window.origins, fresh)))
    looked_at = np.flatnonzero(chosen)
    if len(looked_at) < len(origins):
        window.unnamed += int(origins.numbers()[~chosen].sum())
    number = np.full(len(origins), len(looked_at))
    number[looked_at] = np.arange(len(looked_at))
    texts = [*origins.some(looked_at), ""]
    places, pairs = paired(Coded(number[origins.codes], np.arange(len(texts)), texts), hosts)
    named = [
        _host_of(texts[origin], hosts.values[host], internal) if origin < len(looked_at) else OTHER
        for origin, host in pairs
    ]
    window.referrers.add(named, places)


def _host_of(referer: str, host: str, internal: frozenset[str]) -> str:
    short = len(referer) + len(host) <= CACHED_CHARS_MAX
    return (_host_cached if short else _host)(referer, host, internal)


def _host(referer: str, host: str, internal: frozenset[str]) -> str:
    return host_of_referrer(referer.encode(), host.encode(), internal)


_host_cached = lru_cache(maxsize=8_192)(_host)


def add_content(window: Window, table: Table, sorts: Int64s) -> Bools:
    """Count records by content type and kind; which of them are views of a page, if a human is behind them. `sorts`: of
    each record what its path tells, as a place in SORTS."""
    types, counts = table.coded("sc-content-type"), window.counts
    numbers = types.numbers().tolist()
    named = [type_of(value.encode()) for value in types.values]
    add_counts(counts["content_types"], [(name, number) for name, number in zip(named, numbers, strict=True) if name])
    kinds = [kind_of_type(name) for name in named]
    add_counts(counts["kinds"], [(kind, n) for kind, n in zip(kinds, numbers, strict=True) if kind is not None])
    pages = np.array([kind == PAGE for kind in kinds], np.bool_)[types.codes]
    rows = np.flatnonzero(np.array([kind is None for kind in kinds], np.bool_)[types.codes])
    if len(rows):
        places, pairs = paired(types.chosen(rows), Coded(sorts[rows], _EVERY_SORT, list(SORTS)))
        found = [kind_of_sort(named[content_type], sort) for content_type, sort in pairs]
        add_counts(counts["kinds"], zip(found, np.bincount(places).tolist(), strict=True))
        pages[rows] = np.array([kind == PAGE for kind in found], np.bool_)[places]
    good = (table.status // 100 == 2) | (table.status == NOT_MODIFIED)
    views: Bools = pages & good & table.where("cs-method", "GET".__eq__)
    return views


_EVERY_SORT = np.arange(len(SORTS))
