"""An error in the words of the contract that a path belongs to, headers and all."""

import json
from typing import Any

import pytest

from kubeembed_gateway.errors import GatewayError, Refused, Unavailable
from kubeembed_gateway.refusals import reply

LOADING = Unavailable("model_loading", "it starts", 7)
FULL = Unavailable("bodies_full", "no room", 5)
LOST = Unavailable("pod_lost", "it broke off", 1)
GUARDED = Refused(403, "forbidden", "not here")
UNKNOWN = Refused(404, "model_not_found", "no such model", ("bge-m3",))

OPENAI = {"message": "it starts", "type": "server_error", "param": None, "code": "model_loading"}


@pytest.mark.parametrize(
    ("path", "error", "body"),
    [
        ("/v1/embeddings?x=1", LOADING, {"error": OPENAI}),
        ("/v1/score", LOADING, {"error": OPENAI}),
        ("/v2/embed", LOADING, {"message": "it starts", "error_type": "model_loading"}),
        ("/v1/rerank", FULL, {"message": "no room", "error_type": "bodies_full"}),
        ("/embed", LOADING, {"error": "it starts", "error_type": "Unhealthy"}),
        ("/similarity", FULL, {"error": "no room", "error_type": "Overloaded"}),
        ("/predict", LOST, {"error": "it broke off", "error_type": "Backend"}),
        ("/v1/encode/a/b", LOADING, {"detail": {"code": "PROVISIONING", "message": "it starts"}}),
        ("/v1/score/m", FULL, {"detail": {"code": "QUEUE_FULL", "message": "no room"}}),
        ("/v1/score/m", LOST, {"detail": {"code": "MODEL_LOADING", "message": "it broke off"}}),
        ("/v1/embed", GUARDED, {"message": "not here", "error_type": "forbidden"}),
        ("/embed", GUARDED, {"error": "not here", "error_type": "Validation"}),
        ("/v1/encode/m", GUARDED, {"detail": {"code": "FORBIDDEN", "message": "not here"}}),
        (
            "/v1/encode/m3",
            UNKNOWN,
            {
                "detail": {
                    "code": "MODEL_NOT_FOUND",
                    "message": "no such model",
                    "param": "model",
                    "suggestions": ["bge-m3"],
                }
            },
        ),
    ],
)
def test_words(path: str, error: GatewayError, body: Any) -> None:
    response = reply(error, path)
    assert response.status == error.status
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == body
    assert response.content_type == "application/json"
    seconds = str(error.retry_after) if isinstance(error, Unavailable) else None
    assert response.headers.get("Retry-After") == seconds
    assert response.headers.get("X-SIE-Error-Code") == body.get("detail", {}).get("code")


def test_a_missing_key_is_asked_for() -> None:
    response = reply(Refused(401, "invalid_api_key", "a key is needed"), "/v1/embeddings")
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
