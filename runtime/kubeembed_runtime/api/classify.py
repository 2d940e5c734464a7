"""POST /classify, as Infinity and vLLM have it: the labels of a sequence classifier for each text.

The body decides whose reply it is: one with `use_activation`, or whose `input` is no list of texts, can
only be vLLM's. A bare list of texts could be either's and gets Infinity's.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.contract import (
    Operation,
    Service,
    deadline,
    json_reply,
    route,
    unless_gone,
)
from kubeembed_runtime.api.limits import MAX_TOKENS
from kubeembed_runtime.api.openai import Usage, inputs
from kubeembed_runtime.api.openai_errors import ErrorBody, refuse
from kubeembed_runtime.api.ranking import Label, labelled
from kubeembed_runtime.api.vectors import marked
from kubeembed_runtime.requests import EncodeRequest

CONTRACT = "classify"


class ClassifyBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """raw_scores, and use_activation false: logits; else the softmax, of a single label the sigmoid."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    raw_scores: bool = False
    use_activation: bool | None = None
    user: str | None = None


class Class(msgspec.Struct):
    """A label and its score."""

    score: float
    label: str


class Probabilities(msgspec.Struct):
    """vLLM's: a number for each label in the model's order, and the name of the greatest."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyReply(msgspec.Struct, kw_only=True):
    """Infinity's. data: for each text its labels, the best first."""

    object: Literal["classify"] = "classify"
    data: list[list[Class]]
    model: str
    usage: Usage
    id: str
    created: int


class VllmReply(msgspec.Struct, kw_only=True):
    """vLLM's. data: an object for each text."""

    object: Literal["list"] = "list"
    data: list[Probabilities]
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
        asked = EncodeRequest(
            inputs=inputs(body.input),
            outputs=("score",),
            raw=True,
            adapter=lifecycle.adapter(name),
            deadline=deadline(request),
            token_limit=MAX_TOKENS,
        )
        encoded = await unless_gone(request, lifecycle.model.encode(asked))
        raw = body.raw_scores or body.use_activation is False
        names = lifecycle.model.info.labels
        found = [
            labelled(output.score, names, raw=raw)
            for output in encoded.outputs
            if output.score is not None
        ]
        answer = _reply(found, name, encoded.tokens, vllm=_is_vllm(body))
        return marked(json_reply(answer), encoded)

    operation = Operation(
        summary="Classify texts",
        body=ClassifyBody,
        reply=ClassifyReply | VllmReply,
        error=ErrorBody,
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


def _is_vllm(body: ClassifyBody) -> bool:
    texts = isinstance(body.input, list) and all(isinstance(one, str) for one in body.input)
    return body.use_activation is not None or not texts


def _classes(found: Sequence[Sequence[Label]]) -> list[list[Class]]:
    return [[Class(one.score, one.label) for one in labels] for labels in found]


def _probabilities(found: Sequence[Sequence[Label]]) -> list[Probabilities]:
    made = []
    for index, labels in enumerate(found):
        scores = [one.score for one in sorted(labels, key=lambda one: one.place)]
        made.append(Probabilities(index, labels[0].label, scores, len(scores)))
    return made


def _reply(
    found: Sequence[Sequence[Label]], name: str, tokens: int, *, vllm: bool
) -> ClassifyReply | VllmReply:
    shared: dict[str, Any] = {
        "model": name,
        "usage": Usage(prompt_tokens=tokens, total_tokens=tokens),
        "id": secrets.token_hex(16),
        "created": int(time.time()),
    }
    if vllm:
        return VllmReply(data=_probabilities(found), **shared)
    return ClassifyReply(data=_classes(found), **shared)
