"""SIE's API, as its SDK speaks it: POST /v1/encode/{model} and /v1/score/{model}, in msgpack and in JSON.

A model's profiles are its adapters here. Extraction, generation and pools are not served, and say so in the
form that the SDK prints. /v1/models and /health have files of their own.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.contract import Operation, Service, route, unless_gone
from kubeembed_runtime.api.operation import POST_ERRORS
from kubeembed_runtime.api.sie_answers import (
    Reply,
    encode_reply,
    encode_request,
    score_reply,
    score_request,
)
from kubeembed_runtime.api.sie_bodies import JSON, MEDIA, MSGPACK, EncodeBody, ScoreBody, read
from kubeembed_runtime.api.sie_errors import Detail, ErrorBody, refuse, reply
from kubeembed_runtime.api.sie_replies import EncodeReply, ScoreReply

CONTRACT = "sie"

#: The SDK reads it into the result's `request`.
REQUEST_ID_HEADER = "x-sie-request-id"

#: A full queue is a 503 here.
ERRORS = (*(status for status in POST_ERRORS if status != 429), 502)

Answer = Callable[[Request], Awaitable[Response]]


def routes(service: Service) -> list[Route]:
    """The contract's paths."""
    lifecycle = service.lifecycle

    async def encode(request: Request) -> Response:
        begun = time.perf_counter()
        body, packed = await read(request, EncodeBody)
        asked, dtype = encode_request(request, body, lifecycle)
        encoded = await unless_gone(request, lifecycle.model.encode(asked))
        return encode_reply(encoded, body, Reply(lifecycle, dtype, packed, begun))

    async def score(request: Request) -> Response:
        begun = time.perf_counter()
        body, packed = await read(request, ScoreBody)
        asked = score_request(request, body, lifecycle)
        scored = await unless_gone(request, lifecycle.model.score(asked))
        return score_reply(scored, body, Reply(lifecycle, "float32", packed, begun))

    computed = (
        ("/v1/encode/{model:name}", encode, "Embed items", EncodeBody, EncodeReply),
        ("/v1/score/{model:name}", score, "Score items against a query", ScoreBody, ScoreReply),
    )
    serve = partial(
        route, contract=CONTRACT, refuse=refuse, service=service, id_header=REQUEST_ID_HEADER
    )
    return [
        *(
            serve(path, "POST", answer=answer, operation=_operation(summary, body, answered))
            for path, answer, summary, body, answered in computed
        ),
        *(
            serve(
                path,
                method,
                answer=_lacking(status, code, problem),
                operation=_refusal(status, code),
            )
            for path, method, status, code, problem in LACKING
        ),
    ]


_POOLS = "there are no pools here: each model has its own replicas, and its document says how many"
_TASKS = "this server encodes and scores; it does not"

#: (path, method, status, code, message) of what the SDK can ask for and nobody here can answer.
LACKING = (
    ("/v1/extract/{model:name}", "POST", 400, "INVALID_INPUT", f"{_TASKS} extract"),
    ("/v1/generate/{model:name}", "POST", 400, "INVALID_INPUT", f"{_TASKS} generate"),
    ("/v1/pools", "POST", 400, "INVALID_REQUEST", f"{_POOLS}; leave the pool out"),
    ("/v1/pools", "GET", 404, "POOL_NOT_FOUND", _POOLS),
    ("/v1/pools/{name}", "GET", 404, "POOL_NOT_FOUND", _POOLS),
    ("/v1/pools/{name}", "DELETE", 404, "POOL_NOT_FOUND", _POOLS),
    ("/v1/pools/{name}/renew", "POST", 404, "POOL_NOT_FOUND", _POOLS),
)


def _lacking(status: int, code: str, problem: str) -> Answer:
    async def answer(request: Request) -> Response:
        return reply(status, Detail(code, problem))

    return answer


def _operation(summary: str, body: Any, answered: Any) -> Operation:
    return Operation(
        summary=summary,
        body=body,
        reply=answered,
        error=ErrorBody,
        errors=ERRORS,
        media=(JSON, *(one for one in MEDIA if one != JSON)),
        reply_media=(JSON, MSGPACK),
    )


def _refusal(status: int, code: str) -> Operation:
    return Operation(summary=f"Not offered here: {code}", error=ErrorBody, errors=(status,))
