"""Summaries of many values: exact where they promise it, within their bound elsewhere, and the same in any order."""

import random
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np
import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.records.columns import CODED_COLUMNS, Columns, Dropped, Texts
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.hashing import hash_expression, hash_of
from sa_stream.records.intake import Intake
from sa_stream.records.micros import DURATIONS
from sa_stream.records.request_ids import REQUEST_ID
from sa_stream.windows import summaries
from sa_stream.windows.fold import Part, fold
from sa_stream.windows.summaries import (
    BOUNDS_US,
    DISTINCT_EXACT,
    DURATION_US_MAX,
    OTHER,
    Distinct,
    Durations,
    add_counts,
    big,
    merged_counts,
    unbig,
)
from sa_stream.windows.window import Window


def hashes(values: pl.Series, seed: int) -> pl.Series:
    return pl.DataFrame({"v": values}).select(hash_expression("v", seed)).to_series()


def hashes_of(count: int, salt: int = 0) -> np.ndarray:
    return np.array([hash_of(f"{salt}/{i}", 11) for i in range(count)], np.uint64)


# ------------------------------------------------------------------------------------------------------ distinct counts


@pytest.mark.parametrize("count", [0, 1, 1_000, DISTINCT_EXACT - 1, DISTINCT_EXACT])
def test_distinct_counts_are_exact_up_to_the_limit(count: int) -> None:
    distinct = Distinct()
    distinct.add(np.repeat(hashes_of(count), 2))
    assert (distinct.estimate(), distinct.exact, distinct.error) == (count, True, 0.0)


@pytest.mark.parametrize("count", [DISTINCT_EXACT + 1, DISTINCT_EXACT + 2, 20_000, 50_000, 150_000])
def test_distinct_counts_are_within_two_percent_beyond_it(count: int) -> None:
    for salt in range(3):
        distinct = Distinct()
        distinct.add(hashes_of(count, salt))
        assert not distinct.exact
        assert abs(distinct.estimate() - count) <= distinct.error * count
        assert distinct.error == 0.02


def test_the_hash_of_a_column_is_that_of_each_value() -> None:
    values = ["", "-", "/a", "é\ufffd\0", "x" * 5_000, None]
    for seed in (0, 7, (1 << 64) - 1):
        hashed = pl.DataFrame({"v": values}).select(hash_expression("v", seed)).to_series().to_list()
        assert hashed[:-1] == [xxhash.xxh3_64_intdigest(v.encode(), seed) for v in values if v is not None]
        assert hashed[:-1] == [hash_of(v, seed) for v in values if v is not None]
        assert hashed[-1] is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60)), min_size=1, max_size=6), st.integers(1, 20), st.randoms())
def test_distinct_sketches_do_not_mind_batches_order_or_grouping(
    parts: list[list[int]], kept: int, rng: random.Random
) -> None:
    pool = hashes_of(61)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summaries, "_KEPT", kept)
        sketches = []
        for part in parts:
            sketch = Distinct()
            for value in part:
                sketch.add(pool[[value]])
            sketches.append(sketch)
        everything = sorted({int(pool[value]) for part in parts for value in part})[:kept]
        rng.shuffle(sketches)
        assert Distinct.merged(sketches).hashes.tolist() == everything
        tree = sketches[0]
        for sketch in sketches[1:]:
            tree = Distinct.merged([sketch, tree])
        assert tree.hashes.tolist() == everything


# ------------------------------------------------------------------------------------------------------------ durations


def test_bucket_bounds_rise_and_neighbours_are_close_enough() -> None:
    bounds = BOUNDS_US.tolist()
    assert bounds[0] == 0
    for low, high in pairwise(bounds):
        middle = 2 * (low + 1) * high / (low + 1 + high)
        assert low < high
        assert high - middle <= 0.01 * high + 1e-9
        assert middle - (low + 1) <= 0.01 * (low + 1) + 1e-9


durations_us = st.one_of(st.integers(0, 60), st.integers(0, 10_000_000), st.integers(0, DURATION_US_MAX))
counted_us = st.lists(st.tuples(durations_us, st.integers(1, 5)), min_size=1, max_size=40)


def durations_of(counted: list[tuple[int, int]]) -> Durations:
    made = Durations()
    made.add(np.array([v for v, _ in counted], np.int64), np.array([n for _, n in counted], np.int64))
    return made


