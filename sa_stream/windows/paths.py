"""Requests, bytes and what became of them per path: exact up to 65,536 distinct paths (or 32 MiB of them, as strangers
choose how long they are), then the frequent ones and a bound on what they lack.

Beyond the limit the table is cut as Misra and Gries do it (in the mergeable form of Agarwal et al., 2012): the same
number is taken from every count, so that few enough stay above zero, and the bound grows by that number. Cuts happen at
exact records and not at the end of some batch, so the table is a function of the records alone.
"""

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl

from sa_stream.format import narrow, raw, unraw

DISTINCT_MAX = 65_536
TEXT_BYTES_MAX = 32 << 20  # of all paths of a table: an average of 512 bytes, where usual ones take less than 100
KEPT_AT_A_CUT = DISTINCT_MAX // 2  # a cut makes room for as many new paths as it keeps
TEXT_BYTES_KEPT_AT_A_CUT = TEXT_BYTES_MAX // 2
SHRUNK_PATHS = DISTINCT_MAX // 16  # what `shrink` leaves
SHRUNK_TEXT_BYTES = TEXT_BYTES_MAX // 16
FEW_PATHS = 1_024  # so many rows come one by one before they become a frame
_ROW_BYTES = 80  # of a row beside its text: a view of it and eight numbers
_FEW_ROW_BYTES = 400  # of one in a dict

# What is summed beside the requests: bytes; by result type and status; time-taken in microseconds, and of how many.
SUMS = ("bytes", "hits", "misses", "status_4xx", "status_5xx", "time_us", "times")
_EMPTY = pl.DataFrame(schema={"path": pl.String} | dict.fromkeys(("count", *SUMS), pl.Int64))

type Huge = Sequence[tuple[int, str, int]]


class Path_Row(NamedTuple):
    """One path with its sums, as in SUMS."""

    path: str
    requests: int
    bytes: int
    hits: int
    misses: int
    status_4xx: int
    status_5xx: int
    time_us: int
    times: int


