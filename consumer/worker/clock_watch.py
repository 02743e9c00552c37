"""Notices that our clock was stepped: its distance to the clock that cannot step, and the source's answers, come in; an
event, and what health says of it, goes out. Nothing is decided by a clock that has stepped, but people should know."""

from sa_stream.health.notebook import Health
from sa_stream.log import CLOCK_STEPPED, Log
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import CLOCK_OFF_MS_MAX, Moment, Now

log = Log("clock")


class Clock_Watch:
    def __init__(self, health: Health, source: Source_Clock) -> None:
        self._health = health
        self._source = source
        self._before: Now | None = None
        self._stepped_ms = 0
        self._stepped: Moment | None = None

    def look(self, now: Now) -> None:
        """Called with every poll."""
        before, self._before = self._before, now
        if before is not None:
            step_ms = now.wall_ms - before.wall_ms - (now.moment - before.moment)
            if abs(step_ms) > CLOCK_OFF_MS_MAX:
                self._stepped_ms, self._stepped = step_ms, now.moment
                where = "forward" if step_ms > 0 else "back"
                log.tell(
                    CLOCK_STEPPED,
                    f"the clock of this machine was set {where} by {abs(step_ms) // 1000} s",
                    step_ms=step_ms,
                )
        compared = self._source.compared
        agrees = abs(self._source.offset_ms) <= CLOCK_OFF_MS_MAX
        if self._stepped is not None and compared is not None and compared > self._stepped and agrees:
            self._stepped_ms, self._stepped = 0, None
        self._health.clock(self._source.offset_ms, self._stepped_ms)
