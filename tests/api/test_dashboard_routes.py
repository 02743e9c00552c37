"""The dashboard's pages and assets as a browser asks for them: where they are, how long they last, what they forbid."""

import re
from posixpath import normpath
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from sa_stream.api.Routes__Dashboard import FOLDER, POLICY, VIEWS, dashboard_routes

BYTES_MAX = 150_000  # of everything that a first visit loads


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(dashboard_routes())
    app.include_router(dashboard_routes("../", None, prefix="/api/sa/dashboard"))
    return TestClient(app, follow_redirects=False)


def script_of(client: TestClient, path: str) -> str:
    """Where a page's script is, as a browser finds it: relative to the address as it was sent."""
    found = re.search(r'<script type="module" src="([^"]+)"', client.get(path).text)
    assert found, path
    return urljoin(path, found[1])


@pytest.mark.parametrize("prefix", ["", "/api/sa/dashboard"])
def test_every_page_finds_its_assets_however_deep_it_lies(client: TestClient, prefix: str) -> None:
    root = script_of(client, f"{prefix}/")
    assert normpath(root).startswith(f"{prefix}/assets/")
    paths = [f"/{view}" for view in VIEWS]
    paths += ["/overview/", "/entries/30min", "/entries/30min/2026-02-16-1430", "/entries/a%2Fb", "/entries/a%2Fb/c/"]
    assert {script_of(client, prefix + path) for path in paths} == {root}
    assert client.get(root).status_code == 200


def test_a_prefix_without_its_slash_leads_to_the_folder_by_a_relative_address(client: TestClient) -> None:
    answer = client.get("/api/sa/dashboard")
    assert (answer.status_code, answer.headers["location"]) == (307, "dashboard/")


def test_pages_run_no_script_but_our_files_and_can_be_framed_by_nobody(client: TestClient) -> None:
    for path in ("/", "/overview", "/entries/x/y", "/main.js", script_of(client, "/")):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in POLICY
    assert "require-trusted-types-for 'script'" in POLICY


def test_assets_last_for_ever_under_the_version_in_their_address_and_pages_are_asked_about(client: TestClient) -> None:
    assert "immutable" in client.get(script_of(client, "/")).headers["cache-control"]
    page = client.get("/overview")
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/overview", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.head("/overview").status_code == 200
    elements = client.get("/api/sa/dashboard/main.js")
    assert elements.headers["cache-control"] == "no-cache"
    assert urljoin("/api/sa/dashboard/main.js", elements.text.split('"')[1]) == script_of(client, "/api/sa/dashboard/")


def test_what_another_version_is_asked_for_is_kept_by_nobody(client: TestClient) -> None:
    """While workers are replaced one by one, a page of the new ones may ask an old one for its assets."""
    for name in ("main.js", "not-yet.js"):
        assert client.get(f"/assets/0123456789ab/{name}").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["nothing.js", "%2e%2e/Routes__Dashboard.py", "index.html", ""])
def test_nothing_but_assets_is_given_out(client: TestClient, name: str) -> None:
    assert client.get(f"/assets/x/{name}").status_code == 404


def test_other_addresses_stay_unknown(client: TestClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.get("/api/sa/nowhere").status_code == 404


def test_all_of_it_is_at_most_150_kilobytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= BYTES_MAX


def test_no_file_names_another_host_or_parses_markup() -> None:
    for path in FOLDER.rglob("*.js"):
        text = path.read_text()
        found = re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert not found, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            path.name
        )


def test_no_file_is_long() -> None:
    assert [
        path.name for path in FOLDER.rglob("*.*") if path.suffix == ".js" and len(path.read_text().splitlines()) > 300
    ] == []
