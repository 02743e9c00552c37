"""Listings of a bucket that come to their end, whatever the server says. obstore goes through page after page by itself
and gives what it has found, so a server that answers empty pages for ever would keep it for ever; what is awaited can
be given up."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import obstore

LISTING_S = 300  # until it has found something; it may pass over millions of what was deleted in a bucket with versions


def pages_below(store: Any, folder: str | None, objects_max: int) -> Iterator[Any]:
    """All objects, so many at a time. Raises OSError if it takes too long to find the next ones."""
    stream = obstore.list(store, folder, chunk_size=objects_max)
    while (page := _in_time(lambda: anext(stream, None))) is not None:
        yield page


def level_below(store: Any, folder: str | None) -> Any:
    """The objects and the folders right below. Raises OSError if they are not found in time."""
    return _in_time(lambda: obstore.list_with_delimiter_async(store, folder))


def _in_time(ask: Callable[[], Awaitable[Any]]) -> Any:
    """In a thread of its own, as the caller's may have a loop that runs. Who is interrupted (Ctrl-C) gives it up."""
    begun = Future[Callable[[], object]]()

    async def answer() -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        async with asyncio.timeout(LISTING_S):
            return await ask()

    try:
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(asyncio.run, answer())
            try:
                return answered.result()
            except KeyboardInterrupt:
                with suppress(RuntimeError):  # it has just come to its end
                    begun.result()()
                raise
    except TimeoutError as error:
        raise OSError(
            f"it finds nothing more in {LISTING_S} s, and does not say that this was all: is it S3 that answers? Check "
            "AWS_ENDPOINT_URL and the network"
        ) from error
