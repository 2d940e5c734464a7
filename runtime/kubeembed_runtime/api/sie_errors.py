"""Any error -> SIE's words, on which its SDK decides whether to come again, and what to raise if not.

JSON whatever the request was in, with the code in a header as well, which the SDK believes first. Statuses:
what must be sent again is a 503 with a code that the SDK knows; it takes a bare 503 for the end.
"""

import difflib
import re
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from kubeembed_runtime.api.body import BadBody
from kubeembed_runtime.api.contract import json_reply
from kubeembed_runtime.api.sie_bodies import allowed
from kubeembed_runtime.errors import (
    AdapterRefused,
    DeadlineExceeded,
    DeviceFailed,
    Field,
    InvalidInput,
    Loading,
    OutOfMemory,
    QueueFull,
    UnknownModel,
)

CODE_HEADER = "x-sie-error-code"

#: Seconds after which a request that found no memory may find some; the SDK tries three times.
MEMORY_RETRY_SECONDS = 1

#: Our fields by SIE's names for them.
PARAMS: dict[Field, str] = {
    "inputs": "items",
    "model": "model",
    "dimensions": "params.options.dimensions",
    "outputs": "params.output_types",
    "prompt": "params.instruction",
    "truncate": "params.options.truncate",
}

_CODES = {401: "UNAUTHORIZED", 412: "FINGERPRINT_MISMATCH", 413: "PAYLOAD_TOO_LARGE"}
_PATH = re.compile(r" - at `\$\.?(.*)`$")


class Detail(msgspec.Struct, omit_defaults=True):
    """What went wrong. suggestions: names that are near the one that is not served.

    error_class, permanent, attempts: of a load that failed.
    """

    code: str
    message: str
    param: str | None = None
    suggestions: tuple[str, ...] = ()
    error_class: str | None = None
    permanent: bool | None = None
    attempts: int | None = None


class ErrorBody(msgspec.Struct):
    """Every reply that is no success."""

    detail: Detail


def refuse(error: Exception) -> Response:
    """One that nobody foresaw says nothing of itself."""
    match error:
        case BadBody():
            return reply(
                error.status, Detail(_CODES.get(error.status, "INVALID_REQUEST"), str(error))
            )
        case InvalidInput():
            code = "INPUT_TOO_LONG" if error.code == "input_too_long" else "INVALID_INPUT"
            return reply(400, Detail(code, str(error), PARAMS.get(error.field)))
        case msgspec.ValidationError():
            return reply(400, _invalid(str(error)))
        case msgspec.DecodeError() | UnicodeDecodeError():
            return reply(400, Detail("INVALID_REQUEST", f"the body cannot be read: {error}"))
        case UnknownModel():
            return reply(404, _unknown(error))
        case AdapterRefused():
            return reply(502, _load_failed(error))
    return _failed(error)


def _failed(error: Exception) -> Response:
    """What is no fault of the caller's."""
    match error:
        case Loading():
            return reply(503, Detail("MODEL_LOADING", str(error)))
        case QueueFull():
            return reply(503, Detail("QUEUE_FULL", str(error)))
        case OutOfMemory():
            response = reply(503, Detail("RESOURCE_EXHAUSTED", str(error)))
            response.headers["retry-after"] = str(MEMORY_RETRY_SECONDS)
            return response
        case DeadlineExceeded():
            return reply(504, Detail("GATEWAY_TIMEOUT", str(error)))
        case DeviceFailed():
            return reply(500, Detail("INFERENCE_ERROR", str(error)))
    return reply(500, Detail("INTERNAL_ERROR", "the server failed on this request"))


def reply(status: int, detail: Detail) -> Response:
    """SIE's error body, and its code as a header."""
    response = json_reply(ErrorBody(detail), status)
    response.headers[CODE_HEADER] = detail.code
    return response


def _unknown(error: UnknownModel) -> Detail:
    near = _near(error.asked, error.served)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return Detail("MODEL_NOT_FOUND", f"{error}{meant}", "model", near)


def _near(asked: str, served: Sequence[str]) -> tuple[str, ...]:
    """Like names, the likest first, whatever their case and owner: "BAAI/bge-m3" is near "bge-m3"."""
    name = asked.rpartition("/")[2].lower()
    return tuple(difflib.get_close_matches(name, served, n=3, cutoff=0.5))


def _load_failed(error: AdapterRefused) -> Detail:
    return Detail(
        "MODEL_LOAD_FAILED",
        str(error),
        "model",
        error_class="AdapterRefused",
        permanent=True,
        attempts=1,
    )


def _invalid(problem: str) -> Detail:
    """What msgspec says of a field, which it names, and beside that what may stand there."""
    found = _PATH.search(problem)
    param = found.group(1) or None if found else None
    names = allowed(param or "", problem)
    more = f"; allowed: {', '.join(names)}" if names else ""
    return Detail("INVALID_INPUT", f"{problem}{more}", param)
