"""The memory that finds duplicates, against a dict that looks at one record at a time."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.windows.ids import Recent_Ids

HORIZON = 3


class Naive_Ids:
    """Every id's latest minute, for ever."""

    def __init__(self) -> None:
        self.minutes: dict[int, int] = {}

    def see(self, request_id: int, minute: int) -> bool:
        came = self.minutes.get(request_id)
        self.minutes[request_id] = minute if came is None else max(came, minute)
        return came is not None and came >= minute - HORIZON

    def content(self, now_minute: int) -> dict[int, list[int]]:
        live: dict[int, list[int]] = {}
        for request_id, minute in sorted(self.minutes.items()):
            if minute >= now_minute - HORIZON:
                live.setdefault(minute, []).append(request_id)
        return dict(sorted(live.items()))


def readable(content: list) -> dict[int, list[int]]:
    return {minute: np.frombuffer(data, dtype).tolist() for minute, (dtype, data) in content}


def seen(recent: Recent_Ids, records: list[tuple[int, int]]) -> list[bool]:
    ids = np.array([request_id for request_id, _ in records], np.uint64)
    minutes = np.array([minute for _, minute in records], np.int32)
    found = recent.see(ids, minutes)
    return [False] * len(records) if found is None else found.tolist()


@st.composite
def lives(draw: st.DrawFn, start: int = 100) -> list[list[tuple[int, int]]]:
    """Batches of (id, minute), minutes never falling."""
    minute, batches = start, []
    for _ in range(draw(st.integers(0, 12))):
        batch = []
        for _ in range(draw(st.integers(0, 8))):
            minute += draw(st.sampled_from([0, 0, 0, 1, 1, HORIZON, HORIZON + 1, 254, 256, 257, 65_536]))
            batch.append((draw(st.integers(0, 12)) or (1 << 64) - 1, minute))
        batches.append(batch)
    return batches


@settings(max_examples=150, deadline=None)
@given(lives(), st.sets(st.integers(0, 11)))
def test_ids_are_remembered_as_a_dict_would_also_through_snapshots(
    batches: list[list[tuple[int, int]]], restarts: set[int]
) -> None:
    recent, naive, now = Recent_Ids(HORIZON), Naive_Ids(), 100
    for place, batch in enumerate(batches):
        assert seen(recent, batch) == [naive.see(*record) for record in batch]
        now = batch[-1][1] if batch else now
        if place in restarts:
            content = recent.content(now)
            assert readable(content) == naive.content(now)
            recent = Recent_Ids.from_content(HORIZON, [content])
            assert recent.content(now) == content
    assert readable(recent.content(now)) == naive.content(now)


@settings(max_examples=60, deadline=None)
@given(lives(), lives(start=104), lives(start=101), st.booleans())
def test_a_child_finds_what_any_parent_knew_even_behind_one_parents_clock(
    left: list[list[tuple[int, int]]], right: list[list[tuple[int, int]]], own: list[list[tuple[int, int]]], again: bool
) -> None:
    naive, contents = Naive_Ids(), []
    for batches in (left, right):
        parent, minute = Recent_Ids(HORIZON), 0
        alone = Naive_Ids()
        for batch in batches:
            seen(parent, batch)
            for record in batch:
                alone.see(*record)
                minute = record[1]
        contents.append(parent.content(minute))
        for known_minute, ids in alone.content(minute).items():
            for request_id in ids:
                naive.minutes[request_id] = max(known_minute, naive.minutes.get(request_id, known_minute))
    child = Recent_Ids.from_content(HORIZON, contents)
    assert child.content(0) == Recent_Ids.from_content(HORIZON, contents[::-1]).content(0)
    for batch in own:
        assert seen(child, batch) == [naive.see(*record) for record in batch]
        if again and batch:
            child = Recent_Ids.from_content(HORIZON, [child.content(batch[-1][1])])


def test_what_is_older_than_the_horizon_is_forgotten_and_runs_stay_few() -> None:
    rng = random.Random(2)
    recent = Recent_Ids(HORIZON)
    for minute in range(200):
        for _ in range(5):
            fresh = [(rng.getrandbits(63), minute) for _ in range(50)]
            assert not any(seen(recent, fresh))
        assert len(recent.runs) <= 12
        assert len(recent) <= 250 * (2 * HORIZON + 4)
    assert sum(len(ids) for ids in readable(recent.content(199)).values()) == 250 * (HORIZON + 1)


def test_a_horizon_of_zero_minutes_finds_repetitions_of_the_same_minute() -> None:
    recent = Recent_Ids(0)
    assert seen(recent, [(5, 1), (5, 1), (6, 1)]) == [False, True, False]
    assert seen(recent, [(5, 1), (5, 2), (6, 2), (6, 2)]) == [True, False, False, True]
