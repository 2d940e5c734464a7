"""How a server's connections end, on a real socket: what was accepted is answered whole, and nothing more."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api import server as server_module
from kubeembed_runtime.api.server import Server, bind

MIB = 1024 * 1024
HEAD = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"


class Served:
    """A server whose replies wait for `gate`, and what its clients do."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = 0
        self.stopped = False
        app = FastAPI(openapi_url=None)
        app.router.routes.append(Route("/echo", self._echo, methods=["POST"]))
        app.router.routes.append(Route("/large", self._large))
        listening = bind("127.0.0.1", 0, "--port")
        self.port = listening.getsockname()[1]
        self.server = Server(app, listening)
        self.server.start()

    async def _echo(self, request: Request) -> Response:
        body = await request.body()
        self.asked += 1
        await self.gate.wait()
        return Response(body)

    async def _large(self, request: Request) -> Response:
        self.asked += 1
        await self.gate.wait()
        return Response(bytes(32 * MIB))

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.server.stop()

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.asked < count:
                await asyncio.sleep(0.01)

    async def open(self, *sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        return reader, writer


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(server_module, "LAST_REQUEST_SECONDS", 0.2)
    served = Served()
    yield served
    served.gate.set()
    await served.stop()


async def answers(reader: asyncio.StreamReader) -> list[tuple[bytes, bool]]:
    """The body of each reply until the server closes, and whether the reply said that it would."""
    found = []
    async with asyncio.timeout(20):
        while head := await _head(reader):
            length = int(head.partition(b"content-length: ")[2].split(b"\r")[0])
            found.append((await reader.readexactly(length), b"connection: close" in head))
    return found


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError as ended:
        cut = ended.partial
    assert cut == b""
    return b""


async def test_the_last_of_pipelined_requests_closes_the_connection(served: Served) -> None:
    reader, writer = await served.open(HEAD + b"one!" + HEAD + b"two!" + HEAD + b"last")
    await served.until_asked(1)
    served.server.drain()
    served.gate.set()
    assert await answers(reader) == [(b"one!", False), (b"two!", False), (b"last", True)]
    writer.close()


async def test_requests_that_come_while_it_drains_are_answered(served: Served) -> None:
    reader, writer = await served.open()
    served.server.drain()
    writer.write(HEAD + b"one!")
    await served.until_asked(1)
    writer.write(HEAD + b"two!" + HEAD[:10])
    await asyncio.sleep(0.1)
    served.gate.set()
    assert await answers(reader) == [(b"one!", False), (b"two!", True)]
    writer.close()


async def test_a_request_whose_body_is_on_its_way_is_waited_for(served: Served) -> None:
    served.gate.set()
    reader, writer = await served.open(HEAD + b"ha")
    await asyncio.sleep(0.1)  # its head is read
    stopping = asyncio.create_task(served.stop())
    await asyncio.sleep(0.6)
    assert not stopping.done()
    writer.write(b"lf" + HEAD + b"late")
    assert await answers(reader) == [(b"half", False), (b"late", True)]
    writer.close()
    await stopping


@pytest.mark.parametrize("sent", [b"", HEAD[:20]], ids=["nothing", "half a head"])
async def test_connections_without_a_request_are_closed(served: Served, sent: bytes) -> None:
    reader, writer = await served.open(sent)
    await asyncio.sleep(0.05)
    await served.stop()
    assert await answers(reader) == []
    writer.close()


async def test_a_large_reply_is_whole_though_its_client_sends_on(served: Served) -> None:
    """A plain close() would answer what is unread with a reset, and throw away the rest of the reply."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", served.port))
        await loop.sock_sendall(client, LARGE)
        await served.until_asked(1)
        served.server.drain()
        served.gate.set()
        await asyncio.sleep(0.2)
        await loop.sock_sendall(client, HEAD * 1000)
        got = b""
        while piece := await loop.sock_recv(client, MIB):
            got += piece
            await asyncio.sleep(0.01)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert len(body) == 32 * MIB


async def test_a_client_that_keeps_its_answer_from_going_out_is_cut(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LAST_ANSWER_SECONDS", 0.3)
    reader, writer = await served.open(HEAD + b"ha")
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        await served.stop()
    assert await reader.read() == b""
    writer.close()
