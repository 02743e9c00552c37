"""A step of our clock is told once, and health says so until the source's clock is seen to agree with ours again."""

from email.utils import formatdate

import pytest

from consumer.worker.clock_watch import Clock_Watch
from sa_stream.health.notebook import Health
from sa_stream.health.readiness import readiness
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import HOUR_MS, Moment, Now

BEGIN_MS, BEGIN = 1_771_252_200_000, Moment(7_000)


class Rig:
    """Our clock, `off_ms` ahead of the source's, which tells its time when asked."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        self.caplog = caplog
        self.passed_ms = self.off_ms = 0
        self.health = Health(BEGIN)
        self.source = Source_Clock()
        self.watch = Clock_Watch(self.health, self.source)
        self.answer()
        self.look()

    @property
    def now(self) -> Now:
        return Now(BEGIN_MS + self.passed_ms + self.off_ms, BEGIN + self.passed_ms)

    def answer(self) -> None:
        self.passed_ms += 10
        sent, self.passed_ms = self.now, self.passed_ms + 10
        self.source.note(formatdate((BEGIN_MS + self.passed_ms) // 1000, usegmt=True), sent, self.now)

    def look(self, after_ms: int = 50) -> None:
        self.passed_ms += after_ms
        self.watch.look(self.now)

    @property
    def steps_ms(self) -> list[int]:
        return [entry.fields["step_ms"] for entry in self.caplog.records if entry.event == "clock_stepped"]  # type: ignore[attr-defined]

    @property
    def reasons(self) -> list[str]:
        return [reason for reason in readiness(self.health.view(), self.now.moment) if "clock" in reason]


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Rig:
    return Rig(caplog)


def test_a_clock_that_goes_on_is_no_news_however_long_nobody_looks(rig: Rig) -> None:
    for after_ms in (50, 10 * HOUR_MS, 1):
        rig.look(after_ms)
    rig.off_ms = 5_000
    rig.look()
    assert (rig.steps_ms, rig.reasons) == ([], [])


@pytest.mark.parametrize(("step_ms", "side"), [(HOUR_MS, "ahead of"), (-HOUR_MS, "behind"), (6_000, "ahead of")])
def test_a_step_is_told_at_once_and_stays_a_reason_until_the_source_agrees(rig: Rig, step_ms: int, side: str) -> None:
    rig.off_ms = step_ms
    rig.look()
    assert rig.steps_ms == [step_ms]
    assert "has stepped by" in rig.reasons[0]
    rig.answer()
    rig.look()
    assert f"{side} the source's" in rig.reasons[0]
    rig.off_ms = 0
    rig.look()
    assert rig.steps_ms == [step_ms, -step_ms]
    assert rig.reasons, "nobody has confirmed it yet"
    rig.answer()
    rig.look()
    assert rig.reasons == []
    assert len(rig.steps_ms) == 2


def test_an_answer_from_before_the_step_confirms_nothing(rig: Rig) -> None:
    rig.answer()
    rig.off_ms = 10_000
    rig.look()
    rig.look()
    assert "has stepped by 10 s" in rig.reasons[0]


def test_a_clock_that_was_wrong_and_is_put_right_is_a_step_that_the_next_answer_confirms(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(caplog)
    rig.off_ms = -30 * HOUR_MS
    rig.answer()
    rig.watch = Clock_Watch(rig.health, rig.source)
    rig.look()
    assert "behind the source's" in rig.reasons[0]
    assert rig.steps_ms == []
    rig.off_ms = 0
    rig.look()
    rig.answer()
    rig.look()
    assert (rig.steps_ms, rig.reasons) == ([30 * HOUR_MS], [])
