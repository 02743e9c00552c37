"""What is said of a path: distinct ones as they came go in; as they may be stored, with their hashes, groups and sorts,
they come out. The same few thousand come again and again, so what is said of one is remembered by its hash.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import NamedTuple

import numpy as np

from sa_stream.records.coded import Coded
from sa_stream.records.columns import Int64s
from sa_stream.records.content_types import sort_of
from sa_stream.records.path_groups import ROOT, path_group
from sa_stream.records.privacy import Path_Rules, clean_paths
from sa_stream.windows.remembered import Remembered, keys_of
from sa_stream.windows.summaries import UInt64s

PATHS_MAX = 65_536  # with more than so many, or so many beginnings, all are forgotten before the next batch
BEGINNINGS_MAX = 4_096
_RULES_MAX = 2
FEW_PATHS = 256  # up to so many are looked at anew, which costs less than to find what was said

# What is remembered of a path: 0 for one that is not known; else the number of its group, its sort, and whether it may
# be stored as it came.
_AS_IT_CAME, _SORT, _GROUP = 1, 1, 4  # a bit; where the sort begins, where the group does


class Facts(NamedTuple):
    """Of distinct paths: each one's sort, and where its group stands in `groups`, all of which are some path's."""

    sorts: Int64s
    groups: list[str]
    group_of: Int64s


class _Known_Paths:
    """What was said of paths under some rules. For who holds its lock: the records of a stream are folded by one
    thread, and those of its archive by others."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._said = Remembered()
        self._forget()

    def _forget(self) -> None:
        self._said.forget()
        self._groups = [""]  # numbered from 1
        self._number: dict[str, int] = {}
        self._said_of_beginning: dict[str, int] = {}

    def make_room(self) -> None:
        if len(self._said) > PATHS_MAX or len(self._said_of_beginning) > BEGINNINGS_MAX:
            self._forget()

    def said_of(self, keys: UInt64s) -> Int64s:
        return self._said.of(keys)

    def say(self, keys: UInt64s, paths: Sequence[str], as_they_came: bool) -> None:
        """Of distinct paths as they may be stored. as_they_came: so they came, too."""
        said = []
        for path in paths:
            beginning = path[: path.find("/", 1) + 1] or ROOT if path[:1] == ROOT else path
            of_beginning = self._said_of_beginning.get(beginning)
            if of_beginning is None:
                of_beginning = self._said_of_beginning[beginning] = self._said_of_a(beginning)
            if "." in path or beginning == ROOT:
                of_beginning = of_beginning & -1 << _GROUP | sort_of(path) << _SORT
            said.append(of_beginning)
        self._said.put(keys, np.array(said, np.int64) | (_AS_IT_CAME if as_they_came else 0))

    def _said_of_a(self, beginning: str) -> int:
        """What is said of a path by its first segment, and all of one that begins with no slash: its group; and its
        sort, if there is no dot in it."""
        group = path_group(beginning)
        number = self._number.setdefault(group, len(self._groups))
        if number == len(self._groups):
            self._groups.append(group)
        return number << _GROUP | sort_of(beginning) << _SORT

    def facts(self, said: Int64s) -> Facts:
        groups = said >> _GROUP
        used = np.zeros(len(self._groups), np.bool_)
        used[groups] = True
        names = [self._groups[number] for number in np.flatnonzero(used).tolist()]
        return Facts(said >> _SORT & (1 << _GROUP - _SORT) - 1, names, (np.cumsum(used) - 1)[groups])


@lru_cache(maxsize=_RULES_MAX)
def _known_paths(rules: Path_Rules) -> _Known_Paths:
    return _Known_Paths()


def clean_and_known(paths: Coded, rules: Path_Rules) -> tuple[Coded, UInt64s, Facts]:
    """Paths as they may be stored, their keys, and what is said of each."""
    if len(paths) <= FEW_PATHS:
        return _clean_few(paths, rules)
    known = _known_paths(rules)
    with known.lock:
        return _clean_and_known(paths, known, rules)


def _clean_few(paths: Coded, rules: Path_Rules) -> tuple[Coded, UInt64s, Facts]:
    paths = paths.with_values(clean_paths(paths.values, rules))
    groups = Coded.of_texts([path_group(path) for path in paths.values])
    sorts = np.array([sort_of(path) for path in paths.values], np.int64)
    return paths, keys_of(paths), Facts(sorts, groups.values, groups.codes)


def _clean_and_known(paths: Coded, known: _Known_Paths, rules: Path_Rules) -> tuple[Coded, UInt64s, Facts]:
    known.make_room()
    keys = keys_of(paths)
    said = known.said_of(keys)
    fresh = np.flatnonzero(said & _AS_IT_CAME == 0)
    if not len(fresh):
        return paths, keys, known.facts(said)
    came = paths.some(fresh)
    cleaned = clean_paths(came, rules)
    kept = np.array([text == path for text, path in zip(cleaned, came, strict=True)], np.bool_)
    known.say(keys[fresh[kept]], list(compress(came, kept)), as_they_came=True)
    if not kept.all():
        paths, keys = _changed(paths, keys, fresh[~kept], list(compress(cleaned, ~kept)), known)
    return paths, keys, known.facts(known.said_of(keys))


def _changed(
    paths: Coded, keys: UInt64s, places: Int64s, texts: list[str], known: _Known_Paths
) -> tuple[Coded, UInt64s]:
    """With other texts in some places, which may be equal to others. What is said of these is known then."""
    changed = Coded.of_texts(texts)
    keys_of_changed = keys_of(changed)
    new = np.flatnonzero(known.said_of(keys_of_changed) == 0)
    known.say(keys_of_changed[new], changed.some(new), as_they_came=False)
    keys = keys.copy()
    keys[places] = keys_of_changed[changed.codes]
    return paths.replaced(places, texts).told_apart_by(keys)
