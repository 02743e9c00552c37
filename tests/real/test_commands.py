"""The commands of a working day: traffic is made, replayed and read, the daemon is asked, stopped and started again."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from consumer.process.signals import SAME_S
from tests.oracle import compare_all, recount
from tests.real.counting import SETTLE_MS, closed_keys, expected_of, wait_all_read, wait_final
from tests.real.processes import PREFIX, TRACEBACK, Daemon, World, clean_env, until

pytestmark = pytest.mark.timeout(180)


def committed(daemon: Daemon) -> bool:
    """Whether every shard has been committed since the start."""
    shards = daemon.get("/health")[1].get("shards") or {}
    return bool(shards) and all(shard["last_commit"] for shard in shards.values())


def test_what_is_generated_and_replayed_is_what_the_oracle_counts(world: World) -> None:
    path = world.folder / "traffic.log.gz"
    options = ("--records", "20000", "--dirt", "0.02", "--duplicates", "0.01", "--out", str(path))
    made = world.command(clean_env(), "generate", *options)
    assert (made.code, made.err.strip()) == (0, f"20000 lines in {path}")
    replayed = world.command(clean_env(), "replay", str(path))
    assert replayed.code == 0, replayed.err
    oracle = recount([path.read_bytes()])
    summary = json.loads(replayed.err.splitlines()[-1])
    assert list(summary) == ["records", "aggregated", "duplicates", "invalid", "files", "seconds"]
    assert (summary["records"], summary["aggregated"]) == (oracle.records, oracle.aggregated)
    assert (summary["duplicates"], summary["invalid"]) == (oracle.duplicates, dict(sorted(oracle.invalid.items())))
    entries = [json.loads(line) for line in replayed.out.splitlines()]
    assert not compare_all(entries, oracle.entries)


def test_traffic_put_into_a_stream_is_read_shown_and_never_read_twice(world: World) -> None:
    stream = world.stream(records=0)
    cache = world.cache()
    env = world.settings(stream, cache)
    made = world.command(env, "generate", "--records", "6000", "--hours", "3", "--out", "kinesis:real")
    assert made.code == 0, made.err
    oracle = expected_of(stream)
    daemon = world.run(env)
    daemon.wait_ready()
    wait_all_read(daemon, stream)
    closed = closed_keys(oracle, stream.until_ms - SETTLE_MS)
    wait_final(daemon, cache, closed)

    key = next(key for key in closed if key.startswith("30min"))
    shown = world.command(env, "show", key, "--json")
    assert json.loads(shown.out) == cache.entry(key)
    assert key in world.command(env, "show", key).out
    nothing = world.command(env, "show", "30min/2020-01-01-0000")
    assert (nothing.code, nothing.out) == (1, "")
    status = world.command(env, "status", "--json")
    assert status.code == 0, status.err
    assert json.loads(status.out)["ready"] is True
    assert "shardId-000000000003" in world.command(env, "status").out
    examined = world.command(env, "doctor")
    assert examined.code == 0, examined.out
    assert "a daemon runs at port" in examined.out

    assert daemon.terminate() == 0
    assert daemon.process.events("committed")
    partials = sorted(path for path in (world.folder / "state" / "partials").rglob("*") if path.is_file())

    again = world.run(env, "run-again")
    again.wait_ready()
    wait_all_read(again, stream)
    until("a commit of the second run", lambda: committed(again), 20)
    assert again.terminate() == 0
    assert sorted(path for path in (world.folder / "state" / "partials").rglob("*") if path.is_file()) == partials
    assert not again.process.events("entry") or all(
        entry["fields"]["key"] not in closed for entry in again.process.events("entry")
    ), "a final entry was written again without a new record"
    for process in (daemon.process, again.process):
        assert TRACEBACK not in process.err()
    gone = world.command(env, "status")
    assert gone.code == 1
    assert f"{PREFIX}HTTP_PORT" in gone.err


def test_a_second_sigterm_ends_it_at_once(world: World) -> None:
    """With a state store that is away the last commit would be waited for."""
    env = world.settings(world.stream(records=2_000, live_per_s=50))
    daemon = world.run(env)
    until("the first commits", lambda: committed(daemon), 30)
    state, aside = world.folder / "state", world.folder / "aside"
    state.rename(aside)
    state.touch()
    daemon.wait_reason("is blocked", within_s=20)
    daemon.process.signal(signal.SIGTERM)
    until("the first signal to be heard", lambda: not daemon.process.running() or stopping(daemon), 10)
    time.sleep(SAME_S)
    assert daemon.process.running(), "it gave up on the last commit at once"
    daemon.process.signal(signal.SIGTERM)
    assert daemon.process.wait(2) == -signal.SIGTERM
    assert TRACEBACK not in daemon.process.err()


def stopping(daemon: Daemon) -> bool:
    return bool(daemon.process.events("stopping"))


def test_a_stream_without_records_is_ready_and_its_first_records_are_read(world: World) -> None:
    stream = world.stream(records=0)
    env = world.settings(stream)
    daemon = world.run(env)
    daemon.wait_ready()
    assert set(daemon.get("/health")[1]["shards"]) == {shard["ShardId"] for shard in stream.shards()}
    made = world.command(env, "generate", "--records", "500", "--hours", "1", "--out", "kinesis:real")
    assert made.code == 0, made.err
    wait_all_read(daemon, stream)
    assert daemon.terminate() == 0


def test_an_idle_daemon_leaves_the_processor_alone(world: World) -> None:
    daemon = world.run(world.settings(world.stream(records=1_000)))
    daemon.wait_ready()
    until("the first commits", lambda: committed(daemon), 30)
    began_s, used_s = time.monotonic(), processor_s(daemon)
    until("six seconds to pass", lambda: time.monotonic() - began_s > 6, 20)
    share = (processor_s(daemon) - used_s) / (time.monotonic() - began_s)
    assert share < 0.25, f"uses {share:.0%} of a processor with nothing to do"


def processor_s(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
