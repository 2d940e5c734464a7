"""Ports of this pod: one for each model that may sleep, and the common one. HTTP/1.1 by aiohttp.

A port of a model tells the model whatever the request says, so that clients need not know of the gateway:
their Service led them here while it slept.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from aiohttp import web

from kubeembed_gateway.connection import Connection, Server
from kubeembed_gateway.crowd import Crowd
from kubeembed_gateway.errors import FULL_RETRY_SECONDS, GatewayError, Refused, Unavailable
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.reading import Key
from kubeembed_gateway.refusals import reply
from kubeembed_gateway.table import Table

logger = logging.getLogger(__name__)

BACKLOG = 2048
#: Longer than the 60 s of the usual load balancers, so that it is they who close idle connections.
KEEP_ALIVE_SECONDS = 75.0
#: Of the headers, as the pods have it; aiohttp bounds each of them, and their number.
MAX_HEAD_BYTES = 64 * 1024
#: The client closed its connection: no status that anybody reads, but one that metrics can tell apart.
CLIENT_CLOSED = 499
#: For replies that are being written when the time is over.
LAST_SECONDS = 0.1

#: Answers, or raises GatewayError. The second: whose request it is, once that is known.
Answer = Callable[[web.BaseRequest, list[Key]], Awaitable[web.StreamResponse]]


class Ports:
    """Listening sockets of one host, by number. Those that could not be opened are tried again by `sync`."""

    def __init__(self, host: str, metrics: Metrics, crowd: Crowd) -> None:
        """crowd: of the clients of all ports."""
        self._host = host
        self._metrics = metrics
        self._crowd = crowd
        self._open: dict[int, tuple[Server, asyncio.Server]] = {}
        self._closing = False
        self._in_hand = 0
        self._idle = asyncio.Event()

    def lacks(self, ports: Iterable[int]) -> list[int]:
        """Those that are not open."""
        return [port for port in ports if port not in self._open]

    async def open(self, port: int, answer: Answer) -> None:
        """Raises OSError where the port is taken."""
        server = Server(
            self._handler(answer),
            self._crowd,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
        )
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            server, self._host, port, backlog=BACKLOG, reuse_address=True
        )
        self._open[port] = server, listening

    async def close(self, port: int) -> None:
        """What is in hand there is finished."""
        _, listening = self._open.pop(port)
        listening.close()

    def drain(self) -> None:
        """From here on each connection ends with its next reply, and clients open new ones, elsewhere."""
        self._closing = True

    async def end(self, seconds: float) -> None:
        """Closes all ports; returns when all is answered, or so many seconds have gone.

        Connections go last: what one of them still sends, aiohttp no longer reads once it is to end.
        """
        until = asyncio.get_running_loop().time() + seconds
        for _, listening in self._open.values():
            listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while self._in_hand:
                    self._idle.clear()
                    await self._idle.wait()
        for server, _ in self._open.values():
            server.pre_shutdown()
        left = max(LAST_SECONDS, until - asyncio.get_running_loop().time())
        half = left / 2  # aiohttp waits for so long twice
        await asyncio.gather(*(server.shutdown(half) for server, _ in self._open.values()))
        self._open.clear()

    def _handler(
        self, answer: Answer
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            connection = request.protocol
            assert isinstance(connection, Connection)
            connection.begin(request)
            self._in_hand += 1
            try:
                response = await self._answered(answer, request, surplus=connection.surplus)
            finally:
                connection.end()
                self._in_hand -= 1
                if not self._in_hand:
                    self._idle.set()
            if (self._closing or connection.last) and not response.prepared:
                response.force_close()
            return response

        return handle

    async def _answered(
        self, answer: Answer, request: web.BaseRequest, *, surplus: bool
    ) -> web.StreamResponse:
        """Counted, with a GatewayError as a reply."""
        whose: list[Key] = []
        status = CLIENT_CLOSED
        try:
            if surplus:
                raise _no_room(self._crowd)
            _check_head(request)
            response = await answer(request, whose)
            status = response.status
        except GatewayError as error:
            response = reply(error, request.raw_path)
            status = response.status
        finally:
            self._metrics.answered(whose[0] if whose else ("", ""), status)
        return response


def _check_head(request: web.BaseRequest) -> None:
    """Raises Refused. A head is kept as long as its request waits. What follows CONNECT is no body, whatever
    length it tells."""
    if request.method == "CONNECT":
        raise Refused(405, "method_not_allowed", "this is no proxy: ask with GET or POST")
    size = sum(map(len, itertools.chain.from_iterable(request.raw_headers)))
    if size > MAX_HEAD_BYTES:
        problem = f"the headers are larger than {MAX_HEAD_BYTES} bytes"
        raise Refused(431, "headers_too_large", problem)


def _no_room(crowd: Crowd) -> Unavailable:
    problem = f"{crowd.most} connections are open here, and none has been idle for long"
    return Unavailable("connections_full", problem, FULL_RETRY_SECONDS)


class Activator:
    """The ports of models that may sleep."""

    def __init__(self, ports: Ports, table: Table, answer: Callable[[int], Answer]) -> None:
        """answer: of a port."""
        self._ports = ports
        self._table = table
        self._answer = answer
        self._known: set[int] = set()

    @property
    def ready(self) -> bool:
        """Whether every model's port is open."""
        return not self._ports.lacks(self._table.ports)

    async def sync(self) -> None:
        """Opens the ports of new models and closes those of models that are gone."""
        for port in self._known - set(self._table.ports):
            self._known.discard(port)
            await self._ports.close(port)
        for port in self._ports.lacks(self._table.ports):
            try:
                await self._ports.open(port, self._answer(port))
                self._known.add(port)
            except OSError as error:
                logger.error("port %d of a model can't be opened: %s", port, error)
