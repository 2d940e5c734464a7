"""One request to one pod, and the reply back: unchanged both ways but for the headers of a single hop.

A pod that goes away before anything of its reply has reached the client is PodLost, and another may be asked.
Later the client has to see that its reply is not whole: its connection is cut.
"""

import asyncio
import re
import socket
import struct
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict, istr

from kubeembed_api.errors import KubeEmbedError
from kubeembed_gateway.body import Body
from kubeembed_gateway.errors import GatewayError
from kubeembed_gateway.pool import Pool, Unreached
from kubeembed_gateway.reading import Pod
from kubeembed_gateway.reply import CODEC, CONTENT_LENGTH, Reply
from kubeembed_gateway.upstream import Broken, Pieces, Upstream

CONNECTION, FORWARDED_FOR = istr("Connection"), istr("X-Forwarded-For")
HOST, SERVER = istr("Host"), istr("Server")
#: Of one connection, and so of nobody beyond it (RFC 9110, 7.6.1); Expect is answered here.
HOP_BY_HOP = tuple(
    istr(name)
    for name in (
        "Expect",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    )
)
#: What a request's head has no more, or has anew, in lower case.
LEFT_OUT = frozenset(
    name.lower().encode() for name in (*HOP_BY_HOP, CONNECTION, CONTENT_LENGTH, FORWARDED_FOR)
)
#: Of a target: whom a proxy would ask, and what.
PROXYS_FORM = re.compile(r"[^/?#]*://[^/?#]*(?P<asked>.*)")
#: Without a body, these do not say so.
BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

#: A reply up to this size is read before any of it is sent on, so that it can still be asked for again.
SMALL_REPLY_BYTES = 256 * 1024
#: A kept body that is larger is sent in pieces of this size.
PIECE_BYTES = 256 * 1024


class PodLost(KubeEmbedError):
    """It went away before its reply, or could not be reached. sent: how often it may have got the request."""

    def __init__(self, pod: Pod, error: BaseException, *, sent: int) -> None:
        super().__init__(f"pod {pod.name}: {str(error) or type(error).__name__}")
        self.sent = sent


async def forward(
    pool: Pool,
    request: web.BaseRequest,
    body: Body,
    pod: Pod,
    *,
    close: bool,
    key: bool = True,
) -> web.StreamResponse:
    """The pod's reply, sent or to be sent. close: the client's connection ends with it. key: whether the pod
    gets the client's Authorization. Raises PodLost, GatewayError."""
    exchange = _Exchange(pool, request, body, request_head(request, body, pod, key=key), close)
    address = pod.host.strip("[]"), pod.port
    idle, sent = pool.take(address), 0
    try:
        if idle is not None:
            sent += 1
            try:
                return await exchange.through(idle)
            except Broken as error:
                # an idle connection may have been closed before it was asked, which is no fault of the pod
                if not (error.silent and body.sendable):
                    raise
        upstream = await pool.connect(address)
        sent += 1
        return await exchange.through(upstream)
    except (Broken, Unreached) as error:
        if isinstance(error, Broken) and isinstance(error.error, GatewayError):
            raise error.error from error  # of the client, not the pod
        raise PodLost(pod, error, sent=sent) from error


