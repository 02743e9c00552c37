"""The cache client against the real service: over HTTP in another process, and in this one, in memory and on disk."""

import contextlib
import http.client
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.errors import Config_Error, Store_Unavailable
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED, NS_SA_RAW
from sa_stream.storage.cache_clients import cache_client__in_process, cache_client__remote
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from tests.storage.cache_process import API_KEY_NAME, API_KEY_VALUE, Cache_Server

KEY = "30min/2026-02-16-1430"
ENTRY = {
    "period": "30min",
    "total_requests": 2**60 + 1,
    "cache_hit_rate": 33.33,
    "total_bytes": None,
    "top_paths": [{"path": "/ü/<b>%20.tar.gz", "count": 3, "bytes": None}],
    "edge_distribution": {"LHR62-C3": 2, "a.b/c": 1},
    "sources_final": False,
}
IN_PROCESS = ["memory", "local_disk"]


def remote(url: str, **options: Any) -> Send__Cache__Client:
    return cache_client__remote(url, API_KEY_NAME, API_KEY_VALUE, **options)


@pytest.fixture(params=[*IN_PROCESS, "http"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Send__Cache__Client:
    if request.param == "http":
        return remote(request.getfixturevalue("cache_server").url + "/")
    return cache_client__in_process(request.param, f"{tmp_path}/a @ cache")


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """The HTTP service lives longer than a test."""
    return "ns-" + "".join(character if character.isalnum() else "-" for character in request.node.name)[:80]


def test_an_entry_is_read_back_as_it_was_stored(cache: Send__Cache__Client, namespace: str) -> None:
    assert cache.retrieve_entry(namespace, KEY) is None
    body = dict(ENTRY)
    cache.store_entry(namespace, KEY, body)
    assert cache.retrieve_entry(namespace, KEY) == {**ENTRY, "cache_key": KEY}
    assert body == ENTRY
    assert cache.retrieve_entry(namespace, "30min/2026-02-16-1500") is None
    assert cache.retrieve_entry(namespace + "-other", KEY) is None


def test_every_kind_of_key_lands_under_its_own_name(cache: Send__Cache__Client, namespace: str) -> None:
    keys = [
        KEY,
        "hourly/2026-02-16-14",
        "daily/2026-02-16",
        "monthly/2026-02",
        "2026-02-16/14-30/summary",
        "a.b",
        "a_b",
    ]
    for key in keys:
        cache.store_entry(namespace, key, {"of": key})
    assert [cache.retrieve_entry(namespace, key) for key in keys] == [{"of": key, "cache_key": key} for key in keys]
    files = cache.list_files(f"{namespace}/data/key-based")
    assert [file for file in files if file.endswith("monthly-2026-02.json")] == [
        f"{namespace}/data/key-based/monthly/2026-02/monthly-2026-02.json"
    ]
    assert set(cache.list_folders(f"{namespace}/data/key-based")) >= {"30min", "hourly", "daily", "monthly"}
    assert cache.list_files("no-such-folder") == []


def test_overwriting_leaves_one_version_and_no_orphans(cache: Send__Cache__Client, namespace: str) -> None:
    for revision in range(4):
        cache.store_entry(namespace, KEY, {"revision": revision, "long": "x" * (1000 - 300 * revision)})
    assert (cache.retrieve_entry(namespace, KEY) or {})["revision"] == 3
    assert len(cache.list_files(f"{namespace}/refs/by-id")) == len(cache.list_files(f"{namespace}/refs/by-hash")) == 1


def test_threads_write_one_key_and_the_last_one_stays(cache: Send__Cache__Client, namespace: str) -> None:
    def write(n: int) -> None:
        cache.store_entry(namespace, KEY, {"n": n})
        assert "n" in (cache.retrieve_entry(namespace, KEY) or {})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    assert len(cache.list_files(f"{namespace}/refs/by-id")) == 1


def test_raw_records_are_found_by_their_time(cache: Send__Cache__Client) -> None:
    before = len(cache.list_files(f"{NS_SA_RAW}/data/temporal"))
    assert cache.raw__record({"lines": 1}) != cache.raw__record({"lines": 1})
    files = cache.list_files(f"{NS_SA_RAW}/data/temporal")
    assert len([file for file in files if file.endswith(".json")]) >= 2
    assert len(files) > before
    assert cache.list_folders(f"{NS_SA_RAW}/data/temporal") == [time.strftime("%Y", time.gmtime())]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
bodies = st.dictionaries(
    text,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


def test_any_json_survives_the_service(cache_server: Cache_Server) -> None:
    cache = remote(cache_server.url)

    @settings(max_examples=15, deadline=None)
    @given(bodies)
    def round_trip(body: dict[str, Any]) -> None:
        cache.store_entry("any-json", KEY, body)
        assert cache.retrieve_entry("any-json", KEY) == {**body, "cache_key": KEY}

    round_trip()


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": float("inf")}, {"x": "\ud800"}, {"x": {1, 2}}])
def test_what_no_service_could_keep_is_refused_at_once(body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        cache_client__in_process().store_entry(NS_SA_AGGREGATE, KEY, body)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a..b", "a b", "ä", "a?b", "x" * 300])
def test_a_key_that_the_service_would_rewrite_is_refused(key: str) -> None:
    cache = cache_client__in_process()
    with pytest.raises(ValueError, match="no cache key"):
        cache.store_entry(NS_SA_AGGREGATE, key, {})
    assert cache.retrieve_entry(NS_SA_AGGREGATE, key) is None


def test_a_directory_is_read_again_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    cache_client__in_process("local_disk", path).store_entry(NS_SA_AGGREGATE, KEY, ENTRY)
    again = cache_client__in_process("local_disk", path)
    assert again.retrieve_entry(NS_SA_AGGREGATE, KEY) == {**ENTRY, "cache_key": KEY}
    again.store_entry(NS_SA_AGGREGATE, KEY, {"revision": 2})
    assert len(again.list_files(f"{NS_SA_AGGREGATE}/refs/by-id")) == 1


def test_a_server_killed_while_it_writes_reads_whole_entries_afterwards(
    tmp_path: Path, start_cache_server: Callable[..., Cache_Server]
) -> None:
    arguments = ("--port", "0", "--mode", "local_disk", "--path", str(tmp_path))
    server = start_cache_server(*arguments)
    cache = remote(server.url)
    cache.store_entry(NS_SA_AGGREGATE, KEY, {"n": 0, "filler": "x" * 200_000})
    threading.Timer(0.2, server.kill).start()
    written = 0

    def write_on() -> None:
        nonlocal written
        for n in range(1, 10_000):
            cache.store_entry(NS_SA_AGGREGATE, f"{KEY}-{n}", {"n": n})
            cache.store_entry(NS_SA_AGGREGATE, KEY, {"n": n, "filler": "x" * 200_000})
            written = n

    with pytest.raises(Store_Unavailable):
        write_on()
    cache = remote(start_cache_server(*arguments).url)
    entry = cache.retrieve_entry(NS_SA_AGGREGATE, KEY)
    assert entry is not None
    assert entry["n"] in (written, written + 1)
    for n in range(1, written + 3):
        cache.store_entry(NS_SA_AGGREGATE, f"{KEY}-{n}", {"n": -n})
        assert (cache.retrieve_entry(NS_SA_AGGREGATE, f"{KEY}-{n}") or {})["n"] == -n


@pytest.mark.parametrize("lost", ["refs/by-id", "refs/by-hash", "data/key-based"])
def test_an_entry_that_was_half_created_is_missing_and_can_be_stored(tmp_path: Path, lost: str) -> None:
    cache = cache_client__in_process("local_disk", str(tmp_path))
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 1})
    for file in (tmp_path / NS_SA_CONSOLIDATED / lost).rglob("*.json"):
        file.unlink()
    cache = cache_client__in_process("local_disk", str(tmp_path))
    assert cache.retrieve_entry(NS_SA_CONSOLIDATED, KEY) is None
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 2})
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 3})
    assert cache.retrieve_entry(NS_SA_CONSOLIDATED, KEY) == {"n": 3, "cache_key": KEY}


