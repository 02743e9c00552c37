"""What a parser reads of a whole file."""

import numpy as np

from sa_stream.records.columns import Columns
from sa_stream.records.parser import Parser


def columns_of(parser: Parser, content: bytes, now_ms: int) -> list[Columns]:
    pieces = parser.pieces(now_ms)
    found = [*pieces.add_lines(content, 0), *pieces.ended()]
    return found or [parser.parse([b""], np.array([now_ms]))]  # there was no line in it
