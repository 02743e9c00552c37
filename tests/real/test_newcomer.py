"""What somebody sees who sets it up for the first time and gets something wrong: one sentence that says what to change,
the exit code of the command line's contract (2 wrong use, 1 failed), never a traceback, and never silence."""

import json
import os
import socket
from pathlib import Path

import pytest

from sa_stream.commits.keys import APPLICATION_KEY
from sa_stream.format import VERSION
from tests.later_version import in_version
from tests.oracle import CANONICAL
from tests.real.processes import PREFIX, TRACEBACK, Done, World, clean_env, free_port

FAILED, WRONG_USE = 1, 2


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Valid settings, for a Kinesis that nobody runs."""
    settings = {
        "STREAM": "real",
        "RUNNER": "local",
        "STATE_URL": f"file://{tmp_path / 'state'}",
        "CACHE_PATH": str(tmp_path / "cache"),
        "HTTP_PORT": "0",
    }
    endpoint = {"AWS_ENDPOINT_URL_KINESIS": f"http://127.0.0.1:{free_port()}"}
    return clean_env(**endpoint, **{PREFIX + name: value for name, value in settings.items()})


def the_error(done: Done, code: int, is_daemon: bool = True) -> str:
    """The sentence that it ended with. The daemon's, without a terminal, is the last line of its log."""
    assert TRACEBACK not in done.err, done.err
    assert done.code == code, (done.code, done.err)
    assert done.out == ""
    *_, last = done.err.strip().splitlines()
    if not is_daemon:
        assert last.startswith("error: "), done.err
        return last
    line = json.loads(last)
    assert (line["level"], line["event"], line["fields"]["exit_code"]) == ("critical", "fatal", code), done.err
    return str(line["message"])


def test_without_a_stream_it_says_which_setting_names_it(world: World, nowhere: dict[str, str]) -> None:
    del nowhere[f"{PREFIX}STREAM"]
    assert "SGRAPH_SEND__SA_STREAM" in the_error(world.command(nowhere, "run"), WRONG_USE)


def test_without_a_region_it_says_which_variable_sets_it(world: World, nowhere: dict[str, str]) -> None:
    del nowhere["AWS_REGION"]
    assert "Set AWS_REGION" in the_error(world.command(nowhere, "run"), FAILED)


def test_a_bad_number_is_refused_with_the_range_and_what_was_found(world: World, nowhere: dict[str, str]) -> None:
    error = the_error(world.command(nowhere | {f"{PREFIX}COMMIT_INTERVAL_S": "1m"}, "run"), WRONG_USE)
    assert "SGRAPH_SEND__SA_COMMIT_INTERVAL_S: expected a whole number from 1 to 1800, found '1m'" in error


def test_a_forbidden_field_is_refused_by_name(world: World, nowhere: dict[str, str]) -> None:
    error = the_error(world.command(nowhere | {f"{PREFIX}FIELDS": "timestamp,c-ip,sc-status"}, "run"), WRONG_USE)
    assert "SGRAPH_SEND__SA_FIELDS has c-ip" in error
    assert "SGRAPH_SEND__SA_DROP_FIELDS" in error


def test_a_misspelt_setting_is_refused_with_the_right_name(world: World, nowhere: dict[str, str]) -> None:
    error = the_error(world.command(nowhere | {f"{PREFIX}STREAMS": "real"}, "run"), WRONG_USE)
    assert "SGRAPH_SEND__SA_STREAMS is not a setting: did you mean SGRAPH_SEND__SA_STREAM?" in error


def test_an_endpoint_that_nobody_answers_at_is_named_at_once_and_keeps_it_not_ready(
    world: World, nowhere: dict[str, str]
) -> None:
    """So does a wrong region off AWS: it waits, as the network may come back, but it says so."""
    daemon = world.run(nowhere | {f"{PREFIX}HTTP_PORT": str(free_port())})
    daemon.wait_answer()
    reason = daemon.wait_reason("^Kinesis", within_s=15)
    assert nowhere["AWS_ENDPOINT_URL_KINESIS"] in reason
    assert "AWS_REGION" in reason
    waits = daemon.process.events("source_waits")
    assert waits
    assert "AWS_REGION" in waits[0]["message"]
    assert daemon.terminate() == 0
    assert TRACEBACK not in daemon.process.err()


def test_a_stream_that_does_not_exist_is_named_with_its_region(world: World) -> None:
    env = world.settings(world.stream(records=0), STREAM="unreal")
    error = the_error(world.command(env, "run"), FAILED)
    assert "There is no Kinesis stream unreal in the region us-east-1" in error
    assert "SGRAPH_SEND__SA_STREAM" in error


