"""The simulation finds what it is for: each planted bug breaks a promise within 150 seeds."""

import json

import pytest

import tests.simulation.planted
import tests.simulation.planted_clocks
import tests.simulation.planted_holes
import tests.simulation.planted_races
import tests.simulation.planted_repairs
from tests.simulation.__main__ import report
from tests.simulation.options import VARIABLE, Options
from tests.simulation.planting import PLANTED

SEEDS_MAX = 150
FOUND_AT = {  # where the rarer ones were found last: looked at first, to save time
    "clock_followed_at_processing": 17,
    "editions_not_looked_at": 12,
    "final_replaced_by_partial": 5,
    "first_read_vouches_by_todays_retention": 67,
    "handed_over_without_what_was_read": 12,
    "hint_taken_for_a_lock": 2,
    "idle_commit_takes_the_snapshot_with_it": 1,
    "ids_forgotten_by_event_time": 2,
    "lost_lease_ignored": 5,
    "partials_deleted_by_the_wall_clock": 82,
    "retention_loss_unnoticed": 7,
    "set_aside_and_still_vouched_for": 18,
    "set_aside_with_its_neighbours": 18,
    "shard_end_without_its_windows": 3,
    "shrunk_in_the_same_lineage": 9,
    "trimmed_parent_left_out": 29,
    "vanished_partial_counts_as_nothing": 4,
}
NO_ARCHIVE = {"archive": False}
ARCHIVE = {"archive": True}
NO_OTHER = {"retention": "", "replaced": ""}
CALM = {**NO_OTHER, "start": "TRIM_HORIZON", "backlog": False, "settings": False}
SHORT = {**CALM, "outage": False}
FORCED: dict[str, tuple[int, Options]] = {  # where what they need is brought about: the seed, and the switches
    "editions_deleted_with_their_day": (1, {"long": True}),
    "end_without_an_ending_number": (
        1,
        {"replaced": "running-same", "local": False, "settings": False, "retention": ""},
    ),
    "gap_in_a_backlog_believed": (
        35,
        {"retention": "any", "backlog": True, "laggard": 0.9, "long": True, "described_minutes": 90}
        | {"settings": False, "replaced": ""},
    ),
    "lateness_is_only_a_setting": (4, {"settings": True, "long": True, "very_late": True, **NO_OTHER}),
    "lost_end_taken_for_skipped": (39, {"lost_progress": 0.03, "reshard": 0.02, "listed_only": True, **NO_OTHER}),
    "missing_partial_taken_for_superseded": (0, {"lost_partials": 0.02, **NO_OTHER}),
    "todays_retention_taken_for_the_past": (
        5,
        {"retention": "any", "outage": True, "settings": False, "replaced": ""},
    ),
    "loss_not_asked_for_before_the_end": (2, {"outage_reshard": "late", **NO_OTHER}),
    "forgotten_after_one_look": (16, {"stalled": 1, "stall_minutes": 240, "workers": 3, "busy": 0.2, **SHORT}),
    "old_list_believed": (
        1,
        {"late_leases": 60, "old_lists": 3600, "stale_listing": False, "reshard": 0.02, "shards": 1, "workers": 3}
        | {"busy": 0.3, "commit_s": 60, "listed_only": False, **SHORT},
    ),
    "repair_mixed_with_the_streams_partials": (1, ARCHIVE),
    "repair_of_fewer_files_wins": (1, ARCHIVE),
    "repaired_once_and_never_again": (5, ARCHIVE),
    "retired_by_one_list": (
        12,
        {"missing_shards": 0.4, "old_lists": 0, "stale_listing": False, "reshard": 0.01, "retention_hours": 12}
        | {"long": True, **SHORT},
    ),
    "retired_coverage_forgotten": (
        0,
        {"split_ends": 0.5, "retention_hours": 2, "reshard": 0.02, "workers": 3, "long": True, **SHORT},
    ),
    "retired_without_a_tombstone": (
        1,
        {"late_progress": 0.1, "retention_hours": 2, "reshard": 0.02, "long": True, **SHORT},
    ),
    "retention_fixed_at_start": (
        7,
        {"retention": "any", "backlog": True, "laggard": 0.9, "long": True, "described_minutes": 90}
        | {"settings": False, "replaced": ""},
    ),
    "secret_destroyed_by_the_wall_clock": (58, {"backlog": True, "clean_up": True, "long": True, **NO_OTHER}),
    "settled_without_being_listed": (
        9,
        {"old_lists": 21600, "stale_listing": False, "reshard": 0.006, "retention_hours": 12, "shards": 1, "workers": 1}
        | {"busy": 0.4, "poison": 0, "engine_fails": 0, "lost_partials": 0, "listed_only": False, "long": True}
        | {"crashes": 0, "night": False, "laggard": 0, "clocks": False, "throttled": 0, "shrink": 0, **SHORT},
    ),
    "torn_secret_without_a_tag": (1, {"torn_secrets": 0.02, "replaced": ""}),
    "trimmed_shard_never_answered": (4, {"outage_reshard": "early", **NO_OTHER}),
    "trimmed_without_its_children_never_passes": (
        0,
        {
            "outage_reshard": "generations",
            "listed_only": True,
            "local": True,
            "commit_s": 900,
            "shards": 1,
            "reshard": 0,
        }
        | CALM,
    ),
    "trimmed_shard_ends_as_if_read": (2, {"outage_reshard": "early", **NO_OTHER}),
}


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - FORCED.keys()))
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps(NO_ARCHIVE))
    found_at = FOUND_AT | tests.simulation.planted_clocks.FOUND_AT
    seeds = [found_at.get(name, 0), *range(SEEDS_MAX)]
    found = next((broken for seed in seeds if (broken := report(seed, name).broken)), "")
    assert found not in ("", "crash")


@pytest.mark.parametrize("name", sorted(FORCED))
def test_a_planted_bug_is_found_where_what_it_needs_is_brought_about(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_at, switches = FORCED[name]
    monkeypatch.setenv(VARIABLE, json.dumps(NO_ARCHIVE | switches))
    seed, found = next(
        ((seed, broken) for seed in (found_at, *range(SEEDS_MAX)) if (broken := report(seed, name).broken)), (0, "")
    )
    assert found not in ("", "crash")
    held = report(seed)
    assert not held.broken, held.story
