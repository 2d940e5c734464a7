"""A pod of which a test writes every byte, and that notes what it is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from gatewaykit import PORT
from wirekit import Reply, connected, post

#: Between the pieces of a reply, so that they come one by one.
PAUSE = 0.01

OK = b"HTTP/1.1 200 OK\r\n"


def plain(body: bytes, *lines: bytes) -> bytes:
    """A reply with a length."""
    head = b"".join(b"%b\r\n" % line for line in (*lines, b"Content-Length: %d" % len(body)))
    return b"%b%b\r\n%b" % (OK, head, body)


@dataclass(slots=True)
class Line:
    """A connection that the gateway has opened. number: from 1 on. over: it is served no more."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body, which is short if it is in chunks. Raises IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if b"\r\nTransfer-Encoding: chunked\r\n" in head:
            return head, await self.reader.readuntil(b"0\r\n\r\n")
        _, told, length = head.lower().partition(b"\r\ncontent-length: ")
        size = int(length.split(b"\r\n")[0]) if told else 0
        return head, await self.reader.readexactly(size)

    async def say(self, *pieces: bytes) -> None:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(PAUSE)
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()

    async def ended(self) -> None:
        """Returns when the gateway has ended it."""
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await self.reader.read(2**16):
                    pass


Serve = Callable[["RawPod", Line], Awaitable[None]]


@dataclass(slots=True)
class RawPod:
    """serve: a connection, which is closed at its return. lines: all there were. asked: what came through
    `next`: the number of its connection, head and body."""

    name: str
    serve: Serve
    port: int = 0
    lines: list[Line] = field(default_factory=list)
    asked: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def start(self) -> "RawPod":
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for line in self.lines:
            line.writer.transport.abort()

    @property
    def by(self) -> list[int]:
        """The connections by which it was asked."""
        return [number for number, _, _ in self.asked]

    async def next(self, line: Line) -> tuple[bytes, bytes]:
        """A request, noted."""
        head, body = await line.request()
        self.asked.append((line.number, head, body))
        return head, body

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(len(self.lines) + 1, reader, writer)
        self.lines.append(line)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.serve(self, line)
        writer.close()
        line.over.set()


def saying(*replies: bytes | tuple[bytes, ...]) -> Serve:
    """One after the other, each for one request, whatever connection that comes by; the last for all others.
    An empty one closes the connection instead."""
    left: Iterator[bytes | tuple[bytes, ...]] = iter(replies)

    async def serve(pod: RawPod, line: Line) -> None:
        while True:
            await pod.next(line)
            said = next(left, replies[-1])
            if not said:
                return
            await line.say(*([said] if isinstance(said, bytes) else said))

    return serve


async def ask(body: bytes = b"a") -> Reply:
    """By a connection of its own."""
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(post("/embed", body))
        reply = await wire.reply()
        assert reply is not None
        return reply


async def talk(request: bytes) -> tuple[bytes, bytes]:
    """Head and body as they are sent; a model's own port ends the connection with them."""
    async with connected(PORT) as wire, asyncio.timeout(10):
        await wire.send(request)
        head, _, body = (await wire.reader.read(-1)).partition(b"\r\n\r\n")
        return head, body