@settings(max_examples=150, deadline=None)
@given(st.lists(counted_us, min_size=1, max_size=3), st.sampled_from([1, 7, 50, 90, 95, 99, 100]))
def test_percentiles_are_nearest_rank_within_one_percent_also_of_what_was_merged(
    parts: list[list[tuple[int, int]]], percent: int
) -> None:
    made = Durations()
    for part in parts:
        made.merge(durations_of(part))
    ordered = sorted(v for part in parts for v, n in part for _ in range(n))
    exact = ordered[ceil(Fraction(percent, 100) * len(ordered)) - 1]
    # shown in whole microseconds, and a double cannot hold the bound itself
    assert abs(made.percentile_us(percent) - exact) <= 0.01 * exact * (1 + 1e-9) + 0.5
    assert made.percentile_us(percent) <= ordered[-1]
    assert (made.count, made.sum_us, made.max_us) == (len(ordered), sum(ordered), ordered[-1])


def test_percentiles_of_nothing_are_zero() -> None:
    assert Durations().percentile_us(99) == 0
    made = durations_of([])
    assert (made.percentile_us(50), made.count, made.content()) == (0, 0, Durations().content())


def test_a_maximum_that_was_never_stored_is_unknown_and_stays_so() -> None:
    old = Durations.from_content(durations_of([(5, 2)]).content()[:-1])
    assert (old.count, old.sum_us, old.max_us) == (2, 10, None)
    assert Durations.from_content(old.content()).content() == old.content()
    both, other = Durations(), durations_of([(9, 1)])
    both.merge(other)
    both.merge(old)
    old.merge(other)
    assert both.content() == old.content()
    assert (both.max_us, both.percentile_us(100)) == (None, 9)
    assert Durations.from_content(Durations().content()[:-1]).max_us == 0  # of nothing it is known


def test_sums_of_durations_are_exact_for_silly_sizes() -> None:
    made = Durations()
    longest = 10**36
    made.add_long([longest, DURATION_US_MAX, 9_999_999_999_000_000, 0], [7, 100_000, 5_000_000, 3])
    made.add(np.array([99_999_999_000_000, DURATION_US_MAX]), np.array([400_000, 1 << 30]))
    expected = longest * 7 + DURATION_US_MAX * (100_000 + (1 << 30)) + 9_999_999_999_000_000 * 5_000_000
    assert made.sum_us == expected + 99_999_999_000_000 * 400_000
    assert made.max_us == longest
    assert made.count == 7 + 100_000 + 5_000_000 + 3 + 400_000 + (1 << 30)
    assert Durations.from_content(made.content()).content() == made.content()


@settings(max_examples=80, deadline=None)
@given(st.lists(counted_us, min_size=1, max_size=4), st.randoms())
def test_durations_do_not_mind_batches_order_or_grouping(
    parts: list[list[tuple[int, int]]], rng: random.Random
) -> None:
    together = durations_of([pair for part in parts for pair in part]).content()
    pieces = [durations_of(part) for part in parts]
    rng.shuffle(pieces)
    total = Durations()
    for piece in pieces:
        before = piece.content()
        total.merge(piece)
        assert piece.content() == before
    total.merge(Durations())
    assert total.content() == together
    restored = Durations.from_content(total.content())
    assert restored.content() == together
    assert restored.percentile_us(90) == total.percentile_us(90)


def test_durations_take_no_memory_for_what_is_longer_than_all_of_them() -> None:
    made = durations_of([(30_000, 2)])
    short_bytes = made.buckets.nbytes
    assert 3 * short_bytes < durations_of([(DURATION_US_MAX, 1)]).buckets.nbytes
    assert Durations.from_content(made.content()).buckets.nbytes == short_bytes
    made.merge(durations_of([(5, 1)]))
    assert made.buckets.nbytes == short_bytes
    assert Durations().buckets.nbytes == 0


def test_merging_into_nothing_shares_no_memory() -> None:
    part, total = durations_of([(5, 1)]), Durations()
    total.merge(part)
    total.add(np.array([5]), np.array([1]))
    assert part.content() == durations_of([(5, 1)]).content()


def frame_of(**columns: list[str | None]) -> pl.DataFrame:
    height = len(next(iter(columns.values())))
    names = (*CODED_COLUMNS, *DURATIONS, REQUEST_ID)
    values = {name: [None] * height for name in names} | {k.replace("_", "-"): v for k, v in columns.items()}
    frame = pl.DataFrame(values, schema=dict.fromkeys(names, pl.String))
    return frame.with_columns(bytes=pl.lit(0, pl.Int64), status=pl.lit(200, pl.Int16))


