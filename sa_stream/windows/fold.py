"""Columns of counted records into a window: the one place where records become numbers.

Distinct values are looked at one by one; how they are counted, for many records or few, is the table's. What has few
distinct values (status, times) is understood per distinct value.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import NamedTuple

import numpy as np

from sa_stream.records.coded import Coded
from sa_stream.records.columns import FEW_ROWS, NO_STATUS, Bools, Columns, Lists
from sa_stream.records.content_types import sort_of
from sa_stream.records.fields import MISSING, NO_VALUE, RESULT_TYPE
from sa_stream.records.hashing import hash_of
from sa_stream.records.intake import Intake
from sa_stream.records.micros import DURATIONS, NO_TIME, distinct_micros
from sa_stream.records.path_groups import path_group
from sa_stream.records.privacy import Path_Rules, clean_host, clean_paths, clean_value
from sa_stream.records.request_ids import REQUEST_ID
from sa_stream.timing import MINUTE_MS, month_of
from sa_stream.windows.audience import add_agents, add_content, add_referrers
from sa_stream.windows.known_paths import clean_and_known
from sa_stream.windows.paths import SUMS
from sa_stream.windows.summaries import (
    OTHER,
    Int64s,
    UInt64s,
    add_counts,
    distinct,
)
from sa_stream.windows.tables import Counts, Many, Table, table_of
from sa_stream.windows.window import MINUTES, PER_MINUTE, Window

COUNTED_FIELDS = {  # kind of count -> column
    "methods": "cs-method",
    "protocols": "cs-protocol",
    "hosts": "cs-host",
    "edges": "x-edge-location",
    "results": RESULT_TYPE,
    "http_versions": "cs-protocol-version",
    "tls_versions": "ssl-protocol",
    "countries": "c-country",
}
TIME_TAKEN = DURATIONS[0]
# A good number of records for one fold of a stream: its fixed cost stops to matter, and while it runs nobody else's
# records are read, which is for less than 40 ms.
FOLD_ROWS = 40_000
LONG_PROTOCOLS = ("ws", "wss", "grpc", "grpcs")
SWITCHING_PROTOCOLS = 101  # the status of a WebSocket
EVENT_STREAM = "text/event-stream"
WINDOWS_TOGETHER = 256  # so many with few records each are folded together
_COUNTRY = re.compile("[A-Z]{2}|T1")  # T1: Tor


@dataclass(slots=True)
class Hashed:
    """Hashes of the chosen rows' request ids, each under the secret of its window's month."""

    request_ids: UInt64s
    has_request_id: Bools


def hash_columns(columns: Columns, starts: Int64s, chosen: Bools, seeds: Mapping[str, int]) -> Hashed:
    every = bool(chosen.all())
    months: dict[str, list[int]] = {}
    for start in distinct(starts if every else starts[chosen]):
        months.setdefault(month_of(start), []).append(start)
    if isinstance(columns.table, dict):
        seed_of = {start: seeds[month] for month, members in months.items() for start in members}
        return _hashed_few(columns.table, [seed_of.get(start) for start in starts.tolist()], chosen)
    if every and len(months) == 1:
        return Hashed(*columns.table.request_ids.hashed(seeds[next(iter(months))]))
    rows = len(columns)
    result = Hashed(np.zeros(rows, np.uint64), chosen.copy())
    for month, members in months.items():
        mask = chosen & np.isin(starts, members)
        hashed = columns.table.request_ids.taken(np.flatnonzero(mask)).hashed(seeds[month])
        result.request_ids[mask], result.has_request_id[mask] = hashed
    return result


def _hashed_few(lists: Lists, seeds: Sequence[int | None], chosen: Bools) -> Hashed:
    """The same of few rows; the seed of those that are not chosen is not needed."""
    values = [NO_VALUE if value is None else value for value in lists[REQUEST_ID]]
    hashes = [0 if seed is None else hash_of(value, seed) for value, seed in zip(values, seeds, strict=True)]
    present = np.array([value != NO_VALUE for value in values], np.bool_) & chosen
    return Hashed(np.array(hashes, np.uint64), present)


class Part(NamedTuple):
    """Records of one window. `rows`: their places, ascending; `seed`: the hash secret of the window's month."""

    window: Window
    rows: Int64s
    seed: int


