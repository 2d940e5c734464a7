"""A transport whose close() lets the client read what was sent, as nginx's lingering_close does.

A socket that is closed while something it received is unread answers with a reset, which throws away what
the client has not read yet: the whole of a large reply, if the client had begun to send its next request.
"""

import asyncio
import fcntl
import struct
import termios
from typing import Any

#: How long a client may take to close its end, once it has all; and how often that is looked at.
LINGER_SECONDS = 1.0

#: For which a client may take nothing of its reply.
WRITE_SECONDS = 60.0


class LingeringTransport(asyncio.Transport):
    """The loop's transport, but for the end of it. Whoever reads from it drops what comes once it closes."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner, self._loop = inner, loop
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._patience = 0.0  # when to give up on a client that takes nothing

    def write(self, data: Any) -> None:
        self._inner.write(data)

    def is_closing(self) -> bool:
        return self._closing or self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        if not self._closing:
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size()

    def abort(self) -> None:
        self._closing = True
        self._inner.abort()

    def close(self) -> None:
        """Sends what is written and an end after it; reads on until the client has closed, or a second."""
        if self.is_closing():
            return
        self._closing = True
        self._inner.write_eof()
        self._inner.resume_reading()
        self._look(self._unsent() + 1)

    def close_idle(self) -> None:
        """At once, unless a reply is still on its way."""
        if not self._closing and self._unsent():
            self.close()
        else:
            self._closing = True
            self._inner.close()

    def lost(self) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, unsent: int) -> None:
        """unsent: what there was the last time."""
        left, now = self._unsent(), self._loop.time()
        if left < unsent:
            self._patience = now + WRITE_SECONDS
        elif not left:
            self._inner.close()
            return
        elif now > self._patience:
            self._inner.abort()
            return
        self._timer = self._loop.call_later(LINGER_SECONDS, self._look, left)

    def _unsent(self) -> int:
        """Bytes that the client's machine has not acknowledged."""
        connection = self._inner.get_extra_info("socket")
        if connection is None or self._inner.is_closing():
            return 0
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        return self._inner.get_write_buffer_size() + int(struct.unpack("i", queued)[0])
