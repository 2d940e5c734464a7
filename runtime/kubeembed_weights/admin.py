"""The fetch Job's admin port: GET /progress for the operator, GET /livez for kubelet.

Best effort: a port that is taken costs the progress, not the fetch.
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubeembed_weights.progress import Meter

logger = logging.getLogger(__name__)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, meter: Meter, port: int) -> None:
        self.meter = meter
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(("", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5  # seconds: a client that says nothing does not hold a thread

    def do_GET(self) -> None:
        match self.path:
            case "/livez":
                self._answer(200, "text/plain", "ok\n")
            case "/progress":
                self._answer(200, "application/json", self.server.meter.read().model_dump_json())
            case _:
                self._answer(404, "text/plain", "have: /livez /progress\n")

    def _answer(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Probes are not worth a line."""


@contextmanager
def serving(meter: Meter, port: int) -> Iterator[None]:
    """Answers on `port` while the body runs; 0 for none."""
    try:
        server = _Server(meter, port) if port else None
    except OSError as error:
        logger.warning("no progress on port %d: %s", port, error)
        server = None
    if server is None:
        yield
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
