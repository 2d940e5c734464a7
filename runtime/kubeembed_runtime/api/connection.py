"""uvicorn's connection with bounds on what a client may do to it, and an end that cuts nothing.

uvicorn bounds neither the size of a head nor the time for it: one without an end would fill the memory, and
a client that sends or reads nothing would hold its connection, and the reply that waits for it, for ever.
While it drains, every request whose head was read is answered, pipelined ones too; the last reply of a
connection says that it closes.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kubeembed_runtime.api.lingering import WRITE_SECONDS, LingeringTransport

#: Of the request line and the headers. What arrives in one read with their end is not counted.
MAX_HEAD_BYTES = 64 * 1024

#: From the first byte of a head to its last.
HEAD_SECONDS = 30.0

#: Of one server. Each may hold some 0.3 MB of what it has read before a request takes it.
MAX_CONNECTIONS = 2048

#: Requests that one connection may have waiting; a client that pipelines has a dozen.
MAX_PIPELINED = 256

_FULL_BODY = (
    b'{"message":"%d connections are open, none of them idle; retry in 1 s",'
    b'"error":{"message":"all connections are taken","type":"server_error","param":null,'
    b'"code":"too_many_connections"}}'
)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"x-sie-error-code: QUEUE_FULL\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
)

_TOO_LARGE = b"the headers are larger than %d bytes" % MAX_HEAD_BYTES
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
) % (len(_TOO_LARGE), _TOO_LARGE)


class State(ServerState):
    """What the connections of a server share. draining: the end has begun; closed: no new request is read.

    most: connections that may be open.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        super().__init__()
        self.most = most
        self.draining = self.closed = False


class Connection(HttpToolsProtocol):
    """One connection of a client. Its server's state is a State."""

    transport: LingeringTransport
    server_state: State

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._begun = False  # a head has begun and not ended
        self._head_bytes = self._heads = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unwritten = 0
        self._idle_since = self.loop.time()
        self._last: RequestResponseCycle | None = (
            None  # what the connection ends with, as far as known
        )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(LingeringTransport(transport, self.loop))
        if len(self.connections) > self.server_state.most and not self._make_room():
            body = _FULL_BODY % self.server_state.most
            self.transport.write(_FULL % (len(body), body))
            self.transport.close()
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.lost()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._end_head()
        self._end_writing()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._at_end():
            return
        heads = self._heads
        super().data_received(data)
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()
        if self.transport.is_closing():
            return
        if not self._begun:
            if self._idle:
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
        if self.server_state.draining:
            self._end_with(self.cycle)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._idle_since = self.loop.time()

    def drain(self) -> None:
        """The next reply is the last, or what follows the requests that are here already."""
        if not self._idle:
            self._end_with(self.cycle)

    def shutdown(self) -> None:
        """Closes it if nothing is to be answered."""
        if self._idle:
            self.transport.close_idle()
        else:
            self._end_with(self.cycle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_writing)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_writing()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.close_idle()

    @property
    def _idle(self) -> bool:
        """Is there no request whose reply is still to be written?"""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> bool:
        """Closes the connection that has asked nothing for longest: its client opens another when it asks."""
        idle = [one for one in self.connections if isinstance(one, Connection) and one._can_go]
        others = [one for one in idle if one is not self]
        if not others:
            return False
        oldest: Connection = min(others, key=lambda one: one._idle_since)
        oldest.transport.close_idle()
        return True

    @property
    def _can_go(self) -> bool:
        return self._idle and not self.transport.is_closing()

    def _end_with(self, cycle: RequestResponseCycle) -> None:
        """The reply to this one closes the connection, and not the one before, if that can be helped."""
        if self._last is not None and self._last is not cycle and not self._last.response_started:
            self._last.keep_alive = True
        if cycle.keep_alive and not cycle.response_started:
            self._last, cycle.keep_alive = cycle, False

    def _at_end(self) -> bool:
        """Would a request that begins now find no answer here?"""
        if self._last is not None and self._last.response_started:
            return True
        return self.server_state.closed and (self.cycle is None or not self.cycle.more_body)

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
