import threading
from collections.abc import Iterator

import pytest

from sa_stream.sources.ahead import ahead


def test_the_next_one_is_made_while_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    found = ahead(items())
    assert next(found) == 0
    assert made[1].wait(5)
    assert list(found) == [1, 2]


def test_what_making_one_raises_comes_behind_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="broken"):
        next(found)


def test_closing_it_ends_its_thread() -> None:
    def items() -> Iterator[int]:
        while True:
            yield 1

    before = threading.enumerate()  # of other tests some may end meanwhile
    found = ahead(items())
    assert next(found) == 1
    [own] = set(threading.enumerate()) - set(before)
    found.close()
    assert not own.is_alive()
