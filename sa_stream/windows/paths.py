"""Requests and bytes per path: exact up to 65,536 distinct paths (or 32 MiB of them, as strangers choose how long they
are), then the frequent ones and a bound on what they lack.

Beyond the limit the table is cut as Misra and Gries do it (in the mergeable form of Agarwal et al., 2012): the same
number is taken from every count, so that few enough stay above zero, and the bound grows by that number. Cuts happen at
exact records and not at the end of some batch, so the table is a function of the records alone.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import polars as pl

from sa_stream.format import raw, unraw

DISTINCT_MAX = 65_536
TEXT_BYTES_MAX = 32 << 20  # of all paths of a table: an average of 512 bytes, where usual ones take less than 100
KEPT_AT_A_CUT = DISTINCT_MAX // 2  # a cut makes room for as many new paths as it keeps
TEXT_BYTES_KEPT_AT_A_CUT = TEXT_BYTES_MAX // 2
SHRUNK_PATHS = DISTINCT_MAX // 16  # what `shrink` leaves
SHRUNK_TEXT_BYTES = TEXT_BYTES_MAX // 16
FEW_PATHS = 1_024  # so many rows come one by one before they become a frame
_ROW_BYTES = 32  # of a row beside its text: a view of it and two numbers
_FEW_ROW_BYTES = 300  # of one in a dict

_EMPTY = pl.DataFrame(schema={"path": pl.String, "count": pl.Int64, "bytes": pl.Int64})


class Path_Table:
    """A table of path, count, bytes; new rows wait in `pending` and are merged in when they could matter. What came one
    by one waits in a dict before."""

    __slots__ = ("error", "few", "huge_bytes", "pending", "pending_bytes", "pending_rows", "table", "text_bytes")

    def __init__(self) -> None:
        self.table = _EMPTY
        self.text_bytes = 0  # of the table's paths
        self.few: dict[str, list[int]] = {}  # path -> [count, bytes]; counted among the pending
        self.pending: list[pl.DataFrame] = []
        self.pending_rows = 0
        self.pending_bytes = 0  # of their paths
        self.error = 0  # a count lacks at most this many requests
        self.huge_bytes: dict[str, int] = {}  # path -> bytes of single responses that are too large for a column

    def add(
        self,
        grouped: pl.DataFrame,
        rows_in_order: Callable[[], pl.DataFrame],
        huge: Sequence[tuple[int, str, int]] = (),
    ) -> None:
        """Take in some records.

        grouped        distinct paths with `count` and `bytes` (Int64)
        rows_in_order  makes the same records, one by one: `path`, `bytes`; only called when a cut is near
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

    def add_few(self, paths: Sequence[str], sizes: Sequence[int], huge: Sequence[tuple[int, str, int]] = ()) -> None:
        """Take in few records one by one, in their order: their paths, and bytes (0 where `huge` has them)."""
        longest = 4 * sum(map(len, paths))  # no character has more bytes
        if self._too_much(self.pending_rows + len(paths), self.pending_bytes + longest):
            rows = pl.DataFrame({"path": paths, "bytes": sizes}, schema={"path": pl.String, "bytes": pl.Int64})
            self.add(grouped_paths(rows), lambda: rows, huge)
            return
        for path, size in zip(paths, sizes, strict=True):
            known = self.few.get(path)
            if known is None:
                self.few[path] = [1, size]
                self.pending_rows += 1
                self.pending_bytes += len(path.encode())
            else:
                known[0] += 1
                known[1] += size
        self._add_huge(huge)
        if len(self.few) > FEW_PATHS:
            self._spill()
            self._compact_if_long()

    def _spill(self) -> None:
        """From the dict, in which a row takes ten times the memory, to the frames."""
        if self.few:
            counts, sizes = zip(*self.few.values(), strict=True)
            columns = {"path": list(self.few), "count": counts, "bytes": sizes}
            self.pending.append(pl.DataFrame(columns, schema=_EMPTY.schema))
            self.few = {}

    def _too_much(self, more_paths: int, more_bytes: int) -> bool:
        return self.table.height + more_paths > DISTINCT_MAX or self.text_bytes + more_bytes > TEXT_BYTES_MAX

    def _add_huge(self, huge: Sequence[tuple[int, str, int]]) -> None:
        for _, path, number in huge:
            self.huge_bytes[path] = self.huge_bytes.get(path, 0) + number

    def compact(self) -> None:
        """Merge what is pending. Changes the table's shape in memory, never what it says."""
        self._spill()
        if self.pending:
            self._set(_summed([self.table, *self.pending]))
            self.pending, self.pending_rows, self.pending_bytes = [], 0, 0

    def _set(self, table: pl.DataFrame) -> None:
        # Strings are written anew: else each would keep alive the buffer of the batch that it came in.
        self.table = table.with_columns(pl.concat_str("path", pl.lit("")))
        self.text_bytes = _text_bytes(self.table)

    def _cut(self, keep: int, keep_bytes: int) -> None:
        """Keep at most so many paths, of at most so many bytes; what ties with the first one to go, goes too."""
        if self.table.height <= keep and self.text_bytes <= keep_bytes:
            return
        ordered = self.table.sort("count", descending=True)
        taken = int(ordered["count"][_fitting(ordered["path"], keep, keep_bytes)])
        self.error += taken
        self._set(self.table.with_columns(pl.col("count") - taken).filter(pl.col("count") > 0))
        if self.huge_bytes:
            left = set(self.table["path"].to_list())
            self.huge_bytes = {path: number for path, number in self.huge_bytes.items() if path in left}

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

    def top(self, limit: int) -> list[tuple[str, int, int]]:
        """(path, count, bytes) by count descending, then path ascending by code point."""
        self.compact()
        chosen = self.table.top_k(min(limit, self.table.height), by="count") if self.table.height else self.table
        if chosen.height:  # all that tie with the last one take part in the order by path
            least = chosen["count"].min()
            chosen = self.table.filter(pl.col("count") >= least)
        chosen = chosen.sort(["count", "path"], descending=[True, False]).head(limit)
        return [(path, count, size + self.huge_bytes.get(path, 0)) for path, count, size in chosen.iter_rows()]

    @classmethod
    def merged(cls, tables: Sequence[Self]) -> Self:
        """Sum of the tables, cut once if it is too long; the order of the tables does not matter."""
        result = cls()
        for table in tables:
            table.compact()
            result.error += table.error
            for path, number in table.huge_bytes.items():
                result.huge_bytes[path] = result.huge_bytes.get(path, 0) + number
        result._set(_summed([table.table for table in tables]))
        result._cut(DISTINCT_MAX, TEXT_BYTES_MAX)
        return result

    def content(self) -> list[Any]:
        """Plain values for storage, sorted by path."""
        self.compact()
        table = self.table.sort("path")
        return [
            raw(table["path"].str.len_bytes().to_numpy().astype(np.uint16)),
            table["path"].str.join("").item().encode() if table.height else b"",
            raw(table["count"].to_numpy()),
            raw(table["bytes"].to_numpy()),
            self.error,
            [[path, str(number)] for path, number in sorted(self.huge_bytes.items())],
        ]

    @classmethod
    def from_content(cls, content: list[Any]) -> Self:
        result = cls()
        lengths, text, counts, sizes, result.error, huge = content
        ends = np.cumsum(unraw(lengths), dtype=np.int64).tolist()
        paths = [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
        result.table = pl.DataFrame(
            {"path": paths, "count": unraw(counts), "bytes": unraw(sizes)}, schema=_EMPTY.schema
        )
        result.text_bytes = len(text)
        result.huge_bytes = {path: int(number) for path, number in huge}
        return result


def grouped_paths(rows: pl.DataFrame) -> pl.DataFrame:
    """`path`, `count`, `bytes` of rows with `path` and `bytes`."""
    return rows.group_by("path").agg(pl.len().cast(pl.Int64).alias("count"), pl.col("bytes").sum())


def _text_bytes(table: pl.DataFrame) -> int:
    return int(table["path"].str.len_bytes().cast(pl.Int64).sum())


def _fitting(paths: pl.Series, paths_max: int, bytes_max: int) -> int:
    """How many of the first of these paths are within both limits."""
    ends = paths.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
    return min(paths_max, int(np.searchsorted(ends, bytes_max, side="right")))


def _summed(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(tables, rechunk=True).group_by("path").agg(pl.col("count").sum(), pl.col("bytes").sum())
