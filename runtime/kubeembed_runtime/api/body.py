"""A request's body as bytes, bounded: what is wrong before any contract has looked at it.

The bound is checked while reading, so that a body without a length cannot fill the memory either.
"""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from kubeembed_runtime.api.structure import check_structure
from kubeembed_runtime.api.trimming import Trimming
from kubeembed_runtime.errors import BadBody as BadBody
from kubeembed_runtime.errors import BodiesFull, RequestFailed

#: 2,048 inputs of 8,192 characters each.
MAX_BODY_BYTES = 16 * 1024 * 1024

#: All bodies that are read or answered at the time. Decoded, one takes two to four times its bytes.
MAX_BODIES_BYTES = 128 * 1024 * 1024

#: A body up to this size counts for nothing: few connections that send slowly shall not keep out the many.
SMALL_BODY_BYTES = 64 * 1024

#: A body beyond this leaves memory behind that is worth giving back.
LARGE_BODY_BYTES = 1024 * 1024

#: So much more of a body that is too large is read and forgotten: a client that is still sending when the
#: connection closes never sees why.
MAX_DISCARDED_BYTES = 64 * 1024 * 1024


#: For a whole body: 16 MiB at 2.2 Mbit/s.
BODY_SECONDS = 60.0

HOLD = "kubeembed.hold"  # where a request keeps its share of the bodies' memory


@dataclass(slots=True)
class Bodies:
    """The memory that bodies may take together. held: bytes."""

    most: int = MAX_BODIES_BYTES
    held: int = 0
    trimming: Trimming = field(default_factory=Trimming)


@dataclass(slots=True)
class Hold:
    """One request's share of it, until its answer is made."""

    bodies: Bodies
    size: int = 0

    def grow(self, size: int) -> None:
        """To so many bytes. Raises BodiesFull."""
        bodies, more = self.bodies, size - self.size
        if bodies.held + more > bodies.most:
            raise BodiesFull(bodies.held, bodies.most)
        bodies.held += more
        self.size = size

    def end(self) -> None:
        self.bodies.held -= self.size
        if self.size > LARGE_BODY_BYTES:
            self.bodies.trimming.soon()
        self.size = 0


class ClientGone(RequestFailed):
    """The client left before its request was whole: nobody reads the answer."""


async def read_body(request: Request, media_type: str = "application/json") -> bytes:
    """Raises BadBody, BodiesFull, ClientGone; InvalidInput for JSON of too many values.

    A missing content type is taken for the right one.
    """
    sent = request.headers.get("content-type", media_type).partition(";")[0].strip().lower()
    if sent != media_type:
        problem = f"the content type is {sent!r}; send Content-Type: {media_type}"
        raise BadBody(415, problem, "unsupported_media_type")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(request)
    except ClientDisconnect as error:
        raise ClientGone("the client left while sending") from error
    except TimeoutError as error:
        problem = f"the body took longer than {BODY_SECONDS:.0f} s to arrive"
        raise BadBody(408, problem, "request_timeout") from error
    if len(body) > SMALL_BODY_BYTES and "json" in media_type:
        await check_structure(body)
    return body


async def _read(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    hold: Hold | None = request.scope.get(HOLD)
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            if hold is not None and size > SMALL_BODY_BYTES:
                hold.grow(size)
            chunks.append(chunk)
        elif size > MAX_DISCARDED_BYTES:
            break
        else:
            chunks.clear()
    if size > MAX_BODY_BYTES:
        problem = f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer inputs per request"
        raise BadBody(413, problem, "request_too_large")
    return b"".join(chunks)
