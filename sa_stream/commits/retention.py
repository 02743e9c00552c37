"""How long the stream kept its records, now and before: each value that was seen goes into the state store, and the
past ones come out.

What a shorter retention has trimmed stays gone when it is raised. Kinesis tells only today's value, so whoever asks
writes down what it hears.
"""

from itertools import pairwise

from sa_stream.commits.keys import RETENTIONS_PREFIX, retention_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Store

type Past_Retentions = tuple[tuple[int, int], ...]


def last_retention_steps(store: Store) -> Steps[int | None]:
    """The value that was seen last (ms); None if nobody has looked."""
    seen = yield from _seen_steps(store)
    return seen[-1][1] if seen else None


def _seen_steps(store: Store) -> Steps[list[tuple[int, int]]]:
    """(when it was seen first, value), ascending."""
    seen: list[tuple[int, int]] = []
    for listed in (yield call(store.list, RETENTIONS_PREFIX)):
        at_ms, _, value_ms = listed.key.removeprefix(RETENTIONS_PREFIX).partition("-")
        seen.append((int(at_ms), int(value_ms)))
    return sorted(seen)


def observe_steps(store: Store, retention_ms: int, now_ms: int) -> Steps[Past_Retentions]:
    """Note that the stream keeps its records for so long now; (until_ms, retention_ms) of each value from before.

    Nobody knows when a value changed between two looks. A raised one counts from now on; a shortened one may have held
    since the last look, and takes what it takes at once either way. So each value held until the next one was seen.
    """
    seen = yield from _seen_steps(store)
    if not seen or seen[-1][1] != retention_ms:
        at_ms = max(now_ms, seen[-1][0] + 1 if seen else 0)  # our clock may be behind that of whoever looked last
        yield call(store.create, retention_key(at_ms, retention_ms), b"")
        seen.append((at_ms, retention_ms))
    return tuple((until_ms, value_ms) for (_, value_ms), (until_ms, _) in pairwise(seen))
