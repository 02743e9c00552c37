"""What strangers send, and what must be in no store after a run: agents, referers but for their hosts, addresses,
countries that few come from."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE, NS_SA_CONSOLIDATED
from sa_stream.timing import HOUR_MS
from tests.consumer.local.conftest import Clock
from tests.consumer.local_run import STREAM, Local_Run
from tests.log_lines import line_of
from tests.oracle import CANONICAL

FIELDS = (*CANONICAL, "c-country")
SHARD = "shardId-000000000000"
NEEDLES = {
    "cs-user-agent": ["Needle-Agent/1.0%20(needle-device)", "Mozilla/5.0%20(needle-phone;%20iPhone)", "needlebot/2.0"],
    "cs-referer": [
        "https://partner.example/needle/path?needle=token#needle",
        "https://needle-user:needle-word@partner.example:8443/",
        "http://198.51.100.77/needle",
        "needle%20is%20no%20address",
    ],
    "cs-uri-query": ["needle=query"],
}


@pytest.fixture
def run(tmp_path: Path, kinesis: Memory_Kinesis) -> Iterator[Local_Run]:
    made = Local_Run(tmp_path, FIELDS=",".join(FIELDS), ALLOW_FIELDS="c-country", OUT_OF_ORDERNESS_S="1")
    yield made
    made.stop()


def test_no_store_has_an_agent_a_referers_path_an_address_or_a_rare_country_by_name(
    run: Local_Run, kinesis: Memory_Kinesis, clock: Clock, tmp_path: Path
) -> None:
    start_ms = clock.ms = 1_771_250_400_000
    kinesis.create_stream(STREAM)
    lines = 0
    for field, values in NEEDLES.items():
        for value in values:
            fixed = {"timestamp": f"{start_ms / 1000 + lines}", "x-edge-request-id": f"id-{lines}", "sc-status": "200"}
            line = line_of({**fixed, "cs-uri-stem": "/page", field: value, "c-country": "SM"}, FIELDS)
            kinesis.put_to_shard(STREAM, SHARD, line + b"\n", start_ms + lines)
            lines += 1
    clock.ms = start_ms + HOUR_MS
    run.start()
    run.until("the window to be final", lambda: any(entry["status"] == "final" for entry in run.entries.values()))
    run.stop()
    assert run.counted() == lines
    shown = msgspec.json.encode([run.cache.entries(name) for name in (NS_SA_AGGREGATE, NS_SA_CONSOLIDATED)])
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for what in (b"needle", b"Needle", b"198.51.100"):
        assert what not in shown
        assert what not in stored
    (half,) = [entry for key, entry in run.entries.items() if key.startswith("30min") and entry["total_requests"]]
    assert half["countries"] == {"(few)": lines}
    assert b'"SM"' not in shown
    assert half["referrers"]["partner.example"] == 2
