"""Many small texts in one buffer, as the kernel reads and writes them: sequences, of which nothing is an object until
somebody asks for it."""

from collections.abc import Sequence
from typing import Self, overload

import numpy as np
import numpy.typing as npt


class _Packed[T](Sequence[T]):
    """Texts that lie in one buffer, one after the other; `ends`: where each ends."""

    __slots__ = ("content", "ends")

    def __init__(self, content: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self.content, self.ends = content, ends

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several, one after the other."""
        before = np.cumsum([0, *(len(part.content) for part in parts)]).tolist()
        ends = [part.ends + start for part, start in zip(parts, before, strict=False)]
        return cls(np.concatenate([part.content for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> T | Self:
        if isinstance(place, slice):
            begin, end, _ = place.indices(len(self))
            ends = self.ends[begin : max(begin, end)]
            before = int(self.ends[begin - 1]) if begin else 0
            last = int(ends[-1]) if len(ends) else before
            return type(self)(self.content[before:last], ends - before)
        place = range(len(self))[place]
        return self._text(self.content[int(self.ends[place - 1]) if place else 0 : int(self.ends[place])].tobytes())

    def _text(self, data: bytes) -> T:
        raise NotImplementedError


class Packed_Payloads(_Packed[bytes]):
    """Payloads of whole lines, none of them packed by itself."""

    def _text(self, data: bytes) -> bytes:
        return data


class Packed_Numbers(_Packed[str]):
    """Sequence numbers."""

    def _text(self, data: bytes) -> str:
        return data.decode()
