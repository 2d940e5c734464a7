"""An application on a bound socket, until it is told to stop. The signals stay with __main__.

uvicorn would install its own signal handlers, one server's over the other's.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from kubeembed_api import openfiles
from kubeembed_api.reasons import Reason
from kubeembed_runtime.api.connection import MAX_CONNECTIONS, Connection, State
from kubeembed_runtime.errors import StartFailed

logger = logging.getLogger(__name__)

BACKLOG = 2048

#: Longer than the 60 s of the usual load balancers, so that it is they who close idle connections.
KEEP_ALIVE_SECONDS = 75


#: How long a connection may be open without a request when the port has closed: a few round trips.
LAST_REQUEST_SECONDS = 1.0

#: How long the last answers may take: a body may take 60 s to arrive.
LAST_ANSWER_SECONDS = 70.0


class _Server(uvicorn.Server):
    """One of two, for which the files of this process have to do."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state: State = State(openfiles.pairs(MAX_CONNECTIONS))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One listening port."""

    def __init__(self, app: FastAPI, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        self._socket = listening
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    def drain(self) -> None:
        """From here on each connection ends with its next reply, and clients open new ones, elsewhere."""
        if not self._server.server_state.draining:
            self._server.server_state.draining = True
            for connection in self._connections:
                connection.drain()

    async def stop(self) -> None:
        """Closes the port, answers what was accepted, returns when the last answer is out."""
        self.drain()
        if self._server.started:
            await self._adopt(self._close())
            await self._last_requests()
        self._server.server_state.closed = self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=LAST_ANSWER_SECONDS)
            self._cut()
            await self._serving

    def _cut(self) -> None:
        """Ends the connections whose clients keep their own answers from going out."""
        for connection in self._connections:
            logger.warning("cut a connection after %.0f s", LAST_ANSWER_SECONDS)
            connection.transport.abort()

    @property
    def _connections(self) -> list[Connection]:
        return [one for one in self._server.server_state.connections if isinstance(one, Connection)]

    def _close(self) -> list[socket.socket]:
        """Closes the port; returns the connections that the kernel had queued, which it would reset."""
        queued = []
        with contextlib.suppress(BlockingIOError):
            while True:
                queued.append(self._socket.accept()[0])
        for server in self._server.servers:
            server.close()
        return queued

    async def _adopt(self, queued: list[socket.socket]) -> None:
        """Serves connections that did not come in by the usual way."""
        config, loop = self._server.config, asyncio.get_running_loop()
        made: Any = (
            config.http_protocol_class
        )  # a class, or by its annotation a name still to be imported
        protocol = partial(
            made, config=config, server_state=self._server.server_state, app_state={}
        )
        for connection in queued:
            await loop.connect_accepted_socket(protocol, connection)

    async def _last_requests(self) -> None:
        """Gives connections that were opened just before the port closed the time to send."""
        last = asyncio.get_running_loop().time() + LAST_REQUEST_SECONDS
        while self._server.server_state.connections and asyncio.get_running_loop().time() < last:
            await asyncio.sleep(0.02)


def bind(host: str, port: int, flag: str) -> socket.socket:
    """A bound socket, so that a taken port is known before anything is loaded. Raises StartFailed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        problem = f"cannot listen on {host}:{port}: {error.strerror}; choose another with {flag}"
        raise StartFailed(Reason.CRASH_LOOP, problem) from error
    listening.setblocking(False)
    return listening
