"""The API of text-embeddings-inference: /embed and its kin, /predict, /rerank, /similarity, /tokenize, /info.

POST / and /invocations answer as whichever of them the body and the model call for. Token ids are read as
they are, where TEI decodes them and reads the text.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api import tei_bodies as bodies
from kubeembed_runtime.api import tei_replies as replies
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
from kubeembed_runtime.api.operation import POST_ERRORS
from kubeembed_runtime.api.ranking import labelled, ranked
from kubeembed_runtime.api.tei_errors import ErrorBody, refuse
from kubeembed_runtime.api.tei_info import InfoReply, info_reply
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import (
    Encoded,
    EncodeRequest,
    Input,
    Kind,
    Pair,
    Prompting,
    ScoreRequest,
    Truncate,
)

CONTRACT = "tei"
ERRORS = (*POST_ERRORS, 422, 424)

B = TypeVar("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose body has been read."""

    request: Request
    lifecycle: Lifecycle
    body: bytes
    begun: float = field(default_factory=time.perf_counter)

    def read(self, kind: type[B]) -> B:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body, type=kind)

    def adapter(self, model: str | None) -> str | None:
        """Raises UnknownModel."""
        return None if model is None else self.lifecycle.adapter(model)

    async def encode(
        self,
        inputs: Sequence[Input],
        kind: Kind,
        *,
        truncate: Truncate | None,
        prompt_name: str | None = None,
        model: str | None = None,
        **more: Any,
    ) -> Encoded:
        """more: what else an EncodeRequest has. Raises RequestFailed."""
        asked = EncodeRequest(
            inputs=inputs,
            outputs=(kind,),
            prompting=Prompting(prompt_name=prompt_name),
            truncate=truncate,
            adapter=self.adapter(model),
            deadline=deadline(self.request),
            token_limit=MAX_TOKENS,
            **more,
        )
        return await unless_gone(self.request, self.lifecycle.model.encode(asked))

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun


async def embed(call: Call) -> Response:
    body = call.read(bodies.EmbedBody)
    inputs = bodies.inputs(body.inputs)
    encoded = await call.encode(
        inputs,
        "dense",
        truncate=body.cut,
        prompt_name=body.prompt_name,
        model=body.model,
        dimensions=body.dimensions,
        normalize=body.normalize,
    )
    response = replies.vectors([output.dense for output in encoded.outputs])
    return replies.with_headers(response, encoded, _characters(inputs), call.seconds)


async def embed_all(call: Call) -> Response:
    encoded, characters = await _tokens(call, "tokens")
    response = replies.vectors([output.tokens for output in encoded.outputs])
    return replies.with_headers(response, encoded, characters, call.seconds)


async def embed_sparse(call: Call) -> Response:
    encoded, characters = await _tokens(call, "sparse")
    found = [replies.sparse(out.sparse) for out in encoded.outputs if out.sparse is not None]
    return replies.with_headers(json_reply(found), encoded, characters, call.seconds)


async def _tokens(call: Call, kind: Kind) -> tuple[Encoded, int]:
    body = call.read(bodies.TokensBody)
    inputs = bodies.inputs(body.inputs)
    encoded = await call.encode(
        inputs, kind, truncate=body.cut, prompt_name=body.prompt_name, model=body.model
    )
    return encoded, _characters(inputs)


async def rerank(call: Call) -> Response:
    body = call.read(bodies.RerankBody)
    texts = bodies.texts("texts", body.texts)
    bodies.texts("query", [body.query])
    model = call.lifecycle.model
    asked = ScoreRequest(
        query=body.query,
        documents=texts,
        truncate=body.cut,
        adapter=call.adapter(body.model),
        deadline=deadline(call.request),
        token_limit=MAX_TOKENS,
        raw=True,
    )
    scored = await unless_gone(call.request, model.score(asked))
    ranks = [
        replies.Rank(one.index, one.score, texts[one.index] if body.return_text else None)
        for one in ranked(scored.scores, model.info, raw=body.raw_scores)
    ]
    characters = len(body.query) + sum(map(len, texts))
    return replies.with_headers(json_reply(ranks), scored, characters, call.seconds)


async def predict(call: Call) -> Response:
    body = call.read(bodies.PredictBody)
    inputs, several = bodies.pairs(body.inputs)
    encoded = await call.encode(inputs, "score", truncate=body.cut, model=body.model, raw=True)
    names = call.lifecycle.model.info.labels
    found = [
        [
            replies.Prediction(one.score, one.label)
            for one in labelled(output.score, names, raw=body.raw_scores)
        ]
        for output in encoded.outputs
        if output.score is not None
    ]
    response = json_reply(found if several else found[0])
    return replies.with_headers(response, encoded, _characters(inputs), call.seconds)


