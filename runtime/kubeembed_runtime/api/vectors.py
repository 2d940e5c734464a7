"""Vectors -> replies, written from the vectors' own memory, and which vectors they are."""

import binascii
from typing import TypeVar

import numpy as np
import orjson
from starlette.responses import Response

from kubeembed_runtime.api.contract import FINGERPRINT_HEADER
from kubeembed_runtime.requests import Encoded, Scored, Vector

R = TypeVar("R", bound=Response)


def array_reply(value: object) -> Response:
    """JSON whose arrays may be numpy's; each number with as many digits as tell it from the next."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")


def base64_floats(vector: Vector) -> str:
    """Of little-endian float32."""
    data = np.ascontiguousarray(vector, "<f4").data
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def marked(response: R, done: Encoded | Scored) -> R:
    """With the fingerprint of the adapter that was used; without one the route adds the base's."""
    if done.fingerprint is not None:
        response.headers[FINGERPRINT_HEADER] = done.fingerprint
    return response
