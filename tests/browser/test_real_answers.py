"""The dashboard on the API itself, with three days of traffic: its numbers are those of the recount."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from sa_stream.api.Routes__Dashboard import dashboard_routes
from sa_stream.api.Routes__Health import health_routes
from sa_stream.health.notebook import Health
from sa_stream.rollups.periods import iso
from sa_stream.timing import moment
from tests.api.daemon_api import KEY, daemon_app
from tests.browser.conftest import Reader, reading, served
from tests.services.world import GAP, NOW_MS, expected

pytestmark = pytest.mark.timeout(60)

VIEWS = ("overview", "live", "errors", "paths", "visitors", "pipeline", "entries", "entries/daily", "privacy")
DAYS = ("2026-02-27", "2026-02-28")


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    app = daemon_app()
    app.include_router(health_routes(Health(moment())))
    app.include_router(dashboard_routes())
    yield from served(app)


@pytest.fixture
def visitor(browser: Browser, daemon: str) -> Iterator[Reader]:
    yield from reading(browser, daemon, iso(NOW_MS), key=KEY)


def of_day(day: str) -> str:
    return f"overview?from={day}T00:00:00Z&to={day[:-2]}{int(day[-2:]) + 1:02d}T00:00:00Z"


def tile(visitor: Reader, label: str) -> str:
    return visitor.page.locator(".tile", has_text=label).locator(".value").inner_text()


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_drawn_from_real_entries(visitor: Reader, view: str) -> None:
    page = visitor.open(f"{view}?range=7d")
    assert page.locator(".said").first.inner_text() == ""
    assert visitor.violations() == []
    assert "undefined" not in page.locator("body").inner_text()


def test_the_tiles_of_a_day_are_the_recount_s(visitor: Reader) -> None:
    counted = expected()[f"daily/{DAYS[0]}"]
    visitor.open(of_day(DAYS[0]))
    assert tile(visitor, "Requests") == f"{counted['total_requests']:,}"
    assert tile(visitor, "Hit rate") == f"{counted['cache_hit_rate']:.1f} %"
    errors = 100 * counted["status_breakdown"].get("5xx", 0) / counted["total_requests"]
    assert tile(visitor, "5xx") == f"{errors:.2f} %"


def test_the_first_path_of_a_day_is_the_recount_s(visitor: Reader) -> None:
    first = expected()[f"daily/{DAYS[0]}"]["top_paths"][0]
    page = visitor.open(f"paths?{of_day(DAYS[0]).partition('?')[2]}")
    cells = page.locator("tbody tr").first.locator("td")
    assert cells.first.locator("[title]").get_attribute("title") == first["path"]
    assert cells.nth(1).inner_text() == f"{first['count']:,}"


@pytest.mark.parametrize(
    ("stretch", "zone", "why"),
    [
        ("from=2026-02-27T12:00:00Z&to=2026-02-27T13:00:00Z", "utc", "minutes do not tell this"),
        ("from=2026-02-26T23:00:00Z&to=2026-03-01T23:00:00Z", "days", "local days do not tell this"),
    ],
)
def test_what_slots_of_a_length_leave_out_is_not_called_unmeasured(
    visitor: Reader, stretch: str, zone: str, why: str
) -> None:
    visitor.page.add_init_script(f"localStorage.setItem('sa-zone', '{zone}')")
    page = visitor.open(f"overview?{stretch}")
    text = page.locator("body").inner_text()
    assert "Nothing was measured" not in text
    assert "nothing yet" not in text
    assert page.locator(".tile", has_text="p95" if zone == "days" else "Page views").inner_text().endswith(why)
    assert page.locator("sa-chart", has_text="Serve time").locator(".over").inner_text() == f"{why.capitalize()}."


def test_a_silent_night_and_a_gap_are_told_apart(visitor: Reader) -> None:
    page = visitor.open(of_day("2026-02-28").replace("02-29", "03-01"))
    said = page.locator("figcaption").first.inner_text()
    assert "No requests between 00:00 and 05:00 (final)." in said
    begin, end = iso(GAP.start)[:16].replace("T", " "), iso(GAP.stop)[:16].replace("T", " ")
    assert f"Missing from {begin} to {end} UTC: records may be lost" in page.locator(".gaps").inner_text()


def test_the_timeline_marks_what_was_repaired_from_s3(visitor: Reader) -> None:
    page = visitor.open("pipeline")
    assert page.locator(".slot", has=page.locator("rect.bots")).count() == 1


def test_a_slot_leads_to_its_entry(visitor: Reader) -> None:
    page = visitor.open(of_day(DAYS[0]))
    page.locator("sa-chart .plot").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/entries/30min/{DAYS[0]}-0000")
    visitor.drawn()
    counted = expected()[f"30min/{DAYS[0]}-0000"]
    page.get_by_text("30min/2026-02-27-0000", exact=True).wait_for()
    assert f"{counted['total_requests']:,}" in page.locator("dl.facts").last.inner_text()


def test_no_view_asks_for_what_the_api_refuses(visitor: Reader) -> None:
    refused: list[str] = []
    visitor.page.on(
        "response", lambda answer: answer.status >= 400 and answer.status != 404 and refused.append(answer.url)
    )
    for query in (
        "range=today",
        "range=yesterday",
        "range=30d",
        "range=month",
        "from=2026-02-27T08:00:00Z&to=2026-02-27T09:00:00Z",
    ):
        for view in ("overview", "errors", "visitors", "paths"):
            visitor.open(f"{view}?{query}")
    assert refused == []
