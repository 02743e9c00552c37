"""Records as columns: what every room after the decoder works on. Nothing here is an object for a row.

A column is a Series of a frame, or a list where there are few rows: each call of polars costs as much as a few hundred
values in plain Python. Both forms have the same columns and the same values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sa_stream.records.fields import TEXT_COLUMNS

type Int64s = npt.NDArray[np.int64]
type Bools = npt.NDArray[np.bool_]

HUGE_BYTES = 1 << 40  # sums of smaller numbers of bytes stay within 64 bits; the rest is added as Python integers
NO_STATUS = -1  # of a list without sc-status
FEW_ROWS = 256  # up to so many, lists cost less than a frame

REASONS = ("too_long", "fields", "timestamp", "status", "future", "too_late")
TOO_LONG, FIELDS, TIMESTAMP, STATUS, FUTURE, TOO_LATE = range(len(REASONS))

NO_ROWS = np.empty(0, np.int64)

type Lists = dict[str, list[Any]]  # column -> its values

SCHEMA: dict[str, Any] = dict.fromkeys(TEXT_COLUMNS, pl.String) | {"status": pl.Int16, "bytes": pl.Int64}


@dataclass(slots=True)
class Dropped:
    """Records that are in no aggregate, one element each.

    payload, line   which line (from 0) of which payload of the call
    reason          index into REASONS
    field_count     number of fields that the line has
    """

    payload: Int64s
    line: Int64s
    reason: Int64s
    field_count: Int64s

    @classmethod
    def of(cls, payload: Int64s, line: Int64s, reason: int, field_count: Int64s | int) -> "Dropped":
        counts = np.full(len(payload), field_count, np.int64) if isinstance(field_count, int) else field_count
        return cls(payload, line, np.full(len(payload), reason, np.int64), counts)

    @classmethod
    def joined(cls, parts: Sequence["Dropped"]) -> "Dropped":
        if not parts:
            return cls(NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS)
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.payload for part in parts]),
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.reason for part in parts]),
            np.concatenate([part.field_count for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.payload)


@dataclass(slots=True)
class Columns:
    """Well-formed records in their order, one row each.

    table          text columns (null or "-" is missing; all of TEXT_COLUMNS are there), `status`
                   (Int16, NO_STATUS where no list has it), `bytes` (Int64): 0 where missing or HUGE_BYTES and more
    event_ms       event times
    arrival_ms     arrival times
    payload, line  which line of which payload of the call
    field_count    fields of the list that read the row
    huge           row -> number of bytes, for the rows with HUGE_BYTES or more
    dropped        what was not well-formed
    payload_arrivals_ms  arrival time of each payload of the call
    """

    table: pl.DataFrame | Lists
    event_ms: Int64s
    arrival_ms: Int64s
    payload: Int64s
    line: Int64s
    field_count: Int64s
    huge: dict[int, int]
    dropped: Dropped
    payload_arrivals_ms: Int64s

    def __len__(self) -> int:
        return len(self.event_ms)

    @property
    def frame(self) -> pl.DataFrame:
        """The table as a frame."""
        return pl.DataFrame(self.table, schema=SCHEMA) if isinstance(self.table, dict) else self.table

    def as_lists(self, names: Sequence[str]) -> "Columns":
        """Lists for a table, of at least these of its columns."""
        return (
            self
            if isinstance(self.table, dict)
            else replace(self, table={name: self.table[name].to_list() for name in names})
        )

    def chosen(self, rows: Bools | Int64s) -> "Columns":
        """Some of the rows, by a mask or by their places, which may be in another order. `dropped` stays whole."""
        is_mask = rows.dtype == np.bool_
        if len(rows) == len(self) and (rows.all() if is_mask else (np.diff(rows) == 1).all()):
            return self
        table: pl.DataFrame | Lists
        if isinstance(self.table, dict):
            places = np.flatnonzero(rows).tolist() if is_mask else rows.tolist()
            table = {name: [values[place] for place in places] for name, values in self.table.items()}
        else:
            table = self.table.filter(pl.Series(rows)) if is_mask else self.table[rows]
        huge = {}
        if self.huge:
            old = np.flatnonzero(rows) if is_mask else rows
            new = dict(zip(old.tolist(), range(len(old)), strict=True))
            huge = {new[row]: number for row, number in self.huge.items() if row in new}
        return Columns(
            table,
            self.event_ms[rows],
            self.arrival_ms[rows],
            self.payload[rows],
            self.line[rows],
            self.field_count[rows],
            huge,
            self.dropped,
            self.payload_arrivals_ms,
        )

    def in_order(self) -> "Columns":
        """Rows in the order of their payloads and lines."""
        return self.chosen(np.lexsort((self.line, self.payload)))

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Several calls' columns one after the other; payload numbers go on counting."""
        if len(parts) == 1:
            return parts[0]
        payloads = [0, *np.cumsum([len(part.payload_arrivals_ms) for part in parts]).tolist()]
        for part, before in zip(parts, payloads, strict=False):
            part.payload = part.payload + before
            part.dropped.payload = part.dropped.payload + before
        return cls.concatenated(parts, np.concatenate([part.payload_arrivals_ms for part in parts]))

    @classmethod
    def concatenated(cls, parts: Sequence["Columns"], payload_arrivals_ms: Int64s) -> "Columns":
        """Rows of parts of one call, one after the other."""
        rows = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        lists = [part.table for part in parts if isinstance(part.table, dict)]
        return cls(
            {name: list(chain.from_iterable(part[name] for part in lists)) for name in SCHEMA}
            if len(lists) == len(parts)
            else pl.concat([part.frame for part in parts]),
            np.concatenate([part.event_ms for part in parts]),
            np.concatenate([part.arrival_ms for part in parts]),
            np.concatenate([part.payload for part in parts]),
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.field_count for part in parts]),
            {row + start: n for part, start in zip(parts, rows, strict=False) for row, n in part.huge.items()},
            Dropped.joined([part.dropped for part in parts]),
            payload_arrivals_ms,
        )
