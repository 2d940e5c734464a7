"""A request's body: read whole where there is room for it, so that it can wait and be sent a second time.

What is not read stays with its client: a body that is sent on while it arrives can be sent only once.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

from kubeembed_gateway.errors import Refused, Unavailable
from kubeembed_gateway.holding import Memory

#: As large as the pods read one.
MAX_BODY_BYTES = 16 * 1024 * 1024
#: Up to so much is kept of a request that does not have to wait.
KEPT_BYTES = 1024 * 1024
#: For a whole body: 16 MiB at 2.2 Mbit/s, as the pods have it.
BODY_SECONDS = 60.0
#: Seconds until a client may come back that found no room for its body.
ROOM_RETRY_SECONDS = 5


class Body:
    """`whole`: its bytes, once read. A context that gives the memory back."""

    def __init__(self, request: web.BaseRequest, memory: Memory) -> None:
        self._request = request
        self._memory = memory
        self._taken = 0
        self._begun = False
        self._part = bytearray()
        self.whole: bytes | None = None if request.body_exists else b""

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.give(self._taken)
        self._taken = 0

    @property
    def size(self) -> int:
        """Bytes, as far as known."""
        return len(self.whole) if self.whole is not None else self._request.content_length or 0

    @property
    def sendable(self) -> bool:
        """Whether it can be sent (again)."""
        return self.whole is not None or not self._begun

    async def keep(self) -> None:
        """Reads it if it is short enough, and there is room. Raises Refused for one that does not arrive."""
        length = self._request.content_length
        if self.whole is None and length is not None and length <= KEPT_BYTES:
            # where there is not, what has been read is sent on, and the rest of it as it comes
            with suppress(Unavailable):
                await self._read()

    async def hold(self) -> None:
        """Reads all of it. Raises Refused for one that is too large or late, Unavailable for want of room."""
        if self.whole is None:
            length = self._request.content_length
            if length is not None and length > MAX_BODY_BYTES:
                raise _too_large()
            await self._read()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """What has not been kept whole."""
        self._begun = True
        if self._part:
            yield bytes(self._part)
        await _invite(self._request)
        async for chunk in self._request.content.iter_any():
            yield chunk

    async def _read(self) -> None:
        """Counted as it comes: what clients have announced and do not send takes room from nobody."""
        content = self._request.content
        if content.is_eof() and not self._part:  # most come with their head
            self._count(content.total_bytes)
            self.whole = content.read_nowait()
            return
        self._count(len(self._part))
        await _invite(self._request)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in content.iter_any():
                    self._part += chunk  # a list of small ones weighs many times what they say
                    self._count(len(self._part))
        except TimeoutError:
            problem = f"the body took longer than {BODY_SECONDS:.0f} s to arrive"
            raise Refused(408, "request_timeout", problem) from None
        self.whole, self._part = bytes(self._part), bytearray()

    def _count(self, size: int) -> None:
        """So many bytes are here now."""
        if size > MAX_BODY_BYTES:
            raise _too_large()
        more = size - self._taken
        if not self._memory.take(more):
            problem = f"the gateway holds {self._memory.held} bytes of bodies, of at most {self._memory.most}"
            raise Unavailable("bodies_full", problem, ROOM_RETRY_SECONDS)
        self._taken += more


async def _invite(request: web.BaseRequest) -> None:
    """Of a client that asked whether to send its body, and has not begun to."""
    asked = request.headers.get("Expect", "").lower() == "100-continue"
    if asked and not request.content.total_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _too_large() -> Refused:
    problem = f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer inputs per request"
    return Refused(413, "request_too_large", problem)
