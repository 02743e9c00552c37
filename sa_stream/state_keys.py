"""Which keys of the state store are ours: their shapes, for whoever lists it. How each is made, and what is read out of
it, is in commits/keys.py.

People put a README beside our objects, and tools a copy. Whoever lists a folder must be able to read what is in the
names there, so whatever has no shape of ours is passed over by the store itself, before anybody sees it; and the store
takes none under such a key, so that nothing of ours can be passed over.
"""

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

_ANY = r".+"  # a partition is called what its source calls it
_LINEAGE = r"[0-9a-z-]+(?:\.[0-9a-f]{8})?|RETIRED"  # no ending, and no capitals
_HASH = r"[0-9a-f]+"
_REPAIR = r"[0-9a-z-]+-(?:whole|broken)"
_NUMBER = r"\d{4,}|END|RETIRED"  # as partitions.sortable writes it
_MONTH = r"[1-9]\d{3}-(?:0[1-9]|1[0-2])"
_DAY = rf"(?P<day>{_MONTH}-\d\d)"
_HOUR = r"(?:[01]\d|2[0-3])"
_WINDOW = rf"{_DAY}T{_HOUR}[03]0"
_ENTRIES = (("30min", rf"{_DAY}-{_HOUR}[03]0"), ("hourly", rf"{_DAY}-{_HOUR}"), ("daily", _DAY), ("monthly", _MONTH))

# First segment -> what may follow it, a pattern for each segment. What is below another one is nobody's business here.
_SHAPES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "partials": ((_WINDOW, _ANY, _LINEAGE, _NUMBER),),
    "snapshots": ((_ANY, _NUMBER, _LINEAGE),),
    "progress": ((_ANY, _NUMBER, r"\d+", rf"(?:{_LINEAGE})(?:\.snapshot)?"),),
    "checkpoints": ((r"shardId-\d+",),),  # a name alone, of a partition that is to be read
    "summaries": tuple((*entry, _HASH) for entry in _ENTRIES),
    "editions": tuple((*entry, r"\d{6,}") for entry in _ENTRIES),
    "editions-closed": (("30min|hourly", _DAY), ("daily", _MONTH)),
    "secrets": ((rf"{_MONTH}(?:\.\d+)?",),),
    "secrets-destroyed": ((_MONTH,),),
    "repairs": ((_WINDOW, _NUMBER, _REPAIR),),
    "repair-files": ((_WINDOW, _NUMBER, _REPAIR),),
    "repair-late": ((_WINDOW, _HASH),),
    "manifests": ((_DAY, rf"{_DAY}-[0-9a-f]{{16}}(?:\.done)?"),),
    "dead-letters": ((_ANY, r"\d+", r"\d+|set_aside-\d+"),),
    "meta": (
        (r"application|runner|(?:id|start|fields)(?:\.\d+)?",),
        ("streams", r"\d+"),
        ("retention", r"\d+-\d+"),
    ),
}
_PATTERNS = {first: tuple(tuple(map(re.compile, shape)) for shape in shapes) for first, shapes in _SHAPES.items()}


def is_ours(key: str, folder: bool = False) -> bool:
    """Whether an object of this key can be one of ours; `folder`: whether there can be one below it."""
    first, *rest = key.split("/")
    shapes = _PATTERNS.get(first)
    if shapes is None:
        return True
    return any(
        (len(rest) < len(shape) if folder else len(rest) == len(shape))
        and all(_fits(pattern, segment) for pattern, segment in zip(shape, rest, strict=False))
        for shape in shapes
    )


def _fits(pattern: re.Pattern[str], segment: str) -> bool:
    found = pattern.fullmatch(segment)
    return found is not None and ("day" not in pattern.groupindex or _is_day(found["day"]))


@lru_cache(maxsize=4_096)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:  # the 30th of February
        return False
    return True
