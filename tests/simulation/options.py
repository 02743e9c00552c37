"""What a seed's world is like: how busy, how faulty, and in which ways. Few seeds have everything; some have nothing.

`SWITCHED` are the harsher faults, each of which can be switched for all seeds (see `switches`), so that a failure can
be narrowed down to the one that causes it.
"""

import json
import os
import random
from typing import Any

from sa_stream.commits.protocol import SNAPSHOT_INSIDE_BYTES_MAX
from sa_stream.timing import HOUR_MS

VARIABLE = "SIMULATION_SWITCHES"  # JSON of what `switches` returned: for the processes that run seeds

type Options = dict[str, Any]

# name -> what it is when it is off
SWITCHED: Options = {
    "clean_up": "",  # or "all": besides retirement also partials, secrets
    "store_offset_ms": 0,  # how far the state store's clock is off
    "backlog": False,  # the stream is much older than the application, which reads it in minutes
    "laggard": 0.0,  # how often a read of every other shard does not happen
    "long_ghosts": False,  # what a dead worker has under way takes effect hours later
    "longer_pauses": False,  # longer than everything is kept
    "long": False,  # the time with faults
    "settings": False,  # change between restarts
    "retention": "",  # or when it changes: "before" the first start, in an "outage", at "any" time
    "old_lists": 0,  # up to how many seconds a worker's list of shards is old
    "missing_shards": 0.0,  # how often a list lacks a closed shard for a moment
    "look_up": False,  # workers know of shards what their own lists say
    "listed_only": False,  # a shard starts when all its parents that are listed or were begun have ended
    "lost_partials": 0.0,
    "lost_progress": 0.0,
    "lost_summaries": 0.0,
    "torn_secrets": 0.0,
    "memory": False,  # what was written to the cache is remembered, and must not go back for good
    "stalled": 0,  # 1: a publisher stalls for hours between its last look and its write; 2: and dies then
    "clocks": False,  # workers' clocks run off, step and come back, and machines are suspended
    "replaced": "",  # or how the stream is made anew: while workers are "running-" or "stopped-", ids "same" or "other"
    "lease_table": False,  # answers once more, and what it has just forgotten
    "throttled": 0.0,  # how often a shard answers nothing for a while
    "outage_reshard": "",  # or how: see events.Outage
    "retention_hours": 0,  # other than four
    "late_leases": 0,  # so many minutes after its parents have ended every other shard is begun
    "late_progress": 0.0,  # how often a put of a progress record takes effect again, hours later
    "split_ends": 0.0,  # how often two workers end a shard, of which one has lost what it knew
    "described_minutes": 0,  # so seldom a worker asks for the stream by itself, instead of every minute
    "stall_minutes": 0,  # how long a publisher stalls, instead of any time
    "inside_bytes": SNAPSHOT_INSIDE_BYTES_MAX,  # larger snapshots are objects of their own: none here, all, or some
    "archive": False,  # the same records go into files, and windows are repaired from them
    "lost_repairs": 0.0,
    "silent_hours": 0,  # so long the stream does not answer
    "bound": False,  # everything is final 15 minutes after the last shard has passed
}

BROUGHT_ABOUT = (
    *("outage_reshard", "retention_hours", "late_leases", "late_progress", "split_ends", "described_minutes"),
    "stall_minutes",
)


def switches(settings: list[str], only: str | None = None, without: str = "") -> Options:
    """What holds in all seeds: `name=value` sets an option, `only` and `without` switch harsher faults off."""
    chosen: Options = {}
    if only is not None:
        kept = _names(only)
        chosen.update({name: off for name, off in SWITCHED.items() if name not in kept})
    chosen.update({name: SWITCHED[name] for name in _names(without)})
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            chosen[name] = json.loads(value)
        except json.JSONDecodeError:
            chosen[name] = value
    return chosen


def _names(text: str) -> set[str]:
    names = {name for name in text.split(",") if name}
    if unknown := names - SWITCHED.keys():
        raise SystemExit(f"No such fault: {', '.join(sorted(unknown))}. There are {', '.join(SWITCHED)}.")
    return names


def options_of(seed: int, rng: random.Random) -> Options:
    """The options of a seed. Those of `SWITCHED` come from a source of their own, so that a switch changes nothing
    else."""
    options = _ordinary(rng) | _harsher(random.Random(f"harsher {seed}"))
    options |= _archived(random.Random(f"archived {seed}"))
    options |= json.loads(os.environ.get(VARIABLE, "{}"))
    if options["retention"] == "outage" or options["outage_reshard"]:
        options["outage"] = True
    if options["retention"] == "before":
        options["old"] = True
    if options["start"] == "LATEST" and not options["old"]:
        options["reshard"] = 0.006  # for generations of shards that nobody reads
    if options["settings"]:
        options["very_late"] = options["long"] = True
    if options["backlog"]:
        options["start"] = "TRIM_HORIZON"
    if options["archive"]:
        options["replaced"] = ""  # whose files they are is not known
    else:
        options["silent_hours"] = options["lost_repairs"] = 0
    return options


