"""Each rule of finality, by name."""

import pytest

from sa_stream.commits.progress import Progress
from sa_stream.partitions import END, RETIRED, Partial_Name, Shard_Info
from sa_stream.rollups.finality import (
    BEFORE_START,
    LAGGING,
    NOT_COVERED,
    NOT_STARTED,
    OLD_LIST,
    OPEN,
    SET_ASIDE,
    WAITING_FOR_CHILDREN,
    Missing,
    Stream_View,
    Window_View,
    view,
)
from sa_stream.timing import BEGINNING_MS, DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, WINDOW_MS, Timing
from sa_stream.windows.partition_state import GONE, RETENTION_GAPS, SET_ASIDE_RECORDS

TIMING = Timing()
W = 1_000_000 * WINDOW_MS
E = W + WINDOW_MS
NOW = E + HOUR_MS
NAME = Partial_Name("l", "7")


def shard(name: str, *parents: str, closed: bool = False) -> Shard_Info:
    return Shard_Info(name, parents, closed)


def progress(
    watermark_ms: int = E,
    since_ms: int = BEGINNING_MS,
    *,
    ended: bool = False,
    parents: tuple[str, ...] = (),
    names: bool = False,
    gaps: int = 0,
    set_aside: int = 0,
) -> Progress:
    return Progress(
        "p",
        END if ended else "9",
        "l",
        watermark_ms,
        since_ms,
        ended,
        parents=parents,
        partials={W: NAME} if names else {},
        counters={name: n for name, n in ((RETENTION_GAPS, gaps), (SET_ASIDE_RECORDS, set_aside)) if n},
    )


def look(shards: list[Shard_Info], now_ms: int = NOW, **known: Progress) -> Window_View:
    return view(shards, known, W, TIMING, now_ms)


def reasons(found: Window_View) -> list[tuple[str, str]]:
    return [(missing.partition, missing.reason) for missing in found.missing]


# ---------------------------------------------------------------------- passed


def test_a_window_is_final_when_every_shard_has_passed_its_end():
    found = look([shard("a"), shard("b")], a=progress(names=True), b=progress(E + 1))
    assert found.final
    assert found.missing == ()
    assert found.sources == (("a", NAME),)


def test_a_watermark_at_the_very_end_has_passed_the_window():
    assert look([shard("a")], a=progress(E)).passed
    assert not look([shard("a")], a=progress(E - 1)).passed


def test_one_lagging_shard_keeps_the_window_partial_and_is_named():
    found = look([shard("a"), shard("b")], a=progress(), b=progress(E - 1))
    assert not found.final
    assert reasons(found) == [("b", LAGGING)]


def test_a_window_that_has_not_ended_is_open_and_nobody_lags():
    found = look([shard("a")], now_ms=E - 1, a=progress(W))
    assert reasons(found) == [("a", OPEN)]


def test_a_listed_shard_without_progress_keeps_the_window_partial():
    found = look([shard("a"), shard("b")], a=progress())
    assert not found.passed
    assert reasons(found) == [("b", NOT_STARTED)]


def test_a_trimmed_shard_that_a_progress_record_knows_stays_in_the_merge_set():
    found = look([shard("b", "a")], a=progress(ended=True, names=True), b=progress(parents=("a",)))
    assert found.final
    assert found.sources == (("a", NAME),)


def test_no_shard_at_all_is_no_reason_for_finality():
    assert not look([]).final
    assert look([]).missing


# ---------------------------------------------------------------------- the source's clock


def test_nothing_has_passed_that_is_still_to_come_although_every_watermark_says_so():
    """Whatever made them say it: a window is never final before its end by the source's clock."""
    shards, known = [shard("a"), shard("b")], {"a": progress(E + HOUR_MS, names=True), "b": progress(E + HOUR_MS)}
    for own in known.values():
        own.position_ms = E - 1
    found = look(shards, now_ms=E - 1, **known)
    assert (found.passed, found.final) == (False, False)
    assert reasons(found) == [("a", OPEN), ("b", OPEN)]
    stream = Stream_View(shards, known, TIMING, E - 1)
    assert (stream.passed_ms, stream.settled_until_ms) == (E - 1, E - 1)
    assert stream.span_reason(W, E) == OPEN
    assert look(shards, now_ms=E, **known).final


