"""Requests and bytes per path: a plain count below the limit, a bounded error above it, the same in any batches."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.records.coded import Coded
from sa_stream.windows import paths
from sa_stream.windows.paths import SUMS, Path_Row, Path_Table
from sa_stream.windows.remembered import keys_of

type Row = tuple[str, int]


@contextmanager
def limits(distinct_max: int, kept_at_a_cut: int, text_bytes_max: int = 1 << 20) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DISTINCT_MAX", distinct_max)
        patch.setattr(paths, "KEPT_AT_A_CUT", kept_at_a_cut)
        patch.setattr(paths, "TEXT_BYTES_MAX", text_bytes_max)
        patch.setattr(paths, "TEXT_BYTES_KEPT_AT_A_CUT", text_bytes_max // 2)
        yield


@contextmanager
def narrow_columns() -> Iterator[None]:
    """Sums as they come leave their columns soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_COLUMN_END", 1_500)
        yield


def sums_of(size: int) -> dict[str, int]:
    """What one request adds to its path: its size says all of it."""
    kinds = {"hits": size % 2, "misses": 1 - size % 2, "status_4xx": size % 3 == 1, "status_5xx": size % 3 == 2}
    return {"bytes": size, **{name: int(n) for name, n in kinds.items()}, "time_us": size * 7, "times": 1}


