"""Browsing the cache: keys and not files, newest first, and nothing that is no key."""

import pytest

from sa_stream.errors import Bad_Parameter, Not_There
from sa_stream.services.Service__SA__Entries import Service__SA__Entries
from tests.services.world import World


@pytest.fixture
def entries() -> Service__SA__Entries:
    return Service__SA__Entries(cache=World().cache)


def test_the_periods_then_their_keys_newest_first_page_by_page(entries: Service__SA__Entries):
    top = entries.browse("", {})
    assert {row["path"]: row["entries"] for row in top["rows"]}["daily"] == 3
    first = entries.browse("daily", {"limit": "2"})
    assert [row["key"] for row in first["rows"]] == ["daily/2026-03-01", "daily/2026-02-28"]
    assert (first["rows"][0]["status"], first["shown"], first["total"], first["more"]) == ("partial", 2, 3, True)
    rest = entries.browse("daily", {"limit": "2", "after": "daily/2026-02-28"})
    assert ([row["key"] for row in rest["rows"]], rest["more"]) == (["daily/2026-02-27"], False)


def test_the_periods_too_are_no_more_than_were_asked_for(entries: Service__SA__Entries):
    top = entries.browse("", {"limit": "2"})
    assert (len(top["rows"]), top["shown"], top["total"]) == (2, 2, 4)
    with pytest.raises(Bad_Parameter):
        entries.browse("", {"limit": "many"})


@pytest.mark.parametrize("after", ["monthly/2026-02", "30min/2026-02-28-0000"])
def test_a_page_after_a_key_of_another_period_is_refused(entries: Service__SA__Entries, after: str):
    """Keys were compared as texts: after a month all days came again, after a half hour none."""
    with pytest.raises(Bad_Parameter) as refused:
        entries.browse("daily", {"after": after})
    assert refused.value.parameter == "after"


def test_stats_name_the_oldest_and_the_newest(entries: Service__SA__Entries):
    rows = {row["period"]: row for row in entries.stats()["rows"]}
    assert rows["daily"] == {
        "period": "daily",
        "entries": 3,
        "oldest": "daily/2026-02-27",
        "newest": "daily/2026-03-01",
    }


def test_an_entry_is_found_by_its_key_and_the_status_too(entries: Service__SA__Entries):
    assert entries.entry("daily/2026-02-27")["cache_key"] == "daily/2026-02-27"
    assert entries.entry("status/stream")["lag_s"] == 60
    with pytest.raises(Not_There):
        entries.entry("daily/2020-01-01")


@pytest.mark.parametrize(
    "key",
    ["../daily/2026-02-27", "daily/../../x", "daily/2026-02-27\0", "x" * 5_000, "folder:daily", "id:1", "daily/é"],
)
def test_what_is_no_key_is_refused_before_the_cache_service_hears_of_it(entries: Service__SA__Entries, key: str):
    with pytest.raises(Bad_Parameter):
        entries.entry(key)
    with pytest.raises((Bad_Parameter, Not_There)):
        entries.browse(f"daily/{key}", {})
