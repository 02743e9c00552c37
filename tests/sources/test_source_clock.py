"""What the source's time is, from its answers: never later than it really is, whatever our clock does meanwhile."""

import random

import pytest

from sa_stream.sources.source_clock import ANSWERS_MAX, DRIFT_RATE, Source_Clock
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, Moment, Now

NOON_MS = 1_771_243_200_000  # 2026-02-16T12:00Z
NOON = "Mon, 16 Feb 2026 12:00:00 GMT"
BOOT_MS = 5_000_000  # what the clock that cannot step shows at noon


def near(time_ms: int) -> object:
    """But for what two steady clocks may drift apart."""
    return pytest.approx(time_ms, rel=0, abs=100)


def date_of(time_ms: int) -> str:
    """A Date header: the second that has begun."""
    seconds = (time_ms - NOON_MS) // 1000
    hours, seconds = divmod(12 * 3600 + seconds, 3600)
    return f"Mon, 16 Feb 2026 {hours:02}:{seconds // 60:02}:{seconds % 60:02} GMT"


def at(after_noon_ms: int, ahead_ms: int = 0) -> Now:
    """So long after noon, on a machine whose clock is ahead of the source's."""
    return Now(NOON_MS + after_noon_ms + ahead_ms, Moment(BOOT_MS + after_noon_ms))


def told(sent: Now, received: Now, date: str | None = NOON) -> Source_Clock:
    clock = Source_Clock()
    clock.note(date, sent, received)
    return clock


# ---------------------------------------------------------------------- a time that is certain


def test_nobody_knows_the_time_before_the_first_answer() -> None:
    clock = Source_Clock()
    assert clock.at(at(0).moment) is None
    assert (clock.offset_ms, clock.compared) == (0, None)


def test_the_time_of_an_answer_counts_from_when_it_was_received_and_goes_on_by_the_clock_that_cannot_step() -> None:
    """It may have been made at any time since it was asked for: from the receipt on it is a lower bound."""
    clock = told(at(0), at(300))
    assert clock.at(at(300).moment) == near(NOON_MS)
    assert clock.at(at(300 + MINUTE_MS).moment) == near(NOON_MS + MINUTE_MS)
    assert clock.at(at(0).moment) == near(NOON_MS - 300)  # for what was asked before


@pytest.mark.parametrize("seed", range(20))
def test_no_time_is_ever_later_than_the_sources(seed: int) -> None:
    """With slow answers, answers that overtake each other, and a clock of ours that jumps about."""
    chance = random.Random(seed)
    clock, after_ms = Source_Clock(), 0
    for _ in range(200):
        after_ms += chance.choice([0, 10, 999, 1_000, 30_000])
        sent_ms = after_ms - chance.choice([0, 5, 400, 20_000])
        made_ms = chance.randint(sent_ms, after_ms)
        ahead_ms = [chance.choice([0, 0, HOUR_MS, -HOUR_MS, 25 * HOUR_MS]) for _ in range(2)]
        clock.note(date_of(NOON_MS + made_ms), at(sent_ms, ahead_ms[0]), at(after_ms, ahead_ms[1]))
        for asked_ms in (after_ms - 20_000, after_ms, after_ms + 5_000):
            known_ms = clock.at(at(asked_ms).moment)
            assert known_ms is not None
            assert known_ms <= NOON_MS + asked_ms
        assert (clock.at(at(after_ms).moment) or 0) > NOON_MS + after_ms - 21_000


def test_the_answer_that_proves_most_counts() -> None:
    clock = told(at(0), at(900))
    clock.note(date_of(NOON_MS + 1_000), at(950), at(1_000))  # a quick one, as the second began
    clock.note(date_of(NOON_MS + 1_000), at(1_000), at(1_999))  # nearly a second old
    assert clock.at(at(5_000).moment) == near(NOON_MS + 5_000)


def test_an_old_answer_tells_a_time_that_is_certain_all_the_same() -> None:
    """Two steady clocks drift apart a little: the older the answer, the further back what is certain."""
    clock = told(at(0), at(0))
    for passed_ms in (0, 1_000, HOUR_MS, DAY_MS):
        certain_ms = clock.at(at(passed_ms).moment)
        assert certain_ms is not None
        assert passed_ms - passed_ms * DRIFT_RATE - 1 <= certain_ms - NOON_MS <= passed_ms - passed_ms * DRIFT_RATE + 1
    clock.note(date_of(NOON_MS + HOUR_MS), at(HOUR_MS), at(HOUR_MS + 10))
    assert clock.at(at(HOUR_MS + 10).moment) == near(NOON_MS + HOUR_MS)


