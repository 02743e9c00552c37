"""The state store on memory, a directory and an emulated bucket."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest

from sa_stream.commits.decisions import claim_application
from sa_stream.commits.keys import APPLICATION_KEY
from sa_stream.errors import Config_Error, Corrupt_State, In_Use, Store_Unavailable, Unknown_Version
from sa_stream.format import pack
from sa_stream.storage.state_lock import LOCK_KEY, hold_lock
from sa_stream.storage.state_store import State_Store
from tests.later_version import in_version

SETTING = "SGRAPH_SEND__SA_STATE_URL"


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> State_Store:
    if request.param == "s3":
        request.getfixturevalue("aws")
        return State_Store("s3://state-bucket/sa-stream/state")
    return State_Store(f"file://{tmp_path}/a state" if request.param == "file" else "memory://")


@pytest.fixture
def bucket(aws: str) -> State_Store:
    return State_Store("s3://state-bucket/p")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=60
    )


def test_what_was_put_is_read_back(store: State_Store) -> None:
    key = "partials/2026-02-16T1430/shardId-000000000000/5f3a/056" + "9" * 56
    for data in (b"", b"\x00\xff" * 100, os.urandom(6_000_000)):
        store.put(key, data)
        assert store.get(key) == data
    assert store.get("partials/2026-02-16T1430/shardId-000000000000/5f3a/0") is None
    assert store.get("partials/2026-02-16T1430") is None


def test_create_refuses_an_existing_key_and_leaves_it_alone(store: State_Store) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.get("a/b") == b"first"


def test_of_many_creators_one_wins(store: State_Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.create("secrets/2026-02", b"%d" % n), range(16)))
    assert won.count(True) == 1
    assert store.get("secrets/2026-02") == b"%d" % won.index(True)


def test_a_listing_is_of_one_folder_sorted_by_key(store: State_Store) -> None:
    before_ms = time.time() * 1000
    for key in ("p/b/2", "p/b/10", "p/a/x/y", "p/bc/1", "pp"):
        store.put(key, key.encode())
    assert [item.key for item in store.list("p/b")] == [item.key for item in store.list("p/b/")] == ["p/b/10", "p/b/2"]
    assert [item.key for item in store.list("")] == ["p/a/x/y", "p/b/10", "p/b/2", "p/bc/1", "pp"]
    assert store.list("nothing") == []
    assert store.list("p/b/2") == []
    assert store.list_folders("p") == ["p/a", "p/b", "p/bc"]
    assert store.list_folders("nothing") == []
    item = store.list("p/bc")[0]
    assert item.size_bytes == 6
    assert abs(item.modified_ms - before_ms) < 5_000


def test_what_others_leave_in_the_directory_is_no_object(tmp_path: Path) -> None:
    """A file manager, an editor, a network file system that deletes what somebody reads."""
    store = State_Store(f"file://{tmp_path}")
    store.put("progress/shard-0/0011/5/line", b"1")
    for name in (".DS_Store", "progress/.DS_Store", "progress/shard-0/0011/5/.nfs0001", "progress/line~", ".trash/a/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [item.key for item in store.list("progress")] == ["progress/shard-0/0011/5/line"]
    assert (len(store.list("")), store.list_folders("")) == (1, ["progress"])


def test_what_stands_for_a_folder_in_a_bucket_is_no_object(bucket: State_Store) -> None:
    """As the S3 console makes one for `Create folder`, and as copying tools do for each folder."""
    import boto3

    progress, retention = "progress/shard-0/0011/5/line", "meta/retention/5-5"
    bucket.put(progress, b"1")
    bucket.put(retention, b"")  # one of ours may be empty
    for folder in ("", "progress/", "progress/shard-0/", "progress/shard-0/0011/5/", "progress/gone/", "meta/"):
        boto3.client("s3").put_object(Bucket="state-bucket", Key=f"p/{folder}", Body=b"")
    boto3.client("s3").put_object(Bucket="state-bucket", Key="p/snapshots/", Body=b"with something in it")
    for _ in range(2):
        for prefix in ("progress", "progress/", "progress/shard-0", "progress/shard-0/0011/5"):
            assert [item.key for item in bucket.list(prefix)] == [progress]
        assert [item.key for item in bucket.list("meta")] == [retention]
        assert bucket.list("progress/gone") == bucket.list("snapshots") == []
    assert bucket.get("progress") is None
    assert bucket.list_folders("progress/shard-0") == ["progress/shard-0/0011"]
    assert bucket.list_folders("progress") == ["progress/shard-0"]


def test_a_folder_without_an_object_is_none(tmp_path: Path) -> None:
    """Who was killed while it wrote the first object of a folder has left that, with what was unfinished."""
    store = State_Store(f"file://{tmp_path}")
    store.put("partials/2026-03-01T0000/a/line/0011", b"1")
    (tmp_path / "partials/2026-02-01T0000/a/line").mkdir(parents=True)
    (tmp_path / "partials/2026-02-01T0000/a/line/0011#1").touch()
    assert store.list_folders("partials") == ["partials/2026-03-01T0000"]


def test_a_listing_of_folders_does_not_read_what_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = State_Store(f"file://{tmp_path}")
    folders = [f"partials/2026-02-16T{hour:02}00" for hour in range(3)]
    for shard in range(100):
        for folder in folders:
            store.put(f"{folder}/shard-{shard}/0badcafe0badcafe/0011", b"1")
    opened: list[str] = []
    for name in ("list", "list_with_delimiter"):
        listing = getattr(obstore, name)
        monkeypatch.setattr(
            obstore, name, lambda store, at, listing=listing, **more: opened.append(at) or listing(store, at, **more)
        )
    assert store.list_folders("partials") == folders
    assert len(opened) == 1 + 3 * len(folders), "a level of each: its shards, a lineage, an object"


def test_a_listing_is_longer_than_a_page(store: State_Store) -> None:
    keys = [f"many/{n:04d}" for n in range(250 if store.scheme == "s3" else 1_100)]
    for key in keys:
        store.put(key, b"1")
    assert [item.key for item in store.list("many")] == keys
    store.delete(keys)
    assert store.list("") == []


def test_deleting_what_is_not_there_is_fine(store: State_Store) -> None:
    for key in ("d/1", "d/2", "d/3"):
        store.put(key, b"x")
    store.delete(["d/1", "d/none", "e/none", "d/3"])
    assert [item.key for item in store.list("d")] == ["d/2"]
    store.delete("d/2")
    store.delete("d/2")
    store.delete([])
    assert store.list("") == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../b", "a/../b", ".", "a/.b", "a#1", "a b", "ä", "a\n", "x" * 201]
)
def test_a_bad_key_is_refused(key: str) -> None:
    store = State_Store("memory://")
    for use in (store.get, lambda key: store.put(key, b""), lambda key: store.create(key, b""), store.delete):
        with pytest.raises(ValueError, match="no key of the state store"):
            use(key)
    if key not in ("", "a/"):
        with pytest.raises(ValueError, match="no key of the state store"):
            store.list(key)


def test_threads_put_list_and_delete_side_by_side(store: State_Store) -> None:
    """A directory that is emptied and filled at the same time loses nothing, and no listing fails."""

    def work(worker: int) -> None:
        for n in range(40):
            store.put(f"t/{n % 3}/{worker}", b"%d" % n)
            store.list("t")
            assert store.get(f"t/{n % 3}/{worker}") == b"%d" % n
            store.delete([f"t/{n % 3}/{worker}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store.list("") == []


def test_a_directory_that_comes_and_goes_fails_no_put(tmp_path: Path) -> None:
    """Deletes clean up the empty directory that puts beside them are about to use, or to make."""
    store, folder = State_Store(f"file://{tmp_path}"), tmp_path / "t"
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                folder.mkdir()
            with contextlib.suppress(OSError):
                folder.rmdir()

    def work(worker: int) -> None:
        for _ in range(500):
            store.put(f"t/{worker}", b"1")
            store.delete(f"t/{worker}")

    with ThreadPoolExecutor(4) as pool:
        pool.submit(come_and_go)
        try:
            list(pool.map(work, range(3)))
        finally:
            done.set()


def test_check_leaves_nothing_behind(store: State_Store) -> None:
    store.check()
    assert store.list("") == []


def test_a_directory_and_a_bucket_are_found_again_by_another_instance(store: State_Store) -> None:
    store.put("a", b"1")
    assert State_Store(store.url).get("a") == (None if store.scheme == "memory" else b"1")


def test_a_relative_directory_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = State_Store("file://./.sa-stream/state")
    monkeypatch.chdir("/")
    store.put("a", b"1")
    assert (tmp_path / ".sa-stream/state/a").read_bytes() == b"1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "state",
        "/var/state",
        "gs://bucket/x",
        "file://",
        "file://~nobody-of-this-name/state",
        "memory://name",
        "s3://",
        "s3://Bad_Bucket/x",
        "s3://b/x",
    ],
)
def test_a_url_that_cannot_work_names_the_setting(url: str) -> None:
    with pytest.raises(Config_Error, match=SETTING):
        State_Store(url)


def test_a_directory_below_a_file_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Config_Error, match=SETTING):
        State_Store(f"file://{tmp_path}/file/state")


def test_a_missing_bucket_is_never_a_missing_object(aws: str) -> None:
    store = State_Store("s3://no-such-bucket")
    for use in (store.get, lambda key: store.put(key, b""), store.list, store.delete):
        with pytest.raises(Store_Unavailable, match="bucket does not exist"):
            use("a")
    with pytest.raises(Config_Error, match=SETTING):
        store.check()


def test_missing_credentials_name_the_setting(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Config_Error, match=f"{SETTING}.*credentials"):
        State_Store("s3://state-bucket")


def test_a_dead_endpoint_is_unavailable_within_seconds(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    store = State_Store("s3://state-bucket/p")
    started_s = time.monotonic()
    for use in (store.get, lambda key: store.put(key, b""), lambda key: store.create(key, b""), store.list):
        with pytest.raises(Store_Unavailable, match=r"s3://state-bucket/p .*nothing answers there.*STATE_URL"):
            use("a")
    with pytest.raises(Store_Unavailable):
        store.check()
    assert time.monotonic() - started_s < 8


def test_a_slow_store_is_unavailable_after_the_timeout(
    aws: str, monkeypatch: pytest.MonkeyPatch, silent_server: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent_server)
    store = State_Store("s3://state-bucket", timeout_s=0.5, retries=0)
    started_s = time.monotonic()
    with pytest.raises(Store_Unavailable, match="could not read a"):
        store.get("a")
    assert time.monotonic() - started_s < 3


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_disk_that_takes_no_more_bytes_is_unavailable_and_keeps_what_it_has(tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk can be without being root."""
    done = run(
        """
        import resource, sys
        from sa_stream.errors import Store_Unavailable
        from sa_stream.storage.state_store import State_Store
        store = State_Store("file://" + sys.argv[1])
        store.put("a", b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            store.put("a", bytes(5000))
        except Store_Unavailable as error:
            print(error)
        print(store.get("a"), [item.key for item in store.list("")])
        """,
        str(tmp_path),
    )
    assert "could not write a: " in done.stdout, done.stderr
    assert "File too large" in done.stdout
    assert SETTING in done.stdout
    assert done.stdout.endswith("b'old' ['a']\n")


