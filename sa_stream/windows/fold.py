"""Columns of counted records into a window: the one place where records become numbers.

Distinct values are looked at one by one, rows never. What has few distinct values (status, times) is understood per
distinct value.
"""

from decimal import Context, Decimal

import numpy as np
import polars as pl
import polars_hash as plh
import xxhash

from sa_stream.records.parser import NUMBER, NUMBER_DIGITS_MAX
from sa_stream.records.privacy import Path_Rules, clean_paths, clean_value
from sa_stream.timing import MINUTE_MS
from sa_stream.windows.paths import grouped_paths
from sa_stream.windows.summaries import VALUES_MAX, Int64s, UInt64s, add_counts
from sa_stream.windows.window import MINUTES, Window

COUNTED_FIELDS = {  # kind of count -> field
    "methods": "cs-method",
    "protocols": "cs-protocol",
    "hosts": "cs-host",
    "edges": "x-edge-location",
    "results": "x-edge-result-type",
}
MISSING = ("", "-")
WEBSOCKETS = ("ws", "wss")
EXACT_CHARACTERS_MAX = 8  # so few characters hold at most six decimals: whole microseconds, exact in a double
_EXACT = Context(prec=NUMBER_DIGITS_MAX + 6)  # the usual one rounds to 28 digits


def hashes(values: pl.Series, seed: int) -> pl.Series:
    """xxh3-64 of each text (null stays null), the same as xxhash's."""
    return pl.DataFrame({"v": values}).select(plh.col("v").nchash.xxh3_64(seed=seed)).to_series()


def hash_of(value: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(value.encode(), seed)


def fold(
    window: Window, frame: pl.DataFrame, event_ms: Int64s, huge: dict[int, int], rules: Path_Rules, seed: int
) -> None:
    """Add records to a window they belong to.

    frame     columns of records.parser.Columns, plus `agent` (UInt64): hash of the user agent under `seed`
    event_ms  their times
    huge      row -> bytes, for rows whose `bytes` do not fit the column
    """
    window.total_requests += frame.height
    window.total_bytes += int(frame["bytes"].sum()) + sum(huge.values())
    _count_values(window, frame, seed)
    _add_minutes(window, frame, event_ms, huge)
    _add_times(window, frame)
    agents = frame["agent"].unique().drop_nulls().to_numpy()
    window.unique_agents.add(agents[~np.isin(agents, _missing_hashes(seed))])
    _add_paths(window, frame, huge, rules, seed)


def _missing_hashes(seed: int) -> UInt64s:
    return np.array([hash_of(value, seed) for value in MISSING], np.uint64)


def _count_values(window: Window, frame: pl.DataFrame, seed: int) -> None:
    statuses = frame["sc-status"].value_counts()
    for status, number in statuses.iter_rows():
        if status is not None:
            window.counts["status"][status] = window.counts["status"].get(status, 0) + number
    for kind, field in COUNTED_FIELDS.items():
        counted = frame[field].value_counts()
        counts = window.counts[kind]
        if len(counts) + counted.height > VALUES_MAX:  # then the order decides which names are kept
            counted = frame.group_by(field, maintain_order=True).agg(pl.len())
        values, numbers = [], []
        for value, number in counted.iter_rows():
            if value is not None and value not in MISSING:
                values.append(clean_value(value))
                numbers.append(number)
        fresh = [value for value in values if value not in counts] if kind == "edges" else ()
        if fresh:
            window.unique_edges.add(np.array([hash_of(value, seed) for value in fresh], np.uint64))
        add_counts(counts, values, numbers)


def _add_minutes(window: Window, frame: pl.DataFrame, event_ms: Int64s, huge: dict[int, int]) -> None:
    minute = (event_ms - window.start_ms) // MINUTE_MS
    status = frame["sc-status"]
    first = status.str.slice(0, 1)
    rows = [np.bincount(minute, minlength=MINUTES).tolist()]
    for digit in ("4", "5"):
        chosen = (first == digit).fill_null(False).to_numpy()
        rows.append(np.bincount(minute[chosen], minlength=MINUTES).tolist())
    sizes = np.zeros(MINUTES, np.int64)
    np.add.at(sizes, minute, frame["bytes"].to_numpy())
    rows.append(sizes.tolist())
    for row, number in huge.items():
        rows[-1][minute[row]] += number
    hits = (frame["x-edge-result-type"] == "Hit").fill_null(False).to_numpy()
    rows.append(np.bincount(minute[hits], minlength=MINUTES).tolist())
    window.add_minutes(rows)


def _add_times(window: Window, frame: pl.DataFrame) -> None:
    """Durations, without those of WebSocket connections, which last as long as somebody stays."""
    if frame["cs-protocol"].is_in(WEBSOCKETS).any():
        frame = frame.filter(~frame["cs-protocol"].is_in(WEBSOCKETS).fill_null(False))
    for field, durations in (("time-taken", window.time_taken), ("time-to-first-byte", window.ttfb)):
        counted = frame[field].value_counts()
        text = counted[field]
        plain = text.str.contains(NUMBER).fill_null(False)
        short = text.str.len_bytes() <= EXACT_CHARACTERS_MAX
        ordinary = counted.filter(plain & short)
        micros = np.rint(ordinary[field].cast(pl.Float64).to_numpy() * 1e6).astype(np.int64)
        durations.add(micros, ordinary["count"].to_numpy().astype(np.int64))
        long = [
            (round(_EXACT.scaleb(Decimal(value), 6)), number)
            for value, number in counted.filter(plain & ~short).iter_rows()
            if len(value.replace(".", "")) <= NUMBER_DIGITS_MAX
        ]
        durations.add_long([value_us for value_us, _ in long], [number for _, number in long])


def _add_paths(window: Window, frame: pl.DataFrame, huge: dict[int, int], rules: Path_Rules, seed: int) -> None:
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

    window.unique_paths.add(hashes(grouped["path"], seed).to_numpy())
    huge_rows: list[tuple[int, str, int]] = []
    if huge:
        shown = dict(zip(raw_paths.to_list(), cleaned.to_list(), strict=True))
        huge_rows = [(row, shown[rows["path"][row]], number) for row, number in sorted(huge.items())]
    window.paths.add(grouped, rows_in_order, huge_rows)
