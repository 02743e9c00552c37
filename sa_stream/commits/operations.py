"""How pure protocol code asks for I/O: it yields a call, and a driver makes it.

A protocol (commit, recover, reconcile) is a generator of calls. `result = yield call(store.get, key)` reads like a
plain call, but the driver decides when it happens, retries what may succeed later, and (in the simulator) crashes,
fails, delays and interleaves between any two of them. Protocol code therefore holds no clock, no thread and no retry.
Calls that do not depend on each other are yielded `together`.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from msgspec import Struct


class Call(Struct, frozen=True):
    """One piece of I/O: a function and its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def __call__(self) -> Any:
        return self.function(*self.arguments)

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


class Together(Struct, frozen=True):
    """Calls of which none depends on another: the driver may make them at the same time and in any order. Its result is
    the list of theirs. If one fails for good, the others may have happened or not."""

    calls: Sequence[Call]

    def __call__(self) -> list[Any]:
        return [one() for one in self.calls]


type Operation = Call | Together
type Steps[R] = Generator[Operation, Any, R]


def call(function: Callable[..., Any], *arguments: Any) -> Call:
    return Call(function, arguments)


def together(calls: Iterable[Call]) -> Steps[list[Any]]:
    """`results = yield from together(...)`: one result for each call, in their order."""
    calls = list(calls)
    if len(calls) == 1:
        return [(yield calls[0])]
    results: list[Any] = (yield Together(calls)) if calls else []
    return results


def drive[R](steps: Steps[R], perform: Callable[[Operation], Any] = lambda operation: operation()) -> R:
    """Run a protocol to its end. `perform` makes what it yields and returns its result; what it raises is thrown into
    the protocol at the yield (so retries live in `perform`)."""
    try:
        operation = next(steps)
        while True:
            try:
                result = perform(operation)
            except Exception as error:  # noqa: BLE001 - for the protocol, which lets it pass unless it knows better
                operation = steps.throw(error)
            else:
                operation = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
