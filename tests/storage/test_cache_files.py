"""What the cache service keeps of an entry: all of it goes with the entry, and what belongs to no entry is found."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sa_stream.errors import Store_Unavailable
from sa_stream.storage.cache_clients import cache_client__in_process, cache_client__remote
from sa_stream.storage.cache_files import Cache_Files
from sa_stream.storage.cache_service import Storage_FS__Whole_Files
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.timing import HOUR_MS, MINUTE_MS, wall_clock_ms
from tests.storage.cache_process import API_KEY_NAME, API_KEY_VALUE

PATHS = '{"all_paths": {"data": null}, "timestamp": "x"}'
KEYS = ["30min/2026-02-16-1430", "hourly/2026-02-16-14", "2026-02-16/14-30/summary"]


@pytest.fixture(params=["memory", "local_disk", "http"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Send__Cache__Client:
    if request.param == "http":
        url = request.getfixturevalue("cache_server").url
        return cache_client__remote(url, API_KEY_NAME, API_KEY_VALUE)
    return cache_client__in_process(request.param, f"{tmp_path}/a @ cache")


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return "ns-" + "".join(character if character.isalnum() else "-" for character in request.node.name)[:80]


def soon_ms() -> int:
    return wall_clock_ms() + MINUTE_MS


def created_again(client: Send__Cache__Client, namespace: str, key: str) -> None:
    """As by a second writer who looked at the same moment."""
    file_id = key.replace("/", "-")
    path = f"/{namespace}/key_based/store/json/{key}?file_id={file_id}&json_field_path=cache_key"
    client._done("POST", path, {"a": 2, "cache_key": key})


def references(client: Send__Cache__Client, namespace: str, kind: str) -> list[str]:
    return client.list_files(f"{namespace}/refs/{kind}")


def test_the_keys_of_a_namespace_are_listed(client: Send__Cache__Client, namespace: str) -> None:
    files = Cache_Files(client)
    assert files.keys(namespace) == []
    for key in KEYS:
        client.store_entry(namespace, key, {"a": 1})
    assert files.keys(namespace) == sorted(KEYS)
    assert files.orphans(namespace, soon_ms()) == []


def test_what_others_leave_in_the_directory_belongs_to_nobody_and_stops_nothing(tmp_path: Path) -> None:
    client = cache_client__in_process("local_disk", str(tmp_path))
    client.store_entry("ns", KEYS[0], {"a": 1})
    for folder in ("data/key-based/30min", "refs/by-hash", "."):
        (tmp_path / "ns" / folder / ".DS_Store").write_bytes(bytes(9))
    files = Cache_Files(client)
    assert (files.keys("ns"), files.orphans("ns", soon_ms())) == (KEYS[:1], [])


@pytest.mark.parametrize("unreadable", ["refs/by-hash", "refs/by-id", "data"])
def test_nothing_is_an_orphan_as_long_as_a_folder_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    """A disk or a network that fails for a moment: what it hides still belongs to the rest."""
    client = cache_client__in_process("local_disk", str(tmp_path))
    client.store_entry("ns", KEYS[0], {"a": 1})
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith(unreadable):
            raise OSError(errno.EIO, "Input/output error", path)
        return scandir(path)

    files = Cache_Files(client)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", failing)
        with pytest.raises(Store_Unavailable, match="Input/output error"):
            files.orphans("ns", soon_ms())
    assert files.orphans("ns", soon_ms()) == []


@pytest.mark.parametrize("times", [1, 3], ids=["created once", "created by three"])
def test_nothing_of_an_entry_is_left_when_it_is_deleted(
    client: Send__Cache__Client, namespace: str, times: int
) -> None:
    client.store_entry(namespace, KEYS[0], {"a": 1})
    client.store_entry(namespace, KEYS[1], {"a": 1})
    for _ in range(times - 1):
        created_again(client, namespace, KEYS[0])
    others = {path for path in client.list_files(namespace) if "hourly" in path}
    assert client.delete_entry(namespace, KEYS[0]) == 4 + times
    assert client.retrieve_entry(namespace, KEYS[0]) is None
    assert client.retrieve_entry(namespace, KEYS[1]) == {"a": 1, "cache_key": KEYS[1]}
    left = client.list_files(namespace)
    assert others < set(left)
    assert len(left) == 5
    assert client.delete_entry(namespace, KEYS[0]) == 0


def test_a_folder_is_there_as_long_as_it_has_an_entry(client: Send__Cache__Client, namespace: str) -> None:
    pruned, kept = "30min/2026-02-16-1400", "30min/2026-02-16-1430"
    for key in (pruned, kept, "daily/2026-02-16"):
        client.store_entry(namespace, key, {"total_requests": 1})
    client.delete_entry(namespace, pruned)
    client.delete_entry(namespace, "daily/2026-02-16")
    assert client.list_folders(f"{namespace}/data/key-based") == ["30min"]
    assert client.list_folders(f"{namespace}/data/key-based/30min") == ["2026-02-16-1430"]
    client.store_entry(namespace, pruned, {"total_requests": 2})
    assert client.list_folders(f"{namespace}/data/key-based/30min") == ["2026-02-16-1400", "2026-02-16-1430"]


def test_on_disk_a_file_is_written_while_the_last_one_beside_it_goes(tmp_path: Path) -> None:
    storage = Storage_FS__Whole_Files(root=str(tmp_path))

    def come_and_go(name: str) -> None:
        for number in range(200):
            storage.file__save(f"a/b/{name}", b"%d" % number)
            assert storage.file__bytes(f"a/b/{name}") == b"%d" % number
            assert f"a/b/{name}" in storage.folder__files__all("a")
            assert "b" in storage.folder__folders("a")
            storage.file__delete(f"a/b/{name}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(come_and_go, ("one", "other")))
    assert list(tmp_path.iterdir()) == []


def test_what_was_stored_by_its_time_is_listed_and_deleted(client: Send__Cache__Client) -> None:
    namespace = "sa-cloudfront-raw"
    files = Cache_Files(client)
    cache_id = client.raw__record({"a": 1})
    ((hour_ms, found),) = [each for each in files.stored_by_hour(namespace) if each[1] == cache_id]
    assert 0 <= wall_clock_ms() - hour_ms < 2 * HOUR_MS
    assert not [path for path in files.orphans(namespace, soon_ms()) if cache_id in path]
    assert files.delete_stored(namespace, found) == 5
    assert not [path for path in client.list_files(namespace) if cache_id in path]


def test_an_id_that_a_second_creation_left_behind_is_an_orphan_and_the_entry_is_not(
    client: Send__Cache__Client, namespace: str
) -> None:
    client.store_entry(namespace, KEYS[0], {"a": 1})
    (first,) = references(client, namespace, "by-id")
    created_again(client, namespace, KEYS[0])
    files = Cache_Files(client)
    assert files.orphans(namespace, soon_ms()) == [first]
    assert files.orphans(namespace, wall_clock_ms() - HOUR_MS) == []
    assert files.delete_file(first) == 1
    assert files.delete_file(first) == 0
    assert files.orphans(namespace, soon_ms()) == []
    assert client.retrieve_entry(namespace, KEYS[0]) == {"a": 2, "cache_key": KEYS[0]}
    assert client.delete_entry(namespace, KEYS[0]) > 0
    for path in files.orphans(namespace, soon_ms()):
        files.delete_file(path)
    assert client.list_files(namespace) == []


@pytest.mark.parametrize("gone", range(5))
def test_what_a_deletion_that_was_killed_has_left_is_found_in_the_end(
    client: Send__Cache__Client, namespace: str, gone: int
) -> None:
    """Whichever of its five files is gone: the other entry stays whole."""
    client.store_entry(namespace, KEYS[0], {"a": 1})
    five = client.list_files(namespace)
    client.store_entry(namespace, KEYS[1], {"a": 1})
    files = Cache_Files(client)
    files.delete_file(five[gone])
    beside_the_body = five[gone].endswith((".config", ".metadata"))
    for _ in range(3):
        for path in files.orphans(namespace, soon_ms()):
            files.delete_file(path)
    left = set(client.list_files(namespace)) & set(five)
    if beside_the_body:
        assert client.retrieve_entry(namespace, KEYS[0])
    else:
        assert not left
    assert client.retrieve_entry(namespace, KEYS[1]) == {"a": 1, "cache_key": KEYS[1]}


@pytest.mark.parametrize(
    "content", ["null", "[]", '"x"', "{}", "[{}]", '{"cache_ids": [{}]}', '{"cache_ids": 5}', PATHS]
)
def test_a_file_of_the_service_that_is_damaged_stops_no_look_for_orphans(tmp_path: Path, content: str) -> None:
    """Nothing tells when it was written: it is left where it is."""
    client = cache_client__in_process("local_disk", str(tmp_path))
    client.store_entry("ns", KEYS[0], {"a": 1})
    created_again(client, "ns", KEYS[0])
    before = Cache_Files(client).orphans("ns", soon_ms())
    assert before
    for name in (*references(client, "ns", "by-id"), *references(client, "ns", "by-hash")):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text(content)
        assert {*Cache_Files(client).orphans("ns", soon_ms())}.isdisjoint({name})
        (tmp_path / name).write_bytes(whole)
    assert Cache_Files(client).orphans("ns", soon_ms()) == before
