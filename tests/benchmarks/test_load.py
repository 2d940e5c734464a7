"""The load generator against a server of a few lines: it counts what was sent, and only on this machine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from load import Connection, closed, embeddings, opened, vectors

REPLY = b'{"data": [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}]}'

Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, seen: list[bytes]) -> Streams:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await head_of(reader):
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            seen.append(await reader.readexactly(length))
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(REPLY)))
            writer.write(REPLY)
        writer.close()
        await writer.wait_closed()

    return answer


async def head_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@asynccontextmanager
async def serving(answer: Streams) -> AsyncIterator[int]:
    tasks: list[asyncio.Future[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(answer(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


async def test_a_closed_loop_sends_each_call_once_over_kept_connections() -> None:
    seen: list[bytes] = []
    calls = [embeddings([f"text {n}", "another"]) for n in range(20)]
    async with serving(answering(200, seen)) as port:
        found = await closed(port, calls, clients=3)
    assert sorted(seen) == sorted(call.wire.partition(b"\r\n\r\n")[2] for call in calls)
    assert (found.texts, len(found.latencies), found.failed) == (40, 20, 0)
    assert found.percentile(0.5) <= found.percentile(0.99)


async def test_an_open_loop_waits_for_every_answer() -> None:
    seen: list[bytes] = []
    async with serving(answering(200, seen)) as port:
        found = await opened(port, [embeddings(["one"])] * 15, rate=2000)
    assert (found.texts, len(seen)) == (15, 15)


async def test_what_is_not_answered_with_200_is_no_text() -> None:
    async with serving(answering(429, [])) as port:
        found = await closed(port, [embeddings(["one"])] * 4, clients=2)
    assert (found.texts, found.failed, found.latencies) == (0, 4, [])


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    async with serving(answering(200, [])) as port:
        assert await vectors(port, ["first", "second"]) == [[0.25], [0.5]]


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        await Connection.open("192.0.2.1", 80)  # reserved for documentation: nobody
