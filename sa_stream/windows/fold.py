"""Columns of counted records into a window: the one place where records become numbers.

Windows of a batch are looked at together, and distinct values one by one (`tables`). What has few of them (status,
times) is understood per distinct value.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import batched, groupby
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from sa_stream.records.coded import Coded, counted
from sa_stream.records.columns import NO_STATUS, Bools, Columns, Lists
from sa_stream.records.fields import MISSING, NO_VALUE, RESULT_TYPE
from sa_stream.records.hashing import hash_of
from sa_stream.records.intake import Intake
from sa_stream.records.micros import DURATIONS, NO_TIME, numbered_micros
from sa_stream.records.privacy import Path_Rules, clean_host, clean_value
from sa_stream.records.request_ids import REQUEST_ID
from sa_stream.timing import MINUTE_MS, month_of
from sa_stream.windows.audience import add_agents, add_content, add_referrers
from sa_stream.windows.known_paths import clean_and_known
from sa_stream.windows.paths import SUMS, numbers_of
from sa_stream.windows.summaries import (
    OTHER,
    Durations,
    Int64s,
    UInt64s,
    add_counts,
    buckets_of,
    distinct,
)
from sa_stream.windows.tables import Grouped, Table, paired
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
WINDOWS_TOGETHER = 512  # so many are folded at once, which bounds what is told of each minute
_COUNTRY = re.compile("[A-Z]{2}|T1")  # T1: Tor


class Hashed(Struct):
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


def fold(parts: Sequence[Part], columns: Columns, intake: Intake, bounded: bool = False) -> None:
    """Add records to the windows that they belong to. `bounded`: as in Table."""
    some = [part for part in parts if len(part.rows)]
    for seed, same in groupby(some, key=lambda part: part.seed):
        for together in batched(same, WINDOWS_TOGETHER):
            lengths = [len(part.rows) for part in together]
            rows = np.concatenate([part.rows for part in together])
            table = Table(columns.chosen(rows), [part.window for part in together], lengths, bounded)
            _fold(table, seed, intake)


def _fold(table: Table, seed: int, intake: Intake) -> None:
    """Add the records of a table to its windows. seed: the hash secret of their month."""
    offered = intake.lists.offered  # the others are nowhere to be counted
    counted_fields = {kind: field for kind, field in COUNTED_FIELDS.items() if field == RESULT_TYPE or field in offered}
    _add_totals(table)
    _count_statuses(table)
    _count_values(table, seed, counted_fields)
    taken_us = _add_times(table, _lasting(table))
    views = add_content(table, _add_paths(table, taken_us, intake.rules, seed))
    add_referrers(table, intake.internal_hosts, seed)
    add_agents(table, views, seed)


def _count_values(table: Table, seed: int, fields: Mapping[str, str]) -> None:
    """fields: kind of count -> column, of COUNTED_FIELDS those that records have."""
    for kind, field in fields.items():
        names, groups = _named_hosts(table) if kind == "hosts" else _named(table, kind, field)
        named, numbers = [names[place] for place in groups.places.tolist()], groups.numbers().tolist()
        for window, begin, end in table.each(groups):
            counts = window.counts[kind]
            if kind == "edges":
                found = (name for name in named[begin:end] if name is not None and name not in counts)
                fresh = [hash_of(name, seed) for name in found]
                if fresh:
                    window.unique_edges.add(np.array(fresh, np.uint64))
            add_counts(counts, zip(named[begin:end], numbers[begin:end], strict=True), table.bounded)


def _named(table: Table, kind: str, field: str) -> tuple[list[str | None], Grouped]:
    """The distinct values of a column as they may be stored, None for a missing one; and those of each window."""
    column = table.coded(field)
    clean = _country if kind == "countries" else clean_value
    return [None if value in MISSING else clean(value) for value in column.values], table.grouped(column)


def _country(value: str) -> str:
    return value if _COUNTRY.fullmatch(value) else OTHER


def _named_hosts(table: Table) -> tuple[list[str | None], Grouped]:
    hosts = table.coded("cs-host")
    if not any(":" in value for value in hosts.values):
        return [None if value in MISSING else clean_host(value) for value in hosts.values], table.grouped(hosts)
    protocols = table.coded("cs-protocol")  # whose own port it is
    codes, pairs = paired(hosts.codes, len(hosts), protocols)
    named = [
        None if hosts.values[host] in MISSING else clean_host(hosts.values[host], protocols.values[protocol])
        for host, protocol in pairs
    ]
    return named, table.of_each(codes, len(pairs))


def _count_statuses(table: Table) -> None:
    codes = table.status - NO_STATUS
    width = int(codes.max()) + 1
    numbers = np.bincount(table.window_of * width + codes)
    found = np.flatnonzero(numbers)
    for key, number in zip(found.tolist(), numbers[found].tolist(), strict=True):
        place, code = divmod(key, width)
        if code:  # a list may lack sc-status
            statuses, name = table.windows[place].counts["status"], f"{code + NO_STATUS:03d}"
            statuses[name] = statuses.get(name, 0) + number


def _add_totals(table: Table) -> None:
    """Count records and bytes, and what is told of each minute."""
    minutes = table.event_ms // MINUTE_MS
    cell = (table.window_of - minutes // MINUTES) * MINUTES + minutes
    shape, cells = (len(table.windows), MINUTES), len(table.windows) * MINUTES
    classes = np.maximum(table.status, 0) // 100
    by_class = np.bincount(cell * 10 + classes, minlength=cells * 10).reshape(*shape, 10)
    sizes = counted(cell, cells, table.sizes)
    hit = counted(cell, cells, rows=table.where(RESULT_TYPE, "Hit".__eq__))
    rows = [by_class.sum(axis=2), by_class[:, :, 4], by_class[:, :, 5], sizes.reshape(shape), hit.reshape(shape)]
    numbers: list[list[list[int]]] = np.array(rows).swapaxes(0, 1).tolist()
    for row, size in table.huge.items():  # as Python integers, which do not overflow
        place, minute = divmod(int(cell[row]), MINUTES)
        numbers[place][PER_MINUTE.index("bytes")][minute] += size
    for window, of_window, begin, end in zip(table.windows, numbers, table.bounds, table.bounds[1:], strict=False):
        window.total_requests += end - begin
        window.total_bytes += sum(of_window[PER_MINUTE.index("bytes")])
        window.add_minutes(of_window)


def _lasting(table: Table) -> Bools:
    """Connections that last as long as somebody stays."""
    rows: Bools = table.status == SWITCHING_PROTOCOLS
    rows |= table.where("cs-protocol", LONG_PROTOCOLS.__contains__)
    rows |= table.where("sc-content-type", _is_event_stream)
    return rows


def _is_event_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].replace("%20", " ").strip(" ").lower() == EVENT_STREAM


def _add_times(table: Table, stays: Bools) -> Int64s:
    """Count durations of all but what lasts; of each record the microseconds of time-taken, NO_TIME where that has
    none."""
    lasts = bool(stays.any())
    of_field = dict[str, Int64s]()
    for field, name in zip(DURATIONS, ("time_taken", "ttfb", "origin"), strict=True):
        micros, durations = table.micros(field), [getattr(window, name) for window in table.windows]
        of_field[field] = np.where(stays, NO_TIME, micros.values) if lasts else micros.values
        _add_micros(table, durations, of_field[field])
        long = dict[int, Counter[int]]()  # of a window all at once: strangers choose how many there are
        for row, us in micros.long.items():
            if not stays[row]:
                long.setdefault(int(table.window_of[row]), Counter())[us] += 1
        for place, numbers in long.items():
            durations[place].add_long([*numbers], [*numbers.values()])
    return of_field[TIME_TAKEN]


def _add_micros(table: Table, durations: Sequence[Durations], micros: Int64s) -> None:
    """micros: of each record, NO_TIME where it has none."""
    rows = np.flatnonzero(micros >= 0)
    codes, values = numbered_micros(micros[rows])
    groups = table.of_each(codes, len(values), rows)
    values, numbers = values[groups.places], groups.numbers()
    of_each = np.repeat(np.arange(len(durations)), np.diff(groups.bounds))
    counts, sums_us = counted(of_each, len(durations), numbers), counted(of_each, len(durations), values * numbers)
    most_us = np.zeros(len(durations), np.int64)
    np.maximum.at(most_us, of_each, values)
    summed = zip(counts.tolist(), sums_us.tolist(), most_us.tolist(), strict=True)  # each value is below LONG_US
    buckets = buckets_of(values)
    for of_window, sums, (_, begin, end) in zip(durations, summed, table.each(groups), strict=True):
        if begin < end:
            of_window.add_sum(*sums, buckets[begin:end], numbers[begin:end])


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


def _add_paths(table: Table, taken_us: Int64s, rules: Path_Rules, seed: int) -> Int64s:
    """Count paths and their groups; of each record what its path tells, as a place in SORTS."""
    paths, keys, facts = clean_and_known(table.coded("cs-uri-stem"), rules)
    groups, sums, bytes_at_most = table.grouped(paths), _path_sums(table, taken_us), paths.bytes_at_most
    hashes, keys_of_each = paths.hashed(seed)[groups.places], keys[groups.places]
    numbers = numbers_of(groups.codes, len(groups.places), sums)
    huge = _huge(table, paths)
    huge_bounds = np.searchsorted([row for row, _, _ in huge], table.bounds).tolist()
    for place, (window, begin, end) in enumerate(table.each(groups)):
        window.unique_paths.add(hashes[begin:end])
        first, last = table.bounds[place : place + 2]
        begin_huge, end_huge = huge_bounds[place : place + 2]
        own_huge = [(row - first, path, number) for row, path, number in huge[begin_huge:end_huge]]
        own_keys = keys_of_each[begin:end]
        if window.paths.has_room(end - begin, bytes_at_most):
            texts_at = partial(_texts_at, paths, groups.places[begin:end])
            window.paths.add_distinct(own_keys, numbers[begin:end], texts_at, own_huge)
        else:  # where it is cut depends on their order
            own_sums = {name: of_each[first:last] for name, of_each in sums.items()}
            window.paths.add(paths.taken(np.arange(first, last)), own_keys, own_sums, own_huge)
    table.add_names((window.path_groups for window in table.windows), facts.group_of[paths.codes], facts.groups)
    return facts.sorts[paths.codes]


def _texts_at(paths: Coded, places: Int64s, some: Int64s) -> list[bytes]:
    return paths.some_bytes(places[some])


def _huge(table: Table, paths: Coded) -> list[tuple[int, str, int]]:
    rows = sorted(table.huge)
    return (
        [(row, path, table.huge[row]) for row, path in zip(rows, paths.some(paths.codes[rows]), strict=True)]
        if rows
        else []
    )
