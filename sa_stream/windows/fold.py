"""Columns of counted records into a window: the one place where records become numbers.

Distinct values are looked at one by one, rows never. What has few distinct values (status, times) is understood per
distinct value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal

import numpy as np
import polars as pl
import polars_hash as plh
import xxhash

from sa_stream.records.columns import NO_STATUS, Bools, Columns
from sa_stream.records.fields import MISSING, NO_VALUE, RESULT_TYPE
from sa_stream.records.intake import Intake
from sa_stream.records.parser import NUMBER, NUMBER_DIGITS_MAX
from sa_stream.records.privacy import Path_Rules, clean_host, clean_paths, clean_value
from sa_stream.timing import MINUTE_MS, month_of
from sa_stream.windows.paths import grouped_paths
from sa_stream.windows.summaries import DURATION_US_MAX, OTHER, VALUES_MAX, Int64s, UInt64s, add_counts, distinct
from sa_stream.windows.window import MINUTES, Window

COUNTED_FIELDS = {  # kind of count -> column
    "methods": "cs-method",
    "protocols": "cs-protocol",
    "hosts": "cs-host",
    "edges": "x-edge-location",
    "results": RESULT_TYPE,
}
FOLD_ROWS = (
    40_000  # a good number of records for one fold: its fixed cost stops to matter, and it takes well below 0.1 s
)
LONG_PROTOCOLS = ("ws", "wss", "grpc", "grpcs")
SWITCHING_PROTOCOLS = 101  # the status of a WebSocket
EVENT_STREAM = "text/event-stream"
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

    def chosen(self, rows: Bools) -> "Hashed":
        if rows.all():
            return self
        return Hashed(self.request_ids[rows], self.has_request_id[rows], self.agents[rows], self.has_agent[rows])


def hash_columns(columns: Columns, starts: Int64s, chosen: Bools, seeds: Mapping[str, int]) -> Hashed:
    every = bool(chosen.all())
    months: dict[str, list[int]] = {}
    for start in distinct(starts if every else starts[chosen]):
        months.setdefault(month_of(start), []).append(start)
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


def _present(hashed: pl.Series, seed: int) -> tuple[UInt64s, Bools]:
    """The hashes, and which of them are of a value that is not missing."""
    values: UInt64s = (hashed.fill_null(0) if hashed.null_count() else hashed).to_numpy()
    present: Bools = values != hash_of(NO_VALUE, seed)
    if hashed.null_count():
        present &= ~hashed.is_null().to_numpy()
    return values, present


def fold(window: Window, columns: Columns, hashed: Hashed, intake: Intake, seed: int) -> int:
    """Add records to the window that they belong to; returns how many there were. `hashed` is theirs, under `seed`."""
    if not len(columns):
        return 0
    window.total_requests += len(columns)
    window.total_bytes += int(columns.frame["bytes"].sum()) + sum(columns.huge.values())
    _count_values(window, columns.frame, seed)
    _add_minutes(window, columns)
    _add_times(window, columns.frame)
    window.unique_agents.add(hashed.agents if hashed.has_agent.all() else hashed.agents[hashed.has_agent])
    _add_paths(window, columns, intake.rules, seed)
    return len(columns)


def _count_values(window: Window, frame: pl.DataFrame, seed: int) -> None:
    for kind, field in COUNTED_FIELDS.items():
        counted = frame[field].value_counts()
        counts = window.counts[kind]
        has_port = kind == "hosts" and counted[field].str.contains(":", literal=True).any()
        if has_port or len(counts) + counted.height > VALUES_MAX:  # then the order decides which names are kept
            by = [field, "cs-protocol"] if has_port else [field]  # whose own port it is
            counted = frame.group_by(by, maintain_order=True).agg(pl.len())
        values, numbers = [], []
        for value, *protocol, number in zip(*(column.to_list() for column in counted.iter_columns()), strict=True):
            if value is not None and value not in MISSING:
                values.append(clean_host(value, *protocol) if kind == "hosts" else clean_value(value))
                numbers.append(number)
        fresh = [value for value in values if value not in counts] if kind == "edges" else ()
        if fresh:
            window.unique_edges.add(np.array([hash_of(value, seed) for value in fresh], np.uint64))
        add_counts(counts, values, numbers)


def _add_minutes(window: Window, columns: Columns) -> None:
    """Numbers per minute, and the statuses, which come out of the same count."""
    frame = columns.frame
    minute = (columns.event_ms - window.start_ms) // MINUTE_MS
    status = frame["status"].to_numpy()
    known = status if status.min() != NO_STATUS else status[status != NO_STATUS]  # a list may lack sc-status
    numbers = np.bincount(known, minlength=1000)
    statuses = window.counts["status"]
    for code in np.flatnonzero(numbers).tolist():
        name = f"{code:03d}"
        statuses[name] = statuses.get(name, 0) + int(numbers[code])
    classes = np.maximum(status, 0) // 100
    by_class = np.bincount(minute * 10 + classes, minlength=MINUTES * 10).reshape(MINUTES, 10)
    sizes = np.zeros(MINUTES, np.int64)
    np.add.at(sizes, minute, frame["bytes"].to_numpy())
    rows = [by_class.sum(axis=1).tolist(), by_class[:, 4].tolist(), by_class[:, 5].tolist(), sizes.tolist()]
    for row, number in columns.huge.items():
        rows[-1][minute[row]] += number
    hits = (frame[RESULT_TYPE] == "Hit").fill_null(False).to_numpy()
    rows.append(np.bincount(minute[hits], minlength=MINUTES).tolist())
    window.add_minutes(rows)


def _add_times(window: Window, frame: pl.DataFrame) -> None:
    """Durations, without those of connections that last as long as somebody stays. The counts are up to date."""
    lasting = []
    if any(protocol in window.counts["protocols"] for protocol in (*LONG_PROTOCOLS, OTHER)):
        lasting.append(pl.col("cs-protocol").is_in(LONG_PROTOCOLS))
    if str(SWITCHING_PROTOCOLS) in window.counts["status"]:
        lasting.append(pl.col("status") == SWITCHING_PROTOCOLS)
    streams = [value for value in frame["sc-content-type"].unique().to_list() if _is_event_stream(value)]
    if streams:
        lasting.append(pl.col("sc-content-type").is_in(streams))
    if lasting:
        frame = frame.select("time-taken", "time-to-first-byte", "cs-protocol", "status", "sc-content-type")
        frame = frame.filter(~pl.any_horizontal(lasting).fill_null(False))
    for field, durations in (("time-taken", window.time_taken), ("time-to-first-byte", window.ttfb)):
        counted = frame[field].value_counts()
        values, numbers = counted[field].to_list(), counted["count"].to_numpy().astype(np.int64)
        micros = [_known_micros.get(value, _UNKNOWN) for value in values]
        if _UNKNOWN in micros:
            micros = [_micros(value) for value in values]
        known = np.array(micros, np.int64)
        ordinary = known >= 0
        durations.add(known[ordinary], numbers[ordinary])
        long = np.flatnonzero(known == _LONG).tolist()
        if long:
            durations.add_long([_exact_micros(values[place]) for place in long], numbers[long].tolist())


def _is_event_stream(content_type: str | None) -> bool:
    if content_type is None:
        return False
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


def _add_paths(window: Window, columns: Columns, rules: Path_Rules, seed: int) -> None:
    huge = columns.huge
    rows = columns.frame.select(pl.col("cs-uri-stem").alias("path"), "bytes")
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
    huge_rows: list[tuple[int, str, int]] = []
    if huge:
        shown = dict(zip(raw_paths.to_list(), cleaned.to_list(), strict=True))
        huge_rows = [(row, shown[rows["path"][row]], number) for row, number in sorted(huge.items())]
    window.paths.add(grouped, rows_in_order, huge_rows)
