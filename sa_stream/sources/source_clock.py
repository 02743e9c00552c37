"""What time it is for the source, which stamps records and trims them: the Date headers of its answers come in, times
that are certain go out.

Ours may be wrong, and may step while we look at it. So between two answers time goes on by the clock that cannot step,
and an answer says when it was made: after its request was sent, and before it was received.
"""

from email.utils import parsedate_to_datetime

from sa_stream.timing import Moment, Now

DRIFT_RATE = 0.001  # the steady clocks of two machines may drift apart, but hardly by so much
ANSWERS_MAX = 32
SECOND_MS = 1_000


class Source_Clock:
    """Lower bounds of the source's time. May be asked and told from any thread.

    offset_ms  how far the source's clock is ahead of ours, as far as that is certain: 0 if the two may agree
    compared   when the two were compared last
    """

    def __init__(self) -> None:
        self.offset_ms = 0
        self.compared: Moment | None = None
        self._known: tuple[tuple[Moment, int], ...] = ()  # replaced as a whole: no lock
        self._best: tuple[Moment, int] | None = None  # of them, the one that proves most

    def note(self, date: str | None, sent: Now, received: Now) -> None:
        """An answer with this Date header, a whole second, was asked for and received at these times."""
        if not date:
            return
        try:
            date_ms = round(parsedate_to_datetime(date).timestamp() * 1000)
        except (ValueError, OverflowError):
            return  # a header that is no date says nothing of the clock
        self._known = (*self._known[-ANSWERS_MAX:], (received.moment, date_ms))
        self._best = max(self._known, key=lambda answer: answer[1] - int(answer[0].ms * (1 - DRIFT_RATE)))
        took_ms = received.moment - sent.moment
        if abs(received.wall_ms - sent.wall_ms - took_ms) <= SECOND_MS:  # else ours has stepped: the next answer tells
            self.compared = sent.moment
            self.offset_ms = max(0, date_ms - received.wall_ms) + min(0, date_ms + SECOND_MS - 1 - sent.wall_ms)

    def at(self, at: Moment) -> int | None:
        """The source's clock shows this time now, or a later one; None before the first answer. `at` is now: an answer
        that comes later says nothing of a moment before it, as the steady clock stands still while we are suspended.
        """
        if self._best is None:
            return None
        received, date_ms = self._best
        passed_ms = at - received
        return date_ms + passed_ms - int(abs(passed_ms) * DRIFT_RATE)
