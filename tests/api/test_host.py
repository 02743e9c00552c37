"""A host application as in the seeds: its own cookie, CORS and API-key middleware, and our routes registered in it."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mgraph_ai_service_cache_client.client.cache_client.Cache__Service__Client import Cache__Service__Client
from osbot_fast_api_serverless.fast_api.Serverless__Fast_API import Serverless__Fast_API
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.api.endpoints import ENDPOINTS, PIPELINE, Endpoint
from sa_stream.api.Routes__SA import Routes__SA
from sa_stream.rollups.periods import iso
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.SA__Pipeline__Setup import SA__Pipeline__Setup
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client as Our__Cache__Client
from sa_stream.timing import HOUR_MS
from tests.api.test_routes import path_of, refused
from tests.firehose import plain
from tests.oracle import recount
from tests.services.place import BEGIN_MS, DAY_KEY, NOW_MS, Place

KEY_NAME, KEY = "x-host-key", "the-key-of-the-host"
SENT = {KEY_NAME: KEY}
CONFIRMED = {**SENT, "x-sa-confirm": "yes"}


class Send__Cache__Client(Type_Safe):
    """The host's own class, as in the seeds."""

    cache_client: Cache__Service__Client


class Fast_API__Host(Serverless__Fast_API):
    """With a pipeline, or with None, as when it is not enabled."""

    sa_pipeline: Any

    def setup_routes(self) -> None:
        super().setup_routes()
        if self.sa_pipeline is not None:
            self.add_routes(Routes__SA, sa_pipeline=self.sa_pipeline, now_ms=lambda: NOW_MS)


@pytest.fixture(scope="module")
def place() -> Place:
    place = Place(service=True)
    place.aggregate("daily", DAY_KEY)
    return place


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as env:
        env.setenv("FAST_API__AUTH__API_KEY__NAME", KEY_NAME)
        env.setenv("FAST_API__AUTH__API_KEY__VALUE", KEY)
        pipeline = place.pipeline()
        pipeline.send_cache_client = Send__Cache__Client(cache_client=place.cache.cache_client)
        yield TestClient(Fast_API__Host(sa_pipeline=pipeline).setup().app(), raise_server_exceptions=False)


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.method == "GET"], ids=lambda each: each.path)
def test_every_address_answers_behind_the_hosts_own_key(client: TestClient, endpoint: Any):
    path = path_of(endpoint).replace("2026-02-27", DAY_KEY)
    query = {"/traffic/report": f"?day={DAY_KEY}"}.get(endpoint.path, "")
    assert client.get(path + query).status_code == 401
    answer = client.get(path + query, headers=SENT)
    if endpoint.name == "cloudfront__jobs":
        refused(answer, 404, "not_there")
    else:
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "private, no-cache"
    refused(client.get(f"{path}?nonsense=1", headers=SENT), 400, "unknown_parameter")


def test_the_hosts_cookie_reads_and_does_not_write(client: TestClient):
    cookie = {"cookie": f"{KEY_NAME}={KEY}", "origin": "https://evil.example"}
    assert client.get("/api/sa/traffic/summary", headers=cookie).status_code == 200
    refused(client.post("/api/sa/cloudfront/aggregate", headers=cookie, json={}), 400, "confirm")
    preflight = client.options("/api/sa/cloudfront/aggregate", headers=cookie)
    assert "x-sa-confirm" not in preflight.headers.get("access-control-allow-headers", "").lower()


def test_the_numbers_are_those_of_the_recount(client: TestClient, place: Place):
    day = place.expected()[f"daily/{DAY_KEY}"]
    answer = client.get(f"/api/sa/traffic/summary?at={DAY_KEY}", headers=SENT).json()
    assert answer["totals"]["requests"] == day["total_requests"]
    series = client.get(f"/api/sa/traffic/timeseries?from={DAY_KEY}&period=30min", headers=SENT).json()
    assert sum(row[1] for row in series["rows"] if row[1]) == day["total_requests"]


def test_an_entry_is_found_by_its_id_in_the_cache_service(client: TestClient, place: Place):
    key_hash = Our__Cache__Client(cache_client=place.cache.cache_client)._hash(f"daily/{DAY_KEY}")
    found = place.cache.cache_client.retrieve().retrieve__hash__cache_hash__cache_id(key_hash, NS_SA_AGGREGATE)
    entry = client.get(f"/api/sa/cache/entry/{found['cache_id']}", headers=SENT).json()
    assert entry["cache_key"] == f"daily/{DAY_KEY}"
    nowhere = "00000000-0000-0000-0000-000000000000"
    refused(client.get(f"/api/sa/cache/entry/{nowhere}", headers=SENT), 404, "not_there")


