"""The hash of what is told apart and not stored: xxh3-64 under a secret."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import xxhash

from sa_stream.native.rows import hash_texts

type Int64s = npt.NDArray[np.int64]
type UInt64s = npt.NDArray[np.uint64]


def hash_expression(field: str, seed: int) -> pl.Expr:
    """xxh3-64 of each text of a column (null stays null), the same as xxhash's."""
    return plh.col(field).nchash.xxh3_64(seed=seed)  # type: ignore[no-any-return]


def hash_of(value: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(value.encode(), seed)


@dataclass(frozen=True, slots=True)
class Texts_In:
    """Texts that lie in one buffer, as the kernel reads them: UTF-8, each from `begin` to `end`."""

    content: npt.NDArray[np.uint8]
    begin: Int64s
    end: Int64s

    def taken(self, places: Int64s) -> "Texts_In":
        return Texts_In(self.content, self.begin[places], self.end[places])

    def texts(self) -> list[str]:
        content = self.content.tobytes()
        places = zip(self.begin.tolist(), self.end.tolist(), strict=True)
        return [content[begin:end].decode() for begin, end in places]

    def hashed(self, seed: int) -> UInt64s:
        values, some_are_longer = hash_texts(self.content, self.begin, self.end, seed)
        if some_are_longer:
            places = np.flatnonzero(values == 0)
            values[places] = [hash_of(text, seed) for text in self.taken(places).texts()]
        return values
