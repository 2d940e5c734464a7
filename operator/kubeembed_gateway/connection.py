"""aiohttp's connections with a bound on their number, and on what one may send before its turn.

Requests that follow one whose answer is not there yet are read ahead, bodies and all, and belong to no count
of held bytes. Past the bound they stay with their client, which loses nothing: they are read once it is their
turn. Only that such a client leaves is seen later.

A body whose chunks are malformed ends its request: aiohttp takes the rest for the next one, and would have
whoever reads the body wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kubeembed_gateway.crowd import Crowd
from kubeembed_gateway.errors import Refused
from kubeembed_gateway.refusals import reply
from kubeembed_gateway.silence import end_silent

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
    surplus: there is no room for the one in hand; last: none can follow it."""

    crowd: Crowd
    surplus = last = False
    early = 0
    _late = False
    _in_hand: web.BaseRequest | None = None

    @property
    def idle(self) -> bool:
        """As a Guest."""
        waits = self._waiter is not None and not self._waiter.done()
        return waits and self.transport is not None and not self.transport.get_write_buffer_size()

    def begin(self, request: web.BaseRequest) -> None:
        self._in_hand = request
        self.surplus = self.last = self._late and self.crowd.full
        self.crowd.begin(self)
        self._check_body()

    def end(self) -> None:
        """The next request's turn has come."""
        self._in_hand = None
        self._late = False
        self.crowd.end(self)
        if self.early > MOST_EARLY_BYTES and self.transport is not None:
            self.transport.resume_reading()
        self.early = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        end_silent(transport.get_extra_info("socket"))
        self.crowd.enter(self)
        self._late = self.crowd.full

    def connection_lost(self, exc: BaseException | None) -> None:
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waits = self._in_hand is not None and self._in_hand.content.is_eof()
        super().data_received(data)
        self._check_body()
        if waits:
            self.early += len(data)
            if self.early > MOST_EARLY_BYTES and self.transport is not None:
                self.transport.pause_reading()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is its client's mistake: told as any other, and no error of ours for the log."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        said = (message or "").partition("\n")[0][:200]
        response = reply(Refused(status, "invalid_request", f"this is no HTTP: {said}"), "")
        response.force_close()
        return response

    def _check_body(self) -> None:
        """What follows a body that has not ended is what the parser says of it."""
        if self._in_hand is not None and self._messages and not self._in_hand.content.is_eof():
            self.last = True
            self._in_hand.content.set_exception(_malformed())
            self._in_hand.content.feed_eof()


def _malformed() -> Refused:
    problem = "the chunks of the body are malformed: each is its size, and that many bytes"
    return Refused(400, "invalid_body", problem)
