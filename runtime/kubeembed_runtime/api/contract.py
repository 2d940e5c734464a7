"""What all wire contracts share: one call, its metrics, its headers, and errors in the contract's own words.

A contract gives two functions: `answer` (request -> reply, or an error of errors.py) and `refuse` (error ->
reply), and says what they take and give (Operation). What nobody foresaw is logged here, with the request's
id: `refuse` only needs words for it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import HOLD, Bodies, ClientGone, Hold
from kubeembed_runtime.api.edge import (
    MATCH_HEADER,
    OPEN,
    REQUEST_ID_HEADER,
    Edge,
    check_fingerprint,
    request_id,
)
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.operation import DescribedRoute
from kubeembed_runtime.api.operation import Operation as Operation
from kubeembed_runtime.errors import BadBody, InvalidInput, Loading, QueueFull, RequestFailed
from kubeembed_runtime.lifecycle import Lifecycle

logger = logging.getLogger(__name__)

T = TypeVar("T")
Answer = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Exception], Response]

#: The client closed its connection: no status that anybody reads, but one that metrics can tell apart.
CLIENT_CLOSED = 499

FINGERPRINT_HEADER = "x-kubeembed-fingerprint"
TIMEOUT_HEADER = "x-request-timeout"
_WORDS = "kubeembed.refuse"  # where a request keeps what `speak` was told
_FINGERPRINT = FINGERPRINT_HEADER.encode()

#: Work that ends sooner is done before anybody looks whether its client is still there: to look costs two
#: tasks, a fifth of what a short request takes here.
UNWATCHED_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What every contract serves: the one model of this process, and where its requests are counted."""

    lifecycle: Lifecycle
    metrics: Metrics
    edge: Edge = OPEN
    bodies: Bodies = field(default_factory=Bodies)


def route(
    path: str,
    method: str,
    *,
    contract: str,
    answer: Answer,
    refuse: Refuse,
    service: Service,
    operation: Operation | None = None,
    guarded: bool = True,
    id_header: str = REQUEST_ID_HEADER,
) -> Route:
    """A path of a contract. Whatever `answer` raises is answered; an error nobody foresaw is logged.

    guarded: needs an API key, where there are any, and keeps the model awake. id_header: the contract's own
    name for the request's id.
    """
    lifecycle, keys = service.lifecycle, service.edge.keys if guarded else None
    computes = method == "POST" and (operation is None or operation.can_come_to(412))
    ids = sorted({REQUEST_ID_HEADER.encode(), id_header.encode()})

    async def endpoint(request: Request) -> Response:
        begun = time.perf_counter()
        headers = request.headers
        called = request_id(headers.get(REQUEST_ID_HEADER))
        wanted = headers.get(MATCH_HEADER) if computes else None
        request.scope[HOLD] = hold = Hold(service.bodies)
        if guarded:
            lifecycle.traffic.begin()
        try:
            if keys is not None:
                keys.check(headers.get("authorization"))
            if wanted is not None:
                _check_before(wanted, lifecycle)
            response = await answer(request)
            _add_headers(response, lifecycle)
            if wanted is not None and response.status_code < 400:
                check_fingerprint(wanted, response.headers.get(FINGERPRINT_HEADER))
        except Exception as error:
            response = _refused(error, request.scope.get(_WORDS, refuse), called)
            _add_headers(response, lifecycle)
        finally:
            hold.end()
            if guarded:
                lifecycle.traffic.end()
        response.raw_headers.extend((name, called.encode()) for name in ids)
        service.metrics.count_request(contract, response.status_code, time.perf_counter() - begun)
        return response

    return DescribedRoute(
        path, endpoint, method=method, contract=contract, operation=operation, guarded=guarded
    )


def _check_before(wanted: str, lifecycle: Lifecycle) -> None:
    """Spares the work where only the base can be asked for; an adapter's fingerprint is known afterwards."""
    if lifecycle.loaded and not lifecycle.model.adapters:
        check_fingerprint(wanted, lifecycle.model.info.fingerprint)


def speak(request: Request, refuse: Refuse) -> None:
    """From here on this request's errors are in the words of another contract, which shares its path."""
    request.scope[_WORDS] = refuse


def _refused(error: Exception, refuse: Refuse, called: str) -> Response:
    """The error in a contract's words, with the headers that all contracts have. called: the request's id."""
    if isinstance(error, ClientGone):
        return Response(status_code=CLIENT_CLOSED)
    if isinstance(error, RecursionError):  # of msgspec, reading the body
        error = BadBody(400, "the body is nested too deeply", "invalid_json")
    if not isinstance(error, RequestFailed | msgspec.DecodeError | UnicodeDecodeError):
        logger.error("request %s failed in a way that nobody foresaw", called, exc_info=error)
    response = refuse(error)
    if isinstance(error, QueueFull | Loading):
        response.headers["retry-after"] = f"{max(1, round(error.retry_after))}"
    if response.status_code == 401:
        response.headers.setdefault("www-authenticate", "Bearer")
    return response


def json_reply(value: object, status: int = 200) -> Response:
    """The value as msgspec writes it."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _add_headers(response: Response, lifecycle: Lifecycle) -> None:
    raw = response.raw_headers  # looked through by hand: `headers` costs ten times as much
    # An adapter's vectors have a fingerprint of their own, which the contract has set.
    if lifecycle.loaded and all(name != _FINGERPRINT for name, _ in raw):
        raw.append((_FINGERPRINT, lifecycle.model.info.fingerprint.encode()))


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
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    watching: list[asyncio.Future[Any]] = []
    left = False

    def leave(gone: asyncio.Future[Any]) -> None:
        nonlocal left
        if gone in watching:  # and not just after the work has ended
            left = True
            task.cancel()

    def watch() -> None:
        gone = asyncio.ensure_future(request.receive())
        gone.add_done_callback(leave)
        watching.append(gone)

    timer = loop.call_later(UNWATCHED_SECONDS, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if not left:
            raise  # the server ends
        task.uncancel()
        raise ClientGone("the client left before its answer") from None
    finally:
        timer.cancel()
        while watching:
            watching.pop().cancel()