def test_the_wrong_preset_is_refused_before_anything_is_counted(world: World) -> None:
    env = world.settings(world.stream(records=2_000), FIELDS="seed")
    error = the_error(world.command(env, "run"), WRONG_USE)
    assert "SGRAPH_SEND__SA_FIELDS is seed, but the first records have the order of 'canonical'" in error


def test_an_own_list_of_another_length_is_red_within_a_minute(world: World) -> None:
    env = world.settings(world.stream(records=5_000, hours=1), FIELDS=",".join(CANONICAL[:-1]))
    daemon = world.run(env)
    daemon.wait_answer()
    reason = daemon.wait_reason("malformed", within_s=30)
    assert "SGRAPH_SEND__SA_FIELDS" in reason
    assert daemon.process.events("malformed")
    assert daemon.terminate() == 0
    assert TRACEBACK not in daemon.process.err()


def test_records_of_no_known_list_are_refused_with_what_was_seen(world: World, tmp_path: Path) -> None:
    stream = world.stream(records=0)
    for number in range(50):
        line = f"2026-02-16\t{number}\tnot a log line\n".encode()
        stream.client.put_record(StreamName="real", Data=line, PartitionKey=str(number))
    error = the_error(world.command(world.settings(stream), "run"), WRONG_USE)
    assert "SGRAPH_SEND__SA_FIELDS is auto" in error
    assert "3 fields" in error


def test_a_port_in_use_is_named_with_its_setting(world: World, nowhere: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in (["run"], ["demo", "--port", port]):
            error = the_error(
                world.command(nowhere | {f"{PREFIX}HTTP_PORT": port}, *command), FAILED, command == ["run"]
            )
            assert f"Port {port} on 127.0.0.1 is in use" in error
            assert ("SGRAPH_SEND__SA_HTTP_PORT" if command == ["run"] else "--port") in error


def test_a_second_runner_on_the_same_state_is_refused_and_the_first_goes_on(world: World) -> None:
    env = world.settings(world.stream(records=1_000))
    daemon = world.run(env)
    daemon.wait_ready()
    error = the_error(world.command(env | {f"{PREFIX}HTTP_PORT": "0"}, "run"), FAILED)
    assert f"is used by process {daemon.process.pid} on" in error
    assert "SGRAPH_SEND__SA_STATE_URL" in error
    assert daemon.reasons() == []
    assert daemon.terminate() == 0


def test_the_state_of_another_application_or_version_is_refused_by_name(world: World) -> None:
    env = world.settings(world.stream(records=1_000))
    daemon = world.run(env)
    daemon.wait_ready()
    assert daemon.terminate() == 0

    error = the_error(world.command(env | {f"{PREFIX}APPLICATION": "other"}, "run"), WRONG_USE)
    assert "belongs to application 'sa-stream-real' with stream 'real'" in error
    assert "SGRAPH_SEND__SA_STATE_URL" in error

    stamp = world.folder / "state" / APPLICATION_KEY
    written = stamp.read_bytes()
    stamp.write_bytes(in_version(VERSION + 1, written))
    error = the_error(world.command(env, "run"), FAILED)
    assert f"has format version {VERSION + 1}; this program knows versions up to {VERSION}" in error


@pytest.mark.parametrize("which", ["STATE_URL", "CACHE_PATH"])
def test_a_place_that_cannot_be_written_to_is_named_with_its_setting(
    world: World, nowhere: dict[str, str], which: str
) -> None:
    """The kernel's own read-only place stands for a read-only disk: tests may run as root, whom no permission stops."""
    prefix = "file://" if which == "STATE_URL" else ""
    error = the_error(world.command(nowhere | {PREFIX + which: f"{prefix}/sys/kernel/sa-stream"}, "run"), WRONG_USE)
    assert f"SGRAPH_SEND__SA_{which}" in error


def test_a_file_in_the_place_of_the_state_directory_is_refused(world: World, nowhere: dict[str, str]) -> None:
    (world.folder / "state").touch()
    assert "SGRAPH_SEND__SA_STATE_URL" in the_error(world.command(nowhere, "run"), WRONG_USE)


def test_doctor_names_the_same_mistakes_before_anything_runs(world: World, nowhere: dict[str, str]) -> None:
    done = world.command(nowhere, "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.out)}
    assert done.code == FAILED
    assert not checks["stream"]["ok"]
    assert "AWS_REGION" in checks["stream"]["sentence"]
    assert checks["state store"]["ok"]
    assert TRACEBACK not in done.err


def test_nothing_is_left_behind_by_commands_that_were_refused(world: World, nowhere: dict[str, str]) -> None:
    world.command(nowhere | {f"{PREFIX}COMMIT_INTERVAL_S": "0"}, "run")
    assert not os.path.exists(world.folder / "state")
