"""Every address as the daemon answers it: what it says, who may ask, and how it refuses."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sa_stream.api.answering import BODY_BYTES_MAX, WORK_MAX
from sa_stream.api.endpoints import ENDPOINTS, PREFIX, REFUSALS, Endpoint
from sa_stream.api.http_server import Health_Server
from sa_stream.api.Key_Guard import Key_Guard
from sa_stream.api.mounting import is_loopback
from sa_stream.api.Routes__SA import Routes__SA
from sa_stream.errors import Store_Unavailable
from sa_stream.health.notebook import Health
from sa_stream.storage.cache_clients import cache_client__remote
from sa_stream.timing import moment
from tests.api.daemon_api import CONFIRMED, KEY, SENT, daemon_app, daemon_client
from tests.services.world import NOW_MS, World

GETS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET"]
EXAMPLES = {"{dimension}": "hosts", "{id}": "nothing", "{path:path}": "daily", "{key:path}": "daily/2026-02-27"}
HEADING = ("schema_version", "status", "final_until", "computed_at", "provenance", "missing_fields", "sampling_rate")


@pytest.fixture(scope="module")
def client() -> TestClient:
    return daemon_client()


def path_of(endpoint: Endpoint) -> str:
    path = endpoint.path
    for part, example in EXAMPLES.items():
        path = path.replace(part, example)
    return f"/{PREFIX}{path}"


def refused(answer: Any, status_code: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status_code, answer.text
    assert status_code in REFUSALS, "the table of docs/api.md lacks it"
    body: dict[str, Any] = answer.json()
    assert list(body) == ["detail", "code", "parameter"]
    assert isinstance(body["detail"], str)
    assert body["code"] == code
    assert answer.headers["x-content-type-options"] == "nosniff"
    return body


@pytest.mark.parametrize("endpoint", GETS, ids=lambda endpoint: endpoint.path)
def test_every_address_answers_with_what_to_believe_and_a_tag(client: TestClient, endpoint: Endpoint):
    if endpoint.name == "cloudfront__jobs":
        refused(client.get(path_of(endpoint), headers=SENT), 404, "not_there")
        return
    answer = client.get(path_of(endpoint), headers=SENT)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if endpoint.path.startswith("/traffic/"):
        assert [name for name in HEADING if name not in body] == []
        assert [name for name in endpoint.example if name not in body] == []
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    tag = answer.headers["etag"]
    assert tag.startswith('W/"')
    again = client.get(path_of(endpoint), headers={**SENT, "if-none-match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_who_asks_the_same_at_the_same_time_shares_an_answer_and_nothing_else():
    world = World()
    client = TestClient(daemon_app(world, shared_s=60))
    address = f"/{PREFIX}/traffic/summary"
    first = client.get(address, headers=SENT)
    world.store.bodies.clear()  # so that any other answer would be another one
    again = client.get(address, headers=SENT)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert client.get(address, headers={**SENT, "if-none-match": first.headers["etag"]}).status_code == 304
    refused(client.get(address), 401, "unauthorized")
    refused(client.get(f"{address}?period=hour", headers=SENT), 400, "bad_parameter")
    refused(client.get(f"{address}?at=2026-02-20", headers=SENT), 404, "not_there")
    assert client.get(f"/{PREFIX}/cache/stats", headers=SENT).json() != first.json()


def test_a_shared_answer_is_made_anew_after_its_time():
    world = World()
    client = TestClient(daemon_app(world, shared_s=0.2))
    address = f"/{PREFIX}/traffic/summary"
    first = client.get(address, headers=SENT).json()
    entry = world.retrieve_entry("sa-cloudfront-aggregate", "daily/2026-03-01")
    assert entry is not None
    time.sleep(0.25)
    world.put("daily/2026-03-01", entry | {"total_requests": 7})
    until_s = time.monotonic() + 20  # what was read is remembered for a few seconds
    while client.get(address, headers=SENT).json() == first:
        assert time.monotonic() < until_s
        time.sleep(0.2)


@pytest.mark.parametrize("endpoint", GETS, ids=lambda endpoint: endpoint.path)
def test_every_address_refuses_what_it_does_not_know_and_says_what_it_does(client: TestClient, endpoint: Endpoint):
    body = refused(client.get(f"{path_of(endpoint)}?nonsense=1", headers=SENT), 400, "unknown_parameter")
    assert body["parameter"] == "nonsense"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "another"},
        {"x-api-key": ""},
        {"x-api-key": KEY.encode() + b" x"},
        {"x-api-key": KEY[:-1].encode()},
        {"x-api-key": b"\xff\xfe"},
        {"cookie": "x-api-key=the-key-of-the-api"},
        {"authorization": b"Bearer " + KEY.encode()},
    ],
    ids=str,
)
def test_without_the_key_nobody_is_answered(client: TestClient, endpoint: Endpoint, headers: dict[str, Any]):
    answer = client.request(endpoint.method, path_of(endpoint), headers={**headers, "x-sa-confirm": "yes"})
    refused(answer, 401, "unauthorized")


def test_two_keys_are_none(client: TestClient):
    for keys in ((KEY, KEY), (KEY, "x"), ("x", KEY)):
        headers = [(b"x-api-key", key.encode()) for key in keys]
        refused(client.get(f"/{PREFIX}/cache/stats", headers=headers), 401, "unauthorized")


def test_a_key_is_compared_byte_by_byte():
    guard = Key_Guard("schlüssel")
    for value, admitted in (("schlüssel".encode(), True), ("schlüssel".encode("latin-1"), False), (b"schl\xff", False)):
        assert guard.admits([(b"host", b"x"), (b"x-api-key", value)]) == admitted
    assert not guard.admits([])
    assert not Key_Guard("").admits([(b"x-api-key", b"")])
    assert "schl" not in repr(guard)


def test_where_no_key_is_set_none_opens_it():
    for headers in ({}, {"x-api-key": ""}, {"x-api-key": "x"}):
        body = refused(daemon_client(key="").get(f"/{PREFIX}/cache/stats", headers=headers), 401, "unauthorized")
        assert "SGRAPH_SEND__SA_API_KEY" in body["detail"]


def test_the_key_is_no_parameter(client: TestClient):
    refused(client.get(f"/{PREFIX}/cache/stats?x-api-key={KEY}"), 401, "unauthorized")


@pytest.mark.parametrize("step", ["ingest", "consolidate", "aggregate", "archive"])
def test_a_post_that_another_site_could_send_does_nothing(client: TestClient, step: str):
    path = f"/{PREFIX}/cloudfront/{step}"
    body = refused(client.post(path, headers={**SENT, "origin": "https://evil.example"}), 400, "confirm")
    assert body["parameter"] == "X-SA-Confirm"
    refused(client.post(path, headers=SENT, json={"x-sa-confirm": "yes"}), 400, "confirm")
    refused(client.get(path, headers=CONFIRMED), 405, "method")
    preflight = client.options(
        path, headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
    )
    assert preflight.status_code == 401
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_a_post_without_an_archive_says_which_setting_is_missing(client: TestClient):
    body = refused(client.post(f"/{PREFIX}/cloudfront/ingest", headers=CONFIRMED), 409, "conflict")
    assert "SGRAPH_SEND__SA_LOGS_BUCKET" in body["detail"]


def test_bodies_are_bounded_and_no_parameters(client: TestClient):
    path = f"/{PREFIX}/cloudfront/ingest"
    refused(client.post(path, headers=CONFIRMED, content=b" " * (BODY_BYTES_MAX + 1)), 413, "too_large")
    refused(client.post(path, headers=CONFIRMED, json={"from": "2026-02-16"}), 400, "body")
    refused(client.post(path, headers=CONFIRMED, json={}), 409, "conflict")


@pytest.mark.parametrize(
    "path",
    ["traffic/nothing", "traffic", "cloudfront/", "cache/entry", "traffic/summary/", "nothing", "", "dashboard/"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_address_that_is_not_there_says_so_in_the_same_form(client: TestClient, method: str, path: str):
    refused(client.request(method, f"/{PREFIX}/{path}", headers=SENT), 404, "no_such_address")
    refused(client.request(method, f"/{PREFIX}/{path}"), 401, "unauthorized")


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "NEVERHEARDOF", "OPTIONS"])
def test_a_method_that_nobody_knows_is_refused_in_the_same_form_and_only_with_the_key(client: TestClient, method: str):
    for endpoint in ENDPOINTS:
        refused(client.request(method, path_of(endpoint)), 401, "unauthorized")
        answer = client.request(method, path_of(endpoint), headers=SENT)
        refused(answer, 405, "method")
        assert endpoint.method in answer.headers["allow"]
    refused(client.request(method, f"/{PREFIX}/nothing", headers=SENT), 404, "no_such_address")


def test_below_a_prefix_that_looks_like_ours_a_wrong_method_is_refused_as_elsewhere():
    host = FastAPI()
    host.mount(f"/{PREFIX}/other", daemon_app())
    answer = TestClient(host).delete(f"/{PREFIX}/other/{PREFIX}/traffic/summary", headers=SENT)
    refused(answer, 405, "method")


RUBBISH = [
    b"<html>",
    b'{"total_requests": 1',
    b"",
    b"null",
    b"3",
    b"[]",
    b"[3]",
    b"{}",
    b'{"detail": "x"}',
    b"[" * 200_000,
]
RUBBISH += [b'{"cache_key": "daily/2026-02-27", "total_requests": NaN}', b"\xff\xfe", b'{"files": 3}']


@pytest.mark.parametrize("body", RUBBISH, ids=lambda body: body[:20])
def test_rubbish_from_the_cache_service_is_its_fault_and_no_answer(body: bytes):
    class Rubbish(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Rubbish) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        cache = cache_client__remote(f"http://127.0.0.1:{server.server_port}", "x-api-key", "key")
        client = TestClient(daemon_app(cache))  # type: ignore[arg-type]
        for endpoint in GETS:
            answer = client.get(path_of(endpoint), headers=SENT)
            if endpoint.name == "cloudfront__jobs":
                refused(answer, 404, "not_there")
            elif not (body == b"[]" and endpoint.name in ("cache__browse", "cache__stats")):  # a folder without entries
                refused(answer, 503, "unavailable")
        server.shutdown()


@pytest.mark.parametrize(
    "path",
    [
        "cache/entry/..%2f..%2fetc%2fpasswd",
        "cache/entry/daily/..%2f..%2f..",
        "cache/entry/daily/2026-02-27%00",
        "cache/entry/%2e%2e/x",
        "cache/entry/" + "a" * 3_000,
        "cache/browse/..%2f..%2f",
        "cache/browse/daily%2f..%2f..",
        "cache/entry/folder:daily",
        "cloudfront/jobs/..%2f..",
        "traffic/breakdown/..%2fsummary",
    ],
)
def test_no_path_leads_out_of_the_entries(path: str):
    world = World()
    client = daemon_client(world)
    world.reads.clear()
    answer = client.get(f"/{PREFIX}/{path}", headers=SENT)
    assert answer.status_code in (400, 404)
    assert list(answer.json()) == ["detail", "code", "parameter"]
    assert world.reads == []


@pytest.mark.parametrize("query", ["limit=1&limit=2", "at=%00", "period=%0d%0aSet-Cookie:x", "x" * 9_000, "a=1&" * 30])
def test_queries_that_play_tricks_are_refused(client: TestClient, query: str):
    answer = client.get(f"/{PREFIX}/traffic/top-paths?{query}", headers=SENT)
    assert answer.status_code == 400
    assert "\n" not in answer.text


def test_a_store_that_does_not_answer_is_503_and_its_words_stay_in_the_log(caplog: pytest.LogCaptureFixture):
    world = World()

    def fails(namespace: str, key: str) -> None:
        raise Store_Unavailable("the service at 10.1.2.3 said: secret-stuff")

    world.retrieve_entry = fails  # type: ignore[method-assign,assignment]
    answer = daemon_client(world).get(f"/{PREFIX}/traffic/summary", headers=SENT)
    refused(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "10.1.2.3" not in answer.text
    assert "secret-stuff" in caplog.text


def test_a_mistake_of_the_program_is_one_sentence_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture):
    world = World()

    def mistaken(namespace: str, key: str) -> None:
        raise KeyError(key)

    world.retrieve_entry = mistaken  # type: ignore[method-assign,assignment]
    answer = daemon_client(world).get(f"/{PREFIX}/traffic/status-codes?at=2026-02-27", headers=SENT)
    refused(answer, 500, "internal")
    assert "Traceback" not in answer.text
    assert "KeyError" in caplog.text


def test_no_more_than_32_are_answered_at_once_and_each_in_time():
    world, release = World(), threading.Event()
    retrieve = world.retrieve_entry

    def waits(namespace: str, key: str) -> Any:
        release.wait(20)
        return retrieve(namespace, key)

    world.retrieve_entry = waits  # type: ignore[method-assign]
    app = FastAPI()
    routes = Routes__SA(app=app, send_cache_client=world, now_ms=lambda: NOW_MS).setup()
    routes._desk._answer_s = 1.0
    found: list[int] = []
    with TestClient(app) as client:
        path = f"/{PREFIX}/traffic/summary"
        asking = [threading.Thread(target=lambda: found.append(client.get(path).status_code)) for _ in range(40)]
        began_s = time.monotonic()
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert time.monotonic() - began_s < 5
        assert found == [503] * 40
        assert client.get(path).status_code == 503, "they still work, though nobody waits for them"
        release.set()
        deadline_s = time.monotonic() + 10
        while client.get(path).status_code != 200:
            assert time.monotonic() < deadline_s
    assert WORK_MAX == 32


def test_the_document_describes_each_address_with_an_example(client: TestClient):
    document = client.get("/openapi.json").json()
    described = {
        (method.upper(), path): said for path, each in document["paths"].items() for method, said in each.items()
    }
    assert {(each.method, f"/{PREFIX}{each.path.replace(':path', '')}") for each in ENDPOINTS} <= set(described)
    for (method, path), said in described.items():
        if path.startswith(f"/{PREFIX}"):
            assert len(said["description"]) > 30
            assert said["responses"]["200"]["content"]["application/json"]["example"]
            assert {parameter["description"] != "" for parameter in said.get("parameters", ())} <= {True}
            assert said["security"] == [{"APIKeyHeader": []}]
            names = [parameter["name"] for parameter in said.get("parameters", ())]
            assert ("X-SA-Confirm" in names) == (method == "POST")


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient):
    page = client.get("/docs").text
    assert "https://" not in page
    assert "//cdn" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert name in page
        assert client.get(f"/static-docs/swagger-ui/{name}").status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_only_this_machine_reaches_a_loopback_address(host: str, loopback: bool):
    assert is_loopback(host) == loopback


def test_health_says_no_more_than_whether_it_is_ready_where_others_can_ask():
    import requests

    server = Health_Server(Health(moment()), port=0, guard=Key_Guard("key"))
    try:
        for path in ("/health", "/health/ready"):
            assert requests.get(server.url + path, timeout=5).json() == {"status": "not ready"}
            assert len(requests.get(server.url + path, headers={"x-api-key": "key"}, timeout=5).json()) > 1
        assert requests.get(f"{server.url}/health/ready", timeout=5).status_code == 503
        assert requests.get(f"{server.url}/health/live", timeout=5).json() == {"status": "live"}
        for path in ("/metrics", "/"):
            assert requests.get(server.url + path, timeout=5).status_code == 200
    finally:
        server.stop()


def test_where_no_key_is_set_health_says_no_more_to_anybody_there():
    import requests

    server = Health_Server(Health(moment()), port=0, guard=Key_Guard(""))
    try:
        for headers in ({}, {"x-api-key": ""}):
            assert requests.get(f"{server.url}/health", headers=headers, timeout=5).json() == {"status": "not ready"}
    finally:
        server.stop()
