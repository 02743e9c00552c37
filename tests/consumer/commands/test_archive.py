"""`sa-stream archive` against a real state, a real cache service, and an archive in a folder and in S3."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest
from msgspec import Struct, field

from consumer.archive.stream import Archive_Stream
from consumer.cli import main
from consumer.worker.application import Application
from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.bounded.repair import repair_steps
from sa_stream.commits.decisions import claim_cache
from sa_stream.commits.keys import MANIFESTS_PREFIX
from sa_stream.commits.operations import drive
from sa_stream.commits.secrets import Secrets
from sa_stream.config import PREFIX, SA__Config
from sa_stream.health.notebook import Health
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.periods import DAILY, time_key
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.repairs import Repair_Settings
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_RAW
from sa_stream.services.archive_windows import Archive_Windows, open_archive
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_lock import hold_lock
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import DAY_MS, HOUR_MS, WINDOW_MS, moment, right_now
from tests.emulated_aws import point_at
from tests.firehose import delivered
from tests.log_lines import ordinary_lines

PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
BUCKET, COLD = "archive-logs", "archive-cold"


type Run = Callable[..., tuple[int, str, str]]  # exit code, standard output, standard error


class World(Struct, dict=True):
    """Six days ago a few hours of traffic were delivered, and their day was computed and published: that is made once,
    and each test begins from there."""

    made: Path
    place: str
    read: Callable[[], dict[str, bytes]]
    put: Callable[[str, bytes], None]
    settings: dict[str, str] = field(default_factory=dict)
    run: Run = lambda settings, *options: (0, "", "")
    day_ms: int = (right_now().wall_ms - 6 * DAY_MS) // DAY_MS * DAY_MS

    def __post_init__(self) -> None:
        self.folder = self.made / "now"
        self.settings = {
            "SOURCE": "s3",
            "LOGS_BUCKET": self.place,
            "LOGS_PREFIX": "logs",
            "LOGS_LAYOUT": "hours",
            "FIELDS": "canonical",
            "STATE_URL": f"file://{self.folder}/state",
            "CACHE_PATH": f"{self.folder}/cache",
            "WORK_DIR": str(self.folder),
        }
        lines = ordinary_lines(1, 400, (self.day_ms + 10 * HOUR_MS) / 1000, 2)
        self.objects = delivered(lines, PLACES, twice=0.05)
        for key, content in self.objects.items():
            self.put(key, content)
        self.state = State_Store(self.settings["STATE_URL"])
        self.cache = cache_client__in_process("local_disk", self.settings["CACHE_PATH"])
        self.publish()
        shutil.copytree(self.folder, self.made / "begin")
        self._settings = dict(self.settings)

    def begin(self, run: Run) -> None:
        self.run, self.settings = run, dict(self._settings)
        shutil.rmtree(self.folder)
        shutil.copytree(self.made / "begin", self.folder)

    def publish(self) -> None:
        """Compute and publish the windows of the day, and the first of the next."""
        config = SA__Config.from_env({PREFIX + name: value for name, value in self.settings.items()})
        source = Archive_Stream(config)
        application = Application(config, Health(moment()), source=source, state=self.state, cache=self.cache)
        info = source.describe()
        application.open(info)
        claim_cache(self.cache, config.application, info.name)
        windows = Archive_Windows(
            config, application.timing, application.fields, application.store, lambda: open_archive(config), right_now
        )
        secrets = Secrets(self.state, lambda: b"12345678")
        for start_ms in range(self.day_ms, self.day_ms + DAY_MS + 2 * WINDOW_MS, WINDOW_MS):
            drive(repair_steps(self.state, secrets, windows, start_ms, None))
        settings = Reconciler_Settings(refresh_ms={}, archive=Repair_Settings(only_from_ms=self.day_ms))
        reconciler = Reconciler(self.state, self.cache, list, application.timing, settings)
        while drive(reconciler.pass_steps(right_now())).written:
            pass

    def archive(self, *options: str) -> dict[str, Any]:
        code, out, err = self.run(self.settings, *options, "--json")
        assert out, err
        return {"code": code, **json.loads(out)}

    @property
    def keys(self) -> set[str]:
        return set(self.read())

    def manifests(self) -> list[str]:
        return [item.key for item in self.state.list(MANIFESTS_PREFIX)]

    def entries(self) -> dict[str, Any]:
        folder = f"{NS_SA_AGGREGATE}/data/key-based"
        paths = [path for path in self.cache.list_files(folder) if path.endswith(".json")]
        return {path: self.cache.read_file(path) for path in paths}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def start(settings: dict[str, str], *options: str) -> tuple[int, str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(PREFIX + name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["archive", *options])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return start


@pytest.fixture(scope="module")
def made_in_folder(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("folder")
    root = folder / "now" / "archive"

    def put(key: str, content: bytes) -> None:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return World(folder, f"file://{root}", lambda: files_below(root), put)


@pytest.fixture
def in_folder(made_in_folder: World, run: Run) -> World:
    made_in_folder.begin(run)
    return made_in_folder


@pytest.fixture(scope="module")
def made_in_s3(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        point_at(monkeypatch, "S3", aws_endpoint)
        client = boto3.client("s3")
        for bucket in (BUCKET, COLD):
            client.create_bucket(Bucket=bucket)

        def put(key: str, content: bytes) -> None:
            client.put_object(Bucket=BUCKET, Key=key, Body=content)

        yield World(tmp_path_factory.mktemp("s3"), BUCKET, lambda: objects_of(BUCKET), put)


@pytest.fixture
def in_s3(made_in_s3: World, run: Run) -> World:
    for bucket in (BUCKET, COLD):
        boto3.resource("s3").Bucket(bucket).objects.all().delete()
    made_in_s3.begin(run)
    for key, content in made_in_s3.objects.items():
        made_in_s3.put(key, content)
    return made_in_s3


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects_of(bucket: str) -> dict[str, bytes]:
    return {each.key: each.get()["Body"].read() for each in boto3.resource("s3").Bucket(bucket).objects.all()}


def classes_of(bucket: str) -> set[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    return {each["StorageClass"] for each in listed}


def logs_only(found: dict[str, bytes]) -> dict[str, bytes]:
    return {key: content for key, content in found.items() if "_manifests/" not in key}


OLD = ("--older-than", "3d")


def test_nothing_is_changed_unless_yes_is_said(in_folder: World, tmp_path: Path) -> None:
    world, to = in_folder, f"file://{tmp_path}/cold"
    world.settings |= {"RETAIN_30MIN_DAYS": "1", "RETAIN_CONSOLIDATED_DAYS": "1"}
    before = files_below(world.folder)
    report = world.archive(*OLD, "--to", to)
    assert (report["dry_run"], report["moved"]["files"], report["code"]) == (True, len(world.objects), 0)
    assert report["pruned"]["gone"]["30min"] == 48
    after = files_below(world.folder)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == set()
    assert not (tmp_path / "cold").exists()
    _, out, _ = world.run(world.settings, *OLD, "--to", to)
    assert f"Would move {len(world.objects)} files" in out
    assert "Nothing was changed: --yes acts." in out


def test_files_of_a_folder_go_to_another_and_what_is_past_its_retention_goes(in_folder: World, tmp_path: Path) -> None:
    world = in_folder
    world.settings |= {"RETAIN_30MIN_DAYS": "1", "RETAIN_CONSOLIDATED_DAYS": "1"}
    world.cache.store_entry(NS_SA_RAW, "2026-01-01/00-00/0123", {"a": 1})
    before, day = world.entries(), time_key(DAILY, world.day_ms)
    would = world.archive(*OLD, "--to", f"file://{tmp_path}/cold")
    report = world.archive(*OLD, "--to", f"file://{tmp_path}/cold", "--yes")
    assert (report["code"], report["moved"]["failed"]) == (0, {})
    assert {key: report["pruned"][key] for key in ("gone", "left")} == {
        key: would["pruned"][key] for key in ("gone", "left")
    }
    assert report["state"] == would["state"]
    assert report["pruned"]["gone"] == {"30min": 48, "consolidated": 48, "raw": 1, "orphans": 0}
    assert report["pruned"]["together"] == {f"30min of {day}": 48, f"consolidated of {day}": 48}
    assert report["pruned"]["files"] == 5 * (48 + 48 + 1)
    assert logs_only(files_below(tmp_path / "cold")) == {
        key.removeprefix("logs/"): content for key, content in world.objects.items()
    }
    assert world.read() == {}
    assert not [path for path in (world.folder / "archive").rglob("*") if path.is_dir()]
    assert world.entries() == {path: entry for path, entry in before.items() if f"30min/{day}" not in path}
    again = world.archive(*OLD, "--to", f"file://{tmp_path}/cold", "--yes")
    assert (again["moved"]["files"], again["pruned"]["gone"]) == (0, {"orphans": 0})


def test_files_in_s3_change_their_class_where_they_are(in_s3: World) -> None:
    world = in_s3
    report = world.archive(*OLD, "--to-class", "GLACIER_IR", "--yes")
    assert (report["code"], report["moved"]["files"]) == (0, len(world.objects))
    assert world.read() == world.objects
    assert classes_of(BUCKET) == {"GLACIER_IR"}
    assert len(world.manifests()) == 2  # one, and that it was carried out
    assert world.archive(*OLD, "--to-class", "GLACIER_IR", "--yes")["moved"]["files"] == 0


def test_files_in_s3_go_to_another_bucket_with_a_manifest_beside_them(in_s3: World) -> None:
    world = in_s3
    report = world.archive(*OLD, "--to", f"s3://{COLD}/old/logs", "--yes")
    assert (report["code"], report["moved"]["files"]) == (0, len(world.objects))
    assert world.read() == {}
    cold = objects_of(COLD)
    assert logs_only(cold) == {f"old/{key}": content for key, content in world.objects.items()}
    (name,) = cold.keys() - logs_only(cold).keys()
    first, *lines = map(json.loads, cold[name].splitlines())
    assert first["way"]["to_place"] == COLD
    assert {line["file"]: line["to"] for line in lines} == {
        f"s3://{BUCKET}/{key}": f"s3://{COLD}/old/{key}" for key in world.objects
    }


def test_a_file_that_says_something_else_than_its_window_stays_with_its_entries(in_s3: World) -> None:
    world = in_s3
    world.settings["RETAIN_30MIN_DAYS"] = "1"
    key = next(iter(world.objects))
    more = ordinary_lines(7, 5, (world.day_ms + 10 * HOUR_MS + 60_000) / 1000, 0.1)
    world.put(key.replace(".gz", "-more.gz"), more)
    report = world.archive(*OLD, "--to", f"s3://{COLD}/old", "--yes")
    assert report["code"] == 0
    assert report["left"]["not-verified"]["files"] >= 2
    assert key in world.keys
    assert report["pruned"]["left"]["30min"]["files-not-verified"] == 48
    _, out, _ = world.run(world.settings, *OLD, "--to", f"s3://{COLD}/old")
    assert "`sa-stream verify` says why" in out


def test_files_of_windows_that_are_not_final_or_young_stay(in_folder: World, tmp_path: Path) -> None:
    world = in_folder
    young = f"logs/{right_now().wall_ms}"
    world.put(f"{young}", b"no log of the layout")
    for entry in world.entries().values():
        if entry.get("period") in ("30min", "hourly", "daily", "monthly"):
            key = entry["cache_key"]
            world.cache.store_entry(NS_SA_AGGREGATE, key, entry | {"status": "partial"})
    report = world.archive(*OLD, "--to", f"file://{tmp_path}/cold", "--yes")
    assert (report["code"], report["moved"]["files"]) == (0, 0)
    assert report["left"]["not-final"]["files"] == len(world.objects)
    assert world.keys == {*world.objects, young}
    assert world.archive("--older-than", "30d", "--to", f"file://{tmp_path}/cold", "--yes")["moved"]["files"] == 0


def test_what_fails_is_said_and_the_exit_code_tells(in_folder: World, tmp_path: Path) -> None:
    world = in_folder
    key = next(iter(world.objects))
    in_the_way = tmp_path / "cold" / key.removeprefix("logs/")
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"another")
    report = world.archive(*OLD, "--to", f"file://{tmp_path}/cold", "--yes")
    assert report["code"] == 1
    assert list(report["moved"]["failed"]) == [str(world.folder / "archive" / key)]
    assert world.keys == {key}


def test_the_place_where_the_files_are_is_refused_by_whatever_name(in_folder: World, tmp_path: Path) -> None:
    world = in_folder
    (tmp_path / "link").symlink_to(world.folder / "archive" / "logs")
    for to in (f"{world.place}/logs", f"file://{tmp_path}/link"):
        for act in ((), ("--yes",)):  # nor does a dry run promise that it would move them
            code, _, err = world.run(world.settings, *OLD, "--to", to, *act)
            assert (code, "is where the files are already" in err) == (2, True)
    assert world.keys == set(world.objects)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--older-than", "1h"), "at least 48h"),
        (("--older-than", "soon"), "30d or 36h"),
        (("--to", "s3://cold/x"), "file:///path"),
        (("--to", "file:relative"), "file:///path"),
        (("--to-class", "GLACIER_IR"), "for buckets"),
        (("--to", "file:///x", "--to-class", "GLACIER_IR"), "either --to or"),
        (("--yes", "--dry-run"), "either --dry-run or"),
    ],
)
def test_wrong_use_is_said(run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    code, _, err = run({"LOGS_BUCKET": f"file://{tmp_path}"}, *options)
    assert code == 2
    assert said in err


def test_a_class_whose_files_cannot_be_read_at_once_is_refused(run: Run) -> None:
    code, _, err = run({"LOGS_BUCKET": BUCKET}, "--to-class", "DEEP_ARCHIVE")
    assert (code, "GLACIER_IR" in err) == (2, True)


def test_two_at_once_are_refused_by_name(in_folder: World, tmp_path: Path) -> None:
    world = in_folder
    with hold_lock(world.state, key="locks/archive"):
        code, _, err = world.run(world.settings, "--to", f"file://{tmp_path}/cold", "--yes")
    assert (code, "Another `sa-stream archive --yes` is at work" in err) == (1, True)


def test_a_state_store_without_an_application_is_said(run: Run, tmp_path: Path) -> None:
    settings = {"STATE_URL": f"file://{tmp_path}/state", "CACHE_PATH": f"{tmp_path}/cache"}
    code, _, err = run(settings | {"LOGS_BUCKET": f"file://{tmp_path}"})
    assert (code, "STATE_URL" in err) == (2, True)


@pytest.mark.parametrize("source", ["s3", "kinesis"])
def test_without_an_input_the_setting_that_names_it_is_said(in_folder: World, source: str) -> None:
    world = in_folder
    code, _, err = world.run(world.settings | {"LOGS_BUCKET": "", "SOURCE": source})
    assert (code, f"{PREFIX}{'LOGS_BUCKET' if source == 's3' else 'STREAM'}" in err) == (2, True)
