"""Firehose as it delivers: every line, some of them twice, where its oldest line's arrival says."""

from collections import Counter
from zoneinfo import ZoneInfo

import pytest

from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.embedded.firehose import Buffering, delivered
from sa_stream.timing import DAY_MS, HOUR_MS

BEGIN_MS = 1_771_200_000_000  # 2026-02-16 00:00 UTC
PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
LINES = [(at_ms, b"%d\n" % at_ms) for at_ms in range(BEGIN_MS, BEGIN_MS + DAY_MS, 5_000)]


def arrivals(content: bytes) -> list[int]:
    return [int(line) for line in content.splitlines()]


def test_the_same_seed_gives_the_same_files_and_another_one_others() -> None:
    assert list(delivered(LINES, PLACES, 1)) == list(delivered(LINES, PLACES, 1))
    assert list(delivered(LINES, PLACES, 1)) != list(delivered(LINES, PLACES, 2))


def test_every_line_comes_once_and_some_of_them_twice_in_another_file() -> None:
    files = [content.splitlines(keepends=True) for _, content in delivered(LINES, PLACES, 1, twice=0.1)]
    found = Counter(line for lines in files for line in lines)
    assert found.keys() == {line for _, line in LINES}
    assert set(found.values()) == {1, 2}
    assert 0.08 < list(found.values()).count(2) / len(LINES) < 0.12
    assert all(len(set(lines)) == len(lines) for lines in files)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_folder_and_name_tell_the_arrival_of_the_oldest_line(layout: str, zone: str) -> None:
    places = Places("logs/", LAYOUTS[layout], ZoneInfo(zone))
    for key, content in delivered(LINES, places, 1):
        oldest = places.oldest(key)
        assert oldest is not None
        assert oldest.by_name
        assert oldest.from_ms == min(arrivals(content))


def test_a_file_takes_in_lines_for_one_to_five_minutes() -> None:
    spans_ms = [arrivals(content)[-1] - arrivals(content)[0] for _, content in delivered(LINES, PLACES, 1)][:-2]
    assert 20_000 < min(spans_ms) < 90_000
    assert 250_000 < max(spans_ms) <= 300_000


def test_a_full_buffer_is_delivered_at_once() -> None:
    full = [content for _, content in delivered(LINES, PLACES, 1, Buffering(HOUR_MS, HOUR_MS, 140))][:-2]
    assert {len(content) for content in full} == {140}
