from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.rollups import periods
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, MONTHLY, PERIODS, ROLLUPS

moments = st.integers(0, 4_000_000_000_000)


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


def test_keys_are_those_of_the_contract():
    start = at(2026, 2, 16, 14, 30)
    assert periods.cache_key(HALF_HOUR, start) == "30min/2026-02-16-1430"
    assert periods.cache_key(HOURLY, at(2026, 2, 16, 14)) == "hourly/2026-02-16-14"
    assert periods.cache_key(DAILY, at(2026, 2, 16)) == "daily/2026-02-16"
    assert periods.cache_key(MONTHLY, at(2026, 2, 1)) == "monthly/2026-02"
    assert periods.consolidated_key(start) == "2026-02-16/14-30/summary"


def test_a_leap_day_belongs_to_february():
    assert len(list(periods.children(MONTHLY, at(2024, 2, 1)))) == 29
    assert len(list(periods.children(MONTHLY, at(2026, 2, 1)))) == 28
    assert periods.start_of(MONTHLY, at(2024, 2, 29, 23, 59)) == at(2024, 2, 1)


def test_a_month_ends_where_the_next_begins_even_over_a_year():
    assert periods.end_of(MONTHLY, at(2026, 12, 1)) == at(2027, 1, 1)
    assert periods.end_of(MONTHLY, at(2026, 2, 1)) == at(2026, 3, 1)


@given(moments, st.sampled_from(PERIODS))
def test_the_start_belongs_to_a_period_and_the_end_to_the_next(moment: int, period: str):
    start = periods.start_of(period, moment)
    end = periods.end_of(period, start)
    assert start <= moment < end
    assert periods.start_of(period, start) == start == periods.start_of(period, end - 1)
    assert periods.start_of(period, end) == end


@given(moments, st.sampled_from(ROLLUPS))
def test_children_tile_their_period_without_gap_or_overlap(moment: int, period: str):
    start = periods.start_of(period, moment)
    below = periods.child_period(period)
    edge = start
    for child in periods.children(period, start):
        assert child == edge
        assert (period, start) in list(periods.parents(below, child))
        edge = periods.end_of(below, child)
    assert edge == periods.end_of(period, start)


@given(moments, st.sampled_from(PERIODS))
def test_a_key_says_its_period_and_start(moment: int, period: str):
    start = periods.start_of(period, moment)
    assert periods.parse_cache_key(periods.cache_key(period, start)) == (period, start)


@given(moments)
def test_iso_times_come_back(moment: int):
    assert periods.from_iso(periods.iso(moment)) == moment
    assert periods.utc(moment) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)


@pytest.mark.parametrize(
    "key", ["30min/2026-02-16-1415", "hourly/2026-2-16-14", "weekly/2026-07", "daily/2026-02-30", "monthly", ""]
)
def test_a_key_that_is_none_is_refused(key: str):
    with pytest.raises(ValueError, match="is no key of an entry"):
        periods.parse_cache_key(key)


def test_a_half_hour_has_no_entries_below_it():
    with pytest.raises(ValueError, match="partials"):
        periods.child_period(HALF_HOUR)
