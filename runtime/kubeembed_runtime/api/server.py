"""An application on a bound socket, until it is told to stop. The signals stay with __main__.

uvicorn would install its own signal handlers, one server's over the other's.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

BACKLOG = 2048

#: Longer than the 60 s of the usual load balancers, so that it is they who close idle connections.
KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One listening port."""

    def __init__(self, app: FastAPI, listening: socket.socket) -> None:
        config = uvicorn.Config(
            app,
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

    async def stop(self) -> None:
        """Closes the port, answers what was accepted, returns when the last answer is out."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


def bind(host: str, port: int) -> socket.socket:
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
        problem = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        raise StartFailed(Reason.CRASH_LOOP, problem) from error
    listening.setblocking(False)
    return listening
