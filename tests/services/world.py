"""Three days of traffic over a months' edge, as the cache shows them: with a zero night, a gap, an open end, a repair
from S3; and what the recount says of the same lines."""

from copy import deepcopy
from functools import cache as once
from typing import Any

from sa_stream.bounded.replay import replay_logs
from sa_stream.embedded.memory_cache import Memory_Cache
from sa_stream.log_file import Log_File, Log_Form, Log_Lines
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.rollups.periods import end_of, from_iso, iso, start_of
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.Service__SA__Traffic import Service__SA__Traffic
from sa_stream.services.traffic_metrics import IN_SLOTS
from sa_stream.timing import DAY_MS, MINUTE_MS, WINDOW_MS
from tests.archive.test_layout import ms
from tests.log_lines import ordinary_lines
from tests.oracle import event_time_ms, recount

BEGIN_MS = ms(2026, 2, 27)
NOW_MS = ms(2026, 3, 1, 18, 40)  # the half hour of 18:30 is open
NIGHT = range(ms(2026, 2, 28), ms(2026, 2, 28, 5), WINDOW_MS)
GAP = range(ms(2026, 2, 28, 12), ms(2026, 2, 28, 14), WINDOW_MS)
REPAIRED_MS = ms(2026, 2, 28, 15)
COLUMNS = {"daily": ("per_half_hour", "30min"), "monthly": ("per_day", "daily")}


@once
def lines() -> bytes:
    """Of what is counted: nothing at night, nothing in the gap, nothing that is still to come."""
    kept = []
    for line in ordinary_lines(7, 6_000, BEGIN_MS / 1000, 72, duplicate_rate=0.02, dirt_rate=0).splitlines():
        at_ms = event_time_ms(line.partition(b"\t")[0].decode())
        assert at_ms is not None
        if at_ms < NOW_MS and at_ms // WINDOW_MS * WINDOW_MS not in (*NIGHT, *GAP):
            kept.append(line)
    return b"\n".join(kept) + b"\n"


@once
def expected() -> dict[str, dict[str, Any]]:
    """What the recount says."""
    return recount(lines()).entries


@once
def computed(content: bytes) -> dict[str, dict[str, Any]]:
    """Entries of the product by their keys, as of the end. Shared: nobody changes them."""
    pieces = [Log_Lines(Log_File("x", Log_Form.TEXT), content)]
    intake = Intake(resolve_field_lists("canonical", ""))
    entries, _ = replay_logs(pieces, intake, NOW_MS + DAY_MS)
    return {entry["cache_key"]: entry for entry in entries}


class World:
    """columns: whether the entries of days and months have their slots, as those of schema 2"""

    def __init__(self, columns: bool = True) -> None:
        self.store = Memory_Cache()
        self.store.bodies = dict(bodies(columns))
        self.reads: list[str] = []
        self.cache = Service__SA__Cache(send_cache_client=self)
        self.traffic = Service__SA__Traffic(cache=self.cache)

    def retrieve_entry(self, namespace: str, cache_key: str) -> dict[str, Any] | None:
        self.reads.append(cache_key)
        return self.store.retrieve_entry(namespace, cache_key)

    def list_folders(self, path: str) -> list[str]:
        return self.store.list_folders(path)

    def put(self, key: str, body: dict[str, Any]) -> None:
        self.store.store_entry(NS_SA_AGGREGATE, key, body | {"cache_key": key})


@once
def bodies(columns: bool) -> dict[tuple[str, str], bytes]:
    """All that the cache keeps."""
    store = Memory_Cache()
    for key, entry in computed(lines()).items():
        start_ms, period = from_iso(entry["window_start"]), entry["period"]
        ended = end_of(period, start_ms) <= NOW_MS - 10 * MINUTE_MS
        parts_gap = any(start_of(period, gap_ms) == start_ms for gap_ms in GAP)
        reason = "open" if not ended else "partial" if parts_gap else ""
        repaired = start_of(period, REPAIRED_MS) == start_ms
        body = deepcopy(entry) | {
            "status": "partial" if reason else "final",
            "missing_sources": [{"reason": reason}] if reason else [],
            "computed_at": iso(min(NOW_MS - 30_000, end_of(period, start_ms) + MINUTE_MS)),
            "provenance": "stream" if not repaired else "s3" if period == "30min" else "mixed",
        }
        if period in COLUMNS:
            name, of = COLUMNS[period]
            if columns:
                tell_of_slots(body[name], of, start_ms)
            else:
                del body[name]
        store.store_entry(NS_SA_AGGREGATE, key, body)
    store.store_entry(NS_SA_AGGREGATE, "status/stream", STATUS | {"cache_key": "status/stream"})
    return store.bodies


STATUS = {
    "schema_version": 1,
    "computed_at": iso(NOW_MS - 20_000),
    "version": "1",
    "final_until": iso(ms(2026, 3, 1, 18, 30)),
    "covers_since": None,
    "watermark": iso(NOW_MS - MINUTE_MS),
    "lag_s": 60,
    "partitions": 1,
    "watermarks": {},
    "open_windows": [{"window_start": iso(ms(2026, 3, 1, 18, 30)), "requests": 3}],
    "gaps": [{"from": iso(GAP.start), "to": iso(GAP.stop), "reason": "not-covered"}],
    "repairs": {"waiting": [], "computed": 1},
    "workers": {},
}


def tell_of_slots(columns: dict[str, list[Any]], of: str, start_ms: int) -> None:
    """Say of the slots of a day or a month, which are final by themselves, what is not, and why."""
    for place in range(len(columns["state"])):
        end_ms = end_of(of, start_ms)
        reason = "not-covered" if any(start_of(of, gap_ms) == start_ms for gap_ms in GAP) else ""
        reason = "open" if end_ms > NOW_MS - 10 * MINUTE_MS else "before-start" if end_ms <= BEGIN_MS else reason
        if reason:
            partial = bool(columns["requests"][place])
            columns["state"][place], columns["reason"][place] = "partial" if partial else "missing", reason
            for name in IN_SLOTS if not partial else ():
                columns[name][place] = None
        start_ms = end_ms


def rows_of(answer: dict[str, Any], column: str) -> dict[str, Any]:
    """start -> value of a time series."""
    place = answer["columns"].index(column)
    return {row[0]: row[place] for row in answer["rows"]}
