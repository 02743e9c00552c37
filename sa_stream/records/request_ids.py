"""Request ids as they came: text that is hashed once, for nothing but duplicates, and stored nowhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from sa_stream.native.rows import hash_texts
from sa_stream.records.fields import NO_VALUE
from sa_stream.records.hashing import hash_expression, hash_of

REQUEST_ID = "x-edge-request-id"

type Int64s = npt.NDArray[np.int64]
type UInt64s = npt.NDArray[np.uint64]
type Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Packed:
    """Texts that lie in one buffer, from `begin` to `end`; those that are missing are empty."""

    content: npt.NDArray[np.uint8]
    begin: Int64s
    end: Int64s


@dataclass(frozen=True, slots=True)
class Request_Ids:
    """One for each record."""

    _held: pl.Series | _Packed

    @classmethod
    def of_series(cls, series: pl.Series) -> "Request_Ids":
        """Null or `-` is missing."""
        return cls(series)

    @classmethod
    def packed(cls, content: npt.NDArray[np.uint8], begin: Int64s, end: Int64s) -> "Request_Ids":
        """UTF-8 of each from `begin` to `end` in the content, the missing ones empty: as the kernel reads them."""
        return cls(_Packed(content, begin, end))

    @classmethod
    def concatenated(cls, parts: "Sequence[Request_Ids]") -> "Request_Ids":
        return cls(pl.Series([text for part in parts for text in part.texts()], dtype=pl.String))

    def taken(self, rows: Int64s) -> "Request_Ids":
        """Of some of the records."""
        if isinstance(self._held, _Packed):
            return Request_Ids(_Packed(self._held.content, self._held.begin[rows], self._held.end[rows]))
        return Request_Ids(self._held[rows])

    def texts(self) -> list[str | None]:
        """None is missing, and `-`."""
        if isinstance(self._held, _Packed):
            content = self._held.content.tobytes()
            places = zip(self._held.begin.tolist(), self._held.end.tolist(), strict=True)
            return [content[begin:end].decode() or None for begin, end in places]
        texts: list[str | None] = self._held.to_list()
        return texts

    def hashed(self, seed: int) -> tuple[UInt64s, Bools]:
        """The hashes under a secret, 0 where missing, and which of them are of an id that is not."""
        if isinstance(self._held, _Packed):
            values, present = self._hashed_packed(self._held, seed)
        else:
            hashed = self._held.to_frame("id").select(hash_expression("id", seed)).to_series()
            values = (hashed.fill_null(0) if hashed.null_count() else hashed).to_numpy()
            present = values != hash_of(NO_VALUE, seed)
            if hashed.null_count():
                present &= ~hashed.is_null().to_numpy()
        return values if present.all() else np.where(present, values, np.uint64(0)), present

    def _hashed_packed(self, held: _Packed, seed: int) -> tuple[UInt64s, Bools]:
        values, some_are_longer = hash_texts(held.content, held.begin, held.end, seed)
        if some_are_longer:
            rows = np.flatnonzero(values == 0)
            values[rows] = [hash_of(text or "", seed) for text in self.taken(rows).texts()]
        return values, held.end > held.begin