def test_shards_that_wait_for_others_are_not_named_for_what_is_still_to_come():
    shards = [shard("a", closed=True), shard("b", "a")]
    found = look(shards, now_ms=E - 1, a=progress(E, ended=True), b=progress(E))
    assert reasons(found) == [("b", OPEN)]


def test_positions_of_progress_records_are_the_sources_clock_too():
    """They are times of the source: a worker whose own clock is days behind makes final what the others do."""
    known = {"a": progress(names=True), "b": progress()}
    known["b"].position_ms = E - 1
    assert not look([shard("a"), shard("b")], now_ms=E - 3 * HOUR_MS, **known).passed
    known["b"].position_ms = E  # one is enough: it is one clock
    assert look([shard("a"), shard("b")], now_ms=E - 3 * HOUR_MS, **known).final
    assert Stream_View([shard("a"), shard("b")], known, TIMING, E - 3 * HOUR_MS).passed_ms == E


# ---------------------------------------------------------------------- resharding


def test_a_child_that_has_not_started_has_its_parents_watermark():
    shards = [shard("a", closed=True), shard("b", "a"), shard("c", "a")]
    assert look(shards, a=progress(E, ended=True), b=progress()).passed
    found = look(shards, a=progress(E - 1, ended=True), b=progress())
    assert reasons(found) == [("c", NOT_STARTED)]


def test_a_merged_child_that_has_not_started_has_the_lowest_of_its_parents_watermarks():
    shards = [shard("a", closed=True), shard("b", closed=True), shard("c", "a", "b")]
    assert look(shards, a=progress(E, ended=True), b=progress(E, ended=True)).passed
    assert not look(shards, a=progress(E, ended=True), b=progress(E - 1, ended=True)).passed


def test_a_merged_child_that_has_not_started_waits_for_a_parent_that_nobody_has_heard_of():
    """The list lacks it for a moment, and nobody has begun with it; the other parent was read to its end."""
    known = progress(E + 1, ended=True, names=True)
    found = look([shard("b", closed=True), shard("c", "a", "b")], b=known)
    assert not found.passed
    assert reasons(found) == [("c", NOT_STARTED)]
    assert look([shard("a", closed=True), shard("b", closed=True), shard("c", "a", "b")], a=known, b=known).final


def test_a_grandchild_waits_for_the_shard_between():
    shards = [shard("a", closed=True), shard("b", "a", closed=True), shard("c", "b")]
    assert look(shards, a=progress(E, ended=True)).passed
    assert not look(shards, a=progress(E - 1, ended=True)).passed


def test_the_last_watermark_of_an_ended_shard_says_nothing_its_children_do():
    shards = [shard("a", closed=True), shard("b", "a")]
    assert look(shards, a=progress(E - 1, ended=True), b=progress(E)).passed
    found = look(shards, a=progress(E + HOUR_MS, ended=True), b=progress(E - 1))
    assert reasons(found) == [("b", LAGGING)]


def test_an_ended_shard_without_a_known_child_has_not_passed():
    found = look([shard("a", closed=True)], a=progress(E + HOUR_MS, ended=True))
    assert not found.passed
    assert reasons(found) == [("a", WAITING_FOR_CHILDREN)]


def test_a_child_that_only_a_progress_record_knows_is_a_known_child():
    assert look([shard("b", "a")], a=progress(0, ended=True), b=progress(E, parents=("a",))).passed


def test_a_closed_shard_that_was_never_consumed_passes_and_covers_with_its_children():
    shards = [shard("a", closed=True), shard("b", "a"), shard("c", "a")]
    since = W - 5 * MINUTE_MS
    assert look(shards, b=progress(E, since), c=progress(E, since)).final
    assert not look(shards, b=progress(E, since), c=progress(E - 1, since)).passed
    assert not look(shards, b=progress(E, since), c=progress(E, since + 1)).covered
    assert not look(shards, b=progress(E, since)).passed  # c: its parent has no watermark to give


def test_children_that_lack_nothing_of_their_own_do_not_vouch_for_a_parent_that_was_never_read():
    found = look([shard("a", closed=True), shard("b", "a")], b=progress())
    assert not found.covered


