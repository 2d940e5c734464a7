"""POST /classify, as Infinity and vLLM have it: the labels of a sequence classifier for each text.

`data` is a list of labels for each text, as Infinity's clients read it. vLLM's own form,
an object for each text with `probs`, is not given.
"""

import secrets
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.contract import (
    FINGERPRINT_HEADER,
    Operation,
    Service,
    deadline,
    json_reply,
    route,
    unless_gone,
)
from kubeembed_runtime.api.openai import MAX_TOKENS, ErrorBody, Usage, inputs, refuse
from kubeembed_runtime.api.ranking import labelled
from kubeembed_runtime.requests import EncodeRequest

CONTRACT = "classify"


class ClassifyBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """raw_scores: logits, where otherwise labels have the softmax, and a single one the sigmoid."""

    input: str | list[str]
    model: str | None = None
    raw_scores: bool = False


class Class(msgspec.Struct):
    """A label and its score."""

    score: float
    label: str


class ClassifyReply(msgspec.Struct):
    """data: for each text its labels, the best first."""

    object: str
    data: list[list[Class]]
    model: str
    usage: Usage
    id: str
    created: int


def routes(service: Service) -> list[Route]:
    """The contract's path."""
    lifecycle = service.lifecycle

    async def classify(request: Request) -> Response:
        body = msgspec.json.decode(await read_body(request), type=ClassifyBody)
        name = body.model or lifecycle.name
        texts = [body.input] if isinstance(body.input, str) else list(body.input)
        asked = EncodeRequest(
            inputs=inputs([*texts]),
            outputs=("score",),
            raw=True,
            adapter=lifecycle.adapter(name),
            deadline=deadline(request),
            token_limit=MAX_TOKENS,
        )
        encoded = await unless_gone(request, lifecycle.model.encode(asked))
        names = lifecycle.model.info.labels
        data = [
            [Class(one.score, one.label) for one in labelled(logits, names, raw=body.raw_scores)]
            for output in encoded.outputs
            if (logits := output.score) is not None
        ]
        response = json_reply(_reply(data, name, encoded.tokens))
        if encoded.fingerprint is not None:
            response.headers[FINGERPRINT_HEADER] = encoded.fingerprint
        return response

    operation = Operation(
        summary="Classify texts", body=ClassifyBody, reply=ClassifyReply, error=ErrorBody
    )
    return [
        route(
            "/classify",
            "POST",
            contract=CONTRACT,
            answer=classify,
            refuse=refuse,
            service=service,
            operation=operation,
        )
    ]


def _reply(data: list[list[Class]], name: str, tokens: int) -> ClassifyReply:
    return ClassifyReply(
        object="classify",
        data=data,
        model=name,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        id=secrets.token_hex(16),
        created=int(time.time()),
    )
