"""Reranking as Cohere, Jina, Infinity and vLLM have it, on shared paths; a body with `texts` is TEI's.

One reply serves all four: each client reads its own fields of it. Without return_documents a document is left
out, as Cohere and Infinity do.
"""

import secrets
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api import tei, tei_answers, tei_bodies, tei_errors, tei_replies
from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.cohere_errors import ErrorBody, refuse
from kubeembed_runtime.api.contract import (
    Operation,
    Service,
    deadline,
    json_reply,
    route,
    speak,
    unless_gone,
)
from kubeembed_runtime.api.limits import MAX_TOKENS
from kubeembed_runtime.api.ranking import ranked
from kubeembed_runtime.api.rerank_bodies import RerankBody, RerankBodyV1, texts, whole
from kubeembed_runtime.api.tei_call import Call
from kubeembed_runtime.api.vectors import marked
from kubeembed_runtime.requests import ScoreRequest

CONTRACT = "rerank"


class Result(msgspec.Struct, omit_defaults=True):
    """A document of the request, by its place there."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankReply(msgspec.Struct):
    """The best first."""

    id: str
    object: str
    model: str
    results: list[Result]
    usage: dict[str, int]
    meta: dict[str, Any]


def routes(service: Service) -> list[Route]:
    """The contract's paths."""

    async def rerank(request: Request) -> Response:
        body = msgspec.json.decode(await read_body(request), type=RerankBody)
        return await _rerank(request, service, body)

    async def rerank_v1(request: Request) -> Response:
        body = msgspec.json.decode(await read_body(request), type=RerankBodyV1)
        return await _rerank(request, service, body)

    async def either(request: Request) -> Response:
        content = await read_body(request)
        if _is_tei(content):
            speak(request, tei_errors.refuse)
            call = Call(request=request, lifecycle=service.lifecycle, body=content)
            return await tei_answers.rerank(call)
        return await _rerank(request, service, msgspec.json.decode(content, type=RerankBody))

    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service)
    operation = partial(Operation, summary="Rank documents by a query")
    own = partial(operation, reply=RerankReply, error=ErrorBody)
    shared = operation(
        body=RerankBody | tei_bodies.RerankBody,
        reply=RerankReply | list[tei_replies.Rank],
        error=ErrorBody | tei_errors.ErrorBody,
        errors=tei.ERRORS,
    )
    return [
        serve("/rerank", "POST", answer=either, operation=shared),
        serve("/v1/rerank", "POST", answer=rerank_v1, operation=own(body=RerankBodyV1)),
        serve("/v2/rerank", "POST", answer=rerank, operation=own(body=RerankBody)),
    ]


class _Texts(msgspec.Struct):
    """The field that tells the contracts apart, left as it was sent."""

    texts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _is_tei(content: bytes) -> bool:
    """What cannot be read is TEI's if it names that field, and not the others' own."""
    try:
        return msgspec.json.decode(content, type=_Texts).texts is not msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b'"texts"' in content and b'"documents"' not in content


async def _rerank(request: Request, service: Service, body: RerankBody) -> Response:
    lifecycle = service.lifecycle
    name = body.model or lifecycle.name
    asked = ScoreRequest(
        query=body.query,
        documents=texts(body),
        instruction=body.instruction,
        adapter=lifecycle.adapter(name),
        deadline=deadline(request),
        token_limit=MAX_TOKENS,
        document_tokens=body.max_tokens_per_doc,
        raw=True,
    )
    scored = await unless_gone(request, lifecycle.model.score(asked))
    best = ranked(scored.scores, lifecycle.model.info, raw=body.raw_scores)
    results = [
        Result(
            one.index,
            one.score,
            whole(body.documents[one.index]) if body.return_documents else None,
        )
        for one in best[: body.top_n or None]
    ]
    return marked(json_reply(_reply(name, results, scored.tokens)), scored)


def _reply(name: str, results: list[Result], tokens: int) -> RerankReply:
    return RerankReply(
        id=secrets.token_hex(16),
        object="rerank",
        model=name,
        results=results,
        usage={"prompt_tokens": tokens, "total_tokens": tokens},
        meta={
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": tokens},
        },
    )