def test_a_path_that_turned_into_a_file_is_unavailable_and_hopeless_at_the_start(tmp_path: Path) -> None:
    store = State_Store(f"file://{tmp_path}/state")
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("")
    with pytest.raises(Store_Unavailable, match="is a file, not a directory"):
        store.put("a", b"")
    with pytest.raises(Config_Error, match=SETTING):
        store.check()


def test_a_directory_that_is_gone_is_unavailable_and_its_objects_are_there_when_it_comes_back(tmp_path: Path) -> None:
    """Not missing: what is missing is begun anew."""
    directory, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    store = State_Store(f"file://{directory}")
    store.put("a/b", b"1")
    directory.rename(elsewhere)
    for use in (
        *(store.get, store.list, store.list_folders, store.delete, lambda key: store.put(key, b"2")),
        *(lambda key: store.create(key, b"2"), lambda key: hold_lock(store, key=key)),
    ):
        with pytest.raises(Store_Unavailable, match=rf"{SETTING}"):
            use("a/b")
    with pytest.raises(Store_Unavailable, match="not there any more: bring it back"):
        store.check()
    assert not directory.exists()
    elsewhere.rename(directory)
    assert [item.key for item in store.list("")] == ["a/b"]
    assert store.get("a/b") == b"1"
    store.delete("a/b")
    store.put("a/b", b"2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_write_permission_is_hopeless_at_the_start(tmp_path: Path) -> None:
    store = State_Store(f"file://{tmp_path}")
    tmp_path.chmod(0o500)
    with pytest.raises(Config_Error, match="may not write"):
        store.check()


def test_what_cannot_be_listed_is_named_with_what_to_do(bucket: State_Store, tmp_path: Path) -> None:
    """obstore passes over no name that a key cannot have."""
    import boto3

    boto3.client("s3").put_object(Bucket="state-bucket", Key="p/progress//x", Body=b"1")
    with pytest.raises(Store_Unavailable, match=rf'"p/progress//x".*move it elsewhere.*{SETTING}'):
        bucket.list("progress")
    (folder := tmp_path / "progress").mkdir()
    odd, loop, itself = os.fsencode(folder) + b"/x\xff", folder / "loop", folder / "itself"
    for make, unmake, said in (
        (lambda: os.mknod(odd), lambda: os.unlink(odd), r"/progress/x%FF.*move it elsewhere"),
        (lambda: loop.symlink_to(folder), loop.unlink, r"progress/loop points .*remove the one that is named"),
        (lambda: itself.symlink_to(itself), itself.unlink, r"progress/itself.*remove the one that is named"),
    ):
        make()
        with pytest.raises(Store_Unavailable, match=rf"{said}.*{SETTING}"):
            State_Store(f"file://{tmp_path}").list("progress")
        unmake()


def test_a_stamp_keeps_other_applications_and_streams_out(store: State_Store) -> None:
    claim_application(store, "sa-stream", "logs")
    claim_application(store, "sa-stream", "logs")
    for application, stream in (("other", "logs"), ("sa-stream", "other")):
        with pytest.raises(Config_Error) as caught:
            claim_application(store, application, stream)
        for word in ("sa-stream", "logs", "other", "SGRAPH_SEND__SA_APPLICATION", SETTING):
            assert word in str(caught.value)


def test_a_stamp_of_another_version_is_refused(store: State_Store) -> None:
    store.put(APPLICATION_KEY, in_version(7, pack("application", {"application": "a", "stream": "s"})))
    with pytest.raises(Unknown_Version, match=f"version 7.*{SETTING}"):
        claim_application(store, "a", "s")
    store.put(APPLICATION_KEY, b"")
    with pytest.raises(Corrupt_State):
        claim_application(store, "a", "s")


def test_a_second_local_runner_is_refused_until_the_first_lets_go(store: State_Store) -> None:
    if store.scheme == "memory":
        with hold_lock(store), hold_lock(store):
            return
    with hold_lock(store) as lock:
        with pytest.raises(In_Use, match=f"process {os.getpid()} on .*{SETTING}"):
            hold_lock(State_Store(store.url))
        lock.refresh()
    hold_lock(store).release()


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Store_Unavailable, match=rf"No locks available.*{SETTING}"):
        hold_lock(State_Store(f"file://{tmp_path}"))


