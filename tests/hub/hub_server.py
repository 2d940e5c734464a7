"""The test hub as a server: its ports, its connections, what it serves. What it answers is in hub_handler."""

import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any, Self

from hub_faults import Fault, Faults, Log
from hub_files import Repositories
from hub_handler import Handler


class Hub:
    """The server and what it serves. Use as a context manager; `url` is what HF_ENDPOINT is set to."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        cdn_port: int | None = None,
        token: str | None = None,
    ) -> None:
        """cdn_port: large files come from another port (0: any), so from another origin, as on the real
        hub; None: from this one. token: nobody reads anything without it."""
        self.repositories = Repositories()
        self.faults = Faults()
        self.log = Log()
        self.token = token
        self._server = Server(self, host, port)
        self._cdn = None if cdn_port is None else Server(self, host, cdn_port)
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def cdn_port(self) -> int:
        return int((self._cdn or self._server).server_address[1])

    def fault(self, **what: Any) -> Fault:
        return self.faults.add(Fault(**what))

    def start(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        """Ends every connection, those that hang included."""
        self.faults.clear()
        for server in self._servers:
            server.shutdown()
            server.end_connections()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _servers(self) -> list["Server"]:
        return [server for server in (self._server, self._cdn) if server is not None]


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them
    request_queue_size = 128

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the hub's."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # gone already
