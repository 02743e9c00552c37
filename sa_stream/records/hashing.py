"""The hash of what is told apart and not stored: xxh3-64 under a secret."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import Struct

from sa_stream import native
from sa_stream.frames import pl
from sa_stream.native.rows import hash_texts

type Int64s = npt.NDArray[np.int64]
type UInt64s = npt.NDArray[np.uint64]

FEW_TEXTS = 64  # up to so many, hashing one after the other costs less than a call of the kernel


def hash_expression(field: str, seed: int) -> pl.Expr:
    """xxh3-64 of each text of a column (null stays null), the same as xxhash's."""
    import polars_hash as plh  # loads polars

    return plh.col(field).nchash.xxh3_64(seed=seed)  # type: ignore[no-any-return]


def hash_of(value: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(value.encode(), seed)


class Texts_In(Struct, frozen=True):
    """Texts that lie in one piece of UTF-8, each from `begin` to `end`, as the kernel reads them."""

    data: bytes
    begin: Int64s
    end: Int64s

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts_In:
        return cls.joined([text.encode() for text in texts])

    @classmethod
    def joined(cls, encoded: Sequence[bytes]) -> Texts_In:
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        return cls(b"".join(encoded), np.concatenate(([0], ends))[:-1], ends)

    def taken(self, places: Int64s) -> Texts_In:
        return Texts_In(self.data, self.begin[places], self.end[places])

    def replaced(self, places: Int64s, texts: Sequence[str]) -> Texts_In:
        """With other texts in some places."""
        others = Texts_In.of(texts)
        begin, end = self.begin.copy(), self.end.copy()
        begin[places], end[places] = others.begin + len(self.data), others.end + len(self.data)
        return Texts_In(self.data + others.data, begin, end)

    def bytes_at(self, places: Int64s) -> list[bytes]:
        """Some of them."""
        data = self.data
        pairs = zip(self.begin[places].tolist(), self.end[places].tolist(), strict=True)
        return [data[begin:end] for begin, end in pairs]

    def texts_at(self, places: Int64s) -> list[str]:
        """Some of them."""
        return [text.decode() for text in self.bytes_at(places)]

    def texts(self) -> list[str]:
        return self.texts_at(np.arange(len(self.begin)))

    def hashed(self, seed: int) -> UInt64s:
        """xxh3-64 of each."""
        if not native.AVAILABLE or len(self.begin) <= FEW_TEXTS:
            return hashed_bytes(self.bytes_at(np.arange(len(self.begin))), seed)
        values, some_are_longer = hash_texts(np.frombuffer(self.data, np.uint8), self.begin, self.end, seed)
        if some_are_longer:
            places = np.flatnonzero(values == 0)
            values[places] = hashed_bytes(self.bytes_at(places), seed)
        return values


def hashed_bytes(texts: Sequence[bytes], seed: int) -> UInt64s:
    """xxh3-64 of each."""
    return np.array([xxhash.xxh3_64_intdigest(text, seed) for text in texts], np.uint64)
