"""A daemon folds its stream in one thread, and windows of its archive in others: each gets what it would get alone."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.windows import audience, known_paths
from tests.log_lines import NOW_MS, line_of

LISTS = resolve_field_lists("canonical", "")
THREADS, BATCHES, ROWS = 4, 12, 600


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is remembered is forgotten all the time, and threads take turns at every chance."""
    monkeypatch.setattr(known_paths, "PATHS_MAX", 1_500)
    monkeypatch.setattr(audience, "HASHES_REMEMBERED", 1_500)
    known_paths._known_paths.cache_clear()
    audience._classes.cache_clear()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    known_paths._known_paths.cache_clear()


def batch(thread: int, number: int) -> bytes:
    sections, ends = ("blog", "api", "shop", "x", "user@example.org"), ("", ".html", ".css", ".pdf", "/")
    browsers = ("Chrome/120.0", "Firefox/120.0", "Googlebot/2.1", "curl/8.0", "Safari/605.1")
    lines = [
        {
            "timestamp": "1771252200.5",
            "x-edge-request-id": f"{thread} {number} {row}",
            "cs-uri-stem": f"/{sections[row % 5]}{row % 7}/{thread}/{number // 2}/{row}{ends[(row + thread) % 5]}",
            "cs-user-agent": f"Mozilla/5.0%20({thread}%20{number // 2}%20{row % 300})%20{browsers[row % 5]}",
        }
        for row in range(ROWS)
    ]
    return b"".join(line_of(line) + b"\n" for line in lines)


def folded(thread: int) -> bytes:
    windows, parser = Bounded_Windows(), Parser(LISTS)
    for number in range(BATCHES):
        windows.take(parser.parse([batch(thread, number)], np.array([NOW_MS])), Intake(LISTS))
    (window,) = windows.windows.values()
    return window.to_bytes()


@pytest.mark.usefixtures("both_ways")
def test_each_thread_folds_what_it_would_alone() -> None:
    alone = [folded(thread) for thread in range(THREADS)]
    together: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda n=thread: together.update({n: folded(n)})) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [together.get(thread) for thread in range(THREADS)] == alone
