"""From when on a partition vouches: what its first start can be sure of, and what takes that away."""

from msgspec import Struct


class First_Start(Struct, frozen=True):
    """What a partition that starts without a past, in a stream that may have trimmed something, can be sure of.

    What retention the stream had before we first asked is known to nobody, only that it was never below a day. So the
    first record that is still there says from when on all are.

    reach_ms  the first moment that it was to read: the stream's birth, or the position that was asked for
    from_ms   what it vouches from if nothing was trimmed (BEGINNING_MS: for everything)
    kept_ms   no more than what the retention has left when it started
    sure_ms   from here on all is there, whatever the retention was
    """

    reach_ms: int
    from_ms: int
    kept_ms: int
    sure_ms: int

    @property
    def since_ms(self) -> int:
        """Before the first record was read."""
        return max(self.from_ms, self.kept_ms, self.sure_ms)

    def since_first_ms(self, arrival_ms: int, margin_ms: int) -> int:
        """Now that the oldest record that is there is known to have arrived at this time."""
        if self.reach_ms >= self.kept_ms and arrival_ms <= self.reach_ms + margin_ms:
            return self.from_ms
        return max(self.from_ms, self.kept_ms, min(arrival_ms, self.sure_ms))


RETENTION, SNAPSHOT, PARTIAL, SECRET, MONTH = "retention", "snapshot", "partial", "secret", "month"
ASIDE = "set-aside"


_WHY = {
    RETENTION: "the stream no longer has all that was not read yet, as its retention is shorter than the delay",
    SNAPSHOT: "its last snapshot is missing or torn",
    PARTIAL: "the partial of a window is missing or torn",
    SECRET: "a hash secret was torn, and another one has taken its place",
    MONTH: "a record of a month came whose hash secret is destroyed, so that month is over, read to its end or not",
    ASIDE: "records on which the program fails again and again were passed over",
}


class Loss(Struct, frozen=True):
    """Why a partition covers less than before, and from when on it vouches."""

    kind: str
    since_ms: int

    @property
    def why(self) -> str:
        return _WHY[self.kind]
