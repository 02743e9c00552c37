"""Request ids as they came: text that is hashed once, for nothing but duplicates, and stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from sa_stream.frames import pl
from sa_stream.records.coded import Bools
from sa_stream.records.fields import NO_VALUE
from sa_stream.records.hashing import Int64s, Texts_In, UInt64s, hash_expression, hash_of

REQUEST_ID = "x-edge-request-id"


class Request_Ids(Struct, frozen=True):
    """One for each record."""

    _held: pl.Series | Texts_In  # in which those that are missing are empty

    @classmethod
    def of_series(cls, series: pl.Series) -> Request_Ids:
        """Null or `-` is missing."""
        return cls(series)

    @classmethod
    def of_texts(cls, texts: Sequence[str | None]) -> Request_Ids:
        """None or `-` is missing."""
        return cls(Texts_In.of(["" if text is None or text == NO_VALUE else text for text in texts]))

    @classmethod
    def lying(cls, texts: Texts_In) -> Request_Ids:
        """As the kernel reads them, the missing ones empty."""
        return cls(texts)

    @classmethod
    def concatenated(cls, parts: Sequence[Request_Ids]) -> Request_Ids:
        return cls.of_texts([text for part in parts for text in part.texts()])

    def taken(self, rows: Int64s) -> Request_Ids:
        """Of some of the records."""
        return Request_Ids(self._held.taken(rows) if isinstance(self._held, Texts_In) else self._held[rows])

    def texts(self) -> list[str | None]:
        """None is missing, and `-`."""
        if isinstance(self._held, Texts_In):
            return [text or None for text in self._held.texts()]
        texts: list[str | None] = self._held.to_list()
        return texts

    def hashed(self, seed: int) -> tuple[UInt64s, Bools]:
        """The hashes under a secret, 0 where missing, and which of them are of an id that is not."""
        if isinstance(self._held, Texts_In):
            values, present = self._held.hashed(seed), self._held.end > self._held.begin
        else:
            hashed = self._held.to_frame("id").select(hash_expression("id", seed)).to_series()
            values = (hashed.fill_null(0) if hashed.null_count() else hashed).to_numpy()
            present = values != hash_of(NO_VALUE, seed)
            if hashed.null_count():
                present &= ~hashed.is_null().to_numpy()
        return values if present.all() else np.where(present, values, np.uint64(0)), present
