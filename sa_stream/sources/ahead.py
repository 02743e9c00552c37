"""An iterator whose next item is made by a thread meanwhile."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

_END = object()


def ahead[Item](items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, the next of which is made while one is used. What making one raises is raised in its place.
    Closing it waits until the one that is being made is there."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        made = pool.submit(next, items, _END)
        while (item := made.result()) is not _END:
            made = pool.submit(next, items, _END)
            yield item  # type: ignore[misc]  # it is not _END
