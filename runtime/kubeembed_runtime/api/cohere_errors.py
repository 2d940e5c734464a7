"""Any error -> Cohere's words: {"message"}, and the statuses that its clients know. /rerank shares them.

`error_type` is ours: a code for programs, beside the sentence for people.
"""

import msgspec
from starlette.responses import Response

from kubeembed_runtime.api.contract import json_reply
from kubeembed_runtime.errors import (
    AdapterRefused,
    BadBody,
    DeadlineExceeded,
    DeviceFailed,
    InvalidInput,
    Loading,
    OutOfMemory,
    QueueFull,
    UnknownModel,
)


class ErrorBody(msgspec.Struct):
    """Every reply that is no success."""

    message: str
    error_type: str


def refuse(error: Exception) -> Response:
    """One that nobody foresaw says nothing of itself."""
    match error:
        case BadBody():
            return reply(error.status, str(error), error.code)
        case InvalidInput():
            return reply(400, str(error), error.code or "invalid_request")
        case msgspec.ValidationError():
            return reply(400, str(error), "invalid_request")
        case msgspec.DecodeError() | UnicodeDecodeError():
            return reply(400, f"the body is not JSON: {error}", "invalid_json")
        case UnknownModel():
            return reply(404, str(error), "model_not_found")
    return _failed(error)


def _failed(error: Exception) -> Response:
    """What is no fault of the caller's."""
    match error:
        case QueueFull():
            return reply(429, str(error), "queue_full")
        case Loading():
            return reply(503, str(error), "model_loading")
        case AdapterRefused():
            return reply(503, str(error), "adapter_unavailable")
        case OutOfMemory():
            return reply(503, str(error), "out_of_memory")
        case DeadlineExceeded():
            return reply(504, str(error), "deadline_exceeded")
        case DeviceFailed():
            return reply(500, str(error), "device_failed")
    return reply(500, "the server failed on this request", "internal")


def reply(status: int, message: str, kind: str) -> Response:
    """Cohere's error body."""
    return json_reply(ErrorBody(message, kind), status)
