"""One request to one pod, and the reply back: unchanged both ways but for the headers of a single hop.

A pod that goes away before anything of its reply has reached the client is PodLost, and another may be asked.
Later the client has to see that its reply is not whole: its connection is cut.
"""

import socket
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import AddrInfoType, web
from aiohttp.client_exceptions import ClientError
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from kubeembed_api.errors import KubeEmbedError
from kubeembed_gateway.body import Body
from kubeembed_gateway.table import Pod

#: Of one connection, and so of nobody beyond it (RFC 9110, 7.6.1); Expect is answered here.
CONNECTION = istr("Connection")
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
#: What aiohttp would add of its own.
ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

#: A reply up to this size is read before any of it is sent on, so that it can still be asked for again.
SMALL_REPLY_BYTES = 256 * 1024
#: A kept body that is larger is sent in pieces of this size.
PIECE_BYTES = 256 * 1024

#: Seconds. Pods close idle connections after 75, and shall never do so first.
KEEP_ALIVE_SECONDS, CONNECT_SECONDS = 30, 2.0
#: A silent peer is asked after so long, and so often, whether it is still there: a lost node says nothing.
ALIVE_AFTER, ALIVE_EVERY, ALIVE_TIMES = 15, 5, 3


class PodLost(KubeEmbedError):
    """It went away before its reply, or could not be reached. sent: whether it may have got the request."""

    def __init__(self, pod: Pod, error: BaseException, *, sent: bool = True) -> None:
        super().__init__(f"pod {pod.name}: {error or type(error).__name__}")
        self.sent = sent


def connections() -> aiohttp.ClientSession:
    """To the pods, kept open between requests. What waits for a reply waits as long as its client does."""
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_watchful
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=ADDED,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        max_line_size=2**16,
        max_field_size=2**16,
    )


async def forward(
    session: aiohttp.ClientSession,
    request: web.BaseRequest,
    body: Body,
    pod: Pod,
    *,
    close: bool,
    key: bool = True,
) -> web.StreamResponse:
    """The pod's reply, sent or to be sent. close: the client's connection ends with it. key: whether the pod
    gets the client's Authorization. Raises PodLost."""
    url = URL(f"http://{pod.host}:{pod.port}{_target(request)}", encoded=True)
    headers = request_headers(request.headers, request.remote)
    if not key:
        headers.popall("Authorization", None)
    if body.whole:
        headers["Content-Length"] = str(len(body.whole))
    try:
        answer = await session.request(
            request.method, url, headers=headers, data=_data(request, body), allow_redirects=False
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise PodLost(pod, error, sent=False) from error
    except (ClientError, OSError) as error:
        raise PodLost(pod, error) from error
    async with answer:
        return await _reply(request, answer, pod, close=close)


async def _reply(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, pod: Pod, *, close: bool
) -> web.StreamResponse:
    headers = reply_headers(answer.headers)
    length = answer.content_length
    if length is not None and length <= SMALL_REPLY_BYTES:
        try:
            whole = await answer.read()
        except (ClientError, OSError) as error:
            raise PodLost(pod, error) from error
        if request.method != "HEAD":
            headers.popall("Content-Length", None)
        response: web.StreamResponse = web.Response(
            status=answer.status, reason=answer.reason, headers=headers, body=whole or None
        )
        if close:
            response.force_close()
        return response
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    if close:
        response.force_close()
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (ClientError, OSError):
        if request.transport is not None:
            request.transport.abort()
    return response


def request_headers(sent: CIMultiDictProxy[str], client: str | None) -> CIMultiDict[str]:
    """As the pod gets them: all that the client sent but those of its connection, and where it is."""
    headers = _end_to_end(sent)
    if client:
        before = headers.popall("X-Forwarded-For", [])
        headers["X-Forwarded-For"] = ", ".join([*before, client])
    return headers


def reply_headers(sent: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """As the client gets them. The pods don't name their server, where aiohttp would name itself."""
    headers = _end_to_end(sent)
    headers.setdefault("Server", "kubeembed")
    return headers


def _end_to_end(sent: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    headers = sent.copy()
    for names in headers.popall(CONNECTION, ()):
        for name in names.split(","):
            headers.popall(name.strip(), None)
    for name in HOP_BY_HOP:
        headers.popall(name, None)
    return headers


def _data(request: web.BaseRequest, body: Body) -> object:
    if body.whole is None:
        return body.stream()
    if len(body.whole) > PIECE_BYTES:
        return _pieces(body.whole)
    return body.whole if body.whole or "Content-Length" in request.headers else None


async def _pieces(whole: bytes) -> AsyncIterator[bytes]:
    """At once, a large body would fill the buffers before anybody has taken of it."""
    for start in range(0, len(whole), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]


def _target(request: web.BaseRequest) -> str:
    """Path and query as they were sent; a proxy's form has the host before them."""
    sent = request.raw_path
    if sent.startswith("/"):
        return sent
    _, found, rest = sent.partition("://")
    return f"/{rest.partition('/')[2]}" if found else "/"


def _watchful(address: AddrInfoType) -> socket.socket:
    """A socket that notices a peer that is no more."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ALIVE_AFTER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ALIVE_EVERY)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ALIVE_TIMES)
    return made