def add(table: Path_Table, rows: Sequence[Row]) -> None:
    """Sizes over 1,000 are too large for the column. Odd numbers of rows wait in a dict."""
    sums = {name: np.array([sums_of(size)[name] for _, size in rows], np.int64) for name in SUMS}
    sums["bytes"][sums["bytes"] > 1_000] = 0
    huge = [(row, path, size) for row, (path, size) in enumerate(rows) if size > 1_000]
    coded = Coded.of_texts([path for path, _ in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "FEW_AT_ONCE", 256 if len(rows) % 2 else 0)
        table.add(coded, keys_of(coded), sums, huge)


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
    of_each: dict[str, list[dict[str, int]]] = {}
    for path, size in rows:
        of_each.setdefault(path, []).append(sums_of(size))
    paths_there = [
        Path_Row(path, len(found), **{name: sum(one[name] for one in found) for name in SUMS})
        for path, found in of_each.items()
    ]
    for by in ("count", *SUMS):
        name = {"count": "requests"}.get(by, by)
        expected = sorted(
            (row for row in paths_there if getattr(row, name)), key=lambda row: (-getattr(row, name), row.path)
        )
        assert table.top(limit, by) == expected[:limit]
    assert (table.error, table.bytes_error) == (0, 0)


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
        kept = {path: n for path, n, *_ in batched.top(100)}
        assert len(kept) <= distinct_max
        assert set(batched.huge_bytes) <= set(kept)
        for path, count in counts.items():
            assert count - batched.error <= kept.get(path, 0) <= count
        sizes = Counter[str]()
        for path, size in rows:
            sizes[path] += size
        shown = {row.path: row for row in batched.top(100)}
        for path, size in sizes.items():
            assert size - batched.bytes_error <= (shown[path].bytes if path in shown else 0) <= size
        for name in ("hits", "misses", "status_4xx", "status_5xx", "times"):
            for path, row in shown.items():
                exact = sum(sums_of(size)[name] for other, size in rows if other == path)
                assert exact - batched.error <= getattr(row, name) <= exact
        # Misra and Gries: every cut takes from more paths than it keeps
        assert batched.error * (distinct_max // 2 + 1) <= len(rows)


@settings(max_examples=100, deadline=None)
@given(rows_strategy, st.integers(1, 9), st.integers(6, 24), st.booleans())
def test_the_limit_holds_for_the_length_of_paths_as_well_as_for_their_number(
    rows: list[Row], step: int, text_bytes_max: int, restart: bool
) -> None:
    long = [(path * 2, size) for path, size in rows]
    with limits(1_000, 500, text_bytes_max):
        one_by_one = table_of(long, 1)
        batched = Path_Table()
        for place in range(0, len(long), step):
            add(batched, long[place : place + step])
            if restart:
                batched = Path_Table.from_content(batched.content())
        assert batched.content() == one_by_one.content() == table_of(long).content()
        counts = Counter(path for path, _ in long)
        kept = {path: n for path, n, *_ in batched.top(1_000)}
        assert sum(len(path.encode()) for path in kept) == batched.text_bytes <= text_bytes_max
        for path, count in counts.items():
            assert count - batched.error <= kept.get(path, 0) <= count
        assert batched.error == 0 or sum(len(path.encode()) for path in counts) > text_bytes_max
        merged = Path_Table.merged([batched, one_by_one, table_of([("/z", 1)] * 5)])
        assert sum(len(path.encode()) for path, *_ in merged.top(1_000)) == merged.text_bytes <= text_bytes_max


@settings(max_examples=100, deadline=None)
@given(rows_strategy, rows_strategy, st.integers(1, 6), st.integers(4, 30))
def test_the_bounded_form_keeps_the_most_frequent_and_says_what_they_lack(
    rows: list[Row], more: list[Row], shrunk_paths: int, shrunk_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "SHRUNK_PATHS", shrunk_paths)
        patch.setattr(paths, "SHRUNK_TEXT_BYTES", shrunk_bytes)
        table = table_of(rows, 3)
        counts = Counter(path for path, _ in rows)
        too_many = len(counts) > shrunk_paths or sum(len(path.encode()) for path in counts) > shrunk_bytes
        assert table.shrinkable or not too_many
        before_bytes = table.size_bytes
        assert table.shrink() == too_many == (table.error > 0)
        assert table.size_bytes < before_bytes or not too_many
        assert not table.shrinkable
        assert not table.shrink()
        add(table, more)  # it goes on as an ordinary table that lacks something
        counts.update(path for path, _ in more)
        kept = {path: n for path, n, *_ in Path_Table.from_content(table.content()).top(100)}
        for path, count in counts.items():
            assert count - table.error <= kept.get(path, 0) <= count


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
        kept = {path: n for path, n, *_ in merged.top(100)}
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


@settings(max_examples=100, deadline=None)
@given(st.lists(rows_strategy, min_size=2, max_size=3), st.integers(1, 9), st.integers(2, 18))
def test_sums_that_leave_their_columns_are_as_exact_and_the_same_in_any_batches(
    parts: list[list[Row]], step: int, distinct_max: int
) -> None:
    rows = [row for part in parts for row in part]
    with limits(distinct_max, distinct_max // 2):
        expected = [*table_of(rows).rows()]
        with narrow_columns():
            batched = Path_Table()
            for place in range(0, len(rows), step):
                add(batched, rows[place : place + step])
                batched = Path_Table.from_content(batched.content())
            assert batched.content() == table_of(rows).content()
            assert sorted(batched.rows()) == sorted(expected)
            for by in ("bytes", "time_us"):
                ordered = sorted(expected, key=lambda row: (-getattr(row, by), row.path))
                assert batched.top(3, by) == [row for row in ordered if getattr(row, by)][:3]
            assert {*batched.huge_bytes, *batched.huge_us} <= {row.path for row in expected}
    with narrow_columns():
        merged = Path_Table.merged([table_of(part, step) for part in parts])
        assert merged.content() == table_of(rows).content()
    assert sorted(merged.rows()) == sorted(table_of(rows).rows())


def test_so_many_large_responses_of_a_path_as_64_bits_do_not_hold_are_summed_up() -> None:
    most, at_once = (1 << 40) - 1, 1 << 21  # of a record in a column
    added = {"bytes": most * at_once, "time_us": most * at_once, "times": at_once}
    key, numbers = Coded.of_texts(["/"]), np.array([[at_once, *(added.get(name, 0) for name in SUMS)]], np.int64)

    def table_of_parts(parts: int, few_at_once: int) -> Path_Table:
        table = Path_Table()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "FEW_AT_ONCE", few_at_once)
            for _ in range(parts):
                table.add_distinct(keys_of(key), numbers, key.some_bytes)
        return table

    expected = [("/", 12 * at_once, 12 * most * at_once, 12 * most * at_once, 12 * at_once)]
    whole = [table_of_parts(12, few_at_once) for few_at_once in (0, 256)]
    parts = [table_of_parts(3, few_at_once) for few_at_once in (0, 256, 0, 256)]
    for table in (*whole, Path_Table.merged(parts), Path_Table.from_content(whole[0].content())):
        for by in ("count", "bytes", "time_us"):
            rows = table.top(5, by)
            assert [(row.path, row.requests, row.bytes, row.time_us, row.times) for row in rows] == expected
        assert table.content() == whole[0].content()


def test_ties_are_ordered_by_code_point() -> None:
    names = ["/\ue000", "/\U0001f600", "/z", "/Z", "/\u00e9", "/"]
    assert [path for path, *_ in table_of([(name, 1) for name in names]).top(9)] == sorted(names)


def test_a_hostile_stream_of_new_paths_keeps_the_frequent_ones_at_the_real_limits() -> None:
    table = Path_Table()
    often = [("/often", 1)] * 3_000
    for batch in range(8):
        add(table, [(f"/{batch}/{i}", 1) for i in range(20_000)] + often)
        assert len(table) <= paths.DISTINCT_MAX
    [(path, count, *_)] = table.top(1)
    assert path == "/often"
    assert 24_000 - table.error <= count <= 24_000
    assert 0 < table.error <= 8 * 23_000 / (paths.KEPT_AT_A_CUT + 1)


def test_the_longest_paths_there_are_take_no_more_than_the_limit_and_the_bounded_form_a_sixteenth() -> None:
    table = Path_Table()
    often = [("/often", 1)] * 3_000
    for batch in range(4):
        add(table, [(f"/{batch}/{i}/".ljust(2_048, "x"), 1) for i in range(9_000)] + often)
        assert table.size_bytes < 2 * paths.TEXT_BYTES_MAX
    assert table.top(1)[0][0] == "/often"
    assert table.shrink()
    assert table.size_bytes < paths.TEXT_BYTES_MAX / 8
    assert table.top(1)[0][0] == "/often"
    assert table._numbers.nbytes < paths.TEXT_BYTES_MAX / 8  # nothing that was cut is held
