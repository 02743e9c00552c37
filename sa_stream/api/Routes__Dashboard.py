"""The dashboard's files: a page for each of its views, and the assets that it is made of. They say nothing of the
traffic: the page asks the API for that, with the key that its reader has."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).with_name("dashboard")
VIEWS = ("overview", "live", "errors", "paths", "visitors", "pipeline", "entries", "privacy")
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HTML = "text/html; charset=utf-8"
IMMUTABLE = "public, max-age=31536000, immutable"  # an address holds the version of what it names


def dashboard_routes(api: str = "api/sa/", health: str | None = "health", prefix: str = "") -> APIRouter:
    """Pages and assets under a prefix. No address of theirs is absolute, so it does not matter what a proxy or a mount
    puts in front of it.

    api, health  addresses as seen from the dashboard's own folder; health None: there is none
    """
    routes = APIRouter(prefix=prefix)
    options: dict[str, Any] = {"methods": ["GET", "HEAD"], "include_in_schema": False}

    async def page(request: Request) -> Response:
        return _answer(request, _page("../" * _depth(request), api, health), HTML)

    async def assets(version: str, name: str) -> Response:
        content = _assets().get(name)
        if content is None:
            return Response(status_code=404, headers=HEADERS | {"Cache-Control": "no-store"})
        # Of another version, as while workers are replaced one by one: it may serve, but not for ever under that name.
        headers = HEADERS | {"Cache-Control": IMMUTABLE if version == _version() else "no-store"}
        return Response(content, headers=headers, media_type=TYPES[Path(name).suffix])

    async def elements(request: Request) -> Response:
        return _answer(request, f'import "./assets/{_version()}/main.js";\n'.encode(), TYPES[".js"])

    async def folder() -> Response:
        return Response(status_code=307, headers=HEADERS | {"Location": f"{prefix.rpartition('/')[2]}/"})

    if prefix:
        routes.add_api_route("", folder, **options)
    routes.add_api_route("/", page, **options)
    routes.add_api_route("/main.js", elements, **options)  # for the page of a shell, which knows no version
    for view in VIEWS:
        routes.add_api_route(f"/{view}", page, **options)
        routes.add_api_route(f"/{view}/{{rest:path}}", page, **options)
    routes.add_api_route("/assets/{version}/{name:path}", assets, **options)
    return routes


def _depth(request: Request) -> int:
    """How many folders a page lies below that of the dashboard. What follows the view is counted as it was sent, since
    a browser takes no `%2F` for a slash."""
    rest: str | None = request.path_params.get("rest")
    if rest is None:
        return 0
    path: str = request.scope["path"]
    above = path[: len(path) - len(rest)] if rest else path
    raw: bytes = request.scope.get("raw_path") or path.encode()
    return 1 + raw.count(b"/") - above.count("/")


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = HEADERS | {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


@cache
def _assets() -> dict[str, bytes]:
    """Name -> content. Read once: they are part of the program."""
    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)
    return {path.relative_to(FOLDER).as_posix(): path.read_bytes() for path in files}


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, content in _assets().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:12]


def _page(up: str, api: str, health: str | None) -> bytes:
    """The page of a view that lies so deep."""
    assets = f"{up}assets/{_version()}/"
    preloads = "\n".join(f'<link rel="modulepreload" href="{assets}{name}">' for name in _modules())
    page = (FOLDER / "index.html").read_text()
    return (
        page.replace("{assets}", assets)
        .replace("{api}", api)
        .replace("{health}", health or "")
        .replace("{preloads}", preloads)
        .encode()
    )


def _modules() -> Sequence[str]:
    return [name for name in _assets() if name.endswith(".js")]
