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
    original = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
