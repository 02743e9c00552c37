"""A server with the dashboard's own pages and, behind them, generated answers in place of the API's (`answers.py`)."""

import hashlib
import json
from typing import Any

from fastapi import FastAPI, Request, Response

from sa_stream.api.Routes__Dashboard import dashboard_routes
from tests.browser import answers

KEY = "open-sesame"


def stand_in() -> FastAPI:
    app = FastAPI()
    app.include_router(dashboard_routes())
    app.include_router(dashboard_routes("../", None, prefix="/api/sa/dashboard"))
    app.add_api_route("/health", lambda: answers.health())
    app.add_api_route("/shell", lambda: Response(SHELL, media_type="text/html"))
    app.add_api_route("/shell.js", lambda: Response(SHELL_SCRIPT, media_type="text/javascript"))

    @app.get("/api/sa/{path:path}")
    async def answer(request: Request, path: str) -> Response:
        if request.headers.get("x-api-key") != KEY:
            return said(401, {"detail": "The key is missing or wrong: send it as x-api-key."})
        found = answer_of(path, dict(request.query_params))
        if found is None:
            return said(404, {"detail": "There is no such entry."})
        tag = f'W/"{hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return said(200, found, {"ETag": tag, "Cache-Control": "private, no-cache"})

    return app


def said(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, media_type="application/json")


def answer_of(path: str, query: dict[str, str]) -> dict[str, Any] | None:
    kind, _, rest = path.partition("/")
    what, _, name = rest.partition("/")
    if kind == "cache":
        found = {"browse": lambda: answers.browse(name), "entry": lambda: answers.entry(name), "stats": answers.stats}
        return found[what]()
    plain = {
        "timeseries": lambda: answers.timeseries(query),
        "top-paths": lambda: answers.top_paths(query),
        "breakdown": lambda: answers.breakdown(name),
        "edge-locations": answers.edge_locations,
        "status-codes": answers.status_codes,
        "summary": answers.summary,
        "live": lambda: answers.live(query),
        "status": answers.status,
    }
    return plain[what]() if what in plain else None


SHELL = """<!doctype html><html lang="en"><head><title>Admin</title><meta name="sa-api" content="/api/sa/">
<script src="/shell.js"></script></head><body><admin-shell></admin-shell></body></html>"""
# As the shell of the seeds does it: plain script, moves its children, names them in a menu, tells them when they show.
SHELL_SCRIPT = """
document.documentElement.style.setProperty('--admin-bg', '#101820');
document.documentElement.style.setProperty('--admin-text', '#f0f0f0');
document.documentElement.style.setProperty('--admin-surface', '#182430');
customElements.define('admin-shell', class extends HTMLElement {
  async connectedCallback() {
    await import('/api/sa/dashboard/main.js');
    this.menu = this.appendChild(document.createElement('nav'));
    this.stage = this.appendChild(document.createElement('main'));
    for (const name of ['sa-overview', 'sa-live']) {
      const kind = customElements.get(name);
      const view = document.createElement(name);
      const link = document.createElement('button');
      link.textContent = kind.navIcon + ' ' + kind.navLabel;
      link.id = kind.appId + '-link';
      link.onclick = () => {
        this.stage.firstChild?.onDeactivated();
        this.stage.replaceChildren(view);
        view.onActivated();
      };
      this.menu.append(link);
    }
    this.menu.firstChild.click();
  }
});
"""
