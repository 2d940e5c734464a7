"""uvicorn's connection with bounds on what a client may do to it: the size of a head, and time.

uvicorn bounds neither: a head without an end would fill the memory, and a client that sends or reads nothing
would hold its connection, and the reply that waits for it, for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Of the request line and the headers. What arrives in one read with their end is not counted.
MAX_HEAD_BYTES = 64 * 1024

#: From the first byte of a head to its last.
HEAD_SECONDS = 30.0

#: For which a client may take nothing of its reply.
WRITE_SECONDS = 60.0

_TOO_LARGE = b"the headers are larger than %d bytes" % MAX_HEAD_BYTES
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
) % (len(_TOO_LARGE), _TOO_LARGE)


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._begun = False  # a head has begun and not ended
        self._head_bytes = self._heads = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unwritten = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._end_head()
        self._end_writing()

    def data_received(self, data: bytes) -> None:
        heads = self._heads
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._begun:
            if self.cycle is None or self.cycle.response_complete:
                self._await_request()  # line ends, which may come before a request
            return
        if heads == self._heads:
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_REFUSAL)
            self.transport.close()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True

    def on_headers_complete(self) -> None:
        self._heads += 1
        self._end_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_writing)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_writing()

    def _await_request(self) -> None:
        """As long as between two requests: pools open connections that they do not need yet."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _check_writing(self) -> None:
        """Goes on as long as the client takes some of it, however little."""
        left = self.transport.get_write_buffer_size()
        if left >= self._unwritten:
            self.transport.abort()
            return
        self._unwritten = left
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_writing)

    def _end_head(self) -> None:
        self._begun, self._head_bytes = False, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
