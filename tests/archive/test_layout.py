"""Layouts: no file that may hold a window's records is left out, whatever the zone, and few keys are looked at."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.archive.files import BUFFERING_MS, Oldest
from sa_stream.archive.layout import LAYOUTS, Places, is_folder
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS

UTC_ZONE = ZoneInfo("UTC")
SETTLE_MS = 900_000


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000


def key_of(places: Places, oldest_ms: int, named: bool = True, stem: str = "logs-3") -> str:
    """As Firehose names a file whose oldest record arrived then."""
    local = datetime.fromtimestamp(oldest_ms / 1000, places.zone)
    name = f"{stem}-{local:%Y-%m-%d-%H-%M-%S}-0a1b2c" if named else "part-0001.gz"
    return f"{places.base}{local.strftime(places.layout.folder)}{name}"


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("hive-hours", "p/year=2026/month=02/day=16/hour=14/logs-1-2026-02-16-14-31-07-ab"),
        ("hive-days", "p/year=2026/month=02/day=16/logs-1-2026-02-16-14-31-07-ab"),
        ("hours", "p/2026/02/16/14/logs-1-2026-02-16-14-31-07-ab"),
        ("days", "p/2026/02/16/logs-1-2026-02-16-14-31-07-ab"),
        ("days", "p/2026/02/16/14/logs-1-2026-02-16-14-31-07-ab"),
    ],
)
def test_a_name_says_when_its_oldest_record_came_to_the_second(layout: str, key: str) -> None:
    at_ms = ms(2026, 2, 16, 14, 31, 7)
    assert Places("p/", LAYOUTS[layout], UTC_ZONE).oldest(key) == Oldest(at_ms, at_ms + 1000, by_name=True)


@pytest.mark.parametrize(
    "name",
    ["part-1.gz", "logs-1-2026-02-16-13-59-59-ab", "logs-1-2026-02-16-14-61-00-ab", "logs-1-2026-02-16-14-31-07"],
)
def test_where_the_name_says_nothing_of_its_folder_the_folder_tells(name: str) -> None:
    places = Places("p/", LAYOUTS["hours"], UTC_ZONE)
    assert places.oldest(f"p/2026/02/16/14/{name}") == Oldest(ms(2026, 2, 16, 14), ms(2026, 2, 16, 15), by_name=False)


def test_a_time_that_no_clock_shows_is_none() -> None:
    places, key = Places("p/", LAYOUTS["days"], UTC_ZONE), "p/2026/02/16/logs-1-2026-02-16-29-00-00-ab"
    assert places.oldest(key) == Oldest(ms(2026, 2, 16), ms(2026, 2, 17), by_name=False)


@pytest.mark.parametrize("key", ["p/2026/2/16/14/a", "p/2026/02/30/14/a", "q/2026/02/16/14/a", "p/2026/02/16/a", "p/a"])
def test_what_lies_elsewhere_is_no_file_of_the_archive(key: str) -> None:
    assert Places("p/", LAYOUTS["hours"], UTC_ZONE).oldest(key) is None


def test_of_two_times_in_a_name_the_last_is_firehose_s() -> None:
    places = Places("", LAYOUTS["days"], UTC_ZONE)
    key = "2026/02/16/x-2026-02-16-01-02-03-y-7-2026-02-16-14-31-07-ab"
    assert places.oldest(key) == Oldest(ms(2026, 2, 16, 14, 31, 7), ms(2026, 2, 16, 14, 31, 8), by_name=True)


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    places = Places("", LAYOUTS["hours"], ZoneInfo("Europe/Berlin"))
    assert places.oldest("2026/10/25/02/a") == Oldest(ms(2026, 10, 25, 0), ms(2026, 10, 25, 2), by_name=False)


ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"])
MOMENTS = st.one_of(  # about changes of the clocks, midnights, the end of a year, a leap day
    st.sampled_from([ms(2026, 3, 29, 1), ms(2026, 10, 25, 1), ms(2026, 4, 4, 15), ms(2027, 1, 1), ms(2028, 2, 29)]),
    st.integers(ms(2026, 1, 1) // MINUTE_MS, ms(2028, 1, 1) // MINUTE_MS).map(lambda minute: minute * MINUTE_MS),
).flatmap(lambda at_ms: st.integers(at_ms - 3 * HOUR_MS, at_ms + 3 * HOUR_MS))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(LAYOUTS)), ZONES, MOMENTS, st.booleans(), st.integers(0, 900_000), st.integers(0, SETTLE_MS)
)
def test_no_file_that_holds_a_record_of_the_window_is_left_out(
    layout: str, zone: str, event_ms: int, named: bool, buffered_ms: int, delay_ms: int
) -> None:
    places = Places("p/", LAYOUTS[layout], ZoneInfo(zone))
    start_ms = event_ms // WINDOW_MS * WINDOW_MS
    key = key_of(places, event_ms + delay_ms - 1 - buffered_ms, named)
    oldest = places.oldest(key)
    assert oldest is not None
    assert oldest.may_hold(start_ms, start_ms + WINDOW_MS, SETTLE_MS)
    assert start_ms in oldest.starts(SETTLE_MS)
    request = next(r for r in places.requests(start_ms, start_ms + WINDOW_MS, SETTLE_MS) if key.startswith(r.prefix))
    time = places.name_time(key)
    assert (time is not None) == named
    assert time is None or request.name_from <= time <= request.name_to


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(LAYOUTS)), ZONES, MOMENTS, st.booleans(), st.integers(-40, 40))
def test_the_windows_of_a_file_are_those_that_would_look_for_it(
    layout: str, zone: str, at_ms: int, named: bool, windows: int
) -> None:
    places = Places("p/", LAYOUTS[layout], ZoneInfo(zone))
    oldest = places.oldest(key_of(places, at_ms, named))
    assert oldest is not None
    start_ms = at_ms // WINDOW_MS * WINDOW_MS + windows * WINDOW_MS
    assert (start_ms in oldest.starts(SETTLE_MS)) == oldest.may_hold(start_ms, start_ms + WINDOW_MS, SETTLE_MS)


def test_few_folders_are_listed_for_a_window() -> None:
    for layout, most in (("hours", 3), ("hive-hours", 3), ("days", 2), ("hive-days", 2)):
        places = Places("p/", LAYOUTS[layout], UTC_ZONE)
        counts = [
            len(places.requests(start_ms, start_ms + WINDOW_MS, SETTLE_MS))
            for start_ms in range(ms(2026, 2, 27), ms(2026, 3, 2), WINDOW_MS)
        ]
        assert max(counts) == most
        assert min(counts) == (2 if "hours" in layout else 1)


def test_a_file_of_an_hour_by_name_is_looked_for_by_few_windows() -> None:
    oldest = Oldest(ms(2026, 2, 16, 14, 10), ms(2026, 2, 16, 14, 10) + 1000, by_name=True)
    starts = list(oldest.starts(SETTLE_MS))
    assert starts == [ms(2026, 2, 16, 13, 30), ms(2026, 2, 16, 14)]
    assert BUFFERING_MS >= 900_000


def test_folders_are_told_by_their_form() -> None:
    assert is_folder("2026", "%Y")
    assert is_folder("day=07", "day=%d")
    assert not is_folder("2026", "%H")
    assert not is_folder("day=7", "day=%d")
