"""Which rows cannot be of the list that reads them: decoded rows come in, those go out in which two or more of the
columns that CloudFront itself fills hold what these cannot hold. A shifted list shows itself so.

A function of the record and its list alone. At first only the witnesses are looked at, by their few distinct values:
where all of them fit, what is read of the record is where it should be. So an ordinary record costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sa_stream.frames import pl
from sa_stream.records.columns import Bools
from sa_stream.records.decoder import Decoded, Layout
from sa_stream.records.shapes import MISFITS_MIN, cannot_be, recognised


def misfit_rows(decoded: Decoded) -> tuple[Bools, Mapping[str, Bools]] | None:
    """The rows that cannot be of their list, and for each column which of all rows it does not fit; None if all can
    be."""
    layout = decoded.layout
    frame = decoded.frame
    found = [mask for name in layout.witnesses if (mask := _strange(frame[layout.columns[name]], name)) is not None]
    if not found:
        return None
    doubted = np.logical_or.reduce(found)
    names = recognised(layout.listed)
    frame = Layout(layout.listed, names).read(decoded.lines(doubted))
    strange = {name: mask for name in names if (mask := _strange(frame[name], name)) is not None}
    wrong = np.sum(list(strange.values()), axis=0) >= MISFITS_MIN
    if not wrong.any():
        return None
    return _of_all(wrong, doubted), {name: _of_all(mask, doubted) for name, mask in strange.items()}


def misfits_of(layout: Layout, values: Sequence[str]) -> list[str]:
    """The same of one line, by its fields: the columns that it does not fit if it cannot be of its list; else none."""
    listed = layout.listed
    if not any(cannot_be(name, values[place]) for name, place in layout.witnesses.items()):
        return []
    wrong = [name for name in recognised(listed) if cannot_be(name, values[listed.names.index(name)])]
    return wrong if len(wrong) >= MISFITS_MIN else []


def _of_all(mask: Bools, doubted: Bools) -> Bools:
    """Of all rows what is said of the doubted ones."""
    rows = doubted.copy()
    rows[doubted] = mask
    return rows


def _strange(column: pl.Series, name: str) -> Bools | None:
    """Where a column holds what the field cannot; None if nowhere."""
    wrong = [value for value in column.unique().to_list() if cannot_be(name, value)]
    return column.is_in(wrong).fill_null(False).to_numpy() if wrong else None