def parted(starts: Int64s, chosen: Bools) -> list[tuple[int, Int64s]]:
    """The windows of the chosen records, ascending, and for each the places of its records, in order."""
    places = np.flatnonzero(chosen)
    of_each = starts[places]
    if not len(places) or of_each.min() == of_each.max():  # the ordinary case
        return [(int(start), places) for start in of_each[:1]]
    order = np.argsort(of_each, kind="stable")
    ordered = of_each[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    return list(zip(ordered[begins].tolist(), np.split(places[order], begins[1:]), strict=True))


def fold(parts: Sequence[Part], columns: Columns, intake: Intake) -> None:
    """Add records to the windows that they belong to."""
    for part in parts:
        if len(part.rows) > FEW_ROWS:
            _fold([part], columns.chosen(part.rows), intake)
    few = (part for part in parts if len(part.rows) <= FEW_ROWS)
    for together in batched(few, WINDOWS_TOGETHER):
        rows = np.concatenate([part.rows for part in together])
        _fold(together, columns.chosen(rows).as_lists(), intake)


def _fold(parts: Sequence[Part], columns: Columns, intake: Intake) -> None:
    """Add these records to the windows of the parts, to which they belong one after the other."""
    table, lengths = table_of(columns), [len(part.rows) for part in parts]
    minutes = _minutes(columns.event_ms, table, np.repeat(np.arange(len(parts)), lengths), len(parts))
    lasting = _lasting(table)
    offered = intake.lists.offered  # the others are nowhere to be counted
    counted = {kind: field for kind, field in COUNTED_FIELDS.items() if field == RESULT_TYPE or field in offered}
    end = 0
    for (window, _, seed), length, numbers in zip(parts, lengths, minutes, strict=True):
        if not length:
            continue
        begin, end = end, end + length
        alone = table.part(begin, end)
        window.total_requests += length
        window.total_bytes += int(alone.sizes.sum()) + sum(alone.huge.values())
        window.add_minutes(numbers)
        _count_statuses(window, alone)
        _count_values(window, alone, seed, counted)
        taken_us = _add_times(window, alone, lasting[begin:end])
        views = add_content(window, alone, _add_paths(window, alone, taken_us, intake.rules, seed))
        add_referrers(window, alone, intake.internal_hosts, seed)
        add_agents(window, alone, views, seed)


def _count_values(window: Window, table: Table, seed: int, fields: Mapping[str, str]) -> None:
    """fields: kind of count -> column, of COUNTED_FIELDS those that records have."""
    for kind, field in fields.items():
        counts, counted = window.counts[kind], table.counted(field)
        if kind == "hosts":
            named = _named_hosts(table, counted)
        elif kind == "countries":
            there = ((value, number) for value, number in counted.items() if value not in MISSING)
            named = [(value if _COUNTRY.fullmatch(value) else OTHER, number) for value, number in there]
        else:
            named = [(clean_value(value), number) for value, number in counted.items() if value not in MISSING]
        if kind == "edges":
            fresh = [hash_of(value, seed) for value, _ in named if value not in counts]
            if fresh:
                window.unique_edges.add(np.array(fresh, np.uint64))
        add_counts(counts, named)


def _named_hosts(table: Table, counted: Counts) -> list[tuple[str, int]]:
    if not any(":" in value for value in counted):
        return [(clean_host(value), number) for value, number in counted.items() if value not in MISSING]
    pairs = table.counted_pairs("cs-host", "cs-protocol")  # whose own port it is
    return [(clean_host(*pair), number) for pair, number in pairs.items() if pair[0] and pair[0] not in MISSING]


def _count_statuses(window: Window, table: Table) -> None:
    statuses = window.counts["status"]
    numbers = np.bincount(table.status - NO_STATUS)[1:]  # a list may lack sc-status
    for code in np.flatnonzero(numbers).tolist():
        name = f"{code:03d}"
        statuses[name] = statuses.get(name, 0) + int(numbers[code])


def _minutes(event_ms: Int64s, table: Table, window_of: Int64s, windows: int) -> list[list[list[int]]]:
    """What `add_minutes` takes, of each of some windows. `window_of`: which of them each record belongs to."""
    minutes = event_ms // MINUTE_MS
    cell = (window_of - minutes // MINUTES) * MINUTES + minutes
    shape, cells = (windows, MINUTES), windows * MINUTES
    classes = np.maximum(table.status, 0) // 100
    by_class = np.bincount(cell * 10 + classes, minlength=cells * 10).reshape(*shape, 10)
    sizes = np.zeros(cells, np.int64)
    np.add.at(sizes, cell, table.sizes)
    hits = table.where(RESULT_TYPE, "Hit".__eq__)
    hit = np.bincount(cell[hits], minlength=cells)
    rows = [by_class.sum(axis=2), by_class[:, :, 4], by_class[:, :, 5], sizes.reshape(shape), hit.reshape(shape)]
    numbers: list[list[list[int]]] = np.stack(rows, axis=1).tolist()
    for row, size in table.huge.items():  # as Python integers, which do not overflow
        window, minute = divmod(int(cell[row]), MINUTES)
        numbers[window][PER_MINUTE.index("bytes")][minute] += size
    return numbers


def _lasting(table: Table) -> Bools:
    """Connections that last as long as somebody stays."""
    rows: Bools = table.status == SWITCHING_PROTOCOLS
    rows |= table.where("cs-protocol", LONG_PROTOCOLS.__contains__)
    rows |= table.where("sc-content-type", _is_event_stream)
    return rows


def _add_times(window: Window, table: Table, stays: Bools) -> Int64s:
    """Count durations of all but what lasts; of each record the microseconds of time-taken, NO_TIME where that has
    none."""
    lasts = bool(stays.any())
    of_each = dict[str, Int64s]()
    for field, durations in zip(DURATIONS, (window.time_taken, window.ttfb, window.origin), strict=True):
        micros = table.micros(field)
        of_each[field] = np.where(stays, NO_TIME, micros.values) if lasts else micros.values
        durations.add(*distinct_micros(of_each[field]))
        long = Counter(us for row, us in micros.long.items() if not stays[row])
        durations.add_long(list(long), list(long.values()))
    return of_each[TIME_TAKEN]


def _is_event_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].replace("%20", " ").strip(" ").lower() == EVENT_STREAM


def _path_sums(table: Table, taken_us: Int64s) -> dict[str, Int64s]:
    """Of each record what it adds to each of SUMS of its path."""
    timed = taken_us >= 0
    flags = {
        "hits": table.where(RESULT_TYPE, "Hit".__eq__),
        "misses": table.where(RESULT_TYPE, "Miss".__eq__),
        "status_4xx": table.status // 100 == 4,
        "status_5xx": table.status // 100 == 5,
        "times": timed,
    }
    sums = {name: flag.astype(np.int64) for name, flag in flags.items()}
    sums |= {"bytes": table.sizes, "time_us": np.where(timed, taken_us, 0)}
    return {name: sums[name] for name in SUMS}


def _add_paths(window: Window, table: Table, taken_us: Int64s, rules: Path_Rules, seed: int) -> Int64s:
    """Count paths and their groups; of each record what its path tells, as a place in SORTS."""
    paths, sums = table.coded("cs-uri-stem"), _path_sums(table, taken_us)
    if isinstance(table, Many):
        return _add_many_paths(window, table, paths, sums, rules, seed)
    paths = Coded(paths.codes, paths.first, clean_paths(paths.values, rules))
    window.unique_paths.add(np.array([hash_of(path, seed) for path in set(paths.values)], np.uint64))
    in_order = [paths.values[code] for code in paths.codes.tolist()]
    window.paths.add_few(in_order, {name: of_each.tolist() for name, of_each in sums.items()}, _huge(table, paths))
    window.path_groups.add([path_group(path) for path in paths.values], paths.codes)
    return np.array([sort_of(path) for path in paths.values], np.int64)[paths.codes]


def _add_many_paths(
    window: Window, table: Table, paths: Coded, sums: Mapping[str, Int64s], rules: Path_Rules, seed: int
) -> Int64s:
    paths, keys, facts = clean_and_known(paths, rules)
    window.unique_paths.add(paths.hashed(seed))
    window.paths.add(paths, keys, sums, _huge(table, paths))
    window.path_groups.add(facts.groups, facts.group_of[paths.codes])
    return facts.sorts[paths.codes]


def _huge(table: Table, paths: Coded) -> list[tuple[int, str, int]]:
    rows = sorted(table.huge)
    return (
        [(row, path, table.huge[row]) for row, path in zip(rows, paths.some(paths.codes[rows]), strict=True)]
        if rows
        else []
    )
