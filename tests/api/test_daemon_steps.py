"""A step that is asked of the daemon works on the daemon's own state store."""

import time
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from sa_stream.api.endpoints import PIPELINE
from sa_stream.api.mounting import mount_api
from sa_stream.commits.keys import REPAIRS_PREFIX
from sa_stream.config import SA__Config
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from tests.api.daemon_api import CONFIRMED, KEY, SENT
from tests.firehose import delivered
from tests.services.place import HALF_KEY, NOW_MS, PLACES, traffic


def test_a_step_keeps_what_it_computes_where_the_daemon_finds_it(tmp_path: Path):
    """Also of `memory://`, of which each opening is another one: what was computed was gone with the step, and written
    anew, with another revision, by the next."""
    for key, content in delivered(traffic(), PLACES).items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(content)
    config = SA__Config(api_key=KEY, state_url="memory://", logs_bucket=f"file://{tmp_path}", fields="canonical")
    app, state = FastAPI(), State_Store(config.state_url)
    mount_api(app, config, cache_client__in_process("memory"), state, now_ms=lambda: NOW_MS)
    client = TestClient(app)
    example = next(each.job for each in PIPELINE if each.name == "cloudfront__consolidate")
    for _ in range(2):
        asked = client.post(f"/api/sa/cloudfront/consolidate?from={HALF_KEY}&to=2026-02-16T15:00", headers=CONFIRMED)
        job = asked.json()
        assert (asked.status_code, set(job), job["step"]) == (202, set(example), example["step"])
        while job["state"] in ("waiting", "running"):
            time.sleep(0.02)
            job = client.get(f"/api/sa/cloudfront/jobs/{job['id']}", headers=SENT).json()
        assert job["state"] == "done", job
    assert len(state.list(REPAIRS_PREFIX)) == 1
    assert client.get(f"/api/sa/cache/entry/30min/{HALF_KEY}", headers=SENT).json()["revision"] == 0
