"""Bugs of clocks, identity and ends, planted into the product for as long as a context lasts."""

from collections.abc import Iterator
from typing import Any

from consumer.kcl.links import Shard_Links
from sa_stream.commits.decisions import Stream_Identity
from sa_stream.timing import Moment, Now
from tests.simulation.clocks import Clocks
from tests.simulation.identity import Identity
from tests.simulation.planting import patched, planted

FOUND_AT = {
    "ages_by_the_wall_clock": 4,
    "identity_by_name": 32,
    "wall_clock_followed_in_a_jump": 4,
}  # where the rarer ones were found last: looked at first, to save time


@planted
def wall_clock_followed_in_a_jump() -> Iterator[None]:
    """When an answer was not yet fetched is reckoned by the clock on the wall, wherever that has jumped to."""

    def source_ms(self: Any, worker: Any, at: Moment) -> int:
        own = self.own_clocks(worker)
        return own.wall_ms - (own.moment - at)

    with patched(Clocks, "source_ms", source_ms):
        yield


@planted
def end_without_an_ending_number() -> Iterator[None]:
    """The KCL says that a shard has ended, and is believed, whatever the stream says."""
    with patched(Shard_Links, "_is_gone", lambda self, consumer, since_s: False):
        yield


@planted
def retention_fixed_at_start() -> Iterator[None]:
    original = Identity.ask_retention

    def ask_retention(self: Any, worker: Any) -> None:
        if worker.timing.stream.now == (0, ()):
            original(self, worker)

    with patched(Identity, "ask_retention", ask_retention):
        yield


@planted
def identity_by_name() -> Iterator[None]:
    """A stream that was deleted and made anew has its old name: it is taken for the same."""
    with patched(Stream_Identity, "__eq__", lambda self, other: self.arn == other.arn):
        yield


@planted
def ages_by_the_wall_clock() -> Iterator[None]:
    """How long ago something was is measured on the clock that steps."""

    def own_clocks(self: Any, worker: Any) -> Now:
        wall_ms = self.now_ms + worker.clock.off_ms
        return Now(wall_ms, Moment(wall_ms))

    with patched(Clocks, "own_clocks", own_clocks):
        yield
