"""What every room reckons with: how long to wait for another try."""

from sa_stream.timing import Backoff


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