async def similarity(call: Call) -> Response:
    body = call.read(bodies.SimilarityBody)
    told = body.parameters or bodies.SimilarityParameters()
    sentences = bodies.texts("sentences", body.inputs.sentences)
    inputs: list[Input] = [body.inputs.source_sentence, *sentences]
    bodies.texts("source_sentence", [body.inputs.source_sentence])
    encoded = await call.encode(
        inputs,
        "dense",
        truncate=told.cut,
        prompt_name=told.prompt_name,
        model=told.model,
        normalize=True,
    )
    source, *others = [output.dense for output in encoded.outputs if output.dense is not None]
    response = json_reply([float(source @ other) for other in others])
    return replies.with_headers(response, encoded, _characters(inputs), call.seconds)


async def tokenize(call: Call) -> Response:
    body = call.read(bodies.TokenizeBody)
    sent = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    work = call.lifecycle.model.tokenize(
        bodies.texts("inputs", sent),
        special=body.add_special_tokens,
        prompting=Prompting(prompt_name=body.prompt_name),
    )
    found = await unless_gone(call.request, work)
    return json_reply([[replies.SimpleToken(*token) for token in tokens] for tokens in found])


async def decode(call: Call) -> Response:
    body = call.read(bodies.DecodeBody)
    bodies.counted("ids", body.ids)
    rows = bodies.id_rows(list(body.ids))
    if not rows:
        raise InvalidInput("inputs", "`ids` mixes ids and lists; send one kind per request")
    work = call.lifecycle.model.decode(rows, skip_special=body.skip_special_tokens)
    return json_reply(list(await unless_gone(call.request, work)))


async def whichever(call: Call) -> Response:
    """POST /: by the body where it says, else by what the model gives first."""
    sent = call.read(bodies.Either)
    if bytes(sent.inputs).startswith(b"{"):  # two sentences to compare
        return await similarity(call)
    if bytes(sent.texts):
        return await rerank(call)
    first = call.lifecycle.model.info.outputs[0]
    return await {"score": predict, "sparse": embed_sparse}.get(first, embed)(call)


Answer = Callable[[Call], Awaitable[Response]]

_VECTORS = list[list[float]]
_ANY = dict[str, Any]

#: path -> (answer, what it is for, its body, its reply)
PATHS: dict[str, tuple[Answer, str, Any, Any]] = {
    "/embed": (embed, "Embed texts or token ids", bodies.EmbedBody, _VECTORS),
    "/embed_all": (embed_all, "The state of each token", bodies.TokensBody, list[_VECTORS]),
    "/embed_sparse": (
        embed_sparse,
        "Sparse vectors of texts or token ids",
        bodies.TokensBody,
        list[list[replies.SparseEntry]],
    ),
    "/predict": (
        predict,
        "Classify texts or pairs of them",
        bodies.PredictBody,
        list[replies.Prediction] | list[list[replies.Prediction]],
    ),
    "/similarity": (similarity, "Cosines to a sentence", bodies.SimilarityBody, list[float]),
    "/tokenize": (
        tokenize,
        "The tokens of texts",
        bodies.TokenizeBody,
        list[list[replies.SimpleToken]],
    ),
    "/decode": (decode, "The text of token ids", bodies.DecodeBody, list[str]),
    "/": (whichever, "As the model and the body call for", _ANY, list[Any]),
    "/invocations": (whichever, "As the model and the body call for", _ANY, list[Any]),
}


def routes(service: Service) -> list[Route]:
    """The contract's paths but /rerank, which it shares."""

    async def info(request: Request) -> Response:
        return json_reply(info_reply(service.lifecycle))

    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service)
    described = Operation(summary="The model and its limits", reply=InfoReply, error=ErrorBody)
    return [
        *(
            serve(path, "POST", answer=answering(service, answer), operation=_operation(*rest))
            for path, (answer, *rest) in PATHS.items()
        ),
        serve("/info", "GET", answer=info, operation=described),
    ]


def answering(service: Service, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """The answer to a request that has not been read."""

    async def read(request: Request) -> Response:
        body = await read_body(request)
        return await answer(Call(request=request, lifecycle=service.lifecycle, body=body))

    return read


def _operation(summary: str, body: Any, reply: Any) -> Operation:
    return Operation(summary=summary, body=body, reply=reply, error=ErrorBody, errors=ERRORS)


def _characters(inputs: Sequence[Input]) -> int:
    return sum(
        len(one.first) + len(one.second) if isinstance(one, Pair) else len(one) for one in inputs
    )
