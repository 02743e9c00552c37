"""The command line: help, exit codes, messages, and the commands that need no daemon."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command

from consumer.cli import app, main
from consumer.commands.doctor import examine
from consumer.commands.show import keys_between, print_entries
from consumer.commands.status import show_status, status_page
from consumer.worker.stores import open_cache
from sa_stream import __version__
from sa_stream.api.http_server import Health_Server
from sa_stream.config import PREFIX, SA__Config
from sa_stream.embedded.generator import Traffic
from sa_stream.embedded.kinesis_server import start, wall_clock_ms
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Config_Error, Source_Error
from sa_stream.health.notebook import Health
from sa_stream.timing import DAY_MS, HOUR_MS, moment

COMMANDS = ["run", "demo", "generate", "replay", "show", "status", "doctor"]
START = 1_771_252_200_000  # 2026-02-16T14:30:00Z


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests, credentials that are none, and a working directory of its own."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "AWS_")):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-2",
        "AWS_DEFAULT_REGION": "eu-west-2",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> int:
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch):
    """An in-memory Kinesis with a stream `logs` of two shards, behind boto3's own door."""
    model = Memory_Kinesis(wall_clock_ms)
    model.create_stream("logs", shards=2)
    server = start(model)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    yield model
    server.stop()


def loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What a command says in a process of its own, and the modules that it has loaded by then."""
    script = (
        f"import sys\nfrom consumer.cli import main\ntry:\n    main({list(arguments)!r})\nexcept SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, _, loaded = done.stdout.partition("LOADED ")
    return said, set(loaded.split())


def test_help_and_version_load_no_library_but_that_of_the_command_line() -> None:
    heavy = {"polars", "numpy", "boto3", "fastapi", "rich", "pydantic", "msgspec", "ctypes", "asyncio"}
    shown, loaded = loaded_by("--help")
    assert loaded & heavy == set()
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    shown, loaded = loaded_by("--version")
    assert loaded & heavy == set()
    assert shown == f"sa-stream {__version__}\n"


def test_a_replay_of_files_loads_nothing_of_streams_stores_and_servers(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    _, loaded = loaded_by("replay", str(tmp_path / "empty.log"))
    assert loaded & {"boto3", "obstore", "fastapi", "uvicorn", "httpx2", "requests", "rich", "pydantic"} == set()


def run_script(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)


def test_the_quick_end_of_a_command_says_everything_and_does_what_was_left_for_the_end() -> None:
    done = run_script(
        "import atexit, sys",
        "from consumer.process.last_words import leave",
        "atexit.register(lambda: print('at the end'))",
        "sys.stdout.write('x' * 5_000_000 + '\\n')",
        "leave(3, is_daemon=False)",
        "print('not reached')",
    )
    assert done.returncode == 3
    assert done.stdout == "x" * 5_000_000 + "\nat the end\n"


def test_the_quick_end_of_a_command_leaves_no_thread_unfinished() -> None:
    done = run_script(
        "import threading, time",
        "from consumer.process.last_words import leave",
        "threading.Thread(target=lambda: (time.sleep(0.3), print('finished'))).start()",
        "leave(0, is_daemon=False)",
    )
    assert (done.returncode, done.stdout) == (0, "finished\n")


@pytest.mark.parametrize("end", ["pass", "raise Source_Error('no such stream')"])
def test_a_store_that_hangs_in_any_thread_does_not_hold_up_the_end_of_the_daemon(end: str) -> None:
    began_s = time.monotonic()
    done = run_script(
        "import time",
        "from concurrent.futures import ThreadPoolExecutor",
        "from consumer import cli",
        "from consumer.commands import run",
        "from sa_stream.errors import Source_Error",
        "def hangs(config):",
        "    ThreadPoolExecutor(1).submit(time.sleep, 20)",
        f"    {end}",
        "run.run, cli._config = hangs, lambda **given: None",
        "cli.program(['run'])",
    )
    assert done.returncode == (1 if "raise" in end else 0)
    assert time.monotonic() - began_s < 15


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_a_library_for_sums_that_nobody_does_starts_no_threads_unless_it_is_told_to(
    given: dict[str, str], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    done = run_script(
        "import atexit, os",
        "from consumer.cli import program",
        "atexit.register(lambda: print(os.environ['OPENBLAS_NUM_THREADS']))",
        "program(['--version'])",
    )
    assert done.stdout.splitlines()[1:] == [threads]


def test_the_program_ends_with_the_exit_code_of_its_command() -> None:
    for arguments, code in ((["--version"], 0), (["replay", "nowhere"], 1), (["runn"], 2)):
        assert run_script("from consumer.cli import program", f"program({arguments!r})").returncode == code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    assert f"Usage: sa-stream {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["runn"], "runn"),
        (["replay"], "PATH"),
        (["generate", "--records", "many"], "'--records'"),
        (["generate", "--dirt", "2"], "not in the range 0<=x<=1"),
        (["generate", "--start", "yesterday"], "expected an ISO time"),
        (["generate", "--start", "2001-09-09T01:46:39Z"], "from 2001-09-09T01:46:40Z"),
        (["generate", "--start", "2099-12-31T23:00Z", "--hours", "1.1"], "to 2100-01-01T00:00:00Z"),
        (["generate", "--fields", "timestamp,colour"], "colour"),
        (["generate", "--out", "kinesis:"], "name or ARN"),
        (["show"], "give either KEY"),
        (["show", "weekly/2026-08"], "no key of an entry"),
        (["show", "--period", "weekly", "--from", "2026-02-16", "--to", "2026-02-17"], "expected 30min, hourly"),
        (["show", "--period", "daily", "--from", "2026-02-17", "--to", "2026-02-16"], "must be before"),
    ],
)
def test_wrong_use_exits_2_with_one_line_that_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


PLACES = ["", "s3://", "S3:///x", "s3:bucket", "file://", "FILE:x", "file://~/x", "https://example.com/x.log"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", [["replay"], ["generate", "--records", "10", "--out"]])
def test_a_place_that_is_none_is_refused_and_nothing_is_made_under_its_name(
    command: list[str], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command, place) == 2
    assert f"expected a path, file:///path or s3://bucket/prefix, found {place!r}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_may_be_in_capitals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("generate", "--records", "10", "--out", f"FILE://{tmp_path}/made") == 0
    assert call("replay", f"File://{tmp_path}/made") == 0
    assert '"records":10,' in capsys.readouterr().err
    assert call("generate", "--records", "10", "--out", "KINESIS:") == 2


OUTSIDE = ["0001-01-01T00:00+14:00", "1900-01-01", "2000-12-31T23:59:59Z", "2100-01-01", "9999-12-31T23:59-12:00"]


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("command", ["backfill", "verify", "show --period monthly"])
def test_a_time_that_no_record_has_is_refused(command: str, outside: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option, other in (("--from", "--to"), ("--to", "--from")):
        assert call(*command.split(), option, outside, other, "2026-02-16") == 2
        assert f"{option}: expected an ISO time from 2001 to 2099" in capsys.readouterr().err


NUMBERS = [
    (name, parameter.opts[0], parameter.type)
    for name, command in get_command(app).commands.items()
    for parameter in command.params
    if parameter.type.name.endswith("range")
]


def test_every_number_of_the_command_line_has_a_range() -> None:
    assert {"--hours", "--records", "--jobs", "--seed", "--late", "--port"} <= {option for _, option, _ in NUMBERS}
    kinds = {p.type.name for command in get_command(app).commands.values() for p in command.params}
    assert all(("int" not in kind and "float" not in kind) or kind.endswith("range") for kind in kinds)


@pytest.mark.parametrize(("command", "option", "kind"), NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e+300", "1e+30", "9" * 30, "-1"])
def test_a_number_that_cannot_work_is_refused_with_its_option(
    command: str, option: str, kind: Any, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if option == "--seed" and value.isdigit():
        return  # any whole number will do
    required = {"replay": ["x"], "generate": ["--out", os.devnull]}.get(command, [])
    window = ["--from", "2026-02-16", "--to", "2026-02-17"] if command in ("backfill", "verify") else []
    assert call(command, *required, *window, option, value) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: Invalid value for '{option}': ")
    assert error.count("\n") == 1
    assert (value if "int" in kind.name else str(float(value))) in error  # what was found


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "nothing to read from: set SGRAPH_SEND__SA_STREAM"),
        ({"SOURCE": "s3", "STREAM": "logs"}, "set SGRAPH_SEND__SA_LOGS_BUCKET to the bucket"),
        ({"STREAM": "logs", "COMMIT_INTERVAL_S": "soon"}, "SGRAPH_SEND__SA_COMMIT_INTERVAL_S: expected a whole number"),
        ({"STREAM": "logs", "FIELDS": "timestamp,c-ip"}, "c-ip"),
        ({"STREEM": "logs"}, "did you mean SGRAPH_SEND__SA_STREAM?"),
    ],
)
def test_run_with_a_wrong_setting_exits_2_with_the_setting_to_change(
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    monkeypatch.setenv(f"{PREFIX}LOG_FORMAT", "text")
    assert call("run") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    monkeypatch.delenv(f"{PREFIX}LOG_FORMAT")  # no terminal: JSON
    assert call("run") == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"], line["fields"]["exit_code"]) == ("critical", "fatal", 2)
    assert message in line["message"]


@pytest.mark.parametrize("arguments", [["run", "--bogus"], ["run", "--runner"], ["run", "--runner", "x"]])
def test_wrong_use_of_the_daemon_is_a_line_of_its_log(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"]) == ("critical", "fatal")


@pytest.mark.parametrize("arguments", [["fields", "stream"], ["adopt-stream"]])
def test_what_is_about_a_stream_is_not_asked_of_kinesis_where_there_is_only_an_archive(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}LOGS_BUCKET", f"file://{tmp_path}")
    assert call(*arguments) == 2
    assert f"{PREFIX}STREAM is not set" in capsys.readouterr().err


def test_a_mistake_of_ours_is_told_without_the_secrets_that_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}API_KEY", "open-sesame-open")
    monkeypatch.setenv(f"{PREFIX}STREAM", "logs")
    monkeypatch.setattr(SA__Config, "require_input", lambda self: 1 / {}["open-sesame-open"])
    assert call("run") == 1
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["event"]) == ("critical", "fatal")
    assert "KeyError" in line["message"]
    assert "Traceback" in line["fields"]["traceback"]
    assert "sesame" not in json.dumps(line)
    monkeypatch.setenv(f"{PREFIX}LOG_FORMAT", "text")
    assert call("run") == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "sesame" not in error


def test_run_says_that_it_is_switched_off_and_exits_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}ENABLED", "false")
    assert call("run") == 0
    assert "switched off" in capsys.readouterr().err


def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    target = tmp_path / "lines"
    command = [
        "from consumer.cli import main",
        f"main(['generate', '--records', '50000000', '--out', {str(target)!r}])",
    ]
    process = subprocess.Popen([sys.executable, "-c", "\n".join(command)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (target.exists() and target.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error


def test_a_reader_that_stops_early_causes_no_traceback() -> None:
    command = "from consumer.cli import main\nmain(['generate', '--records', '100000'])"
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) != 0


def test_the_same_options_generate_the_same_bytes_plain_and_compressed(tmp_path: Path) -> None:
    options = ["generate", "--records", "2000", "--seed", "7", "--dirt", "0.1", "--late", "0.1", "--duplicates", "0.1"]
    for name in ("a", "b", "c.gz"):
        assert call(*options, "--out", str(tmp_path / name)) == 0
    first = (tmp_path / "a").read_bytes()
    assert first == (tmp_path / "b").read_bytes() == gzip.decompress((tmp_path / "c.gz").read_bytes())
    assert first.startswith(b"17712") or b"\n17712" in first


def test_generate_starts_when_it_is_told_to(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call("generate", "--records", "50", "--hours", "1", "--start", "2026-02-16T14:30:00Z") == 0
    times = [float(line.split(b"\t")[0]) for line in capfdbinary.readouterr().out.splitlines()]
    assert len(times) == 50
    assert START / 1000 <= min(times) <= max(times) < START / 1000 + 3600


def test_generate_into_a_stream_ends_now(kinesis: Memory_Kinesis, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("generate", "--records", "1200", "--hours", "1", "--out", "kinesis:logs") == 0
    assert capsys.readouterr().err == "1200 lines in kinesis:logs\n"
    assert sum(len(shard.payloads) for shard in kinesis.stream("logs").shards) == 1200


def test_the_region_may_be_given_as_every_other_sdk_takes_it(
    kinesis: Memory_Kinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert call("generate", "--records", "10", "--out", "kinesis:logs") == 0


def test_generate_into_a_stream_that_does_not_exist_names_it(
    kinesis: Memory_Kinesis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("generate", "--records", "10", "--out", "kinesis:other") == 1
    assert "no Kinesis stream other" in capsys.readouterr().err


def test_generate_into_a_folder_that_does_not_exist_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("generate", "--records", "10", "--out", "nowhere/file") == 1
    assert capsys.readouterr().err == "error: Cannot write to nowhere/file: No such file or directory.\n"


def test_keys_of_a_range_hold_every_entry_that_begins_in_it() -> None:
    assert keys_between("30min", START + 60_000, START + HOUR_MS) == [
        "30min/2026-02-16-1430",
        "30min/2026-02-16-1500",
    ]
    assert keys_between("monthly", START, START + 30 * DAY_MS) == ["monthly/2026-02", "monthly/2026-03"]
    with pytest.raises(Config_Error):
        keys_between("30min", 0, START)


HOSTILE = "/[red]a[/red]\x1b[2J\u202e/\n\x07[link=http://x]"
ENTRY = {
    "cache_key": "30min/2026-02-16-1430",
    "period": "30min",
    "time_key": "2026-02-16-1430",
    "window_start": "2026-02-16T14:30:00Z",
    "computed_at": "2026-02-16T15:10:00Z",
    "status": "final",
    "revision": 2,
    "total_requests": 1234567,
    "status_breakdown": {"2xx": 1200000, "4xx": 34567},
    "top_paths": [{"path": HOSTILE, "count": 5, "bytes": 10}],
    "hosts": {HOSTILE: 3},
    "cache_hit_rate": 75.25,
    "total_bytes": 9,
    "missing_fields": [],
    "unique_agents": None,
}


@pytest.mark.parametrize("single", [True, False])
def test_an_entry_is_shown_readably_and_hostile_text_reaches_the_terminal_escaped(single: bool) -> None:
    console = Console(width=200, force_terminal=True, color_system=None, record=True, file=io.StringIO())
    assert print_entries([ENTRY], as_json=False, single=single, console=console)
    shown = console.export_text(styles=False)
    assert "30min/2026-02-16-1430" in shown
    assert "1,234,567" in shown
    assert "final" in shown
    assert not any(character in shown for character in "\x1b\x07\u202e")
    assert (r"/[red]a[/red]\x1b[2J\u202e/\n\x07[link=http://x]" in shown) is single


def test_entries_as_json_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_entries([ENTRY, ENTRY], as_json=True, single=False)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [ENTRY, ENTRY]
    assert not print_entries([], as_json=True, single=False)


def test_show_finds_an_entry_of_the_cache_on_disk_and_says_when_there_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    open_cache(SA__Config.from_env(os.environ)).store_entry("sa-cloudfront-aggregate", "30min/2026-02-16-1430", ENTRY)
    assert call("show", "30min/2026-02-16-1430", "--json") == 0
    assert json.loads(capsys.readouterr().out)["total_requests"] == 1234567
    whole_day = ["--period", "30min", "--from", "2026-02-16", "--to", "2026-02-16T15:00Z"]
    assert call("show", *whole_day, "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert call("show", "daily/2026-02-16") == 1
    assert capsys.readouterr().err == "No entry daily/2026-02-16 in the cache.\n"


def test_show_of_a_cache_in_another_process_memory_says_why_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}CACHE_MODE", "memory")
    assert call("show", "daily/2026-02-16") == 2
    assert f"{PREFIX}CACHE_MODE is memory" in capsys.readouterr().err


def settings(**variables: str) -> dict[str, str]:
    return {**os.environ, **{PREFIX + name: value for name, value in variables.items()}}


def test_status_shows_what_the_daemon_says(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(moment(), versions={"sa-stream": "0.1.0"})
    health.shard("shard-0").read(moment(), 1500, "1")
    health.store("cache service").failed(moment() + -9000, "[bold]refused\x1b[0m")
    server = Health_Server(health, port=0)
    try:
        config = SA__Config.from_env(settings(HTTP_PORT=str(server.port)))
        show_status(config, as_json=True)
        answer = json.loads(capsys.readouterr().out)
        assert list(answer["shards"]) == ["shard-0"]
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(status_page(answer))
        shown = console.export_text()
    finally:
        server.stop()
    assert "not ready" in shown
    assert "shard-0" in shown
    assert r"cache service has been failing for 9 s: [bold]refused\x1b[0m" in shown


def test_status_without_a_daemon_says_which_settings_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}HTTP_PORT", "1")
    assert call("status") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Nobody answers at http://127.0.0.1:1/health")
    assert f"{PREFIX}HTTP_PORT" in error


def test_status_of_another_program_on_the_port_says_so() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    other = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(Source_Error, match="is it sa-stream's"):
            show_status(SA__Config.from_env(settings(HTTP_PORT=str(other.server_port))), as_json=False)
    finally:
        other.shutdown()
        other.server_close()


def checks(**variables: str) -> dict[str, tuple[bool, str]]:
    here = {"STATE_URL": "memory://", "CACHE_MODE": "memory", "HTTP_PORT": "0", "RUNNER": "local"}
    return {check.name: (check.ok, check.sentence) for check in examine(settings(**{**here, **variables}))}


def put_traffic(kinesis: Memory_Kinesis, fields: str) -> None:
    lines = [line for chunk in Traffic(1, fields).lines(START, START + HOUR_MS, 300) for line in chunk.lines()]
    for i, line in enumerate(lines):
        kinesis.put("logs", line, str(i))


@pytest.mark.parametrize("fields", ["seed", "canonical"])
def test_doctor_says_which_field_list_the_records_of_the_stream_have(kinesis: Memory_Kinesis, fields: str) -> None:
    put_traffic(kinesis, fields)
    found = checks(STREAM="logs")
    assert found["stream"] == (True, "logs has 2 open shards and keeps records for 24 h")
    assert found["fields"][0]
    assert f"read as {fields} (27 fields)" in found["fields"][1]
    assert all(ok for ok, _ in found.values()), found


def test_doctor_names_the_order_that_fits_when_another_is_set(kinesis: Memory_Kinesis) -> None:
    put_traffic(kinesis, "canonical")
    ok, sentence = checks(STREAM="logs", FIELDS="seed")["fields"]
    assert not ok
    assert "the first records have the order of 'canonical'" in sentence


def test_doctor_says_that_an_own_list_does_not_fit(kinesis: Memory_Kinesis) -> None:
    put_traffic(kinesis, "canonical")
    ok, sentence = checks(STREAM="logs", FIELDS="timestamp,sc-status")["fields"]
    assert not ok
    assert f"{PREFIX}FIELDS does not fit" in sentence


def test_doctor_of_an_empty_stream_asks_for_traffic(kinesis: Memory_Kinesis) -> None:
    found = checks(STREAM="logs")
    assert found["records"] == (True, "readable, but no records came: is there traffic?")
    assert "fields" not in found


def test_doctor_of_a_stream_that_does_not_exist_names_it_and_goes_on(kinesis: Memory_Kinesis) -> None:
    found = checks(STREAM="other")
    assert not found["stream"][0]
    assert "other" in found["stream"][1]
    assert found["state store"][0]


def test_doctor_finds_a_state_folder_that_cannot_be_written(kinesis: Memory_Kinesis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not checks(STREAM="logs", STATE_URL=f"file://{tmp_path}/file/state")["state store"][0]


def test_doctor_exits_1_when_a_check_fails_and_prints_a_line_each(
    kinesis: Memory_Kinesis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("doctor") == 1
    assert capsys.readouterr().out.startswith("✗ configuration: There is nothing to read from")
    here = {"STREAM": "logs", "STATE_URL": "memory://", "CACHE_MODE": "memory", "HTTP_PORT": "0", "RUNNER": "local"}
    for name, value in here.items():
        monkeypatch.setenv(PREFIX + name, value)
    assert call("doctor") == 0
    marks = [line[:2] for line in capsys.readouterr().out.splitlines()]
    assert set(marks) == {"✓ ", "! "}  # the stream is empty
    assert call("doctor", "--json") == 0
    assert all(check["ok"] for check in json.loads(capsys.readouterr().out))


def run_shell(script: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A command of the shell, in which $SA_STREAM is the program."""
    from tests.real.processes import SA_STREAM, clean_env

    given = clean_env(
        **{f"{PREFIX}STREAM": "x", f"{PREFIX}RUNNER": "local", f"{PREFIX}STATE_URL": "memory://"},
        **{f"{PREFIX}CACHE_MODE": "memory", f"{PREFIX}HTTP_PORT": "0", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        SA_STREAM=f"{sys.executable} {SA_STREAM}",
    )
    return subprocess.run(["bash", "-c", script], env=given | env, cwd=tmp_path, capture_output=True, timeout=120)


def test_doctor_speaks_to_a_terminal_that_has_only_ascii(tmp_path: Path) -> None:
    done = run_shell(
        "$SA_STREAM doctor", tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii", SGRAPH_SEND__SA_STREAM="x", AWS_PROFILE="é"
    )
    assert b"Traceback" not in done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[0].startswith("ok    configuration: ")
    assert lines[2].startswith("WRONG stream: ")
    assert done.returncode == 1


def test_a_standard_error_that_is_closed_costs_no_entry_and_its_number_becomes_no_file_of_ours(tmp_path: Path) -> None:
    traffic = "$SA_STREAM generate --hours 0.01 > lines.tsv"
    told = run_shell(f"{traffic}; $SA_STREAM replay lines.tsv", tmp_path)
    silent = run_shell("$SA_STREAM replay lines.tsv 2>&-", tmp_path)
    assert (told.returncode, silent.returncode) == (0, 0)
    assert len(silent.stdout.splitlines()) == len(told.stdout.splitlines()) == 4
    opened = "import os; from consumer.process.terminal import never_fail_to_print as begin; begin(); print(os.dup(0))"
    assert int(run_shell(f"{sys.executable} -c '{opened}' 2>&-", tmp_path).stdout) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("nowhere", ["2>/dev/full", "2> >(exec true)"])
def test_a_standard_error_that_takes_nothing_costs_no_entry_and_no_reason_of_the_code(
    nowhere: str, tmp_path: Path
) -> None:
    traffic = "$SA_STREAM generate --hours 0.01 > lines.tsv"
    told = run_shell(f"{traffic}; $SA_STREAM replay lines.tsv", tmp_path)
    unheard = run_shell(f"$SA_STREAM replay lines.tsv {nowhere}", tmp_path)
    assert (unheard.returncode, len(unheard.stdout.splitlines())) == (0, len(told.stdout.splitlines()))
    assert run_shell(f"$SA_STREAM replay missing.tsv {nowhere}", tmp_path).returncode == 1
    assert run_shell(f"$SA_STREAM replay --no-such-option {nowhere}", tmp_path).returncode == 2


@pytest.mark.parametrize(
    "command", ["generate --records 3", "fields lines.tsv", "doctor", "doctor --json", "replay lines.tsv", "--help"]
)
def test_a_standard_output_that_is_closed_is_said_in_a_sentence(command: str, tmp_path: Path) -> None:
    (tmp_path / "lines.tsv").write_text("1771252200.000\t0.001\n")
    done = run_shell(f"$SA_STREAM {command} >&-", tmp_path)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith((b"error: standard output", b"error: Cannot write to -:"))


def test_who_has_nothing_to_write_needs_no_standard_output_and_gives_its_number_to_no_file(tmp_path: Path) -> None:
    assert run_shell("$SA_STREAM run >&-", tmp_path, SGRAPH_SEND__SA_ENABLED="false").returncode == 0
    assert run_shell("$SA_STREAM generate --records 3 --out lines.tsv >&-", tmp_path).returncode == 0
    opened = (
        "import os, sys; from consumer.process.terminal import never_fail_to_print as begin; begin(); "
        "print(os.dup(0), os.get_inheritable(1), file=sys.stderr)"
    )
    number, inherited = run_shell(f"{sys.executable} -c '{opened}' >&-", tmp_path).stderr.split()
    assert int(number) > 2
    assert inherited == b"True"


@pytest.mark.parametrize("limit_kb", [100_000, 300_000, 600_000])
@pytest.mark.parametrize("command", ["doctor", "run"])
def test_an_address_space_that_is_too_small_is_said_in_a_sentence(command: str, limit_kb: int, tmp_path: Path) -> None:
    done = run_shell(f"ulimit -v {limit_kb}; exec $SA_STREAM {command}", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "ulimit -v unlimited" in line
    assert f"{limit_kb * 1024 >> 20} MiB" in line


def test_memory_that_ends_on_the_way_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PanicException(BaseException):
        """As pyo3's."""

    for error in (
        MemoryError(),
        RuntimeError("can't start new thread"),
        PanicException("OS can't spawn worker thread"),
    ):

        def fail(self: SA__Config, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(SA__Config, "require_input", fail)
        assert call("run") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "not enough memory" in json.loads(line)["message"]
        assert "traceback" not in json.loads(line)["fields"]


def test_a_daemon_that_answers_a_byte_now_and_then_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(60):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
                time.sleep(0.1)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Dripping)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr("consumer.commands.status.HEALTH_S", 0.5)
    config = SA__Config(http_port=server.server_address[1])
    began_s = time.monotonic()
    with pytest.raises(Source_Error, match="Nobody answers"):
        show_status(config, as_json=True)
    assert time.monotonic() - began_s < 3
    server.shutdown()
    server.server_close()
