"""What `docker compose up` starts, run outside of containers, all in one network: every service's own command, user,
environment and health check.

Two parts are stand-ins: moto answers where LocalStack would, and as it speaks no HTTP/2, which the KCL needs, the
consumer's runner is `local`.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.containers.files import compose, image
from tests.containers.sandbox import Sandbox, sandbox
from tests.real.processes import PREFIX, TRACEBACK, until

SERVICES = compose()["services"]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(image(), tmp_path, hosts=list(SERVICES)) as made:
        yield made


def command(service: dict[str, Any]) -> list[str]:
    """What a service runs: a compose file's entry point also takes the image's command away."""
    if "entrypoint" in service:
        return [*service["entrypoint"], *service.get("command", [])]
    return [*image().entrypoint, *service.get("command", image().command)]


def env(service: dict[str, Any], **more: str) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()} | more


def health_command(service: dict[str, Any]) -> list[str]:
    how, *found = service["healthcheck"]["test"]
    assert how == "CMD"
    return [str(word) for word in found]


def test_the_services_work_together_as_the_compose_file_starts_them(inside: Sandbox) -> None:
    inside.start("localstack", ["moto_server", "--host", "127.0.0.1", "--port", "4566"], {})
    until("moto to answer", lambda: inside.get("http://localstack:4566/moto-api/")[0] == 200, 60)

    init = inside.run(command(SERVICES["init"]), env(SERVICES["init"]))
    assert init.returncode == 0, init.stderr
    again = inside.run(command(SERVICES["init"]), env(SERVICES["init"]))
    assert again.returncode == 0, f"init must bear being run again: {again.stderr}"

    cache = inside.start("cache", command(SERVICES["cache"]), env(SERVICES["cache"]))
    cache.first_line()
    healthy = health_command(SERVICES["cache"])
    until("a healthy cache", lambda: inside.healthy(healthy, env(SERVICES["cache"])), 30, show=cache.err)
    assert not inside.healthy(healthy, env(SERVICES["cache"], FAST_API__AUTH__API_KEY__VALUE="another"))

    generator = inside.start(
        "generator", command(SERVICES["generator"]), env(SERVICES["generator"], RECORDS_PER_SECOND="20")
    )
    until("traffic", lambda: "600 lines in kinesis:logs" in generator.err(), 30, show=generator.err)
    until("its archive", lambda: "600 lines in s3://sa-stream-logs/" in generator.err(), 30, show=generator.err)

    settings = env(SERVICES["consumer"], **{f"{PREFIX}RUNNER": "local", f"{PREFIX}COMMIT_INTERVAL_S": "1"})
    consumer = inside.start("consumer", command(SERVICES["consumer"]), settings)

    def look() -> bool:
        assert consumer.popen.poll() is None, consumer.err()
        return inside.get("http://consumer:8080/health/ready")[0] == 200

    until("a ready consumer", look, 60, every_s=0.2, show=consumer.err)
    assert inside.healthy(image().health_command)

    def entries() -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        times = ["--from", f"{now - timedelta(hours=1):%FT%H:00Z}", "--to", f"{now + timedelta(hours=1):%FT%H:00Z}"]
        shown = inside.run(["sa-stream", "show", "--period", "30min", *times, "--json"], settings)
        return [json.loads(line) for line in shown.stdout.splitlines()]

    doctor = inside.run(["sa-stream", "doctor", "--json"], settings)
    archive = {each["name"]: each for each in json.loads(doctor.stdout) if each["name"].startswith("archive")}
    assert len(archive) == 4, archive
    assert all(each["ok"] and not each["warning"] for each in archive.values()), archive

    until("every record in an entry", lambda: sum(e["total_requests"] for e in entries()) >= 600, 30, show=consumer.err)
    consumer.popen.terminate()
    assert consumer.wait(30) == 0, consumer.err()
    assert TRACEBACK not in consumer.err() + generator.err()


def test_services_start_when_what_they_need_is_there() -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert waits["init"] == {"localstack": "service_healthy"}
    assert waits["consumer"] == {"init": "service_completed_successfully", "cache": "service_healthy"}
    assert waits["generator"] == {"init": "service_completed_successfully"}
    needed = {name for each in waits.values() for name, how in each.items() if how == "service_healthy"}
    assert {name for name in needed if "healthcheck" not in SERVICES[name]} == set()


def test_every_port_is_published_on_127_0_0_1_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not str(port).startswith("127.0.0.1:")] == []


def test_whoever_has_started_it_may_see_all_of_health_and_the_dashboard() -> None:
    assert env(SERVICES["consumer"])[f"{PREFIX}API_KEY"], "the image listens beyond its own container"


def test_images_are_pinned_and_our_own_is_built() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["dockerfile"] == "consumer/Dockerfile", name
        else:
            assert re.fullmatch(r"localstack/localstack:4\.14\.\d+@sha256:[0-9a-f]{64}", service["image"]), name


def test_our_services_are_as_locked_down_as_in_production() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "user" not in service, f"{name} runs as the image's user"
            assert "volumes" not in service, f"{name}: a volume that two workers share would make them one KCL worker"


def test_consumer_and_cache_have_the_same_key_and_it_leads_nowhere() -> None:
    key = SERVICES["cache"]["environment"]["FAST_API__AUTH__API_KEY__VALUE"]
    assert key == SERVICES["consumer"]["environment"][f"{PREFIX}CACHE_API_KEY_VALUE"] == "only-for-this-machine"
    for service in SERVICES.values():
        secret = service["environment"].get("AWS_SECRET_ACCESS_KEY", "test")
        assert secret == "test"
