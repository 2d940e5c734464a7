"""The page for people: what `overview` tells, drawn by a script of our own, and a place to try texts.

It asks nobody but this address, and for vectors by the same path as every client, so it opens no other way
to a model. The browser is told to load, run and send nothing else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

FOLDER = Path(__file__).with_name("static")
#: No contract has a path that begins so.
ROOT = "/ui/"
DATA = f"{ROOT}data.json"
FILES = {
    ROOT: ("index.html", "text/html"),
    f"{ROOT}page.css": ("page.css", "text/css"),
    f"{ROOT}page.js": ("page.js", "text/javascript"),
    f"{ROOT}icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
#: Bytes from which on a reply is compressed in a thread.
COMPRESS_ASIDE = 4096
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "kubeembed",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """`answer` for GET and HEAD. tell: the data, anew at each call."""

    def __init__(self, tell: Callable[[], dict[str, Any]]) -> None:
        self._tell = tell
        self._files = {
            path: ((FOLDER / name).read_bytes(), kind) for path, (name, kind) in FILES.items()
        }

    def answer(self, request: web.BaseRequest, path: str) -> web.Response | None:
        """None for what is not the page's. A person who opens the bare address is led to it."""
        if path in self._files:
            return _reply(*self._files[path], charset="utf-8")
        if path == DATA:
            return self._data()
        browser = "text/html" in request.headers.get("Accept", "")
        if path == "/ui" or (path == "/" and browser):
            # Relative, for those who come through a proxy that has put a path before ours.
            return web.Response(
                status=302, headers={**HEADERS, "Location": "ui/", "Vary": "Accept"}
            )
        return None

    def _data(self) -> web.Response:
        body = msgspec.json.encode(self._tell())
        # An hour of 200 models is half a megabyte, which is packed beside the event loop.
        reply = _reply(body, "application/json", zlib_executor_size=COMPRESS_ASIDE)
        reply.enable_compression()
        return reply


def _reply(body: bytes, kind: str, **given: Any) -> web.Response:
    return web.Response(body=body, content_type=kind, headers=HEADERS, **given)
