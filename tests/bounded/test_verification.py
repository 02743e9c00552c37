"""Which differences between an entry and a recount have a known reason."""

from typing import Any

import pytest

from sa_stream.bounded.verification import (
    DROPPED,
    DUPLICATES,
    ESTIMATE,
    LANDED_AFTER,
    LATE_FILES,
    MORE_VALUES,
    NOT_FINAL,
    OLDER_VERSION,
    OTHER_RULES,
    SET_ASIDE,
    STREAM_DUPLICATES,
    Difference,
    Facts,
    Rollups,
    cut_fields,
    differences,
    explained,
)
from sa_stream.rollups.entry import About, Entry, build_entry
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY
from sa_stream.timing import DAY_MS, WINDOW_MS
from sa_stream.windows.summaries import VALUES_MAX, add_counts
from tests.rollups.rollup_stream import window_of

START_MS = 1_771_200_000_000


def entry(requests: int, duplicates: int = 0, *, provenance: str = "stream", final: bool = True) -> Entry:
    window = window_of(START_MS, requests)
    window.duplicate_records = duplicates
    return build_entry(HALF_HOUR, START_MS, window, About(final, 0, [], [], None, 0, provenance), bounded=True)


def reasons(stored: Entry | None, recounted: Entry, facts: Facts) -> set[tuple[str, ...]]:
    found, _ = explained(stored, recounted, differences(stored, recounted), facts)
    return {each.reasons for each in found}


def test_equal_entries_have_no_difference_whatever_else_they_say_of_themselves() -> None:
    assert differences(entry(5) | {"revision": 3, "late_records": 2, "invalid_records": 1}, entry(5)) == []


def test_each_field_that_differs_is_named() -> None:
    stored = entry(5)
    stored["status_breakdown"] = {"2xx": 4, "4xx": 1}
    assert differences(stored, entry(5)) == [
        Difference("status_breakdown.2xx", 4, 5),
        Difference("status_breakdown.4xx", 1, None),
    ]


@pytest.mark.parametrize(
    ("stored", "recounted", "facts", "expected"),
    [
        (entry(7), entry(5, 2), Facts(), (DUPLICATES,)),
        (entry(5, 2), entry(5), Facts(), (STREAM_DUPLICATES,)),
        (entry(5, 2, provenance="s3"), entry(5), Facts(), ()),
        (entry(5, 2, provenance="mixed"), entry(5), Facts(), ()),
        (entry(5, 2, provenance="s3"), entry(5), Facts(late=1), ()),
        (entry(5, 2, provenance="s3"), entry(5), Facts(late=2), (LATE_FILES,)),
        (entry(5, provenance="s3"), entry(7), Facts(landed_after=2), (LANDED_AFTER,)),
        (entry(5, provenance="s3"), entry(7), Facts(landed_after=1), ()),
        (entry(5, provenance="s3"), entry(7), Facts(dropped=9), ()),
        (entry(5), entry(7), Facts(dropped=2), (DROPPED,)),
        (entry(5), entry(7), Facts(dropped=1, set_aside=1), (DROPPED, SET_ASIDE)),
        (entry(5), entry(7), Facts(landed_after=2), ()),
        (entry(5), entry(7, 2), Facts(dropped=4), (DUPLICATES, DROPPED)),
        (entry(7, provenance="s3"), entry(5), Facts(late=2), (LATE_FILES,)),
        (entry(7), entry(5), Facts(late=1), ()),
        (entry(7), entry(5), Facts(), ()),
        (entry(5, final=False), entry(7), Facts(), (NOT_FINAL,)),
        (None, entry(7), Facts(dropped=7), (DROPPED,)),
        (None, entry(7), Facts(), ()),
    ],
)
def test_a_difference_has_a_reason_where_all_of_it_is_accounted_for(
    stored: Entry | None, recounted: Entry, facts: Facts, expected: tuple[str, ...]
) -> None:
    assert reasons(stored, recounted, facts) == {expected}


def test_other_values_of_as_many_records_have_no_reason() -> None:
    assert reasons(entry(5) | {"total_bytes": 1}, entry(5), Facts(9, 9, 9, 9)) == {()}


