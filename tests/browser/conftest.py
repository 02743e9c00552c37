"""A real browser and a server of its own port; and for each test a page that may do nothing that a reader would not
want: ask another host, or complain to the console."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from sa_stream.api.http_server import listen, server_settings
from tests.browser.answers import NOW, iso
from tests.browser.stand_in import KEY, stand_in

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
MISSING = (
    "Chromium is missing, so the dashboard is not tested: install Debian's package chromium (scripts/setup dev does)"
)
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
READY = 'html[data-ready="true"]'
EXPECTED = "Failed to load resource"  # what Chromium says of each answer that is an error, also of one that is meant


def served(app: Any) -> Iterator[str]:
    """The address of an application, for as long as it is needed."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_settings(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(5)
    listener.close()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    yield from served(stand_in())


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        yield (launched := playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        launched.close()


class Reader:
    """Somebody who looks at the dashboard: a page, and what it did."""

    def __init__(self, page: Page, site: str, key: str = KEY) -> None:
        self.page, self.site, self.key = page, site, key
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and EXPECTED not in message.text:
            self.complaints.append(message.text)

    def open(self, path: str = "", key: str | None = None) -> Page:
        """A view, as a bookmark with the key would open it."""
        given = self.key if key is None else key
        self.page.goto(f"{self.site}/{path}" + (f"#key={quote(given)}" if given else ""))
        return self.drawn()

    def drawn(self) -> Page:
        self.page.wait_for_selector(READY)
        return self.page

    def answers(self, path: str, body: Any, status: int = 200) -> None:
        """From now on this address of the API is answered so."""
        self.page.unroute_all()
        self.page.route(f"**/api/sa/{path}*", lambda route: route.fulfill(status=status, json=body))

    def violations(self) -> list[str]:
        """What axe finds, a line each."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
        return [
            f"{each['id']}: {node['html'][:200]} {node['failureSummary']}" for each in found for node in each["nodes"]
        ]


@pytest.fixture
def reader(browser: Browser, site: str) -> Iterator[Reader]:
    yield from reading(browser, site, iso(NOW))


def reading(browser: Browser, site: str, now: str, key: str = KEY) -> Iterator[Reader]:
    """A reader at a time of day, in a context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="Europe/Lisbon")
    context.set_default_timeout(8_000)
    page = context.new_page()
    page.clock.set_fixed_time(now)
    someone = Reader(page, site, key)
    yield someone
    context.close()
    assert someone.complaints == []
    assert [url for url in someone.asked if not url.startswith((site, "data:", "blob:"))] == []
