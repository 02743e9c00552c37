"""Tells the log when readiness turns, and every minute while this consumer is not ready: alarms read it there."""

from consumer.health import Health, readiness
from consumer.logging import Log

log = Log("readiness")

LOOK_MS = 1_000
REPEAT_MS = 60_000
GRACE_MS = 10_000  # what a start takes is no event


class Readiness_Log:
    def __init__(self, health: Health) -> None:
        self._health = health
        self._next_look_ms = 0
        self._ready: bool | None = None
        self._said_ms = 0

    def tick(self, now_ms: int) -> None:
        """Look, at most once a second."""
        if now_ms < self._next_look_ms:
            return
        self._next_look_ms = now_ms + LOOK_MS
        view = self._health.view()
        reasons = readiness(view, now_ms)
        if not reasons:
            if not self._ready:
                log.info("ready", "ready")
            self._ready = True
        elif self._ready or now_ms - max(self._said_ms, view.started_ms - REPEAT_MS + GRACE_MS) >= REPEAT_MS:
            log.warning("not_ready", "not ready: " + "; ".join(reasons), reasons=reasons)
            self._ready = False
            self._said_ms = now_ms
