"""Tells the log when readiness turns, and every minute while this consumer is not ready: alarms read it there."""

from sa_stream.health.notebook import Health
from sa_stream.health.readiness import readiness
from sa_stream.log import NOT_READY, READY, Log
from sa_stream.timing import Moment

log = Log("readiness")

LOOK_MS = 1_000
REPEAT_MS = 60_000
GRACE_MS = 10_000  # what a start takes is no event


class Readiness_Log:
    def __init__(self, health: Health) -> None:
        self._health = health
        self._next_look: Moment | None = None
        self._ready: bool | None = None
        self._said: Moment | None = None

    def tick(self, now: Moment) -> None:
        """Look, at most once a second."""
        if self._next_look is not None and now < self._next_look:
            return
        self._next_look = now + LOOK_MS
        view = self._health.view()
        reasons = readiness(view, now)
        if not reasons:
            if not self._ready:
                log.tell(READY, "ready")
            self._ready = True
        elif self._ready or self._is_due(view.started, now):
            log.tell(NOT_READY, "not ready: " + "; ".join(reasons), reasons=reasons)
            self._ready = False
            self._said = now

    def _is_due(self, started: Moment, now: Moment) -> bool:
        if self._said is None:
            return now - started >= GRACE_MS
        return now - self._said >= REPEAT_MS
