"""What the page answers: one function an address, all of them reading alone."""

import importlib.resources
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nlbs.errors import NlbsError
from nlbs.pictures import html_page
from nlbs.preprocess.report.page import cut_off
from nlbs.preprocess.view.dataset import Dataset, MissingError, Snapshot
from nlbs.preprocess.view.listings import image_listing, image_page, patch_listing, skipped_listing
from nlbs.preprocess.view.runs import Runs
from nlbs.text import counted

_PACKAGE = "nlbs.preprocess.view"
_PATCH_PX, _TILE_PX, _PAGE_PX = 256, 320, 1200  #: of pictures that are sent, at most
#: Names by which this machine asks itself. Another name that leads here is not ours (DNS rebinding).
_HOSTS = ["127.0.0.1", "localhost"]
_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",  # pixels of patients are not to stay in the browser's files
    "referrer-policy": "no-referrer",  # the token stands in the address
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

#: Title of each tab -> its address and its template.
TABS = {
    "Patches": ("", "patches"),
    "Images": ("images", "images"),
    "Counts": ("counts", "counts"),
    "Read and skipped": ("read", "read"),
    "Flags": ("flags", "flags"),
    "Runs": ("runs", "runs"),
}


def application(dataset: Dataset, runs: Runs, token: str) -> Starlette:
    """Return the page as an ASGI application below ``/token/``; whatever else is asked for is refused."""

    def tab(title: str, values: Callable[[Snapshot, Mapping[str, str]], dict[str, Any]]) -> Route:
        address, template = TABS[title]

        def page(request: Request) -> Response:
            snapshot = dataset.now()
            return _page(request, snapshot.title, template, title, values(snapshot, request.query_params))

        return Route(f"/{address}", page)

    def one_image(request: Request) -> Response:
        snapshot, name = dataset.now(), request.path_params["image"]
        return _page(request, snapshot.title, "image", "Images", image_page(snapshot, name))

    def patch(request: Request) -> Response:
        edge = _PAGE_PX if "whole" in request.query_params else _PATCH_PX
        return _png(dataset.last.patch_png(request.path_params["row"], edge))

    def image(request: Request) -> Response:
        edge = _PAGE_PX if "whole" in request.query_params else _TILE_PX
        return _png(dataset.last.image_png(request.path_params["image"], edge))

    def sample(request: Request) -> Response:
        return _png(runs.sample(request.query_params.get("run", ""), request.query_params.get("file", "")))

    def metrics(request: Request) -> Response:
        asked = request.query_params
        start = asked.get("start", "0")
        found = runs.rows(asked.get("run", ""), asked.get("file", ""), int(start) if start.isdecimal() else 0)
        return JSONResponse(found | {"samples": runs.samples(asked.get("run", ""))})

    def failed(request: Request, error: Exception) -> Response:
        return _failure(request, dataset.last.title, error)

    routes = [
        Route("/patch/{row:int}.png", patch),
        Route("/image/{image}.png", image),
        Route("/image/{image}", one_image),
        Route("/sample.png", sample),
        Route("/metrics", metrics),
        Route("/view.js", _text_file("view.js", "text/javascript")),
        Route("/view.css", _style),
        tab("Patches", patch_listing),
        tab("Images", image_listing),
        tab("Counts", lambda snapshot, asked: {"holds": snapshot.counts}),
        tab("Read and skipped", skipped_listing),
        tab("Flags", lambda snapshot, asked: _flags(snapshot)),
        tab("Runs", lambda snapshot, asked: {"folder": runs.folder, "names": list(runs.found())}),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False),
            Middleware(_Guard, token=token),
        ],
        exception_handlers={NlbsError: failed, IndexError: failed, OSError: failed, 404: failed},
    )


def _failure(request: Request, title: str, error: Exception) -> Response:
    """Return the page that says what went wrong, in the words of an error of ours or of the system alone."""
    said = isinstance(error, NlbsError | OSError)
    message = str(error) if said else "there is no such page or patch here"
    status = 500 if said and not isinstance(error, MissingError) else 404
    return _page(request, title, "failed", "", {"message": message}, status)


class _Guard:
    """Lets in who has the token, and tells the browser to ask nobody else and to keep nothing."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        given = str(scope.get("path", "")).split("/")[1:2]
        if given and secrets.compare_digest(given[0].encode(), self._token):
            await self._app(scope, receive, guarded)
        else:
            text = "Refused: open the address that nlbs-preprocess view has printed, which changes with each start.\n"
            await PlainTextResponse(text, 403)(scope, receive, guarded)


def _page(
    request: Request, title: str, template: str, tab: str, values: dict[str, Any], status: int = 200
) -> Response:
    base = f"{request.scope.get('root_path', '')}/"
    known = {"title": title, "template": template, "tab": tab, "tabs": TABS, "base": base, "counted": counted}
    return HTMLResponse(html_page(_PACKAGE, cut_off, **known, **values), status)


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png")


def _text(package: str, name: str) -> str:
    return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")


def _text_file(name: str, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(_text(_PACKAGE, name), media_type=kind)


def _style(request: Request) -> Response:
    """The report's style, and what this page has beside it."""
    both = _text("nlbs.preprocess.report", "style.css.j2") + _text(_PACKAGE, "view.css")
    return Response(both, media_type="text/css")


def _flags(snapshot: Snapshot) -> dict[str, Any]:
    known = dict.fromkeys(("duplicates", "damage", "masks", "intensities"))
    return {**known, **snapshot.sections, "image_url": "image/", "surveyed": snapshot.survey is not None}
