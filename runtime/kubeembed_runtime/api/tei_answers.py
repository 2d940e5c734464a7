"""What TEI's paths answer: a call -> the model's work -> a reply."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.responses import Response

from kubeembed_runtime.api import tei_bodies as bodies
from kubeembed_runtime.api import tei_replies as replies
from kubeembed_runtime.api.contract import deadline, json_reply, unless_gone
from kubeembed_runtime.api.limits import MAX_TOKENS
from kubeembed_runtime.api.ranking import labelled, ranked
from kubeembed_runtime.api.tei_call import Call
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Encoded, Input, Kind, Pair, Prompting, ScoreRequest

Answer = Callable[[Call], Awaitable[Response]]


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
    return call.headed(response, encoded, _characters(inputs))


async def embed_all(call: Call) -> Response:
    encoded, characters = await _tokens(call, "tokens")
    response = replies.vectors([output.tokens for output in encoded.outputs])
    return call.headed(response, encoded, characters)


async def embed_sparse(call: Call) -> Response:
    encoded, characters = await _tokens(call, "sparse")
    found = [replies.sparse(out.sparse) for out in encoded.outputs if out.sparse is not None]
    return call.headed(json_reply(found), encoded, characters)


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
    return call.headed(json_reply(ranks), scored, characters)


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
    return call.headed(response, encoded, _characters(inputs))


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
    return call.headed(response, encoded, _characters(inputs))


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
    rows = bodies.id_rows("ids", list(body.ids))
    if not rows:
        raise InvalidInput("inputs", "`ids` mixes ids and lists; send one kind per request")
    work = call.lifecycle.model.decode(rows, skip_special=body.skip_special_tokens)
    return json_reply(list(await unless_gone(call.request, work)))


async def whichever(call: Call) -> Response:
    """By the body where it says, else by what the model gives first."""
    sent = call.read(bodies.Either)
    if bytes(sent.inputs).startswith(b"{"):  # two sentences to compare
        return await similarity(call)
    if bytes(sent.texts):
        return await rerank(call)
    first = call.lifecycle.model.info.outputs[0]
    return await {"score": predict, "sparse": embed_sparse}.get(first, embed)(call)


def _characters(inputs: Sequence[Input]) -> int:
    return sum(
        len(one.first) + len(one.second) if isinstance(one, Pair) else len(one) for one in inputs
    )