@dataclass(slots=True)
class _Exchange:
    """A request and what becomes of it. head: as the pod gets it."""

    pool: Pool
    request: web.BaseRequest
    body: Body
    head: bytes
    close: bool

    async def through(self, upstream: Upstream) -> web.StreamResponse:
        """This connection, which is given back. Raises Broken."""
        reply = Reply(bodiless=self.request.method == "HEAD", short_bytes=SMALL_REPLY_BYTES)
        whole = self.body.whole
        try:
            if whole is None:
                size = self.request.content_length
                await upstream.ask(self.head, reply, self.body.stream(), size=size)
            elif len(whole) > PIECE_BYTES:
                await upstream.ask(self.head, reply, _pieces(whole), size=len(whole))
            else:
                await upstream.ask(self.head + whole, reply)
            return self._whole(reply) if reply.short else await self._streamed(reply, upstream)
        finally:
            self.pool.give(upstream)
            if upstream.closed:
                await upstream.stopped()

    def _whole(self, reply: Reply) -> web.StreamResponse:
        headers = reply_headers(reply)
        if self.request.method != "HEAD":
            headers.popall(CONTENT_LENGTH, None)
        response = web.Response(
            status=reply.status,
            reason=reply.reason,
            headers=headers,
            body=reply.take() or None,
        )
        if self.close:
            response.force_close()
        return response

    async def _streamed(self, reply: Reply, upstream: Upstream) -> web.StreamResponse:
        response = web.StreamResponse(
            status=reply.status, reason=reply.reason, headers=reply_headers(reply)
        )
        if self.close:
            response.force_close()
        await response.prepare(self.request)
        try:
            while piece := await upstream.read(reply):
                await response.write(piece)
        except (Broken, OSError):
            if self.request.transport is not None:
                _cut(self.request.transport)
        return response


def request_head(request: web.BaseRequest, body: Body, pod: Pod, *, key: bool) -> bytes:
    """As the pod gets it: all that the client sent but what is of its connection, and where the client is.

    Its lines are as they came, and aiohttp has let none in that would be two.
    """
    sent = request.headers
    left_out = LEFT_OUT if key else LEFT_OUT | {b"authorization"}
    if CONNECTION in sent:
        left_out |= {name.encode(*CODEC).lower() for name in _named(sent.getall(CONNECTION))}
    kept = [b"%b: %b\r\n" % line for line in request.raw_headers if line[0].lower() not in left_out]
    added = [_framing(request, body)]
    if HOST not in sent or b"host" in left_out:
        added.append(f"Host: {pod.host}:{pod.port}\r\n")
    if request.remote:
        path = ", ".join([*sent.getall(FORWARDED_FOR, ()), request.remote])
        added.append(f"X-Forwarded-For: {path}\r\n")
    first = f"{request.method} {_target(request)} HTTP/1.1\r\n"
    return b"%b%b%b\r\n" % (first.encode(*CODEC), b"".join(kept), "".join(added).encode(*CODEC))


def reply_headers(reply: Reply) -> CIMultiDict[str]:
    """As the client gets them. The pods don't name their server, where aiohttp would name itself."""
    headers = reply.headers
    if CONNECTION in headers:
        for name in _named(headers.popall(CONNECTION)):
            headers.popall(name, None)
    for name in HOP_BY_HOP:
        headers.popall(name, None)
    headers.setdefault(SERVER, "kubeembed")
    return headers


def _named(connection: list[str]) -> list[str]:
    """The headers that Connection says are its own."""
    return [name.strip() for names in connection for name in names.split(",")]


def _framing(request: web.BaseRequest, body: Body) -> str:
    """How its body ends."""
    size = request.content_length if body.whole is None else len(body.whole)
    if size is None:
        return "Transfer-Encoding: chunked\r\n"
    if not size and request.method in BODILESS and CONTENT_LENGTH not in request.headers:
        return ""
    return f"Content-Length: {size}\r\n"


async def _pieces(whole: bytes) -> Pieces:
    """At once, a large body would fill the buffers before anybody has taken of it."""
    for start in range(0, len(whole), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]


def _cut(transport: asyncio.Transport) -> None:
    """Of a client: by a reset, because to one of HTTP/1.0 an ordinary end may be that of a whole reply."""
    client = transport.get_extra_info("socket")
    if client is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _target(request: web.BaseRequest) -> str:
    """Path and query as they were sent; a proxy's form has the host before them."""
    sent = request.raw_path
    if sent.startswith("/"):
        return sent
    found = PROXYS_FORM.match(sent)
    asked = found["asked"] if found else ""
    return asked if asked.startswith("/") else f"/{asked}"