def _ordinary(rng: random.Random) -> Options:
    def chance(p: float) -> bool:
        return rng.random() < p

    return {
        "start": rng.choices(["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"], [7, 2, 1])[0],
        "old": chance(0.25),
        "before": chance(0.35),
        "reshard": rng.choice([0, 0.002, 0.006]),
        "put_fails": rng.choice([0, 0.03, 0.15]),
        "slow": rng.choice([0, 0.02, 0.1]),
        "ghosts": chance(0.3),
        "long_pauses": chance(0.3),
        "lost_snapshots": rng.choices([0, 0.001, 0.006], [7, 2, 1])[0],
        "outage": chance(0.12),
        "night": chance(0.3),
        "very_late": chance(0.2),
        "cache_outage": chance(0.2),
        "state_outage": chance(0.2),
        "stale_listing": chance(0.3),
        "local": chance(0.2),
        "commit_s": rng.choice([60, 120, 300, 900]),
        "horizon_minutes": rng.choice([10, 10, 4]),
        "crashes": rng.choice([0.002, 0.006]),
        "workers": rng.choice([1, 2, 3]),
        "shards": rng.choice([1, 2, 3]),
        "torn": chance(0.12),
        "busy": rng.choice([0.05, 0.09]),
        "poison": rng.choices([0, 0.01], [3, 1])[0],
        "engine_fails": rng.choices([0, 0.01], [3, 1])[0],
        "shrink": rng.choice([0, 0, 0.05]),
        "evict": rng.choice([0, 0.05, 0.3]),
        "reinitialised": rng.choice([0, 0.002, 0.01]),
        "deaf": chance(0.3),
    }


def _harsher(rng: random.Random) -> Options:
    def chance(p: float) -> bool:
        return rng.random() < p

    calm = chance(0.25)  # only what is no fault: exact checks, and the ordinary faults alone

    def at_times(p: float) -> bool:
        return chance(p) and not calm

    options = {
        "clean_up": "all",
        "store_offset_ms": rng.choice([0, 0, -2 * HOUR_MS, 2 * HOUR_MS]),
        "backlog": chance(0.15),
        "laggard": rng.choice([0.9, 0.98]) if chance(0.2) else 0.0,
        "long_ghosts": at_times(0.2),
        "longer_pauses": at_times(0.2),
        "long": at_times(0.2),
        "settings": at_times(0.15),
        "retention": rng.choice(["before", "outage", "any"]) if at_times(0.25) else "",
        "old_lists": rng.choice([60, 300, 900]) if chance(0.35) else 0,
        "missing_shards": 0.03 if at_times(0.25) else 0.0,
        "look_up": True,
        "mixed_forms": True,
        "gzip": 0.03,
        "listed_only": chance(0.4),
        "lost_partials": rng.choice([0.001, 0.004]) if at_times(0.15) else 0.0,
        "lost_progress": rng.choice([0.001, 0.004]) if at_times(0.15) else 0.0,
        "lost_summaries": rng.choice([0.001, 0.004]) if at_times(0.1) else 0.0,
        "torn_secrets": 0.002 if at_times(0.1) else 0.0,
        "memory": True,
        "stalled": rng.choice([1, 1, 2]) if at_times(0.15) else 0,
        "clocks": at_times(0.35),
        "replaced": rng.choice(["running-same", "running-other", "stopped-same", "stopped-other"])
        if at_times(0.12)
        else "",
        "lease_table": at_times(0.3),
        "throttled": 0.002 if at_times(0.2) else 0.0,
        "inside_bytes": rng.choice([SNAPSHOT_INSIDE_BYTES_MAX, SNAPSHOT_INSIDE_BYTES_MAX, 0, 800]),
        "bound": True,
        # only where it is asked for (tests/simulation/test_planted_bugs.py)
        **{name: SWITCHED[name] for name in BROUGHT_ABOUT},
    }
    if options["backlog"] and not options["laggard"] and chance(0.5):
        options["laggard"] = 0.9  # so that the clean-up runs while days are read in minutes
    return options


def _archived(rng: random.Random) -> Options:
    return {
        "archive": rng.random() < 0.3,
        "silent_hours": rng.choice([0, 2, 5]),
        "lost_repairs": rng.choices([0.0, 0.005], [2, 1])[0],
    }
