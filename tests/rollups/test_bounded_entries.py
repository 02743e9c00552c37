from datetime import UTC, datetime

from sa_stream.bounded.entries import bounded_entries
from sa_stream.timing import DAY_MS, WINDOW_MS
from tests.rollups.rollup_stream import window_of

W = int(datetime(2024, 2, 29, 23, 30, tzinfo=UTC).timestamp() * 1000)


def test_bounded_input_gives_final_entries_of_all_periods_in_order():
    windows = {start: window_of(start, 3) for start in (W + WINDOW_MS, W, W - WINDOW_MS, W - DAY_MS)}
    entries = list(bounded_entries(windows, W))
    assert [entry["cache_key"] for entry in entries] == [
        *("30min/2024-02-28-2330", "30min/2024-02-29-2300", "30min/2024-02-29-2330", "30min/2024-03-01-0000"),
        *("hourly/2024-02-28-23", "hourly/2024-02-29-23", "hourly/2024-03-01-00"),
        *("daily/2024-02-28", "daily/2024-02-29", "daily/2024-03-01"),
        *("monthly/2024-02", "monthly/2024-03"),
    ]
    assert {entry["status"] for entry in entries} == {"final"}
    february = entries[-2]
    assert (february["total_requests"], february["unique_paths"], february["source_count"]) == (9, 3, 2)
    assert february["invalid_records"] is None


def test_no_input_gives_no_entries():
    assert list(bounded_entries({}, W)) == []