def test_of_many_local_runners_one_starts(bucket: State_Store) -> None:
    def start(_: int) -> bool:
        try:
            hold_lock(bucket)
        except In_Use:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(8))).count(True) == 1


def test_an_expired_lock_is_taken_over_and_its_holder_learns_of_it(bucket: State_Store) -> None:
    old = hold_lock(bucket)
    with pytest.raises(In_Use, match="s more, should it have died"):
        hold_lock(bucket)
    time.sleep(1.1)  # the store's times are whole seconds
    new = hold_lock(bucket, expiry_s=0.1)
    with pytest.raises(In_Use):
        old.refresh()
    old.release()
    new.refresh()
    assert bucket.get(LOCK_KEY) is not None
    new.release()
    assert bucket.get(LOCK_KEY) is None


def test_a_lock_that_is_refreshed_while_it_is_found_expired_is_not_taken(bucket: State_Store) -> None:
    """The holder's machine was suspended, and goes on at this moment."""
    old = hold_lock(bucket)
    time.sleep(1.1)  # the store's times are whole seconds

    class Slow_Look(State_Store):
        def delete(self, keys: str | Iterable[str]) -> None:
            super().delete(keys)
            old.refresh()

    with pytest.raises(In_Use):
        hold_lock(Slow_Look(bucket.url), expiry_s=0.9)
    old.refresh()


def test_a_lock_that_somebody_deleted_comes_back(bucket: State_Store) -> None:
    with hold_lock(bucket) as lock:
        bucket.delete(LOCK_KEY)
        lock.refresh()
        assert bucket.get(LOCK_KEY) is not None


def test_of_many_that_find_an_expired_lock_one_takes_it(bucket: State_Store) -> None:
    hold_lock(bucket)
    time.sleep(3.1)
    barrier, winners = threading.Barrier(4), []

    def take() -> None:
        barrier.wait()
        with contextlib.suppress(In_Use):
            winners.append(hold_lock(bucket, expiry_s=3))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys, time
        from sa_stream.storage.state_lock import hold_lock
        from sa_stream.storage.state_store import State_Store
        lock = hold_lock(State_Store(sys.argv[1]))
        print("held", flush=True)
        time.sleep(60)
        """
    )
    url = f"file://{tmp_path}/state"
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(In_Use, match=f"process {holder.pid} "):
            hold_lock(State_Store(url))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        hold_lock(State_Store(url)).release()
