"""Requests and bytes per path: a plain count below the limit, a bounded error above it, the same in any batches."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.windows import paths
from sa_stream.windows.paths import Path_Table, grouped_paths

type Row = tuple[str, int]


@contextmanager
def limits(distinct_max: int, kept_at_a_cut: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", distinct_max)
        patch.setattr(paths, "KEPT_AT_A_CUT", kept_at_a_cut)
        yield


def add(table: Path_Table, rows: Sequence[Row]) -> None:
    """Sizes over 1,000 are too large for the column."""
    frame = pl.DataFrame(
        {"path": [path for path, _ in rows], "bytes": [size if size <= 1_000 else 0 for _, size in rows]},
        schema={"path": pl.String, "bytes": pl.Int64},
    )
    huge = [(row, path, size) for row, (path, size) in enumerate(rows) if size > 1_000]
    table.add(grouped_paths(frame), lambda: frame, huge)


def table_of(rows: Sequence[Row], step: int | None = None) -> Path_Table:
    table = Path_Table()
    step = step or max(1, len(rows))
    for place in range(0, len(rows), step):
        add(table, rows[place : place + step])
    return table


rows_strategy = st.lists(
    st.tuples(st.sampled_from(["", "/", *(f"/{c}" for c in "abcdefghijklmnop\u20ac")]), st.integers(0, 1_003))
)


@settings(max_examples=100, deadline=None)
@given(rows_strategy, st.integers(1, 9), st.integers(0, 22))
def test_below_the_limit_it_is_a_plain_count(rows: list[Row], step: int, limit: int) -> None:
    table = table_of(rows, step)
    counts, sizes = Counter(path for path, _ in rows), Counter[str]()
    for path, size in rows:
        sizes[path] += size
    expected = sorted(((path, n, sizes[path]) for path, n in counts.items()), key=lambda row: (-row[1], row[0]))
    assert table.top(limit) == expected[:limit]
    assert table.error == 0


@settings(max_examples=200, deadline=None)
@given(rows_strategy, st.integers(1, 9), st.integers(2, 8), st.booleans())
def test_above_the_limit_cuts_fall_on_records_and_their_error_is_bounded(
    rows: list[Row], step: int, distinct_max: int, restart: bool
) -> None:
    with limits(distinct_max, distinct_max // 2):
        one_by_one = table_of(rows, 1)
        batched = Path_Table()
        for place in range(0, len(rows), step):
            add(batched, rows[place : place + step])
            if restart:
                batched = Path_Table.from_content(batched.content())
        assert batched.content() == one_by_one.content() == table_of(rows).content()
        counts = Counter(path for path, _ in rows)
        kept = {path: n for path, n, _ in batched.top(100)}
        assert len(kept) <= distinct_max
        assert set(batched.huge_bytes) <= set(kept)
        for path, count in counts.items():
            assert count - batched.error <= kept.get(path, 0) <= count
        # Misra and Gries: every cut takes from more paths than it keeps
        assert batched.error * (distinct_max // 2 + 1) <= len(rows)


@settings(max_examples=100, deadline=None)
@given(st.lists(rows_strategy, min_size=1, max_size=4), st.integers(2, 8), st.randoms())
def test_merging_does_not_mind_the_order_and_carries_the_error_along(
    parts: list[list[Row]], distinct_max: int, rng: random.Random
) -> None:
    with limits(distinct_max, distinct_max // 2):
        tables = [table_of(part, 3) for part in parts]
        before = [table.content() for table in tables]
        merged = Path_Table.merged(tables)
        assert [table.content() for table in tables] == before
        shuffled = list(tables)
        rng.shuffle(shuffled)
        assert Path_Table.merged(shuffled).content() == merged.content()
        counts = Counter(path for part in parts for path, _ in part)
        kept = {path: n for path, n, _ in merged.top(100)}
        assert len(kept) <= distinct_max
        for path, count in counts.items():
            assert count - merged.error <= kept.get(path, 0) <= count


@settings(max_examples=40, deadline=None)
@given(st.lists(rows_strategy, min_size=3, max_size=3))
def test_below_the_limit_merging_is_associative(parts: list[list[Row]]) -> None:
    a, b, c = (table_of(part) for part in parts)
    left = Path_Table.merged([Path_Table.merged([a, b]), c])
    right = Path_Table.merged([a, Path_Table.merged([b, c])])
    assert left.content() == right.content() == table_of([row for part in parts for row in part]).content()


def test_ties_are_ordered_by_code_point() -> None:
    names = ["/\ue000", "/\U0001f600", "/z", "/Z", "/\u00e9", "/"]
    assert [path for path, _, _ in table_of([(name, 1) for name in names]).top(9)] == sorted(names)


def test_a_hostile_stream_of_new_paths_keeps_the_frequent_ones_at_the_real_limits() -> None:
    table = Path_Table()
    often = [("/often", 1)] * 3_000
    for batch in range(8):
        add(table, [(f"/{batch}/{i}", 1) for i in range(20_000)] + often)
        assert table.table.height + table.pending_rows <= paths.DISTINCT_MAX * 2
    [(path, count, _)] = table.top(1)
    assert path == "/often"
    assert 24_000 - table.error <= count <= 24_000
    assert 0 < table.error <= 8 * 23_000 / (paths.KEPT_AT_A_CUT + 1)