def test_what_an_entry_estimates_may_differ_by_its_error_and_no_more() -> None:
    stored: dict[str, Any] = entry(5)
    errors = {**stored["errors"], "unique_paths": 0.02, "top_paths": 1}
    stored |= {"errors": errors, "unique_paths": 20_000, "top_paths": [{"path": "/"}]}
    recounted = entry(5) | {"errors": errors, "unique_paths": 20_700}
    found, _ = explained(stored, recounted, differences(stored, recounted), Facts(), same_hashes=False)
    assert {each.field: each.reasons for each in found} == {"unique_paths": (ESTIMATE,), "top_paths": (ESTIMATE,)}
    found, _ = explained(stored, recounted, differences(stored, recounted), Facts())
    assert {each.field: each.reasons for each in found} == {"unique_paths": (), "top_paths": (ESTIMATE,)}


def test_what_a_version_before_did_not_count_differs_for_that_reason_and_nothing_else_does() -> None:
    stored = {name: value for name, value in entry(5).items() if name not in ("rules", "agent_classes")}
    recounted = entry(5)
    recounted["agent_classes"] = {"human": 5}
    assert reasons(stored, recounted, Facts()) == {(OLDER_VERSION,)}
    assert reasons(stored | {"total_bytes": 1}, recounted, Facts()) == {(OLDER_VERSION,), ()}


def test_other_rules_explain_what_agents_were_taken_for() -> None:
    stored, recounted = entry(5) | {"rules": "1"}, entry(5) | {"rules": "2"}
    stored |= {"agent_classes": {"human": 5}}
    recounted |= {"agent_classes": {"bot_known": 5}}
    assert reasons(stored, recounted, Facts()) == {(OTHER_RULES,)}
    assert reasons(stored | {"rules": "2"}, recounted, Facts()) == {()}


def test_more_agents_than_are_classified_explain_all_that_agents_tell_and_nothing_else() -> None:
    stored, recounted = entry(5), entry(5)
    stored["errors"] |= {"agent_classes": 2}
    stored |= {"agent_classes": {"human": 3, "unknown": 2}, "browsers": {"Chrome": 3}, "page_views": 3, "bots": []}
    stored |= {"per_half_hour": {"human": [3]}}
    recounted |= {"agent_classes": {"human": 5}, "browsers": {"Chrome": 5}, "page_views": 5, "bots": [{"name": "x"}]}
    recounted |= {"per_half_hour": {"human": [5]}}
    assert reasons(stored, recounted, Facts()) == {(ESTIMATE,)}
    assert reasons(stored | {"total_bytes": 1}, recounted, Facts()) == {(ESTIMATE,), ()}


def test_more_values_than_are_kept_by_name_explain_these_and_nothing_else() -> None:
    stream, files = window_of(START_MS, 1), window_of(START_MS, 1)
    values = [(f"h{number}.example.org", 1) for number in range(VALUES_MAX)] + [("late.example.org", 2)]
    add_counts(stream.counts["hosts"], values)
    add_counts(files.counts["hosts"], values, bounded=True)
    files.finish()
    about = About(True, 0, [], [], None, 0)
    stored, recounted = (build_entry(HALF_HOUR, START_MS, window, about, bounded=True) for window in (stream, files))
    assert stored["hosts"] != recounted["hosts"]
    assert reasons(stored, recounted, Facts(cut=cut_fields(files))) == {(MORE_VALUES,)}
    assert reasons(stored | {"methods": {"PUT": 1}}, recounted, Facts(cut=cut_fields(files))) == {(MORE_VALUES,), ()}
    assert cut_fields(window_of(START_MS, 1)) == frozenset()


def test_records_that_were_dropped_explain_as_many_and_say_how_many_they_were() -> None:
    stored, recounted = entry(5), entry(7)
    assert explained(stored, recounted, differences(stored, recounted), Facts(dropped=3))[1] == 2
    assert explained(stored, recounted, differences(stored, recounted), Facts(dropped=1))[1] == 0


def test_a_roll_up_goes_out_once_all_of_its_half_hours_came() -> None:
    rollups, came = Rollups(), []
    for start_ms in range(START_MS + WINDOW_MS, START_MS + 2 * DAY_MS, WINDOW_MS):
        came += [
            (period, window.start_ms, window.total_requests) for period, window in rollups.add(window_of(start_ms, 1))
        ]
    hours = [each for each in came if each[0] == HOURLY]
    assert len(hours) == 47
    assert {requests for _, _, requests in hours} == {2}
    assert [each for each in came if each[0] == DAILY] == [(DAILY, START_MS + DAY_MS, 48)]
