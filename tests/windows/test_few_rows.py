"""However many rows and windows are read and folded together, the windows are the same, to the byte."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa_stream import native
from sa_stream.records import coded, decoder, hashing
from sa_stream.records.columns import FEW_ROWS
from sa_stream.windows import audience, fold, known_paths, paths, tables
from tests.log_lines import NOW_MS, log_files
from tests.oracle import CANONICAL
from tests.windows import partition_feed
from tests.windows.partition_feed import Record, Worker, hostile_records, known_from_records, partials_of

pytestmark = pytest.mark.usefixtures("small_limits")

HOSTILE = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
KERNEL = native.AVAILABLE
LIMITS = (
    *((decoder, "FEW_ROWS"), (paths, "FEW_AT_ONCE"), (hashing, "FEW_TEXTS"), (coded, "FEW_TEXTS")),
    *((known_paths, "FEW_PATHS"), (audience, "FEW_AGENTS")),
)
ALWAYS, NEVER = 1 << 40, -1  # values of them


@pytest.fixture(scope="module", autouse=True)
def packed() -> None:
    """Not the one way or the other: a life goes through all of them."""


def life(records: Sequence[Record], seed: int, limits: Sequence[int], kernel: Sequence[bool] = (False,)) -> Worker:
    """A worker that reads the records in batches of any size, each under one of the limits for few, and with the
    kernel or without it, packed or not; windows are folded together in any number, and told apart in both ways."""
    kernel = [choice for choice in kernel if KERNEL or not choice] or [False]
    rng = random.Random(seed)
    now_ms = records[-1].arrival_ms
    worker, rest = Worker(now_ms=now_ms), list(records)
    with pytest.MonkeyPatch.context() as patch:
        while rest:
            size = rng.choice([1, 2, 5, 17, 60, 200])
            part, rest = rest[:size], rest[size:]
            for module, limit in LIMITS:
                patch.setattr(module, limit, rng.choice(limits))
            patch.setattr(fold, "WINDOWS_TOGETHER", rng.choice([1, 3, 512]))
            patch.setattr(tables, "CELLS_MAX", rng.choice([0, 1 << 18]))
            patch.setattr(native, "AVAILABLE", rng.choice(kernel))
            patch.setattr(partition_feed, "PACKED", rng.choice([True, False]))
            worker.read(part, now_ms)
            worker.flush(now_ms)
    return worker


def assert_the_same(records: Sequence[Record], seed: int) -> None:
    """One by one, as columns, by the kernel, and now so, now so, also within a batch."""
    columns = life(records, seed, [NEVER])
    mixed = [NEVER, 2, ALWAYS]
    for limits, kernel in (([ALWAYS], [False]), (mixed, [False]), ([NEVER], [True]), (mixed, [True, False])):
        other = life(records, seed, limits, kernel)
        assert partials_of(other) == partials_of(columns)
        assert known_from_records(other.state) == known_from_records(columns.state)
        letters = {key for key in columns.store.objects if key.startswith("dead-letters/")}
        assert letters == {key for key in other.store.objects if key.startswith("dead-letters/")}
        assert all(other.store.objects[key] == columns.store.objects[key] for key in letters)


@settings(HOSTILE, max_examples=20)
@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_few_rows_and_columns_make_the_same_windows_of_hostile_records(seed: int, cuts: int) -> None:
    assert_the_same(hostile_records(seed), cuts)


@HOSTILE
@given(log_files(CANONICAL), st.integers(0, 1 << 40))
def test_few_rows_and_columns_make_the_same_windows_of_hostile_files(content: bytes, cuts: int) -> None:
    rng = random.Random(cuts)
    lines = content.split(b"\n")
    records = []
    while lines:
        size = rng.choice([1, 1, 2, 9])
        payload, lines = b"\n".join(lines[:size]) + rng.choice([b"\n", b""]), lines[size:]
        records.append(Record(str(len(records) + 1), NOW_MS, payload))
    assert_the_same(records, cuts)


def test_the_limit_is_small_enough_for_a_window_and_a_batch() -> None:
    assert FEW_ROWS <= 1_000
