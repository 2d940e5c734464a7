"""An error of the gateway -> a reply in the words of the contract that the path belongs to.

On these words each contract's client decides whether it comes again by itself, so they are those that the
pods have: statuses, bodies, Retry-After, and SIE's code in a header as well.
"""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from kubeembed_gateway.errors import GatewayError, Refused, Unavailable

SIE_CODE_HEADER = "X-SIE-Error-Code"

COHERE_PATHS = frozenset(
    ("/v1/embed", "/v2/embed", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/tokenize")
)
TEI_PATHS = frozenset(
    (
        "/",
        "/decode",
        "/embed",
        "/embed_all",
        "/embed_sparse",
        "/info",
        "/invocations",
        "/ping",
        "/predict",
        "/similarity",
        "/tokenize",
        "/vertex",
    )
)
#: With the name of a model behind them; /v1/score alone is vLLM's.
SIE_PATHS = ("/v1/encode/", "/v1/score/", "/v1/extract/", "/v1/generate/")

_SIE_CODES = {
    "model_loading": "PROVISIONING",
    "bodies_full": "QUEUE_FULL",
    "connections_full": "QUEUE_FULL",
    "pod_lost": "MODEL_LOADING",
    "model_not_found": "MODEL_NOT_FOUND",
    "invalid_api_key": "UNAUTHORIZED",
    "forbidden": "FORBIDDEN",
    "request_too_large": "PAYLOAD_TOO_LARGE",
    "pool_not_found": "POOL_NOT_FOUND",
}
_TEI_KINDS = {
    "model_loading": "Unhealthy",
    "bodies_full": "Overloaded",
    "connections_full": "Overloaded",
    "pod_lost": "Backend",
}
_ABOUT_THE_MODEL = frozenset(("model_not_found", "model_ambiguous", "model_missing"))


def reply(error: GatewayError, path: str) -> web.Response:
    """path: with or without a query."""
    headers = {"Server": "kubeembed"}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    words = contract(path)
    if words is sie:
        headers[SIE_CODE_HEADER] = _sie_code(error)
    return web.Response(
        status=error.status,
        body=json.dumps(words(error), ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        headers=headers,
    )


def contract(path: str) -> Callable[[GatewayError], dict[str, Any]]:
    """Whose words a path speaks; what is nobody's own speaks OpenAI's."""
    bare = path.partition("?")[0]
    if bare in COHERE_PATHS:
        return cohere
    if bare in TEI_PATHS:
        return tei
    return sie if bare.startswith((*SIE_PATHS, "/v1/pools")) else openai


def openai(error: GatewayError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    param = "model" if error.code in _ABOUT_THE_MODEL else None
    return {"error": {"message": str(error), "type": kind, "param": param, "code": error.code}}


def cohere(error: GatewayError) -> dict[str, Any]:
    return {"message": str(error), "error_type": error.code}


def tei(error: GatewayError) -> dict[str, Any]:
    return {"error": str(error), "error_type": _TEI_KINDS.get(error.code, "Validation")}


def sie(error: GatewayError) -> dict[str, Any]:
    detail: dict[str, Any] = {"code": _sie_code(error), "message": str(error)}
    if error.code in _ABOUT_THE_MODEL:
        detail["param"] = "model"
    if isinstance(error, Refused) and error.suggestions:
        detail["suggestions"] = list(error.suggestions)
    return {"detail": detail}


def _sie_code(error: GatewayError) -> str:
    return _SIE_CODES.get(error.code, "INVALID_REQUEST")
