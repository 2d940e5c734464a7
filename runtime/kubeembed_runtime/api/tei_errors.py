"""Any error -> TEI's words and statuses: 422 for what is wrong, 424 for what fails.

Where TEI leaves the answer to its web framework (no JSON, a wrong type, a body that is too large) it is plain
text with the same status; here those have the same body as all others.
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

    error: str
    error_type: str


def refuse(error: Exception) -> Response:
    """One that nobody foresaw says nothing of itself."""
    match error:
        case BadBody():
            return reply(error.status, str(error), "Validation")
        case InvalidInput(code="empty"):
            return reply(400, str(error), "Empty")
        case InvalidInput(code="invalid_token_id"):
            return reply(422, str(error), "Tokenizer")
        case InvalidInput(field="outputs"):
            return reply(424, str(error), "Backend")
        case InvalidInput() | msgspec.ValidationError():
            return reply(422, str(error), "Validation")
        case msgspec.DecodeError() | UnicodeDecodeError():
            return reply(400, f"the body is not JSON: {error}", "Validation")
        case UnknownModel():
            return reply(404, str(error), "Validation")
        case QueueFull():
            return reply(429, str(error), "Overloaded")
        case Loading():
            return reply(503, str(error), "Unhealthy")
        case AdapterRefused() | OutOfMemory():
            return reply(503, str(error), "Backend")
        case DeadlineExceeded():
            return reply(504, str(error), "Backend")
        case DeviceFailed():
            return reply(424, str(error), "Backend")
    return reply(500, "the server failed on this request", "Backend")


def reply(status: int, message: str, kind: str) -> Response:
    """TEI's error body."""
    return json_reply(ErrorBody(message, kind), status)
