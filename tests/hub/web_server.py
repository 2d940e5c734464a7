"""A web server over TLS for files in memory, with ranges, faults on demand and a log of what it sent."""

import io
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

from faulty import RANGE, FaultyHandler, FaultyServer, OwnedServer
from hub_faults import Entry, Fault


class WebServer(FaultyServer):
    """Use as a context manager. `files`: path -> content; `moved`: path -> where it redirects to."""

    def __init__(self, certificates: Path, *, port: int = 0, host: str = "127.0.0.1") -> None:
        """certificates: a folder with server.pem and server.key."""
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.authorization: str | None = None
        super().__init__(_Handler, (host, port))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.host = f"{host}:{self._server.server_address[1]}"
        self.url = f"https://{self.host}"


class _Handler(FaultyHandler):
    server: OwnedServer

    def do_GET(self) -> None:
        web, path = self.server.owner, unquote(urlsplit(self.path).path)
        given = self.headers.get("Authorization")
        self._entry = web.log.open(
            Entry(
                method=self.command,
                path=path,
                range=self.headers.get("Range"),
                authorized=given is not None,
            )
        )
        if fault := web.faults.take(path, body=False):
            return self._fail(fault)
        if path in web.moved:
            return self._answer(302, b"", {"Location": web.moved[path]})
        if web.authorization not in (None, given):
            return self._error(401, None, "who are you")
        if path not in web.files:
            return self._error(404, None, "not here")
        return self._file(path, web.files[path])

    do_HEAD = do_GET

    def _file(self, path: str, content: bytes) -> None:
        fault = self.server.owner.faults.take(path, body=True) if self.command == "GET" else None
        fault = fault or Fault()
        asked = None if fault.ignore_range else RANGE.fullmatch(self.headers.get("Range") or "")
        first = int(asked[1]) if asked else 0
        headers = {"Content-Length": str(len(content) - first)}
        if asked:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if fault.encoding:
            headers["Content-Encoding"] = fault.encoding
        self._head(206 if asked else 200, headers)
        if self.command == "GET":
            self._send_body(io.BytesIO(content[first:]), first, len(content) - first, fault)

    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        self._answer(status, message.encode(), headers or {})
