"""The step that says which log files may go: none whose numbers are not final, or not what the files say."""

import pytest

from sa_stream.timing import DAY_MS
from tests.services.place import DAY_KEY, NOW_MS, Place

pytest.importorskip("sa_stream.bounded.archiving")


def test_files_may_go_once_their_half_hours_are_final_and_say_what_the_files_say():
    place = Place()
    now_ms = NOW_MS + 3 * DAY_MS
    step = place.pipeline().archive
    before = step.execute(older_than_days=3, now_ms=now_ms)
    assert before["move"] == []
    assert {left["file"] for left in before["left"]} == set(place.objects)
    place.aggregate("daily", DAY_KEY)
    assert sorted(step.execute(older_than_days=3, now_ms=now_ms)["move"]) == sorted(place.objects)
    assert step.execute(older_than_days=3, now_ms=now_ms - DAY_MS)["move"] == []
