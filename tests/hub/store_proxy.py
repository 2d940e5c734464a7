"""What stands before a real object store in tests: a log of what was asked and sent, and faults on demand.

Everything else, signatures included, is the store's own: requests and answers pass as they are. Faults answer
in S3's form of errors, which is Google's and Azure's, too: <Error><Code>..</Code><Message>...
"""

import http.client
from urllib.parse import unquote, urlsplit

from faulty import FaultyHandler, FaultyServer, OwnedServer
from hub_faults import Entry, Fault

CODES = {403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown"}


class StoreProxy(FaultyServer):
    """Use as a context manager. Paths in its log are those of requests, decoded, without the query.

    rename: tell the store its own name as Host, which it insists on. Where requests are signed, that is too.
    """

    def __init__(
        self, upstream: str, host: str = "127.0.0.1", port: int = 0, *, rename: bool = False
    ) -> None:
        self.upstream = urlsplit(upstream)
        self.rename = rename
        super().__init__(_Handler, (host, port))
        self.url = f"http://{host}:{self._server.server_address[1]}"


class _Handler(FaultyHandler):
    server: OwnedServer

    def do_GET(self) -> None:
        proxy, path = self.server.owner, unquote(urlsplit(self.path).path)
        self._entry = proxy.log.open(
            Entry(
                method=self.command,
                path=path,
                range=self.headers.get("Range"),
                authorized="Authorization" in self.headers,
            )
        )
        if fault := proxy.faults.take(path, body=False):
            return self._fail(fault)
        upstream = http.client.HTTPConnection(proxy.upstream.netloc, timeout=30)
        try:
            self._pass_on(upstream, path)
        finally:
            upstream.close()

    do_HEAD = do_GET

    def _pass_on(self, upstream: http.client.HTTPConnection, path: str) -> None:
        rename = self.server.owner.rename
        upstream.putrequest(
            self.command, self.path, skip_host=not rename, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            if not (rename and name.lower() == "host"):
                upstream.putheader(name, value)
        upstream.endheaders()
        answer = upstream.getresponse()
        if self.command == "HEAD" or answer.length is None or answer.status >= 300:
            body = answer.read()
            headers = dict(answer.getheaders())
            headers.pop("Transfer-Encoding", None)
            return self._answer(answer.status, body, headers | self._length(answer, body))
        fault = self.server.owner.faults.take(path, body=True) or Fault()
        self._head(answer.status, dict(answer.getheaders()))
        first = int((answer.getheader("Content-Range") or "bytes 0-").split()[1].split("-")[0])
        return self._send_body(answer, first, answer.length, fault)

    def _length(self, answer: http.client.HTTPResponse, body: bytes) -> dict[str, str]:
        """Of the whole file in an answer to HEAD; of the body in every other."""
        told = answer.getheader("Content-Length") if self.command == "HEAD" else None
        return {"Content-Length": told or str(len(body))}

    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        name = code or CODES.get(status, "Error")
        body = f"<Error><Code>{name}</Code><Message>{message}</Message></Error>"
        self._answer(status, body.encode(), {"Content-Type": "application/xml"} | (headers or {}))
