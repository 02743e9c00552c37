"""Clocks of a simulated world. The source has the right time; each worker has a clock on its wall that runs off, steps
and comes back, one that cannot step, and what the source's answers told it."""

from email.utils import formatdate
from typing import TYPE_CHECKING

from msgspec import Struct, field

from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, Moment, Now

if TYPE_CHECKING:
    from tests.simulation.parts import Worker

RATE_OFF_MAX = 100e-6
TOOK_MS_MAX = 1_500  # an answer
STEPS_MS = [-DAY_MS, -HOUR_MS, -MINUTE_MS, MINUTE_MS, 20 * MINUTE_MS, HOUR_MS, 25 * HOUR_MS, 3 * DAY_MS]


class Worker_Clock(Struct, eq=False):
    """off_ms  how far the clock on the wall is ahead; `rate`: of the one that cannot step
    source  what the source's answers told
    """

    off_ms: int
    rate: float
    steady_ms: float
    read_ms: int  # when `steady_ms` was shown; in the future while it stands still
    source: Source_Clock = field(default_factory=Source_Clock)

    def moment(self, now_ms: int) -> Moment:
        if now_ms > self.read_ms:
            self.steady_ms += (now_ms - self.read_ms) * self.rate
            self.read_ms = now_ms
        return Moment(int(self.steady_ms))

    def stand_still(self, now_ms: int, until_ms: int) -> None:
        """The machine is suspended."""
        self.moment(now_ms)
        self.read_ms = max(self.read_ms, until_ms)


class Clocks:
    """The part of a world that tells workers what time it is."""

    def make_clock(self) -> Worker_Clock:
        rng = self.rng
        off_ms = rng.choice(STEPS_MS) if self.options["clocks"] and rng.random() < 0.3 else rng.randint(-2_000, 2_000)
        rate = 1 + rng.uniform(-RATE_OFF_MAX, RATE_OFF_MAX)
        return Worker_Clock(off_ms, rate, rng.randint(0, 1 << 40), self.now_ms)

    def own_clocks(self, worker: "Worker") -> Now:
        return Now(self.now_ms + worker.clock.off_ms, worker.clock.moment(self.now_ms))

    def hear(self, worker: "Worker") -> None:
        """An answer of the source has come, with a Date."""
        took_ms = self.rng.randint(0, TOOK_MS_MAX)
        date_ms = self.now_ms - self.rng.randint(0, took_ms)
        received = self.own_clocks(worker)
        sent = Now(received.wall_ms - took_ms, received.moment + -took_ms)
        worker.clock.source.note(formatdate(date_ms // 1000, usegmt=True), sent, received)

    def now(self, worker: "Worker") -> Now:
        """The source's time, as this worker knows it from its answers (consumer.worker.application: now)."""
        own = self.own_clocks(worker)
        return Now(self.source_ms(worker, own.moment) or own.wall_ms, own.moment)

    def source_ms(self, worker: "Worker", at: Moment) -> int | None:
        return worker.clock.source.at(at)

    def clock_steps(self, worker: "Worker") -> None:
        clock = worker.clock
        clock.off_ms = 0 if abs(clock.off_ms) > MINUTE_MS // 2 else self.rng.choice(STEPS_MS)
        self.say("clock", worker.name, clock.off_ms // 1000)
