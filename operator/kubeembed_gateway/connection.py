"""aiohttp's connections with a bound on what one may send before its turn.

Requests that follow one whose answer is not there yet are read ahead, bodies and all, and belong to no count
of held bytes. Past the bound they stay with their client, which loses nothing: they are read once it is their
turn. Only that such a client leaves is seen later.
"""

from aiohttp import web

#: Of the requests behind the one in hand; the reads in which it ends, and the bound is passed, come on top.
MOST_EARLY_BYTES = 64 * 1024


class Server(web.Server):
    """Of Connections."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """`begin` and `end` are called around each request. early: bytes that came behind the one in hand."""

    early = 0
    _in_hand: web.BaseRequest | None = None

    def begin(self, request: web.BaseRequest) -> None:
        self._in_hand = request

    def end(self) -> None:
        """The next request's turn has come."""
        self._in_hand = None
        if self.early > MOST_EARLY_BYTES and self.transport is not None:
            self.transport.resume_reading()
        self.early = 0

    def data_received(self, data: bytes) -> None:
        waits = self._in_hand is not None and self._in_hand.content.is_eof()
        super().data_received(data)
        if waits:
            self.early += len(data)
            if self.early > MOST_EARLY_BYTES and self.transport is not None:
                self.transport.pause_reading()
