"""A connection to a pod: one request at a time, both ways no faster than the other side takes it.

It is closed, and never asked again, by whatever makes it doubtful whose its next bytes are: a reply that is
no HTTP, one that ends before its request has been sent, a byte that comes while nobody has asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from kubeembed_gateway.reply import Malformed, Reply

#: IP address and port.
Address = tuple[str, int]
Pieces = AsyncGenerator[bytes, None]

#: Of a reply that nobody takes; the read in which the bound is passed comes on top.
BUFFER_BYTES = 64 * 1024


class Broken(Exception):
    """The connection ended before the reply did. silent: nothing of a reply had come."""

    def __init__(self, error: BaseException, *, silent: bool) -> None:
        super().__init__(str(error) or type(error).__name__)
        self.error = error
        self.silent = silent


class Upstream(asyncio.Protocol):
    """`ask`, `read` what of a reply has not come with its head, `release`."""

    _transport: asyncio.Transport
    _reply: Reply | None = None
    _sending: asyncio.Task[None] | None = None
    _error: BaseException | None = None
    _news: asyncio.Future[None] | None = None
    _drained: asyncio.Future[None] | None = None
    _paused = False

    def __init__(self, address: Address, tell: Callable[["Upstream"], object]) -> None:
        """tell: called at its end, before it could be asked once more."""
        self.address = address
        self.closed = False
        self._tell = tell
        self._loop = asyncio.get_running_loop()

    async def ask(
        self, request: bytes, reply: Reply, rest: Pieces | None = None, *, size: int | None = None
    ) -> None:
        """Returns once the reply, a new one, is ready. rest: of the request, sent on while the reply comes;
        size: its bytes, as its head says; None where that says chunked. Raises Broken."""
        self._reply = reply
        if self._transport.is_closing():
            raise Broken(self._error or ConnectionResetError(), silent=True)
        self._transport.write(request)
        self._sending = self._loop.create_task(self._send(rest, size)) if rest else None
        while not reply.ready:
            await self._change(reply)

    async def read(self, reply: Reply) -> bytes:
        """More of its body; nothing at the end. Raises Broken."""
        while not (reply.waiting or reply.whole):
            await self._change(reply)
        if self._paused and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return reply.take()

    def release(self) -> bool:
        """Whether it may be asked again. Where not it is closed, and what is in hand given up."""
        if self._reply is None or self._reply.last or not self._reply.whole:
            self.close()
        if self._sending is not None and not self._sending.done():
            self.close()
            self._sending.cancel()
        self._reply = None
        return not self.closed

    async def stopped(self) -> None:
        """Returns when nobody reads the rest of its request any more. After `release`."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def close(self, error: BaseException | None = None) -> None:
        """At once: what is on its way is lost."""
        if self.closed:
            return
        self.closed = True
        self._error = error or ConnectionAbortedError("closed here")
        self._transport.abort()
        self._tell(self)
        self._wake()
        self.resume_writing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or reply.whole:
            self.close()
            return
        try:
            reply.feed(data)
        except Malformed as error:
            self.close(error)
            return
        if reply.ready:
            self._wake()
            if reply.waiting > BUFFER_BYTES and not reply.whole:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        if self._reply is not None:
            self._reply.feed_eof()
        self.close(ConnectionResetError("it ended the connection"))

    def connection_lost(self, error: BaseException | None) -> None:
        self.close(error or ConnectionResetError("it ended the connection"))

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def _send(self, rest: Pieces, size: int | None) -> None:
        sent = 0
        try:
            async with aclosing(rest):
                async for piece in rest:
                    sent += len(piece)
                    chunk = piece if size is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
                    await self._write(chunk)
            if size is None:
                await self._write(b"0\r\n\r\n")
            elif sent != size:  # the next request would be taken for the rest of this one
                raise ConnectionAbortedError(f"a body of {sent} bytes, not of {size}")
        except Exception as error:  # of whoever is on either side
            self.close(error)

    async def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("it ended the connection")
        self._transport.write(data)
        if self._drained is not None:
            await self._drained

    async def _change(self, reply: Reply) -> None:
        if self._error is not None:
            raise Broken(self._error, silent=reply.silent)
        self._news = self._loop.create_future()
        await self._news

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