def fold_in(window: Window, frame: pl.DataFrame) -> None:
    rows = np.zeros(frame.height, np.int64)
    columns = Columns(Texts.of_frame(frame), rows, rows, rows, rows, rows, {}, Dropped.joined([]), rows)
    part = Part(window, np.arange(frame.height), seed=1)
    fold([part], columns, Intake(resolve_field_lists("canonical", "")))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["-", "", "+1", "1e3", "nan", "1.", ".1", "0.000001", "1.234567", "12345678", "9" * 31, None]
            ),
            st.from_regex(r"\A[0-9]{1,24}(\.[0-9]{1,6})?\Z"),
            st.from_regex(r"\A[0-9]{1,3}\.[0-9]{5,27}\Z"),
            st.sampled_from(["9" * 30, "0.0000005", "0.0000015", "1.0000005000", "123456789012345678901234.567891"]),
        ),
        min_size=1,
    )
)
def test_times_are_summed_as_whole_microseconds_half_to_even(texts: list[str | None]) -> None:
    window = Window(0)
    fold_in(window, frame_of(time_taken=texts))
    plain = [t for t in texts if t and t.replace(".", "", 1).isdecimal() and t[0] != "." and t[-1] != "."]
    expected = [round(Fraction(t) * 1_000_000) for t in plain if len(t.replace(".", "")) <= 30]
    assert (window.time_taken.count, window.time_taken.sum_us) == (len(expected), sum(expected))
    assert window.ttfb.count == 0


def test_connections_that_last_are_in_no_time() -> None:
    window = Window(0)
    frame = frame_of(
        time_taken=["1", "2", "4", "8", "16", "32", "64", "128", "256"],
        cs_protocol=["ws", "wss", "grpc", "grpcs", "https", None, "https", "https", None],
        sc_content_type=[*[None] * 5, "-", "text/event-stream", "Text/Event-Stream%20;%20charset=utf-8", None],
    ).with_columns(status=pl.Series([200] * 8 + [101], dtype=pl.Int16))
    fold_in(window, frame)
    assert (window.time_taken.sum_us, window.time_taken.max_us) == (48_000_000, 32_000_000)
    assert window.total_requests == 9


def test_a_host_is_counted_under_one_name_whatever_its_case_dot_and_own_port() -> None:
    window = Window(0)
    hosts = ["www.a.b", "WWW.A.b", "www.a.b.", "www.a.b:443", "Www.a.b:", "www.a.b:443", "www.a.b:80", "a:8080", "."]
    fold_in(window, frame_of(cs_host=hosts, cs_protocol=["https"] * 4 + ["wss", "http", "http", None, None]))
    assert window.counts["hosts"] == {"www.a.b": 6, "www.a.b:443": 1, "a:8080": 1, ".": 1}


# --------------------------------------------------------------------------------------------------------- value counts

names = st.sampled_from([*"abcdefgh", OTHER])


@settings(max_examples=100, deadline=None)
@given(st.lists(names, max_size=40), st.integers(1, 6), st.integers(1, 7))
def test_which_names_are_kept_is_a_function_of_the_records(values: list[str], limit: int, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summaries, "VALUES_MAX", limit)
        one_by_one: dict[str, int] = {}
        for value in values:
            add_counts(one_by_one, [(value, 1)])
        batched: dict[str, int] = {}
        for place in range(0, len(values), step):
            part = values[place : place + step]
            distinct = list(dict.fromkeys(part))
            add_counts(batched, [(value, part.count(value)) for value in distinct])
        assert batched == one_by_one
        assert sum(batched.values()) == len(values)
        assert len(batched) <= limit + 1
        assert all(count == values.count(value) for value, count in batched.items() if value != OTHER)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(names, st.integers(1, 9)), max_size=5), st.integers(2, 9), st.randoms())
def test_merged_counts_do_not_mind_the_order_and_lose_nothing(
    parts: list[dict[str, int]], limit: int, rng: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summaries, "VALUES_MAX", limit)
        merged = merged_counts(parts)
        shuffled = list(parts)
        rng.shuffle(shuffled)
        assert merged_counts(shuffled) == merged
        assert sum(merged.values()) == sum(sum(part.values()) for part in parts)
        assert len(merged) <= limit
        if len({name for part in parts for name in part}) <= limit:
            assert merged == {n: sum(p.get(n, 0) for p in parts) for n in {name for part in parts for name in part}}


@given(st.integers(-(1 << 80), 1 << 80))
def test_integers_of_any_size_are_stored(number: int) -> None:
    assert unbig(big(number)) == number
