"""What all wire contracts share: one call, its metrics, its headers, and errors in the contract's own words.

A contract gives two functions: `answer` (request -> reply, or an error of errors.py) and `refuse` (error ->
reply).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import ClientGone
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.errors import InvalidInput, Loading, QueueFull
from kubeembed_runtime.lifecycle import Lifecycle, Phase

logger = logging.getLogger(__name__)

T = TypeVar("T")
Answer = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Exception], Response]

#: The client closed its connection: no status that anybody reads, but one that metrics can tell apart.
CLIENT_CLOSED = 499

FINGERPRINT_HEADER = "x-kubeembed-fingerprint"
TIMEOUT_HEADER = "x-request-timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What every contract serves: the one model of this process, and where its requests are counted."""

    lifecycle: Lifecycle
    metrics: Metrics


def route(
    path: str, method: str, *, contract: str, answer: Answer, refuse: Refuse, service: Service
) -> Route:
    """A path of a contract. Whatever `answer` raises is answered; an error nobody foresaw is logged."""

    async def endpoint(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            response = await answer(request)
        except Exception as error:
            response = _refused(error, refuse)
        _add_headers(response, service.lifecycle)
        service.metrics.count_request(contract, response.status_code, time.perf_counter() - begun)
        return response

    return Route(path, endpoint, methods=[method])


def _refused(error: Exception, refuse: Refuse) -> Response:
    if isinstance(error, ClientGone):
        return Response(status_code=CLIENT_CLOSED)
    response = refuse(error)
    if isinstance(error, QueueFull | Loading):
        response.headers["retry-after"] = f"{max(1, round(error.retry_after))}"
    return response


def json_reply(value: object, status: int = 200) -> Response:
    """The value as msgspec writes it."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _add_headers(response: Response, lifecycle: Lifecycle) -> None:
    if lifecycle.loaded:
        # An adapter's vectors have one of their own, which the contract has set.
        response.headers.setdefault(FINGERPRINT_HEADER, lifecycle.model.info.fingerprint)
    if lifecycle.phase is Phase.DRAINING:
        # A kept connection would be used again after the last answer: the client opens one elsewhere.
        response.headers["connection"] = "close"


def deadline(request: Request) -> float | None:
    """When the client stops waiting, of time.monotonic(), by its X-Request-Timeout in seconds."""
    sent = request.headers.get(TIMEOUT_HEADER)
    if sent is None:
        return None
    try:
        seconds = float(sent)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InvalidInput("timeout", f"X-Request-Timeout is {sent!r}; send seconds, such as 2.5")
    return time.monotonic() + seconds


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client leaves. Raises ClientGone.

    The body has to have been read: what comes after it can only be the end of the connection.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client left before its answer")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
