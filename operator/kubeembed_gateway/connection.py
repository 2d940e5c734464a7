"""aiohttp's connections with a bound on their number, and on what one may send before its turn.

Requests that follow one whose answer is not there yet are read ahead, bodies and all, and belong to no count
of held bytes. Past the bound they stay with their client, which loses nothing: they are read once it is their
turn. Only that such a client leaves is seen later.

A body that is not in the chunks that its head tells of ends its request: aiohttp takes the rest for the next
one, and would have whoever reads the body wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kubeembed_gateway.crowd import Crowd
from kubeembed_gateway.errors import Refused

#: Of the requests behind the one in hand; the reads in which it ends, and the bound is passed, come on top.
MOST_EARLY_BYTES = 64 * 1024


class Server(web.Server):
    """Of Connections, which are of a crowd."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        crowd: Crowd,
        **options: Any,
    ) -> None:
        super().__init__(handler, **options)
        self._crowd = crowd

    def __call__(self) -> web.RequestHandler:
        made = Connection(self, loop=self._loop, **self._kwargs)
        made.crowd = self._crowd
        return made


class Connection(web.RequestHandler):
    """`begin` and `end` are called around each request. early: bytes that came behind the one in hand.
    surplus: there was no room for it. last: no request can follow the one in hand."""

    crowd: Crowd
    surplus = last = False
    early = 0
    _in_hand: web.BaseRequest | None = None

    def begin(self, request: web.BaseRequest) -> None:
        self._in_hand = request
        self.crowd.begin(self)

    def end(self) -> None:
        """The next request's turn has come."""
        self._in_hand = None
        self.crowd.end(self)
        if self.early > MOST_EARLY_BYTES and self.transport is not None:
            self.transport.resume_reading()
        self.early = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.surplus = self.last = not self.crowd.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waits = self._in_hand is not None and self._in_hand.content.is_eof()
        super().data_received(data)
        if self._in_hand is not None and self._messages and not self._in_hand.content.is_eof():
            self.last = True
            self._in_hand.content.set_exception(_no_chunks())
            self._in_hand.content.feed_eof()
        if waits:
            self.early += len(data)
            if self.early > MOST_EARLY_BYTES and self.transport is not None:
                self.transport.pause_reading()


def _no_chunks() -> Refused:
    problem = "the body is not in chunks, as its Transfer-Encoding says; send each with its size"
    return Refused(400, "invalid_body", problem)
