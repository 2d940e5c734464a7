"""A server's connections on a real socket: endless heads, clients that neither send nor read, line ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api import connection
from kubeembed_runtime.api.server import Server, bind

MIB = 1024 * 1024
GET = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Of a server whose patience is a fraction of a second."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr("kubeembed_runtime.api.server.KEEP_ALIVE_SECONDS", 0.3)

    async def small(request: Request) -> Response:
        return Response(await request.body() or b"small")

    async def large(request: Request) -> Response:
        return Response(bytes(64 * MIB))

    app = FastAPI(openapi_url=None)
    app.router.routes.append(Route("/small", small, methods=["GET", "POST"]))
    app.router.routes.append(Route("/large", large))
    listening = bind("127.0.0.1", 0, "--port")
    server = Server(app, listening)
    server.start()
    yield listening.getsockname()[1]
    await server.stop()


async def _ask(port: int, *pieces: bytes) -> bytes:
    """All that comes back until the server closes, or resets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(20):
            while piece := await reader.read(MIB):
                got += piece
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


async def test_heads_of_usual_size_are_served_on_one_connection(port: int) -> None:
    head = b"GET /small HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 32_000 + b"\r\n\r\n"
    got = await _ask(port, b"\r\n", head, b"\r\n\r\n", head, GET)
    assert got.count(b"HTTP/1.1 200 OK") == 3


async def test_bodies_are_no_part_of_the_head(port: int) -> None:
    post = b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    got = await _ask(port, post, bytes(10**6) + post[:20], post[20:], bytes(10**6))
    assert got.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "piece",
    [b"GET /" + b"a" * MIB, GET[:-2] + b"X: " + b"x" * MIB, GET[:-2] + b"X: y\r\n" * 20_000],
    ids=["line", "header", "headers"],
)
async def test_a_head_without_an_end_is_refused(port: int, piece: bytes) -> None:
    got = await _ask(port, *([piece] * 50))
    # Who is still sending may see a reset in place of the words.
    assert got == b"" or got.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "pieces", [(), (b"\r\n",), (GET[:10],)], ids=["nothing", "line ends", "half a head"]
)
async def test_a_client_that_sends_no_request_is_not_waited_for(
    port: int, pieces: tuple[bytes, ...]
) -> None:
    assert await _ask(port, *pieces) == b""


async def test_a_client_that_reads_nothing_is_not_waited_for(port: int) -> None:
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, GET.replace(b"small", b"large"))
        await asyncio.sleep(1)
        got = await _drained(client)
    assert 0 < got < 64 * MIB


async def _drained(client: socket.socket) -> int:
    loop, got = asyncio.get_running_loop(), 0
    try:
        while piece := await loop.sock_recv(client, MIB):
            got += len(piece)
    except ConnectionError:
        pass
    return got


async def test_a_client_that_reads_slowly_gets_all(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 * 1024)
    writer.write(GET.replace(b"small", b"large"))
    got: list[Any] = []
    for _ in range(8):  # longer than the patience, with some taken each time
        got.append(len(await reader.readexactly(6 * MIB)))
        await asyncio.sleep(0.1)
    while piece := await reader.read(MIB):
        got.append(len(piece))
        if sum(got) > 64 * MIB:
            break
    writer.close()
    assert sum(got) > 64 * MIB


@pytest.fixture
async def narrow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """The port of a server for two connections, and what its replies wait for."""
    monkeypatch.setattr("kubeembed_api.openfiles.pairs", lambda most: 2)
    gate = asyncio.Event()

    async def wait(request: Request) -> Response:
        await gate.wait()
        return Response(b"waited")

    app = FastAPI(openapi_url=None)
    app.router.routes.append(Route("/small", wait))
    listening = bind("127.0.0.1", 0, "--port")
    server = Server(app, listening)
    server.start()
    yield listening.getsockname()[1], gate
    gate.set()
    await server.stop()


async def test_a_connection_more_takes_the_place_of_the_longest_idle(
    narrow: tuple[int, asyncio.Event],
) -> None:
    port, gate = narrow
    gate.set()
    first = await asyncio.open_connection("127.0.0.1", port)
    second = await asyncio.open_connection("127.0.0.1", port)
    for reader, writer in (second, first):
        writer.write(GET)
        await reader.readuntil(b"waited")
    third = await asyncio.open_connection("127.0.0.1", port)
    assert await second[0].read() == b""
    for reader, writer in (first, third):
        writer.write(GET)
        await reader.readuntil(b"waited")
    for _, writer in (first, second, third):
        writer.close()


async def test_a_connection_more_than_all_that_work_is_told_to_come_again(
    narrow: tuple[int, asyncio.Event],
) -> None:
    port, gate = narrow
    busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _, writer in busy:
        writer.write(GET)
    await asyncio.sleep(0.1)
    got = await _ask(port, GET)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in got
    assert b"2 connections are open, none of them idle" in got
    gate.set()
    for reader, writer in busy:
        await reader.readuntil(b"waited")
        writer.close()


async def test_a_client_that_pipelines_without_end_is_cut(port: int) -> None:
    assert (await _ask(port, GET * 2000)).count(b"200 OK") < 2000
