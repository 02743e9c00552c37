"""How a bug is planted: a patch of the product, for as long as a context lasts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

type Plant = Callable[[], AbstractContextManager[None]]
PLANTED: dict[str, Plant] = {}


def planted(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
    PLANTED[function.__name__] = contextmanager(function)
    return function


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    of_its_own = not isinstance(owner, type) or name in owner.__dict__
    original = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if of_its_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
