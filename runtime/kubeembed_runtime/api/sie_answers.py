"""SIE's bodies -> the model's requests, and what comes of them -> replies with their timing."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kubeembed_runtime.api.contract import deadline
from kubeembed_runtime.api.limits import MAX_TOKENS
from kubeembed_runtime.api.ranking import best_first
from kubeembed_runtime.api.sie_arrays import Dtype, pack, unpacked, values
from kubeembed_runtime.api.sie_bodies import (
    MSGPACK,
    EncodeBody,
    Options,
    Params,
    ScoreBody,
    adapter,
    text,
    texts,
)
from kubeembed_runtime.api.vectors import array_reply, marked
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import (
    Encoded,
    EncodeRequest,
    Kind,
    Prompting,
    Scored,
    ScoreRequest,
    Side,
    Timing,
)


def encode_request(
    request: Request, body: EncodeBody, lifecycle: Lifecycle
) -> tuple[EncodeRequest, Dtype]:
    """Raises RequestFailed."""
    params = body.params or Params()
    options = params.options or Options()
    asked = EncodeRequest(
        inputs=texts(body.items),
        adapter=_adapter(request, options, lifecycle),
        outputs=_outputs(params.output_types or options.output_types, lifecycle),
        prompting=Prompting(
            side=_side(options),
            instruction=_first(params.instruction, options.instruction),
        ),
        dimensions=options.dimensions,
        normalize=options.normalize,
        truncate=options.truncate,
        deadline=deadline(request),
        token_limit=MAX_TOKENS,
    )
    return asked, params.output_dtype or options.output_dtype or "float32"


def score_request(request: Request, body: ScoreBody, lifecycle: Lifecycle) -> ScoreRequest:
    """Raises RequestFailed."""
    options = body.options or Options()
    return ScoreRequest(
        query=text(body.query, "query"),
        documents=texts(body.items),
        adapter=_adapter(request, options, lifecycle),
        instruction=_first(body.instruction, options.instruction),
        truncate=options.truncate,
        deadline=deadline(request),
        token_limit=MAX_TOKENS,
    )


def encode_reply(encoded: Encoded, body: EncodeBody, to: "Reply") -> Response:
    """A result per item, in their order."""
    begun = time.perf_counter()
    vocabulary = to.lifecycle.model.info.output_dimensions.get("sparse")
    write = pack if to.packed else unpacked
    items = [
        ({} if item.id is None else {"id": item.id}) | values(output, to.dtype, write, vocabulary)
        for item, output in zip(body.items, encoded.outputs, strict=True)
    ]
    return to.finish(
        {"items": items, "usage": {"input_tokens": encoded.tokens}},
        encoded,
        time.perf_counter() - begun,
    )


def score_reply(scored: Scored, body: ScoreBody, to: "Reply") -> Response:
    """The best first; of equals the one that came first."""
    begun = time.perf_counter()
    entries = [
        {"item_id": _item_id(body, one.index), "score": one.score, "rank": rank}
        for rank, one in enumerate(best_first(scored.scores))
    ]
    answer = {
        "query_id": body.query.id,
        "scores": entries,
        "usage": {"input_tokens": scored.tokens},
    }
    response = to.finish(answer, scored, time.perf_counter() - begun)
    response.headers["x-sie-units-pairs"] = str(len(entries))
    return response


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply is made of, beside its results. begun: of time.perf_counter()."""

    lifecycle: Lifecycle
    dtype: Dtype
    packed: bool
    begun: float

    def finish(self, answer: dict[str, Any], found: Encoded | Scored, after: float) -> Response:
        """The reply with its timing, in the body and as headers. after: seconds for the results."""
        times = _milliseconds(found.timing, time.perf_counter() - self.begun, after)
        whole = {"model": self.lifecycle.name, **answer, "timing": times}
        if self.packed:
            response = Response(msgspec.msgpack.encode(whole), media_type=MSGPACK)
        else:
            response = array_reply(whole)
        marked(response, found)
        response.headers["x-sie-units-input-tokens"] = str(found.tokens)
        for name, header in _TIMES.items():
            response.headers[header] = f"{times[name]:.2f}"
        return response


_TIMES = {
    "total_ms": "x-total-time",
    "queue_ms": "x-queue-time",
    "tokenization_ms": "x-tokenization-time",
    "inference_ms": "x-inference-time",
    "postprocessing_ms": "x-postprocessing-time",
}


def _milliseconds(timing: Timing, total: float, after: float) -> dict[str, float]:
    seconds = (total, timing.queue, timing.tokenize, timing.inference, after)
    return {name: one * 1000 for name, one in zip(_TIMES, seconds, strict=True)}


def _item_id(body: ScoreBody, index: int) -> str:
    named = body.items[index].id
    return f"item-{index}" if named is None else named


def _adapter(request: Request, options: Options, lifecycle: Lifecycle) -> str | None:
    """Raises UnknownModel, Loading; InvalidInput for options that name what is not served."""
    asked = lifecycle.adapter(request.path_params["model"])
    return adapter(options, asked, lifecycle.model.adapters)


def _outputs(asked: list[Any] | None, lifecycle: Lifecycle) -> tuple[Kind, ...]:
    """Each once. Where none is asked for: dense, or what the model gives instead. Raises InvalidInput."""
    if asked:
        return tuple(dict.fromkeys(asked))
    given = [kind for kind in lifecycle.model.info.outputs if kind != "score"]
    if not given:
        raise InvalidInput("outputs", "this model only scores; send POST /v1/score/{model}")
    return ("dense",) if "dense" in given else (given[0],)


def _side(options: Options) -> Side:
    """What is not said to be a query is a document."""
    return "query" if options.is_query else "document"


def _first(*told: str | None) -> str | None:
    return next((one for one in told if one is not None), None)
