"""OpenAI's embeddings API: POST /v1/embeddings, and /embeddings as Infinity and TEI have it.

Differs from OpenAI's in one way: an input that is longer than the model is cut to its length, as
sentence-transformers does, where OpenAI refuses. An unknown field is refused, as there; `chunking` is ours.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.contract import (
    Operation,
    Service,
    deadline,
    route,
    unless_gone,
)
from kubeembed_runtime.api.limits import MAX_INPUTS, MAX_TOKENS, check_count
from kubeembed_runtime.api.openai_errors import refuse
from kubeembed_runtime.api.vectors import array_reply, base64_floats, marked
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Chunking, Encoded, EncodeRequest, Input, Truncate

CONTRACT = "openai"

_TEXT = {"type": "string", "minLength": 1}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}

#: What `inputs` takes, as the description says it.
_FORMS = [
    _TEXT,
    {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_INPUTS},
    _IDS,
    {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_INPUTS},
]


class ChunkingBody(msgspec.Struct, forbid_unknown_fields=True):
    """Each text whole, in windows of so many tokens without special ones, which share `overlap` with the one
    before. pooled: their mean alone, by the tokens of each."""

    tokens: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1})]
    overlap: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0})] = 0
    pooled: bool = False


class EmbeddingsBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends. `input` mixes types here, and `inputs` tells them apart.

    truncate_prompt_tokens, truncation_side: vLLM's. So many tokens of each input are read, special ones
    included; -1 is all that the model reads. chunking: ours, for texts.
    """

    model: str
    input: Annotated[
        str | list[str | int | list[int]],
        msgspec.Meta(extra_json_schema={"allOf": [{"anyOf": _FORMS}]}),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, msgspec.Meta(extra_json_schema={"minimum": 1})] = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[
        int | None, msgspec.Meta(extra_json_schema={"minimum": -1, "not": {"const": 0}})
    ] = None
    truncation_side: Literal["left", "right"] | None = None
    chunking: ChunkingBody | None = None


class Place(msgspec.Struct):
    """Of a chunk: which input, and its characters from start to before end."""

    input: int
    start: int
    end: int


class Embedding(msgspec.Struct):
    """The vector of an input, or of a chunk: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    chunk: Place | msgspec.UnsetType = msgspec.UNSET


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


_DECODER = msgspec.json.Decoder(EmbeddingsBody)


def routes(service: Service) -> list[Route]:
    """The contract's paths."""
    lifecycle = service.lifecycle

    async def embeddings(request: Request) -> Response:
        body = parse(await read_body(request))
        asked = EncodeRequest(
            adapter=lifecycle.adapter(body.model),
            inputs=inputs(body.input),
            dimensions=body.dimensions,
            truncate=truncation(body),
            max_tokens=max_tokens(body, lifecycle.model.info),
            chunking=chunking(body),
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


def truncation(body: EmbeddingsBody) -> Truncate | None:
    """Who says how many tokens are read wants the others to be cut."""
    if body.truncation_side is not None:
        return body.truncation_side
    return None if body.truncate_prompt_tokens is None else "right"


def max_tokens(body: EmbeddingsBody, info: RuntimeInfo) -> int | None:
    """Raises InvalidInput."""
    asked = body.truncate_prompt_tokens
    if asked is None or asked == -1:
        return None
    if not 1 <= asked <= info.max_tokens:
        problem = f"truncate_prompt_tokens is {asked}; {info.name} reads 1 to {info.max_tokens}"
        raise InvalidInput("truncate", f"{problem}, or send -1 for all that it reads")
    return asked


def chunking(body: EmbeddingsBody) -> Chunking | None:
    """Raises InvalidInput."""
    asked = body.chunking
    if asked is None:
        return None
    if body.truncate_prompt_tokens is not None or body.truncation_side is not None:
        problem = (
            "chunks are of the whole text; leave out truncate_prompt_tokens and truncation_side"
        )
        raise InvalidInput("chunking", problem)
    return Chunking(
        tokens=asked.tokens, overlap=asked.overlap, pooled=asked.pooled, most=MAX_INPUTS
    )


def reply(encoded: Encoded, body: EmbeddingsBody) -> Response:
    """The vectors in the order of the inputs and their chunks, in the format that was asked for."""
    write = base64_floats if body.encoding_format == "base64" else np.ascontiguousarray
    vectors = [output.dense for output in encoded.outputs if output.dense is not None]
    data: list[dict[str, object]] = [
        {"object": "embedding", "index": index, "embedding": write(vector)}
        for index, vector in enumerate(vectors)
    ]
    for entry, chunk in zip(data, encoded.chunks or (), strict=False):
        entry["chunk"] = chunk._asdict()
    answer = {
        "object": "list",
        "data": data,
        "model": body.model,
        "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
    }
    return array_reply(answer)
