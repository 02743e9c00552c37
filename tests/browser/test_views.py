"""Every view of the dashboard in a real browser: drawn, readable for everybody, in both themes, by keyboard alone."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Route

from tests.browser import answers
from tests.browser.conftest import KEY, Reader

pytestmark = pytest.mark.timeout(60)

VIEWS = ("overview", "live", "errors", "paths", "visitors", "pipeline", "entries", "privacy")
PAGES = (*VIEWS, "entries/30min", "entries/30min/2026-02-16-1400")
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # axe-core 4.14.1 of npm
HOSTILE = "<img src=x onerror=alert(1)>"


def test_axe_is_the_one_that_was_taken_in() -> None:
    content = (Path(__file__).parent / "vendor" / "axe.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == AXE_SHA256


@pytest.mark.parametrize("view", PAGES)
def test_a_view_has_no_obstacle_for_anybody_in_both_themes(reader: Reader, view: str) -> None:
    page = reader.open(view)
    assert page.locator("h1").count() == 1
    assert page.locator(".said").first.inner_text() == ""
    assert reader.violations() == []
    page.emulate_media(color_scheme="dark")
    assert reader.violations() == []


def test_what_strangers_wrote_is_text_in_every_view(reader: Reader) -> None:
    shown = 0
    for view in PAGES:
        page = reader.open(view)
        for details in page.locator("details:not([open]) > summary").all():
            if details.is_visible():
                details.click()
        assert page.locator("img").count() == 0
        shown += page.get_by_text(HOSTILE).count()
        assert reader.complaints == []
    assert shown >= 8, "in paths, referrers, bots, cities, sources, JSON, path rules"


def test_a_hostile_address_is_text_too(reader: Reader) -> None:
    page = reader.open("entries/%3Cimg%20src=x%20onerror=alert(1)%3E/x?from=%3Cscript%3E&range=__proto__&after=%00")
    assert page.locator("img").count() == 0
    assert "There is no entry" in page.locator(".inspector, .said").all_inner_texts().__str__() or page.locator(
        "sa-table"
    )


def test_the_key_leaves_the_address_at_once_and_is_kept_nowhere(reader: Reader) -> None:
    page = reader.open("overview?range=7d")
    assert page.url == f"{reader.site}/overview?range=7d"
    assert page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]") == [
        "{}",
        "{}",
        "",
    ]
    assert not [url for url in reader.asked if KEY in url.partition("#")[0]]


def test_views_are_changed_without_loading_the_page_anew_and_back_leads_back(reader: Reader) -> None:
    page = reader.open("overview?range=yesterday")
    page.evaluate("window.same = true")
    page.get_by_role("link", name="Errors").click()
    reader.drawn()
    assert page.url == f"{reader.site}/errors?range=yesterday"
    page.get_by_role("link", name="Pipeline").click()
    page.go_back()
    page.wait_for_selector("sa-errors .content sa-chart path.bar")
    assert page.evaluate("window.same") is True


def test_everything_can_be_done_by_keyboard_alone(reader: Reader) -> None:
    page = reader.open("overview")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the numbers"
    page.keyboard.press("Enter")
    plot = page.locator("sa-chart .plot").first
    for _ in range(40):
        page.keyboard.press("Tab")
        if plot.evaluate("(plot) => plot === document.activeElement"):
            break
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert plot.get_attribute("aria-valuetext").startswith("Mon 16 Feb, 01:00, final, ")  # type: ignore[union-attr]
    assert page.locator("sa-chart .tip:visible").count() == 5, "one cursor over all charts"
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    reader.drawn()
    assert "from=2026-02-16T01%3A00%3A00Z&to=2026-02-16T02%3A30%3A00Z" in page.url
    page.keyboard.press("Escape")
    page.wait_for_url(f"{reader.site}/overview")
    reader.drawn()
    assert page.url == f"{reader.site}/overview"
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("6")
    page.wait_for_selector("sa-pipeline .squares")
    page.locator(".squares").focus()
    for key in ("ArrowLeft", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/entries/30min/2026-02-15-*")


def test_a_click_on_a_slot_opens_its_entry_and_dragging_looks_closer(reader: Reader) -> None:
    page = reader.open("overview")
    plot = page.locator("sa-chart .plot").first
    box = plot.bounding_box()
    assert box is not None
    across = lambda part: box["x"] + 60 + (box["width"] - 70) * part  # noqa: E731
    page.mouse.move(across(0.2), box["y"] + 100)
    page.mouse.down()
    page.mouse.move(across(0.4), box["y"] + 100)
    page.mouse.up()
    reader.drawn()
    assert "from=2026-02-16T04" in page.url
    page.keyboard.press("Escape")
    page.wait_for_url(f"{reader.site}/overview")
    reader.drawn()
    page.mouse.click(across(0.3), box["y"] + 100)
    page.wait_for_url("**/entries/30min/2026-02-16-0*")


def test_ranges_come_from_presets_and_from_a_form(reader: Reader) -> None:
    page = reader.open("overview")
    page.get_by_role("button", name="7 days").click()
    reader.drawn()
    assert page.url.endswith("?range=7d")
    assert page.locator("summary.range").inner_text() == "10 Feb 2026 – 16 Feb 2026"
    page.locator("summary.range").click()
    page.get_by_label("From", exact=True).fill("2026-02-16T08:00")
    page.get_by_label("to", exact=True).fill("2026-02-16T07:00")
    page.get_by_role("button", name="Show").click()
    assert page.get_by_text("The end must be after the beginning.").is_visible()
    page.get_by_label("to", exact=True).fill("2026-02-16T12:30")
    page.get_by_role("button", name="Show").click()
    reader.drawn()
    assert page.locator("summary.range").inner_text() == "16 Feb 2026 08:00 – 12:30"


def in_zone(reader: Reader, zone: str, choice: str = "utc") -> None:
    """From now on the browser is in this zone. choice: as `session.zone` in session.js."""
    reader.page.add_init_script(
        f"Intl.DateTimeFormat.prototype.resolvedOptions = () => ({{timeZone: '{zone}'}});"
        f"localStorage.setItem('sa-zone', '{choice}')"
    )


def test_labels_can_be_local_while_days_stay_utc_and_days_only_when_asked(reader: Reader) -> None:
    in_zone(reader, "America/New_York")
    page = reader.open("overview")
    zone = page.get_by_label("Time zone")
    assert zone.locator("option").all_inner_texts() == [
        "UTC",
        "America/New_York, days of UTC",
        "America/New_York, local days",
    ]
    zone.select_option("labels")
    reader.drawn()
    assert page.locator("summary.range").inner_text() == "15 Feb 2026 19:00 – 16 Feb 2026 19:00"
    zone.select_option("days")
    reader.drawn()
    assert page.locator("summary.range").inner_text() == "16 Feb 2026"
    assert [url for url in reader.asked if "from=2026-02-16T05%3A00%3A00Z&to=2026-02-17T05" in url]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_a_local_day_opens_the_day_of_utc_that_most_of_it_lies_in(reader: Reader, zone: str) -> None:
    in_zone(reader, zone, "days")
    reader.page.route("**/traffic/timeseries*period=daily*", local_days(zone))
    page = reader.open("overview?range=7d")
    chart = page.locator("sa-chart", has=page.get_by_role("heading", name="Serve time"))
    plot = chart.locator(".plot")
    plot.focus()
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuetext").startswith("Tue 10 Feb, 00:00")  # type: ignore[union-attr]
    assert chart.locator(".tip .note").inner_text() == "Enter or click: entry daily/2026-02-10"
    page.keyboard.press("Enter")
    page.wait_for_url("**/entries/daily/2026-02-10")


def local_days(zone: str) -> Callable[[Route], None]:
    """Days of this zone in place of those of UTC."""

    def answer(route: Route) -> None:
        words = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
        assert words["tz"] == zone
        route.fulfill(json=answers.timeseries(words))

    return answer


@pytest.mark.parametrize(
    ("zone", "now", "begin", "end"),
    [
        ("Africa/Cairo", "2026-04-23T20:30:00Z", "2026-04-22T22", "2026-04-23T22"),
        ("America/Havana", "2026-03-07T20:00:00Z", "2026-03-07T05", "2026-03-08T05"),
        ("Atlantic/Azores", "2026-03-28T20:00:00Z", "2026-03-28T01", "2026-03-29T01"),
    ],
)
def test_a_local_day_ends_where_the_next_begins_also_if_clocks_change_at_midnight(
    reader: Reader, zone: str, now: str, begin: str, end: str
) -> None:
    reader.page.clock.set_fixed_time(now)
    in_zone(reader, zone, "days")
    reader.open("overview")
    assert [url for url in reader.asked if f"from={begin}%3A00%3A00Z&to={end}%3A00" in url]


def test_a_table_is_sorted_filtered_and_taken_away(reader: Reader) -> None:
    page = reader.open("paths")
    table = page.locator("sa-table")
    assert "Showing 100 of 4,717." in table.inner_text()
    head = table.get_by_role("columnheader")
    head.nth(1).get_by_role("button").click()
    assert head.nth(1).get_attribute("aria-sort") == "ascending"
    table.get_by_label("Filter").fill("menü")
    assert table.locator("tbody tr").count() == 1
    with page.expect_download() as taken:
        table.get_by_role("button", name="CSV").click()
    content = taken.value.path().read_text()
    assert content.splitlines()[0] == "Path,Requests,Bytes,Hits,Misses,4xx,5xx,Average time"
    assert f'"/{HOSTILE}"' not in content.splitlines()[0]
    with page.expect_download() as taken:
        table.get_by_role("button", name="JSON").click()
    assert '"path": "/caf%C3%A9/men%C3%BC"' in taken.value.path().read_text()


def test_paths_are_asked_for_by_prefix_and_sort_and_shown_as_sent_on_demand(reader: Reader) -> None:
    page = reader.open("paths")
    page.get_by_label("Begins with").fill("/caf")
    page.wait_for_url("**prefix=%2Fcaf*")
    reader.drawn()
    assert page.locator("tbody tr").all_inner_texts()[0].startswith("/café/menü")
    page.get_by_label("as sent").check()
    page.wait_for_url("**raw=1*")
    page.get_by_text("/caf%C3%A9/men%C3%BC").wait_for()
    page.get_by_label("Most").select_option("status_5xx")
    page.wait_for_url("**sort=status_5xx*")
    page.get_by_role("columnheader", name="5xx ▾").wait_for()


def test_an_order_that_a_reader_chose_stays_until_the_list_is_another(reader: Reader) -> None:
    page = reader.open("paths")
    page.get_by_role("button", name="Path").click()
    page.get_by_role("columnheader", name="Path ▴").wait_for()
    page.get_by_label("Begins with").fill("/docs/")
    page.wait_for_url("**prefix=%2Fdocs*")
    reader.drawn()
    assert page.get_by_role("columnheader", name="Path ▴").count() == 1
    page.get_by_label("Most").select_option("misses")
    page.get_by_role("columnheader", name="Misses ▾").wait_for()


@pytest.mark.parametrize("typed", ["/café", "/caf%C3%A9/m", "/caf%c3%a9", "/%63afé/men%C3%BC", "/caf%C3"])
def test_a_path_is_found_as_it_is_shown_and_as_it_was_sent(reader: Reader, typed: str) -> None:
    page = reader.open("paths")
    page.get_by_label("Begins with").fill(typed)
    page.wait_for_url("**prefix=*")
    reader.drawn()
    assert [row.split("\t")[0] for row in page.locator("tbody tr").all_inner_texts()] == ["/café/menü"]
    assert page.get_by_label("Begins with").input_value() == typed


def test_each_chart_has_a_sentence_and_a_table_behind_it(reader: Reader) -> None:
    page = reader.open("overview")
    for chart in page.locator("sa-chart").all():
        assert chart.locator("figcaption .summary").inner_text().endswith(".")
        chart.locator("summary").click()
        chart.locator("tbody tr").nth(47).wait_for()
        assert chart.locator("tbody tr").count() == 48


def test_the_page_prints_in_light_without_what_can_only_be_clicked(reader: Reader) -> None:
    reader.page.emulate_media(color_scheme="dark", media="print")
    page = reader.open("overview")
    assert page.locator("nav").first.is_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.sa')).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [390, 720, 1440])
def test_no_page_is_wider_than_its_window(reader: Reader, width: int) -> None:
    reader.page.set_viewport_size({"width": width, "height": 800})
    for view in PAGES:
        page = reader.open(view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view


@pytest.mark.parametrize("address", ["paths", "paths?raw=1", "pipeline"])
def test_a_narrow_window_leaves_names_the_room_to_be_read(reader: Reader, address: str) -> None:
    """A column of them gave way to those of numbers until each line had a letter or two."""
    reader.page.set_viewport_size({"width": 360, "height": 800})
    page = reader.open(address)
    widths = page.locator("td:first-child").evaluate_all("cells => cells.map(cell => cell.clientWidth)")
    assert min(width for width in widths if width) >= 100


def test_the_timeline_marks_what_is_from_s3_back_to_its_first_day(reader: Reader) -> None:
    begin = datetime(2026, 2, 1, tzinfo=UTC)
    keys = [f"30min/{begin + n * timedelta(minutes=30):%Y-%m-%d-%H%M}" for n in range(16 * 48)][::-1]
    browsed = []

    def page_of(route: Route) -> None:
        words = parse_qs(urlsplit(route.request.url).query)
        browsed.append(after := words.get("after", ["~"])[0])
        left = [key for key in keys if key < after]
        rows = [{"key": key, "provenance": "s3"} for key in left[: int(words["limit"][0])]]
        route.fulfill(json={"rows": rows, "shown": len(rows), "total": len(keys), "more": len(left) > len(rows)})

    def from_s3(route: Route) -> None:
        words = {name: values[0] for name, values in parse_qs(urlsplit(route.request.url).query).items()}
        route.fulfill(json={**answers.timeseries(words), "provenance": "mixed"})

    reader.page.route("**/cache/browse/30min*", page_of)
    reader.page.route("**/traffic/timeseries*", from_s3)
    page = reader.open("pipeline")
    marked = page.locator(".slot", has=page.locator("rect.bots"))
    places = marked.evaluate_all("(slots) => slots.map((slot) => Number(slot.dataset.place))")
    assert places[: 6 * 48] == list(range(6 * 48))
    assert len(browsed) == 2


def test_inside_an_admin_shell_views_are_elements_that_take_its_colours(reader: Reader) -> None:
    reader.page.add_init_script(f"sessionStorage.setItem('sa-key', '{KEY}')")
    page = reader.open("shell", key="")
    assert page.locator("#sa-overview-link").inner_text() == "▤ Overview"
    assert page.evaluate("getComputedStyle(document.querySelector('sa-overview')).backgroundColor") == "rgb(16, 24, 32)"
    assert page.evaluate("document.querySelector('sa-overview').dataset.theme") == "dark"
    page.get_by_role("button", name="Yesterday").click()
    page.wait_for_selector("text=15 Feb 2026")
    page.locator("#sa-live-link").click()
    page.wait_for_selector("text=As of")
    before = len(reader.asked)
    page.evaluate("document.querySelector('sa-live').onDeactivated()")
    assert len(reader.asked) == before


def test_under_a_prefix_of_a_host_the_same_pages_find_their_api(reader: Reader) -> None:
    page = reader.open("api/sa/dashboard/entries/30min/2026-02-16-1400")
    assert page.locator("h2", has_text="30min/2026-02-16-1400").is_visible()
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url("**/api/sa/dashboard/overview")
    reader.drawn()
    assert page.locator(".tile .value").first.inner_text() != "–"
