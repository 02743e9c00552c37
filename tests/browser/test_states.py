"""Every state that an answer, or none, can bring the dashboard into: what a reader sees then."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser import answers
from tests.browser.conftest import KEY, Reader

pytestmark = pytest.mark.timeout(60)

TODAY = {"from": "2026-02-16T00:00:00Z", "to": "2026-02-17T00:00:00Z"}


def today(**changes: Any) -> dict[str, Any]:
    return {
        **answers.timeseries({**TODAY, "metrics": "requests,human,bytes,hits,status_4xx,status_5xx,p95"}),
        **changes,
    }


def at_slot(reader: Reader, place: int) -> str:
    """What is said of a slot of the main chart."""
    plot = reader.page.locator("sa-chart .plot").first
    plot.focus()
    reader.page.keyboard.press("Home")
    for _ in range(place):
        reader.page.keyboard.press("ArrowRight")
    return plot.get_attribute("aria-valuetext") or ""


def test_zero_is_told_from_missing_partial_and_what_is_to_come(reader: Reader) -> None:
    page = reader.open("overview")
    assert at_slot(reader, 5).startswith("Mon 16 Feb, 02:30, no requests (final), 2xx 0")
    assert "06:00, missing: records may be lost" in at_slot(reader, 12)
    assert "13:30, final" not in at_slot(reader, 28)
    assert "14:30, partial: more may come" in at_slot(reader, 29)
    assert "20:00, to come" in at_slot(reader, 40)
    assert "11:00, final, revised: 7 records came late" in at_slot(reader, 22)
    assert "No requests between 02:00 and 04:00 (final)." in page.locator("figcaption").first.inner_text()
    assert (
        "Missing from 2026-02-16 06:00 to 2026-02-16 07:00 UTC: records may be lost"
        in page.locator(".gaps").inner_text()
    )
    chart = page.locator("sa-chart").first
    assert chart.locator("path.missing").get_attribute("fill") == "url(#sa-hatch)"
    assert chart.locator("path.zero").count() == 1
    assert chart.locator("path.late").count() == 1


def test_what_is_complete_is_never_drawn_as_partial(reader: Reader) -> None:
    page = reader.open("overview?range=yesterday")
    assert page.locator("sa-chart .partial").count() == 0
    assert page.locator(".legend", has_text="partial").count() == 0


def test_a_change_says_against_which_slots_it_was_measured(reader: Reader) -> None:
    page = reader.open("overview")
    title = page.locator(".tile .change").first.get_attribute("title") or ""
    assert re.fullmatch(r"26 complete half hours, against 15 Feb 2026", title), title


def test_while_it_loads_old_values_stay(reader: Reader) -> None:
    page = reader.open("overview")
    before = page.locator(".tile .value").first.inner_text()
    held = []
    page.route("**/api/sa/traffic/timeseries*", lambda route: held.append(route))
    page.get_by_role("button", name="Yesterday").click()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.dataset.ready") == "false"
    assert page.locator(".tile .value").first.inner_text() == before
    assert page.locator("sa-chart path.bar").count() > 0
    for route in held:
        route.continue_()
    page.unroute_all()
    reader.drawn()
    assert page.locator(".tile .value").first.inner_text() != before


def test_a_view_that_comes_back_shows_at_once_what_it_had(reader: Reader) -> None:
    page = reader.open("overview")
    before = page.locator(".tile .value").first.inner_text()
    page.get_by_role("link", name="Paths").click()
    page.wait_for_selector("sa-paths tbody tr")
    page.route("**/api/sa/**", lambda route: route.abort())
    page.get_by_role("link", name="Overview").click()
    assert page.locator(".tile .value").first.inner_text() == before


def test_an_error_is_a_sentence_with_a_retry_and_old_data_are_called_old(reader: Reader) -> None:
    page = reader.open("overview")
    reader.answers("traffic/timeseries", {"detail": "The cache service does not answer: try again."}, 503)
    page.get_by_role("button", name="Yesterday").click()
    page.wait_for_selector("sa-overview.stale")
    said = page.locator(".said").first.inner_text()
    assert re.fullmatch(
        r"Showing data of 14:38; the cache service does not answer: try again \(retrying in \d+ seconds\)\.", said
    ), said
    assert page.locator(".updated").inner_text() == "updated 14:38:20"
    assert reader.violations() == []
    page.unroute_all()
    page.get_by_role("button", name="Retry now").click()
    page.wait_for_selector("sa-overview:not(.stale)")
    assert page.locator(".said").first.inner_text() == ""


def test_a_server_that_is_gone_is_said_to_be(reader: Reader) -> None:
    page = reader.open("live")
    page.route("**/api/sa/**", lambda route: route.abort())
    page.get_by_role("button", name="30 min").click()
    page.wait_for_selector("text=the server did not answer (retrying in")
    page.unroute_all()
    page.route("**/api/sa/**", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    page.get_by_role("button", name="Retry now").click()
    page.wait_for_selector("text=502 with something that is not JSON")


@pytest.mark.parametrize("keep", [False, True])
def test_without_a_key_there_is_a_form_and_the_tab_remembers_only_if_ticked(reader: Reader, keep: bool) -> None:
    page = reader.open("overview", key="")
    form = page.get_by_role("form", name="API key")
    assert "The key is missing or wrong" in form.inner_text()
    assert reader.violations() == []
    form.get_by_label("Key", exact=True).fill(KEY)
    if keep:
        form.get_by_label("Keep it in this tab").check()
    form.get_by_role("button").click()
    page.wait_for_selector(".tile .value:text-matches('[0-9]')")
    assert page.evaluate("sessionStorage.length") == int(keep)
    page.reload()
    reader.drawn()
    assert page.get_by_role("form", name="API key").count() == int(not keep)


def test_a_key_behind_the_address_of_an_open_page_is_taken_too(reader: Reader) -> None:
    page = reader.open("overview", key="")
    page.evaluate("window.same = true")
    page.goto(f"{reader.site}/overview#key={quote(KEY)}")
    page.wait_for_selector(".tile .value:text-matches('[0-9]')")
    assert page.evaluate("window.same") is True
    assert page.get_by_role("form", name="API key").count() == 0
    assert page.url == f"{reader.site}/overview"
    page.go_back()
    assert page.url == f"{reader.site}/overview"
    assert page.evaluate("sessionStorage.length") == 0


def test_a_wrong_key_is_refused_with_the_api_s_own_sentence(reader: Reader) -> None:
    page = reader.open("overview", key="wrong%zz")
    assert page.get_by_text("The key is missing or wrong").is_visible()
    assert page.locator(".content").first.is_hidden()


@pytest.mark.parametrize("key", [f"{KEY}\u200b", "“open-sesame”", "ключ"])
def test_a_key_that_no_request_can_carry_is_asked_for_again(reader: Reader, key: str) -> None:
    """As it may come out of a chat. The browser refuses it as a header, which looked as if no server answered."""
    page = reader.open("overview", key=key)
    assert page.get_by_text("The key has a character that is in none: copy it again").is_visible()
    assert page.locator(".said").first.inner_text() == ""
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".tile .value:text-matches('[0-9]')")


def test_what_is_in_no_field_list_is_named(reader: Reader) -> None:
    series = today(missing_fields=["sc-status", "x-edge-result-type", "cs-user-agent", "time-taken"])
    place = {name: series["columns"].index(name) for name in ("status_4xx", "status_5xx", "hits", "human", "p95")}
    for row in series["rows"]:
        for column in place.values():
            row[column] = None
    reader.answers("traffic/timeseries", series)
    page = reader.open("overview")
    assert page.locator(".tile", has_text="Hit rate").inner_text().splitlines()[1:3] == [
        "–",
        "not in your field list: x-edge-result-type",
    ]
    assert page.get_by_text("Not in your field list: cs-user-agent.").count() >= 1
    shown = page.locator("body").inner_text()
    assert not re.search(r"NaN|null|undefined|Infinity", shown)
    assert reader.violations() == []


def test_a_rate_is_of_the_slots_that_know_it_and_a_sum_that_some_do_not_know_is_compared_with_none(
    reader: Reader,
) -> None:
    series = today()
    hits = series["columns"].index("hits")
    for place, row in enumerate(series["rows"]):
        if row[1]:
            row[1], row[hits] = 100, None if place < 14 else 80  # x-edge-result-type came into the list at 07:00
    reader.page.route(
        "**/api/sa/traffic/timeseries*from=2026-02-16*", lambda route: route.fulfill(json=series), times=1
    )
    page = reader.open("overview")
    tiles = {name: page.locator(".tile", has_text=name) for name in ("Requests", "Hit rate")}
    assert tiles["Hit rate"].locator(".value").inner_text() == "80.0 %"
    assert tiles["Hit rate"].locator(".change").inner_text() == ""
    assert tiles["Requests"].locator(".change").inner_text() != ""


def test_a_day_whose_times_nobody_knows_says_why(reader: Reader) -> None:
    summary = answers.summary()
    summary["percentiles"]["time_taken"] = None
    yesterday = {"from": "2026-02-15T00:00:00Z", "to": "2026-02-16T00:00:00Z", "metrics": "requests"}
    series = {**answers.timeseries(yesterday), "missing_fields": ["time-taken"]}
    reader.page.route("**/api/sa/traffic/summary*", lambda route: route.fulfill(json=summary))
    reader.page.route("**/api/sa/traffic/timeseries*", lambda route: route.fulfill(json=series))
    value = reader.open("overview?range=yesterday").locator(".tile", has_text="p95").locator(".value")
    assert (value.inner_text(), value.get_attribute("title")) == ("–", "not in your field list: time-taken")


def test_below_full_sampling_a_banner_says_so(reader: Reader) -> None:
    reader.answers("traffic/timeseries", today(sampling_rate=25.0))
    page = reader.open("overview")
    assert (
        page.locator(".banner").inner_text()
        == "Only 25 % of the requests are logged: numbers count what is in the log."
    )


def test_more_than_750_points_is_the_api_s_sentence(reader: Reader) -> None:
    sentence = "these are more than 750 slots of the period 30min: ask for period=hourly, or for a shorter time"
    reader.answers("traffic/timeseries", {"detail": sentence, "code": "too_many_points", "parameter": "period"}, 400)
    page = reader.open("overview?from=2020-01-01T00:00:00Z&to=2026-02-16T00:00:00Z")
    assert page.locator(".said").first.inner_text().startswith("these are more than 750 slots")


def test_750_points_are_drawn_and_read_by_slot(reader: Reader) -> None:
    page = reader.open("overview?from=2026-01-17T00:00:00Z&to=2026-02-16T00:00:00Z")
    assert page.locator("sa-chart .plot").first.get_attribute("aria-valuemax") == "719"


def test_without_a_shard_the_pipeline_says_so(reader: Reader) -> None:
    nothing = {**answers.health(), "ready": False, "reasons": ["starting: waiting for first read"], "shards": {}}
    reader.page.route("**/health", lambda route: route.fulfill(json=nothing))
    reader.answers("cloudfront/status", {"stream": None, "jobs": [], "last_runs": {}, "privacy": None})
    reader.page.route("**/health", lambda route: route.fulfill(json=nothing))
    page = reader.open("pipeline")
    assert page.locator(".verdict").inner_text() == "Not ready: starting: waiting for first read."
    assert page.get_by_text("No shard: this process reads none, or has not begun.").is_visible()
    assert reader.violations() == []


def test_where_health_is_closed_the_pipeline_shows_what_the_cache_knows(reader: Reader) -> None:
    reader.page.route("**/health", lambda route: route.fulfill(json={"status": "ready"}))
    page = reader.open("pipeline")
    assert page.locator(".verdict").inner_text() == "Both shards are read, lag 60 s, final until 14:00 but for 1 gap."


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"gaps": []}, "is-good", "Both shards are read, lag 60 s, final until 14:00."),
        ({}, "is-good", "Both shards are read, lag 60 s, final until 14:00 but for 1 gap."),
        (
            {"gaps": [], "computed_at": "2026-02-16T09:38:20Z"},
            "is-bad",
            "Nobody has published for 5 h, final until 14:00.",
        ),
        ({"gaps": [], "lag_s": 18_000}, "is-bad", "The slowest shard is 5 h behind, final until 14:00."),
    ],
)
def test_in_a_host_without_health_the_age_of_what_was_published_decides(
    reader: Reader, changes: dict[str, Any], kind: str, said: str
) -> None:
    status = answers.status()
    reader.answers("cloudfront/status", {**status, "stream": {**status["stream"], **changes}})
    page = reader.open("api/sa/dashboard/pipeline")
    verdict = page.locator(".verdict")
    assert verdict.inner_text() == said
    assert verdict.get_attribute("class") == f"verdict {kind}"


def test_a_process_that_is_not_ready_and_says_no_more_is_not_called_well(reader: Reader) -> None:
    reader.page.route("**/health", lambda route: route.fulfill(json={"status": "not ready"}))
    page = reader.open("pipeline")
    assert page.locator(".verdict").inner_text().startswith("Not ready, for a reason that is not told here")


def test_what_is_to_come_is_not_drawn_as_final_in_the_timeline(reader: Reader) -> None:
    end = "2026-02-16T14:38:00Z"
    series = answers.timeseries({"from": "2026-02-10T00:00:00Z", "to": end, "period": "30min", "metrics": "requests"})
    series["slots"][-1], series["rows"][-1][1] = "missing", None
    series["gaps"].append({"from": series["rows"][-1][0], "to": "2026-02-16T15:00:00Z", "reason": "open"})
    reader.answers("traffic/timeseries", series)
    page = reader.open("pipeline")
    assert page.locator(".slot").last.locator("rect").count() == 1
    assert page.locator(".slot").last.locator("rect.bar").count() == 0
    page.locator(".slot").last.hover()
    assert page.locator("sa-timeline .note").inner_text() == "Mon 16 Feb, 14:30, to come"


def test_an_entry_that_is_not_there_is_said_not_to_be(reader: Reader) -> None:
    page = reader.open("entries/30min/2026-02-16-0300")
    assert "There is no entry 30min/2026-02-16-0300" in page.locator(".absent").inner_text()


def test_an_entry_says_its_revision_its_sources_and_what_it_waits_for(reader: Reader) -> None:
    page = reader.open("entries/30min/2026-02-16-1400")
    facts = page.locator("dl.facts").inner_text()
    assert "2 (changed by late records after it was final)" in facts
    assert "partial: shardId-000000000003: a shard is behind" in facts
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as curl").click()
    page.wait_for_selector("text=Copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith('curl -H "x-api-key: $SGRAPH_SEND__SA_API_KEY"')
    assert KEY not in copied


def test_entries_are_browsed_page_by_page(reader: Reader) -> None:
    page = reader.open("entries")
    page.get_by_role("link", name="daily", exact=True).click()
    page.wait_for_selector("text=Showing 16 of 40.")
    page.get_by_role("button", name="Older keys").click()
    page.wait_for_url("**/entries/daily?after=daily%2F2026-02-01")


def test_the_minute_that_goes_on_is_not_called_the_last(reader: Reader) -> None:
    live = answers.live({"minutes": "2"})
    live["rows"] = [["2026-02-16T14:36:00Z", 900, 0, 0, 1, 1], ["2026-02-16T14:37:00Z", 12, 0, 0, 1, 1]]
    reader.answers("traffic/live", live)
    assert "12 requests so far in the minute of 14:37." in reader.open("live").locator(".verdict").inner_text()


def test_what_did_not_change_is_not_sent_again_and_polls_come_every_ten_seconds(reader: Reader) -> None:
    statuses: list[int] = []
    reader.page.on("response", lambda answer: "traffic/live" in answer.url and statuses.append(answer.status))
    reader.page.clock.install(time=answers.NOW)
    page = reader.open("live")
    assert statuses == [200]
    with page.expect_response("**/traffic/live*"):
        asks_again_after(reader, 11_000)
    assert statuses == [200, 304]


def asks_again_after(reader: Reader, wait_ms: int) -> None:
    """Lets so much time pass: again and again, as it is in vain before the wait has begun, just after it is said."""
    asked = len(reader.asked)
    while len(reader.asked) == asked:
        reader.page.clock.fast_forward(wait_ms)
        reader.page.wait_for_timeout(100)


def test_after_failures_it_asks_less_and_less_often(reader: Reader) -> None:
    reader.page.clock.install(time=answers.NOW)
    reader.answers("traffic/live", {"detail": "not now"}, 503)
    page = reader.open("live")
    waits = []
    for _ in range(3):
        said = page.locator(".said").first.inner_text()
        waits.append(int(re.search(r"in (\d+) second", said)[1]))  # type: ignore[index]
        asks_again_after(reader, waits[-1] * 1000 + 100)
        page.wait_for_function("(said) => document.querySelector('.said').textContent !== said", arg=said)
    assert waits[0] <= 13
    assert waits[2] >= 30


def test_a_browser_that_keeps_nothing_shows_the_dashboard_all_the_same(reader: Reader) -> None:
    reader.page.add_init_script(  # as browsers that block site data do
        "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, "
        "{ get() { throw new DOMException('Access is denied', 'SecurityError'); } });"
    )
    page = reader.open("overview")
    page.get_by_role("button", name="Theme: as the system").click()
    assert page.locator("sa-dashboard").get_attribute("data-theme") == "light"
