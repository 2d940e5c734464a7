"""OpenAI's embeddings API: POST /v1/embeddings, and /embeddings as Infinity and TEI have it.

Differs from OpenAI's in one way: an input that is longer than the model is cut to its length, as
sentence-transformers does, where OpenAI refuses. An unknown field is refused, as there.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import BadBody, read_body
from kubeembed_runtime.api.contract import (
    Operation,
    Service,
    deadline,
    json_reply,
    route,
    unless_gone,
)
from kubeembed_runtime.api.limits import MAX_INPUTS, MAX_TOKENS, check_count
from kubeembed_runtime.api.vectors import array_reply, base64_floats, marked
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    Loading,
    OutOfMemory,
    QueueFull,
    UnknownModel,
)
from kubeembed_runtime.requests import Encoded, EncodeRequest, Input

CONTRACT = "openai"

#: Our fields by OpenAI's names for them.
PARAMS = {"inputs": "input", "model": "model", "dimensions": "dimensions", "timeout": None}


_TEXT = {"type": "string", "minLength": 1}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}

#: What `inputs` takes, as the description says it.
_FORMS = [
    _TEXT,
    {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_INPUTS},
    _IDS,
    {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_INPUTS},
]


class EmbeddingsBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends. `input` mixes types here, and `inputs` tells them apart."""

    model: str
    input: Annotated[
        str | list[str | int | list[int]],
        msgspec.Meta(extra_json_schema={"allOf": [{"anyOf": _FORMS}]}),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, msgspec.Meta(extra_json_schema={"minimum": 1})] = None
    user: str | None = None


class Embedding(msgspec.Struct):
    """The vector of an input: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(msgspec.Struct):
    """In tokens that were really read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(msgspec.Struct):
    """What `reply` writes, for the description alone."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class ErrorDetail(msgspec.Struct):
    """What went wrong, as the clients parse it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """Every reply that is no success."""

    error: ErrorDetail


_DECODER = msgspec.json.Decoder(EmbeddingsBody)
_PATH = re.compile(r" - at `\$\.?(\w+)?.*`$")
_FIELD = re.compile(r"field `(\w+)`")


def routes(service: Service) -> list[Route]:
    """The contract's paths."""
    lifecycle = service.lifecycle

    async def embeddings(request: Request) -> Response:
        body = parse(await read_body(request))
        asked = EncodeRequest(
            adapter=lifecycle.adapter(body.model),
            inputs=inputs(body.input),
            dimensions=body.dimensions,
            deadline=deadline(request),
            token_limit=MAX_TOKENS,
        )
        encoded = await unless_gone(request, lifecycle.model.encode(asked))
        return marked(reply(encoded, body), encoded)

    operation = Operation(
        summary="Embed texts or token ids", body=EmbeddingsBody, reply=EmbeddingsReply
    )
    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service)
    return [
        serve(path, "POST", answer=embeddings, operation=operation)
        for path in ("/v1/embeddings", "/embeddings")
    ]


def parse(body: bytes) -> EmbeddingsBody:
    """Raises InvalidInput for a field that is wrong, msgspec.DecodeError for what is no JSON."""
    return _DECODER.decode(body)


def inputs(sent: str | Sequence[str | int | list[int]]) -> list[Input]:
    """One text, texts, token ids of one input, or of several: told apart. Raises InvalidInput."""
    if isinstance(sent, str):
        return _texts([sent])
    if not sent:
        raise InvalidInput("inputs", "input is empty; send at least one text or token id")
    texts = [one for one in sent if isinstance(one, str)]
    ids = [one for one in sent if isinstance(one, int)]
    lists = [one for one in sent if isinstance(one, list)]
    found: list[Input]
    if len(texts) == len(sent):
        found = _texts(texts)
    elif len(ids) == len(sent):
        found = [ids]
    elif len(lists) == len(sent):
        found = _lists(lists)
    else:
        raise InvalidInput("inputs", "input mixes texts and token ids; send one kind per request")
    check_count("input", found)
    return found


def _texts(texts: Sequence[str]) -> list[Input]:
    for index, text in enumerate(texts):
        if not text:
            raise InvalidInput("inputs", f"input {index} is an empty string; leave it out")
    return list(texts)


def _lists(lists: Sequence[list[int]]) -> list[Input]:
    for index, ids in enumerate(lists):
        if not ids:
            raise InvalidInput("inputs", f"input {index} has no token ids; leave it out")
    return list(lists)


def reply(encoded: Encoded, body: EmbeddingsBody) -> Response:
    """The vectors in the order of the inputs, in the format that was asked for."""
    write = base64_floats if body.encoding_format == "base64" else np.ascontiguousarray
    vectors = [output.dense for output in encoded.outputs if output.dense is not None]
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": write(vector)}
            for index, vector in enumerate(vectors)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
    }
    return array_reply(answer)


def refuse(error: Exception) -> Response:
    """Any error in OpenAI's words; one that nobody foresaw says nothing of itself."""
    invalid = "invalid_request_error"
    match error:
        case BadBody():
            return error_reply(error.status, str(error), invalid, code=error.code)
        case InvalidInput():
            return error_reply(400, str(error), invalid, PARAMS.get(error.field), error.code)
        case msgspec.ValidationError():
            return error_reply(400, str(error), invalid, _param(str(error)))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return error_reply(400, f"the body is not JSON: {error}", invalid, code="invalid_json")
        case UnknownModel():
            return error_reply(404, str(error), invalid, "model", "model_not_found")
        case AdapterRefused():
            return error_reply(503, str(error), "server_error", "model", "adapter_unavailable")
        case QueueFull():
            return error_reply(429, str(error), "rate_limit_error", code="queue_full")
        case Loading():
            return error_reply(503, str(error), "server_error", code="model_loading")
        case DeadlineExceeded():
            return error_reply(504, str(error), "server_error", code="deadline_exceeded")
        case OutOfMemory():
            return error_reply(503, str(error), "server_error", code="out_of_memory")
        case DeviceFailed():
            return error_reply(500, str(error), "server_error", code="device_failed")
    return error_reply(500, "the server failed on this request", "server_error")


def error_reply(
    status: int, message: str, kind: str, param: str | None = None, code: str | None = None
) -> Response:
    """OpenAI's error body."""
    detail = ErrorDetail(message=message, type=kind, param=param, code=code)
    return json_reply(ErrorBody(error=detail), status)


def _param(problem: str) -> str | None:
    """The field that msgspec's message is about, where it names one."""
    found = _PATH.search(problem)
    if found and found.group(1):
        return found.group(1)
    field = _FIELD.search(problem)
    return field.group(1) if field else None
