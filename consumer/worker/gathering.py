"""Calls that a protocol makes together, in a pool of threads that it shares with others."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from sa_stream.commits.operations import Call, Together

MISSING = object()


class Gathering:
    """Makes calls at the same time. The future that `start` gives has all their results; or, once all are over, the
    first failure: then another `start` makes those again that failed."""

    def __init__(self, operation: Together, submit: Callable[[Call], Future[Any]]) -> None:
        self._calls = operation.calls
        self._submit = submit
        self._results: list[Any] = [MISSING] * len(self._calls)
        self._lock = threading.Lock()

    def start(self) -> Future[list[Any]]:
        future: Future[list[Any]] = Future()
        places = [place for place, result in enumerate(self._results) if result is MISSING]
        errors: list[BaseException] = []
        left = len(places)

        def over(place: int, done: Future[Any]) -> None:
            nonlocal left
            with self._lock:
                left -= 1
                if done.cancelled():
                    return  # the program ends
                if error := done.exception():
                    errors.append(error)
                else:
                    self._results[place] = done.result()
                if left:
                    return
            if errors:
                future.set_exception(errors[0])
            else:
                future.set_result(self._results)

        for place in places:
            self._submit(self._calls[place]).add_done_callback(partial(over, place))
        return future
