"""What is said of a path: distinct ones as they came go in; as they may be stored, with their hashes, groups and sorts,
they come out. The same few thousand come again and again, so what is said of one is remembered by its hash.
"""

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress
from typing import NamedTuple

import numpy as np
import polars as pl

from sa_stream.records.coded import FEW_VALUES, Coded
from sa_stream.records.columns import Int64s
from sa_stream.records.content_types import sort_of, sorts_of
from sa_stream.records.path_groups import path_group
from sa_stream.records.privacy import Path_Rules, clean_few_paths, clean_paths
from sa_stream.windows.remembered import Remembered, own_secret
from sa_stream.windows.summaries import UInt64s, sorted_distinct
from sa_stream.windows.tables import hashes_of

PATHS_MAX = 65_536  # with more than so many, or so many groups, all are forgotten before the next batch
GROUPS_MAX = 4_096
FIRST_SEGMENT = r"(?s)^(?:/[^/]*/|/|[^/].*)"  # all of a path that its group depends on
_SEEDS_MAX = 2  # months of which there are records at the same time

# What is remembered of a path: 0 for one that is not known; else the number of its group, its sort, and whether it may
# be stored as it came.
_AS_IT_CAME, _SORT, _GROUP = 1, 1, 4  # a bit; where the sort begins, where the group does


class Facts(NamedTuple):
    """Of distinct paths: each one's sort, and where its group stands in `groups`, all of which are some path's."""

    sorts: Int64s
    groups: list[str]
    group_of: Int64s


class _Known_Paths:
    """What was said of paths under one hash secret and some rules. For who holds its lock: the records of a stream are
    folded by one thread, and those of its archive by others."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._said = Remembered()
        self._forget()

    def _forget(self) -> None:
        self._said.forget()
        self._groups = [""]  # numbered from 1
        self._number: dict[str, int] = {}

    def make_room(self) -> None:
        if len(self._said) > PATHS_MAX or len(self._groups) > GROUPS_MAX:
            self._forget()

    def said_of(self, hashes: UInt64s) -> Int64s:
        return self._said.of(hashes)

    def say(self, hashes: UInt64s, paths: Sequence[str], as_they_came: bool) -> None:
        """Of distinct paths as they may be stored. as_they_came: so they came, too."""
        if len(paths) <= FEW_VALUES:
            groups, sorts = self._numbers(map(path_group, paths)), np.array(list(map(sort_of, paths)), np.int64)
        else:
            each, series = np.arange(len(paths)), pl.Series(paths, dtype=pl.String)
            firsts = Coded(each, each, series).shortened(FIRST_SEGMENT)
            groups, sorts = self._numbers(map(path_group, firsts.values))[firsts.codes], sorts_of(series)
        self._said.put(hashes, groups << _GROUP | sorts << _SORT | (_AS_IT_CAME if as_they_came else 0))

    def _numbers(self, groups: Iterable[str]) -> Int64s:
        numbers = []
        for group in groups:
            number = self._number.setdefault(group, len(self._groups))
            if number == len(self._groups):
                self._groups.append(group)
            numbers.append(number)
        return np.array(numbers, np.int64)

    def facts(self, said: Int64s) -> Facts:
        groups = said >> _GROUP
        used = np.zeros(len(self._groups), np.bool_)
        used[groups] = True
        names = [self._groups[number] for number in np.flatnonzero(used).tolist()]
        return Facts(said >> _SORT & (1 << _GROUP - _SORT) - 1, names, (np.cumsum(used) - 1)[groups])


@lru_cache(maxsize=_SEEDS_MAX)
def _known_paths(rules: Path_Rules, seed: int) -> _Known_Paths:
    return _Known_Paths()


def clean_and_known(paths: Coded, rules: Path_Rules, seed: int) -> tuple[Coded, UInt64s, Facts]:
    """Paths as they may be stored, their hashes under a month's secret (0: there is none), and what is said of each."""
    secret = seed or own_secret()
    known = _known_paths(rules, secret)
    with known.lock:
        paths, hashes, facts = _clean_and_known(paths, known, rules, secret)
    return paths, hashes if seed else hashes_of(paths, seed), facts


def _clean_and_known(paths: Coded, known: _Known_Paths, rules: Path_Rules, seed: int) -> tuple[Coded, UInt64s, Facts]:
    known.make_room()
    hashes = hashes_of(paths, seed)
    said = known.said_of(hashes)
    fresh = np.flatnonzero(said & _AS_IT_CAME == 0)
    if not len(fresh):
        return paths, hashes, known.facts(said)
    came = paths.some(fresh)
    cleaned = clean_few_paths(came, rules) if len(came) <= FEW_VALUES else clean_paths(pl.Series(came), rules).to_list()
    kept = np.array([text == path for text, path in zip(cleaned, came, strict=True)], np.bool_)
    known.say(hashes[fresh[kept]], list(compress(came, kept)), as_they_came=True)
    if not kept.all():
        paths, hashes = _changed(paths, hashes, fresh[~kept], list(compress(cleaned, ~kept)), seed)
        new = np.flatnonzero(known.said_of(hashes) == 0)
        known.say(hashes[new], paths.some(new), as_they_came=False)
    return paths, hashes, known.facts(known.said_of(hashes))


def _changed(paths: Coded, hashes: UInt64s, places: Int64s, texts: list[str], seed: int) -> tuple[Coded, UInt64s]:
    """With other texts in some places, which may be equal to others."""
    whole, hashes = paths.values.copy(), hashes.copy()
    for place, text in zip(places.tolist(), texts, strict=True):
        whole[place] = text
    each = np.arange(len(texts))
    hashes[places] = hashes_of(Coded(each, each, texts), seed)
    if len(sorted_distinct(hashes)) == len(hashes):  # quicker to see than to tell them apart anew
        return Coded(paths.codes, paths.first, whole), hashes
    paths = paths.regrouped(pl.Series(whole, dtype=pl.String))
    return paths, hashes_of(paths, seed)