# ---------------------------------------------------------------------- coverage


def test_a_partition_vouches_for_windows_from_since_plus_five_minutes():
    assert look([shard("a")], a=progress(since_ms=W - 5 * MINUTE_MS)).final
    assert not look([shard("a")], a=progress(since_ms=W - 5 * MINUTE_MS + 1)).covered


def test_what_lies_before_the_first_position_is_before_start():
    found = look([shard("a")], a=progress(since_ms=W))
    assert found.passed
    assert reasons(found) == [("a", BEFORE_START)]


def test_what_retention_took_is_not_covered():
    assert reasons(look([shard("a")], a=progress(since_ms=W, gaps=1))) == [("a", NOT_COVERED)]
    assert reasons(look([shard("a")], a=progress(since_ms=W, set_aside=1))) == [("a", SET_ASIDE)]


def test_a_partition_that_vouches_for_nothing_yet_covers_nothing():
    assert not look([shard("a")], a=progress(since_ms=NEVER_MS)).covered


def test_a_child_that_has_not_started_covers_what_all_its_parents_cover():
    shards = [shard("a", closed=True), shard("b", closed=True), shard("c", "a", "b")]
    a = progress(E, ended=True)
    assert look(shards, a=a, b=progress(E, W - HOUR_MS, ended=True)).covered
    assert not look(shards, a=a, b=progress(E, W, ended=True)).covered


# ---------------------------------------------------------------------- zeros, spans


def test_passed_covered_and_in_nobodys_map_is_a_final_zero():
    found = look([shard("a")], a=progress())
    assert found.final
    assert found.sources == ()
    assert look([shard("a")], a=progress(names=True)).sources
    assert not look([shard("a")], a=progress(E - 1)).final
    assert not look([shard("a")], a=progress(since_ms=W)).final


def test_an_empty_stretch_is_final_only_if_all_of_it_is_passed_and_covered():
    def reason(**known: Progress) -> str:
        return Stream_View([shard("a")], known, TIMING, NOW).span_reason(W, W + 2 * WINDOW_MS)

    assert reason(a=progress(W + 2 * WINDOW_MS)) == ""
    assert reason(a=progress(E)) == LAGGING
    assert reason(a=progress(W + 2 * WINDOW_MS, W)) == BEFORE_START
    assert reason() == NOT_STARTED
    assert Stream_View([], {}, TIMING, W).span_reason(W, E) == OPEN


def test_every_window_that_is_not_final_names_somebody():
    for shards, known in (
        ([shard("a")], {"a": progress(E - 1)}),
        ([shard("a", closed=True), shard("b", "a")], {"a": progress(0, ended=True)}),
        ([shard("a", closed=True), shard("b", "a", closed=True), shard("c", "b")], {"c": progress(0)}),
    ):
        found = look(shards, **known)
        assert not found.final
        assert all(isinstance(missing, Missing) and missing.reason for missing in found.missing)
        assert found.missing


# ---------------------------------------------------------------------- lists that are old, shards that are gone


def reason_of(found: Window_View, partition: str) -> str:
    return dict(reasons(found)).get(partition, "")


def test_a_list_from_before_a_split_passes_nothing_although_a_childs_progress_is_there():
    """The other child has records that nobody knows of."""
    parent, child = progress(0, ended=True), progress(E, parents=("p",))
    found = look([shard("p")], p=parent, a=child)
    assert not found.passed
    assert reason_of(found, "a") == OLD_LIST
    full = [shard("p", closed=True), shard("a", "p"), shard("b", "p")]
    assert not look(full, p=parent, a=child).passed
    assert look(full, p=parent, a=child, b=child).final


def test_a_shard_that_was_trimmed_before_its_end_has_ended_where_a_child_is_read():
    """And covers nothing of what it did not read."""
    children = {"a": progress(E, W - HOUR_MS), "b": progress(E, W - HOUR_MS)}
    for own in children.values():
        own.parents, own.began_ms = ("p",), W - HOUR_MS
    listed = [shard("a", "p"), shard("b", "p")]
    assert look(listed, p=progress(0), **children).final
    children["a"].began_ms = W
    found = look(listed, p=progress(0), **children)
    assert (found.passed, found.covered) == (True, False)


