"""Cohere's embed API, POST /v1/embed and /v2/embed: sides by input_type, vectors in several types at once.

int8 and uint8 are scaled per vector, where Cohere calibrates per dimension; the scales are in `scales`.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.cohere_errors import ErrorBody, refuse
from kubeembed_runtime.api.contract import (
    Operation,
    Service,
    deadline,
    route,
    unless_gone,
)
from kubeembed_runtime.api.limits import MAX_TOKENS, check_count
from kubeembed_runtime.api.vectors import array_reply, base64_floats, marked
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.precision import Precision, quantize
from kubeembed_runtime.requests import Encoded, EncodeRequest, Prompting, Side, Truncate, Vector

CONTRACT = "cohere"

InputType = Literal["search_query", "search_document", "classification", "clustering"]
EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]

#: Texts to sort or to group are neither queries nor documents: they stand without a side.
SIDES: Mapping[InputType, Side] = {"search_query": "query", "search_document": "document"}

_TRUNCATE: Mapping[str, Truncate] = {"NONE": "refuse", "START": "left", "END": "right"}
_PRECISIONS: Mapping[EmbeddingType, Precision] = {
    "int8": "int8",
    "uint8": "uint8",
    "binary": "binary",
    "ubinary": "ubinary",
}


class TextContent(msgspec.Struct, forbid_unknown_fields=True, tag="text"):
    """A part of an input."""

    text: str


class Content(msgspec.Struct, forbid_unknown_fields=True):
    """An input of v2 in parts; one text each."""

    content: list[TextContent]


class EmbedBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Of v2. priority is accepted, and all requests are alike: they take turns."""

    model: str
    input_type: InputType
    texts: list[str] | None = None
    inputs: list[Content] | None = None
    embedding_types: list[EmbeddingType] | None = None
    output_dimension: int | None = None
    truncate: Literal["NONE", "START", "END"] | None = None
    max_tokens: int | None = None
    priority: int | None = None


class EmbedBodyV1(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Of v1. Without embedding_types the reply is a bare list of vectors."""

    texts: list[str]
    model: str | None = None
    input_type: InputType | None = None
    embedding_types: list[EmbeddingType] | None = None
    truncate: Literal["NONE", "START", "END"] | None = None


class EmbedReply(msgspec.Struct):
    """What is written, for the description alone. embeddings: by type; v1 without types: a list."""

    id: str
    embeddings: dict[str, list[Any]] | list[list[float]]
    texts: list[str]
    meta: dict[str, Any]
    response_type: str | None = None
    scales: dict[str, list[dict[str, float]]] | None = None


def routes(service: Service) -> list[Route]:
    """The contract's paths."""
    lifecycle = service.lifecycle

    async def embed_v2(request: Request) -> Response:
        body = msgspec.json.decode(await read_body(request), type=EmbedBody)
        texts = _texts(body)
        types = body.embedding_types or ["float"]
        encoded = await _encode(request, lifecycle, body, texts)
        return _reply(encoded, texts, {"version": "2"}, _by_type(encoded, types))

    async def embed_v1(request: Request) -> Response:
        sent = msgspec.json.decode(await read_body(request), type=EmbedBodyV1)
        body = EmbedBody(
            model=sent.model or lifecycle.name,
            input_type=sent.input_type or "classification",
            texts=sent.texts,
            truncate=sent.truncate,
        )
        texts = _texts(body)
        encoded = await _encode(request, lifecycle, body, texts)
        if sent.embedding_types:
            more = _by_type(encoded, sent.embedding_types)
            more["response_type"] = "embeddings_by_type"
        else:
            more = {"response_type": "embeddings_floats", "embeddings": _dense(encoded)}
        return _reply(encoded, texts, {"version": "1"}, more)

    paths = (("/v2/embed", embed_v2, EmbedBody), ("/v1/embed", embed_v1, EmbedBodyV1))
    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service)
    operation = partial(Operation, summary="Embed texts", reply=EmbedReply, error=ErrorBody)
    return [
        serve(path, "POST", answer=answer, operation=operation(body=body))
        for path, answer, body in paths
    ]


async def _encode(
    request: Request, lifecycle: Lifecycle, body: EmbedBody, texts: Sequence[str]
) -> Encoded:
    asked = EncodeRequest(
        inputs=texts,
        outputs=("dense",),
        prompting=Prompting(side=SIDES.get(body.input_type)),
        truncate=_TRUNCATE[body.truncate] if body.truncate else None,
        dimensions=body.output_dimension,
        adapter=lifecycle.adapter(body.model),
        deadline=deadline(request),
        token_limit=MAX_TOKENS,
        max_tokens=body.max_tokens,
    )
    return await unless_gone(request, lifecycle.model.encode(asked))


def _texts(body: EmbedBody) -> list[str]:
    """Raises InvalidInput."""
    if (body.texts is None) == (body.inputs is None):
        raise InvalidInput("inputs", "send either `texts` or `inputs`, and not both")
    found = body.texts if body.texts is not None else [_text(one) for one in body.inputs or []]
    if not found:
        raise InvalidInput("inputs", "`texts` is empty; send at least one text")
    check_count("`texts`", found)
    if not all(found):
        raise InvalidInput("inputs", f"text {found.index('')} is empty; leave it out")
    return found


def _text(sent: Content) -> str:
    if len(sent.content) != 1:
        problem = f"an input has {len(sent.content)} parts; send one text in each"
        raise InvalidInput("inputs", problem)
    return sent.content[0].text


def _dense(encoded: Encoded) -> list[Vector]:
    return [
        np.ascontiguousarray(output.dense) for output in encoded.outputs if output.dense is not None
    ]


def _by_type(encoded: Encoded, types: Sequence[EmbeddingType]) -> dict[str, Any]:
    """`embeddings`, and the scales of those types that have some."""
    vectors = np.stack(_dense(encoded))
    made: dict[str, Any] = {}
    scales: dict[str, Any] = {}
    for kind in types:
        if kind == "float":
            made[kind] = vectors
        elif kind == "base64":
            made[kind] = [base64_floats(row) for row in vectors]
        else:
            quantized = quantize(vectors, _PRECISIONS[kind])
            made[kind] = np.ascontiguousarray(quantized.values)
            if quantized.scale is not None:
                offset = quantized.offset
                scales[kind] = [
                    {"scale": scale, "offset": 0.0 if offset is None else offset[place]}
                    for place, scale in enumerate(quantized.scale)
                ]
    return {"embeddings": made, **({"scales": scales} if scales else {})}


def _reply(
    encoded: Encoded, texts: Sequence[str], version: dict[str, str], more: Mapping[str, Any]
) -> Response:
    """In the order of the texts."""
    answer = {
        "id": secrets.token_hex(16),
        "texts": texts,
        "meta": {
            "api_version": version,
            "billed_units": {"input_tokens": encoded.tokens},
            "tokens": {"input_tokens": encoded.tokens},
        },
        **more,
    }
    return marked(array_reply(answer), encoded)
