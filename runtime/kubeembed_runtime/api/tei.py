"""The API of text-embeddings-inference: /embed and its kin, /predict, /rerank, /similarity, /tokenize, /info.

POST / and /invocations answer as whichever of them the body and the model call for, and /vertex for several
at once. Token ids are read as they are, where TEI decodes them and reads the text. /health and its other
names have a file of their own, and /rerank, which other contracts share.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api import tei_answers as answers
from kubeembed_runtime.api import tei_bodies as bodies
from kubeembed_runtime.api import tei_replies as replies
from kubeembed_runtime.api.body import read_body
from kubeembed_runtime.api.contract import Operation, Service, json_reply, route
from kubeembed_runtime.api.operation import POST_ERRORS
from kubeembed_runtime.api.tei_answers import Answer
from kubeembed_runtime.api.tei_call import Call
from kubeembed_runtime.api.tei_errors import ErrorBody, refuse
from kubeembed_runtime.api.tei_info import InfoReply, info_reply
from kubeembed_runtime.api.tei_vertex import VertexReply, vertex

CONTRACT = "tei"
ERRORS = (*POST_ERRORS, 422, 424)

_VECTORS = list[list[float]]
_ANY = dict[str, Any]

#: path -> (answer, what it is for, its body, its reply)
PATHS: dict[str, tuple[Answer, str, Any, Any]] = {
    "/embed": (answers.embed, "Embed texts or token ids", bodies.EmbedBody, _VECTORS),
    "/embed_all": (answers.embed_all, "The state of each token", bodies.TokensBody, list[_VECTORS]),
    "/embed_sparse": (
        answers.embed_sparse,
        "Sparse vectors of texts or token ids",
        bodies.TokensBody,
        list[list[replies.SparseEntry]],
    ),
    "/predict": (
        answers.predict,
        "Classify texts or pairs of them",
        bodies.PredictBody,
        list[replies.Prediction] | list[list[replies.Prediction]],
    ),
    "/similarity": (
        answers.similarity,
        "Cosines to a sentence",
        bodies.SimilarityBody,
        list[float],
    ),
    "/tokenize": (
        answers.tokenize,
        "The tokens of texts",
        bodies.TokenizeBody,
        list[list[replies.SimpleToken]],
    ),
    "/decode": (answers.decode, "The text of token ids", bodies.DecodeBody, list[str]),
    "/": (answers.whichever, "As the model and the body call for", _ANY, list[Any]),
    "/vertex": (vertex, "Several calls at once", bodies.VertexBody, VertexReply),
    "/invocations": (answers.whichever, "As the model and the body call for", _ANY, list[Any]),
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
