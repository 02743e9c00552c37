"""Columns of counted records into a window: the one place where records become numbers.

Distinct values are looked at one by one; how they are counted, for many records or few, is the table's. What has few
distinct values (status, times) is understood per distinct value.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import batched
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars_hash as plh
import xxhash

from sa_stream.records.columns import FEW_ROWS, NO_STATUS, Bools, Columns, Lists
from sa_stream.records.fields import MISSING, NO_VALUE, RESULT_TYPE
from sa_stream.records.intake import Intake
from sa_stream.records.parser import NUMBER, NUMBER_DIGITS_MAX
from sa_stream.records.privacy import Path_Rules, clean_few_paths, clean_host, clean_paths, clean_value
from sa_stream.timing import MINUTE_MS, month_of
from sa_stream.windows.paths import grouped_paths
from sa_stream.windows.summaries import DURATION_US_MAX, VALUES_MAX, Int64s, UInt64s, add_counts, distinct
from sa_stream.windows.tables import Counts, Few, Table, table_of
from sa_stream.windows.window import MINUTES, PER_MINUTE, Window

COUNTED_FIELDS = {  # kind of count -> column
    "methods": "cs-method",
    "protocols": "cs-protocol",
    "hosts": "cs-host",
    "edges": "x-edge-location",
    "results": RESULT_TYPE,
}
TIMES = ("time-taken", "time-to-first-byte")
FOLDED = (*COUNTED_FIELDS.values(), *TIMES, "cs-uri-stem", "sc-content-type", "status", "bytes")
FOLD_ROWS = (
    40_000  # a good number of records for one fold: its fixed cost stops to matter, and it takes well below 0.1 s
)
LONG_PROTOCOLS = ("ws", "wss", "grpc", "grpcs")
SWITCHING_PROTOCOLS = 101  # the status of a WebSocket
EVENT_STREAM = "text/event-stream"
WINDOWS_TOGETHER = 256  # so many with few records each are folded together
KNOWN_MICROS_MAX = 100_000
_NUMBER = re.compile(NUMBER, re.ASCII)
_EXACT = Context(prec=NUMBER_DIGITS_MAX + 6)  # the usual one rounds to 28 digits


def hash_expression(field: str, seed: int) -> pl.Expr:
    """xxh3-64 of each text of a column (null stays null), the same as xxhash's."""
    return plh.col(field).nchash.xxh3_64(seed=seed)  # type: ignore[no-any-return]