def test_a_step_works_for_its_time_and_says_what_remains(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sa_stream.api.Routes__SA.BUDGET_S", 0)
    app = Fast_API__Host(sa_pipeline=place.pipeline())
    app.config.enable_api_key = False
    client = TestClient(app.setup().app(), raise_server_exceptions=False)
    left: dict[str, Any] | None = {"from": iso(BEGIN_MS), "to": iso(BEGIN_MS + 2 * HOUR_MS)}
    done = []
    while left is not None:
        answer = client.post("/api/sa/cloudfront/consolidate", params=left, headers=CONFIRMED)
        assert answer.status_code == 200, answer.text
        done += answer.json()["result"]
        left = answer.json()["remaining"]
    assert [each["time_key"][-4:] for each in done] == ["1300", "1330", "1400", "1430"]
    expected = place.expected()
    assert [each["total_requests"] for each in done] == [
        expected[f"30min/{each['time_key']}"]["total_requests"] for each in done
    ]
    last = client.get("/api/sa/cloudfront/status", headers=SENT).json()
    assert last["last_runs"]["consolidate"]["done"] == 1
    assert last["unprocessed_files"] == {"hours": 2, "files": 0, "unread": 0}


@pytest.mark.parametrize("step", ["ingest", "aggregate"])
def test_the_other_steps_too(client: TestClient, step: str):
    span = {"from": iso(BEGIN_MS), "to": iso(BEGIN_MS + HOUR_MS)}
    answer = client.post(f"/api/sa/cloudfront/{step}", params=span, headers=CONFIRMED).json()
    assert (answer["step"], answer["remaining"], len(answer["result"])) == (step, None, 1)
    assert max(answer["result"][0].get(name, 0) for name in ("records_parsed", "total_requests")) > 100


@pytest.mark.parametrize("endpoint", [each for each in PIPELINE if each.job], ids=lambda endpoint: endpoint.path)
def test_a_step_answers_as_its_example_says(client: TestClient, place: Place, endpoint: Endpoint):
    answer = client.post(f"/api/sa{endpoint.path}{endpoint.try_it}", headers=CONFIRMED).json()
    expected = dict(endpoint.example)
    result, example = answer.pop("result"), expected.pop("result")
    assert answer == expected
    if isinstance(example, dict):
        assert set(result) == set(example)
    else:
        assert [(each["time_key"], set(each)) for each in result] == [(each["time_key"], set(each)) for each in example]


def test_a_file_that_goes_on_into_the_next_hour_is_ingested_whole():
    place = Place()
    app = Fast_API__Host(sa_pipeline=place.pipeline())
    app.config.enable_api_key = False
    client = TestClient(app.setup().app(), raise_server_exceptions=False)
    span = {"from": iso(BEGIN_MS - HOUR_MS), "to": iso(BEGIN_MS + 3 * HOUR_MS)}
    done = client.post("/api/sa/cloudfront/ingest", params=span, headers=CONFIRMED).json()["result"]
    expected = recount(list(map(plain, place.objects.values())), now_ms=NOW_MS)
    found = {file["log_file_key"]: file for file in map(place.ingested, place.objects)}
    assert sum(file["records_parsed"] for file in found.values()) == expected.records - sum(expected.invalid.values())
    assert sum(each["errors"] for each in done) >= sum(expected.invalid.values()) > 0, "in records"


def test_files_are_moved_by_the_command_line_alone(client: TestClient):
    refused(client.post("/api/sa/cloudfront/archive?dry_run=false", headers=CONFIRMED), 409, "conflict")
    refused(client.post("/api/sa/cloudfront/archive?dry_run=perhaps", headers=CONFIRMED), 400, "bad_parameter")
    refused(client.post("/api/sa/cloudfront/archive?older_than=-1", headers=CONFIRMED), 400, "bad_parameter")
    pytest.importorskip("sa_stream.bounded.archiving")
    answer = client.post("/api/sa/cloudfront/archive?older_than=3", headers=CONFIRMED).json()
    assert answer["result"]["dry_run"] is True


def test_a_host_that_has_no_pipeline_has_no_such_address():
    app = Fast_API__Host(sa_pipeline=None)
    app.config.enable_api_key = False
    assert TestClient(app.setup().app()).get("/api/sa/traffic/summary").status_code == 404


def test_the_pipeline_is_any_that_has_a_cache_client(place: Place):
    pipeline = SA__Pipeline__Setup(send_cache_client=place.cache)
    app = Fast_API__Host(sa_pipeline=pipeline)
    app.config.enable_api_key = False
    client = TestClient(app.setup().app(), raise_server_exceptions=False)
    assert client.get("/api/sa/cache/stats").json()["entries"] > 0


def test_the_dashboards_address_leads_to_its_first_page(client: TestClient):
    for address in ("/api/sa/dashboard", "/api/sa/dashboard/"):
        page = client.get(address, headers=SENT)
        assert (page.status_code, page.url.path) == (200, "/api/sa/dashboard/")
        assert "<title>" in page.text


def test_the_dashboard_stands_behind_the_hosts_own_key_too(client: TestClient):
    page = client.get("/api/sa/dashboard/overview", headers=SENT)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    script = page.text.split('<script type="module" src="')[1].split('"')[0]
    assert client.get(f"/api/sa/dashboard/{script}", headers=SENT).status_code == 200
    assert client.get("/api/sa/dashboard/overview").status_code == 401