def test_a_source_whose_clock_was_set_back_is_followed_after_some_answers() -> None:
    clock = told(at(0), at(100))
    for minute in range(1, ANSWERS_MAX + 2):
        after_ms = minute * MINUTE_MS
        clock.note(date_of(NOON_MS + after_ms - HOUR_MS), at(after_ms), at(after_ms + 100))
    assert clock.at(at(after_ms + 100).moment) == near(NOON_MS + after_ms - HOUR_MS)


def test_what_is_remembered_is_bounded_and_many_answers_tell_the_time_to_the_second() -> None:
    clock = Source_Clock()
    for answer in range(1_000):
        clock.note(date_of(NOON_MS + answer * 10), at(answer * 10), at(answer * 10))
    assert len(clock._known) <= 64
    assert NOON_MS + 9_000 < (clock.at(at(10_000).moment) or 0) <= NOON_MS + 10_000


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        " ",
        "soon",
        "0",
        "Mon, 16 Feb",
        "Mon, 99 Feb 2026 12:00:00 GMT",
        "Mon, 16 Feb 2026 99:00:00 GMT",
        "Mon, 16 Feb 99999999999 12:00:00 GMT",
        "Mon, 16 Feb 2026 12:00:00 +99999999999999999999",
        "Mon, 16 Feb 2026 12:00:00 +9999",
        "\0\xff" * 40,
    ],
)
def test_a_header_that_is_no_date_says_nothing(date: str | None) -> None:
    clock = told(at(0), at(10), date)
    assert clock.at(at(10).moment) is None
    assert (clock.offset_ms, clock.compared) == (0, None)


# ---------------------------------------------------------------------- how far ours is off


@pytest.mark.parametrize("ahead_ms", [0, 999, -999])
def test_within_the_second_that_a_header_can_tell_the_clocks_may_agree(ahead_ms: int) -> None:
    assert told(at(0, ahead_ms), at(0, ahead_ms)).offset_ms == (-ahead_ms if ahead_ms < 0 else 0)
    assert told(at(0, ahead_ms), at(1_000, ahead_ms)).offset_ms == 0


@pytest.mark.parametrize(("ahead_ms", "offset_ms"), [(HOUR_MS, -HOUR_MS + 999), (-HOUR_MS, HOUR_MS - 100)])
def test_how_far_our_clock_is_off_is_told_as_far_as_it_is_certain(ahead_ms: int, offset_ms: int) -> None:
    clock = told(at(0, ahead_ms), at(100, ahead_ms))
    assert (clock.offset_ms, clock.compared) == (offset_ms, at(0).moment)
    assert clock.at(at(100).moment) == near(NOON_MS)  # which the wrong clock had no part in


def test_a_slow_answer_does_not_make_our_clock_wrong() -> None:
    for made_ms in (0, 15_000, 30_000):
        assert told(at(0), at(30_000), date_of(NOON_MS + made_ms)).offset_ms == 0


@pytest.mark.parametrize("step_ms", [-DAY_MS, -HOUR_MS, -1_001, 1_001, HOUR_MS, DAY_MS])
def test_where_our_clock_steps_between_request_and_answer_the_two_are_not_compared_and_the_time_is_known(
    step_ms: int,
) -> None:
    clock = told(at(0), at(200, step_ms))
    assert (clock.offset_ms, clock.compared) == (0, None)
    assert clock.at(at(200).moment) == near(NOON_MS)
    clock.note(date_of(NOON_MS + 1_000), at(1_000, step_ms), at(1_200, step_ms))  # the next answer tells
    assert clock.compared == at(1_000).moment
    assert abs(clock.offset_ms + step_ms) < 1_200


def test_a_step_does_not_take_back_what_was_compared_before() -> None:
    clock = told(at(0, HOUR_MS), at(100, HOUR_MS))
    clock.note(date_of(NOON_MS + 1_000), at(1_000, HOUR_MS), at(1_100))
    assert (clock.offset_ms, clock.compared) == (-HOUR_MS + 999, at(0).moment)
    clock.note(date_of(NOON_MS + 2_000), at(2_000), at(2_100))
    assert (clock.offset_ms, clock.compared) == (0, at(2_000).moment)
