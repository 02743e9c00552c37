"""Records as columns: what every room after the decoder works on. Nothing here is an object for a row.

A column of text is numbers and the distinct texts that they stand for, or a list where there are few rows: each call of
polars costs as much as a few hundred values in plain Python. Both forms have the same columns and the same values.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from sa_stream.frames import pl
from sa_stream.records.coded import Coded, coded
from sa_stream.records.fields import TEXT_COLUMNS
from sa_stream.records.micros import DURATIONS, Micros
from sa_stream.records.request_ids import REQUEST_ID, Request_Ids

type Int64s = npt.NDArray[np.int64]
type Bools = npt.NDArray[np.bool_]

HUGE_BYTES = 1 << 40  # sums of smaller numbers of bytes stay within 64 bits; the rest is added as Python integers
NO_STATUS = -1  # of a list without sc-status
FEW_ROWS = 256  # up to so many, lists cost less than a frame

REASONS = ("too_long", "fields", "timestamp", "status", "columns", "future", "too_late")
TOO_LONG, FIELDS, TIMESTAMP, STATUS, COLUMNS, FUTURE, TOO_LATE = range(len(REASONS))

NO_ROWS = np.empty(0, np.int64)

type Lists = dict[str, list[Any]]  # column -> its values

_NUMBERS = ("timestamp", "sc-status", "sc-bytes", *DURATIONS)
# What is counted of a record as text. Numbers are understood by then, and ids only hashed.
CODED_COLUMNS = tuple(name for name in TEXT_COLUMNS if name not in (*_NUMBERS, REQUEST_ID))
_OF_EACH = ("event_ms", "arrival_ms", "payload", "line", "field_count")  # row, of `Columns`
LIST_COLUMNS = (*CODED_COLUMNS, REQUEST_ID, *DURATIONS, "status", "bytes")  # of `Lists`


class Texts(Struct):
    """Records of which there are many.

    coded        column -> its texts, of CODED_COLUMNS ('' or '-' is missing)
    micros       column -> its times, of DURATIONS
    request_ids  as texts, until they are hashed
    status       NO_STATUS where no list has it; `sizes`: bytes, 0 where missing or HUGE_BYTES and more
    """

    coded: dict[str, Coded]
    micros: dict[str, Micros]
    request_ids: Request_Ids
    status: Int64s
    sizes: Int64s

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> Texts:
        """Of a frame with CODED_COLUMNS, DURATIONS and the request ids as text, `status` and `bytes`."""
        return cls(
            {name: coded(frame[name]) for name in CODED_COLUMNS},
            {name: Micros.of_texts(coded(frame[name])) for name in DURATIONS},
            Request_Ids.of_series(frame[REQUEST_ID]),
            frame["status"].cast(pl.Int64).to_numpy(),
            frame["bytes"].to_numpy(),
        )

    @classmethod
    def of_lists(cls, lists: Lists) -> Texts:
        return cls(
            {name: Coded.of_texts(lists[name]) for name in CODED_COLUMNS},
            {name: Micros.of(lists[name]) for name in DURATIONS},
            Request_Ids.of_texts(lists[REQUEST_ID]),
            np.array(lists["status"], np.int64),
            np.array(lists["bytes"], np.int64),
        )

    @classmethod
    def concatenated(cls, parts: Sequence[Texts]) -> Texts:
        return cls(
            {name: Coded.concatenated([part.coded[name] for part in parts]) for name in CODED_COLUMNS},
            {name: Micros.concatenated([part.micros[name] for part in parts]) for name in DURATIONS},
            Request_Ids.concatenated([part.request_ids for part in parts]),
            np.concatenate([part.status for part in parts]),
            np.concatenate([part.sizes for part in parts]),
        )

    def keep(self, rows: Int64s) -> None:
        """Let go of all records but some, by their places, in any order: one column after the other, as all together
        would be there twice meanwhile."""
        for name, column in self.coded.items():
            self.coded[name] = column.taken(rows)
        for name, times in self.micros.items():
            self.micros[name] = times.taken(rows)
        self.request_ids, self.status, self.sizes = self.request_ids.taken(rows), self.status[rows], self.sizes[rows]

    def copy(self) -> Texts:
        """What may keep other records. The columns are the same."""
        return Texts(dict(self.coded), dict(self.micros), self.request_ids, self.status, self.sizes)


class Dropped(Struct):
    """Records that are in no aggregate, one element each.

    payload, line   which line (from 0) of which payload of the call
    reason          index into REASONS
    field_count     number of fields that the line has
    misfits         column -> how many records it does not fit, of those that cannot be of their list
    """

    payload: Int64s
    line: Int64s
    reason: Int64s
    field_count: Int64s
    misfits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, payload: Int64s, line: Int64s, reason: int, field_count: Int64s | int) -> Dropped:
        counts = np.full(len(payload), field_count, np.int64) if isinstance(field_count, int) else field_count
        return cls(payload, line, np.full(len(payload), reason, np.int64), counts)

    @classmethod
    def joined(cls, parts: Sequence[Dropped]) -> Dropped:
        if not parts:
            return cls(NO_ROWS, NO_ROWS, NO_ROWS, NO_ROWS)
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.payload for part in parts]),
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.reason for part in parts]),
            np.concatenate([part.field_count for part in parts]),
            sum((part.misfits for part in parts), Counter()),
        )

    def __len__(self) -> int:
        return len(self.payload)

    def in_order(self) -> Dropped:
        """By reason, and those of one reason in the order of their payloads and lines."""
        order = np.lexsort((self.line, self.payload, self.reason))
        return Dropped(self.payload[order], self.line[order], self.reason[order], self.field_count[order], self.misfits)


class Columns(Struct):
    """Well-formed records in their order, one row each.

    table          what is counted; of few records lists with LIST_COLUMNS (of a text None is missing as well; times
                   are whole microseconds or NO_TIME)
    event_ms       event times
    arrival_ms     arrival times
    payload, line  which line of which payload of the call
    field_count    fields of the list that read the row
    huge           row -> number of bytes, for the rows with HUGE_BYTES or more
    dropped        what was not well-formed
    payload_arrivals_ms  arrival time of each payload of the call
    """

    table: Texts | Lists
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
    def as_texts(self) -> Texts:
        return Texts.of_lists(self.table) if isinstance(self.table, dict) else self.table

    def texts_of(self, name: str) -> list[str]:
        """A column of text, record by record; '' where missing, which may be `-` too."""
        if isinstance(self.table, dict):
            return [text or "" for text in self.table[name]]
        if name == REQUEST_ID:
            return [text or "" for text in self.table.request_ids.texts()]
        return self.table.coded[name].texts()

    def micros_of(self, name: str) -> list[int]:
        """A column of times, record by record, in whole microseconds; NO_TIME where missing."""
        return list(self.table[name]) if isinstance(self.table, dict) else self.table.micros[name].each()

    def chosen(self, rows: Bools | Int64s) -> Columns:
        """Some of the rows, by a mask or by their places, which may be in another order. `dropped` stays whole."""
        if self._are_all(rows):
            return self
        other = copy.copy(self)
        other.table = self.table if isinstance(self.table, dict) else self.table.copy()
        other.keep(rows)
        return other

    def keep(self, rows: Bools | Int64s) -> None:
        """The same of these columns themselves."""
        if self._are_all(rows):
            return
        places: Int64s = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64, copy=False)
        if isinstance(self.table, dict):
            chosen = places.tolist()
            self.table = {name: [values[place] for place in chosen] for name, values in self.table.items()}
        else:
            self.table.keep(places)
        if self.huge:
            new = dict(zip(places.tolist(), range(len(places)), strict=True))
            self.huge = {new[row]: number for row, number in self.huge.items() if row in new}
        for name in _OF_EACH:
            setattr(self, name, getattr(self, name)[places])

    def _are_all(self, rows: Bools | Int64s) -> bool:
        """Whether these are all rows, as they come."""
        return len(rows) == len(self) and bool(rows.all() if rows.dtype == np.bool_ else (np.diff(rows) == 1).all())

    def in_order(self) -> Columns:
        """Rows in the order of their payloads and lines."""
        return self.chosen(np.lexsort((self.line, self.payload)))

    @classmethod
    def concatenated(cls, parts: Sequence[Columns], payload_arrivals_ms: Int64s) -> Columns:
        """Rows of parts of one call, one after the other."""
        rows = [0, *np.cumsum([len(part) for part in parts]).tolist()]
        lists = [part.table for part in parts if isinstance(part.table, dict)]
        return cls(
            {name: list(chain.from_iterable(part[name] for part in lists)) for name in LIST_COLUMNS}
            if len(lists) == len(parts)
            else Texts.concatenated([part.as_texts for part in parts]),
            np.concatenate([part.event_ms for part in parts]),
            np.concatenate([part.arrival_ms for part in parts]),
            np.concatenate([part.payload for part in parts]),
            np.concatenate([part.line for part in parts]),
            np.concatenate([part.field_count for part in parts]),
            {row + start: n for part, start in zip(parts, rows, strict=False) for row, n in part.huge.items()},
            Dropped.joined([part.dropped for part in parts]),
            payload_arrivals_ms,
        )