def test_an_ended_shard_without_a_known_child_holds_up_nothing_once_the_stream_has_trimmed_its_children():
    """An outage longer than the retention: what came after it was trimmed unread, and who goes on says so itself."""
    gone, alive = progress(0, ended=True), progress(E)
    gone.position_ms, alive.position_ms = W - 30 * HOUR_MS, W
    assert look([shard("d", "c")], p=gone, d=alive).passed
    alive.position_ms = W - 10 * HOUR_MS  # by the stream's own time, not only by our clock
    assert reason_of(look([shard("d", "c")], p=gone, d=alive), "p") == OLD_LIST
    gone.counters = {GONE: 1}  # unless the stream itself has said that it is gone
    assert look([shard("d", "c")], p=gone, d=alive).passed


@pytest.mark.parametrize("since_ms", [BEGINNING_MS, W - 24 * HOUR_MS])
@pytest.mark.parametrize("left", [None, progress(0)])
def test_a_parent_whose_end_is_lost_is_not_taken_for_one_that_nobody_read(since_ms: int, left: Progress | None):
    listed = [shard("p", closed=True), shard("a", "p"), shard("b", "p")]
    children = {name: progress(E, since_ms, parents=("p",)) for name in "ab"}
    for own in children.values():
        own.followed, own.began_ms = ("p",), W
    records = {**children, **({"p": left} if left else {})}
    for shards in (listed, listed[1:]):  # listed or trimmed
        found = look(shards, **records)
        assert (found.passed, found.covered) == (True, False)
        assert reason_of(found, "p") == NOT_COVERED
    for own in children.values():
        own.began_ms = W - 5 * MINUTE_MS - 1  # all that came later was theirs
    assert look(listed, **records).final


def test_a_tombstone_takes_a_shard_out_of_the_merge_set_and_keeps_its_coverage():
    tombstone = Progress("p", RETIRED, "", BEGINNING_MS, W - 5 * MINUTE_MS, ended=True)
    listed = [shard("p", closed=True), shard("a", "p")]
    child = progress(E, parents=("p",))
    child.followed = ("p",)
    assert look(listed, p=tombstone, a=child).final
    tombstone.since_ms += 1
    assert reasons(look(listed, p=tombstone, a=child)) == [("p", NOT_COVERED)]


# ---------------------------------------------------------------------- shards that were never read


GENERATIONS = {
    "two generations": [
        shard("s0", closed=True),
        shard("s1", "s0"),
        shard("s2", "s0", closed=True),
        shard("s3", "s2"),
        shard("s4", "s2"),
    ],
    "split and merge": [
        shard("s0", closed=True),
        shard("s1", "s0", closed=True),
        shard("s2", "s0", closed=True),
        shard("s3", "s1", "s2"),
    ],
}


@pytest.mark.parametrize("name", GENERATIONS)
def test_shards_that_were_passed_over_at_the_start_follow_those_that_are_read_over_generations(name: str):
    """LATEST behind the KCL: it makes leases for shards that were open at the start, and no others."""
    shards = GENERATIONS[name]
    read = {one.shard_id: progress(E, W - 5 * MINUTE_MS) for one in shards if not one.closed}
    assert look(shards, **read).final
    last = next(reversed(read))
    read[last].since_ms += 1
    assert not look(shards, **read).covered
    read[last] = progress(E - 1, W - 5 * MINUTE_MS)
    assert not look(shards, **read).passed
    read[last] = progress(E)  # lacks nothing of its own, and says nothing of what was never read
    assert not look(shards, **read).covered


def test_a_lost_parent_may_have_had_a_record_that_arrived_when_its_child_began():
    """Its event is up to five minutes ahead of that."""
    timing = Timing()
    parents = [Shard_Info("p", (), True), Shard_Info("c", ("p",), False)]
    for began_ms, final in ((W - timing.coverage_margin_ms, False), (W - timing.coverage_margin_ms - 1, True)):
        child = Progress(
            "c", "5", "m", W + DAY_MS, BEGINNING_MS, False, position_ms=W + DAY_MS, followed=("p",), began_ms=began_ms
        )
        assert Stream_View(parents, {"c": child}, timing, W + DAY_MS).window(W).final == final
