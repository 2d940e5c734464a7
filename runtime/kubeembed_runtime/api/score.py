"""POST /score and /v1/score, as vLLM has them: how well texts answer others, in pairs or one against many.

A cross-encoder's score is the sigmoid of its logit, a multi-vector model's is MaxSim, and an embedding
model's the cosine of its vectors: each as vLLM has it. SIE's /v1/score/{model} is another path.
"""

import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.contract import Operation, Service, deadline, route, unless_gone
from kubeembed_runtime.api.limits import MAX_TOKENS, check_count
from kubeembed_runtime.api.openai import Usage
from kubeembed_runtime.api.openai_errors import ErrorBody, refuse
from kubeembed_runtime.api.ranking import relevance
from kubeembed_runtime.api.vectors import array_reply, marked
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import Encoded, EncodeRequest, Scored, ScoreRequest, Vector

CONTRACT = "score"

#: Which of the two sides is wrong, the message says.
PARAMS: Mapping[str, str] = {"model": "model"}

Texts = str | list[str]

#: vLLM's names for the two sides of a pair, of which a body has one.
SIDES = (
    ("queries", "documents"),
    ("queries", "items"),
    ("text_1", "text_2"),
    ("data_1", "data_2"),
)


class ScoreBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One text against one or many, or as many against as many. use_activation false: logits.

    truncate_prompt_tokens: -1 is all that the model reads; priority is accepted, and all requests are alike.
    """

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    model: str | None = None
    use_activation: bool | None = None
    truncate_prompt_tokens: Literal[-1] | None = None
    user: str | None = None
    priority: int | None = None


class Score(msgspec.Struct):
    """Of a pair, by its place in the request."""

    index: int
    object: Literal["score"]
    score: float


class ScoreReply(msgspec.Struct):
    """What is written, for the description alone."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: Usage


def routes(service: Service) -> list[Route]:
    """The contract's paths."""
    lifecycle = service.lifecycle

    async def score(request: Request) -> Response:
        body = msgspec.json.decode(await read_body(request), type=ScoreBody)
        ones, others = _sides(body)
        name = body.model or lifecycle.name
        asked = ScoreRequest(
            query=ones[0] if len(ones) == 1 else ones,
            documents=others,
            adapter=lifecycle.adapter(name),
            truncate=None if body.truncate_prompt_tokens is None else "right",
            deadline=deadline(request),
            token_limit=MAX_TOKENS,
            raw=True,
        )
        done, scores = await unless_gone(request, _scores(lifecycle, asked, body))
        return marked(_reply(name, scores, done.tokens), done)

    operation = Operation(
        summary="Score pairs of texts", body=ScoreBody, reply=ScoreReply, error=ErrorBody
    )
    refused = partial(refuse, params=PARAMS)
    serve = partial(route, contract=CONTRACT, refuse=refused, service=service)
    return [
        serve(path, "POST", answer=score, operation=operation) for path in ("/score", "/v1/score")
    ]


async def _scores(
    lifecycle: Lifecycle, asked: ScoreRequest, body: ScoreBody
) -> tuple[Scored | Encoded, Vector]:
    """Of each pair."""
    model = lifecycle.model
    if {"score", "multivector"}.isdisjoint(model.info.outputs) and "dense" in model.info.outputs:
        encoded = await model.encode(_both(asked))
        return encoded, _cosines(encoded, len(asked.queries))
    scored = await model.score(asked)
    raw = body.use_activation is False
    return scored, relevance(scored.scores, model.info, raw=raw)


def _both(asked: ScoreRequest) -> EncodeRequest:
    """For a model that embeds them apart."""
    return EncodeRequest(
        inputs=[*asked.queries, *asked.documents],
        outputs=("dense",),
        adapter=asked.adapter,
        truncate=asked.truncate,
        deadline=asked.deadline,
        token_limit=asked.token_limit,
        normalize=True,
    )


def _cosines(encoded: Encoded, queries: int) -> Vector:
    """queries: so many of the first vectors are, one or as many as the others."""
    rows = np.stack([output.dense for output in encoded.outputs if output.dense is not None])
    cosines: Vector = (rows[:queries] * rows[queries:]).sum(axis=1)
    return cosines


def _sides(body: ScoreBody) -> tuple[list[str], list[str]]:
    """Raises InvalidInput."""
    sent = {name for pair in SIDES for name in pair if getattr(body, name) is not None}
    pair = next((pair for pair in SIDES if set(pair) == sent), None)
    if pair is None:
        allowed = "; ".join(" and ".join(one) for one in SIDES)
        found = " and ".join(sorted(sent)) or "none"
        raise InvalidInput("inputs", f"the body has {found} of the texts' fields; send {allowed}")
    ones, others = (_texts(name, getattr(body, name)) for name in pair)
    if len(ones) not in (1, len(others)):
        problem = f"{pair[0]} has {len(ones)} texts and {pair[1]} {len(others)}"
        raise InvalidInput("inputs", f"{problem}; send one against any number, or as many")
    return ones, others


def _texts(name: str, sent: Texts) -> list[str]:
    """Raises InvalidInput."""
    found = [sent] if isinstance(sent, str) else sent
    if not found:
        raise InvalidInput("inputs", f"{name} is empty; send at least one text")
    check_count(name, found)
    if not all(found):
        raise InvalidInput("inputs", f"text {found.index('')} of {name} is empty; leave it out")
    return found


def _reply(name: str, scores: Vector, tokens: int) -> Response:
    answer = {
        "id": secrets.token_hex(16),
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": [
            {"index": index, "object": "score", "score": float(score)}
            for index, score in enumerate(scores)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return array_reply(answer)
