"""Which field each column of a record is: what each column may hold comes in, a choice of AWS's fields goes out.

CloudFront delivers the chosen fields in its own order, so n columns are an increasing choice of n of the known fields.
Two sweeps over (columns × fields) tell which fields a column can be in any such choice. Pure; knows nothing of values.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct


class Alignment(Struct, frozen=True):
    """names        the cheapest choice, a field for each column
    candidates   the fields that each column can be, in AWS's order
    may_be_away  fields that some choice does without
    """

    names: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    may_be_away: frozenset[str]

    def undecided(self, fields: Collection[str]) -> list[str]:
        """Those of the fields that have several places, or one that may as well be another field's."""
        places = {name: sum(name in candidates for candidates in self.candidates) for name in fields}
        return [name for name, count in places.items() if count > 1 or (count == 1 and name in self.may_be_away)]


def aligned(
    columns: Sequence[Collection[str]], order: Sequence[str], costs: Sequence[int], required: Collection[str] = ()
) -> Alignment | None:
    """Every increasing choice of fields that explains all columns; None if there is none.

    columns   the fields that each column's values look like
    order     all fields in AWS's order; `costs`: of each, what it is to be named: the cheapest choice is `names`
    required  fields that must be among those chosen
    """
    fields, count = len(order), len(columns)
    # best[c][f]: least cost of naming the columns from c on by the fields from f on; None where that cannot be
    best: list[list[int | None]] = [[None] * (fields + 1) for _ in range(count + 1)]
    best[count][fields] = 0
    for f in range(fields - 1, -1, -1):
        for c in range(count, -1, -1):
            best[c][f] = _cheaper(
                None if order[f] in required else best[c][f + 1],
                _plus(best[c + 1][f + 1], costs[f]) if c < count and order[f] in columns[c] else None,
            )
    if best[0][0] is None:
        return None
    # reached[f]: how many columns may have been named by the fields before f, of those from which the end is reached
    reached: list[set[int]] = [{0}, *(set() for _ in range(fields))]
    candidates: list[list[str]] = [[] for _ in columns]
    away: set[str] = set()
    for f, name in enumerate(order):
        for c in reached[f]:
            if name not in required and best[c][f + 1] is not None:
                reached[f + 1].add(c)
                away.add(name)
            if c < count and name in columns[c] and best[c + 1][f + 1] is not None:
                reached[f + 1].add(c + 1)
                candidates[c].append(name)
    return Alignment(_cheapest(best, columns, order, costs), tuple(map(tuple, candidates)), frozenset(away))


def _cheapest(
    best: Sequence[Sequence[int | None]], columns: Sequence[Collection[str]], order: Sequence[str], costs: Sequence[int]
) -> tuple[str, ...]:
    names: list[str] = []
    for f, name in enumerate(order):
        c = len(names)
        if c < len(columns) and name in columns[c] and best[c][f] == _plus(best[c + 1][f + 1], costs[f]):
            names.append(name)
    return tuple(names)


def _plus(cost: int | None, more: int) -> int | None:
    return None if cost is None else cost + more


def _cheaper(one: int | None, other: int | None) -> int | None:
    return min((cost for cost in (one, other) if cost is not None), default=None)
