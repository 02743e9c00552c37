"""What others put among the objects of a state store: a README, a copy, a note. It changes nothing and is told once."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sa_stream.commits import keys
from sa_stream.partitions import END, RETIRED, Partial_Name
from sa_stream.records.dead_letters import PREFIX as DEAD_LETTERS_PREFIX
from sa_stream.rollups.periods import PERIODS, cache_key, start_of
from sa_stream.state_keys import is_ours
from sa_stream.storage.state_store import State_Store

W = 1771252200000  # 2026-02-16T14:30
SHARD, LINE = "shardId-000000000007", "1771252200000.0badcafe"
OURS = (
    keys.partial_key(W, SHARD, Partial_Name(LINE, "9" * 56)),
    keys.snapshot_key(SHARD, "0", LINE),
    keys.snapshot_key(SHARD, END, LINE),
    keys.progress_key(SHARD, "12", W, LINE),
    keys.progress_key(SHARD, "12", -1, LINE, with_snapshot=True),
    keys.progress_key(SHARD, RETIRED, W, RETIRED),
    keys.checkpoint_key(SHARD),
    keys.repair_key(W, 0, "0badcafe-whole"),
    keys.repair_files_key(W, 12, "0badcafe-broken"),
    keys.late_file_key(W, "0badcafe0badcafe"),
    keys.manifest_key("2026-02-16", "2026-02-16-0badcafe0badcafe"),
    keys.manifest_key("2026-02-16", "2026-02-16-0badcafe0badcafe.done"),
    *(keys.summary_key(cache_key(period, start_of(period, W)), "0badcafe" * 4) for period in PERIODS),
    keys.summary_key("daily/2024-02-29", "0badcafe" * 4),
    keys.edition_key("30min/2026-02-16-1430", 0),
    keys.edition_key("monthly/2026-02", 1_234_567),
    keys.closed_editions_key("30min", "2026-02-16"),
    keys.closed_editions_key("daily", "2026-02"),
    keys.secret_key("2026-02"),
    keys.secret_key("2026-02", 3),
    keys.destroyed_secret_key("2026-02"),
    keys.retention_key(W, 86_400_000),
    keys.APPLICATION_KEY,
    keys.RUNNER_KEY,
    keys.ID_KEY,
    keys.START_KEY,
    f"{keys.FIELDS_KEY}.1",
    f"{keys.STREAMS_PREFIX}/{W:015d}",
    f"{DEAD_LETTERS_PREFIX}{SHARD}/{'9' * 56}/000000",
    f"{DEAD_LETTERS_PREFIX}{SHARD}/{'8' * 56}/set_aside-{'9' * 56}",
)
FOREIGN = (
    *(f"{key}/README" for key in OURS),
    *(f"{key.partition('/')[0]}/README" for key in OURS),
    *(f"{key.partition('/')[0]}/backup/{key.partition('/')[2]}" for key in OURS),
    f"partials/2026-02-16T1430/{SHARD}/{LINE}/README",
    f"partials/2026-02-30T1430/{SHARD}/{LINE}/0011",
    f"partials/2026-02-16T1415/{SHARD}/{LINE}/0011",
    f"progress/{SHARD}/README",
    f"progress/{SHARD}/0011/README/{LINE}",
    f"progress/{SHARD}/0011/latest",
    f"progress/{SHARD}/0011/5/README",
    f"progress/{SHARD}/0011/5/{LINE}.bak",
    "summaries/30min/2026-02-16-1430/notes.txt",
    "repairs/2026-02-16T1430/0011/README",
    "repairs/2026-02-16T1430/0019/old",
    "repair-late/2026-02-16T1430/notes",
    "summaries/30min/2026-02-16-1430/notes",
    f"snapshots/{SHARD}/README/x",
    "summaries/30min/2026-02-16-1415/x",
    "summaries/hourly/2026-02-16-24/x",
    "summaries/daily/2026-13-01/x",
    "summaries/weekly/2026-02-16/x",
    "editions/30min/2026-02-16-1430/README",
    "meta/streams/README",
    "meta/retention/README",
    "meta/start.old",
)


def test_every_key_that_is_made_is_ours() -> None:
    assert [key for key in OURS if not is_ours(key)] == []
    assert [key for key in OURS for folder in folders_of(key) if not is_ours(folder, folder=True)] == []


def test_what_no_key_looks_like_is_not_ours() -> None:
    assert [key for key in FOREIGN if is_ours(key)] == []


def folders_of(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


class Place:
    """A state store, and what others see of it: they write past us."""

    def __init__(self, kind: str, folder: Path) -> None:
        url = {"memory": "memory://", "file": f"file://{folder}", "s3": "s3://state-bucket/p"}
        self.store, self._kind, self._folder = State_Store(url[kind]), kind, folder

    def lay(self, key: str) -> None:
        if self._kind == "s3":
            import boto3

            boto3.client("s3").put_object(Bucket="state-bucket", Key=f"p/{key}", Body=b"of somebody else")
        elif self._kind == "file":
            path = self._folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"of somebody else")
        else:
            import obstore

            obstore.put(self.store._store, key, b"of somebody else")


@pytest.fixture(params=["memory", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        request.getfixturevalue("aws")
    return Place(request.param, tmp_path)


def listed(store: State_Store) -> Mapping[str, object]:
    prefixes = {folder for key in OURS for folder in folders_of(key)}
    return {
        prefix: ([item.key for item in store.list(prefix)], store.list_folders(prefix)) for prefix in sorted(prefixes)
    }


def test_a_foreign_object_changes_no_listing_and_is_told_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    for key in OURS:
        place.store.put(key, b"ours")
    before = listed(place.store)
    assert not [record for record in caplog.records if hasattr(record, "fields")]
    foreign = [key for key in FOREIGN if not any(key.startswith(f"{ours}/") for ours in OURS)]  # no file is a folder
    for key in foreign:
        place.lay(key)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert listed(place.store) == before
    told = [record.__dict__["fields"]["key"] for record in caplog.records if hasattr(record, "fields")]
    assert sorted(key.partition("/")[0] for key in told) == sorted({key.partition("/")[0] for key in foreign})


def test_a_folder_with_nothing_else_in_it_is_none_once_it_was_listed(place: Place) -> None:
    place.lay("partials/2026-02-16T1430/README")
    assert place.store.list("partials/2026-02-16T1430") == []
    assert place.store.list_folders("partials") == []


@pytest.mark.parametrize("key", ["progress/README", "partials/2026-02-16T1430/p/line/12", "meta/other"])
def test_nothing_is_written_that_no_listing_would_show(place: Place, key: str) -> None:
    for write in (place.store.put, place.store.create):
        with pytest.raises(ValueError, match="no listing"):
            write(key, b"1")
