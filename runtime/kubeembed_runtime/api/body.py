"""A request's body as bytes, bounded: what is wrong before any contract has looked at it.

The bound is checked while reading, so that a body without a length cannot fill the memory either.
"""

import asyncio

from starlette.requests import ClientDisconnect, Request

from kubeembed_runtime.errors import BadBody as BadBody
from kubeembed_runtime.errors import RequestFailed

#: 2,048 inputs of 8,192 characters each.
MAX_BODY_BYTES = 16 * 1024 * 1024

#: So much more of a body that is too large is read and forgotten: a client that is still sending when the
#: connection closes never sees why.
MAX_DISCARDED_BYTES = 64 * 1024 * 1024


#: For a whole body: 16 MiB at 2.2 Mbit/s.
BODY_SECONDS = 60.0


class ClientGone(RequestFailed):
    """The client left before its request was whole: nobody reads the answer."""


async def read_body(request: Request, media_type: str = "application/json") -> bytes:
    """Raises BadBody, ClientGone. A missing content type is taken for the right one."""
    sent = request.headers.get("content-type", media_type).partition(";")[0].strip().lower()
    if sent != media_type:
        problem = f"the content type is {sent!r}; send Content-Type: {media_type}"
        raise BadBody(415, problem, "unsupported_media_type")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request)
    except ClientDisconnect as error:
        raise ClientGone("the client left while sending") from error
    except TimeoutError as error:
        problem = f"the body took longer than {BODY_SECONDS:.0f} s to arrive"
        raise BadBody(408, problem, "request_timeout") from error


async def _read(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
        elif size > MAX_DISCARDED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        problem = f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer inputs per request"
        raise BadBody(413, problem, "request_too_large")
    return b"".join(chunks)
