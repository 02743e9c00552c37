"""Random requests, made from the API's own document: whatever is asked, the answer is one that was foreseen, and holds
neither a secret nor an address. How many: QUERIES (500)."""

import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa_stream.secrecy import hide
from tests.api.daemon_api import CONFIRMED, KEY, daemon_client
from tests.services.world import World

QUERIES = int(os.environ.get("QUERIES", "500"))
FORESEEN = {200, 202, 304, 400, 401, 404, 405, 409, 413, 503}
CHECKOUT = re.escape(str(Path(__file__).parents[2]) + "/").encode()
ADDRESS = re.compile(rb"\b(?:\d{1,3}\.){3}\d{1,3}\b|[\w.]+@[\w.]+\.\w+|0x[0-9a-f]{8,}|/site-packages/|" + CHECKOUT)
TIMES = st.one_of(
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.dates().map(str),
    st.sampled_from(
        ["latest", "2026-02-27", "2026-02", "2026-03-01-1830", "daily/2026-02-28", "2026-02-28T12:00:00+05:45"]
    ),
)
WORDS = st.one_of(
    TIMES,
    st.integers(-10, 10_000).map(str),
    st.text(max_size=30),
    st.sampled_from(
        ["", "null", "NaN", "1e9", "٣", "%00", "../..", "' OR 1=1", "<script>", "jane@example.org", "\ud800"]
    ),
)

type Operation = tuple[str, str, list[dict[str, Any]]]  # method, path, parameters


@pytest.fixture(scope="module")
def client() -> TestClient:
    hide(KEY)
    return daemon_client(World())


@pytest.fixture(scope="module")
def operations(client: TestClient) -> list[Operation]:
    document = client.get("/openapi.json").json()
    return [
        (method.upper(), path, [each for each in said.get("parameters", ()) if each["in"] != "header"])
        for path, methods in document["paths"].items()
        for method, said in methods.items()
        if path.startswith("/api/sa")
    ]


def value_of(parameter: dict[str, Any]) -> st.SearchStrategy[str]:
    """Mostly what it may be."""
    schema = parameter["schema"]
    known = [*schema.get("enum", ()), *([schema["example"]] if "example" in schema else ())]
    return st.one_of(*([st.sampled_from(known)] * 3 if known else ()), TIMES, WORDS)


@st.composite
def requests(
    draw: st.DrawFn, operations: list[tuple[str, str, list[dict[str, Any]]]]
) -> tuple[str, str, dict[str, bytes]]:
    method, path, parameters = draw(st.sampled_from(operations))
    query = []
    for parameter in parameters:
        if parameter["in"] == "path":
            value = draw(value_of(parameter)).encode("utf-8", "replace")
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe="" if draw(st.booleans()) else "/"))
        elif draw(st.booleans()):
            query.append((parameter["name"], draw(value_of(parameter)).encode("utf-8", "replace")))
    if draw(st.integers(0, 9)) == 0:
        query.append((draw(st.text(min_size=1, max_size=10)).encode("utf-8", "replace"), b"1"))
    headers = dict(CONFIRMED)
    if draw(st.integers(0, 9)) == 0:
        headers["x-api-key"] = draw(st.binary(max_size=20)).replace(b"\r", b"").replace(b"\n", b"")
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"]))
    return method, f"{path}?{urlencode(query)}" if query else path, headers


def test_whatever_is_asked_is_answered_as_foreseen(
    client: TestClient, operations: list[Operation], caplog: pytest.LogCaptureFixture
):
    seen: dict[int, int] = {}

    @settings(max_examples=QUERIES, suppress_health_check=list(HealthCheck), database=None)
    @given(requests(operations))
    def ask(request: tuple[str, str, dict[str, bytes]]) -> None:
        method, path, headers = request
        answer = client.request(method, path, headers=headers)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code in FORESEEN, (path, answer.text)
        assert not ADDRESS.search(answer.content), (path, answer.text)
        assert KEY.encode() not in answer.content
        if answer.status_code >= 400 and method != "HEAD":
            assert {"detail"} <= set(answer.json()), path

    with caplog.at_level(logging.INFO):
        ask()
    assert KEY not in caplog.text
    assert "Traceback" not in caplog.text
    assert min(seen.get(code, 0) for code in (200, 400, 401)) > QUERIES // 100, seen
