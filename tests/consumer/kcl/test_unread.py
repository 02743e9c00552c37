"""Shards that no worker reads, found from what all workers' progress says."""

from consumer.kcl.unread import Unread_Shards
from sa_stream.commits.progress import END, Progress, Shard_Info
from sa_stream.rollups.finality import Stream_View
from sa_stream.timing import BEGINNING_MS, Timing

PATIENCE_MS = 240_000


def progress(partition: str, watermark_ms: int, number: str = "1", parents: tuple[str, ...] = ()) -> Progress:
    return Progress(partition, number, "a", watermark_ms, BEGINNING_MS, number == END, parents=parents)


def view(shards: list[Shard_Info], *found: Progress) -> Stream_View:
    return Stream_View(shards, {each.partition: each for each in found}, Timing(), 0)


ONE = [Shard_Info("a", (), False)]
SPLIT = [Shard_Info("a", (), True), Shard_Info("b", ("a",), False)]


def test_a_shard_that_makes_no_progress_is_unread_until_it_does() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    assert unread.observe(view(ONE, progress("a", 5)), 1_000) == {}
    assert unread.observe(view(ONE, progress("a", 5)), 240_999) == {}
    assert unread.observe(view(ONE, progress("a", 5)), 241_000) == {"a": 1_000}
    assert unread.observe(view(ONE, progress("a", 6)), 242_000) == {}
    assert unread.observe(view(ONE, progress("a", 6, number="2")), 480_000) == {}


def test_a_shard_that_nobody_has_begun_with_is_unread() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    unread.observe(view(ONE), 0)
    assert unread.observe(view(ONE), PATIENCE_MS) == {"a": 0}


def test_a_child_is_due_only_when_its_parent_has_ended() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    unread.observe(view(SPLIT, progress("a", 5)), 0)
    assert unread.observe(view(SPLIT, progress("a", 5)), PATIENCE_MS) == {"a": 0}
    assert unread.observe(view(SPLIT, progress("a", 5, END)), 2 * PATIENCE_MS) == {}
    assert unread.observe(view(SPLIT, progress("a", 5, END)), 3 * PATIENCE_MS) == {"b": 2 * PATIENCE_MS}


def test_an_ended_shard_a_forgotten_parent_and_one_that_was_passed_over_are_nobodys_business() -> None:
    unread = Unread_Shards(PATIENCE_MS)
    passed_over = view(SPLIT, progress("b", 5, parents=("a",)))
    for at_ms in (0, PATIENCE_MS):
        found = unread.observe(passed_over, at_ms)
    assert set(found) == {"b"}
    ended = view(ONE, progress("a", 5, END))
    unread.observe(ended, 0)
    assert unread.observe(ended, PATIENCE_MS) == {}