def hash_of(value: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(value.encode(), seed)


@dataclass(slots=True)
class Hashed:
    """Hashes of the chosen rows' request ids and user agents, each under the secret of its window's month."""

    request_ids: UInt64s
    has_request_id: Bools
    agents: UInt64s
    has_agent: Bools

    def chosen(self, rows: Int64s) -> "Hashed":
        return Hashed(self.request_ids[rows], self.has_request_id[rows], self.agents[rows], self.has_agent[rows])


def hash_columns(columns: Columns, starts: Int64s, chosen: Bools, seeds: Mapping[str, int]) -> Hashed:
    every = bool(chosen.all())
    months: dict[str, list[int]] = {}
    for start in distinct(starts if every else starts[chosen]):
        months.setdefault(month_of(start), []).append(start)
    if isinstance(columns.table, dict):
        seed_of = {start: seeds[month] for month, members in months.items() for start in members}
        return _hashed_few(columns.table, [seed_of.get(start) for start in starts.tolist()], chosen)
    if every and len(months) == 1:
        return _hashed(columns.frame, seeds[next(iter(months))])
    rows = len(columns)
    result = Hashed(np.zeros(rows, np.uint64), chosen.copy(), np.zeros(rows, np.uint64), chosen.copy())
    for month, members in months.items():
        mask = chosen & np.isin(starts, members)
        part = _hashed(columns.frame.filter(pl.Series(mask)), seeds[month])
        result.request_ids[mask], result.has_request_id[mask] = part.request_ids, part.has_request_id
        result.agents[mask], result.has_agent[mask] = part.agents, part.has_agent
    return result


def _hashed(frame: pl.DataFrame, seed: int) -> Hashed:
    values = frame.select(hash_expression("x-edge-request-id", seed), hash_expression("cs-user-agent", seed))
    return Hashed(
        *_present(values["x-edge-request-id"], seed),
        *_present(values["cs-user-agent"], seed),
    )


def _hashed_few(lists: Lists, seeds: Sequence[int | None], chosen: Bools) -> Hashed:
    """The same of few rows; the seed of those that are not chosen is not needed."""
    arrays: list[Any] = []
    for name in ("x-edge-request-id", "cs-user-agent"):
        values = [NO_VALUE if value is None else value for value in lists[name]]
        hashes = [0 if seed is None else hash_of(value, seed) for value, seed in zip(values, seeds, strict=True)]
        present = np.array([value != NO_VALUE for value in values], np.bool_) & chosen
        arrays += [np.array(hashes, np.uint64), present]
    return Hashed(*arrays)


def _present(hashed: pl.Series, seed: int) -> tuple[UInt64s, Bools]:
    """The hashes, and which of them are of a value that is not missing."""
    values: UInt64s = (hashed.fill_null(0) if hashed.null_count() else hashed).to_numpy()
    present: Bools = values != hash_of(NO_VALUE, seed)
    if hashed.null_count():
        present &= ~hashed.is_null().to_numpy()
    return values, present


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


def fold(parts: Sequence[Part], columns: Columns, hashed: Hashed, intake: Intake) -> None:
    """Add records to the windows that they belong to. `hashed` is theirs."""
    for part in parts:
        if len(part.rows) > FEW_ROWS:
            _fold([part], columns.chosen(part.rows), hashed.chosen(part.rows), intake.rules)
    few = (part for part in parts if len(part.rows) <= FEW_ROWS)
    for together in batched(few, WINDOWS_TOGETHER):
        rows = np.concatenate([part.rows for part in together])
        _fold(together, columns.chosen(rows).as_lists(FOLDED), hashed.chosen(rows), intake.rules)


def _fold(parts: Sequence[Part], columns: Columns, hashed: Hashed, rules: Path_Rules) -> None:
    """Add these records to the windows of the parts, to which they belong one after the other."""
    table, lengths = table_of(columns), [len(part.rows) for part in parts]
    minutes = _minutes(columns.event_ms, table, np.repeat(np.arange(len(parts)), lengths), len(parts))
    lasting = _lasting(table)
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
        _count_values(window, alone, seed)
        stays = lasting[begin:end]
        _add_times(window, alone.without(stays, TIMES) if stays.any() else alone)
        agents, known = hashed.agents[begin:end], hashed.has_agent[begin:end]
        window.unique_agents.add(agents if known.all() else agents[known])
        _add_paths(window, alone, rules, seed)


def _count_values(window: Window, table: Table, seed: int) -> None:
    for kind, field in COUNTED_FIELDS.items():
        counts, counted = window.counts[kind], table.counted(field)
        if len(counts) + len(counted) > VALUES_MAX:  # then the order decides which names are kept
            counted = table.in_order(field)
        if kind == "hosts":
            named = _named_hosts(table, counted)
        else:
            named = [
                (clean_value(value), number) for value, number in counted.items() if value and value not in MISSING
            ]
        if kind == "edges":
            fresh = [hash_of(value, seed) for value, _ in named if value not in counts]
            if fresh:
                window.unique_edges.add(np.array(fresh, np.uint64))
        add_counts(counts, named)


def _named_hosts(table: Table, counted: Counts) -> list[tuple[str, int]]:
    if not any(value and ":" in value for value in counted):
        return [(clean_host(value), number) for value, number in counted.items() if value and value not in MISSING]
    pairs = table.in_order("cs-host", "cs-protocol")  # whose own port it is
    return [(clean_host(*pair), number) for pair, number in pairs.items() if pair[0] and pair[0] not in MISSING]


def _count_statuses(window: Window, table: Table) -> None:
    statuses = window.counts["status"]
    for code, number in table.counted("status").items():
        if code != NO_STATUS:  # a list may lack sc-status
            name = f"{code:03d}"
            statuses[name] = statuses.get(name, 0) + number


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


def _add_times(window: Window, table: Table) -> None:
    for field, durations in zip(TIMES, (window.time_taken, window.ttfb), strict=True):
        counted = table.counted(field)
        micros = [_known_micros.get(value, _UNKNOWN) for value in counted]
        if _UNKNOWN in micros:
            micros = [_micros(value) for value in counted]
        known, numbers = np.array(micros, np.int64), np.array(list(counted.values()), np.int64)
        if min(micros, default=0) < 0:
            long = {
                value: counted[value] for value, found in zip(counted, micros, strict=True) if value and found == _LONG
            }
            durations.add_long(list(map(_exact_micros, long)), list(long.values()))
            ordinary = known >= 0
            known, numbers = known[ordinary], numbers[ordinary]
        durations.add(known, numbers)


def _is_event_stream(content_type: str) -> bool:
    return content_type.partition(";")[0].replace("%20", " ").strip(" ").lower() == EVENT_STREAM


_UNKNOWN, _NO_NUMBER, _LONG = -1, -2, -3
# text -> whole microseconds: the same few thousand texts come again and again
_known_micros: dict[str | None, int] = {}


def _micros(value: str | None) -> int:
    found = _known_micros.get(value)
    if found is None:
        found = _NO_NUMBER
        if value is not None and _NUMBER.fullmatch(value) and len(value.replace(".", "")) <= NUMBER_DIGITS_MAX:
            exact = _exact_micros(value)
            found = exact if exact <= DURATION_US_MAX >> 12 else _LONG
        if len(_known_micros) >= KNOWN_MICROS_MAX:
            _known_micros.clear()
        if value is None or len(value) <= 16:
            _known_micros[value] = found
    return found


def _exact_micros(value: str) -> int:
    return round(Decimal(value).scaleb(6, _EXACT))


def _add_paths(window: Window, table: Table, rules: Path_Rules, seed: int) -> None:
    if isinstance(table, Few):
        paths = clean_few_paths(table.lists["cs-uri-stem"], rules)
        window.unique_paths.add(np.array([hash_of(path, seed) for path in set(paths)], np.uint64))
        huge_rows = [(row, paths[row], number) for row, number in sorted(table.huge.items())]
        window.paths.add_few(paths, table.lists["bytes"], huge_rows)
    else:
        _add_many_paths(window, table.frame, table.huge, rules, seed)


def _add_many_paths(window: Window, frame: pl.DataFrame, huge: Mapping[int, int], rules: Path_Rules, seed: int) -> None:
    rows = frame.select(pl.col("cs-uri-stem").alias("path"), "bytes")
    grouped = grouped_paths(rows)
    raw_paths = grouped["path"]
    cleaned = clean_paths(raw_paths, rules)
    if cleaned is not raw_paths:
        grouped = (
            grouped.with_columns(cleaned.alias("path"))
            .group_by("path")
            .agg(pl.col("count").sum(), pl.col("bytes").sum())
        )

    def rows_in_order() -> pl.DataFrame:
        if cleaned is raw_paths:
            return rows
        shown = pl.DataFrame({"path": raw_paths, "shown": cleaned})
        joined = rows.join(shown, on="path", how="left", nulls_equal=True, maintain_order="left")
        return joined.select(pl.col("shown").alias("path"), "bytes")

    window.unique_paths.add(grouped.select(hash_expression("path", seed))["path"].to_numpy())
    huge_rows = []
    if huge:
        shown = dict(zip(raw_paths.to_list(), cleaned.to_list(), strict=True))
        huge_rows = [(row, shown[rows["path"][row]], number) for row, number in sorted(huge.items())]
    window.paths.add(grouped, rows_in_order, huge_rows)
