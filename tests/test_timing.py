"""What every room reckons with: how long to wait for another try, and what is a time zone."""

import pytest

from sa_stream.timing import Backoff, zone_of


def test_each_failure_in_a_row_doubles_the_wait_up_to_a_maximum() -> None:
    backoff = Backoff(500, 3_000)
    assert [backoff.failed() for _ in range(5)] == [500, 1_000, 2_000, 3_000, 3_000]
    for _ in range(10_000):
        assert backoff.failed() == 3_000


def test_a_success_begins_anew() -> None:
    backoff = Backoff(100, 10_000)
    assert (backoff.failed(), backoff.failed(), backoff.failures) == (100, 200, 2)
    backoff.worked()
    assert (backoff.failures, backoff.failed()) == (0, 100)


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/London", "Asia/Kolkata", "Etc/GMT+5", "America/Argentina/Buenos_Aires"]
)
def test_a_zone_is_found_by_its_iana_name(name: str) -> None:
    zone = zone_of(name)
    assert zone is not None
    assert zone.key == name


@pytest.mark.parametrize(
    "name",
    ["right/Europe/London", "posix/Europe/London", "localtime", "posixrules", "Factory", "europe/london", "", "\0"],
)
def test_a_file_of_the_database_that_is_nobodys_zone_is_none(name: str) -> None:
    assert zone_of(name) is None