class Path_Table:
    """A table of path, count and SUMS; new rows wait in `pending` and are merged in when they could matter. What came
    one by one waits in a dict before."""

    __slots__ = (
        "bytes_error",
        "error",
        "few",
        "huge_bytes",
        "pending",
        "pending_bytes",
        "pending_rows",
        "table",
        "text_bytes",
    )

    def __init__(self) -> None:
        self.table = _EMPTY
        self.text_bytes = 0  # of the table's paths
        self.few: dict[str, list[int]] = {}  # path -> [count, *SUMS]; counted among the pending
        self.pending: list[pl.DataFrame] = []
        self.pending_rows = 0
        self.pending_bytes = 0  # of their paths
        self.error = 0  # a count lacks at most this many requests, and so does any other number but bytes
        self.bytes_error = 0  # the bytes of a path lack at most this many
        self.huge_bytes: dict[str, int] = {}  # path -> bytes of single responses that are too large for a column

    def add(self, grouped: pl.DataFrame, rows_in_order: Callable[[], pl.DataFrame], huge: Huge = ()) -> None:
        """Take in some records.

        grouped        distinct paths with `count` and SUMS (Int64)
        rows_in_order  makes the same records, one by one: `path`, SUMS; only called when a cut is near
        huge           (row, path, bytes), ascending, of those whose bytes are too large for the column (0 there)
        """
        taken_rows = 0
        added_bytes = _text_bytes(grouped)
        if self._too_much(self.pending_rows + grouped.height, self.pending_bytes + added_bytes):
            self.compact()
            rows: pl.DataFrame | None = None
            while self._too_much(grouped.height, added_bytes):
                fresh = grouped.join(self.table, on="path", how="anti")
                if not self._too_much(fresh.height, _text_bytes(fresh)):
                    break
                rows = rows_in_order() if rows is None else rows
                firsts = (
                    rows.select(pl.col("path"), pl.int_range(pl.len()).alias("row"))
                    .join(fresh.select("path"), on="path", how="semi")
                    .group_by("path")
                    .agg(pl.col("row").min())
                    .sort("row")
                )
                room = _fitting(firsts["path"], DISTINCT_MAX - self.table.height, TEXT_BYTES_MAX - self.text_bytes)
                over = int(firsts["row"][room])  # the record that brings one path too many
                self._set(_summed([self.table, grouped_paths(rows.head(over + 1))]))
                taken_rows += over + 1
                self._add_huge([entry for entry in huge if entry[0] < taken_rows])
                huge = [entry for entry in huge if entry[0] >= taken_rows]
                self._cut(KEPT_AT_A_CUT, TEXT_BYTES_KEPT_AT_A_CUT)
                rows = rows.slice(over + 1)
                grouped = grouped_paths(rows)
                added_bytes = _text_bytes(grouped)
        self._add_huge(huge)
        self.pending.append(grouped)
        self.pending_rows += grouped.height
        self.pending_bytes += added_bytes
        self._compact_if_long()

    def _compact_if_long(self) -> None:
        if self.pending_rows > max(DISTINCT_MAX // 8, self.table.height) or self.pending_bytes > max(
            TEXT_BYTES_MAX // 8, self.text_bytes
        ):
            self.compact()

    def add_few(self, paths: Sequence[str], numbers: Mapping[str, Sequence[int]], huge: Huge = ()) -> None:
        """Take in few records one by one, in their order: their paths, and of each of SUMS what they add (bytes: 0
        where `huge` has them)."""
        longest = 4 * sum(map(len, paths))  # no character has more bytes
        if self._too_much(self.pending_rows + len(paths), self.pending_bytes + longest):
            rows = pl.DataFrame({"path": paths, **numbers}, schema=_EMPTY.drop("count").schema)
            self.add(grouped_paths(rows), lambda: rows, huge)
            return
        for path, *added in zip(paths, *(numbers[name] for name in SUMS), strict=True):
            known = self.few.get(path)
            if known is None:
                self.few[path] = [1, *added]
                self.pending_rows += 1
                self.pending_bytes += len(path.encode())
            else:
                self.few[path] = [known[0] + 1, *map(operator.add, known[1:], added)]
        self._add_huge(huge)
        if len(self.few) > FEW_PATHS:
            self._spill()
            self._compact_if_long()

    def _spill(self) -> None:
        """From the dict, in which a row takes ten times the memory, to the frames."""
        if self.few:
            columns = [list(self.few), *zip(*self.few.values(), strict=True)]
            self.pending.append(pl.DataFrame(columns, schema=_EMPTY.schema))
            self.few = {}

    def _too_much(self, more_paths: int, more_bytes: int) -> bool:
        return self.table.height + more_paths > DISTINCT_MAX or self.text_bytes + more_bytes > TEXT_BYTES_MAX

    def _add_huge(self, huge: Huge) -> None:
        for _, path, number in huge:
            self.huge_bytes[path] = self.huge_bytes.get(path, 0) + number

    def compact(self) -> None:
        """Merge what is pending. Changes the table's shape in memory, never what it says."""
        self._spill()
        if self.pending:
            tables = [self.table, *self.pending] if self.table.height else self.pending
            self._set(_summed(tables) if len(tables) > 1 else tables[0])
            self.pending, self.pending_rows, self.pending_bytes = [], 0, 0

    def _set(self, table: pl.DataFrame) -> None:
        # Strings are written anew: else each would keep alive the buffer of the batch that it came in.
        if table.height <= FEW_PATHS:
            paths = table["path"].to_list()
            self.table = pl.DataFrame([pl.Series("path", paths, pl.String), *table.get_columns()[1:]])
            self.text_bytes = sum(len(path.encode()) for path in paths)
        else:
            self.table = table.with_columns(pl.concat_str("path", pl.lit("")))
            self.text_bytes = _text_bytes(self.table)

    def _cut(self, keep: int, keep_bytes: int) -> None:
        """Keep at most so many paths, of at most so many bytes; what ties with the first one to go, goes too."""
        if self.table.height <= keep and self.text_bytes <= keep_bytes:
            return
        ordered = self.table.sort("count", descending=True)
        taken = int(ordered["count"][_fitting(ordered["path"], keep, keep_bytes)])
        self.error += taken
        gone = self.table.filter(pl.col("count") <= taken)
        lost = int(gone["bytes"].max() or 0)  # type: ignore[arg-type]
        self._set(self.table.with_columns(pl.col("count") - taken).filter(pl.col("count") > 0))
        if self.huge_bytes:
            left = set(self.table["path"].to_list())
            lost += max((number for path, number in self.huge_bytes.items() if path not in left), default=0)
            self.huge_bytes = {path: number for path, number in self.huge_bytes.items() if path in left}
        self.bytes_error += lost

    def shrink(self) -> bool:
        """Keep only the most frequent paths, a sixteenth of what a table may hold; False if there are no more. What
        they lack from then on is in `error`."""
        self.compact()
        before = self.error
        self._cut(SHRUNK_PATHS, SHRUNK_TEXT_BYTES)
        return self.error > before

    @property
    def shrinkable(self) -> bool:
        """Whether `shrink` may find something to cut."""
        rows, text_bytes = self.table.height + self.pending_rows, self.text_bytes + self.pending_bytes
        return rows > SHRUNK_PATHS or text_bytes > SHRUNK_TEXT_BYTES

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        huge = sum(map(sys.getsizeof, self.huge_bytes))
        rows = self.table.height + self.pending_rows + 4 * len(self.huge_bytes)
        return self.text_bytes + self.pending_bytes + huge + _ROW_BYTES * rows + _FEW_ROW_BYTES * len(self.few)

    def top(self, limit: int, by: str = "count") -> list[Path_Row]:
        """The paths with the most of something (`count`, or one of SUMS), and not none of it; equal ones by path
        ascending by code point."""
        self.compact()
        table = self.table
        # Bytes that are too large for the column are known row by row.
        if table.height <= FEW_PATHS or (by == "bytes" and self.huge_bytes):
            number = operator.attrgetter(by if by in SUMS else "requests")
            rows = filter(number, map(self._row, table.rows()))
            return sorted(rows, key=lambda row: (-number(row), row.path))[:limit]
        values = table[by].to_numpy()
        places = np.flatnonzero(values > 0)
        if 0 < limit < len(places):  # all that tie with the last one take part in the order by path
            values = values[places]
            places = places[values >= np.partition(values, -limit)[-limit]]
        chosen = table[places].sort([by, "path"], descending=[True, False]).head(limit)
        return list(map(self._row, chosen.iter_rows()))

    def _row(self, values: tuple[Any, ...]) -> Path_Row:
        row = Path_Row(*values)
        return row._replace(bytes=row.bytes + self.huge_bytes[row.path]) if row.path in self.huge_bytes else row

    @classmethod
    def merged(cls, tables: Sequence[Self]) -> Self:
        """Sum of the tables, cut once if it is too long; the order of the tables does not matter."""
        result = cls()
        for table in tables:
            table.compact()
            result.error += table.error
            result.bytes_error += table.bytes_error
            for path, number in table.huge_bytes.items():
                result.huge_bytes[path] = result.huge_bytes.get(path, 0) + number
        result._set(_summed([table.table for table in tables]))
        result._cut(DISTINCT_MAX, TEXT_BYTES_MAX)
        return result

    def content(self) -> list[Any]:
        """Plain values for storage, sorted by path."""
        self.compact()
        table = self.table[self.table["path"].arg_sort()]
        return [
            raw(table["path"].str.len_bytes().to_numpy().astype(np.uint16)),
            "".join(table["path"].to_list()).encode(),
            raw(table["count"].to_numpy()),
            raw(table["bytes"].to_numpy()),
            self.error,
            [[path, str(number)] for path, number in sorted(self.huge_bytes.items())],
            str(self.bytes_error),
            [raw(narrow(table[name].to_numpy())) for name in SUMS[1:]],
        ]

    @classmethod
    def from_content(cls, content: list[Any]) -> Self:
        """Of versions up to 3 too, which had no sums but bytes: the others are 0."""
        result = cls()
        lengths, text, counts, sizes, result.error, huge, *rest = content
        ends = np.cumsum(unraw(lengths), dtype=np.int64).tolist()
        paths = [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
        none = np.zeros(len(paths), np.int64)
        result.bytes_error = int(rest[0]) if rest else 0
        sums = [unraw(numbers).astype(np.int64) for numbers in rest[1]] if rest else [none] * len(SUMS[1:])
        result.table = pl.DataFrame([paths, unraw(counts), unraw(sizes), *sums], schema=_EMPTY.schema)
        result.text_bytes = len(text)
        result.huge_bytes = {path: int(number) for path, number in huge}
        return result


def grouped_paths(rows: pl.DataFrame) -> pl.DataFrame:
    """`path`, `count` and SUMS of rows with `path` and SUMS."""
    return rows.group_by("path").agg(pl.len().cast(pl.Int64).alias("count"), pl.col(*SUMS).sum())


def _text_bytes(table: pl.DataFrame) -> int:
    return int(table["path"].str.len_bytes().cast(pl.Int64).sum())


def _fitting(paths: pl.Series, paths_max: int, bytes_max: int) -> int:
    """How many of the first of these paths are within both limits."""
    ends = paths.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
    return min(paths_max, int(np.searchsorted(ends, bytes_max, side="right")))


def _summed(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(tables, rechunk=True).group_by("path").agg(pl.col("count", *SUMS).sum())