@pytest.mark.parametrize("torn", [b"", bytes(40), b'{"n'])
@pytest.mark.parametrize("which", ["refs/by-id", "refs/by-hash", "*.json", "*.config", "*.metadata"])
def test_an_entry_of_which_a_power_cut_tore_a_file_is_as_it_was_or_missing_and_can_be_stored(
    tmp_path: Path, which: str, torn: bytes
) -> None:
    cache = cache_client__in_process("local_disk", str(tmp_path))
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 1})
    folder, name = (which, "*.json") if which.startswith("refs") else ("data", which)
    (file,) = (tmp_path / NS_SA_CONSOLIDATED / folder).rglob(name)
    file.write_bytes(torn)
    cache = cache_client__in_process("local_disk", str(tmp_path))
    assert (cache.retrieve_entry(NS_SA_CONSOLIDATED, KEY) or {"n": 1})["n"] == 1
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 2})
    cache.store_entry(NS_SA_CONSOLIDATED, KEY, {"n": 3})
    assert cache.retrieve_entry(NS_SA_CONSOLIDATED, KEY) == {"n": 3, "cache_key": KEY}


def test_a_full_disk_is_unavailable_and_the_old_entry_stays(tmp_path: Path) -> None:
    code = """
        import resource, sys
        from sa_stream.errors import Store_Unavailable
        from sa_stream.storage.cache_clients import cache_client__in_process
        cache = cache_client__in_process("local_disk", sys.argv[1])
        cache.store_entry("ns", "a", {"n": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        try:
            cache.store_entry("ns", "a", {"n": 2, "filler": "x" * 9_000})
        except Store_Unavailable as error:
            print(error)
        print(cache.retrieve_entry("ns", "a"), [f for f in cache.list_files("ns") if "unfinished" in f])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert "File too large" in done.stdout, done.stderr
    assert done.stdout.endswith("{'n': 1, 'cache_key': 'a'} []\n")
    assert done.stderr == ""


def test_the_service_in_this_process_is_quiet_and_leaves_the_environment_alone(tmp_path: Path) -> None:
    """Neither a .env file nor AWS credentials of the user change what it does."""
    (tmp_path / ".env").write_text("CACHE__SERVICE__STORAGE_MODE=s3\nFROM_DOT_ENV=1\n")
    code = """
        import logging, os
        logging.basicConfig(level=logging.INFO)
        before = dict(os.environ)
        from sa_stream.storage.cache_clients import cache_client__in_process
        cache = cache_client__in_process("memory")
        cache.store_entry("ns", "a", {"n": 1})
        assert cache.retrieve_entry("ns", "a") == {"n": 1, "cache_key": "a"}
        assert dict(os.environ) == before, dict(os.environ)
    """
    aws = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, **aws},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_remote_user_does_not_load_the_service() -> None:
    code = "import sys, sa_stream.storage.cache_clients; print('mgraph_ai_service_cache' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_clients_of_several_services_live_side_by_side(cache_server: Cache_Server) -> None:
    first, second, third = cache_client__in_process(), cache_client__in_process(), remote(cache_server.url)
    for n, cache in enumerate((first, second, third)):
        cache.store_entry("side-by-side", KEY, {"n": n})
    assert [(cache.retrieve_entry("side-by-side", KEY) or {})["n"] for cache in (first, second, third)] == [0, 1, 2]


def assert_unavailable(cache: Send__Cache__Client, *words: str) -> None:
    for use in (
        cache.check,
        lambda: cache.retrieve_entry(NS_SA_AGGREGATE, KEY),
        lambda: cache.store_entry(NS_SA_AGGREGATE, KEY, {}),
        lambda: cache.raw__record({"a": 1}),
        lambda: cache.list_files(NS_SA_RAW),
        lambda: cache.list_folders(NS_SA_RAW),
    ):
        with pytest.raises(Store_Unavailable) as caught:
            use()
        for word in words:
            assert word in str(caught.value)


def test_a_working_service_passes_the_check(cache: Send__Cache__Client) -> None:
    cache.check()


@pytest.mark.parametrize("key", ["wrong", ""])
def test_a_wrong_key_names_its_setting_and_not_the_key(cache_server: Cache_Server, key: str) -> None:
    cache = cache_client__remote(cache_server.url, API_KEY_NAME, key)
    assert_unavailable(cache, "401", "SGRAPH_SEND__SA_CACHE_API_KEY_VALUE")


def test_a_dead_endpoint_names_its_setting() -> None:
    assert_unavailable(remote("http://127.0.0.1:9"), "http://127.0.0.1:9", "SGRAPH_SEND__SA_CACHE_URL")


@pytest.mark.parametrize("url", ["", "cache.example.com", "ftp://x", "http://a b", "http://x/?a=1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_CACHE_URL"):
        remote(url)


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_CACHE_API_KEY_VALUE") as caught:
        cache_client__remote("http://127.0.0.1:9", "x-api-key", "secret\n")
    assert "secret" not in str(caught.value)
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_CACHE_API_KEY_NAME"):
        cache_client__remote("http://127.0.0.1:9", "x.api.key", "secret")


@pytest.mark.parametrize("mode", ["", "s3", "sqlite"])
def test_an_unknown_mode_names_its_setting(mode: str) -> None:
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_CACHE_MODE"):
        cache_client__in_process(mode)


def test_a_directory_that_cannot_be_made_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("", f"{tmp_path}/file/cache", "~nobody-of-this-name/cache"):
        with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_CACHE_PATH"):
            cache_client__in_process("local_disk", path)


type Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Starts a web server that answers everything in one way."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)

            def do_DELETE(self) -> None:
                answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, text: str, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(text)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(text.encode())


def reset(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (500, '{"detail": "storage is down"}', ("500", "storage is down")),
        (503, "busy", ("503",)),
        (403, "", ("403", "SGRAPH_SEND__SA_CACHE_API_KEY_VALUE")),
        (404, "<html>nothing here</html>", ("is it one?", "SGRAPH_SEND__SA_CACHE_URL")),
        (404, '{"detail": "Not Found"}', ("is it one?", "SGRAPH_SEND__SA_CACHE_URL")),
        (200, "<html>welcome</html>", ("JSON", "SGRAPH_SEND__SA_CACHE_URL")),
        (200, '{"total_requests": 1e999}', ("JSON", "SGRAPH_SEND__SA_CACHE_URL")),
    ],
)
def test_a_failing_or_foreign_service_is_unavailable_and_never_a_miss(
    serve: Callable[[Answer], str], status: int, text: str, words: tuple[str, ...]
) -> None:
    assert_unavailable(remote(serve(lambda handler: reply(handler, status, text))), *words)


@pytest.mark.parametrize("text", ["[]", '["a"]', "null", "7"])
def test_a_list_or_a_number_where_an_object_is_expected_is_unavailable(
    serve: Callable[[Answer], str], text: str
) -> None:
    cache = remote(serve(lambda handler: reply(handler, 200, text)))
    for use in (
        lambda: cache.retrieve_entry(NS_SA_AGGREGATE, KEY),
        lambda: cache.store_entry(NS_SA_AGGREGATE, KEY, {}),
        lambda: cache.raw__record({"a": 1}),
        lambda: cache.list_files(NS_SA_RAW),
        lambda: cache.delete_file("a"),
        lambda: cache.delete_entry(NS_SA_AGGREGATE, KEY),
        lambda: cache.delete_stored(NS_SA_AGGREGATE, "a"),
    ):
        with pytest.raises(Store_Unavailable, match="something else than an object"):
            use()


def test_a_redirect_is_not_followed_with_our_key(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda handler: reply(handler, 302, "", Location="http://127.0.0.1:9/elsewhere"))
    assert_unavailable(remote(url), "SGRAPH_SEND__SA_CACHE_URL")


def test_a_slow_service_is_unavailable_after_the_timeout(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda handler: time.sleep(2))
    started_s = time.monotonic()
    with pytest.raises(Store_Unavailable, match="in time"):
        remote(url, timeout_s=0.3).retrieve_entry(NS_SA_AGGREGATE, KEY)
    assert time.monotonic() - started_s < 1.5


@pytest.mark.parametrize("part", ["headers", "body", "chunks"])
def test_a_service_that_sends_a_byte_now_and_then_is_unavailable_after_the_timeout(
    serve: Callable[[Answer], str], part: str
) -> None:
    begin = {
        "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    }[part]

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            for piece in (begin, *[b" "] * 60):
                handler.connection.sendall(piece)
                time.sleep(0.1)

    started_s = time.monotonic()
    with pytest.raises(Store_Unavailable, match="in time"):
        remote(serve(drip), timeout_s=0.5).retrieve_entry(NS_SA_AGGREGATE, KEY)
    assert time.monotonic() - started_s < 2


def test_a_reset_connection_is_tried_once_more(serve: Callable[[Answer], str]) -> None:
    calls = []

    def first_resets(handler: http.server.BaseHTTPRequestHandler) -> None:
        calls.append(handler.path)
        if len(calls) == 1:
            reset(handler)
        else:
            reply(handler, 200, json.dumps({"n": 1}))

    assert remote(serve(first_resets)).retrieve_entry(NS_SA_AGGREGATE, KEY) == {"n": 1}
    assert len(calls) == 2


def test_connections_that_are_always_reset_are_unavailable(serve: Callable[[Answer], str]) -> None:
    assert_unavailable(remote(serve(reset)), "SGRAPH_SEND__SA_CACHE_URL")


def test_a_restarted_service_is_used_again_without_an_error(
    tmp_path: Path, start_cache_server: Callable[..., Cache_Server]
) -> None:
    """Its old connection is still in the pool, and broken."""
    arguments = ("--mode", "local_disk", "--path", str(tmp_path))
    server = start_cache_server("--port", "0", *arguments)
    cache = remote(server.url)
    cache.store_entry(NS_SA_AGGREGATE, KEY, {"n": 1})
    server.kill()
    with pytest.raises(Store_Unavailable):
        cache.check()
    start_cache_server("--port", server.url.rpartition(":")[2], *arguments)
    cache.store_entry(NS_SA_AGGREGATE, KEY, {"n": 2})
    assert cache.retrieve_entry(NS_SA_AGGREGATE, KEY) == {"n": 2, "cache_key": KEY}
    assert len(cache.list_files(f"{NS_SA_AGGREGATE}/refs/by-id")) == 1


def run_server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = {"FAST_API__AUTH__API_KEY__NAME": "", "FAST_API__AUTH__API_KEY__VALUE": "", **environment}
    return subprocess.run(
        [sys.executable, "-m", "sa_stream.embedded.cache_server", *arguments],
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_server_without_a_key_or_on_a_used_port_says_so(cache_server: Cache_Server) -> None:
    done = run_server("--port", "0")
    assert done.returncode == 2
    assert "FAST_API__AUTH__API_KEY__VALUE" in done.stderr
    port = cache_server.url.rpartition(":")[2]
    done = run_server("--port", port, FAST_API__AUTH__API_KEY__NAME="a", FAST_API__AUTH__API_KEY__VALUE="b")
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr


def test_a_server_stops_cleanly_when_it_is_told_to(start_cache_server: Callable[..., Cache_Server]) -> None:
    server = start_cache_server("--port", "0")
    remote(server.url).check()
    server.process.terminate()
    assert server.process.wait(timeout=10) in (0, -15)


def test_answers_on_one_connection_do_not_wait_for_delayed_acknowledgements(cache_server: Cache_Server) -> None:
    host, _, port = cache_server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        connection.request("GET", "/info/health")
        connection.getresponse().read()
        took_s.append(time.monotonic() - began_s)
    connection.close()
    assert sorted(took_s)[10] < 0.03, took_s
