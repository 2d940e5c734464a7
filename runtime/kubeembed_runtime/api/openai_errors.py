"""Any error -> OpenAI's words. Infinity's and vLLM's paths share them, and so do those of no contract."""

import re
from collections.abc import Mapping

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

#: Our fields by OpenAI's names for them.
PARAMS: Mapping[str, str] = {
    "inputs": "input",
    "model": "model",
    "dimensions": "dimensions",
    "truncate": "truncate_prompt_tokens",
    "chunking": "chunking",
}

_PATH = re.compile(r" - at `\$\.?(\w+)?.*`$")
_FIELD = re.compile(r"field `(\w+)`")


class ErrorDetail(msgspec.Struct):
    """What went wrong, as the clients parse it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """Every reply that is no success."""

    error: ErrorDetail


def refuse(error: Exception, params: Mapping[str, str] = PARAMS) -> Response:
    """One that nobody foresaw says nothing of itself. params: our fields by the path's names for them."""
    invalid = "invalid_request_error"
    match error:
        case BadBody():
            return error_reply(error.status, str(error), invalid, code=error.code)
        case InvalidInput():
            return error_reply(400, str(error), invalid, params.get(error.field), error.code)
        case msgspec.ValidationError():
            return error_reply(400, str(error), invalid, _param(str(error)))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return error_reply(400, f"the body is not JSON: {error}", invalid, code="invalid_json")
        case UnknownModel():
            return error_reply(404, str(error), invalid, "model", "model_not_found")
        case AdapterRefused():
            return error_reply(503, str(error), "server_error", "model", "adapter_unavailable")
        case QueueFull():
            return error_reply(429, str(error), "rate_limit_error", code="queue_full")
        case Loading():
            return error_reply(503, str(error), "server_error", code="model_loading")
        case DeadlineExceeded():
            return error_reply(504, str(error), "server_error", code="deadline_exceeded")
        case OutOfMemory():
            return error_reply(503, str(error), "server_error", code="out_of_memory")
        case DeviceFailed():
            return error_reply(500, str(error), "server_error", code="device_failed")
    return error_reply(500, "the server failed on this request", "server_error")


def error_reply(
    status: int, message: str, kind: str, param: str | None = None, code: str | None = None
) -> Response:
    """OpenAI's error body."""
    detail = ErrorDetail(message=message, type=kind, param=param, code=code)
    return json_reply(ErrorBody(error=detail), status)


def _param(problem: str) -> str | None:
    """The field that msgspec's message is about, where it names one."""
    found = _PATH.search(problem)
    if found and found.group(1):
        return found.group(1)
    field = _FIELD.search(problem)
    return field.group(1) if field else None
