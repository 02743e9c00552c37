"""Shards that no worker reads, found from what all workers' progress says."""

from consumer.kcl.unread import Unread_Shards
from sa_stream.commits.progress import Progress
from sa_stream.partitions import END, Shard_Info
from sa_stream.rollups.finality import Stream_View
from sa_stream.timing import BEGINNING_MS, Moment, Timing

PATIENCE_MS = 240_000


def progress(partition: str, watermark_ms: int, number: str = "1", parents: tuple[str, ...] = ()) -> Progress:
    return Progress(partition, number, "a", watermark_ms, BEGINNING_MS, number == END, parents=parents)


def view(shards: list[Shard_Info], *found: Progress) -> Stream_View:
    return Stream_View(shards, {each.partition: each for each in found}, Timing(), 0)


def observe(unread: Unread_Shards, stream: Stream_View, at_ms: int) -> dict[str, int]:
    return {partition: since.ms for partition, since in unread.observe(stream, Moment(at_ms)).items()}


ONE = [Shard_Info("a", (), False)]
SPLIT = [Shard_Info("a", (), True), Shard_Info("b", ("a",), False)]


def test_a_shard_that_makes_no_progress_is_unread_until_it_does() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    assert observe(unread, view(ONE, progress("a", 5)), 1_000) == {}
    assert observe(unread, view(ONE, progress("a", 5)), 240_999) == {}
    assert observe(unread, view(ONE, progress("a", 5)), 241_000) == {"a": 1_000}
    assert observe(unread, view(ONE, progress("a", 6)), 242_000) == {}
    assert observe(unread, view(ONE, progress("a", 6, number="2")), 480_000) == {}


def test_a_shard_that_nobody_has_begun_with_is_unread() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    observe(unread, view(ONE), 0)
    assert observe(unread, view(ONE), PATIENCE_MS) == {"a": 0}


def test_a_child_is_due_only_when_its_parent_has_ended() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    observe(unread, view(SPLIT, progress("a", 5)), 0)
    assert observe(unread, view(SPLIT, progress("a", 5)), PATIENCE_MS) == {"a": 0}
    assert observe(unread, view(SPLIT, progress("a", 5, END)), 2 * PATIENCE_MS) == {}
    assert observe(unread, view(SPLIT, progress("a", 5, END)), 3 * PATIENCE_MS) == {"b": 2 * PATIENCE_MS}


def test_an_ended_shard_a_forgotten_parent_and_one_that_was_passed_over_are_nobodys_business() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    passed_over = view(SPLIT, progress("b", 5, parents=("a",)))
    for at_ms in (0, PATIENCE_MS):
        found = observe(unread, passed_over, at_ms)
    assert set(found) == {"b"}
    ended = view(ONE, progress("a", 5, END))
    observe(unread, ended, 0)
    assert observe(unread, ended, PATIENCE_MS) == {}


def unread_of(*found: Progress, shards: list[Shard_Info]) -> set[str]:
    unread = Unread_Shards(PATIENCE_MS)
    observe(unread, view(shards, *found), 0)
    return set(observe(unread, view(shards, *found), PATIENCE_MS))


TWO_SPLITS = [
    Shard_Info("a", (), True),
    Shard_Info("b", ("a",), False),
    Shard_Info("c", ("a",), True),
    Shard_Info("d", ("c",), False),
    Shard_Info("e", ("c",), False),
]
SPLIT_AND_MERGE = [
    Shard_Info("a", (), True),
    Shard_Info("b", ("a",), True),
    Shard_Info("c", ("a",), True),
    Shard_Info("d", ("b", "c"), False),
]


def test_generations_that_were_passed_over_are_nobodys_business() -> None:
    began = [progress(name, 5) for name in "bde"]
    assert unread_of(*began, shards=TWO_SPLITS) == {"b", "d", "e"}, "only those that somebody reads"
    assert unread_of(progress("d", 5), shards=SPLIT_AND_MERGE) == {"d"}
    assert unread_of(progress("d", 5), shards=TWO_SPLITS) == {"b", "d", "e"}, "b and e are open, and nobody has begun"


def test_an_open_child_of_a_parent_that_was_passed_over_is_due() -> None:
    shards = [Shard_Info("a", (), True), Shard_Info("b", ("a",), False), Shard_Info("c", ("a",), False)]
    assert unread_of(progress("b", 5), shards=shards) == {"b", "c"}


def test_a_closed_shard_that_its_parents_have_ended_for_is_due_and_its_children_are_not() -> None:
    assert unread_of(progress("a", 5, END), progress("b", 5), shards=TWO_SPLITS) == {"b", "c"}
